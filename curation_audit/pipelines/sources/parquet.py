"""Parquet files."""

from dataclasses import dataclass
from pathlib import Path

from curation_audit.checks import InputError
from curation_audit.pipelines.sources.arrow import columns_from_arrow, unique_names
from curation_audit.pipelines.sources.base import ChooseColumns, Column, RawTable
from curation_audit.pipelines.sources.files import read_files


@dataclass(frozen=True, slots=True, kw_only=True)
class ParquetSource:
    """A parquet file, a folder of them, or a glob; only the needed columns are read."""

    path: str

    def read(self, base: Path, choose: ChooseColumns | None = None) -> RawTable:
        """See ``Source.read``."""

        def read_one(file: Path, where: str) -> dict[str, Column]:
            return _read(file, where, choose)

        return read_files(self.path, base, ".parquet", read_one)


def _read(file: Path, where: str, choose: ChooseColumns | None) -> dict[str, Column]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as opened:
            names = opened.schema_arrow.names
            unique_names(names, where)
            wanted = list(choose(names, where).names) if choose else names
            table = opened.read(columns=wanted).select(wanted)
    except (pa.ArrowException, OSError, UnicodeError) as error:
        # Arrow's own text is left out: it may quote values.
        raise InputError(
            where,
            f"cannot be read as parquet ({type(error).__name__})",
            "it may be cut short or of another format; write it again",
        ) from error
    return columns_from_arrow(table, where)
