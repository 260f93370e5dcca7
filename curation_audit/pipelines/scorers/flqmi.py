"""Targeted submodular selection: facility-location mutual information with the private set."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from curation_audit import checks
from curation_audit.checks import SettingError
from curation_audit.pipelines.base import (
    Family,
    FittedScorers,
    PrivateRows,
    Rows,
    SelectionRule,
)
from curation_audit.pipelines.rules.cut import tie_hashes
from curation_audit.pipelines.rules.top import TopK
from curation_audit.pipelines.scorers.lazy_greedy import Coverage, Greedy, lazy_greedy
from curation_audit.pipelines.scorers.row_keys import row_keys
from curation_audit.releases.public_maps import unit_rows
from curation_audit.results import Adjacency
from curation_audit.streams import ShadowStreams
from curation_audit.types import Features, Floats, Inclusion, Indices, Labels, Scores


@dataclass(frozen=True, slots=True, kw_only=True)
class Flqmi:
    """Scores in the order of a greedy set A of ``k`` pool rows, so that ``top_k`` picks just it.

    Greedy by ``I(A; T) = sum_t max_{a in A} s(a, t) + eta sum_{a in A} max_t s(a, t)`` over the
    private rows t (FL2MI of submodlib; Kaushal et al. 2021, PRISM; CRAIG is a special case), with
    the cosine, or 0 where it is negative, as s. The score of the i-th picked row is what it added;
    that of any other row is what it would add at the end. Where rounding or ties would upset the
    order, scores are lowered by as little as can be. Of rows that add the same, the first by a
    keyed hash of the id is picked. Nothing private at all adds nothing: 0.
    """

    name: ClassVar[str] = "flqmi"
    family: ClassVar[Family] = "other"
    adjacency: ClassVar[Adjacency] = "add_remove"
    k: int
    eta: float = 1.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        checks.positive(k=self.k)
        if not 0 <= self.eta < np.inf:
            raise ValueError(f"eta must be 0 or more, got {self.eta}.")

    def check_use(self, rule: SelectionRule, n_canaries: int) -> None:
        """Raise ``SettingError`` for a rule that picks more rows than were taken greedily."""
        if isinstance(rule, TopK) and rule.k > self.k:
            raise SettingError(
                "curate.select.k",
                f"found {rule.k}, but flqmi takes {self.k} rows",
                f"expected at most {self.k}, or a larger curate.scorer.k",
            )

    def embed(self, features: Features, labels: Labels | None = None) -> Features:
        """Rows scaled to length one."""
        return unit_rows(features)

    def unembed(self, embedded: Features, length: float) -> Features:
        """Rows of that length in the same direction."""
        return unit_rows(embedded) * length

    def fit(
        self, private: PrivateRows, inclusion: Inclusion, pool: Rows, *, streams: ShadowStreams
    ) -> FittedScorers:
        """All S greedy runs in step.

        Raises:
            SettingError: if the pool has fewer than k rows.
        """
        if self.k > len(pool):
            raise SettingError(
                "curate.scorer.k",
                f"found {self.k}, but the pool has {len(pool)} rows",
                "pick fewer rows",
            )
        coverage = Coverage(
            private=unit_rows(private.features.astype(np.float64)),
            held=private.row_inclusion(inclusion),
            eta=self.eta,
        )
        by_hash = np.argsort(tie_hashes(pool.ids, "flqmi"), kind="stable")
        rows = unit_rows(pool.features[by_hash].astype(np.float64))
        found = lazy_greedy(coverage, rows, self.k)
        at_end = coverage.gains(rows, found.covered)
        scores = np.empty(at_end.shape, dtype=pool.features.dtype)
        scores[:, by_hash] = ordered_scores(found, at_end, scores.dtype)
        return FlqmiScorers(pool.features, scores, self.k, coverage, found.covered)

    def linearise(self, private: PrivateRows, pool: Rows) -> None:
        """A greedy set is not linear in the coins."""
        return


def ordered_scores(found: Greedy, at_end: Floats, dtype: np.dtype) -> Scores:
    """Scores (S, m) from what picked rows added and others would: strictly falling over the picks.

    ``at_end`` (S, m): what every row would add.
    """
    gains = found.gains.astype(dtype)
    for i in range(1, gains.shape[1]):
        gains[:, i] = np.minimum(gains[:, i], below(gains[:, i - 1]))
    scores: Scores = np.minimum(at_end.astype(dtype), below(gains[:, -1:]))
    np.put_along_axis(scores, found.picks, gains, axis=1)
    return scores


def below(values: Scores) -> Scores:
    """The next smaller numbers of their kind."""
    smaller: Scores = np.nextafter(values, np.array(-np.inf, dtype=values.dtype))
    return smaller


@dataclass(frozen=True, slots=True)
class FlqmiScorers:
    """S greedy sets of ``k`` rows of one pool (m, d) with ``scores`` (S, m).

    A row that equals one of the pool's has its score, and the second of equal rows that of the
    second; any other row has what it would add at the end.
    """

    pool: Features
    scores: Scores
    k: int
    coverage: Coverage
    covered: Floats

    def score(self, features: Features, labels: Labels | None = None) -> Scores:
        """(rows, d) -> (S, rows)."""
        place = places_of(features, self.pool)
        scores = self.scores[:, place]
        new = place < 0
        if new.any():
            rows = unit_rows(features[new].astype(np.float64))
            gains = self.coverage.gains(rows, self.covered).astype(scores.dtype)
            last = np.partition(self.scores, -self.k, axis=1)[:, -self.k, None]
            scores[:, new] = np.minimum(gains, below(last))
        return scores


def places_of(rows: Features, pool: Features) -> Indices:
    """Which pool row each row is, int64 (rows,); -1 for none.

    Of equal rows the first is the first of the pool's that are equal to it, and so on.
    """
    if np.array_equal(rows, pool):
        return np.arange(len(pool))
    both = np.concatenate([pool, rows.astype(pool.dtype)])
    codes = np.unique(row_keys(both), return_inverse=True)[1]
    known, asked = codes[: len(pool)], codes[len(pool) :]
    there = known * len(both) + numbered_among_equals(known)
    wanted = asked * len(both) + numbered_among_equals(asked)
    order = np.argsort(there)
    found = np.searchsorted(there[order], wanted)
    place = order[np.minimum(found, len(pool) - 1)]
    return np.where(there[place] == wanted, place, -1)


def numbered_among_equals(codes: Indices) -> Indices:
    """How many equal codes stand before each, int64 (n,)."""
    order = np.argsort(codes, kind="stable")
    ranked = codes[order]
    numbers = np.empty(len(codes), dtype=np.int64)
    numbers[order] = np.arange(len(codes)) - np.searchsorted(ranked, ranked)
    return numbers
