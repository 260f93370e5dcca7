"""Private scorers that release one noisy sum: a mean, votes, gradients."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from sklearn.covariance import ledoit_wolf

from curation_audit.dp.clipping import unit_sums
from curation_audit.dp.discrete_sum import DiscreteSum
from curation_audit.dp.gaussian_sum import GaussianSum
from curation_audit.observations import Linearisation
from curation_audit.pipelines.base import Family, FittedScorers, PrivateRows, Rows
from curation_audit.pipelines.scorers.linear import LinearScorers
from curation_audit.releases.public_maps import StatisticMap
from curation_audit.results import Adjacency
from curation_audit.streams import ShadowStreams
from curation_audit.types import Features, Floats, Inclusion, Labels

NOISE_STREAM = "mechanism noise"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoisySum:
    """``score(x) = <query(x), noisy sum of clipped contributions>``; see ``GaussianSum``.

    ``DiscreteSum`` is the same in whole numbers, for releases of the strict tier.

    Shadows mask units to zero and keep every public constant; each draws noise of its own.
    """

    family: ClassVar[Family] = "linear"
    map: StatisticMap
    mechanism: GaussianSum | DiscreteSum

    @property
    def name(self) -> str:
        """The mechanism's."""
        return self.map.name

    @property
    def adjacency(self) -> Adjacency:
        """The game that a coin plays: a public denominator makes it zero-out."""
        return "add_remove" if self.mechanism.adjacency == "add_remove" else "zero_out"

    def describe(self) -> dict[str, Any]:
        """What results are told apart by; all of it is public."""
        return {**self.mechanism.describe(), "map": self.map.describe()}

    def embed(self, features: Features, labels: Labels | None = None) -> Features:
        """Rows as they read the sum."""
        return self.map.query(features, labels)

    def vectors(self, private: PrivateRows) -> Floats:
        """What every unit adds to the sum, clipped, float64 (U, p)."""
        finite = np.isfinite(private.features).all(axis=1, keepdims=True)
        clean = np.where(finite, private.features, 0)
        contributions = np.where(finite, self.map.contribution(clean, private.labels), 0)
        sums = unit_sums(contributions, private.owners, private.n_units)
        return self.mechanism.vectors(sums)

    def fit(
        self, private: PrivateRows, inclusion: Inclusion, pool: Rows, *, streams: ShadowStreams
    ) -> FittedScorers:
        """All S noisy sums by one matrix product."""
        released = self.released(private, inclusion, streams)
        if self.mechanism.sigma > 0:
            released = released.astype(private.features.dtype)
        # without noise scores stay float64: noise on the selection is calibrated to how far they
        # move, and rounding a sum of many rows moves them, too
        return LinearScorers(released, self.embed)

    def released(
        self, private: PrivateRows, inclusion: Inclusion, streams: ShadowStreams
    ) -> Floats:
        """What the mechanism gives of all S shadows, float64 (S, p)."""
        held = private.unit_inclusion(inclusion)
        return self.mechanism.release(self.vectors(private), held, streams.generators(NOISE_STREAM))

    def linearise(self, private: PrivateRows, pool: Rows) -> Linearisation:
        """Exact: the sum is linear in the coins."""
        vectors = self.vectors(private) / self.mechanism.denominator
        influence = vectors[private.candidate_units]
        second_moment = ledoit_wolf(influence, assume_centered=True)[0]
        noise = self.mechanism.noise**2 * np.eye(vectors.shape[1])
        return Linearisation(
            reference=vectors.sum(axis=0) - influence.sum(axis=0) / 2,
            influence=influence,
            covariance=len(influence) / 4 * second_moment + noise,
            slopes=np.ones(vectors.shape[1], dtype=bool),
            noise=noise if self.mechanism.noise > 0 else None,
            exact=True,
        )
