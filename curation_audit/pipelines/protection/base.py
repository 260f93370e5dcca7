"""The seam of a protection: a budget and a site in, a private scorer and what it spends out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol, runtime_checkable

from curation_audit.checks import SettingError
from curation_audit.dp.calibration import (
    AdvantageTarget,
    EpsilonTarget,
    MuTarget,
    Target,
    TprTarget,
    mu_for,
)
from curation_audit.dp.events import Event, Gaussian, Zcdp
from curation_audit.pipelines.base import PrivateRows, Rows, Scorer
from curation_audit.results import Adjacency
from curation_audit.statistics.zcdp import rho_of_epsilon

PATH = "curate.protect"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How much may be spent: at most one of epsilon (at ``delta``), mu, advantage and tpr (at fpr).

    An infinite epsilon is the mechanism with its clipping and without noise.
    """

    delta: float
    epsilon: float | None = None
    mu: float | None = None
    advantage: float | None = None
    tpr: float | None = None
    fpr: float | None = None

    def __post_init__(self) -> None:
        """Check that one thing is asked for, and that it can be."""
        asked = {n: getattr(self, n) for n in ("epsilon", "mu", "advantage", "tpr")}
        given = [name for name, value in asked.items() if value is not None]
        if len(given) != 1:
            found = ", ".join(given) or "none of them"
            raise SettingError(
                PATH, f"found {found}", "expected one of epsilon, mu, advantage, or tpr with fpr"
            )
        if (self.tpr is None) != (self.fpr is None):
            raise SettingError(PATH, "found tpr or fpr alone", "a TPR is limited at one FPR")
        name, value = given[0], asked[given[0]]
        for one in (name, "delta"):
            found_here = getattr(self, one)
            if isinstance(found_here, bool) or not isinstance(found_here, int | float):
                raise SettingError(f"{PATH}.{one}", f"found {found_here!r}", "expected a number")
        if not value > 0:
            raise SettingError(f"{PATH}.{name}", f"found {value:g}", "expected more than 0")
        if not self.unlimited:
            try:
                self.target()
            except ValueError as error:
                raise SettingError(f"{PATH}.{name}", str(error).rstrip(".")) from None

    @property
    def unlimited(self) -> bool:
        """Whether no noise is asked for."""
        return self.epsilon == math.inf

    def target(self) -> Target:
        """What is asked for, as the accountant takes it."""
        if self.mu is not None:
            return MuTarget(self.mu)
        if self.advantage is not None:
            return AdvantageTarget(self.advantage)
        if self.tpr is not None and self.fpr is not None:
            return TprTarget(self.tpr, self.fpr)
        if self.epsilon is None:
            raise ValueError("nothing is asked for.")
        return EpsilonTarget(self.epsilon, self.delta)

    def mu_left(self, beside: Sequence[Event]) -> float:
        """The mu of one Gaussian release that meets the target beside what else is spent.

        Beside zCDP events the Gaussian counts as ``mu^2 / 2``-zCDP.
        """
        if self.unlimited:
            return math.inf
        if not beside:
            return mu_for(self.target())
        if all(isinstance(one, Gaussian) for one in beside):
            spent = sum(one.mu**2 for one in beside if isinstance(one, Gaussian))
            return math.sqrt(max(0.0, mu_for(self.target()) ** 2 - spent))
        return math.sqrt(2 * self.rho_left(beside)) * (1 - 1e-9)

    def rho_left(self, beside: Sequence[Event]) -> float:
        """The rho of one zCDP release that meets epsilon beside what else is spent; at least 0.

        Gaussians beside count as ``mu^2 / 2``-zCDP.
        """
        if self.epsilon is None or not all(isinstance(one, Zcdp | Gaussian) for one in beside):
            raise SettingError(
                PATH,
                "asks for more than one mechanism within this kind of limit",
                "state epsilon and delta, and use Gumbel or Gaussian noise for the selection",
            )
        if self.unlimited:
            return math.inf
        spent = sum(
            one.rho if isinstance(one, Zcdp) else one.mu**2 / 2
            for one in beside
            if isinstance(one, Zcdp | Gaussian)
        )
        return max(0.0, rho_of_epsilon(self.epsilon, self.delta) - spent)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where a mechanism is put: the data, the scorer it stands in for, and what is neighbours."""

    private: PrivateRows
    pool: Rows
    scorer: Scorer
    adjacency: Adjacency
    seed: int
    device: str

    @property
    def public_units(self) -> int | None:
        """N where it is public: not under add/remove, where it is what is hidden."""
        return None if self.adjacency == "add_remove" else self.private.n_units


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorerPart:
    """A private scorer, what it spends (``None`` without noise), and what a reader should know.

    ``more``: what it spends beside ``event``, where it is several releases.
    """

    scorer: Scorer
    event: Event | None
    sensitivity: str
    notes: tuple[str, ...] = ()
    more: tuple[Event, ...] = ()

    @property
    def events(self) -> tuple[Event, ...]:
        """All that it spends."""
        return () if self.event is None else (self.event, *self.more)


@runtime_checkable
class ScorerMechanism(Protocol):
    """A private form of a scorer; its fields are public settings of ``curate.protect``."""

    name: ClassVar[str]

    def prepare(self, budget: Budget, beside: Sequence[Event], site: Site) -> ScorerPart:
        """Calibrate the noise so that the budget holds together with what is spent ``beside``."""
        ...


def known_settings(kind: type[Any]) -> tuple[str, ...]:
    """The names of a mechanism's settings."""
    return tuple(one.name for one in fields(kind))  # without class variables
