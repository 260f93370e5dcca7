"""Lower bounds on epsilon: chosen on the fit block of pairs, measured on the evaluation block.

Evidence comes from attacks that learnt from the fit block only; attack, direction, candidate,
threshold and number of guesses are chosen there, too, so that nothing is paid for the choice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from curation_audit.attacks.base import Attack
from curation_audit.auditing.evidence import AttackEvidence, Game
from curation_audit.auditing.plan import AuditPlan
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
ONE_RUN: Final = (
    "guesses of {attack} in one row per evaluation pair; no attack reads coins of that row"
)
ONE_CANDIDATE: Final = "candidate, threshold and direction from the fit block; shadows independent"
PAIRS: Final = "evaluation pairs judged by attacks that learnt from the fit block only"
CREDIBLE: Final = "a posterior quantile (Jeffreys prior): credible, not frequentist"
SMALLEST_DRAWN_FPR, N_DRAWN = 1e-5, 60
DIRECTION_CONFIDENCE: Final = 0.99


@dataclass(frozen=True, slots=True)
class Block:
    """Evidence and coins of some pairs of shadows, rows 2j and 2j+1 a pair, (2P, N)."""

    evidence: Evidence
    inclusion: Inclusion

    def __post_init__(self) -> None:
        """Check that there is something, and that it is finite."""
        if self.evidence.shape != self.inclusion.shape or not self.evidence.size:
            raise ValueError(
                f"evidence {self.evidence.shape} must match inclusion {self.inclusion.shape}."
            )
        if not np.isfinite(self.evidence).all():
            raise ValueError("evidence must be finite.")

    @property
    def members(self) -> Floats:
        """Evidence in the row of each pair that holds the candidate, (P, N)."""
        return self._by_coin(self.inclusion[0::2])

    @property
    def outsiders(self) -> Floats:
        """Evidence for the same candidate in the other row, (P, N)."""
        return self._by_coin(self.inclusion[1::2])

    @property
    def shares(self) -> Floats:
        """The share of candidates with more evidence where they are in, by pair, (P,)."""
        return pair_shares(self.members, self.outsiders)

    def reversed(self) -> "Block":
        """The same with evidence read in reverse."""
        return Block(-self.evidence, self.inclusion)

    def _by_coin(self, first: Inclusion) -> Floats:
        return np.where(first, self.evidence[0::2], self.evidence[1::2]).astype(np.float64)


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the fit block chose, with the evidence of both blocks turned so that higher = in."""

    attack: str
    fit: Block
    evaluation: Block


@dataclass(frozen=True, slots=True)
class Terms:
    """At which delta bounds on epsilon are stated, and with which confidence each of them holds."""

    delta: float
    confidence: float

    def bound(
        self,
        method: BoundMethod,
        epsilon: float,
        resolution: float,
        counts: Mapping[str, int],
        condition: str,
        hypothesis: str | None = None,
    ) -> EpsilonBound:
        """A bound on these terms."""
        return EpsilonBound(
            method,
            epsilon,
            self.delta,
            self.confidence,
            hypothesis,
            condition,
            resolution,
            counts,
        )


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
    if plan.claim is None:
        return None
    confidence = bonferroni_confidence(plan.attack.confidence, len(plan.stages))
    allowed, stages = plan.claim.pair_share(), []
    for stage in plan.stages:
        chosen = choose(attacks_at(stage, found), game)
        if chosen is not None:
            low = pair_mean_lower(chosen.evaluation.shares, confidence)
            stages.append(ClaimedStage(stage, low, low > allowed))
    return claim_result(plan.claim, plan.attack.delta, tuple(stages))


def claim_result(claim: Claim, delta: float, stages: tuple[ClaimedStage, ...]) -> ClaimResult:
    """What a claim allows, beside what the stages showed."""
    epsilon = claim.epsilon_at(delta)
    fpr = np.geomspace(SMALLEST_DRAWN_FPR, 1, N_DRAWN)
    return ClaimResult(
        kind=claim.kind,
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
    plan: AuditPlan, stage: Stage, found: Sequence[AttackEvidence], game: Game
) -> StageBounds | None:
    """All bounds at one stage; ``None`` where no attack could run.

    One-run bounds have an attack of their own where the best of all reads coins.
    """
    able = attacks_at(stage, found)
    chosen = choose(able, game)
    if chosen is None:
        return None
    terms = Terms(plan.attack.delta, plan.attack.confidence)
    blind_to_coins = choose([one for one in able if not reads_coins(plan, one.attack)], game)
    results = pair_mean_bounds(chosen, terms)
    if blind_to_coins is not None:
        results += one_run_bounds(blind_to_coins, terms)
    results += one_candidate_bounds(chosen, terms)
    shares = chosen.evaluation.shares
    return StageBounds(
        stage=stage,
        attack=chosen.attack,
        adjacency=plan.scorer.adjacency,
        n_fit_pairs=int(game.fit_pairs.sum()),
        n_evaluation_pairs=len(shares),
        pair_share=float(shares.mean()),
        pair_share_low=pair_mean_lower(shares, terms.confidence),
        results=results,
    )


def attacks_at(stage: Stage, found: Sequence[AttackEvidence]) -> list[AttackEvidence]:
    """The attacks on a stage that could run."""
    return [one for one in found if one.stage == stage and one.fitted is not None]


def reads_coins(plan: AuditPlan, attack: Attack) -> bool:
    """Whether evidence for a candidate may depend on the other coins of the same row.

    An attack that is made of others reads what any of them reads.
    """
    if "memberships" not in plan.threat.knows:
        return False
    members: Sequence[Attack] = getattr(attack, "members", ())
    return "memberships" in attack.needs or any(reads_coins(plan, one) for one in members)


def choose(able: Sequence[AttackEvidence], game: Game) -> Chosen | None:
    """The attack that names the right row most often on the fit block; ``None`` if there is none.

    Higher evidence is taken to mean "in", as every attack promises, and the other way round only
    where the fit block refutes that: a coin toss about the direction would cost weak leaks their
    bound.
    """
    fit = np.repeat(game.fit_pairs, 2)
    best, most = None, -np.inf
    for one in able:
        if one.fitted is None:
            continue
        block = Block(one.fitted[fit], game.inclusion[fit])
        turned = pair_mean_lower(1 - block.shares, DIRECTION_CONFIDENCE) > 0.5
        share = float(block.shares.mean())
        share = 1 - share if turned else share
        if share > most:
            rest = Block(one.fitted[~fit], game.inclusion[~fit])
            blocks = (block.reversed(), rest.reversed()) if turned else (block, rest)
            best, most = Chosen(one.name, *blocks), share
    return best


def pair_mean_bounds(chosen: Chosen, terms: Terms) -> tuple[EpsilonBound, ...]:
    """How often evidence is larger in the row that holds the candidate, by betting."""
    shares, at = chosen.evaluation.shares, (terms.delta, terms.confidence)
    n_pairs = len(shares)
    counts = {"pairs": n_pairs, "candidates": chosen.evaluation.evidence.shape[1]}
    general = terms.bound(
        "pair mean",
        pair_mean_epsilon(shares, *at),
        pair_mean_epsilon_resolution(n_pairs, *at),
        counts,
        PAIRS,
    )
    if terms.delta == 0:
        return (general,)
    gaussian = terms.bound(
        "pair mean, GDP",
        pair_mean_gdp_epsilon(shares, *at),
        pair_mean_gdp_epsilon_resolution(n_pairs, *at),
        counts,
        PAIRS,
        GDP,
    )
    return general, gaussian


def one_run_bounds(chosen: Chosen, terms: Terms) -> tuple[EpsilonBound, ...]:
    """Right guesses of coins, one row per evaluation pair (the first)."""
    centre, at = centres(chosen.fit), (terms.delta, terms.confidence)
    fit, rows = chosen.fit, chosen.evaluation
    n_per_row = best_n_per_row(fit.evidence[0::2], fit.inclusion[0::2], centre, *at)
    counted = guesses(rows.evidence[0::2], rows.inclusion[0::2], centre, n_per_row)
    m, r, v = counted
    counts = {"canaries": m, "guesses": r, "right": v}
    condition = ONE_RUN.format(attack=chosen.attack)
    general = terms.bound(
        "one run",
        one_run_epsilon(m, r, v, *at),
        one_run_epsilon_resolution(m, r, *at),
        counts,
        condition,
    )
    if terms.delta == 0:
        return (general,)
    gaussian = terms.bound(
        "one run, f-DP",
        f_dp_one_run_epsilon(m, r, v, *at),
        f_dp_one_run_epsilon_resolution(m, r, *at),
        counts,
        condition,
        GDP,
    )
    return general, gaussian


def centres(fit: Block) -> Floats:
    """For each candidate the middle between its in-mean and its out-mean, (N,)."""
    middle: Floats = (fit.members.mean(axis=0) + fit.outsiders.mean(axis=0)) / 2
    return middle


def one_candidate_bounds(chosen: Chosen, terms: Terms) -> tuple[EpsilonBound, ...]:
    """True and false positives of the candidate that the fit block tells best."""
    fit, evaluation = chosen.fit, chosen.evaluation
    n = clearest_candidate(fit)
    cut = best_threshold(fit.members[:, n], fit.outsiders[:, n], terms)
    counted = count(evaluation.members[:, n], evaluation.outsiders[:, n], cut)
    rows, at = counted.n_in, (terms.delta, terms.confidence)
    counts = {
        "true_positives": counted.tp,
        "in_rows": rows,
        "false_positives": counted.fp,
        "out_rows": rows,
    }
    general = terms.bound(
        "Clopper-Pearson",
        clopper_pearson_epsilon(*counted, *at),
        clopper_pearson_epsilon_resolution(rows, rows, *at),
        counts,
        ONE_CANDIDATE,
    )
    credible = EpsilonBound(
        "joint beta",
        joint_beta_estimate(*counted, *at),
        terms.delta,
        terms.confidence,
        None,
        CREDIBLE,
        joint_beta_estimate(rows, rows, 0, rows, *at),
        counts,
        label="estimate",
    )
    if terms.delta == 0:
        return general, credible
    gaussian = terms.bound(
        "Clopper-Pearson, GDP",
        clopper_pearson_gdp_epsilon(*counted, *at),
        clopper_pearson_gdp_epsilon_resolution(rows, rows, *at),
        counts,
        ONE_CANDIDATE,
        GDP,
    )
    return general, gaussian, credible


def clearest_candidate(fit: Block) -> int:
    """The candidate whose right row is named most often; of those, the one with the widest gap."""
    shares = (fit.members > fit.outsiders).mean(axis=0)
    gap = (fit.members - fit.outsiders).mean(axis=0)
    return int(np.lexsort((gap, shares))[-1])


def count(members: Floats, outsiders: Floats, cut: float) -> Counts:
    """True positives of the rows with one candidate, (P,), false ones of those without, (P,)."""
    tp, fp = int((members > cut).sum()), int((outsiders > cut).sum())
    return Counts(tp, len(members), fp, len(outsiders))


def best_threshold(members: Floats, outsiders: Floats, terms: Terms) -> float:
    """The threshold that shows the most on the fit block, midway between two of its values.

    Where none shows anything there, the one with the largest TPR - FPR.
    """
    values = np.unique(np.concatenate([members, outsiders]))
    cuts = (values[1:] + values[:-1]) / 2 if len(values) > 1 else values

    def shown(cut: float) -> tuple[float, int]:
        counted = count(members, outsiders, cut)
        epsilon = clopper_pearson_epsilon(*counted, terms.delta, terms.confidence)
        return epsilon, counted.tp - counted.fp

    return max((float(cut) for cut in cuts), key=shown)
