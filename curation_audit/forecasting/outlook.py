"""What a pipeline will leak with more records, or with noise, forecast from a small audit of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

import numpy as np
from scipy.special import logit

from curation_audit.analytic.affine import Linear, fewer_candidates
from curation_audit.analytic.inversion import invert_stage
from curation_audit.analytic.red_flags import RedFlags, red_flags
from curation_audit.auditing.curation import select_and_train
from curation_audit.auditing.plan import AuditPlan
from curation_audit.checks import SettingError
from curation_audit.forecasting.prediction import (
    CONFIDENCE,
    Prediction,
    check_shadows,
    exact_shadows,
    first_order_of,
    linear_of,
    predicted,
)
from curation_audit.pipelines.base import ALWAYS_IN
from curation_audit.pipelines.rules.cut import tie_order
from curation_audit.results import Estimate
from curation_audit.statistics.auc import auc_estimate
from curation_audit.statistics.leakage_law import Range, SpectralLaw
from curation_audit.statistics.paired import PairedEvidence
from curation_audit.streams import Streams
from curation_audit.types import Features, Floats, Indices, Scores

ForecastStage: TypeAlias = Literal["scores", "selection", "model"]
TIMES: Final = (1, 2, 4, 10, 100)
"""Sizes that are always shown, in multiples of how many records a curation holds today."""
N_ANALYTIC: Final[Mapping[ForecastStage, int]] = {"selection": 2048, "model": 512}
MOST_OUTPUTS: Final = 4096
LEAST_SPREAD: Final = 1e-3
LEAST_SHARE: Final = 1e-6


@dataclass(frozen=True, slots=True)
class StageLaw:
    """The law of one stage, and the two between which its measured AUC leaves it.

    What a stage hides is taken as noise on the scores: as much as brings the law to the AUC that
    the filter reached on exact shadows, and to both ends of its interval. That the noise stays
    the same with more records is the assumption.
    """

    stage: ForecastStage
    measured: Estimate
    law: SpectralLaw
    weakest: SpectralLaw
    strongest: SpectralLaw

    def auc(self, n_held: float) -> Range:
        """The AUC with n records held."""
        laws = (self.law, self.weakest, self.strongest)
        return _range([law.auc(n_held) for law in laws])

    def advantage(self, n_held: float) -> Range:
        """The best TPR - FPR with n records held."""
        laws = (self.law, self.weakest, self.strongest)
        return _range([law.advantage(n_held) for law in laws])

    def records_needed(self, advantage: float) -> Range:
        """How many records have to be held for no more than that advantage."""
        laws = (self.law, self.weakest, self.strongest)
        return _range([law.records_needed(advantage) for law in laws])

    def noise_needed(self, n_held: float, advantage: float) -> float:
        """The standard deviation of noise on every score for no more than that advantage.

        Beside what the stage hides already; by the law that sees the most.
        """
        return self.strongest.noise_needed(n_held, advantage)


def _range(values: Sequence[float]) -> Range:
    return Range(values[0], min(values), max(values))


@dataclass(frozen=True, slots=True)
class Outlook:
    """The prediction for a plan as it is, its red flags, and the law of every stage.

    ``spread`` is the standard deviation of the scores over the pool, in whose unit noise is told.
    ``laws`` are empty where a private mechanism is in place, whose claim is the law, and for
    networks, of which none is known. ``fall``: the variance that coins cause in the scores goes as
    n ** -fall; ``None`` for networks.
    """

    prediction: Prediction
    flags: RedFlags
    laws: tuple[StageLaw, ...]
    n_today: int
    spread: float
    fall: float | None


def outlook(plan: AuditPlan, n_shadows: int = 32, *, model: bool = False) -> Outlook:
    """Forecast from ``n_shadows`` exact shadows.

    Args:
        plan: a plan whose scorer is linear, or a network (``mlp_classifier``).
        n_shadows: on which the prediction is checked and the stages are measured.
        model: forecast what the trained model tells, too; that takes some hundred trainings.

    Raises:
        SettingError: for any other scorer, too few shadows, or records that are in
            every shadow, of which the law knows nothing.
    """
    check_shadows(n_shadows)
    private = plan.data.private
    if (private.unit == ALWAYS_IN).any():
        raise SettingError(
            "attack.targets",
            "found private rows that every shadow holds, which a law of n knows nothing of",
            "a forecast needs attack.targets: all, and no canaries",
        )
    first_order = first_order_of(plan)
    affine, prediction = first_order.affine(), predicted(plan, first_order, n_shadows)
    fall, laws = None, tuple[StageLaw, ...]()
    if isinstance(first_order, Linear):
        fall = fall_of_variance(plan)
        if prediction.check is not None and not affine.added.any():
            law = SpectralLaw.of(affine.shifts, fall=fall, noise=affine.left)
            laws = (stage_law("scores", law, prediction.check.measured, exact=True),)
            stages: list[ForecastStage] = ["selection"]
            if model and plan.downstream is not None:
                stages.append("model")
            measured = measured_stages(plan, first_order, stages, n_shadows)
            laws += tuple(stage_law(stage, law, found) for stage, found in measured.items())
    average = first_order.scores(np.full((1, private.n_candidates), 0.5))
    return Outlook(
        prediction=prediction,
        flags=red_flags(affine, private),
        laws=laws,
        n_today=private.n_candidates,
        spread=float(np.std(average)),
        fall=fall,
    )


def stage_law(
    stage: ForecastStage, law: SpectralLaw, measured: Estimate, *, exact: bool = False
) -> StageLaw:
    """Fit the noise of a stage to its measured AUC.

    Where the stage is ``exact`` the law as it is stands in the middle, and measurement only
    widens the interval.
    """
    here = law.n_reference
    middle = law if exact else law.with_noise_for(here, measured.value)
    return StageLaw(
        stage=stage,
        measured=measured,
        law=middle,
        weakest=law.with_noise_for(here, measured.low),
        strongest=law.with_noise_for(here, measured.high),
    )


def fall_of_variance(plan: AuditPlan) -> float:
    """By which power of n the variance falls that coins cause in the scores; from a random half.

    About 1 for means, about -1 for sums; between them for a classifier that is regularised or has
    a large background.
    """
    n = plan.data.private.n_candidates
    kept = Streams(plan.seed).generator("half of the candidates").permutation(n)[: n // 2]
    half = replace(plan, data=fewer_candidates(plan.data, np.sort(kept)))
    whole, less = (_variance(linear_of(one)) for one in (plan, half))
    return float(np.log(less / whole) / np.log(n / (n // 2)))


def _variance(linear: Linear) -> float:
    return float((linear.affine().shifts ** 2).sum()) / 4


def measured_stages(
    plan: AuditPlan, linear: Linear, stages: Sequence[ForecastStage], n_shadows: int
) -> dict[ForecastStage, Estimate]:
    """The AUC on exact shadows of what a regression on analytic shadows reads off each stage."""
    inclusion, scores = exact_shadows(plan, n_shadows)
    affine, found = linear.affine(), dict[ForecastStage, Estimate]()
    for stage in stages:
        of_stage = StageOutputs.of(plan, linear, stage)
        rng = Streams(plan.seed).generator(f"analytic shadows of {stage}")
        inversion = invert_stage(affine, linear.scores, of_stage, N_ANALYTIC[stage], rng)
        evidence = inversion.likelihood_ratios(of_stage(scores))
        paired = PairedEvidence.split(evidence, inclusion)
        found[stage] = auc_estimate(paired, confidence=CONFIDENCE, inflation=1.0)
    return found


@dataclass(frozen=True, slots=True)
class StageOutputs:
    """What a stage of the real pipeline gives for scores (S, m): (S, q) numbers.

    ``columns``: of more outputs than can be regressed on, those that differ most between analytic
    shadows.
    """

    plan: AuditPlan
    stage: ForecastStage
    columns: Indices | None = None

    @classmethod
    def of(cls, plan: AuditPlan, linear: Linear, stage: ForecastStage) -> "StageOutputs":
        """With the columns of some analytic shadows."""
        every = cls(plan, stage)
        rng = Streams(plan.seed).generator(f"columns of {stage}")
        coins = rng.random((64, plan.data.private.n_candidates)) < 0.5
        spread = every(linear.scores(coins)).std(axis=0)
        columns = np.flatnonzero(spread > LEAST_SPREAD * spread.max(initial=0))
        if len(columns) > MOST_OUTPUTS:
            columns = np.sort(np.argsort(-spread, kind="stable")[:MOST_OUTPUTS])
        return replace(every, columns=columns)

    def __call__(self, scores: Scores) -> Floats:
        """Run the real code."""
        plan, pool = self.plan, self.plan.data.pool
        streams = Streams(plan.seed).for_shadows("analytic", range(len(scores)))
        exact = scores.astype(pool.features.dtype, copy=False)
        if self.stage == "selection":
            rank = tie_order(pool.ids, plan.seed)
            picked = plan.rule.select(exact, rank, streams, pool).mask()
            return self._chosen(picked.astype(np.float32))
        told = select_and_train(plan, exact, streams).observation.at_pool
        if told is None:
            raise ValueError("no model is trained.")
        odds = logit(np.clip(told, LEAST_SHARE, 1 - LEAST_SHARE))
        return self._chosen(odds.reshape(len(scores), -1))

    def _chosen(self, outputs: Features) -> Floats:
        chosen = outputs if self.columns is None else outputs[:, self.columns]
        return chosen.astype(np.float64)
