"""What a backend is given, and what it owes: every result once, in any order.

A backend knows nothing of audits. Tasks are values, a job is a pure function of them, and results
are kept by whoever asked; so neither the machines nor their number nor a retry change a result.
"""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from curation_audit.checks import SettingError

TaskT = TypeVar("TaskT")
ResultT = TypeVar("ResultT")
In = TypeVar("In", contravariant=True)
Out = TypeVar("Out", covariant=True)

MOST_ATTEMPTS = 100
WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.,@-]*")
TIME = re.compile(r"(\d+-)?\d+(:\d{2}){0,2}")
MEMORY = re.compile(r"\d+[KMGT]?")


class Job(Protocol[In, Out]):
    """A pure function of tasks that can be sent to other processes."""

    def check_here(self) -> None:
        """Raise ``InputError`` where this machine would compute something else."""
        ...

    def run(self, task: In, /) -> Out:
        """The result of one task."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Work(Generic[TaskT, ResultT]):
    """Tasks to compute.

    ``find`` gives a task's stored result, or ``None``; ``keep`` stores it. Without a folder to
    store in, nothing is ever found.
    """

    job: Job[TaskT, ResultT]
    tasks: Sequence[TaskT]
    find: Callable[[TaskT], ResultT | None]
    keep: Callable[[TaskT, ResultT], None]


class Backend(Protocol[TaskT, ResultT]):
    """Computes tasks."""

    def held(self) -> "AbstractContextManager[Backend[Any, Any]]":
        """A backend for several jobs: what starts slowly starts once, and ends with the context.

        A job may travel with every task, so it should be small.
        """
        ...

    def results(self, work: Work[TaskT, ResultT], /) -> Iterator[tuple[TaskT, ResultT]]:
        """Every task with its result, which is stored by then; in the order of finishing.

        Raises:
            InputError: for what the user can put right; a job's own, too.
            Unfinished: where machines failed more often than is allowed.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What one task, or one job of a scheduler, is given: processors, and GPUs or parts of one."""

    cpus: float = 1.0
    gpus: float = 0.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name, value, least in (
            ("cpus", self.cpus, "above 0"),
            ("gpus", self.gpus, "0 or more"),
        ):
            number = type(value) in (int, float) and math.isfinite(value) and value >= 0
            if not number or (name == "cpus" and value == 0):
                raise SettingError(f"run.resources.{name}", f"found {value!r}", f"expected {least}")
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise SettingError(
                "run.resources.gpus",
                f"found {self.gpus}",
                "expected a part of one GPU, or whole ones",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmSettings:
    """How jobs are submitted; ``None`` leaves a choice to the cluster.

    ``time`` and ``memory`` as sbatch takes them, e.g. ``2:00:00`` and ``16G`` a job. ``attempts``:
    how often the jobs of an audit are submitted before it stops unfinished. ``poll``: seconds
    between two looks at the run folder.
    """

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    time: str | None = None
    memory: str | None = None
    attempts: int = 3
    poll: float = 5.0

    def __post_init__(self) -> None:
        """Check that words are words: they go to a command line."""
        for name, pattern, example in (
            ("partition", WORD, "a name"),
            ("account", WORD, "a name"),
            ("qos", WORD, "a name"),
            ("time", TIME, "minutes, H:MM:SS or D-H"),
            ("memory", MEMORY, "a number with K, M, G or T"),
        ):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, str) and pattern.fullmatch(value)):
                raise SettingError(f"run.slurm.{name}", f"found {value!r}", f"expected {example}")
        if type(self.attempts) is not int or not 1 <= self.attempts <= MOST_ATTEMPTS:
            problem = f"found {self.attempts!r}"
            raise SettingError("run.slurm.attempts", problem, f"expected 1 to {MOST_ATTEMPTS}")
        if not 0 < self.poll < math.inf:
            raise SettingError("run.slurm.poll", f"found {self.poll!r}", "expected seconds above 0")


@dataclass(frozen=True, slots=True)
class Origin:
    """The file that a plan was read from, and what was overridden: how a worker reads it again.

    ``command``: the words that begin the command of a worker.
    """

    pipeline: Path
    assignments: tuple[str, ...] = ()
    command: tuple[str, ...] = ("worker",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """What backends need to know beside the work.

    ``n_workers``: tasks at a time, or jobs of a scheduler. ``out``: the run folder.
    """

    n_workers: int = 1
    resources: Resources = field(default_factory=Resources)
    slurm: SlurmSettings = field(default_factory=SlurmSettings)
    out: Path | None = None
    origin: Origin | None = None
