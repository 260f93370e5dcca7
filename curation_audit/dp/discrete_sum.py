"""The Gaussian sum in whole numbers: exact sums and exact noise, without floating point.

Every unit's clipped vector is rounded *towards zero* onto a public grid. That makes no coordinate
longer and changes no sign, so each argument for the sensitivity of the sum holds for the rounded
vectors as it stands: lengths are at most C, entries that were not negative are not. The sum is one
of whole numbers, and the noise a discrete Gaussian on the same grid, which is
``Delta^2 / (2 sigma^2)``-zCDP in any dimension (Canonne, Kamath & Steinke 2020, theorem 14). It is
not mu-GDP, so what is spent is a rho.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from curation_audit.checks import InputError
from curation_audit.dp.events import Zcdp
from curation_audit.dp.gaussian_sum import GaussianSum
from curation_audit.dp.noise import GRID_BITS, NormalSource
from curation_audit.results import Adjacency
from curation_audit.types import Floats, Indices, Mask

ROUNDING: Final = 1e-12
"""How much more rho is spent than a float's rounding of it could hide, relatively."""
LARGEST_EXPONENT: Final = 900
"""Of the grid: beyond it dividing by a power of two is not exact."""
LARGEST_SUM: Final = 2.0**62


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscreteSum:
    """``(sum of rounded unit vectors + discrete Gaussian) / denominator``.

    Args:
        bounds: the same sum in real numbers: clipping, adjacency, denominator, and a finite mu, of
            which sigma and ``rho = mu^2 / 2`` follow. Audits draw from it, with the rounding.
    """

    bounds: GaussianSum

    def __post_init__(self) -> None:
        """Check that there is a grid."""
        if not 0 < self.bounds.sigma < math.inf:
            raise ValueError("a discrete Gaussian needs a finite mu.")
        if abs(math.log2(self.grid)) > LARGEST_EXPONENT:
            raise ValueError(f"a noise of {self.bounds.sigma:g} is out of range.")

    @property
    def clip(self) -> float:
        """C."""
        return self.bounds.clip

    @property
    def mu(self) -> float:
        """``sqrt(2 rho)``: of the Gaussian of this sigma, which audits draw; no guarantee."""
        return self.bounds.mu

    @property
    def adjacency(self) -> Adjacency:
        """Which private sets are neighbours."""
        return self.bounds.adjacency

    @property
    def denominator(self) -> float:
        """Public; dividing by it is post-processing."""
        return self.bounds.denominator

    @property
    def nonnegative(self) -> bool:
        """Whether no vector has a negative coordinate, rounded or not."""
        return self.bounds.nonnegative

    @property
    def sum_sensitivity(self) -> float:
        """That of the unrounded sum; see the module's docstring."""
        return self.bounds.sum_sensitivity

    @property
    def argument(self) -> str:
        """Why that is the sensitivity."""
        return (
            f"{self.bounds.argument}; vectors are rounded towards zero onto multiples of "
            f"{self.grid:.6g}, which makes none longer and changes no sign"
        )

    @property
    def sigma(self) -> float:
        """The scale of the discrete Gaussian on every coordinate of the sum."""
        return self.bounds.sigma

    @property
    def noise(self) -> float:
        """The same of what is released."""
        return self.bounds.noise

    @property
    def grid(self) -> float:
        """A public power of two, 2^20 to 2^21 times finer than sigma."""
        return 2.0 ** (math.floor(math.log2(self.sigma)) - GRID_BITS)

    def event(self, what: str) -> Zcdp:
        """What one release spends."""
        return Zcdp(self.mu**2 / 2 * (1 + ROUNDING), what)

    def describe(self) -> dict[str, Any]:
        """What results are told apart by."""
        return {**self.bounds.describe(), "grid": self.grid}

    def vectors(self, contributions: Floats) -> Floats:
        """What units add to the sum: (U, p), clipped and rounded; exact multiples of the grid."""
        rounded: Floats = np.trunc(self.bounds.vectors(contributions) / self.grid) * self.grid
        return rounded

    def release(self, vectors: Floats, held: Mask, noise: Sequence[NormalSource]) -> Floats:
        """For audits: float64 noise of this sigma on the rounded vectors, (S, p)."""
        return self.bounds.release(vectors, held, noise)

    def check(self, n_units: int) -> None:
        """Refuse what could not be drawn, before anything is booked.

        Raises:
            InputError: without OpenDP, where the sum might leave 64 bits, or where OpenDP's own
                accounting finds more than is booked.
        """
        if n_units * self.clip / self.grid > LARGEST_SUM:
            raise InputError(
                "curate.protect.epsilon", "is too large for an exact sum", "ask for less"
            )
        try:
            _measurement(**self._noise_of_counts())
        except ValueError as error:
            raise InputError("curate.protect.epsilon", str(error).rstrip(".")) from None

    def _noise_of_counts(self) -> dict[str, float]:
        return {
            "scale": self.sigma / self.grid,
            "sensitivity": self.sum_sensitivity / self.grid,
            "rho": self.event("release").rho,
        }

    def counts(self, vectors: Floats) -> Indices:
        """The exact sum of all vectors in units of the grid, (U, p) -> int64 (p,).

        Raises:
            InputError: where the sum might leave 64 bits.
        """
        if len(vectors) * self.clip / self.grid > LARGEST_SUM:
            raise InputError(
                "curate.protect.epsilon", "is too large for an exact sum", "ask for less"
            )
        total: Indices = (vectors / self.grid).astype(np.int64).sum(axis=0)
        return total

    def draw(self, vectors: Floats) -> Floats:
        """One release of all units, (U, p) -> (p,): multiples of the grid over the denominator.

        Raises:
            InputError: without OpenDP.
        """
        counts = self.counts(vectors)
        noisy = discrete_gaussian(counts, **self._noise_of_counts())
        released: Floats = noisy.astype(np.float64) * self.grid / self.denominator
        return released


def discrete_gaussian(counts: Indices, *, scale: float, sensitivity: float, rho: float) -> Indices:
    """Whole numbers with discrete Gaussian noise by OpenDP's exact sampler, int64 (p,).

    Args:
        counts: what is protected, int64 (p,).
        scale: of the noise.
        sensitivity: how far neighbours' counts lie apart in L2.
        rho: what may be spent; OpenDP computes what is, rounded up, and has the last word.

    Raises:
        InputError: without OpenDP.
        ValueError: where more than rho would be spent.
    """
    measurement = _measurement(scale=scale, sensitivity=sensitivity, rho=rho)
    return np.array(measurement(counts.tolist()), dtype=np.int64)


def _measurement(*, scale: float, sensitivity: float, rho: float) -> Any:
    dp = opendp()
    space = dp.vector_domain(dp.atom_domain(T="i64")), dp.l2_distance(T="f64")
    measurement = dp.m.make_gaussian(*space, scale=float(scale))
    if not measurement.map(float(sensitivity)) <= rho:
        raise ValueError("the noise is too small for the rho that is spent.")
    return measurement


def opendp() -> Any:
    """OpenDP, which is an extra and slow to import; raises ``InputError`` without it."""
    try:
        import opendp.prelude as dp
    except ModuleNotFoundError:
        raise InputError(
            "opendp", "is not installed", "pip install 'curation-audit[secure]'"
        ) from None
    dp.enable_features("contrib")
    return dp
