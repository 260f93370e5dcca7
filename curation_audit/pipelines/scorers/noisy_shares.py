"""DSIR from a noisy histogram of hashed n-grams."""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
from scipy import sparse
from sklearn.covariance import ledoit_wolf

from curation_audit.dp.discrete_sum import DiscreteSum
from curation_audit.dp.gaussian_sum import GaussianSum
from curation_audit.observations import Linearisation
from curation_audit.pipelines.base import Family, FittedScorers, PrivateRows, Rows
from curation_audit.pipelines.scorers.dsir import Dsir, DsirScorers, log_shares
from curation_audit.pipelines.scorers.noisy_sum import NoisySum
from curation_audit.releases.public_maps import digest
from curation_audit.results import Adjacency
from curation_audit.streams import ShadowStreams
from curation_audit.types import Features, Floats, Inclusion, Labels


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NgramShares:
    """A text's n-grams as shares of the text, by hash bucket: one text adds up to one."""

    name: ClassVar[str] = "dsir_histogram"
    nonnegative: ClassVar[bool] = True
    of: Dsir

    def contribution(self, features: Features, labels: Labels | None = None) -> Floats:
        """(rows, L) -> float64 (rows, buckets)."""
        counts = self.of.counts(features).toarray()
        shares: Floats = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        return shares

    def query(self, features: Features, labels: Labels | None = None) -> Features:
        """What the logarithms are multiplied by."""
        return self.of.embed(features, labels)

    def phi(self, features: Features) -> sparse.csr_array:
        """The same for many buckets, sparse."""
        return self.of.phi(features)

    def describe(self) -> dict[str, Any]:
        """The hash's settings."""
        return asdict(self.of)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoisyShares:
    """``score(x) = phi(x)' (log p - log q)``; p the shares of a noisy histogram, q the pool's.

    Everything behind the noise is free: counts below 0 become 0, ``smoothing`` is added to every
    bucket, and all are divided by their sum. ``log_pool``, float64 (buckets,), is public.
    """

    histogram: NoisySum
    map: NgramShares
    smoothing: float
    log_pool: Floats

    @property
    def name(self) -> str:
        """The mechanism's."""
        return self.map.name

    @property
    def family(self) -> Family:
        """As DSIR: linear where the buckets are few enough to be shown."""
        return self.map.of.family

    @property
    def adjacency(self) -> Adjacency:
        """As the histogram."""
        return self.histogram.adjacency

    @property
    def mechanism(self) -> GaussianSum | DiscreteSum:
        """What puts noise on the histogram."""
        return self.histogram.mechanism

    def describe(self) -> dict[str, Any]:
        """What results are told apart by; all of it is public."""
        own = {"smoothing": self.smoothing, "pool": digest(self.log_pool)}
        return {**self.histogram.describe(), **own}

    def embed(self, features: Features, labels: Labels | None = None) -> Features:
        """What the logarithms are multiplied by, (rows, buckets)."""
        return self.map.query(features, labels)

    def fit(
        self, private: PrivateRows, inclusion: Inclusion, pool: Rows, *, streams: ShadowStreams
    ) -> FittedScorers:
        """All S noisy histograms by one matrix product."""
        released = self.histogram.released(private, inclusion, streams)
        return DsirScorers(self._weights(released), self.map.phi)

    def linearise(self, private: PrivateRows, pool: Rows) -> Linearisation | None:
        """The weights where candidates are in by half, by how much each moves them, and the noise.

        Influences are differences, as in ``Dsir.linearise``; the noise is taken by first order.
        """
        if self.family != "linear":
            return None
        of, vectors = self.mechanism, self.histogram.vectors(private)
        moved = vectors[private.candidate_units] / of.denominator
        half = vectors.sum(axis=0) / of.denominator - moved.sum(axis=0) / 2
        influence = self._weights(half + moved / 2) - self._weights(half - moved / 2)
        slope = 1 / (half + self.smoothing)
        read = np.diag(slope) - 1 / (half + self.smoothing).sum()
        noise = of.noise**2 * read @ read.T
        second_moment = ledoit_wolf(influence, assume_centered=True)[0]
        return Linearisation(
            reference=self._weights(half),
            influence=influence,
            covariance=len(influence) / 4 * second_moment + noise,
            slopes=np.ones(len(half), dtype=bool),
            noise=noise if of.noise > 0 else None,
        )

    def _weights(self, released: Floats) -> Floats:
        """From histograms (..., buckets), under noise or not."""
        return log_shares(np.maximum(released, 0) + self.smoothing) - self.log_pool
