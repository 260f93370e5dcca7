"""Some rows of another source."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from curation_audit.pipelines.sources.base import ChooseColumns, RawTable, Source, keep_chosen
from curation_audit.types import Mask


@dataclass(frozen=True, slots=True, kw_only=True)
class SomeRows:
    """The rows of a source that ``keep`` says bool (rows,) of, from all of its columns."""

    source: Source
    keep: Callable[[RawTable], Mask]

    def read(self, base: Path, choose: ChooseColumns | None = None) -> RawTable:
        """Read everything, keep rows, then the columns that are asked for."""
        table = self.source.read(base)
        kept = self.keep(table)
        columns = {name: column[kept] for name, column in table.columns.items()}
        return keep_chosen(RawTable(columns, table.where), choose)
