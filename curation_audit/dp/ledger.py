"""The ledger: everything that touched the private set, for one unit and one adjacency.

Whatever is computed from released results alone is free and never appears here; every stage that
sees the private set again is another event. How many units there are is private in an add/remove
ledger and never printed in any.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, get_args

import numpy as np

from curation_audit import checks
from curation_audit.checks import SettingError
from curation_audit.dp.claims import Claim, EpsilonDeltaClaim, GaussianClaim
from curation_audit.dp.composed import INTERVAL, ComposedClaim
from curation_audit.dp.events import (
    EpsilonDelta,
    Event,
    Gaussian,
    PoissonGaussian,
    Pure,
    Zcdp,
    total_mu,
)
from curation_audit.results import Adjacency

SHOWN_FPR: Final = (1e-3, 1e-2)
ACCOUNTANTS: Final = {
    "gaussian": "closed form (mu-GDP)",
    "epsilon_delta": "the guarantee itself",
    "PLD": "privacy loss distributions (dp-accounting)",
    "RDP": "Renyi divergences (dp-accounting)",
    "zCDP": "zCDP (Canonne, Kamath & Steinke 2020)",
}


@dataclass(frozen=True)
class Ledger:
    """What was spent on the private set so far.

    ``unit`` names what neighbours differ in: a record, or all records of one patient.
    """

    adjacency: Adjacency
    unit: str
    events: tuple[Event, ...] = ()

    def __post_init__(self) -> None:
        """Check the words."""
        checks.one_of("ledger.adjacency", self.adjacency, get_args(Adjacency))
        if not self.unit:
            raise ValueError("unit must name what neighbours differ in, got ''.")

    def spend(self, event: Event) -> "Ledger":
        """The ledger with one more event."""
        return replace(self, events=(*self.events, event))

    def merge(self, other: "Ledger") -> "Ledger":
        """Both ledgers, which must speak of the same unit and adjacency."""
        for name, mine, theirs in (
            ("adjacency", self.adjacency, other.adjacency),
            ("unit", self.unit, other.unit),
        ):
            if mine != theirs:
                raise SettingError(
                    f"ledger.{name}",
                    f"found {theirs} beside {mine}",
                    "ledgers of different units or adjacencies are never composed",
                )
        return replace(self, events=self.events + other.events)

    def guarantee(self) -> Claim:
        """What all events guarantee together, from above.

        Raises:
            ValueError: if nothing was spent.
            SettingError: if no accountant composes the events under this adjacency.
        """
        return guarantee_of(self.events, self.adjacency)

    def for_group(self, size: int) -> "Ledger":
        """The ledger of the same events for groups of ``size`` units; see ``group_event``."""
        events = tuple(group_event(one, size) for one in self.events)
        return replace(self, unit=f"group of {size} ({self.unit})", events=events)

    def lines(self, delta: float) -> tuple[str, ...]:
        """The ledger in plain text, with epsilon at ``delta``; never how many units there are."""
        head = (f"adjacency: {self.adjacency}", f"unit: {self.unit}")
        if not self.events:
            return (*head, "nothing was spent")
        claim = self.guarantee()
        tested = claim.tested_delta(delta)
        tprs = claim.tpr(np.array(SHOWN_FPR))
        return (
            *head,
            *(f"event: {one.line()}" for one in self.events),
            f"accountant: {ACCOUNTANTS[_accountant(claim)]}",
            f"epsilon at delta {tested:.6g}: {upwards(claim.epsilon_at(tested))}",
            *(
                f"TPR at FPR {fpr:g}: at most {upwards(float(tpr))}"
                for fpr, tpr in zip(SHOWN_FPR, tprs, strict=True)
            ),
            f"advantage: at most {upwards(claim.advantage())}",
        )


def guarantee_of(
    events: Iterable[Event], adjacency: Adjacency, interval: float = INTERVAL
) -> Claim:
    """What the events guarantee together; ``interval`` as in ``ComposedClaim``."""
    events = tuple(events)
    if not events:
        raise ValueError("nothing was spent: there is nothing to guarantee.")
    if all(isinstance(one, Gaussian | PoissonGaussian) for one in events) and not any(
        isinstance(one, PoissonGaussian) and one.sampling_rate < 1 for one in events
    ):
        return GaussianClaim(mu=total_mu(events, adjacency), adjacency=adjacency)
    first = events[0]
    if len(events) == 1 and isinstance(first, EpsilonDelta):
        return EpsilonDeltaClaim(epsilon=first.epsilon, delta=first.delta, adjacency=adjacency)
    if len(events) == 1 and isinstance(first, Pure) and first.rounds == 1:
        return EpsilonDeltaClaim(epsilon=first.epsilon, delta=0.0, adjacency=adjacency)
    return ComposedClaim(events=events, adjacency=adjacency, interval=interval)


def group_event(event: Event, size: int) -> Event:
    """The same event for groups of ``size`` units.

    mu-GDP becomes size mu (Dong, Roth & Su 2022), and DP-SGD without sampling is of that kind;
    rho-zCDP size^2 rho (Bun & Steinke 2016); epsilon-DP size epsilon; and the delta of (epsilon,
    delta) grows by ``(e^(size epsilon) - 1) / (e^epsilon - 1)`` (Vadhan 2017).

    Raises:
        ValueError: for an event that has no such rule.
    """
    if size < 1 or size != int(size):
        raise ValueError(f"size must be a whole number, at least 1, got {size}.")
    if size == 1:
        return event
    if isinstance(event, Gaussian):
        return replace(event, mu=size * event.mu)
    if isinstance(event, Zcdp):
        return replace(event, rho=size**2 * event.rho)
    if isinstance(event, Pure):
        return replace(event, epsilon=size * event.epsilon)
    if isinstance(event, PoissonGaussian) and event.sampling_rate == 1:
        return replace(event, noise_multiplier=event.noise_multiplier / size)
    if isinstance(event, EpsilonDelta):
        return replace(event, epsilon=size * event.epsilon, delta=_group_delta(event, size))
    raise ValueError(
        f"{event.what}: {type(event).__name__} says nothing about groups; make the group the unit."
    )


def replaced_pair(epsilon: float, delta: float) -> tuple[float, float]:
    """What an add/remove or zero-out guarantee says where units are replaced.

    A replacement is two steps: ``(2 epsilon, (1 + e^epsilon) delta)``.
    """
    return 2 * epsilon, (1 + math.exp(epsilon)) * delta


def replaced_claim(claim: GaussianClaim | EpsilonDeltaClaim) -> GaussianClaim | EpsilonDeltaClaim:
    """An add/remove or zero-out claim as a replace-one claim: 2 mu, or ``replaced_pair``.

    Raises:
        ValueError: for a claim of replace-one already, or where nothing is left (delta >= 1).
    """
    if claim.adjacency == "replace_one":
        raise ValueError("the claim is of replace_one already.")
    if isinstance(claim, GaussianClaim):
        return GaussianClaim(mu=2 * claim.mu, adjacency="replace_one")
    epsilon, delta = replaced_pair(claim.epsilon, claim.delta)
    return EpsilonDeltaClaim(epsilon=epsilon, delta=delta, adjacency="replace_one")


def _group_delta(event: EpsilonDelta, size: int) -> float:
    return event.delta * sum(math.exp(step * event.epsilon) for step in range(size))


def _accountant(claim: Claim) -> str:
    return claim.accountant if isinstance(claim, ComposedClaim) else claim.kind


def upwards(value: float) -> str:
    """Four digits, rounded up: a limit must not shrink on paper."""
    if not 0 < value < math.inf:
        return f"{value:g}"
    scale = 10.0 ** (3 - math.floor(math.log10(value)))
    return f"{math.ceil(value * scale * (1 - 1e-12)) / scale:.4g}"
