"""Lower bounds on epsilon: chosen on the fit block of pairs, measured on the evaluation block.

Evidence comes from attacks that learnt from the fit block only; attack, direction, candidate,
threshold and number of guesses are chosen there, too, so that nothing is paid for the choice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from curation_audit.auditing.evidence import AttackEvidence, Game
from curation_audit.auditing.plan import AuditPlan
from curation_audit.observations import AttackedStage
from curation_audit.results import ClaimedStage, ClaimResult, EpsilonBound, StageBounds
from curation_audit.statistics import PairedEvidence, clustered_auc
from curation_audit.statistics.bounds import (
    Counts,
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
    pair_shares,
)
from curation_audit.types import Evidence, Floats, Inclusion

GDP: Final = "the curation is mu-GDP for some mu"
ONE_RUN: Final = "one row per evaluation pair; its coins are read by no attack and are independent"
ONE_CANDIDATE: Final = "candidate, threshold and direction from the fit block; shadows independent"
PAIRS: Final = "evaluation pairs judged by attacks that learnt from the fit block only"
SMALLEST_DRAWN_FPR, N_DRAWN = 1e-5, 60
CREDIBLE: Final = "a posterior quantile (Jeffreys prior): credible, not frequentist"


@dataclass(frozen=True, slots=True)
class Block:
    """Evidence and coins of some pairs of shadows, rows 2j and 2j+1 a pair."""

    evidence: Evidence
    inclusion: Inclusion

    @property
    def paired(self) -> PairedEvidence:
        """Members and outsiders by pair."""
        return PairedEvidence.split(self.evidence, self.inclusion)


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the fit block chose, with the evidence of both blocks turned so that higher = in."""

    attack: str
    reads_coins: bool
    fit: Block
    evaluation: Block


def judge_bounds(
    plan: AuditPlan, found: Sequence[AttackEvidence], game: Game
) -> tuple[StageBounds, ...]:
    """The bounds of every stage at which an attack ran."""
    every = (stage_bounds(plan, stage, found, game) for stage in plan.stages)
    return tuple(one for one in every if one is not None)


def judge_claim(plan: AuditPlan, found: Sequence[AttackEvidence], game: Game) -> ClaimResult | None:
    """The plan's claim against the pair-mean limits of all stages, which hold together.

    One method, declared beforehand: the pair mean tests any kind of claim, and at the claim
    itself, so that no hypothesis beside the claim is needed.
    """
    claim = plan.claim
    if claim is None:
        return None
    confidence = bonferroni_confidence(plan.attack.confidence, len(plan.stages))
    allowed = claim.pair_share()
    stages = []
    for stage in plan.stages:
        chosen = choose(stage, found, game)
        if chosen is not None:
            paired = chosen.evaluation.paired
            low = pair_mean_lower(pair_shares(paired.members, paired.outsiders), confidence)
            stages.append(ClaimedStage(stage, low, low > allowed))
    fpr = np.geomspace(SMALLEST_DRAWN_FPR, 1, N_DRAWN)
    epsilon = claim.epsilon_at(plan.attack.delta)
    return ClaimResult(
        kind=claim.kind,
        adjacency=claim.adjacency,
        epsilon=epsilon if np.isfinite(epsilon) else None,
        delta=plan.attack.delta,
        auc=claim.auc(),
        advantage=claim.advantage(),
        pair_share=allowed,
        fpr=fpr,
        tpr=claim.tpr(fpr),
        stages=tuple(stages),
        refuted=any(stage.refuted for stage in stages),
    )


def stage_bounds(
    plan: AuditPlan, stage: AttackedStage, found: Sequence[AttackEvidence], game: Game
) -> StageBounds | None:
    """All bounds at one stage; ``None`` where no attack could run."""
    chosen = choose(stage, found, game)
    if chosen is None:
        return None
    delta, confidence = plan.attack.delta, plan.attack.confidence
    results = pair_mean_bounds(chosen, delta, confidence)
    if not chosen.reads_coins:
        results += one_run_bounds(chosen, delta, confidence)
    results += one_candidate_bounds(chosen, delta, confidence)
    shares = pair_shares(chosen.evaluation.paired.members, chosen.evaluation.paired.outsiders)
    return StageBounds(
        stage=stage,
        attack=chosen.attack,
        adjacency=plan.scorer.adjacency,
        n_fit_pairs=int(game.fit_pairs.sum()),
        n_evaluation_pairs=len(shares),
        pair_share=float(shares.mean()),
        pair_share_low=pair_mean_lower(shares, confidence),
        results=results,
    )


def choose(stage: AttackedStage, found: Sequence[AttackEvidence], game: Game) -> Chosen | None:
    """The attack and direction with the AUC farthest from one half on the fit block."""
    fit = np.repeat(game.fit_pairs, 2)
    blocks = {
        one.name: Block(one.fitted[fit], game.inclusion[fit])
        for one in found
        if one.stage == stage and one.fitted is not None
    }
    if not blocks:
        return None
    aucs = {name: clustered_auc(block.paired).auc for name, block in blocks.items()}
    best = max(aucs, key=lambda name: abs(aucs[name] - 0.5))
    attack = next(one for one in found if one.name == best)
    if attack.fitted is None:
        raise ValueError("a chosen attack has evidence.")
    turned = attack.fitted if aucs[best] >= 0.5 else -attack.fitted
    return Chosen(
        best,
        "memberships" in attack.attack.needs,
        Block(turned[fit], game.inclusion[fit]),
        Block(turned[~fit], game.inclusion[~fit]),
    )


def pair_mean_bounds(chosen: Chosen, delta: float, confidence: float) -> tuple[EpsilonBound, ...]:
    """How often evidence is larger in the row that holds the candidate, by betting."""
    paired = chosen.evaluation.paired
    shares = pair_shares(paired.members, paired.outsiders)
    counts = {"pairs": len(shares), "candidates": paired.n_candidates}
    return (
        EpsilonBound(
            "pair mean",
            pair_mean_epsilon(shares, delta, confidence),
            delta,
            confidence,
            None,
            PAIRS,
            pair_mean_epsilon_resolution(len(shares), delta, confidence),
            counts,
        ),
        EpsilonBound(
            "pair mean, GDP",
            pair_mean_gdp_epsilon(shares, delta, confidence),
            delta,
            confidence,
            GDP,
            PAIRS,
            pair_mean_gdp_epsilon_resolution(len(shares), delta, confidence),
            counts,
        ),
    )


def one_run_bounds(chosen: Chosen, delta: float, confidence: float) -> tuple[EpsilonBound, ...]:
    """Right guesses of coins, one row per evaluation pair (the first)."""
    center = _centres(chosen.fit)
    spread = _spreads(chosen.fit)
    fit, rows = ((b.evidence - center) / spread for b in (chosen.fit, chosen.evaluation))
    n_per_row = best_n_per_row(fit[0::2], chosen.fit.inclusion[0::2], 0.0, delta, confidence)
    counted = guesses(rows[0::2], chosen.evaluation.inclusion[0::2], 0.0, n_per_row)
    m, r, v = counted
    counts = {"canaries": m, "guesses": r, "right": v}
    return (
        EpsilonBound(
            "one run",
            one_run_epsilon(m, r, v, delta, confidence),
            delta,
            confidence,
            None,
            ONE_RUN,
            one_run_epsilon_resolution(m, r, delta, confidence),
            counts,
        ),
        EpsilonBound(
            "one run, f-DP",
            f_dp_one_run_epsilon(m, r, v, delta, confidence),
            delta,
            confidence,
            GDP,
            ONE_RUN,
            f_dp_one_run_epsilon_resolution(m, r, delta, confidence),
            counts,
        ),
    )


def _centres(fit: Block) -> Floats:
    """For each candidate the middle between its in-mean and its out-mean, (N,)."""
    paired = fit.paired
    middle: Floats = (paired.members.mean(axis=0) + paired.outsiders.mean(axis=0)) / 2
    return middle


def _spreads(fit: Block) -> float:
    """One scale for all candidates, so that distances from the centres stay comparable."""
    spread = float(fit.evidence.std())
    return spread if spread > 0 else 1.0


def one_candidate_bounds(
    chosen: Chosen, delta: float, confidence: float
) -> tuple[EpsilonBound, ...]:
    """True and false positives of the candidate that the fit block tells best."""
    fit, evaluation = chosen.fit.paired, chosen.evaluation.paired
    shares = (fit.members > fit.outsiders).mean(axis=0)
    gap = (fit.members - fit.outsiders).mean(axis=0)
    n = int(np.lexsort((gap, shares))[-1])
    cut = _best_threshold(fit.members[:, n], fit.outsiders[:, n], delta, confidence)
    counted = _counts(evaluation.members[:, n], evaluation.outsiders[:, n], cut)
    rows = evaluation.n_pairs
    counts = {
        "true_positives": counted.tp,
        "in_rows": rows,
        "false_positives": counted.fp,
        "out_rows": rows,
    }
    return (
        EpsilonBound(
            "Clopper-Pearson",
            clopper_pearson_epsilon(*counted, delta, confidence),
            delta,
            confidence,
            None,
            ONE_CANDIDATE,
            clopper_pearson_epsilon_resolution(rows, rows, delta, confidence),
            counts,
        ),
        EpsilonBound(
            "Clopper-Pearson, GDP",
            clopper_pearson_gdp_epsilon(*counted, delta, confidence),
            delta,
            confidence,
            GDP,
            ONE_CANDIDATE,
            clopper_pearson_gdp_epsilon_resolution(rows, rows, delta, confidence),
            counts,
        ),
        EpsilonBound(
            "joint beta",
            joint_beta_estimate(*counted, delta, confidence),
            delta,
            confidence,
            None,
            CREDIBLE,
            joint_beta_estimate(rows, rows, 0, rows, delta, confidence),
            counts,
            label="estimate",
        ),
    )


def _counts(members: Floats, outsiders: Floats, cut: float) -> Counts:
    tp, fp = int((members > cut).sum()), int((outsiders > cut).sum())
    return Counts(tp, len(members), fp, len(outsiders))


def _best_threshold(members: Floats, outsiders: Floats, delta: float, confidence: float) -> float:
    """The threshold that shows the most on the fit block, midway between two of its values.

    Where none shows anything there, the one with the largest TPR - FPR.
    """
    values = np.unique(np.concatenate([members, outsiders]))
    cuts = (values[1:] + values[:-1]) / 2 if len(values) > 1 else values

    def shown(cut: float) -> tuple[float, int]:
        counted = _counts(members, outsiders, cut)
        return clopper_pearson_epsilon(*counted, delta, confidence), counted.tp - counted.fp

    return max((float(cut) for cut in cuts), key=shown)
