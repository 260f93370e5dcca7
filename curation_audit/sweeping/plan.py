"""What a sweep runs: one audit for every mechanism and epsilon, and one without protection."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, get_args

from curation_audit.auditing.plan import AuditPlan, check_game
from curation_audit.checks import SettingError, one_of
from curation_audit.pipelines.protection import MECHANISMS, SELECTION
from curation_audit.pipelines.protection.base import Budget, ScorerMechanism, Site, known_settings
from curation_audit.pipelines.protection.noisy_top_k import NoisySelection
from curation_audit.pipelines.protection.protect import (
    NATURAL,
    ProtectSettings,
    parts_of,
    protect,
)
from curation_audit.results import Adjacency

EPSILONS: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, math.inf)
PAIR: Final = f"dp_sgd + {SELECTION}"
UNPROTECTED: Final = "unprotected"


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSettings:
    """Which points, and how utility is measured.

    ``repeats``: real curations with fresh noise per point. ``relevant``: categories of pool rows,
    by column (``label`` for the labels), whose share among the picks is reported. ``scorers`` and
    ``selection`` hold settings of mechanisms, by name, that are not their defaults. ``unit`` and
    ``fitted_on`` are those of ``ProtectSettings``.
    """

    adjacency: Adjacency
    delta: float
    epsilons: tuple[float, ...] = EPSILONS
    mechanisms: tuple[str, ...] = ()
    repeats: int = 16
    relevant: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    scorers: Mapping[str, ScorerMechanism] = field(default_factory=dict)
    selection: NoisySelection = field(default_factory=NoisySelection)
    unit: str | None = None
    fitted_on: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the words and the numbers."""
        one_of("sweep.adjacency", self.adjacency, get_args(Adjacency))
        if not self.epsilons:
            raise SettingError("sweep.epsilon", "found none", "expected some, e.g. 1, 4, inf")
        for epsilon in self.epsilons:
            if not epsilon > 0:
                raise SettingError("sweep.epsilon", f"found {epsilon:g}", "expected more than 0")
        if not 0 < self.delta < 1:
            raise SettingError("sweep.delta", f"found {self.delta}", "expected a number in (0, 1)")
        if self.repeats < 2:
            raise SettingError("sweep.repeats", f"found {self.repeats}", "expected 2 or more")
        for mechanism in self.mechanisms:
            try:
                parts_of(mechanism)
            except SettingError as error:
                raise SettingError("sweep.mechanisms", error.problem, error.hint) from None
        # a point's folder is named by it
        _once("sweep.epsilon", [f"{epsilon:g}" for epsilon in self.epsilons])
        _once("sweep.mechanisms", [name.replace(" ", "") for name in self.mechanisms])


def _once(path: str, names: Sequence[str]) -> None:
    """Raise ``SettingError`` where a name stands twice."""
    for name in names:
        if names.count(name) > 1:
            raise SettingError(path, f"found {name} twice", "once will do")


@dataclass(frozen=True, slots=True)
class Point:
    """One mechanism at one epsilon, which is infinite without noise."""

    mechanism: str
    epsilon: float

    @property
    def slug(self) -> str:
        """The name of its folder."""
        return f"{self.mechanism.replace(' ', '')}-{self.epsilon:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPlan:
    """The audit without protection, and the points.

    ``left_out``: mechanisms that this pipeline does not allow, with the reason.
    """

    base: AuditPlan
    settings: SweepSettings
    points: tuple[Point, ...]
    left_out: Mapping[str, str]

    @property
    def n_claims(self) -> int:
        """Claims that are tested together."""
        return max(1, sum(math.isfinite(point.epsilon) for point in self.points))

    def audit(self, point: Point | None) -> AuditPlan:
        """The audit of one point; of the unprotected pipeline for ``None``."""
        out = self.base.run.out
        slug = UNPROTECTED if point is None else point.slug
        folder = None if out is None else out / "points" / slug
        run = dataclasses.replace(self.base.run, out=folder)
        # bounds are stated at the delta of the claims, and no claim but theirs is tested
        attack = dataclasses.replace(self.base.attack, delta=self.settings.delta)
        base = dataclasses.replace(
            self.base,
            run=run,
            attack=attack,
            policy=(),
            claim=None,
            n_claims=self.n_claims,
            configuration=_at_delta(self.base.configuration, self.settings.delta),
        )
        return base if point is None else protected(base, self.settings, point)


def plan_sweep(base: AuditPlan, settings: SweepSettings, *, every: bool = False) -> SweepPlan:
    """Lay out a sweep; with ``every`` it takes all mechanisms that the pipeline allows.

    Raises:
        SettingError: for a mechanism that was asked for and is not possible here.
    """
    if base.protection is not None:
        raise ValueError("a sweep starts from the pipeline without protection.")
    if base.fine_tuned is not None:
        raise SettingError(
            "train.fine_tune",
            "a sweep compares curations, and does not share its budget with private training",
            "leave it out of a sweep: --set 'train={model: ...}'",
        )
    if settings.delta >= 1 / base.data.private.n_units:
        raise SettingError(  # without the number, which add_remove keeps secret
            "sweep.delta",
            f"found {settings.delta:g}, at which a unit could be released as it is",
            "expected less than one over the number of units",
        )
    asked = every_mechanism(base) if every else settings.mechanisms or natural(base)
    finite = [epsilon for epsilon in settings.epsilons if math.isfinite(epsilon)]
    extremes = {min(finite), max(finite)} if finite else {math.inf}
    left_out: dict[str, str] = {}
    possible = []
    for mechanism in asked:
        try:
            for epsilon in extremes:
                protected(base, settings, Point(mechanism, epsilon))
            possible.append(mechanism)
        except SettingError as error:
            if not every:
                raise
            left_out[mechanism] = "; ".join(filter(None, (error.problem, error.hint)))
    if not possible:
        raise SettingError(
            "sweep.mechanisms", "none of them is possible here", next(iter(left_out.values()), "")
        )
    points = tuple(Point(name, epsilon) for name in possible for epsilon in settings.epsilons)
    return SweepPlan(base=base, settings=settings, points=points, left_out=left_out)


def natural(base: AuditPlan) -> tuple[str, ...]:
    """The private form of the pipeline's scorer.

    Raises:
        SettingError: for a scorer that has none.
    """
    if base.scorer.name not in NATURAL:
        raise SettingError(
            "sweep.mechanisms",
            f"is missing, and {base.scorer.name} has no private form of its own",
            f"expected some of {', '.join(sorted(MECHANISMS))}, or all",
        )
    return (NATURAL[base.scorer.name],)


def every_mechanism(base: AuditPlan) -> tuple[str, ...]:
    """All mechanisms, the pipeline's own form first."""
    own = NATURAL.get(base.scorer.name)
    names = sorted(MECHANISMS, key=lambda name: (name != own, name))
    return (*names, PAIR, SELECTION)


def protected(base: AuditPlan, settings: SweepSettings, point: Point) -> AuditPlan:
    """The audit of the pipeline under a mechanism; what it leaves unprotected is not observed.

    Raises:
        SettingError: where the mechanism is not possible.
    """
    name, noisy = parts_of(point.mechanism)
    own = ProtectSettings(
        mechanism=point.mechanism,
        adjacency=settings.adjacency,
        budget=Budget(epsilon=point.epsilon, delta=settings.delta),
        scorer=settings.scorers.get(name, MECHANISMS[name]()) if name else None,
        selection=settings.selection if noisy else None,
        unit=settings.unit,
        fitted_on=settings.fitted_on,
    )
    made = protect(own, site_of(base, settings.adjacency), base.rule, base.unit)
    seen = tuple(stage for stage in base.threat.observes if stage in made.protection.covers)
    plan = dataclasses.replace(
        base,
        scorer=made.scorer,
        rule=made.rule,
        claim=made.claim,
        protection=made.protection,
        threat=dataclasses.replace(base.threat, observes=seen),
        configuration=_configured(base, own),
    )
    check_game(plan)
    return plan


def site_of(base: AuditPlan, adjacency: Adjacency) -> Site:
    """Where a mechanism is put in an audit without one."""
    return Site(
        private=base.data.private,
        pool=base.data.pool,
        scorer=base.scorer,
        adjacency=adjacency,
        seed=base.seed,
        device=base.run.device,
    )


def _at_delta(configuration: Mapping[str, Any], delta: float) -> dict[str, Any]:
    """The configuration with the delta of the bounds, where it holds settings of attacks."""
    if "attack" not in configuration:
        return dict(configuration)
    return {**configuration, "attack": {**configuration["attack"], "delta": delta}}


def _configured(base: AuditPlan, own: ProtectSettings) -> dict[str, Any]:
    """The base's configuration with the protection of the point in it, as a file would say it."""
    epsilon = own.budget.epsilon
    of_parts = {
        name: getattr(part, name)
        for part in (own.scorer, own.selection)
        if part is not None
        for name in known_settings(type(part))
    }
    protection: dict[str, Any] = {
        "mechanism": own.mechanism,
        "epsilon": "inf" if own.budget.unlimited else epsilon,
        "delta": own.budget.delta,
        "adjacency": own.adjacency,
        **{name: value for name, value in of_parts.items() if value is not None},
        **({"fitted_on": dict(own.fitted_on)} if own.fitted_on else {}),
        **({} if own.unit is None else {"unit": own.unit}),
    }
    curate = {**base.configuration.get("curate", {}), "protect": protection}
    return {**base.configuration, "curate": curate}
