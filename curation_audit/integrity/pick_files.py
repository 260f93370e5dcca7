"""Picked ids from files: parquet, as ``curate`` writes them, or one id a line."""

import unicodedata
from pathlib import Path
from typing import Final

from curation_audit.checks import InputError
from curation_audit.integrity.folders import read_small
from curation_audit.integrity.picks import Picked

PICKS: Final = "picks.parquet"
SCORE: Final = "dp_score"
MOST_BYTES: Final = 1 << 32
UNSEEN: Final = ("Cc", "Cf", "Zl", "Zp")
"""Categories of Unicode: controls, formats, and separators of lines and paragraphs."""


def read_picks(path: Path, *, scored: bool) -> Picked:
    """The picks of a folder, a parquet file, or a text file.

    Raises:
        InputError: for a file without ids, or without the scores that are asked for.
    """
    file = path / PICKS if path.is_dir() else path
    if file.suffix != ".parquet":
        if scored:
            raise InputError(str(file), "holds no scores", f"name the folder of {PICKS}")
        return Picked.of(read_ids(file), None)
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = ["id", SCORE] if scored else ["id"]
    try:
        table = pq.read_table(file, columns=columns)
    except FileNotFoundError:
        raise InputError(str(file), "is not there", "name what 'curate' wrote") from None
    except (pa.ArrowException, OSError):  # Arrow's own text may quote values
        raise InputError(str(file), f"has no columns {', '.join(columns)}") from None
    if len(table.column_names) < len(columns) or table.column("id").null_count:
        raise InputError(str(file), f"has no columns {', '.join(columns)}, or ids are missing")
    scores = table.column(SCORE).to_pylist() if scored else None
    return Picked.of([str(one) for one in table.column("id").to_pylist()], scores)


def read_ids(path: Path) -> list[str]:
    """One id a line, as UTF-8 with or without its mark; blank lines are left out.

    Raises:
        InputError: for a file that is no text, or an id that looks like another one: absence is
            about exact bytes, and would be proved of an id that nobody meant.
    """
    try:
        text = read_small(path, MOST_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(str(path), "is no UTF-8 text", "expected one id a line") from None
    lines = [one.removesuffix("\r") for one in text.split("\n")]
    for number, line in enumerate(lines, 1):
        if problem := _lookalike(line):
            raise InputError(f"{path}, line {number}", problem, "write the id as the pool has it")
    return [line for line in lines if line]


def _lookalike(line: str) -> str | None:
    if line != line.strip():
        return "begins or ends with white space"
    if any(unicodedata.category(one) in UNSEEN for one in line):
        return "holds a control or invisible character"
    return None if unicodedata.is_normalized("NFC", line) else "is not in Unicode's form NFC"
