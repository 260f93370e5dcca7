"""A release in dask data frames, partition by partition; nothing is shuffled or sorted."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from curation_audit.adapters.arrow import (
    check_columns,
    check_scored,
    cut_of,
    pick_frame,
    scores_of_frame,
)
from curation_audit.pipelines.rules.cut import Cut, Levelled, select
from curation_audit.releases.release import SCORE, Release

if TYPE_CHECKING:
    import dask.dataframe as dd


def score(frame: "dd.DataFrame", release: Release) -> "dd.DataFrame":
    """The data frame with a column ``dp_score`` (float64) appended, computed when it is needed.

    Raises:
        InputError: at once where a column is missing or ``dp_score`` is taken.
    """
    check_columns(list(frame.columns), release)
    # a column of its own, so that who asks for scores reads the release's columns and no others
    scores = frame[list(release.columns)].map_partitions(
        _scores, release, meta=pd.Series(dtype=np.float64, name=SCORE)
    )
    return frame.assign(**{SCORE: scores})


def pick(frame: "dd.DataFrame", rule: Any, id: str | None = None) -> "dd.DataFrame":
    """The rows of a scored data frame that a rule keeps, in their order, when it is computed.

    Scores and ids are computed at once and held in memory, for the cut (a ``Cut`` or a
    rule of fixed levels does without); partitions are then filtered where they lie. Scores that are
    not stored are computed again, to the same bit.

    Args:
        frame: with a column ``dp_score``.
        rule: one of a single cut (see ``select``), or a ``Cut`` made before.
        id: the column of ids, by which rows of equal score are told apart.

    Raises:
        InputError: where a column is missing, ids are needed, or there are too few rows.
    """
    check_scored(list(frame.columns), id)
    return frame.map_partitions(pick_frame, _cut(frame, rule, id), id, meta=frame._meta)


def _cut(frame: "dd.DataFrame", rule: Any, id: str | None) -> Cut:
    if isinstance(rule, Cut | Levelled) or id is None:
        return cut_of(None, rule, id)
    pool = frame[[SCORE, id]].compute()
    return select(pool[SCORE], rule, pool[id])


def _scores(part: pd.DataFrame, release: Release) -> pd.Series:
    return pd.Series(scores_of_frame(part, release), index=part.index, name=SCORE)
