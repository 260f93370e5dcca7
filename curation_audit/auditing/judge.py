"""From evidence to results: metrics per stage, controls, policy and verdict."""

from collections.abc import Sequence

from curation_audit.auditing.evidence import AttackEvidence, Game
from curation_audit.auditing.plan import AuditPlan, PolicyRule
from curation_audit.observations import STAGES, Stage
from curation_audit.results import (
    AttackResult,
    Control,
    ControlResult,
    Estimate,
    Headline,
    Metrics,
    PolicyResult,
    StageResult,
    Verdict,
)
from curation_audit.statistics import (
    PairedEvidence,
    PairResamples,
    auc_estimate,
    chance_p_value,
    clustered_auc,
    cross_fitting_inflation,
    measure,
    risk_histogram,
    roc_curve,
)
from curation_audit.streams import Streams
from curation_audit.types import Evidence

CONTROLS_LEVEL = 0.001
N_REPLICATES = 1000


def judge_stage(
    plan: AuditPlan, stage: Stage, found: Sequence[AttackEvidence], game: Game
) -> StageResult:
    """Metrics of all attacks at one stage, and of the headline attack on fresh pairs."""
    if stage not in plan.stages:
        return StageResult(stage, "not observed", None, ())
    here = [one for one in found if one.stage == stage]
    return StageResult(
        stage,
        "attacked",
        _headline(plan, here, game),
        tuple(_attack_result(plan, one, game) for one in here),
    )


def _measure(plan: AuditPlan, paired: PairedEvidence, inflation: float) -> Metrics:
    return measure(
        paired,
        fprs=plan.attack.fpr,
        confidence=plan.attack.confidence,
        inflation=inflation,
        resamples=_resamples(plan, paired.n_pairs),
    )


def _resamples(plan: AuditPlan, n_pairs: int) -> PairResamples:
    rng = Streams(plan.seed).generator("pair bootstrap", n_pairs)
    return PairResamples.draw(N_REPLICATES, n_pairs, rng)


def _attack_result(plan: AuditPlan, found: AttackEvidence, game: Game) -> AttackResult:
    attack = found.attack
    needs = tuple(sorted(attack.needs))
    if found.evidence is None or found.permuted is None:
        reason = f"needs {', '.join(found.missing)}"
        return AttackResult(
            attack.name, attack.title, attack.source, needs, "not applicable", reason
        )
    paired = PairedEvidence.split(found.evidence, game.inclusion)
    inflation = _inflation(found.permuted, game)
    return AttackResult(
        attack.name,
        attack.title,
        attack.source,
        needs,
        "run",
        metrics=_measure(plan, paired, inflation),
        roc=roc_curve(
            paired,
            _resamples(plan, paired.n_pairs),
            confidence=plan.attack.confidence,
            inflation=inflation,
        ),
        candidate_risk=risk_histogram(paired),
    )


def _headline(plan: AuditPlan, found: Sequence[AttackEvidence], game: Game) -> Headline | None:
    """Choose by AUC on the first half of the pairs, measure on the second."""
    able = {
        one.name: (one.evidence, one.permuted)
        for one in found
        if one.evidence is not None and one.permuted is not None
    }
    if not able:
        return None
    half = plan.attack.shadows // 4
    paired = {name: PairedEvidence.split(seen, game.inclusion) for name, (seen, _) in able.items()}
    aucs = {name: clustered_auc(one.pairs(slice(0, half))).auc for name, one in paired.items()}
    best = max(aucs, key=lambda name: aucs[name])
    inflation = _inflation(able[best][1], game)
    fresh = paired[best].pairs(slice(half, None))
    together = 1 - (1 - plan.attack.confidence) / len(plan.stages)
    return Headline(
        best,
        "AUC on the first half of the pairs",
        half,
        _measure(plan, fresh, inflation),
        above_chance=auc_estimate(fresh, confidence=together, inflation=inflation).low > 0.5,
    )


def _inflation(permuted: Evidence, game: Game) -> float:
    return cross_fitting_inflation(PairedEvidence.split(permuted, game.permuted))


def judge_controls(
    plan: AuditPlan, found: Sequence[AttackEvidence], game: Game
) -> tuple[ControlResult, ...]:
    """Test all controls together: two-sided, Bonferroni, family-wise level .001."""
    checks: list[tuple[Control, Stage | None, str, Evidence]] = [
        ("blind classifier", None, "blind", game.blind)
    ]
    for one in found:
        if one.null is not None and one.permuted is not None:
            checks.append(("random curation", one.stage, one.name, one.null))
            checks.append(("permuted inclusion", one.stage, one.name, one.permuted))
    level = CONTROLS_LEVEL / len(checks)
    return tuple(_control(plan, *check, level=level, game=game) for check in checks)


def _control(
    plan: AuditPlan,
    control: Control,
    stage: Stage | None,
    attack: str,
    evidence: Evidence,
    *,
    level: float,
    game: Game,
) -> ControlResult:
    coins = game.permuted if control == "permuted inclusion" else game.inclusion
    paired = PairedEvidence.split(evidence, coins)
    p_value = chance_p_value(paired)
    auc = auc_estimate(
        paired, confidence=plan.attack.confidence, inflation=cross_fitting_inflation(paired)
    )
    return ControlResult(control, stage, attack, auc, p_value, level, p_value >= level)


def judge_policy(plan: AuditPlan, stages: Sequence[StageResult]) -> tuple[PolicyResult, ...]:
    """Compare every line of ``report.policy`` with the headline attack of its stage."""
    by_stage = {stage.stage: stage for stage in stages}
    results = []
    for rule in plan.policy:
        headline = by_stage[rule.stage].headline
        estimate = None if headline is None else _metric(headline.metrics, rule)
        measured = None if estimate is None else getattr(estimate, rule.bound)
        tripped = measured is not None and measured > rule.above
        results.append(
            PolicyResult(rule.stage, rule.metric, rule.bound, rule.above, measured, tripped)
        )
    return tuple(results)


def _metric(metrics: Metrics, rule: PolicyRule) -> Estimate | None:
    if rule.rate is None:
        found: Estimate = getattr(metrics, rule.metric)
        return found
    rate = rule.rate
    # the nearest, as the plan lets a rule name its rate a rounding error away from attack.fpr
    return min(metrics.tpr_at_fpr, key=lambda point: abs(point.fpr - rate)).tpr


def verdict(
    stages: Sequence[StageResult],
    controls: Sequence[ControlResult],
    policy: Sequence[PolicyResult],
) -> Verdict:
    """What the audit came to; a failed control overrules everything."""
    failed = [one for one in controls if not one.passed]
    if failed:
        first = failed[0]
        place = f" at stage {first.stage}" if first.stage else ""
        return Verdict(
            "audit invalid",
            5,
            f"The control '{first.control}' found a leak where there is none "
            f"(attack {first.attack}{place}, AUC {first.auc.value:.3f}). "
            "No number of this audit can be trusted until the cause is found.",
        )
    tripped = any(line.tripped for line in policy)
    gate = " The release policy is exceeded." if tripped else ""
    leaking = [one for one in stages if one.headline and one.headline.above_chance]
    order = {stage: i for i, stage in enumerate(STAGES)}
    if leaking:
        names = " and ".join(one.stage for one in sorted(leaking, key=lambda s: order[s.stage]))
        text = f"Who was in the private set can be told better than by chance from: {names}."
        return Verdict("leak found", int(tripped), text + gate)
    text = (
        "No attack of this audit told members from others better than by chance. "
        "That is evidence against these attacks, not a proof of privacy."
    )
    return Verdict("no leak found", int(tripped), text + gate)
