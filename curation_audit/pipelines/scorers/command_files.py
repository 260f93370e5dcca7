"""The files between an audit and a job: ids of rows out, scores or picks of the pool back in."""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from curation_audit.arrow_columns import column_from_arrow
from curation_audit.checks import InputError
from curation_audit.pipelines.data_sets import as_text
from curation_audit.storage import write_atomically
from curation_audit.types import Floats, Indices

ID, SCORE = "id", "score"
Output: TypeAlias = Literal["scores", "picks"]
PLACE = "curate.scorer command"


class JobError(Exception):
    """How a job went wrong; no value is quoted, as a job may confuse its sets."""


def ids_digest(ids: Sequence[str]) -> str:
    """The sha256 of ids in their order."""
    digest = hashlib.sha256()
    for one in ids:
        encoded = one.encode("utf-8", "surrogatepass")
        digest.update(f"{len(encoded)}:".encode() + encoded)
    return digest.hexdigest()


def write_ids(path: Path, ids: Sequence[str]) -> None:
    """A parquet file of one text column ``id``, readable by its owner only.

    Raises:
        InputError: for ids that are no UTF-8.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pa.table({ID: pa.array(ids, pa.string())})
    except (pa.ArrowException, UnicodeError):
        raise InputError(PLACE, "found ids that are not UTF-8", "rename these rows") from None
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    write_atomically(path, buffer.getvalue(), mode=0o600)


def read_output(path: Path, pool_ids: Sequence[str], output: Output) -> Floats:
    """What a job wrote, in the order of the pool: float64 (m,); picks as 1 and 0.

    Raises:
        JobError: for anything but one finite score for each pool row, or picks of the pool.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.is_dir():
        raise JobError("wrote a folder to {out}, expected one parquet file")
    if not path.is_file():
        raise JobError("wrote no file to {out}")
    wanted = [ID, SCORE] if output == "scores" else [ID]
    try:
        with pq.ParquetFile(path) as opened:
            names = opened.schema_arrow.names
            for name in wanted:
                if names.count(name) != 1:
                    raise JobError(f"wrote {names.count(name)} columns {name!r}, expected 1")
            table = opened.read(columns=wanted)
        rows = _rows_of(table.column(ID), pool_ids)
        if output == "picks":
            picked = np.zeros(len(pool_ids))
            picked[rows] = 1
            return picked
        return _scores(table.column(SCORE), rows, len(pool_ids))
    except (pa.ArrowException, OSError, UnicodeError, InputError) as error:
        # neither Arrow's words nor ours of a column are passed on: they may quote values
        raise JobError(
            f"wrote no readable parquet file to {{out}} ({type(error).__name__})"
        ) from None


def _rows_of(column: Any, pool_ids: Sequence[str]) -> Indices:
    """Which pool row each id of a column is; each at most once."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = pa.array(as_text(column_from_arrow(column, ID)), pa.string())
    found = pc.index_in(texts, value_set=pa.array(pool_ids, pa.string()), skip_nulls=True)
    if found.null_count:
        raise JobError(f"wrote {found.null_count} ids that the pool does not have")
    rows: Indices = found.to_numpy(zero_copy_only=False).astype(np.int64)
    again = len(rows) - len(np.unique(rows))
    if again:
        raise JobError(f"wrote {again} ids that were there before")
    return rows


def _scores(column: Any, rows: Indices, n_pool: int) -> Floats:
    import pyarrow as pa

    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise JobError("wrote scores that are no numbers")
    if len(rows) < n_pool:
        raise JobError(f"wrote no score for {n_pool - len(rows)} of {n_pool} pool rows")
    scores = np.empty(n_pool)
    scores[rows] = column_from_arrow(column, SCORE)
    if not np.isfinite(scores).all():
        raise JobError("wrote scores that are missing, NaN or infinite")
    return scores
