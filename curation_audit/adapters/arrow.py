"""A release in pandas and pyarrow: whole data frames, and pools that are read as streams.

A stream is anything that pyarrow reads in batches: a ``pyarrow.dataset`` or one of its fragments,
a table, a reader, or another library's object with ``__arrow_c_stream__``. What comes out is a
``pyarrow.RecordBatchReader``; it works when it is read, a batch at a time, in the source's order.
Write it by a ``ParquetWriter``: in ``pyarrow.dataset.write_dataset`` a queue of batches grows.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
import pyarrow as pa

from curation_audit.checks import InputError, known_columns
from curation_audit.pipelines.rules.cut import LARGEST, Cut, Levelled, select
from curation_audit.pipelines.rules.top import TopK
from curation_audit.releases.release import SCORE, Release
from curation_audit.types import Floats, Mask

if TYPE_CHECKING:
    import pandas as pd

Part = TypeVar("Part", pa.Table, pa.RecordBatch)
BATCH_ROWS: Final = 8_192
"""Several batches are read ahead; of pyarrow's own 131,072 rows, they may hold gigabytes."""
LIGHT_BATCH_ROWS: Final = 131_072  # of scores and ids alone
ROWS_KEPT: Final = 4  # times k, before the best are sorted out again


def score(source: Any, release: Release, *, batch_rows: int = BATCH_ROWS) -> pa.RecordBatchReader:
    """The stream with a column ``dp_score`` (float64) appended.

    Raises:
        InputError: at once where a column is missing; while reading where it holds no numbers.
    """
    schema, batches = _opened(source, batch_rows)
    scored = release(schema.empty_table()).schema
    return pa.RecordBatchReader.from_batches(scored, _scored(batches, release))


def pick(
    source: Any, rule: Any, id: str | None = None, *, batch_rows: int = BATCH_ROWS
) -> pa.RecordBatchReader:
    """The rows of a scored pool that a rule keeps, all their columns in their order, as a stream.

    The pool is read twice: only its scores and ids, which are held in memory, for the cut; then
    all columns, batch by batch. A ``Cut`` or a rule of fixed levels needs the second alone.

    Args:
        source: a scored stream that can be read again, such as a data set of files.
        rule: one of a single cut (see ``select``), or a ``Cut`` made before.
        id: the column of ids, by which rows of equal score are told apart.
        batch_rows: at most so many rows are read at once.

    Raises:
        InputError: where a column is missing, ids are needed, or the source is read only once.
    """
    cut = cut_of(source, rule, id)
    schema, batches = _opened(source, batch_rows)
    check_scored(schema.names, id)
    return pa.RecordBatchReader.from_batches(schema, (keep(batch, cut, id) for batch in batches))


def cut_of(source: Any, rule: Any, id: str | None = None) -> Cut:
    """The cut of a scored pool, for the workers of a job; reads its scores and ids only.

    Raises:
        InputError: as ``pick``.
    """
    if isinstance(rule, Cut):
        return check_ids(rule, id)
    if isinstance(rule, Levelled):
        return select(np.empty(0), rule)
    if id is None:
        raise _no_ids()
    if _is_read_only_once(source):
        hint = "write the scores first, then pick from the files; or pick by a Cut or a Threshold"
        raise InputError("the source", "can be read only once", hint)
    schema, batches = _column_batches(source, [SCORE, id])
    kept = best_so_far(batches, rule.k) if isinstance(rule, TopK) else batches
    table = pa.Table.from_batches(kept, schema)
    return select(np.asarray(table[SCORE]), rule, table[id])


def best_so_far(batches: Iterable[pa.RecordBatch], k: int) -> list[pa.RecordBatch]:
    """Of a scored stream the rows whose score is the k-th best or better, in their order.

    Once there are k + 1 scores, a row below the least of them is never looked at again (one more
    than k, so that a cut tells them from a pool of k rows); what is held are a few times k rows, or
    131,072, and all that have just the k-th score. Rows without a score (NaN) are there only where
    scores are too few.
    """
    kept: list[pa.RecordBatch] = []
    least, n_kept, most = -np.inf, 0, max(ROWS_KEPT * k, LIGHT_BATCH_ROWS)
    for batch in batches:
        near = batch if least == -np.inf else _at_least(batch, least)
        kept.append(near)
        n_kept += len(near)
        if n_kept > most:
            found = _kth_best(kept, k + 1)
            if not np.isnan(found):
                least, kept = found, [_at_least(one, found) for one in kept]
            n_kept = sum(map(len, kept))
            most = max(most, 2 * n_kept)  # many rows of one score are no reason to sort again
    return kept


def _kth_best(batches: list[pa.RecordBatch], k: int) -> float:
    """NaN where there are fewer scores."""
    lowered = -np.concatenate([_scores_of(one) for one in batches])
    return float(-np.partition(lowered, k - 1)[k - 1])


def _at_least(batch: pa.RecordBatch, least: float) -> pa.RecordBatch:
    return batch.filter(pa.array(_scores_of(batch) >= least))


def _scores_of(batch: pa.RecordBatch) -> Floats:
    """Float64; NaN where there is none."""
    return np.asarray(batch.column(SCORE), dtype=np.float64)


def keep(part: Part, cut: Cut, id: str | None = None) -> Part:
    """The rows of a scored table or batch that a cut keeps."""
    kept: Part = part.filter(pa.array(mask_of(part, cut, id)))
    return kept


def mask_of(part: pa.Table | pa.RecordBatch, cut: Cut, id: str | None = None) -> Mask:
    """Which rows of a scored table or batch a cut keeps, bool (rows,)."""
    ids = None if id is None else part.column(id)
    return cut.mask(np.asarray(part.column(SCORE), dtype=np.float64), ids)


def score_frame(frame: "pd.DataFrame", release: Release) -> "pd.DataFrame":
    """The data frame with a column ``dp_score`` (float64) appended; its index stays.

    Raises:
        InputError: where a column is missing, holds no numbers, or ``dp_score`` is taken.
    """
    return frame.assign(**{SCORE: scores_of_frame(frame, release)})


def scores_of_frame(frame: "pd.DataFrame", release: Release) -> Floats:
    """The scores of a data frame's rows, float64 (rows,)."""
    check_columns(list(frame.columns), release)
    table = pa.Table.from_pandas(frame[list(release.columns)], preserve_index=False)
    scores: Floats = release(table)[SCORE].to_numpy()
    return scores


def pick_frame(frame: "pd.DataFrame", rule: Any, id: str | None = None) -> "pd.DataFrame":
    """The rows of a scored data frame that a rule keeps, in their order.

    Args:
        frame: with a column ``dp_score``.
        rule: one of a single cut (see ``select``), or a ``Cut`` made before.
        id: the column of ids, by which rows of equal score are told apart; by default the rows'
            numbers do it.

    Raises:
        InputError: where a column is missing, or there are fewer rows than shall be picked.
    """
    check_scored(list(frame.columns), id)
    ids = None if id is None else frame[id]
    cut = check_ids(rule, id) if isinstance(rule, Cut) else select(frame[SCORE], rule, ids)
    return frame[cut.mask(frame[SCORE], ids)]


def check_columns(names: list[Any], release: Release) -> None:
    """Raise the release's own ``InputError`` where a table with these columns cannot be scored."""
    release(pa.table({str(name): pa.nulls(0) for name in names}))


def check_scored(names: list[str], id: str | None) -> None:
    """Raise ``InputError`` where scores or ids are missing."""
    if SCORE not in names:
        raise InputError("the pool", f"has no column {SCORE!r}", "score it first")
    if id is not None and id not in names:
        raise InputError("the pool", f"has no column {id!r}", known_columns(id, names))


def check_ids(cut: Cut, id: str | None) -> Cut:
    """The cut; raises ``InputError`` where it tells rows apart by ids, and none are named."""
    if id is None and cut.tie_bound != LARGEST:
        raise _no_ids()
    return cut


def _no_ids() -> InputError:
    hint = "name the column of ids, such as id='uid'"
    return InputError("id", "is needed to tell rows of equal score apart", hint)


def _scored(batches: Iterable[pa.RecordBatch], release: Release) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield from release(pa.Table.from_batches([batch])).to_batches()


def _opened(source: Any, batch_rows: int) -> tuple[pa.Schema, Iterable[pa.RecordBatch]]:
    """The schema and the batches of a stream; nothing is read before the first batch is."""
    if hasattr(source, "scanner"):  # data sets and their fragments
        scanner = source.scanner(batch_size=batch_rows, **_scan_options(source))
        return scanner.projected_schema, _scanned(scanner)
    if isinstance(source, pa.Table):
        return source.schema, source.to_batches(max_chunksize=batch_rows)
    if hasattr(source, "__arrow_c_stream__"):
        reader = pa.RecordBatchReader.from_stream(source)
        return reader.schema, reader
    hint = "expected a pyarrow data set, table or reader, or an object with __arrow_c_stream__"
    raise InputError("the source", f"is a {type(source).__name__}", hint)


def _is_read_only_once(source: Any) -> bool:
    """Whether a stream is gone after it was read; its first batch is asked for twice to tell."""
    if isinstance(source, pa.RecordBatchReader):
        return True
    if isinstance(source, pa.Table) or hasattr(source, "scanner"):
        return False
    first, second = (next(iter(_opened(source, BATCH_ROWS)[1]), None) for _ in range(2))
    if first is None or second is None:
        return first is not second
    return not first.serialize().equals(second.serialize())  # a next batch; NaN equals itself here


def _scanned(scanner: Any) -> Iterator[pa.RecordBatch]:
    yield from scanner.to_batches()  # reads ahead as soon as it is called


def _scan_options(source: Any) -> dict[str, Any]:
    """For parquet, reading without a buffer ahead, which keeps a file until its end is read."""
    kind = getattr(source, "format", None)
    if kind is None:
        return {}
    import pyarrow.dataset as pds  # which imports pandas; whoever has a data set has it already

    if not isinstance(kind, pds.ParquetFileFormat):
        return {}
    return {"fragment_scan_options": pds.ParquetFragmentScanOptions(pre_buffer=False)}


def _column_batches(source: Any, names: list[str]) -> tuple[pa.Schema, Iterable[pa.RecordBatch]]:
    """Some columns of a stream; of files, no others are read."""
    schema, batches = _opened(source, LIGHT_BATCH_ROWS)
    check_scored(schema.names, names[-1])
    of_columns = pa.schema([schema.field(name) for name in names])
    if not hasattr(source, "scanner"):
        return of_columns, (batch.select(names) for batch in batches)
    scanner = source.scanner(columns=names, batch_size=LIGHT_BATCH_ROWS, **_scan_options(source))
    return of_columns, _scanned(scanner)
