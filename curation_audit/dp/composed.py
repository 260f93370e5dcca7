"""Claims about several events together, by one accountant for all of them.

* Privacy loss distributions (dp-accounting, "PLD") where every event has one.
* Renyi DP where an event is known by its Renyi divergences only: zCDP, repeat-and-select.
* Renyi DP in closed form ("zCDP") where all of them together are rho-zCDP.

All three are upper limits, and so are the ceilings, which come from the whole profile.
"""

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, TypeAlias

import numpy as np

from curation_audit.checks import SettingError
from curation_audit.dp import claims
from curation_audit.dp.events import (
    EpsilonDelta,
    Event,
    Pure,
    RepeatAndSelect,
    Zcdp,
    dp_event,
    flat,
    is_sampled,
    limit_mu,
    losses_reach,
    pure_loss,
    replaced,
    rho_of,
    total_mu,
)
from curation_audit.results import Adjacency
from curation_audit.statistics import ceilings
from curation_audit.statistics.zcdp import epsilon_of_rho
from curation_audit.types import Floats

if TYPE_CHECKING:
    from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution

Accountant: TypeAlias = Literal["PLD", "RDP", "zCDP"]

INTERVAL: Final = 1e-4
SMALLEST_INTERVAL: Final = INTERVAL / 8
LARGEST_GRID: Final = 1e6


def accountant_of(events: Sequence[Event], adjacency: Adjacency) -> Accountant:
    """Which accountant composes the events.

    Raises:
        SettingError: where it would need the Renyi divergences of DP-SGD with replaced units, which
            dp-accounting does not know (and has wrong for the plain Gaussian, issue 378).
    """
    if not any(isinstance(one, Zcdp | RepeatAndSelect) for one in events):
        return "PLD"
    if any(isinstance(one, RepeatAndSelect) or is_sampled(one) for one in events):
        if adjacency == "replace_one" and any(map(is_sampled, flat(events))):
            raise SettingError(
                "ledger.events",
                "found DP-SGD beside a zCDP or repeat-and-select event, with replaced units",
                "expected another adjacency, or every other event Gaussian, pure or (epsilon, "
                "delta): no accountant composes these",
            )
        return "RDP"
    return "zCDP"


@dataclass(frozen=True, kw_only=True)
class ComposedClaim:
    """What some events guarantee together.

    ``interval``: the grid of a privacy loss distribution; a longer one is faster and never wrong.
    """

    kind: ClassVar[str] = "composed"
    events: tuple[Event, ...]
    adjacency: Adjacency
    interval: float = INTERVAL

    def __post_init__(self) -> None:
        """Refuse what cannot be composed."""
        if not self.events:
            raise ValueError("events must not be empty: nothing was spent, nothing is claimed.")
        accountant_of(self.events, self.adjacency)

    def __getstate__(self) -> dict[str, Any]:
        """Travel without what can be computed again."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def accountant(self) -> Accountant:
        """Which accountant composes the events."""
        return accountant_of(self.events, self.adjacency)

    @cached_property
    def _losses(self) -> "_Distribution | _Renyi":
        if self.accountant == "PLD":
            return _Distribution(distribution(self.events, self.adjacency, self.interval))
        return renyi(self.events, self.adjacency)

    @cached_property
    def _profile(self) -> tuple[Floats, Floats]:
        return self._losses.profile()

    def epsilon_at(self, delta: float) -> float:
        """By the accountant."""
        return self._losses.epsilon_at(delta)

    def tested_delta(self, delta: float) -> float:
        """Above the deltas of all (epsilon, delta) events together."""
        return max(delta, self._losses.smallest_delta())

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
        """From the losses composed with themselves."""
        return self._losses.pair_share()


@dataclass(frozen=True)
class _Distribution:
    """By a privacy loss distribution."""

    loss: "PrivacyLossDistribution"

    def epsilon_at(self, delta: float) -> float:
        return float(self.loss.get_epsilon_for_delta(delta))

    def smallest_delta(self) -> float:
        mass = claims.unbounded_mass(self.loss)
        # the mass of truncated tails is no claim that an audit could test
        return mass + claims.SMALLEST_DELTA if mass > claims.SMALLEST_DELTA else 0.0

    def profile(self) -> tuple[Floats, Floats]:
        return claims.profile_of(self.loss)

    def pair_share(self) -> float:
        return claims.pair_share_of(self.loss)


def distribution(
    events: Sequence[Event], adjacency: Adjacency, interval: float = INTERVAL
) -> "PrivacyLossDistribution":
    """The privacy loss of all events together, from above.

    Un-sampled Gaussians are one Gaussian of ``sqrt(sum mu^2)`` (Dong, Roth & Su 2022). Where units
    are replaced the accountant doubles sensitivities, also this one's, which is doubled already:
    its noise multiplier is 2 / mu there.
    """
    from dp_accounting.pld import common, privacy_loss_distribution

    interval = _grid(interval, events, adjacency)
    parts = [
        claims.dp_sgd_loss(one.noise_multiplier, one.sampling_rate, one.steps, adjacency, interval)
        for one in events
        if is_sampled(one)
    ]
    mu = total_mu(events, adjacency)
    if mu > 0:
        parts.append(claims.dp_sgd_loss(replaced(adjacency) / mu, 1.0, 1, adjacency, interval))
    parts += [pure_loss(one, interval) for one in events if isinstance(one, Pure)]
    for one in events:
        if isinstance(one, EpsilonDelta):
            pair = common.DifferentialPrivacyParameters(one.epsilon, one.delta)
            parts.append(privacy_loss_distribution.from_privacy_parameters(pair, interval))
    whole = parts[0]
    for part in parts[1:]:
        whole = whole.compose(part)
    return whole


def _grid(interval: float, events: Sequence[Event], adjacency: Adjacency) -> float:
    """The interval times a power of 2, so that all grids of the same events are nested.

    Halved where rounding, which costs its square at every step, would cost more than about 0.1 %
    of epsilon (3.5 to 4.5 mu at usual deltas); doubled where the losses spread too far.
    """
    for one in filter(is_sampled, events):
        wanted = math.sqrt(5e-3 * limit_mu(one, adjacency) / one.steps)
        while interval > wanted and interval > SMALLEST_INTERVAL:
            interval /= 2
    reach = losses_reach(events, adjacency)
    while reach / interval > LARGEST_GRID:
        interval *= 2
    return interval


@dataclass(frozen=True)
class _Renyi:
    """By Renyi divergences ``rdp`` (A,) of ``orders`` (A,), and (epsilon, delta) pairs beside them.

    ``rho``: where everything but the pairs is rho-zCDP. The pairs are composed by addition.
    """

    orders: Floats
    rdp: Floats
    pairs: tuple[EpsilonDelta, ...]
    rho: float | None = None

    @property
    def _beside(self) -> tuple[float, float]:
        return sum(one.epsilon for one in self.pairs), sum(one.delta for one in self.pairs)

    def epsilon_at(self, delta: float) -> float:
        epsilon, spent = self._beside
        left = delta - spent
        if left <= 0:
            return math.inf
        own = epsilon_of_rdp(self.orders, self.rdp, left)
        if self.rho is not None and left < 1:
            own = min(own, epsilon_of_rho(self.rho, left))
        return epsilon + own

    def smallest_delta(self) -> float:
        _, spent = self._beside
        return spent + claims.SMALLEST_DELTA if spent > 0 else 0.0

    def profile(self) -> tuple[Floats, Floats]:
        epsilon, spent = self._beside
        largest = min(self.epsilon_at(spent + claims.SMALLEST_DELTA), claims.LARGEST_EPSILON)
        epsilons = np.linspace(0, largest, claims.PROFILE_STEPS)
        own = delta_of_rdp(self.orders, self.rdp, np.maximum(epsilons - epsilon, 0))
        # below their own epsilon the pairs say something by their total variation only
        summed = np.where(epsilons >= epsilon, spent + own, 1.0)
        return epsilons, np.minimum(summed, self._total_variation(1))

    def pair_share(self) -> float:
        return (1 + self._total_variation(2)) / 2

    def _total_variation(self, times: int) -> float:
        """Of everything, ``times`` over: couplings of the parts are one of the whole."""
        apart = float(delta_of_rdp(self.orders, times * self.rdp, np.zeros(1))[0])
        alike = 1 - apart
        for one in self.pairs:
            alike *= (1 - ceilings.epsilon_delta_advantage(one.epsilon, one.delta)) ** times
        return 1 - alike


def epsilon_of_rdp(orders: Floats, rdp: Floats, delta: float) -> float:
    """The smallest epsilon at ``delta`` (Canonne, Kamath & Steinke 2020, proposition 12)."""
    if delta >= total_variation_of_rdp(rdp):
        return 0.0
    by_order = rdp + np.log1p(-1 / orders) - np.log(delta * orders) / (orders - 1)
    return max(0.0, float(by_order.min()))


def delta_of_rdp(orders: Floats, rdp: Floats, epsilons: Floats) -> Floats:
    """The smallest delta at each epsilon (E,) >= 0, from the same proposition."""
    gap = rdp - epsilons[:, None] + np.log1p(-1 / orders)
    log_deltas = ((orders - 1) * gap - np.log(orders)).min(axis=1)
    deltas = np.exp(np.minimum(log_deltas, 0))
    return np.asarray(np.minimum(deltas, total_variation_of_rdp(rdp)), np.float64)


def total_variation_of_rdp(rdp: Floats) -> float:
    """The largest total variation under Renyi divergences (A,), in [0, 1].

    Each of them is at least the Kullback-Leibler divergence (order 1), which limits it by
    ``sqrt(KL / 2)`` (Pinsker) and ``sqrt(1 - e^-KL)`` (Bretagnolle & Huber 1979).
    """
    divergence = float(rdp.min())
    return math.sqrt(min(divergence / 2, -math.expm1(-divergence)))


def renyi(events: Sequence[Event], adjacency: Adjacency) -> _Renyi:
    """The Renyi divergences of all events together, from above."""
    pairs = tuple(one for one in events if isinstance(one, EpsilonDelta))
    others = [one for one in events if not isinstance(one, EpsilonDelta)]
    if accountant_of(events, adjacency) == "zCDP":
        rho = sum(rho_of(one, adjacency) for one in others)
        orders = 1 + np.geomspace(1e-4, 1e6, 4000)
        return _Renyi(orders, rho * orders, pairs, rho)
    from dp_accounting.rdp import RdpAccountant

    accountant = RdpAccountant()  # sensitivities stand in the events, whatever the adjacency
    with _without_warnings():
        for one in others:
            accountant.compose(dp_event(one, adjacency))
    return _Renyi(accountant._orders, accountant._rdp, pairs)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """dp-accounting says of every order whose series does not converge that it leaves it out.

    Fewer orders give a larger epsilon, never a wrong one.
    """
    logger = logging.getLogger("absl")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
