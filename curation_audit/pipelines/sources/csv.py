"""Comma-separated files with a header line."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation_audit.arrow_columns import columns_from_arrow, unique_names
from curation_audit.checks import InputError
from curation_audit.pipelines.sources.base import ChooseColumns, RawTable, Roles
from curation_audit.pipelines.sources.files import read_files
from curation_audit.types import Column

# A line must fit into a block.
_BLOCK_BYTES = 1 << 24


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvSource:
    """A csv file, a folder of them, or a glob; the first line names the columns (UTF-8)."""

    path: str
    delimiter: str = ","

    def __post_init__(self) -> None:
        """Check the delimiter."""
        if len(self.delimiter) != 1:
            raise ValueError(f"delimiter must be one character, got {self.delimiter!r}.")

    def read(self, base: Path, choose: ChooseColumns | None = None) -> RawTable:
        """See ``Source.read``."""

        def read_one(file: Path, where: str) -> dict[str, Column]:
            return _read(file, where, self.delimiter, choose)

        return read_files(self.path, base, ".csv", read_one)


def _read(
    file: Path, where: str, delimiter: str, choose: ChooseColumns | None
) -> dict[str, Column]:
    import pyarrow as pa
    from pyarrow import csv

    try:
        with csv.open_csv(file, parse_options=csv.ParseOptions(delimiter=delimiter)) as head:
            names = head.schema.names
    except UnicodeError as error:
        raise InputError(where, "the header is not UTF-8", "save the file as UTF-8") from error
    except (pa.ArrowException, OSError):
        names = []  # a later line may be at fault; the whole file is read below, and tells it
    unique_names(names, where)
    roles = choose(names, where) if choose and names else None
    return columns_from_arrow(_parse(file, where, delimiter, roles), where)


def _parse(file: Path, where: str, delimiter: str, roles: Roles | None) -> Any:
    import pyarrow as pa
    from pyarrow import csv

    try:
        return csv.read_csv(
            file,
            # One thread: only then does Arrow say which line is broken.
            read_options=csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
            parse_options=csv.ParseOptions(delimiter=delimiter),
            convert_options=csv.ConvertOptions(
                strings_can_be_null=True,
                include_columns=list(roles.names) if roles else None,
                column_types=dict.fromkeys(roles.text, pa.string()) if roles else None,
            ),
        )
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise _told(where, str(error)) from error


def _told(where: str, text: str) -> InputError:
    """Arrow's error without its own words, which quote values."""
    if "Empty CSV" in text:
        return InputError(where, "the file is empty", "expected a header line and rows")
    if broken := re.search(r"(?:Row #(\d+): )?Expected (\d+) columns, got (\d+)", text):
        line, expected, found = broken.groups()
        return InputError(
            f"{where}, line {line}" if line else where,
            f"has {found} values, expected {expected} as in the header",
            "mend the line",
        )
    column = re.search(r"In CSV column #(\d+)", text)
    return InputError(
        f"{where}, column number {int(column[1]) + 1}" if column else where,
        "cannot be read as csv",
        "expected UTF-8 text, a header line, and one type of values per column",
    )
