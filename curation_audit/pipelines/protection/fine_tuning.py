"""From ``train.fine_tune`` to private training, and to what holds of curation and training jointly.

The private set is touched twice. Scores and selection are covered by what the curation spends
alone; the model by the composition of both, as its start weights say what the curation says. A
curation without a guarantee therefore leaves the model without one.
"""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, get_args

import numpy as np

from curation_audit import checks
from curation_audit.checks import SettingError
from curation_audit.dp.calibration import EpsilonTarget, check_delta, noise_multiplier_for
from curation_audit.dp.claims import Claim
from curation_audit.dp.event_codec import encoded
from curation_audit.dp.events import Event, PoissonGaussian
from curation_audit.dp.ledger import Ledger, guarantee_of, upwards
from curation_audit.dp.protection import FineTuning, Protection
from curation_audit.pipelines.base import Downstream
from curation_audit.pipelines.downstream.dense import hidden_widths, with_ones
from curation_audit.pipelines.downstream.fine_tune import FineTune
from curation_audit.pipelines.downstream.mlp import Mlp
from curation_audit.pipelines.protection.base import Site
from curation_audit.pipelines.protection.dp_sgd import IN_COORDINATES, DpSgd, expected_per_step
from curation_audit.pipelines.protection.protect import Protected
from curation_audit.results import Adjacency
from curation_audit.training.dp_sgd import DpSgdSettings
from curation_audit.training.spectral import (
    DP_WIDTH_EXPONENT,
    PARAMETRIZATIONS,
    Parametrization,
    dp_rate,
)
from curation_audit.types import Features

PATH: Final = "train.fine_tune"
SOFTMAX_CURVATURE: Final = 0.5  # of the cross-entropy of a softmax, per squared length of a row
NO_PROTECT: Final = (
    "The model has no guarantee at all, whatever noise fine-tuning adds: the curation is not "
    "private, and it leaks through the weights that fine-tuning starts from (curate.protect makes "
    "it private)."
)
NO_NOISE_BEFORE: Final = (
    "The model has no guarantee at all, whatever noise fine-tuning adds: the curation ran without "
    "noise, and it leaks through the weights that fine-tuning starts from."
)
NO_NOISE: Final = (
    "Fine-tuning ran without noise, so the model has no guarantee at all, and what the curation "
    "guarantees for scores and selection is not tested here."
)
NO_LIMIT: Final = (
    "event: model (fine-tuning): no limit on what it tells; the lines above are of the curation "
    "alone"
)
NOT_RELEASED: Final = (
    "The fine-tuned models of an audit are made with seeded noise and are never released."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuneSettings:
    """Settings of ``train.fine_tune``.

    ``epsilon``: what fine-tuning may spend by itself; or ``joint_epsilon``: what curation and
    fine-tuning may spend together. Either holds at ``delta``; infinite is clipping without noise.
    ``sampling_rate``: of a unit, per step; 1 takes all. ``clip``: the largest length of a unit's
    gradient. ``learning_rate``: by default, without hidden layers, one over the largest curvature
    of the loss on the pool. ``expected_units``: what sums are divided by; by default the sampling
    rate times the number of units where that is public.

    ``parametrization: spectral`` trains V of weights ``W = s V``, s public numbers of a layer's
    shape, at a clip norm that serves every width. The start weights are those of the picks, as V =
    W / s: post-processing. A step clips every unit's gradient at V, all layers together, to C and
    noises their sum, so it is the same Gaussian of sensitivity C, and the event does not change;
    W is computed from V. ``learning_rate`` is then that of the model's ``base_width``, and falls by
    the ratio of the widest layer to it to the power of ``width_exponent``.
    """

    delta: float
    adjacency: Adjacency
    epsilon: float | None = None
    joint_epsilon: float | None = None
    steps: int = 100
    sampling_rate: float = 0.1
    clip: float = 1.0
    learning_rate: float | None = None
    momentum: float = 0.0
    l2: float = 0.0
    expected_units: float | None = None
    parametrization: Parametrization = "standard"
    width_exponent: float = DP_WIDTH_EXPONENT

    def __post_init__(self) -> None:
        """Check the words, and that one thing is asked for."""
        checks.one_of(f"{PATH}.adjacency", self.adjacency, get_args(Adjacency))
        checks.one_of(f"{PATH}.parametrization", self.parametrization, PARAMETRIZATIONS)
        given = [n for n in ("epsilon", "joint_epsilon") if getattr(self, n) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "neither epsilon nor joint_epsilon"
            hint = "expected epsilon (fine-tuning's own) or joint_epsilon (with the curation's)"
            raise SettingError(PATH, f"found {found}", hint)
        if not self.wanted > 0:
            place = f"{PATH}.{given[0]}"
            raise SettingError(place, f"found {self.wanted:g}", "expected more than 0")

    @property
    def wanted(self) -> float:
        """The epsilon that is asked for."""
        return next(one for one in (self.epsilon, self.joint_epsilon) if one is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuned:
    """Fine-tuning in place.

    ``claim`` is of curation and fine-tuning together, ``curation_claim`` of the curation; each is
    ``None`` where nothing is guaranteed. ``protection`` speaks of both together; ``None`` for a
    curation without protection.
    """

    model: FineTune
    claim: Claim | None
    curation_claim: Claim | None
    protection: Protection | None
    told: FineTuning


def fine_tune(
    settings: FineTuneSettings,
    site: Site,
    downstream: Downstream,
    n_classes: int,
    protected: Protected | None,
    unit: str,
) -> FineTuned:
    """Calibrate the noise and compose the claims; nothing private is looked at but U.

    ``site.adjacency`` is that of the settings.

    Raises:
        SettingError: for a budget that cannot be kept, or what would void the guarantee.
    """
    hidden = hidden_widths(downstream)
    if hidden is None:
        raise SettingError(
            PATH, f"stands beside model {downstream.name}", "expected model: logistic or mlp"
        )
    if site.private.labels is None:
        raise SettingError(
            PATH, "needs labels of the private rows", "name their column: private.columns.label"
        )
    _check_together(settings, site, protected)
    before = () if protected is None else protected.events
    noise = _noise(settings, before)
    rate = _rate(settings, site, downstream, hidden)
    constants = _constants(settings, site, hidden, n_classes, noise, rate)
    event = _event(constants)
    curation = None if protected is None else protected.claim
    joint = None
    if event is not None and curation is not None:
        joint = guarantee_of((*before, event), settings.adjacency)
    told = _told(settings, constants, unit, event, curation, joint, protected)
    return FineTuned(
        model=FineTune(
            settings=constants, adjacency_of_claim=settings.adjacency, device=site.device
        ),
        claim=joint,
        curation_claim=curation,
        protection=None if protected is None else _jointly(protected, told, event),
        told=told,
    )


def describe_fine_tuning(settings: FineTuneSettings) -> dict[str, Any]:
    """The settings as JSON values, for a report."""
    given = {name: value for name, value in asdict(settings).items() if value is not None}
    return {name: "inf" if value == math.inf else value for name, value in given.items()}


def _check_together(settings: FineTuneSettings, site: Site, protected: Protected | None) -> None:
    """One delta, one adjacency, and a joint budget only where there is something to share it."""
    check_delta(settings.delta, site.public_units, f"{PATH}.delta")
    if settings.delta >= 1 / site.private.n_units:
        raise SettingError(
            f"{PATH}.delta",
            f"found {settings.delta:g}, at which a unit could be released as it is",
            "expected less than one over the number of units",
        )
    if settings.joint_epsilon is not None and (protected is None or not protected.events):
        raise SettingError(
            f"{PATH}.joint_epsilon",
            "is asked for, but the curation has no guarantee to share it with",
            "add curate.protect with a finite budget; or give epsilon, and no guarantee is claimed",
        )
    if protected is None:
        return
    for name in ("adjacency", "delta"):
        own, theirs = getattr(settings, name), getattr(protected.protection, name)
        if own != theirs:
            raise SettingError(
                f"{PATH}.{name}",
                f"found {own}, but curate.protect.{name} is {theirs}",
                "one claim covers both: they must agree",
            )


def _noise(settings: FineTuneSettings, before: tuple[Event, ...]) -> float:
    if math.isinf(settings.wanted):
        return 0.0
    beside = before if settings.joint_epsilon is not None else ()
    try:
        return noise_multiplier_for(
            EpsilonTarget(settings.wanted, settings.delta),
            settings.sampling_rate,
            settings.steps,
            settings.adjacency,
            beside,
        )
    except ValueError as error:
        raise SettingError(PATH, str(error).rstrip(".")) from None


def _constants(
    settings: FineTuneSettings,
    site: Site,
    hidden: tuple[int, ...],
    n_classes: int,
    noise: float,
    rate: float,
) -> DpSgdSettings:
    expected = expected_per_step(settings.expected_units, settings.sampling_rate, site, PATH)
    try:
        return DpSgdSettings(
            steps=settings.steps,
            sampling_rate=settings.sampling_rate,
            clip=settings.clip,
            noise_multiplier=noise,
            expected_units=expected,
            learning_rate=rate,
            momentum=settings.momentum,
            l2=settings.l2,
            hidden=hidden,
            outputs=n_classes,
            parametrization=settings.parametrization,
        )
    except ValueError as error:
        raise SettingError(PATH, str(error).rstrip(".")) from None


def _rate(
    settings: FineTuneSettings, site: Site, model: Downstream, hidden: tuple[int, ...]
) -> float:
    """As set, at the model's width; without hidden layers it has a default."""
    if settings.parametrization == "spectral" and not _is_spectral(model):
        raise SettingError(
            f"{PATH}.parametrization",
            "found spectral beside a model that is not",
            "a clip norm holds at every width where the start weights do: expected model: mlp with "
            "hidden layers and parametrization: spectral",
        )
    rate = settings.learning_rate
    if rate is None:
        if hidden:
            place = f"{PATH}.learning_rate"
            raise SettingError(place, "is missing", "a perceptron needs one: give a public number")
        return _safe_rate(site.pool.features, settings.l2)
    if settings.parametrization == "spectral" and isinstance(model, Mlp):
        return dp_rate(rate, max(hidden), model.base_width, settings.width_exponent)
    return rate


def _is_spectral(model: Downstream) -> bool:
    return isinstance(model, Mlp) and bool(model.hidden) and model.parametrization == "spectral"


def _safe_rate(pool: Features, l2: float) -> float:
    """One over the largest curvature of the loss, if private rows were like the pool's (m, d)."""
    rows = with_ones(pool).astype(np.float64)
    largest = float(np.linalg.eigvalsh(rows.T @ rows / len(rows))[-1])
    rate = 1 / (SOFTMAX_CURVATURE * largest + l2)
    return rate if math.isfinite(rate) else 1.0


def _event(constants: DpSgdSettings) -> PoissonGaussian | None:
    if constants.noise_multiplier == 0:
        return None
    return PoissonGaussian(
        constants.noise_multiplier, constants.sampling_rate, constants.steps, "model (fine-tuning)"
    )


def _told(
    settings: FineTuneSettings,
    constants: DpSgdSettings,
    unit: str,
    event: Event | None,
    curation: Claim | None,
    joint: Claim | None,
    protected: Protected | None,
) -> FineTuning:
    """The numbers; without a guarantee of the model no epsilon stands beside it."""
    own = None
    if event is not None and joint is not None:
        own = guarantee_of((event,), settings.adjacency).epsilon_at(settings.delta)
    of_curation = None if joint is None or curation is None else curation
    return FineTuning(
        adjacency=settings.adjacency,
        unit=unit,
        delta=settings.delta,
        epsilon=own,
        curation_epsilon=None if of_curation is None else of_curation.epsilon_at(settings.delta),
        joint_epsilon=None if joint is None else joint.epsilon_at(settings.delta),
        noise_multiplier=constants.noise_multiplier,
        sampling_rate=constants.sampling_rate,
        steps=constants.steps,
        clip=constants.clip,
        expected_units=constants.expected_units,
        learning_rate=constants.learning_rate,
        momentum=constants.momentum,
        l2=constants.l2,
        sensitivity=_sensitivity(constants),
        summary=_summary(settings.delta, own, curation, joint, protected),
    )


def _sensitivity(constants: DpSgdSettings) -> str:
    told = f"fine-tuning: {DpSgd.argument(constants.clip)}"
    return told + (IN_COORDINATES if constants.parametrization == "spectral" else "")


def _summary(
    delta: float,
    own: float | None,
    curation: Claim | None,
    joint: Claim | None,
    protected: Protected | None,
) -> str:
    """What each spends, or why the model has no guarantee."""
    if protected is None:
        return NO_PROTECT
    if curation is None:
        return NO_NOISE_BEFORE
    if joint is None or own is None:
        return NO_NOISE
    first, both = (upwards(one.epsilon_at(delta)) for one in (curation, joint))
    covered = " and ".join(one for one in protected.protection.covers if one != "model")
    return (
        f"At delta {delta:g} the curation spends epsilon {first}, which covers {covered}; "
        f"fine-tuning spends {upwards(own)}; both together {both}, which covers the model and all "
        "that is released together."
    )


def _jointly(protected: Protected, told: FineTuning, event: Event | None) -> Protection:
    """The curation's protection, as one of everything that is seen: the joint epsilon."""
    own = protected.protection
    events, coded = (*own.events, NO_LIMIT), own.coded_events
    if told.joint_epsilon is not None and event is not None:
        ledger = Ledger(told.adjacency, own.unit, (*protected.events, event))
        events = ledger.lines(told.delta)
        coded = tuple(encoded(one) for one in ledger.events)
    return replace(
        own,
        mechanism=f"{own.mechanism}, then fine-tuning",
        epsilon=told.joint_epsilon,
        events=events,
        coded_events=coded,
        sensitivities=(*own.sensitivities, told.sensitivity),
        notes=(*own.notes, told.summary, NOT_RELEASED),
    )
