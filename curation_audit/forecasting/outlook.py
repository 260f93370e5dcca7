"""What a pipeline will leak with more records, or with noise, forecast from a small audit of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

import numpy as np
from scipy.special import logit

from curation_audit.analytic.affine import AffineScores, Linear, fewer_candidates
from curation_audit.analytic.red_flags import RedFlags, red_flags
from curation_audit.analytic.stages import invert_stage
from curation_audit.attacks.analytic_shadows import telling
from curation_audit.auditing.curation import select_and_train
from curation_audit.auditing.plan import AuditPlan
from curation_audit.checks import SettingError
from curation_audit.forecasting.by_epsilon import Foretold, check_epsilons, curve, descends
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
from curation_audit.types import Features, Floats, Inclusion, Indices, Scores

ForecastStage: TypeAlias = Literal["scores", "selection", "model"]
TIMES: Final = (1, 2, 4, 10, 100)
"""Sizes that are always shown, in multiples of how many records a curation holds today."""
N_ANALYTIC: Final[Mapping[ForecastStage, int]] = {"selection": 2048, "model": 512}
LEAST_SHARE: Final = 1e-6
N_HALVES: Final = 3
MOST_NEW: Final = 0.9
"""Share of all directions that half of the records must have, for a law of more records."""
JUST_MORE: Final = 0.501
"""An AUC that is told from one half by nothing."""


@dataclass(frozen=True, slots=True)
class StageLaw:
    """The law of one stage, and those between which what is measured and assumed leaves it.

    What a stage hides is taken as noise on the scores: as much as brings the law to the AUC that
    the filter reached on exact shadows, and to both ends of its interval. That it hides the same
    share of what coins move with more records is assumed; ``others`` also say what follows if
    it hides as much as today.
    """

    stage: ForecastStage
    measured: Estimate
    law: SpectralLaw
    others: tuple[SpectralLaw, ...]

    @property
    def laws(self) -> tuple[SpectralLaw, ...]:
        """The law in the middle first."""
        return self.law, *self.others

    def auc(self, n_records: float) -> Range:
        """The AUC that an audit of n records finds, which holds half of them at a time."""
        return _range([law.auc(n_records / 2) for law in self.laws])

    def advantage(self, n_records: float) -> Range:
        """The best TPR - FPR of such an audit."""
        return _range([law.advantage(n_records / 2) for law in self.laws])

    def records_needed(self, advantage: float) -> Range:
        """Of how many records an audit finds no more than that advantage."""
        return _range([2 * law.records_needed(advantage) for law in self.laws])

    def noise_needed(self, n_records: float, advantage: float) -> float | None:
        """The standard deviation of noise on every score for no more than that advantage.

        By the law that asks for most. ``None`` for later stages: a rule cuts every row's own noisy
        score, so that much less noise is enough than averages over the pool would need.
        """
        if self.stage != "scores":
            return None
        return max(law.noise_needed(n_records / 2, advantage) for law in self.laws)


def _range(values: Sequence[float]) -> Range:
    return Range(values[0], min(values), max(values))


@dataclass(frozen=True, slots=True)
class Outlook:
    """The prediction for a plan as it is, its red flags, and the law of every stage.

    ``spread`` is the standard deviation of the scores over the pool, in whose unit noise is told.
    ``laws`` are empty where a private mechanism is in place, whose claim is the law, and for
    networks, of which none is known. ``fall``: the variance that coins cause in the scores goes as
    n ** -fall; ``None`` for networks. ``notes``: what of the pipeline or the question was not used.
    """

    prediction: Prediction
    flags: RedFlags
    laws: tuple[StageLaw, ...]
    n_today: int
    spread: float
    fall: float | None
    no_law: str | None
    notes: tuple[str, ...] = ()
    by_epsilon: tuple[Foretold, ...] = ()


def outlook(
    plan: AuditPlan,
    n_shadows: int = 32,
    *,
    model: bool = False,
    epsilons: Sequence[float] = (),
) -> Outlook:
    """Forecast from ``n_shadows`` exact shadows.

    Args:
        plan: a plan whose scorer is linear, or a network (``mlp_classifier``).
        n_shadows: on which the prediction is checked and the stages are measured.
        model: forecast what the trained model tells, too; that takes some hundred trainings.
        epsilons: at which to foretell a scorer by noisy gradient descent; of others nothing is.

    Raises:
        SettingError: for any other scorer, too few shadows, or records that are in
            every shadow, of which the law knows nothing.
    """
    check_shadows(n_shadows)
    check_epsilons(epsilons)
    check_scores_are_seen(plan)
    private = plan.data.private
    if (private.unit == ALWAYS_IN).any():
        raise SettingError(
            "attack.targets" if plan.attack.canaries is None else "attack.canaries",
            "found private rows that every shadow holds, which a law of n knows nothing of",
            "a forecast needs attack.targets: all, and no canaries",
        )
    first_order = first_order_of(plan)
    shadows = exact_shadows(plan, n_shadows) if n_shadows else None
    affine, prediction = first_order.affine(), predicted(plan, first_order, shadows)
    halves = Halves.of(plan, affine) if isinstance(first_order, Linear) else None
    no_law, laws = why_no_law(prediction, affine, halves), tuple[StageLaw, ...]()
    if (
        no_law is None
        and isinstance(first_order, Linear)
        and halves is not None
        and prediction.check is not None
        and shadows is not None
    ):
        law = SpectralLaw.of(affine.shifts, fall=halves.fall, noise=affine.left)
        laws = (stage_law("scores", law, halves, prediction.check.measured),)
        stages: list[ForecastStage] = ["selection"]
        if model and plan.downstream is not None and plan.fine_tuned is None:
            stages.append("model")
        measured = measured_stages(plan, first_order, stages, *shadows)
        laws += tuple(stage_law(stage, law, halves, found) for stage, found in measured.items())
    average = first_order.scores(np.full((1, private.n_candidates), 0.5))
    return Outlook(
        prediction=prediction,
        flags=red_flags(affine),
        laws=laws,
        n_today=private.n_candidates,
        spread=float(np.std(average)),
        fall=None if halves is None else halves.fall,
        no_law=no_law,
        notes=tuple(notes_on(plan, closed_form=halves is not None, model=model)),
        by_epsilon=curve(plan, epsilons, n_shadows) if descends(plan) else (),
    )


def notes_on(plan: AuditPlan, *, closed_form: bool, model: bool) -> Iterator[str]:
    """What a forecast does not use, or cannot answer."""
    threat = plan.threat
    usual = ("algorithm", "pool", "candidates", "other candidates")
    if (
        "scores" not in threat.observes
        or threat.scores_as != "exact"
        or threat.embedding != "exact"
        or not {*usual} <= {*threat.knows}
    ):
        yield (
            "the pipeline's threat model is not used: told is what exact scores, and what is made "
            "of them, tell whoever knows all candidates"
        )
    if model and plan.downstream is None:
        yield "of a model nothing is told: the pipeline trains none"
    elif model and plan.fine_tuned is not None:
        yield "of a model nothing is told: it is trained on private rows, too"
    elif model and not closed_form:
        yield "of a model nothing is told: that is only done where scores are linear"


def check_scores_are_seen(plan: AuditPlan) -> None:
    """Raise ``SettingError`` where a private mechanism keeps the scores to itself."""
    protection = plan.protection
    if protection is not None and "scores" not in protection.covers:
        raise SettingError(
            "curate.protect.mechanism",
            f"found {protection.mechanism}, behind which nobody sees the scores that a forecast "
            "begins with",
            "its claim bounds what the rest tells; measure that: curation-audit attack",
        )


def why_no_law(prediction: Prediction, affine: AffineScores, halves: "Halves | None") -> str | None:
    """Why nothing can be said of other numbers of records; ``None`` where it can."""
    if halves is None:
        return "the scorer is a network, of which no law is known"
    if prediction.check is None:
        return "no exact shadow was fitted"
    if prediction.check.failure is not None:
        return "the prediction is not confirmed"
    if affine.added.any():
        return "a private mechanism is in place, whose claim bounds the leak"
    if not np.isfinite(halves.fall):
        return "some halves of the records do not move the scores at all"
    if halves.n_directions < MOST_NEW * prediction.n_directions:
        every = MOST_NEW * prediction.n_candidates
        room = "; so many leave room for every coin" if prediction.n_directions >= every else ""
        return (
            f"{prediction.n_candidates} records move scores along {prediction.n_directions} "
            f"directions, half of them along {halves.n_directions:.0f}: more records bring new "
            f"directions, of which nothing is known{room}"
        )
    return None


def stage_law(
    stage: ForecastStage, law: SpectralLaw, halves: "Halves", measured: Estimate
) -> StageLaw:
    """Fit the noise of a stage to its measured AUC.

    Of scores the law as it is stands in the middle, and measurement only widens the interval.
    """
    here = law.n_reference
    middle = replace(law, noise_fall=law.fall)
    ends = (measured.low, max(measured.high, JUST_MORE))
    kinds = [
        replace(law, fall=fall, noise_fall=steady * fall)
        for fall in sorted({min(halves.falls), max(halves.falls)})
        for steady in (1.0, 0.0)
    ]
    return StageLaw(
        stage=stage,
        measured=measured,
        law=middle if stage == "scores" else middle.brought_to(here, measured.value),
        others=tuple(of.brought_to(here, end) for of in kinds for end in ends),
    )


@dataclass(frozen=True, slots=True)
class Halves:
    """What random halves of the candidates do.

    ``falls``: by each half, by which power of n the variance falls that coins cause in the
    scores; about 1 for means, about -1 for sums, between them for a classifier that is
    regularised or has a large background; not finite where scores do not move. ``n_directions``
    of a half, on average.
    """

    falls: tuple[float, ...]
    n_directions: float

    @property
    def fall(self) -> float:
        """On average."""
        return float(np.mean(self.falls))

    @classmethod
    def of(cls, plan: AuditPlan, affine: AffineScores) -> "Halves":
        """Linearise ``N_HALVES`` halves, beside the whole."""
        n, rng = plan.data.private.n_candidates, Streams(plan.seed).generator("halves")
        kept = [np.sort(rng.permutation(n)[: n // 2]) for _ in range(N_HALVES)]
        halves = [
            linear_of(replace(plan, data=fewer_candidates(plan.data, one))).affine().shifts
            for one in kept
        ]
        whole = (affine.shifts**2).sum()
        less = np.array([(one**2).sum() for one in halves])
        if not (less > 0).all() or not whole > 0:
            return cls((np.nan,), 0.0)
        falls = np.log(less / whole) / np.log(n / (n // 2))
        ranks = [np.linalg.matrix_rank(one) for one in halves]
        return cls(tuple(map(float, falls)), float(np.mean(ranks)))


def measured_stages(
    plan: AuditPlan,
    linear: Linear,
    stages: Sequence[ForecastStage],
    inclusion: Inclusion,
    scores: Scores,
) -> dict[ForecastStage, Estimate]:
    """The AUC of what a regression on analytic shadows reads off each stage.

    On exact shadows: coins (S, N), scores (S, m). A stage that gives the same whoever is in is
    left out.
    """
    affine, found = linear.affine(), dict[ForecastStage, Estimate]()
    for stage in stages:
        of_stage = StageOutputs.of(plan, linear, stage)
        if of_stage.columns is not None and not len(of_stage.columns):
            continue
        rng = Streams(plan.seed).generator(f"analytic shadows of {stage}")
        inversion = invert_stage(affine, linear.scores, of_stage, N_ANALYTIC[stage], rng)
        # exact shadows draw noise that no analytic one has drawn
        exact = range(N_ANALYTIC[stage], N_ANALYTIC[stage] + len(scores))
        evidence = inversion.likelihood_ratios(inversion.guess(of_stage(scores, exact)))
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
        outputs = every(linear.scores(coins), range(len(coins)))
        return replace(every, columns=telling(outputs))

    def __call__(self, scores: Scores, trials: range) -> Floats:
        """Run the real code, with the noise of trials of these numbers."""
        plan, pool = self.plan, self.plan.data.pool
        streams = Streams(plan.seed).for_shadows("analytic", trials)
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
