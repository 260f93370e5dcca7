"""Pairs of a pool row and a candidate that are alike enough to matter, for all shadows at once.

A nearest scorer picks a row where one of its members is at least as similar as the threshold.
Few pairs reach any shadow's threshold, so that all work is on arrays (S, pairs).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from curation_audit.attacks.places import Neighbours
from curation_audit.observations import Candidates
from curation_audit.types import Features, Floats, Indices, Mask

VALUES_PER_BLOCK = 2**18  # shadows times pairs; a few arrays of this size stay in cache
PAIRS_PER_ROW = 4  # on average over the pool; bounds time where a threshold is low

T = TypeVar("T", bound=np.generic)
Bits: TypeAlias = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class NearPairs:
    """Pairs in the order of their pool rows, in a row the nearest candidate first.

    ``row``, ``candidate`` int64 (E,) and ``similarity`` float64 (E,). ``starts`` int64 (R,): where
    the pairs of each of the R rows that have any begin; ``group`` int64 (E,): which of those.
    ``by_candidate`` (E,) sorts the pairs by candidate; ``present`` are those that have any, and
    ``candidate_starts`` where theirs begin in that order. ``depth`` int64 (S,): how many of a
    row's nearest candidates each shadow looks at.
    """

    row: Indices
    candidate: Indices
    similarity: Floats
    starts: Indices
    group: Indices
    by_candidate: Indices
    present: Indices
    candidate_starts: Indices
    depth: Indices
    n_candidates: int

    @classmethod
    def above(
        cls, nearest: Neighbours, low: Floats, most: int, candidates: Candidates
    ) -> "NearPairs":
        """Of each row the ``most`` nearest candidates, where at least ``low[s]`` alike for some s.

        Args:
            nearest: at least ``most`` neighbours of each row, or all.
            low: below this a shadow needs no pair, float64 (S,).
            most: how many candidates of a row are looked at, fewer in shadows where so many rows
                have so many that there would be too many pairs (``depths``).
            candidates: their number.
        """
        similarity = nearest.similarity[:, :most]
        depth = depths(similarity, low)
        ranks = range(similarity.shape[1])
        least = np.array([low[depth > rank].min(initial=np.inf) for rank in ranks])
        row, rank = np.nonzero(similarity >= least)
        return cls.of(
            row,
            nearest.candidate[row, rank].astype(np.int64),
            similarity[row, rank].astype(np.float64),
            depth,
            candidates.n_candidates,
        )

    @classmethod
    def of(
        cls, row: Indices, candidate: Indices, similarity: Floats, depth: Indices, n: int
    ) -> "NearPairs":
        """Pairs (E,) in the order of their rows, the nearest of each row first."""
        _, starts, group = np.unique(row, return_index=True, return_inverse=True)
        order = np.argsort(candidate, kind="stable")
        present, own = np.unique(candidate[order], return_index=True)
        return cls(row, candidate, similarity, starts, group, order, present, own, depth, n)

    @property
    def rows(self) -> Indices:
        """The pool row of each of the R groups, (R,)."""
        return self.row[self.starts]

    def blocks(self, n_shadows: int) -> Iterator[slice]:
        """Blocks of shadows whose arrays (S, E) are not large."""
        height = max(1, VALUES_PER_BLOCK // max(1, self.row.shape[0]))
        for start in range(0, n_shadows, height):
            yield slice(start, min(start + height, n_shadows))

    def per_row(self, values: Floats) -> Floats:
        """Sum (S, E) over the pairs of each row: (S, R)."""
        if not self.row.shape[0]:
            return values
        sums: Floats = np.add.reduceat(values, self.starts, axis=1)
        return sums

    def any_of_row(self, pairs: Mask) -> Mask:
        """Whether a row has any of the pairs (S, E): (S, R)."""
        if not self.row.shape[0]:
            return pairs
        found: Mask = np.logical_or.reduceat(pairs, self.starts, axis=1)
        return found

    def looked_at(self, shadows: slice) -> Mask:
        """Which pairs some of the shadows look at, (S, E)."""
        rank = np.arange(self.row.shape[0]) - self.starts[self.group]
        seen: Mask = rank < self.depth[shadows, None]
        return seen

    def per_candidate(self, values: Floats) -> Floats:
        """Sum (S, E) over the pairs of each candidate: (S, N)."""
        return self._over_candidates(np.add, values)

    def bits_of_candidate(self, bits: Bits) -> Bits:
        """All bits that any pair (S, E) of a candidate has: (S, N)."""
        return self._over_candidates(np.bitwise_or, bits)

    def bits_of_row(self, bits: Bits) -> Bits:
        """All bits that any pair (S, E) of a row has: (S, R)."""
        if not self.row.shape[0]:
            return bits
        found: Bits = np.bitwise_or.reduceat(bits, self.starts, axis=1)
        return found

    def _over_candidates(self, combine: np.ufunc, values: NDArray[T]) -> NDArray[T]:
        found = np.zeros((values.shape[0], self.n_candidates), dtype=values.dtype)
        if self.present.shape[0]:
            ordered = values[:, self.by_candidate]
            found[:, self.present] = combine.reduceat(ordered, self.candidate_starts, axis=1)
        return found

    def nearest(self, eligible: Mask, resolution: float) -> Mask:
        """Which pairs are the most similar eligible ones of their row, ties included: (S, E)."""
        if not self.row.shape[0]:
            return eligible
        among = np.where(eligible, self.similarity, -np.inf)
        best = np.maximum.reduceat(among, self.starts, axis=1)[:, self.group]
        chosen: Mask = eligible & (self.similarity >= best - resolution)
        return chosen


def depths(similarity: Features, low: Floats) -> Indices:
    """How many of every row's nearest candidates (m, K) each shadow looks at: int64 (S,).

    As many as leave at most ``PAIRS_PER_ROW`` pairs above ``low`` (S,) to a row on average, and
    one at least. That hangs on the shadow's own ``low`` only.
    """
    n_rows, n_ranks = similarity.shape
    ordered = np.sort(similarity, axis=0).astype(np.float64)
    above = np.stack([n_rows - np.searchsorted(column, low) for column in ordered.T], axis=1)
    few = np.cumsum(above, axis=1) <= PAIRS_PER_ROW * n_rows
    counts: Indices = np.maximum(few.sum(axis=1), min(1, n_ranks))
    return counts
