"""DSIR: importance weights of hashed n-grams, private against pool (Xie et al. 2023)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

import numpy as np
from scipy import sparse
from sklearn.covariance import ledoit_wolf

from curation_audit import checks
from curation_audit.observations import Linearisation
from curation_audit.pipelines.base import ALWAYS_IN, Family, FittedScorers, PrivateRows, Rows
from curation_audit.pipelines.features.tokens import ngram_counts, token_codes
from curation_audit.pipelines.scorers.linear import half_weights
from curation_audit.pipelines.scorers.token_rows import (
    MOST_EMBEDDED,
    count_profiles,
    shares,
)
from curation_audit.results import Adjacency
from curation_audit.streams import ShadowStreams
from curation_audit.types import Features, Floats, Inclusion, Labels, Scores

FLOOR: Final = 1e-8
ROWS_PER_BLOCK: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Dsir:
    """``score(x) = phi(x)' (log(p_T + 1e-8) - log(p_X + 1e-8))`` on rows of tokens.

    ``phi`` counts the 1- to ``n``-grams of a text in hash ``buckets``. ``p_T = (c_T + smoothing) /
    sum`` are the shares of the buckets in the private texts, ``p_X`` those in the pool, which are
    not smoothed. All defaults are the published ones (Xie et al. 2023, arXiv:2302.03169, and its
    code), with two consequences: without smoothing, a bucket that one private text alone fills
    moves a score by ``log(p / 1e-8)`` for every time a pool row holds it, and the sums favour long
    rows, or short ones. ``normalise: length`` divides by the number of n-grams of the row. The
    published code leaves out rows of fewer than 100 tokens: leave such rows out of the pool.

    With up to 2,048 buckets the family is ``linear``, and attacks see all of it. Beyond, attacks
    that recover the weights would take too long; they are shown the counts in 2,048 buckets.
    """

    name: ClassVar[str] = "dsir"
    adjacency: ClassVar[Adjacency] = "add_remove"
    n: int = 2
    buckets: int = 10_000
    smoothing: float = 0.0
    normalise: Literal["none", "length"] = "none"

    def __post_init__(self) -> None:
        """Check the settings."""
        checks.positive(n=self.n, buckets=self.buckets)
        if not 0 <= self.smoothing < np.inf:
            raise ValueError(f"smoothing must be 0 or more and finite, got {self.smoothing}.")
        checks.one_of("curate.scorer.normalise", self.normalise, ("none", "length"))

    @property
    def family(self) -> Family:
        """Linear in the counts, where these are few enough to be shown."""
        return "linear" if self.buckets <= MOST_EMBEDDED else "other"

    def embed(self, features: Features, labels: Labels | None = None) -> Features:
        """The counts ``phi`` (rows, buckets), of 2,048 buckets at most."""
        profiles = count_profiles(token_codes(features, self.name), self.n, self.buckets)
        return shares(profiles) if self.normalise == "length" else profiles

    def fit(
        self, private: PrivateRows, inclusion: Inclusion, pool: Rows, *, streams: ShadowStreams
    ) -> FittedScorers:
        """All S sums of counts by one product of the inclusion and the counts."""
        held = private.row_inclusion(inclusion).astype(np.float64)
        counts: Floats = (self.counts(private.features).T @ held.T).T
        return DsirScorers(self._weights(counts, self.of_pool(pool)), self.phi)

    def counts(self, features: Features) -> sparse.csr_array:
        """N-grams by bucket, (rows, buckets)."""
        return ngram_counts(token_codes(features, self.name), self.n, self.buckets)

    def phi(self, features: Features) -> sparse.csr_array:
        """What is multiplied by the weights, (rows, buckets)."""
        counts = self.counts(features)
        if self.normalise == "length":
            counts.data /= np.repeat(counts.sum(axis=1), np.diff(counts.indptr))
        return counts

    def of_pool(self, pool: Rows) -> Floats:
        """All of the pool's n-grams by bucket, (buckets,)."""
        parts = [
            self.counts(pool.features[at : at + ROWS_PER_BLOCK]).sum(axis=0)
            for at in range(0, len(pool), ROWS_PER_BLOCK)
        ]
        total: Floats = np.sum(parts, axis=0)
        return total

    def _weights(self, private: Floats, pool: Floats) -> Floats:
        """From counts (..., buckets) of private texts and those of the pool (buckets,)."""
        return log_shares(private + self.smoothing) - log_shares(pool)

    def linearise(self, private: PrivateRows, pool: Rows) -> Linearisation | None:
        """The weights where all candidates are in by half, and how each candidate moves them.

        A candidate's influence is a difference, not a derivative: the weights with it wholly in
        less those with it wholly out, all others by half. Counts that it alone holds jump from
        nothing to something, and a logarithm is not straight there.
        """
        if self.family != "linear":
            return None
        counts, of_pool = self.counts(private.features).toarray(), self.of_pool(pool)
        at_stake = private.unit != ALWAYS_IN
        of_unit = np.zeros((private.n_candidates, self.buckets))
        np.add.at(of_unit, private.unit[at_stake], counts[at_stake])
        half = half_weights(private) @ counts
        with_it = self._weights(half + of_unit / 2, of_pool)
        influence = with_it - self._weights(half - of_unit / 2, of_pool)
        second_moment = ledoit_wolf(influence, assume_centered=True)[0]
        return Linearisation(
            reference=self._weights(half, of_pool),
            influence=influence,
            covariance=private.n_candidates / 4 * second_moment,
            slopes=np.ones(self.buckets, dtype=bool),
        )


def log_shares(counts: Floats) -> Floats:
    """``log(share + 1e-8)``; of no counts at all every share is 0."""
    total = counts.sum(axis=-1, keepdims=True)
    found: Floats = np.log(counts / np.where(total > 0, total, 1) + FLOOR)
    return found


@dataclass(frozen=True, slots=True)
class DsirScorers:
    """S weight vectors float64 (S, buckets) on sparse counts."""

    weights: Floats
    phi: Callable[[Features], sparse.csr_array]

    def score(self, features: Features, labels: Labels | None = None) -> Scores:
        """(rows, L) -> (S, rows)."""
        scores = np.empty((len(self.weights), len(features)), dtype=features.dtype)
        by_bucket = np.ascontiguousarray(self.weights.T)
        for at in range(0, len(features), ROWS_PER_BLOCK):
            block = slice(at, at + ROWS_PER_BLOCK)
            scores[:, block] = (self.phi(features[block]) @ by_bucket).T
        return scores
