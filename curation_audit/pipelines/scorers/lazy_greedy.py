"""Greedy sets of pool rows that cover the private rows of S shadows, all in step.

Gains only fall as a set grows, so that a row's last gain bounds its next one: in each step only
rows whose bound beats the best are looked at again (Minoux 1978).
"""

from dataclasses import dataclass

import numpy as np

from curation_audit.pipelines.scorers.nearest import Nearest, NearestScorers, parts
from curation_audit.types import Features, Floats, Indices, Mask

LOOKED_AT = 8  # rows of a shadow at first, and twice as many each time after
MOST_NUMBERS = 2**18  # of similarities at a time; they stay in the processor's cache
ROUNDING = 1e-12  # gains that differ by no more than this share are equal


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What pool rows add: ``sum_t max(s - covered, 0) + eta max_t s``, t over what a shadow holds.

    ``private`` float64 (n, p) of length one, ``held`` bool (S, n); s is the cosine, or 0 where it
    is negative. What a shadow does not hold is covered to infinity.
    """

    private: Features
    held: Mask
    eta: float

    def uncovered(self) -> Floats:
        """How well nothing covers the private rows, (S, n)."""
        return np.where(self.held, 0.0, np.inf)

    def similarity(self, rows: Features) -> Features:
        """(rows, p) -> (rows, n)."""
        return np.maximum(rows @ self.private.T, 0)

    def relevance(self, rows: Features) -> Floats:
        """``eta max_t s``, (rows, p) -> (S, rows)."""
        nearest = NearestScorers(self.private, self.held, Nearest(metric="inner_product"))
        return self.eta * np.maximum(nearest.score(rows), 0)

    def gains(self, rows: Features, covered: Floats) -> Floats:
        """What every row would add, (rows, p) -> (S, rows)."""
        gains = self.relevance(rows)
        for part in parts(np.arange(len(rows)), MOST_NUMBERS // self.held.size):
            similarity = self.similarity(rows[part])
            gains[:, part] += np.maximum(similarity - covered[:, None], 0).sum(axis=2)
        return gains

    def first_gains(self, rows: Features) -> Floats:
        """What every row would add where nothing is covered yet, (rows, p) -> (S, rows)."""
        gains = self.relevance(rows)
        held = self.held.T.astype(np.float64)
        for part in parts(np.arange(len(rows)), MOST_NUMBERS // len(held)):
            gains[:, part] += (self.similarity(rows[part]) @ held).T
        return gains


@dataclass(frozen=True, slots=True)
class Greedy:
    """The picked rows int64 (S, k) in order, what each added, and how all covers what, (S, n)."""

    picks: Indices
    gains: Floats
    covered: Floats


def lazy_greedy(coverage: Coverage, rows: Features, k: int) -> Greedy:
    """The greedy sets of k of the rows (m, p); of rows that add the same the first is taken."""
    covered = coverage.uncovered()
    relevance = coverage.relevance(rows)
    bounds = coverage.first_gains(rows)
    shadows = np.arange(len(bounds))
    picks = np.empty((len(bounds), k), dtype=np.int64)
    gains = np.empty((len(bounds), k))
    for i in range(k):
        picks[:, i], gains[:, i] = _best(coverage, rows, covered, relevance, bounds)
        bounds[shadows, picks[:, i]] = -np.inf
        similarity = coverage.similarity(rows[picks[:, i]])
        covered = np.maximum(covered, similarity)
    return Greedy(picks, gains, covered)


def _best(
    coverage: Coverage, rows: Features, covered: Floats, relevance: Floats, bounds: Floats
) -> tuple[Indices, Floats]:
    """The row that adds most to each shadow's set, and how much; ``bounds`` (S, m) tighten."""
    n_shadows, m = bounds.shape
    fresh = np.zeros(bounds.shape, dtype=bool)
    best, gain = np.full(n_shadows, m), np.full(n_shadows, -np.inf)
    places = np.arange(m)
    n_asked = LOOKED_AT
    while True:
        slack = ROUNDING * np.maximum(gain, 0)[:, None]
        better = bounds > gain[:, None] + slack
        earlier = (bounds >= gain[:, None] - slack) & (places < best[:, None])
        hopeful = np.where((better | earlier) & ~fresh, bounds, -np.inf)
        shadow = np.flatnonzero(np.isfinite(hopeful).any(axis=1))
        if not len(shadow):
            return best, gain
        asked = _most_hopeful(hopeful[shadow], n_asked)
        found = _gains_of(coverage, rows, covered[shadow], asked) + np.take_along_axis(
            relevance[shadow], asked, 1
        )
        # where few are left, rows that were picked or looked at are among them
        open_rows = np.isfinite(np.take_along_axis(hopeful[shadow], asked, 1))
        found = np.where(open_rows, found, -np.inf)
        at, of = shadow[np.nonzero(open_rows)[0]], asked[open_rows]
        bounds[at, of], fresh[at, of] = found[open_rows], True
        best[shadow], gain[shadow] = _updated(best[shadow], gain[shadow], asked, found)
        n_asked *= 2


def _most_hopeful(hopeful: Floats, n: int) -> Indices:
    """The first row with the largest bound, and n of the largest, (S, m) -> (S, n + 1)."""
    n = min(n, hopeful.shape[1])
    largest = np.argpartition(hopeful, hopeful.shape[1] - n, axis=1)[:, hopeful.shape[1] - n :]
    return np.concatenate([hopeful.argmax(axis=1)[:, None], largest], axis=1)


def _gains_of(coverage: Coverage, rows: Features, covered: Floats, asked: Indices) -> Floats:
    """By how much rows (S, b) of each shadow cover more, (S, b).

    Row by row, not shadow by shadow: most shadows ask about the same rows, whose similarities are
    computed once.
    """
    n_pairs = MOST_NUMBERS // covered.shape[1]
    shadow = np.repeat(np.arange(len(asked)), asked.shape[1])
    in_rows = np.argsort(asked, axis=None, kind="stable")
    distinct, first = np.unique(asked.ravel()[in_rows], return_index=True)
    ends = np.append(first, asked.size)
    gains = np.empty(asked.size)
    for block in parts(np.arange(len(distinct)), n_pairs):
        similarity = coverage.similarity(rows[distinct[block]])
        pairs = in_rows[ends[block[0]] : ends[block[-1] + 1]]
        place = np.repeat(np.arange(len(block)), np.diff(ends)[block])
        for part in parts(np.arange(len(pairs)), n_pairs):
            more = similarity[place[part]]
            more -= covered[shadow[pairs[part]]]
            gains[pairs[part]] = np.maximum(more, 0, out=more).sum(axis=1)
    return gains.reshape(asked.shape)


def _updated(best: Indices, gain: Floats, asked: Indices, found: Floats) -> tuple[Indices, Floats]:
    """The better of the best so far and what was found (S, b); of equals the first row."""
    rows = np.concatenate([best[:, None], asked], axis=1)
    gains = np.concatenate([gain[:, None], found], axis=1)
    largest = gains.max(axis=1, keepdims=True)
    equal = gains >= largest - ROUNDING * np.maximum(largest, 0)
    first = np.where(equal, rows, np.iinfo(np.int64).max).argmin(axis=1)[:, None]
    return np.take_along_axis(rows, first, 1)[:, 0], np.take_along_axis(gains, first, 1)[:, 0]
