"""An encoder of the user's own: a function that an installed package offers."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final

from curation_audit import checks
from curation_audit.pipelines.data_sets import ReadSet
from curation_audit.pipelines.features.base import FeatureMap
from curation_audit.pipelines.features.encoder_loaded import LoadedEncoder, Reads
from curation_audit.pipelines.of_users import load_offered, offered, origin_of

GROUP: Final = "curation_audit.encoders"


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder:
    """``function(rows, **params) -> (rows, p)``, of float32 (rows, d) or a tuple of texts.

    ``function``: an entry point of ``curation_audit.encoders``, or the function itself in Python.
    ``reads``: ``features``, or ``texts`` of the column that ``columns.text`` names. ``batch``: rows
    that are handed over at once. It must be a frozen map: fitted on nothing private, of each row
    alone, the same whenever it is called.
    """

    name: ClassVar[str] = "encoder"
    function: str | Callable[..., Any]
    params: dict[str, Any] = field(default_factory=dict)
    reads: Reads = "features"
    batch: int = 1024

    def __post_init__(self) -> None:
        """Check the settings."""
        checks.positive(batch=self.batch)
        checks.one_of("features.steps.reads", self.reads, ("features", "texts"))

    def opened(self, base: Path) -> LoadedEncoder:
        """Find the function; ``base`` is not handed on.

        Raises:
            SettingError: if no installed package offers it.
        """
        function, version = self.function, None
        if isinstance(function, str):
            function = load_offered(GROUP, function, "features.steps.function")
            package = offered(GROUP)[str(self.function)].dist
            version = None if package is None else f"{package.name} {package.version}"
        settings = {
            "function": self.function if isinstance(self.function, str) else None,
            **origin_of(function),
            "version": version,
            "params": self.params,
            "reads": self.reads,
            "batch": self.batch,
        }
        return LoadedEncoder(
            self.name, settings, lambda rows: function(rows, **self.params), self.batch, self.reads
        )

    def fit(self, pool: ReadSet) -> FeatureMap:
        """The map of the function."""
        return self.opened(Path()).fit(pool)
