"""How what can be told of a record falls with the number of records, and how it falls with noise.

A scorer that moves linearly with the coins spreads what it tells over its directions: n of 2n
records held, along d directions, share ``sum_i h_i = d`` of leverage, so that each has less of it
the more there are (see ``statistics/leverage.py``). The law follows; only its few constants are
fitted. A free power law is here for comparison: it extrapolates badly.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from scipy import optimize, special

from curation_audit import checks
from curation_audit.statistics.leverage import (
    effective_dimension,
    mean_mu_squared,
    mu_of_auditor,
    pooled_auc,
)
from curation_audit.types import Floats

MOST_RECORDS = 1e15
MOST_NOISE = 1e15  # times the largest variance of the coins
MOST_POOLED = 1024
MOST_GAIN = 100.0


def mu_of_auc(auc: float) -> float:
    """``sqrt(2) Phi^-1(AUC)``: the mu of one record with that AUC."""
    return float(np.sqrt(2) * special.ndtri(auc))


def advantage_of_mu(mu: Floats) -> float:
    """The best TPR - FPR of all records ranked together: the mean of ``2 Phi(mu / 2) - 1``.

    Likelihood ratios are best cut at one, whatever record they are of.
    """
    return float((2 * special.ndtr(np.asarray(mu) / 2) - 1).mean())


class Law(Protocol):
    """How leakage hangs on the number n of records that are held."""

    def mu(self, n_held: float) -> float:
        """The root of the mean of mu squared."""
        ...


@dataclass(frozen=True, slots=True)
class SpectralLaw:
    """The law of one scorer, from the directions along which its records move it.

    Attributes:
        shares: of the leverage along each direction, what each record has where nothing hides the
            coins, (N, r); over the N records of the reference a direction's add up to one.
        variances: what all coins move along each direction at the reference, (r,).
        n_reference: how many of the N records are held there on average.
        fall: these variances go as ``n ** -fall``: 1 for means, -1 for sums.
        noise: variance along every direction that is not the coins', at the reference.
        gain: factor on every mu, where more was measured than the directions explain.
        noise_fall: the noise goes as ``n ** -noise_fall``.
    """

    shares: Floats
    variances: Floats
    n_reference: float
    fall: float
    noise: float = 0.0
    gain: float = 1.0
    noise_fall: float = 0.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        checks.positive(n_reference=self.n_reference)
        if not self.noise >= 0:
            raise ValueError(f"noise must be 0 or more, got {self.noise}.")

    @classmethod
    def of(
        cls, shifts: Floats, *, fall: float, noise: float = 0.0, rank: float = 1e-10
    ) -> "SpectralLaw":
        """From what each of N records moves, (N, r), when each is held by a fair coin."""
        values, axes = np.linalg.eigh(shifts.T @ shifts / 4)
        there = values > rank * values.max(initial=0)
        along = shifts @ axes[:, there]
        shares = along**2 / (4 * values[there])
        return cls(shares, values[there], len(shifts) / 2, fall, noise)

    def leverages(self, n_held: float) -> Floats:
        """Of records such as the N of the reference, where ``n_held`` are held, (N,)."""
        ratio = n_held / self.n_reference
        variances = self.variances * ratio**-self.fall
        noise = self.noise * ratio**-self.noise_fall
        told: Floats = self.shares @ (variances / (variances + noise)) / ratio
        return np.clip(told, 0, 1)

    def dimension(self, n_held: float) -> float:
        """In how many directions coins show beside the noise."""
        return effective_dimension(self.leverages(n_held)) * n_held / self.n_reference

    def each_mu(self, n_held: float) -> Floats:
        """The mu of records such as the N of the reference, (N,)."""
        return self.gain * mu_of_auditor(self.leverages(n_held))

    def mu(self, n_held: float) -> float:
        """The root of the mean of mu squared; infinite where a coin can be read."""
        return float(np.sqrt((self.each_mu(n_held) ** 2).mean()))

    def auc(self, n_held: float) -> float:
        """Of all records ranked together; of many records, a thousand quantiles of their mu."""
        mu = self.each_mu(n_held)
        if len(mu) > MOST_POOLED:
            places = (np.arange(MOST_POOLED) + 0.5) / MOST_POOLED * len(mu)
            mu = np.sort(mu)[places.astype(np.int64)]
        return pooled_auc(mu)

    def advantage(self, n_held: float) -> float:
        """The best TPR - FPR."""
        return advantage_of_mu(self.each_mu(n_held))

    def records_needed(self, advantage: float) -> float:
        """The fewest records held with no more than that advantage, up to a part in a million.

        Leverages go to 0 as 1/n in the end, so that there is always such a number; it is infinite
        above ``MOST_RECORDS``.
        """
        checks.in_open_unit(advantage=advantage)
        return _smallest(lambda n: self.advantage(n) <= advantage, 1.0, MOST_RECORDS)

    def brought_to(self, n_held: float, auc: float) -> "SpectralLaw":
        """The law with the noise that makes records pooled at ``n_held`` have this AUC.

        Where they have less without any noise, with a gain instead; infinite noise for one half
        or less.
        """
        if auc <= 0.5:
            return replace(self, noise=np.inf)
        bare = replace(self, noise=0.0)
        if bare.auc(n_held) <= auc:
            gain = _smallest(
                lambda gain: replace(self, noise=0.0, gain=gain).auc(n_held) >= auc, 1.0, MOST_GAIN
            )
            return replace(bare, gain=min(gain, MOST_GAIN))
        return replace(self, noise=self._noise(lambda law: law.auc(n_held) <= auc))

    def noise_needed(self, n_held: float, advantage: float) -> float:
        """The least standard deviation of further noise with no more than that advantage.

        Along every direction, beside the noise that there is: in an orthonormal basis of the
        scores, that of noise on every score. 0 where none is needed.
        """
        checks.in_open_unit(advantage=advantage)
        if self.advantage(n_held) <= advantage:
            return 0.0
        total = self._noise(lambda law: law.advantage(n_held) <= advantage)
        there = (n_held / self.n_reference) ** -self.noise_fall
        return float(np.sqrt(max(total - self.noise, 0.0) * there))

    def _noise(self, enough: Callable[["SpectralLaw"], bool]) -> float:
        largest = float(self.variances.max(initial=0))
        return _smallest(
            lambda noise: enough(replace(self, noise=noise)),
            1e-15 * largest,
            MOST_NOISE * largest,
        )


def _smallest(enough: Callable[[float], bool], low: float, high: float) -> float:
    """Where a condition begins to hold, by bisection of the logarithm; infinite if nowhere."""
    if enough(low):
        return low
    if not enough(high):
        return np.inf
    while high / low > 1 + 1e-6:
        middle = float(np.sqrt(low * high))
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


@dataclass(frozen=True, slots=True)
class DimensionLaw:
    """``mu^2 = (2 d / n) / (1 - d / 2n)`` for n held of 2n records, ``dimension`` directions."""

    dimension: float

    def mu(self, n_held: float) -> float:
        """The root of the mean of mu squared."""
        return float(np.sqrt(mean_mu_squared(n_held, self.dimension)))


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """``mu = scale n^exponent``, of which nothing says that it holds: a comparison."""

    scale: float
    exponent: float

    def mu(self, n_held: float) -> float:
        """``scale n^exponent``."""
        return float(self.scale * n_held**self.exponent)


@dataclass(frozen=True, slots=True)
class Measured:
    """A root mean square mu that was measured with n records held, and its standard error."""

    n_held: float
    mu: float
    error: float


def fit_dimension(points: Sequence[Measured]) -> DimensionLaw:
    """The one constant of the law, by weighted least squares on mu.

    Raises:
        ValueError: without a point.
    """
    n, mu, error = _arrays(points, at_least=1)
    # below the smallest 2n the law is finite at every point
    most = 2 * n.min() * (1 - 1e-9)

    def misfit(dimension: float) -> float:
        law = DimensionLaw(dimension)
        expected = np.array([law.mu(one) for one in n])
        return float((((expected - mu) / error) ** 2).sum())

    dimension = optimize.fminbound(misfit, 0.0, most, xtol=1e-9 * most)
    return DimensionLaw(float(dimension))


def fit_power(points: Sequence[Measured]) -> PowerLaw:
    """A line through logarithms, weighted by their standard errors.

    Raises:
        ValueError: with fewer than two points, or with one that is not above 0.
    """
    n, mu, error = _arrays(points, at_least=2)
    if (mu <= 0).any():
        raise ValueError("a power law needs points above 0.")
    exponent, intercept = np.polyfit(np.log(n), np.log(mu), 1, w=mu / error)
    return PowerLaw(float(np.exp(intercept)), float(exponent))


def _arrays(points: Sequence[Measured], *, at_least: int) -> tuple[Floats, Floats, Floats]:
    if len({point.n_held for point in points}) < at_least:
        raise ValueError(f"expected points at {at_least} sizes or more, got {len(points)} points.")
    table = np.array([(point.n_held, point.mu, point.error) for point in points], dtype=np.float64)
    if not (np.isfinite(table).all() and (table[:, [0, 2]] > 0).all()):
        raise ValueError("sizes and errors of points must be above 0, and all numbers finite.")
    return table[:, 0], table[:, 1], table[:, 2]


@dataclass(frozen=True, slots=True)
class Range:
    """A value with an interval; not a confidence interval where model error is in it."""

    value: float
    low: float
    high: float


def extrapolated(
    points: Sequence[Measured], n_held: float, rng: np.random.Generator, n_draws: int = 200
) -> Range:
    """The mu of the one-constant law at another size, with sampling error and model error.

    Sampling error: the 2.5 % and 97.5 % quantiles of fits to points redrawn with their errors.
    Model error: how far the fit moves if it is made of the smaller half of the sizes alone, or of
    the larger half. It widens the interval; that this is enough, nothing proves.
    """
    law = fit_dimension(points)
    value = law.mu(n_held)
    redrawn = [
        fit_dimension([replace(one, mu=rng.normal(one.mu, one.error)) for one in points])
        for _ in range(n_draws)
    ]
    low, high = np.quantile([one.mu(n_held) for one in redrawn], [0.025, 0.975])
    sizes = sorted({one.n_held for one in points})
    middle = sizes[len(sizes) // 2]
    parts = ([p for p in points if p.n_held < middle], [p for p in points if p.n_held >= middle])
    moved = [abs(fit_dimension(part).mu(n_held) - value) for part in parts if part]
    model = max(moved, default=0.0)
    return Range(value, float(low) - model, float(high) + model)
