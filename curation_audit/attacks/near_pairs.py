"""Pairs of a pool row and a candidate that are alike enough to matter, for all shadows at once.

A nearest scorer picks a row where one of its members is at least as similar as the threshold.
Few pairs reach any shadow's threshold, so that all work is on arrays (S, pairs).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from curation_audit.observations import Candidates
from curation_audit.types import Features, Floats, Indices, Mask

ROWS_PER_BLOCK = 1024
VALUES_PER_BLOCK = 2**18  # shadows times pairs; a few arrays of this size stay in cache


@dataclass(frozen=True, slots=True)
class NearPairs:
    """Pairs in the order of their pool rows.

    ``row``, ``candidate`` int64 (E,) and ``similarity`` float64 (E,). ``starts`` int64 (R,): where
    the pairs of each of the R rows that have any begin; ``group`` int64 (E,): which of those.
    ``by_candidate`` (E,) sorts the pairs by candidate; ``present`` are those that have any, and
    ``candidate_starts`` where theirs begin in that order.
    """

    row: Indices
    candidate: Indices
    similarity: Floats
    starts: Indices
    group: Indices
    by_candidate: Indices
    present: Indices
    candidate_starts: Indices
    n_candidates: int

    @classmethod
    def above(cls, pool: Features, candidates: Candidates, least: float, most: int) -> "NearPairs":
        """Pairs at least ``least`` alike; of each row the ``most`` most similar candidates."""
        blocks = [
            _near_in_block(pool[start : start + ROWS_PER_BLOCK], candidates, least, most, start)
            for start in range(0, pool.shape[0], ROWS_PER_BLOCK)
        ]
        row, candidate = (np.concatenate([block[i] for block in blocks]) for i in (0, 1))
        similarity = np.concatenate([block[2] for block in blocks])
        _, starts, group = np.unique(row, return_index=True, return_inverse=True)
        order = np.argsort(candidate, kind="stable")
        present, own = np.unique(candidate[order], return_index=True)
        n = candidates.n_candidates
        return cls(row, candidate, similarity, starts, group, order, present, own, n)

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

    def per_candidate(self, values: Floats) -> Floats:
        """Sum (S, E) over the pairs of each candidate: (S, N)."""
        sums = np.zeros((values.shape[0], self.n_candidates))
        if self.present.shape[0]:
            ordered = values[:, self.by_candidate]
            sums[:, self.present] = np.add.reduceat(ordered, self.candidate_starts, axis=1)
        return sums

    def nearest(self, eligible: Mask, resolution: float) -> Mask:
        """Which pairs are the most similar eligible ones of their row, ties included: (S, E)."""
        if not self.row.shape[0]:
            return eligible
        among = np.where(eligible, self.similarity, -np.inf)
        best = np.maximum.reduceat(among, self.starts, axis=1)[:, self.group]
        chosen: Mask = eligible & (self.similarity >= best - resolution)
        return chosen


def similarities(pool: Features, candidates: Candidates) -> Features:
    """The similarity of each row to each candidate's most similar row: (rows, N)."""
    per_row = pool @ candidates.features.T
    order = np.argsort(candidates.unit, kind="stable")
    if order.shape[0] == candidates.n_candidates:
        alone: Features = per_row[:, order]
        return alone
    starts = np.searchsorted(candidates.unit[order], np.arange(candidates.n_candidates))
    best: Features = np.maximum.reduceat(per_row[:, order], starts, axis=1)
    return best


def _near_in_block(
    pool: Features, candidates: Candidates, least: float, most: int, start: int
) -> tuple[Indices, Indices, Floats]:
    alike = similarities(pool, candidates)
    near = alike >= least
    crowded = near.sum(axis=1) > most
    if crowded.any():
        few = np.argpartition(-alike[crowded], most - 1, axis=1)[:, :most]
        among = np.zeros((int(crowded.sum()), alike.shape[1]), dtype=bool)
        np.put_along_axis(among, few, True, axis=1)
        near[crowded] &= among
    row, candidate = np.nonzero(near)
    return row + start, candidate, alike[row, candidate].astype(np.float64)
