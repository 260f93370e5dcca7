"""How much noise a target needs: closed forms for Gaussians, a search for DP-SGD.

Every answer is on the safe side: what it calibrates meets the target by the accountant that the
ledger uses. The formula sqrt(2 ln(1.25 / delta)) / epsilon is used nowhere; it is too small for
large epsilon.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, TypeAlias

import numpy as np
from scipy import optimize, special

from curation_audit import checks
from curation_audit.checks import SettingError
from curation_audit.dp.claims import SMALLEST_NOISE, Claim
from curation_audit.dp.composed import INTERVAL
from curation_audit.dp.events import (
    Event,
    Gaussian,
    PoissonGaussian,
    check_sampling,
    mu_of_steps,
    replaced,
    total_mu,
)
from curation_audit.dp.ledger import guarantee_of
from curation_audit.results import Adjacency
from curation_audit.statistics.gdp import mu_of_epsilon

SAFETY: Final = 1e-12
"""How far a closed form stays off its target, relatively; what floats round away."""
TOLERANCE: Final = 1e-4
"""How far a noise multiplier may be above the least that meets the target, relatively."""
LARGEST_NOISE: Final = 1e6


@dataclass(frozen=True)
class EpsilonTarget:
    """At most ``epsilon`` at ``delta``."""

    epsilon: float
    delta: float

    def __post_init__(self) -> None:
        """Check the pair."""
        checks.positive(epsilon=self.epsilon)
        checks.in_open_unit(delta=self.delta)

    def mu(self) -> float:
        """The mu that meets it exactly (Balle & Wang 2018)."""
        return mu_of_epsilon(self.epsilon, self.delta)

    def excess(self, claim: Claim) -> float:
        """How far the claim is above the target; at most 0 where it meets it."""
        return min(claim.epsilon_at(self.delta), 1e9) - self.epsilon


@dataclass(frozen=True)
class MuTarget:
    """At most mu-GDP; for Gaussian noise without sampling."""

    value: float

    def __post_init__(self) -> None:
        """Check mu."""
        checks.positive(mu=self.value)

    def mu(self) -> float:
        """Itself."""
        return self.value

    def excess(self, claim: Claim) -> float:
        """Only Gaussian claims have a mu that is tight."""
        raise ValueError(
            "a mu describes Gaussian noise without sampling only; state epsilon at a delta, an "
            "advantage or a true-positive rate for what is composed otherwise."
        )


@dataclass(frozen=True)
class AdvantageTarget:
    """No attack reaches more than this TPR - FPR."""

    advantage: float

    def __post_init__(self) -> None:
        """Check the advantage."""
        checks.in_open_unit(advantage=self.advantage)

    def mu(self) -> float:
        """``2 Phi^-1((1 + advantage) / 2)``."""
        return 2 * math.sqrt(2) * float(special.erfinv(self.advantage))

    def excess(self, claim: Claim) -> float:
        """How far the claim is above the target; at most 0 where it meets it."""
        return claim.advantage() - self.advantage


@dataclass(frozen=True)
class TprTarget:
    """No attack reaches more than this TPR at this FPR."""

    tpr: float
    fpr: float

    def __post_init__(self) -> None:
        """Check the rates."""
        checks.in_open_unit(tpr=self.tpr, fpr=self.fpr)
        if self.tpr <= self.fpr:
            raise ValueError(
                f"tpr must be above fpr, got {self.tpr} and {self.fpr}: guessing reaches as much."
            )

    def mu(self) -> float:
        """``Phi^-1(TPR) - Phi^-1(FPR)``."""
        return float(special.ndtri(self.tpr) - special.ndtri(self.fpr))

    def excess(self, claim: Claim) -> float:
        """How far the claim is above the target; at most 0 where it meets it."""
        return float(claim.tpr(np.array([self.fpr]))[0]) - self.tpr


Target: TypeAlias = EpsilonTarget | MuTarget | AdvantageTarget | TprTarget


def mu_for(target: Target) -> float:
    """The largest mu that meets the target; sigma = L2 sensitivity / mu.

    >>> round(1 / mu_for(AdvantageTarget(0.1)), 4)
    3.9789
    """
    return target.mu() * (1 - SAFETY)


def noise_multiplier_for(
    target: Target,
    sampling_rate: float,
    steps: int,
    adjacency: Adjacency,
    beside: Sequence[Event] = (),
) -> float:
    """The least noise multiplier (sigma over the clipping norm) of DP-SGD that meets the target.

    Args:
        target: what DP-SGD and everything beside it must meet together.
        sampling_rate: of a unit, per step; 1 is full batches.
        steps: how many.
        adjacency: of the target, and of the events beside.
        beside: what else touches the private set.

    Raises:
        ValueError: where a ``MuTarget`` meets sampling, or no noise multiplier meets the target,
            e.g. because what stands beside spends more than it.
        SettingError: where no accountant composes the events under this adjacency.
    """
    check_sampling(sampling_rate, steps)
    if sampling_rate == 1 and all(isinstance(one, Gaussian) for one in beside):
        return _full_batches(target, steps, adjacency, beside)
    mu = mu_for(target)
    interval = _interval(mu)

    @cache
    def excess(log_noise: float) -> float:
        event = PoissonGaussian(math.exp(log_noise), sampling_rate, steps, "calibrated")
        return target.excess(guarantee_of((*beside, event), adjacency, interval))

    if beside and target.excess(guarantee_of(beside, adjacency, interval)) >= 0:
        raise ValueError("what stands beside spends the whole target already.")
    return least_noise(excess, _first_guess(mu / replaced(adjacency) ** 0.5, sampling_rate, steps))


def check_delta(delta: float, n_units: int | None = None) -> None:
    """Raise ``SettingError`` unless delta means something, for a *public* number of units if any.

    At delta = 1 / N the release of one unit as it is would be allowed.
    """
    path = "curate.protect.delta"
    if not 0 < delta < 1:
        raise SettingError(path, f"found {delta}", "expected a number in (0, 1)")
    if n_units is not None and delta >= 1 / n_units:
        raise SettingError(
            path, f"found {delta:g}", f"expected less than 1 / {n_units} (one over the units)"
        )


def _full_batches(
    target: Target, steps: int, adjacency: Adjacency, beside: Sequence[Event]
) -> float:
    """Exact: what the other Gaussians leave of ``mu^2``."""
    left = mu_for(target) ** 2 - total_mu(beside, adjacency) ** 2
    if left <= 0:
        raise ValueError("what stands beside spends the whole target already.")
    return max(mu_of_steps(math.sqrt(left), steps, adjacency) * (1 + SAFETY), SMALLEST_NOISE)


def _interval(mu: float) -> float:
    """A grid that is fast, where the ledger's is fine; both are refined for many steps.

    That of the ledger has all its points among its own. Connecting more dots of a convex curve
    lies lower, so the ledger never finds more than the search did.
    """
    return math.ldexp(INTERVAL, 3 + max(0, math.floor(math.log2(mu))))


def _first_guess(mu: float, sampling_rate: float, steps: int) -> float:
    """Where to start, by the central limit theorem (Bu et al. 2020), which guarantees nothing."""
    per_step = (mu / sampling_rate) ** 2 / steps
    return math.log(max(SMALLEST_NOISE, 1 / math.sqrt(math.log1p(per_step))))


def least_noise(excess: Callable[[float], float], guess: float) -> float:
    """The least noise with an excess of at most 0, from above; ``guess`` is a logarithm."""
    smallest, largest = math.log(SMALLEST_NOISE), math.log(LARGEST_NOISE)
    low, high, step = guess, guess, 0.1
    while excess(high) > 0:
        if high >= largest:
            raise ValueError(
                "no noise meets the target: its accounting alone, or what stands beside, spends it."
            )
        low, high, step = high, min(high + step, largest), 2 * step
    step = 0.1
    while low == high or excess(low) <= 0:
        if low <= smallest:
            return SMALLEST_NOISE
        low, high, step = max(low - step, smallest), low, 2 * step
    root = float(optimize.brentq(excess, low, high, xtol=TOLERANCE / 4))
    while excess(root) > 0:
        root += TOLERANCE / 4
    return math.exp(root)
