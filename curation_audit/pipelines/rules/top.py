"""The best k rows, the best fraction of the pool, or the first rows of a greedy order."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from curation_audit.checks import SettingError, in_open_unit, positive
from curation_audit.observations import Selection
from curation_audit.pipelines.base import Rows
from curation_audit.streams import ShadowStreams
from curation_audit.types import Indices, Scores

NUMBERS_IN_CACHE = 2**19


@dataclass(frozen=True, slots=True, kw_only=True)
class TopK:
    """The ``k`` rows with the largest scores, exactly k."""

    name: ClassVar[str] = "top_k"
    by_rank: ClassVar[bool] = True
    one_cut: ClassVar[bool] = True
    k: int

    def __post_init__(self) -> None:
        """Check k."""
        positive(k=self.k)

    def size(self, n_pool: int) -> int:
        """k; raises ``SettingError`` where the pool has fewer rows."""
        return _at_most(self.k, n_pool)

    def select(
        self,
        scores: Scores,
        tie_order: Indices,
        streams: ShadowStreams | None = None,
        pool: Rows | None = None,
    ) -> Selection:
        """Pick k rows of every shadow."""
        return best_rows(scores, tie_order, self.k)


@dataclass(frozen=True, slots=True, kw_only=True)
class TopFraction:
    """The rows with the largest scores, ``round(fraction * m)`` of them and at least one."""

    name: ClassVar[str] = "top_fraction"
    by_rank: ClassVar[bool] = True
    one_cut: ClassVar[bool] = True
    fraction: float

    def __post_init__(self) -> None:
        """Check the fraction."""
        in_open_unit(fraction=self.fraction)

    def size(self, n_pool: int) -> int:
        """How many rows of a pool that is."""
        return _at_most(max(1, round(self.fraction * n_pool)), n_pool)

    def select(
        self,
        scores: Scores,
        tie_order: Indices,
        streams: ShadowStreams | None = None,
        pool: Rows | None = None,
    ) -> Selection:
        """Pick the same number of rows of every shadow."""
        return best_rows(scores, tie_order, self.size(scores.shape[1]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Greedy(TopK):
    """The first ``k`` rows of the order in which a greedy scorer took them.

    For scorers such as ``flqmi``, whose scores fall along that order: the best k rows are its first
    k. Ask for no more than the scorer's own ``k``, as rows after that were never taken.
    """

    name: ClassVar[str] = "greedy"


def best_rows(scores: Scores, tie_order: Indices, k: int) -> Selection:
    """The k largest scores of every row (S, m); of equal scores the lower ``tie_order`` wins.

    Rows without a score (NaN) come last. Only those at the k-th score are put in order, in which
    there is seldom more than one.

    Raises:
        SettingError: if the pool has fewer than k rows.
    """
    n_shadows, n_pool = scores.shape
    _at_most(k, n_pool)
    step = max(1, NUMBERS_IN_CACHE // max(1, n_pool))
    blocks = [scores[at : at + step] for at in range(0, max(1, n_shadows), step)]
    return Selection.concatenate([_best_of(some, tie_order, k) for some in blocks])


def _best_of(scores: Scores, tie_order: Indices, k: int) -> Selection:
    lowered = -scores  # so that NaN is sorted to the end
    at_cut = np.partition(lowered, k - 1, axis=1)[:, k - 1, None]
    tied = (lowered == at_cut) | (np.isnan(lowered) & np.isnan(at_cut))
    picked = (lowered < at_cut) | (np.isnan(at_cut) & ~np.isnan(lowered))
    room = k - picked.sum(axis=1)
    crowded = np.flatnonzero(tied.sum(axis=1) > room)
    shadow, row = np.nonzero(tied[crowded])
    in_order = np.lexsort((tie_order[row], shadow))
    starts = np.searchsorted(shadow, np.arange(len(crowded)))  # ``nonzero`` goes by shadow
    place = np.empty(len(row), dtype=np.int64)
    place[in_order] = np.arange(len(row)) - starts[shadow[in_order]]
    late = place >= room[crowded][shadow]
    tied[crowded[shadow[late]], row[late]] = False
    return Selection.from_mask(picked | tied)


def ranking(scores: Scores, tie_order: Indices) -> Indices:
    """The pool rows of every shadow, the best first, (S, m) -> (S, m).

    Of equal scores the lower ``tie_order`` comes first; rows without a score (NaN) come last.
    """
    in_tie_order = np.argsort(tie_order)
    ranked: Indices = in_tie_order[np.argsort(-scores[:, in_tie_order], axis=1, kind="stable")]
    return ranked


def picks_of(rows: Indices, n_pool: int) -> Selection:
    """The selection of the same number of rows of every shadow, int64 (S, k), in any order."""
    n_shadows, k = rows.shape
    offsets = np.arange(n_shadows + 1, dtype=np.int64) * k
    return Selection(np.sort(rows, axis=1).ravel().astype(np.int64), offsets, n_pool)


def _at_most(k: int, n_pool: int) -> int:
    if k > n_pool:
        raise SettingError(
            "curate.select", f"found k = {k}, but the pool has {n_pool} rows", "pick fewer rows"
        )
    return k
