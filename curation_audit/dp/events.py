"""Privacy events: what touched the private set, and how much each of them spends.

Every constant is public. Sensitivities are those of the ledger's adjacency and stand inside an
event already, with one exception: ``PoissonGaussian`` states sigma over the clipping norm of one
unit, and the accountant itself doubles the sensitivity where units are replaced.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias, TypeGuard, get_args

import numpy as np
from scipy import special

from curation_audit import checks
from curation_audit.dp.claims import LARGEST_EPSILON, SMALLEST_NOISE
from curation_audit.results import Adjacency

if TYPE_CHECKING:
    from dp_accounting import DpEvent
    from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution

POISSON: Final = math.inf
"""The ``shape`` of a Poisson number of runs; 1 is the geometric distribution, 0 the logarithmic."""

ROUNDING: Final = 1e-12
"""Added per step to the Renyi divergence of DP-SGD, for what its sums may round away."""


@dataclass(frozen=True)
class Gaussian:
    """Gaussian noise on a statistic of all units: mu-GDP, ``mu`` = L2 sensitivity / sigma.

    ``what`` names the stage that spends, here and everywhere below.
    """

    mu: float
    what: str

    def __post_init__(self) -> None:
        """Check mu."""
        checks.positive(mu=self.mu)

    def line(self) -> str:
        """One row of the ledger."""
        return f"{self.what}: Gaussian, mu {self.mu:.6g}"


@dataclass(frozen=True)
class PoissonGaussian:
    """DP-SGD: every unit is in a step with probability ``sampling_rate``, by its own coin.

    ``noise_multiplier``: standard deviation of the noise over the clipping norm of one unit. A
    shuffled loader is not this event, whatever rate it has.
    """

    noise_multiplier: float
    sampling_rate: float
    steps: int
    what: str

    def __post_init__(self) -> None:
        """Check the constants."""
        noise = self.noise_multiplier
        checks.positive(noise_multiplier=noise)
        if noise < SMALLEST_NOISE:
            raise ValueError(f"noise_multiplier must be at least {SMALLEST_NOISE:g}, got {noise}.")
        check_sampling(self.sampling_rate, self.steps)

    def line(self) -> str:
        """One row of the ledger."""
        return (
            f"{self.what}: DP-SGD, noise multiplier {self.noise_multiplier:.6g}, Poisson sampling "
            f"rate {self.sampling_rate:.6g}, {self.steps} steps"
        )


@dataclass(frozen=True)
class Zcdp:
    """A rho-zCDP mechanism, e.g. one-shot Gumbel top-k (Bun & Steinke 2016)."""

    rho: float
    what: str

    def __post_init__(self) -> None:
        """Check rho."""
        checks.positive(rho=self.rho)

    def line(self) -> str:
        """One row of the ledger."""
        return f"{self.what}: zCDP, rho {self.rho:.6g}"


@dataclass(frozen=True)
class Pure:
    """``rounds`` of an epsilon-DP mechanism, e.g. permute-and-flip; ``epsilon`` is of one round."""

    epsilon: float
    what: str
    rounds: int = 1

    def __post_init__(self) -> None:
        """Check epsilon and rounds."""
        checks.positive(epsilon=self.epsilon)
        _at_most_largest(self.epsilon)
        _whole(rounds=self.rounds)

    def line(self) -> str:
        """One row of the ledger."""
        return f"{self.what}: pure, epsilon {self.epsilon:.6g}, {self.rounds} rounds"


@dataclass(frozen=True)
class EpsilonDelta:
    """Somebody else's (epsilon, delta) guarantee; deltas add up."""

    epsilon: float
    delta: float
    what: str

    def __post_init__(self) -> None:
        """Check the pair."""
        if not (self.epsilon >= 0 and 0 <= self.delta < 1):
            raise ValueError(
                f"need epsilon at least 0 and delta in [0, 1), got {self.epsilon} and {self.delta}."
            )
        _at_most_largest(self.epsilon)

    def line(self) -> str:
        """One row of the ledger."""
        return f"{self.what}: guaranteed (epsilon {self.epsilon:.6g}, delta {self.delta:.6g})"


SingleEvent: TypeAlias = Gaussian | PoissonGaussian | Zcdp | Pure


@dataclass(frozen=True)
class RepeatAndSelect:
    """The best of a random number of runs (Papernot & Steinke 2022); the others are discarded.

    ``events`` are those of one run, what the runs are compared by included. The number of runs is
    truncated negative binomial with ``mean`` and ``shape``: 1 is geometric, 0 logarithmic,
    ``POISSON`` a Poisson number. A fixed grid of runs is not this event: spend every run.
    """

    events: tuple[SingleEvent, ...]
    mean: float
    shape: float
    what: str

    def __post_init__(self) -> None:
        """Check the runs."""
        single = get_args(SingleEvent)
        if not self.events or not all(isinstance(one, single) for one in self.events):
            raise ValueError(
                "events must be a tuple of Gaussian, PoissonGaussian, Zcdp and Pure events."
            )
        if not 1 <= self.mean < math.inf:
            raise ValueError(f"mean must be at least 1 and finite, got {self.mean}.")
        if not self.shape >= 0:
            raise ValueError(f"shape must be at least 0, got {self.shape}.")

    def line(self) -> str:
        """One row of the ledger."""
        number = {POISSON: "Poisson", 0.0: "logarithmic", 1.0: "geometric"}.get(
            self.shape, f"negative binomial (shape {self.shape:.6g})"
        )
        one_run = "; ".join(one.line() for one in self.events)
        return (
            f"{self.what}: best of a {number} number of runs, mean {self.mean:.6g}, of [{one_run}]"
        )


Event: TypeAlias = Gaussian | PoissonGaussian | Zcdp | Pure | EpsilonDelta | RepeatAndSelect


def unsampled_mu(event: Gaussian | PoissonGaussian, adjacency: Adjacency) -> float:
    """The mu of a Gaussian event; infinite where units are sampled, as mu does not describe it."""
    if isinstance(event, Gaussian):
        return event.mu
    if is_sampled(event):
        return math.inf
    return mu_of_steps(event.noise_multiplier, event.steps, adjacency)


def total_mu(events: Sequence[Event], adjacency: Adjacency) -> float:
    """The mu of all Gaussian releases without sampling together; 0 where there is none."""
    gaussians = (one for one in events if isinstance(one, Gaussian | PoissonGaussian))
    return math.hypot(*(unsampled_mu(g, adjacency) for g in gaussians if not is_sampled(g)))


def rho_of(event: Event, adjacency: Adjacency) -> float:
    """A Gaussian is mu^2/2-zCDP, a pure event epsilon^2/2-zCDP (Bun & Steinke 2016)."""
    if isinstance(event, Zcdp):
        return event.rho
    if isinstance(event, Pure):
        return event.rounds * event.epsilon**2 / 2
    if isinstance(event, Gaussian | PoissonGaussian):
        return unsampled_mu(event, adjacency) ** 2 / 2
    raise TypeError(f"{type(event).__name__} is not zCDP.")


def dp_event(event: SingleEvent | RepeatAndSelect, adjacency: Adjacency) -> "DpEvent":
    """The event as dp-accounting's Renyi accountant takes it, with sensitivities inside."""
    import dp_accounting

    if isinstance(event, RepeatAndSelect):
        from dp_accounting.dp_event import RepeatAndSelectDpEvent

        one_run = dp_accounting.ComposedDpEvent([dp_event(e, adjacency) for e in event.events])
        return RepeatAndSelectDpEvent(one_run, event.mean, event.shape)
    if not is_sampled(event):
        return dp_accounting.ZCDpEvent(rho_of(event, adjacency))
    gaussian = dp_accounting.GaussianDpEvent(event.noise_multiplier)
    step = dp_accounting.PoissonSampledDpEvent(event.sampling_rate, gaussian)
    steps = dp_accounting.SelfComposedDpEvent(step, event.steps)
    return dp_accounting.ComposedDpEvent(
        [steps, dp_accounting.ZCDpEvent(rho=0.0, xi=ROUNDING * event.steps)]
    )


def is_sampled(event: Event) -> TypeGuard[PoissonGaussian]:
    """Whether some units are left out of a step; DP-SGD without sampling is Gaussian."""
    return isinstance(event, PoissonGaussian) and event.sampling_rate < 1


def flat(events: Sequence[Event]) -> list[Event]:
    """All events, those of single runs included."""
    runs = (one.events if isinstance(one, RepeatAndSelect) else (one,) for one in events)
    return [one for run in runs for one in run]


def pure_loss(event: Pure, interval: float) -> "PrivacyLossDistribution":
    """Rounds of randomised response, the worst epsilon-DP mechanism (Kairouz, Oh & Viswanath 2015).

    Of n rounds j lose epsilon and the others win it, with j binomial; the sum is rounded up once,
    where dp-accounting's (epsilon, 0) composed with itself would round up every round.
    """
    from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution

    n, epsilon, lost = event.rounds, event.epsilon, np.arange(event.rounds + 1)
    log_ways = special.gammaln(n + 1) - special.gammaln(lost + 1) - special.gammaln(n - lost + 1)
    won = special.log_expit(-epsilon) * (n - lost)
    chances = np.exp(log_ways + special.log_expit(epsilon) * lost + won)
    losses = np.ceil((2 * lost - n) * epsilon / interval).astype(int)
    rounded: dict[int, float] = {}
    for loss, chance in zip(losses.tolist(), chances.tolist(), strict=True):
        rounded[loss] = rounded.get(loss, 0.0) + chance
    missing = max(0.0, 1.0 - float(chances.sum()))  # by rounding; taken as lost for good
    return PrivacyLossDistribution.create_from_rounded_probability(rounded, missing, interval)


def limit_mu(event: PoissonGaussian, adjacency: Adjacency) -> float:
    """About the mu of DP-SGD, by the central limit theorem (Bu et al. 2020); no guarantee."""
    per_step = replaced(adjacency) / event.noise_multiplier
    sampled = event.sampling_rate**2 * math.expm1(min(per_step**2, 500.0))
    return math.sqrt(event.steps * min(sampled, per_step**2))


def losses_reach(events: Sequence[Event], adjacency: Adjacency) -> float:
    """About how far apart the smallest and the largest loss of all events together lie."""
    mus = [total_mu(events, adjacency)]
    mus += [limit_mu(one, adjacency) for one in events if is_sampled(one)]
    pure = (one.epsilon * one.rounds for one in events if isinstance(one, Pure))
    pairs = (one.epsilon for one in events if isinstance(one, EpsilonDelta))
    return 2 * (sum(mu * (mu / 2 + 10) for mu in mus) + sum(pure) + sum(pairs))


def mu_of_steps(noise_multiplier: float, steps: int, adjacency: Adjacency) -> float:
    """The mu of ``steps`` Gaussian releases of all units, each clipped to norm 1.

    Twice as large where units are replaced: two clipped vectors may be opposite.
    """
    return replaced(adjacency) * math.sqrt(steps) / noise_multiplier


def replaced(adjacency: Adjacency) -> int:
    """How far one unit moves a sum of clipped vectors, in clipping norms."""
    return 2 if adjacency == "replace_one" else 1


def check_sampling(sampling_rate: float, steps: int) -> None:
    """Raise ``ValueError`` unless both constants describe DP-SGD."""
    _whole(steps=steps)
    if not 0 < sampling_rate <= 1:
        raise ValueError(f"sampling_rate must be in (0, 1], got {sampling_rate}.")


def _whole(**values: int) -> None:
    checks.positive(**values)
    for name, value in values.items():
        if value != int(value):
            raise ValueError(f"{name} must be a whole number, got {value}.")


def _at_most_largest(epsilon: float) -> None:
    if epsilon > LARGEST_EPSILON:
        raise ValueError(f"epsilon must be at most {LARGEST_EPSILON:g}, got {epsilon}.")
