"""What is claimed about a curation's privacy, and what a claim lets an attack reach.

A claim states its adjacency. It is tested in the game of the same adjacency only: coins that put
a record in or leave it out test ``add_remove`` (or ``zero_out``, where the mechanism masks rows
and keeps its public constants); against ``replace_one`` they say nothing.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

import numpy as np
from scipy import special

from curation_audit import checks
from curation_audit.checks import SettingError
from curation_audit.results import Adjacency
from curation_audit.statistics import ceilings
from curation_audit.statistics.bounds import share_of_epsilon
from curation_audit.statistics.gdp import epsilon_of_mu
from curation_audit.types import Floats

if TYPE_CHECKING:
    from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution

PROFILE_STEPS: Final = 500
SMALLEST_DELTA: Final = 1e-9
SMALLEST_NOISE: Final = 0.1
"""With less noise a step alone claims nothing measurable, and its losses fill the memory."""
LARGEST_EPSILON: Final = 600.0
"""Beyond it e^epsilon leaves the floats; nothing that an audit could measure is ruled out there."""


class Claim(Protocol):
    """A guarantee that somebody states for the scores and everything after them."""

    kind: ClassVar[str]

    @property
    def adjacency(self) -> Adjacency:
        """Which private sets count as neighbours."""
        ...

    def epsilon_at(self, delta: float) -> float:
        """Epsilon at delta; infinite where the claim says nothing at so small a delta."""
        ...

    def tested_delta(self, delta: float) -> float:
        """The delta nearest to ``delta`` at which the claim says something."""
        ...

    def tpr(self, fpr: Floats) -> Floats:
        """The largest expected TPR of any attack on one candidate, (A,) -> (A,)."""
        ...

    def auc(self) -> float:
        """The largest expected area under the ROC curve."""
        ...

    def advantage(self) -> float:
        """The largest expected TPR - FPR."""
        ...

    def pair_share(self) -> float:
        """The largest expected share of candidates told rightly in a pair of shadows.

        ``(1 + delta_2(0)) / 2`` with delta_2 the claim composed with itself: both rows of a pair
        are looked at. A pair tells ``P x Q`` from ``Q x P`` and composition ``P x P`` from
        ``Q x Q``, which is never harder: with ``X = (p - q) / (p + q)`` the total variations are
        ``E |X - Y| / 2`` and ``E |X + Y| / 2`` for independent X and Y of one distribution (mean
        of P and Q, twice), and the first is at most the second for any distribution.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class GaussianClaim:
    """mu-GDP: no easier to tell than N(0, 1) from N(mu, 1)."""

    kind: ClassVar[str] = "gaussian"
    mu: float
    adjacency: Adjacency

    def __post_init__(self) -> None:
        """Check mu."""
        checks.positive(mu=self.mu)

    def epsilon_at(self, delta: float) -> float:
        """Exact (Balle & Wang 2018; Dong, Roth & Su 2022, corollary 2.13)."""
        return epsilon_of_mu(self.mu, delta) if delta > 0 else np.inf

    def tested_delta(self, delta: float) -> float:
        """Any."""
        return delta

    def tpr(self, fpr: Floats) -> Floats:
        """``Phi(Phi^-1(FPR) + mu)``."""
        return ceilings.gdp_tpr(fpr, self.mu)

    def auc(self) -> float:
        """``Phi(mu / sqrt 2)``."""
        return ceilings.gdp_auc(self.mu)

    def advantage(self) -> float:
        """``2 Phi(mu / 2) - 1``."""
        return ceilings.gdp_advantage(self.mu)

    def pair_share(self) -> float:
        """``Phi(mu / sqrt 2)``."""
        return float(special.ndtr(self.mu / np.sqrt(2)))


@dataclass(frozen=True, kw_only=True)
class EpsilonDeltaClaim:
    """One (epsilon, delta) pair; it allows more than the mechanism behind it."""

    kind: ClassVar[str] = "epsilon_delta"
    epsilon: float
    delta: float
    adjacency: Adjacency

    def __post_init__(self) -> None:
        """Check the pair."""
        if not (0 <= self.epsilon <= LARGEST_EPSILON and 0 <= self.delta < 1):
            raise ValueError(
                f"need epsilon in [0, {LARGEST_EPSILON:g}] and delta in [0, 1), got "
                f"{self.epsilon} and {self.delta}."
            )

    def epsilon_at(self, delta: float) -> float:
        """The claimed one; infinite below the claimed delta."""
        return self.epsilon if delta >= self.delta else np.inf

    def tested_delta(self, delta: float) -> float:
        """Not below the claimed one."""
        return max(delta, self.delta)

    def tpr(self, fpr: Floats) -> Floats:
        """``min(1, e^epsilon FPR + delta, 1 - e^-epsilon (1 - delta - FPR))``."""
        return ceilings.epsilon_delta_tpr(fpr, self.epsilon, self.delta)

    def auc(self) -> float:
        """See ``ceilings.epsilon_delta_auc``."""
        return ceilings.epsilon_delta_auc(self.epsilon, self.delta)

    def advantage(self) -> float:
        """``(e^epsilon - 1 + 2 delta) / (e^epsilon + 1)``."""
        return ceilings.epsilon_delta_advantage(self.epsilon, self.delta)

    def pair_share(self) -> float:
        """See ``share_of_epsilon``."""
        return share_of_epsilon(self.epsilon, self.delta)


@dataclass(frozen=True, kw_only=True)
class DpSgdClaim:
    """DP-SGD with Poisson sampling, by its privacy loss distribution.

    ``noise_multiplier``: standard deviation of the noise over the clipping norm;
    ``sampling_rate``: of a record, per step. Both and ``steps`` are public constants.
    """

    kind: ClassVar[str] = "dp_sgd"
    noise_multiplier: float
    sampling_rate: float
    steps: int
    adjacency: Adjacency

    def __post_init__(self) -> None:
        """Check the constants."""
        checks.positive(noise_multiplier=self.noise_multiplier, steps=self.steps)
        if self.noise_multiplier < SMALLEST_NOISE:
            raise ValueError(
                f"noise_multiplier must be at least {SMALLEST_NOISE:g}, got "
                f"{self.noise_multiplier}."
            )
        if self.steps != int(self.steps):
            raise ValueError(f"steps must be a whole number, got {self.steps}.")
        if not 0 < self.sampling_rate <= 1:
            raise ValueError(f"sampling_rate must be in (0, 1], got {self.sampling_rate}.")

    @cached_property
    def _loss(self) -> "PrivacyLossDistribution":
        constants = (self.noise_multiplier, self.sampling_rate, self.steps)
        return dp_sgd_loss(*constants, self.adjacency)

    @cached_property
    def _profile(self) -> tuple[Floats, Floats]:
        return profile_of(self._loss)

    def epsilon_at(self, delta: float) -> float:
        """By the accountant."""
        return float(self._loss.get_epsilon_for_delta(delta))

    def tested_delta(self, delta: float) -> float:
        """Any."""
        return delta

    def tpr(self, fpr: Floats) -> Floats:
        """From the whole privacy profile."""
        return ceilings.profile_tpr(fpr, *self._profile)

    def auc(self) -> float:
        """From the whole privacy profile."""
        return min(1.0, ceilings.profile_auc(*self._profile))  # which comes from above

    def advantage(self) -> float:
        """``delta(0)``."""
        return ceilings.profile_advantage(*self._profile)

    def pair_share(self) -> float:
        """From the loss distribution composed with itself."""
        return pair_share_of(self._loss)


def dp_sgd_loss(
    noise_multiplier: float,
    sampling_rate: float,
    steps: int,
    adjacency: Adjacency,
    interval: float = 1e-4,
) -> "PrivacyLossDistribution":
    """The privacy loss of DP-SGD, from above, in steps of ``interval``.

    ``noise_multiplier`` is over the clipping norm of one unit: the accountant doubles the
    sensitivity itself where units are replaced.
    """
    from dp_accounting import NeighboringRelation  # takes a second to import
    from dp_accounting.pld import privacy_loss_distribution

    relation = {
        "add_remove": NeighboringRelation.ADD_OR_REMOVE_ONE,
        "zero_out": NeighboringRelation.ADD_OR_REMOVE_ONE,
        "replace_one": NeighboringRelation.REPLACE_ONE,
    }[adjacency]
    one_step = privacy_loss_distribution.from_gaussian_mechanism(
        noise_multiplier,
        sampling_prob=sampling_rate,
        neighboring_relation=relation,
        value_discretization_interval=interval,
    )
    return one_step.self_compose(steps) if steps > 1 else one_step


def unbounded_mass(loss: "PrivacyLossDistribution") -> float:
    """The delta that no epsilon takes away."""
    return float(loss.get_delta_for_epsilon([np.inf])[0])


def profile_of(loss: "PrivacyLossDistribution") -> tuple[Floats, Floats]:
    """Epsilons (G,) from 0 to where delta is small, and their deltas (G,)."""
    smallest = SMALLEST_DELTA + unbounded_mass(loss)  # nothing is said about smaller ones
    largest = min(float(loss.get_epsilon_for_delta(smallest)), LARGEST_EPSILON)
    epsilons = np.linspace(0, largest, PROFILE_STEPS)
    deltas = np.array(loss.get_delta_for_epsilon(epsilons), dtype=np.float64)
    return epsilons, np.clip(deltas, 0, 1)


def pair_share_of(loss: "PrivacyLossDistribution") -> float:
    """The largest share of ``Claim.pair_share``, by the loss composed with itself."""
    twice = loss.compose(loss)
    return min(1.0, float(1 + twice.get_delta_for_epsilon(0.0)) / 2)  # comes from above


CLAIMS: Final[dict[str, type[Claim]]] = {
    "gaussian": GaussianClaim,
    "epsilon_delta": EpsilonDeltaClaim,
    "dp_sgd": DpSgdClaim,
}


def check_comparable(claim: Claim, game: Adjacency, path: str = "report.claim.adjacency") -> None:
    """Raise ``SettingError`` unless the claim is of the adjacency that the shadows play.

    A replace-one claim allows |T| to be released, and shadows that divide by their own |T| are
    another mechanism than one that keeps a public N.
    """
    if claim.adjacency != game:
        raise SettingError(
            path,
            f"found {claim.adjacency}, but the shadows of this pipeline play the {game} game",
            "state the claim for that adjacency (replace_one converts to none of the others)",
        )
