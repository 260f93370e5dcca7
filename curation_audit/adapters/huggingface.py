"""A release in Hugging Face ``datasets``: a ``Dataset`` on disk or in memory, or a streamed one.

``map`` names its cache by the content of the release: the same release finds its scores there
again, another one does not.
"""

from functools import partial
from typing import Any, Final, TypeVar

import numpy as np
import pyarrow as pa
from datasets import Dataset, Features, IterableDataset, Value

from curation_audit.adapters.arrow import check_columns, check_ids, check_scored, cut_of, mask_of
from curation_audit.checks import InputError
from curation_audit.pipelines.rules.cut import Cut, Levelled, select
from curation_audit.releases.release import SCORE, Release

Rows = TypeVar("Rows", Dataset, IterableDataset)
BATCH_ROWS: Final = 1_000


def score(ds: Rows, release: Release, *, batch_size: int = BATCH_ROWS, **options: Any) -> Rows:
    """The data set with a column ``dp_score`` (float64) appended; its format stays.

    Args:
        ds: one split. A streamed one is scored when it is read.
        release: what scores.
        batch_size: so many rows at a time.
        options: others of ``map``, such as ``num_proc`` of a ``Dataset``; columns are better
            removed afterwards.

    Raises:
        InputError: at once where a column is missing or ``dp_score`` is taken, if the columns are
            known; else when rows are read.
    """
    _check_split(ds)
    if ds.column_names is not None:
        check_columns(list(ds.column_names), release)
    if isinstance(ds, Dataset) and not len(ds):  # map() calls nothing, and would add no column
        return ds.add_column(SCORE, np.empty(0))
    # without their types, a streamed data set forgets its columns, and labels their names
    types = Features({**ds.features, SCORE: Value("float64")}) if ds.features else None
    scored = ds.with_format("arrow").map(
        release, batched=True, batch_size=batch_size, features=types, **options
    )
    return _formatted_as(ds, scored)


def pick(ds: Rows, rule: Any, id: str | None = None, *, batch_size: int = BATCH_ROWS) -> Rows:
    """The rows of a scored data set that a rule keeps, in their order; its format stays.

    A streamed data set is read twice: at once its scores and ids, which are held in memory, for
    the cut (a ``Cut`` or a rule of fixed levels does without); all of it when what was picked is
    read.

    Args:
        ds: one split with a column ``dp_score``.
        rule: one of a single cut (see ``select``), or a ``Cut`` made before.
        id: the column of ids, by which rows of equal score are told apart. A ``Dataset`` can do
            without: the rows' numbers do it.
        batch_size: so many rows of a streamed data set at a time.

    Raises:
        InputError: where a column is missing, ids are needed, or there are too few rows.
    """
    _check_split(ds)
    if ds.column_names is not None:
        check_scored(list(ds.column_names), id)
    if isinstance(ds, Dataset):
        return ds.select(_picked(ds, rule, id))
    keeps = partial(mask_of, cut=_streamed_cut(ds, rule, id), id=id)
    kept = ds.with_format("arrow").filter(keeps, batched=True, batch_size=batch_size)
    return _formatted_as(ds, kept)


def _picked(ds: Dataset, rule: Any, id: str | None) -> Any:
    """The numbers of the kept rows, int64."""
    table = ds.select_columns([SCORE] if id is None else [SCORE, id]).with_format("arrow")[:]
    scores, ids = table[SCORE].to_numpy(), None if id is None else table[id]
    cut = check_ids(rule, id) if isinstance(rule, Cut) else select(scores, rule, ids)
    return cut.indices(scores, ids)


def _streamed_cut(ds: IterableDataset, rule: Any, id: str | None) -> Cut:
    if isinstance(rule, Cut | Levelled) or id is None:
        return cut_of(None, rule, id)
    empty = pa.table({SCORE: pa.array([], pa.float64()), id: pa.nulls(0)})
    tables = list(ds.select_columns([SCORE, id]).with_format("arrow").iter(BATCH_ROWS))
    return cut_of(pa.concat_tables(tables) if tables else empty, rule, id)


def _check_split(ds: Any) -> None:
    if isinstance(ds, dict):
        hint = f"pass one of them: {', '.join(map(str, ds))}"
        raise InputError("the data set", "is a dictionary of splits", hint)


def _formatted_as(before: Rows, after: Rows) -> Rows:
    """The data set in the format that another one has."""
    if isinstance(before, IterableDataset):
        streamed = before._formatting  # a streamed data set has no public name for it
        return after.with_format(streamed.format_type if streamed else None)
    own: dict[str, Any] = before.format
    shown = None  # all columns
    if own["columns"] != before.column_names:
        shown = [name for name in [*own["columns"], SCORE] if name in after.column_names]
    return after.with_format(own["type"], shown, own["output_all_columns"], **own["format_kwargs"])
