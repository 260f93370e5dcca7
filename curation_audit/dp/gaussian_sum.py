"""Gaussian noise on a sum of one clipped vector per unit: means, sums, histograms.

Everything else about such a release is public: the map from rows to vectors, the clipping norm,
the denominator. Whatever is computed from the noisy vector is post-processing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from curation_audit import checks
from curation_audit.dp.clipping import clipped
from curation_audit.dp.events import Gaussian
from curation_audit.dp.noise import NormalSource
from curation_audit.results import Adjacency
from curation_audit.types import Floats, Mask


@dataclass(frozen=True, slots=True, kw_only=True)
class GaussianSum:
    """``(sum of clipped unit vectors + N(0, sigma^2 I)) / denominator``.

    Args:
        clip: C, the largest length of a unit's vector; a public constant.
        mu: of the Gaussian trade-off curve, ``sensitivity / sigma``; infinite for no noise.
        adjacency: which private sets are neighbours.
        denominator: a public number, e.g. a public N. Under ``add_remove`` the number of units is
            what is hidden, so only 1 is admissible: the sum is released, and ranks as the mean.
        nonnegative: no vector has a negative coordinate.
    """

    clip: float
    mu: float
    adjacency: Adjacency
    denominator: float = 1.0
    nonnegative: bool = False

    def __post_init__(self) -> None:
        """Check the constants."""
        checks.positive(clip=self.clip, denominator=self.denominator)
        if not self.mu > 0:
            raise ValueError(f"mu must be positive, got {self.mu}.")
        if self.adjacency == "add_remove" and self.denominator != 1:
            raise ValueError(
                "under add_remove the number of units is secret; release the sum (denominator 1)."
            )

    @property
    def sum_sensitivity(self) -> float:
        """How far the sum moves, in L2, between neighbours; see ``argument``."""
        if self.adjacency != "replace_one":
            return self.clip
        return math.sqrt(2) * self.clip if self.nonnegative else 2 * self.clip

    @property
    def argument(self) -> str:
        """Why that is the sensitivity."""
        if self.adjacency != "replace_one":
            return "one vector of length at most C is in the sum, or is not"
        if self.nonnegative:
            return "|u - v|^2 = |u|^2 + |v|^2 - 2 u.v <= 2 C^2 for vectors without negative entries"
        return "|u - v| <= |u| + |v| <= 2 C"

    @property
    def sigma(self) -> float:
        """The standard deviation of the noise on every coordinate of the sum."""
        return self.sum_sensitivity / self.mu

    @property
    def noise(self) -> float:
        """The standard deviation of the noise on every coordinate of what is released."""
        return self.sigma / self.denominator

    def describe(self) -> dict[str, Any]:
        """What results are told apart by; all of it is public."""
        return {
            "clip": self.clip,
            "mu": self.mu if math.isfinite(self.mu) else None,
            "adjacency": self.adjacency,
            "denominator": self.denominator,
        }

    def event(self, what: str) -> Gaussian:
        """What one release spends.

        Raises:
            ValueError: without noise; nothing bounds what is spent then.
        """
        return Gaussian(mu=self.mu, what=what)

    def vectors(self, contributions: Floats) -> Floats:
        """What units add to the sum: contributions (U, p), clipped."""
        return clipped(contributions, self.clip)

    def exact(self, vectors: Floats, held: Mask) -> Floats:
        """The sums without noise, the mechanism's input: (U, p), held (S, U) -> (S, p)."""
        return held.astype(np.float64) @ vectors

    def release(self, vectors: Floats, held: Mask, noise: Sequence[NormalSource]) -> Floats:
        """Noisy sums over the denominator, (S, p); one source of noise per shadow."""
        sums = self.exact(vectors, held)
        if self.sigma > 0:
            drawn = [source.standard_normal((vectors.shape[1],)) for source in noise]
            sums = sums + self.sigma * np.stack(drawn)
        released: Floats = sums / self.denominator
        return released
