"""Lower bounds on epsilon: chosen on the fit block of pairs, measured on the evaluation block.

Evidence comes from attacks that learnt from the fit block only; attack, direction, candidate,
threshold and number of guesses are chosen there, too, so that nothing is paid for the choice.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from curation_audit.auditing.choice import (
    Chosen,
    attacks_at,
    best_threshold,
    centres,
    choose,
    clearest_candidate,
    count,
    reads_coins,
)
from curation_audit.auditing.evidence import AttackEvidence, Game
from curation_audit.auditing.plan import AttackSettings
from curation_audit.auditing.terms import Terms as AuditTerms
from curation_audit.dp.claims import Claim
from curation_audit.observations import Stage
from curation_audit.results import (
    BoundMethod,
    ClaimedStage,
    ClaimResult,
    EpsilonBound,
    StageBounds,
)
from curation_audit.statistics.bounds import (
    Guesses,
    best_n_per_row,
    bonferroni_confidence,
    clopper_pearson_epsilon,
    clopper_pearson_epsilon_resolution,
    clopper_pearson_gdp_epsilon,
    clopper_pearson_gdp_epsilon_resolution,
    f_dp_one_run_epsilon,
    f_dp_one_run_epsilon_resolution,
    guesses,
    joint_beta_estimate,
    one_run_epsilon,
    one_run_epsilon_resolution,
    pair_mean_epsilon,
    pair_mean_epsilon_resolution,
    pair_mean_gdp_epsilon,
    pair_mean_gdp_epsilon_resolution,
    pair_mean_lower,
)

GDP: Final = "the curation is mu-GDP for some mu"
ONE_RUN: Final = (
    "guesses of {attack}, which reads no coin of a row; one row per evaluation pair, coins fair "
    "and independent"
)
ONE_CANDIDATE: Final = "candidate, threshold and direction from the fit block; shadows independent"
PAIRS: Final = "evaluation pairs judged by attacks that learnt from the fit block only"
CREDIBLE: Final = "a posterior quantile (Jeffreys prior): credible, not frequentist"
STATED: Final = ("mu", "epsilon", "delta", "noise_multiplier", "sampling_rate", "steps")
SMALLEST_DRAWN_FPR, N_DRAWN = 1e-5, 60


@dataclass(frozen=True, slots=True)
class Method:
    """One way to state an epsilon: ``epsilon(*data, delta, confidence)``.

    ``resolution(*sizes, delta, confidence)`` is what a perfect attack would have shown.
    """

    name: BoundMethod
    epsilon: Callable[..., float]
    resolution: Callable[..., float]
    hypothesis: str | None = None
    label: Literal["bound", "estimate"] = "bound"


def _joint_beta_resolution(n_in: int, n_out: int, delta: float, confidence: float) -> float:
    return joint_beta_estimate(n_in, n_in, 0, n_out, delta, confidence)


PAIR_MEAN: Final = (
    Method("pair mean", pair_mean_epsilon, pair_mean_epsilon_resolution),
    Method("pair mean, GDP", pair_mean_gdp_epsilon, pair_mean_gdp_epsilon_resolution, GDP),
)
GUESSES: Final = (
    Method("one run", one_run_epsilon, one_run_epsilon_resolution),
    Method("one run, f-DP", f_dp_one_run_epsilon, f_dp_one_run_epsilon_resolution, GDP),
)
RATES: Final = (
    Method("Clopper-Pearson", clopper_pearson_epsilon, clopper_pearson_epsilon_resolution),
    Method(
        "Clopper-Pearson, GDP",
        clopper_pearson_gdp_epsilon,
        clopper_pearson_gdp_epsilon_resolution,
        GDP,
    ),
    Method("joint beta", joint_beta_estimate, _joint_beta_resolution, label="estimate"),
)


@dataclass(frozen=True, slots=True)
class Terms:
    """At which delta epsilons are stated, and with which confidence each of them holds."""

    delta: float
    confidence: float

    def state(
        self,
        methods: Sequence[Method],
        data: tuple[object, ...],
        sizes: tuple[int, ...],
        counts: Mapping[str, int],
        condition: str,
    ) -> tuple[EpsilonBound, ...]:
        """What each method makes of the same data."""
        return tuple(
            EpsilonBound(
                method=method.name,
                epsilon=method.epsilon(*data, self.delta, self.confidence),
                delta=self.delta,
                confidence=self.confidence,
                hypothesis=method.hypothesis,
                condition=condition if method.label == "bound" else CREDIBLE,
                resolution=method.resolution(*sizes, self.delta, self.confidence),
                counts=counts,
                label=method.label,
            )
            for method in methods
        )


def judge_bounds(
    plan: AuditTerms, found: Sequence[AttackEvidence], game: Game
) -> tuple[StageBounds, ...]:
    """The bounds of every stage at which an attack ran."""
    every = (stage_bounds(plan, stage, found, game) for stage in plan.stages)
    return tuple(one for one in every if one is not None)


def judge_claim(
    plan: AuditTerms, found: Sequence[AttackEvidence], game: Game
) -> ClaimResult | None:
    """The plan's claim against two limits at every stage, which hold together for all of them.

    Both are declared beforehand and need no hypothesis beside the claim: the pair mean tests the
    claim itself, and one-run guesses the epsilon that it comes to at the audit's delta, or at the
    nearest that it speaks of. They share the error of all stages (Bonferroni). Where the model is
    fine-tuned the plan's claim is of all that is seen, and the stages before it are held to what
    the curation guarantees by itself.
    """
    if plan.claim is None:
        return None
    settings = plan.attack
    n_tests = 2 * len(plan.stages) * plan.n_claims
    confidence = bonferroni_confidence(settings.confidence, n_tests)
    delta = plan.claim.tested_delta(settings.delta)
    limits, stages = _limits(plan, delta), []
    for stage in plan.stages:
        able = attacks_at(stage, found)
        chosen, coinless = choose(able, game), _coinless(plan, able, game)
        if chosen is None or stage not in limits:
            continue
        allowed, claimed = limits[stage]
        low, epsilon = pair_mean_lower(chosen.evaluation.shares, confidence), None
        if coinless is not None:
            counted = guessed(coinless, delta, confidence)
            epsilon = one_run_epsilon(*counted, delta, confidence)
        refuted = low > allowed or (epsilon is not None and epsilon > claimed)
        stated = claimed if np.isfinite(claimed) else None
        stages.append(ClaimedStage(stage, low, epsilon, refuted, allowed, stated))
    return _beside(plan.claim, delta, settings, tuple(stages))


def _limits(plan: AuditTerms, delta: float) -> dict[Stage, tuple[float, float]]:
    """The pair share and the epsilon that are claimed of each stage, worked out once a claim."""
    of_stage = {stage: plan.claim_at(stage) for stage in plan.stages}
    claims = {id(one): one for one in of_stage.values() if one is not None}
    limits = {key: (one.pair_share(), one.epsilon_at(delta)) for key, one in claims.items()}
    return {stage: limits[id(one)] for stage, one in of_stage.items() if one is not None}


def _coinless(plan: AuditTerms, able: Sequence[AttackEvidence], game: Game) -> Chosen | None:
    """The best attack that reads no coin of a row, if there is one."""
    return choose([one for one in able if not reads_coins(plan, one.attack)], game)


def _beside(
    claim: Claim, delta: float, settings: AttackSettings, stages: tuple[ClaimedStage, ...]
) -> ClaimResult:
    """What a claim allows, beside what the stages showed."""
    epsilon = claim.epsilon_at(delta)
    fpr = np.union1d(np.geomspace(SMALLEST_DRAWN_FPR, 1, N_DRAWN), settings.fpr)
    return ClaimResult(
        kind=claim.kind,
        constants={name: value for name, value in vars(claim).items() if name in STATED},
        adjacency=claim.adjacency,
        epsilon=epsilon if np.isfinite(epsilon) else None,
        delta=delta,
        auc=claim.auc(),
        advantage=claim.advantage(),
        pair_share=claim.pair_share(),
        fpr=fpr,
        tpr=claim.tpr(fpr),
        stages=stages,
        refuted=any(stage.refuted for stage in stages),
    )


def stage_bounds(
    plan: AuditTerms, stage: Stage, found: Sequence[AttackEvidence], game: Game
) -> StageBounds | None:
    """All bounds at one stage; ``None`` where no attack could run.

    One-run bounds take the best attack that reads no coins of a row, if there is one.
    """
    able = attacks_at(stage, found)
    chosen = choose(able, game)
    if chosen is None:
        return None
    terms = (plan.attack.delta, plan.attack.confidence)
    coinless = _coinless(plan, able, game)
    shares = chosen.evaluation.shares
    return StageBounds(
        stage=stage,
        attack=chosen.attack,
        adjacency=plan.adjacency,
        n_fit_pairs=int(game.fit_pairs.sum()),
        n_evaluation_pairs=len(shares),
        pair_share=float(shares.mean()),
        pair_share_low=pair_mean_lower(shares, plan.attack.confidence),
        results=(
            *pair_mean_bounds(chosen, *terms),
            *(one_run_bounds(coinless, *terms) if coinless is not None else ()),
            *one_candidate_bounds(chosen, *terms),
        ),
    )


def pair_mean_bounds(chosen: Chosen, delta: float, confidence: float) -> tuple[EpsilonBound, ...]:
    """How often evidence is larger in the row that holds the candidate, by betting."""
    shares = chosen.evaluation.shares
    counts = {"pairs": len(shares), "candidates": chosen.evaluation.evidence.shape[1]}
    return Terms(delta, confidence).state(PAIR_MEAN, (shares,), (len(shares),), counts, PAIRS)


def guessed(chosen: Chosen, delta: float, confidence: float) -> Guesses:
    """The guesses of one row per evaluation pair (the first); how many, the fit block says."""
    fit, evaluation, centre = chosen.fit, chosen.evaluation, centres(chosen.fit)
    n_per_row = best_n_per_row(fit.evidence[0::2], fit.inclusion[0::2], centre, delta, confidence)
    return guesses(evaluation.evidence[0::2], evaluation.inclusion[0::2], centre, n_per_row)


def one_run_bounds(chosen: Chosen, delta: float, confidence: float) -> tuple[EpsilonBound, ...]:
    """Right guesses of coins."""
    counted = guessed(chosen, delta, confidence)
    m, r, v = counted
    counts = {"canaries": m, "guesses": r, "right": v}
    return Terms(delta, confidence).state(
        GUESSES, counted, (m, r), counts, ONE_RUN.format(attack=chosen.attack)
    )


def one_candidate_bounds(
    chosen: Chosen, delta: float, confidence: float
) -> tuple[EpsilonBound, ...]:
    """True and false positives of the candidate that the fit block tells best."""
    fit, evaluation, n = chosen.fit, chosen.evaluation, clearest_candidate(chosen.fit)
    cut = best_threshold(fit.members[:, n], fit.outsiders[:, n], delta, confidence)
    counted = count(evaluation.members[:, n], evaluation.outsiders[:, n], cut)
    counts = {
        "true_positives": counted.tp,
        "in_rows": counted.n_in,
        "false_positives": counted.fp,
        "out_rows": counted.n_out,
    }
    return Terms(delta, confidence).state(
        RATES, counted, (counted.n_in, counted.n_out), counts, ONE_CANDIDATE
    )
