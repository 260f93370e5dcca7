"""The best k rows, or the best fraction of the pool."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from curation_audit.checks import SettingError, in_open_unit, positive
from curation_audit.observations import Selection
from curation_audit.pipelines.base import Rows
from curation_audit.streams import ShadowStreams
from curation_audit.types import Indices, Scores


@dataclass(frozen=True, slots=True, kw_only=True)
class TopK:
    """The ``k`` rows with the largest scores, exactly k."""

    name: ClassVar[str] = "top_k"
    by_rank: ClassVar[bool] = True
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


def best_rows(scores: Scores, tie_order: Indices, k: int) -> Selection:
    """The k largest scores of every row (S, m); of equal scores the lower ``tie_order`` wins.

    Raises:
        SettingError: if the pool has fewer than k rows.
    """
    n_shadows, n_pool = scores.shape
    _at_most(k, n_pool)
    in_tie_order = np.argsort(tie_order)
    by_score = np.argsort(-scores[:, in_tie_order], axis=1, kind="stable")[:, :k]
    picked = np.sort(in_tie_order[by_score], axis=1)
    offsets = np.arange(n_shadows + 1, dtype=np.int64) * k
    return Selection(picked.ravel().astype(np.int64), offsets, n_pool)


def _at_most(k: int, n_pool: int) -> int:
    if k > n_pool:
        raise SettingError(
            "curate.select", f"found k = {k}, but the pool has {n_pool} rows", "pick fewer rows"
        )
    return k
