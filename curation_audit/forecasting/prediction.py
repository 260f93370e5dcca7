"""What can be told from a plan's scores, predicted without a shadow, and checked on a few.

A prediction is no audit result. It is called checked only where shadows that were really fitted
move as first order says, and where the filter's AUC on them agrees with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np

from curation_audit.analytic.affine import (
    AffineScores,
    Linear,
    likelihood_ratios,
    linearity,
)
from curation_audit.analytic.cavity import CavityScores, at_references
from curation_audit.auditing.curation import score_shadows
from curation_audit.auditing.plan import AuditPlan
from curation_audit.checks import SettingError
from curation_audit.game import paired_inclusion
from curation_audit.pipelines.scorers.mlp_classifier import MlpClassifier
from curation_audit.results import Estimate
from curation_audit.statistics.auc import auc_estimate
from curation_audit.statistics.leakage_law import advantage_of_mu
from curation_audit.statistics.leverage import (
    effective_dimension,
    leverages,
    mu_of_auditor,
    mu_of_known_others,
    pooled_auc,
    pooled_tpr,
)
from curation_audit.statistics.paired import PairedEvidence
from curation_audit.streams import Streams
from curation_audit.types import Floats, Inclusion, Scores

Linearised: TypeAlias = Linear | CavityScores
Adversary: TypeAlias = Literal["auditor", "population", "dp"]
KNOWS: Final[Mapping[Adversary, str]] = {
    "auditor": "the scores and all candidates, no coin",
    "population": "the scores, one candidate, and as many other records as are held; not checked",
    "dp": "the scores, all candidates and every coin but one",
}
MIN_SHADOWS: Final = 30
LEAST_LINEARITY: Final = 0.8
NEAR: Final = 0.02
NEAR_SHARE: Final = 0.15
"""How far a predicted AUC may lie outside of the interval of the measured one: so much, or that
share of what the measured one has above one half, where it is less."""
SLOPES: Final = (0.8, 1.25)
"""How far scores may move, per what first order says, and still be called as predicted."""
CONFIDENCE: Final = 0.95


@dataclass(frozen=True, slots=True)
class Told:
    """What one adversary is predicted to tell; rates by false-positive rate."""

    adversary: Adversary
    mu: Floats  # (N,)
    auc: float
    advantage: float
    tpr: Mapping[float, float]

    @classmethod
    def of(cls, adversary: Adversary, mu: Floats, fpr: tuple[float, ...]) -> "Told":
        """From the mu of every candidate."""
        rates = pooled_tpr(mu, np.array(fpr))
        told = dict(zip(fpr, map(float, rates), strict=True))
        return cls(adversary, mu, pooled_auc(mu), advantage_of_mu(mu), told)


@dataclass(frozen=True, slots=True)
class SpotCheck:
    """What exact shadows say of a prediction: their linearity, and the filter's AUC on them.

    ``predicted`` is ``None`` for networks, of which a closed form promises too much.
    ``attainable`` is the linearity of a scorer that is exactly linear but for the noise of a
    private mechanism: 1 without one. ``slope``: by how much scores move per what first order
    says, with a 95 % interval; ``None`` for networks, whose filter learns no size from it.
    """

    n_shadows: int
    linearity: float
    measured: Estimate
    predicted: float | None
    attainable: float = 1.0
    slope: Estimate | None = None

    @property
    def tolerance(self) -> float:
        """How far the predicted AUC may lie outside of the measured interval."""
        return min(NEAR, NEAR_SHARE * abs(self.measured.value - 0.5))

    @property
    def failure(self) -> str | None:
        """Why the prediction does not hold; ``None`` where it does."""
        least = LEAST_LINEARITY * self.attainable
        if self.linearity < least:
            return (
                f"linearity is {self.linearity:.3f}, below {least:.2g}: the coins do not move "
                "scores as first order says, or what is random moves them more; audit it with "
                "shadows (curation-audit attack)"
            )
        if self.slope is not None and not overlaps(self.slope, SLOPES):
            return (
                f"scores move {self.slope.value:.2f} times as far ({self.slope.low:.2f} to "
                f"{self.slope.high:.2f}) as first order says; audit the scorer with shadows "
                "(curation-audit attack)"
            )
        near = self.tolerance
        low, high = self.measured.low - near, self.measured.high + near
        if self.predicted is not None and not low <= self.predicted <= high:
            return (
                f"the predicted AUC {self.predicted:.3f} is more than {near:.3f} outside of the "
                f"measured {self.measured.low:.3f} to {self.measured.high:.3f}"
            )
        return None


def overlaps(estimate: Estimate, allowed: tuple[float, float]) -> bool:
    """Whether an interval holds any number of the allowed ones."""
    return estimate.low <= allowed[1] and estimate.high >= allowed[0]


@dataclass(frozen=True, slots=True)
class Prediction:
    """What scores tell of N candidates, each held by a fair coin.

    ``n_directions`` is along how many the candidates move scores, and ``dimension`` the sum of
    their leverages (N,). ``check`` is ``None`` where no shadow was fitted.
    """

    n_candidates: int
    n_directions: int
    leverage: Floats
    told: tuple[Told, ...]
    check: SpotCheck | None

    @property
    def dimension(self) -> float:
        """In how many directions coins show beside the noise."""
        return effective_dimension(self.leverage)

    @property
    def label(self) -> str:
        """What the figures may be called."""
        checked = self.check is not None and self.check.failure is None
        return "prediction, checked on exact shadows" if checked else "prediction, not confirmed"


def first_order_of(plan: AuditPlan) -> Linearised:
    """The plan's scorer to first order: a network's at trained references, or as ``linear_of``.

    Raises:
        SettingError: for any other scorer.
    """
    if not isinstance(plan.scorer, MlpClassifier):
        return linear_of(plan)
    return at_references(plan.scorer, plan.data, Streams(plan.seed))


def linear_of(plan: AuditPlan) -> Linear:
    """The plan's scorer, linearised.

    Raises:
        SettingError: where its scores are not linear.
    """
    linear = Linear.of(plan.scorer, plan.data)
    if linear is None:
        raise SettingError(
            "curate.scorer",
            f"found {plan.scorer.name}, whose scores are not linear in what it learns",
            "measure it with shadows: curation-audit attack",
        )
    return linear


def predict(plan: AuditPlan, n_shadows: int = 32) -> Prediction:
    """Predict, and check on ``n_shadows`` exact shadows (0 for none).

    Raises:
        SettingError: for a scorer that is not linear, or for a check on too few shadows.
    """
    check_shadows(n_shadows)
    shadows = exact_shadows(plan, n_shadows) if n_shadows else None
    return predicted(plan, first_order_of(plan), shadows)


def check_shadows(n_shadows: int) -> None:
    """Raise ``SettingError`` for a number that no check can be made on."""
    if n_shadows % 2 or 0 < n_shadows < MIN_SHADOWS:
        raise SettingError(
            "shadows", f"found {n_shadows}", f"expected 0, or an even number from {MIN_SHADOWS}"
        )


def predicted(
    plan: AuditPlan, first_order: Linearised, shadows: tuple[Inclusion, Scores] | None
) -> Prediction:
    """As ``predict``, of a scorer to first order, checked on coins (S, N) and scores (S, m)."""
    affine = first_order.affine()
    check = None if shadows is None else spot_check(affine, first_order, *shadows)
    closed_form = isinstance(first_order, Linear)
    return Prediction(
        n_candidates=len(affine.shifts),
        n_directions=int(np.linalg.matrix_rank(affine.shifts)),
        leverage=leverages(affine.shifts, affine.noise),
        told=told_by(affine, plan.attack.fpr) if closed_form else (),
        check=check,
    )


def exact_shadows(plan: AuditPlan, n_shadows: int) -> tuple[Inclusion, Scores]:
    """Coins (S, N) and scores (S, m) of the first shadows of an audit of the plan."""
    streams = Streams(plan.seed)
    inclusion = paired_inclusion(n_shadows, plan.data.private.n_candidates, streams)
    in_order = streams.for_shadows("shadow", range(n_shadows))
    return inclusion, score_shadows(plan, inclusion, in_order)


def told_by(affine: AffineScores, fpr: tuple[float, ...]) -> tuple[Told, ...]:
    """What every adversary tells.

    To a ``population`` adversary the n = N/2 others that are held are draws of their kind, not
    coins of records that he knows: with as many reference records of his own,
    ``mu^2 = a' (n Cov (1 + n / n) + noise)^-1 a`` and ``n Cov`` about ``sum a a' / 2``. He has to
    estimate the covariance, so that this is more than he reaches (theory 2.8).
    """
    leverage = leverages(affine.shifts, affine.noise)
    # four times the auditor's covariance of coins, as mu is in the unit of his leverage, with the
    # noise once
    shared = np.sqrt(leverages(affine.shifts, affine.noise / 4))
    return (
        Told.of("auditor", mu_of_auditor(leverage), fpr),
        Told.of("population", shared, fpr),
        Told.of("dp", mu_of_known_others(affine.shifts, affine.added), fpr),
    )


def spot_check(
    affine: AffineScores, first_order: Linearised, inclusion: Inclusion, scores: Scores
) -> SpotCheck:
    """Compare a prediction with shadows that were really fitted."""
    seen = first_order.seen(scores)
    evidence = likelihood_ratios(affine, seen)
    measured = auc_estimate(
        PairedEvidence.split(evidence, inclusion), confidence=CONFIDENCE, inflation=1.0
    )
    found = float(np.median(linearity(scores, first_order.scores(inclusion))))
    predicted, attainable, slope = None, 1.0, None
    if isinstance(first_order, Linear):
        predicted = pooled_auc(mu_of_auditor(leverages(affine.shifts, affine.noise)))
        coins, noise = (affine.shifts**2).sum() / 4, np.trace(affine.added)
        attainable = float(np.sqrt(coins / (coins + noise))) if noise > 0 else 1.0
        slope = slope_of(seen.coordinates, (inclusion - 0.5) @ affine.shifts)
    return SpotCheck(len(inclusion), found, measured, predicted, attainable, slope)


def slope_of(seen: Floats, expected: Floats) -> Estimate | None:
    """A regression through the means of what shadows show on what is expected, (S, r) each.

    The interval treats shadows as independent; ``None`` where nothing is expected to move.
    """
    seen, expected = (one - one.mean(axis=0) for one in (seen, expected))
    products, squares = (seen * expected).sum(axis=1), (expected**2).sum(axis=1)
    if not squares.sum() > 0:
        return None
    value = products.sum() / squares.sum()
    error = 1.96 * np.sqrt(((products - value * squares) ** 2).sum()) / squares.sum()
    return Estimate(float(value), float(value - error), float(value + error), CONFIDENCE)
