"""Where and how to run an audit."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from joblib import cpu_count

from curation_audit.backends.base import Resources, SlurmSettings
from curation_audit.checks import SettingError, one_of

BackendName: TypeAlias = Literal["local", "ray", "slurm"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """Where and how to run; nothing here changes a number but ``dtype`` and ``device``.

    ``out`` ``None`` keeps everything in memory. ``backend: local`` is a pool of ``workers``
    processes on this machine, ``auto`` for one a core; each computes on one thread, and no more
    are started than there are cores. With ``ray`` so many tasks are in flight, with ``slurm`` so
    many jobs are submitted, each with ``resources``. ``id_key`` is where the key that hides
    candidate ids lies; by default one per private set in the user's data folder.
    """

    out: Path | None = None
    device: str = "auto"
    backend: BackendName = "local"
    workers: int | Literal["auto"] = 1
    resources: Resources = field(default_factory=Resources)
    slurm: SlurmSettings = field(default_factory=SlurmSettings)
    dtype: Literal["float32", "float64"] = "float32"
    id_key: Path | None = None

    def __post_init__(self) -> None:
        """Check the number of workers; take paths as text, too."""
        for name in ("out", "id_key"):
            if isinstance(getattr(self, name), str):
                object.__setattr__(self, name, Path(getattr(self, name)))
        one_of("run.backend", self.backend, get_args(BackendName))
        # a truth value is a number to Python
        counted = type(self.workers) is int and self.workers >= 1
        if self.workers != "auto" and not counted:
            expected = "expected 1 or more, or auto"
            raise SettingError("run.workers", f"found {self.workers!r}", expected)
        if self.workers == "auto" and self.backend != "local":
            problem = f"found auto beside backend: {self.backend}"
            raise SettingError("run.workers", problem, "say how many may run at a time")

    @property
    def n_workers(self) -> int:
        """How many compute at a time: as asked, and on this machine at most one a core."""
        n_cores = int(cpu_count())
        if self.workers == "auto":
            return n_cores
        return min(self.workers, n_cores) if self.backend == "local" else self.workers
