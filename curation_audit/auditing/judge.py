"""From evidence to results: metrics per stage, controls, policy and verdict."""

from collections.abc import Sequence

from curation_audit.auditing.evidence import AttackEvidence, Game
from curation_audit.auditing.plan import PolicyRule
from curation_audit.auditing.terms import Terms
from curation_audit.observations import STAGES, Stage
from curation_audit.results import (
    AttackResult,
    ClaimResult,
    Control,
    ControlResult,
    Estimate,
    Headline,
    Metrics,
    PolicyResult,
    StageResult,
    Subgroups,
    Verdict,
)
from curation_audit.statistics import (
    ESTIMANDS,
    PairedEvidence,
    PairResamples,
    auc_estimate,
    chance_p_value,
    clustered_auc,
    cross_fitting_inflation,
    measure,
    measure_subgroups,
    risk_histogram,
    roc_curve,
    summarise_records,
)
from curation_audit.streams import Streams
from curation_audit.types import Evidence

CONTROLS_LEVEL = 0.001
N_REPLICATES = 1000


def judge_stage(
    plan: Terms,
    stage: Stage,
    found: Sequence[AttackEvidence],
    game: Game,
    ids: Sequence[str] | None,
) -> StageResult:
    """Metrics of all attacks at one stage; the headline attack on the other half of the pairs.

    ``ids`` are the candidates' keyed hashes, ``None`` in a run that writes nothing.
    """
    if stage not in plan.stages:
        return StageResult(stage, "not observed", None, ())
    here = [one for one in found if one.stage == stage]
    return StageResult(
        stage,
        "attacked",
        _headline(plan, here, game, ids),
        tuple(_attack_result(plan, one, game) for one in here),
    )


def _measure(plan: Terms, paired: PairedEvidence, inflation: float) -> Metrics:
    return measure(
        paired,
        fprs=plan.attack.fpr,
        confidence=plan.attack.confidence,
        inflation=inflation,
        resamples=_resamples(plan, paired.n_pairs),
        estimand=ESTIMANDS[plan.attack.estimand],
    )


def _resamples(plan: Terms, n_pairs: int) -> PairResamples:
    rng = Streams(plan.seed).generator("pair bootstrap", n_pairs)
    return PairResamples.draw(N_REPLICATES, n_pairs, rng)


def _attack_result(plan: Terms, found: AttackEvidence, game: Game) -> AttackResult:
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


def _headline(
    plan: Terms, found: Sequence[AttackEvidence], game: Game, ids: Sequence[str] | None
) -> Headline | None:
    """Choose attack and direction by AUC on the first half of the pairs, measure on the rest.

    An attack that is not calibrated may rank members below the others: read in reverse it tells
    as much.
    """
    able = {
        one.name: (one.evidence, one.permuted, one.fitted)
        for one in found
        if one.evidence is not None and one.permuted is not None and one.fitted is not None
    }
    if not able:
        return None
    half = plan.attack.shadows // 4
    paired = {
        name: PairedEvidence.split(seen, game.inclusion) for name, (seen, _, _) in able.items()
    }
    aucs = {name: clustered_auc(one.pairs(slice(0, half))).auc for name, one in paired.items()}
    best = max(aucs, key=lambda name: abs(aucs[name] - 0.5))
    inflation = _inflation(able[best][1], game)
    fresh, apart = paired[best].pairs(slice(half, None)), _not_learnt_from(able[best][2], game)
    if aucs[best] < 0.5:
        fresh, apart = fresh.reversed(), apart.reversed()
    together = 1 - (1 - plan.attack.confidence) / len(plan.stages)
    return Headline(
        best,
        "AUC on the first half of the pairs",
        half,
        _measure(plan, fresh, inflation),
        reversed=aucs[best] < 0.5,
        above_chance=auc_estimate(fresh, confidence=together, inflation=inflation).low > 0.5,
        records=summarise_records(apart, ids, confidence=plan.attack.confidence),
        subgroups=_subgroups(plan, fresh, inflation),
    )


def _not_learnt_from(fitted: Evidence, game: Game) -> PairedEvidence:
    """The pairs of the second half that the attack did not learn from, by what it learnt.

    Given the fit block they are independent, as exact intervals of single records need them; pairs
    that learn from one another are not. With 8 shadows one pair that was learnt from joins the
    only other one; two pairs show nothing above chance.
    """
    paired = PairedEvidence.split(fitted, game.inclusion)
    half, n_fit = paired.n_pairs // 2, int(game.fit_pairs.sum())
    return paired.pairs(slice(min(max(half, n_fit), paired.n_pairs - 2), None))


def _subgroups(plan: Terms, paired: PairedEvidence, inflation: float) -> Subgroups | None:
    """By label where private rows have labels, and by the groups that the user named."""
    if plan.data is None:
        return None
    private, rates = plan.data.private, sorted(plan.attack.fpr)
    attributes = list(private.groups.items())
    if private.labels is not None:
        codes = private.labels[private.first_rows]
        attributes.insert(0, ("label", tuple(plan.data.classes[code] for code in codes)))
    return measure_subgroups(
        paired,
        attributes,
        fpr=rates[len(rates) // 2] if rates else None,
        confidence=plan.attack.confidence,
        inflation=inflation,
        resamples=_resamples(plan, paired.n_pairs),
        estimand=ESTIMANDS[plan.attack.estimand],
    )


def _inflation(permuted: Evidence, game: Game) -> float:
    return cross_fitting_inflation(PairedEvidence.split(permuted, game.permuted))


def judge_controls(
    plan: Terms, found: Sequence[AttackEvidence], game: Game
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
    plan: Terms,
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


def judge_policy(plan: Terms, stages: Sequence[StageResult]) -> tuple[PolicyResult, ...]:
    """Compare every line of ``report.policy`` with the headline attack of its stage.

    What could not be measured trips the gate: a gate that nobody looked through is shut.
    """
    by_stage = {stage.stage: stage for stage in stages}
    results = []
    for rule in plan.policy:
        headline = by_stage[rule.stage].headline
        estimate = None if headline is None else _metric(headline.metrics, rule)
        measured = None if estimate is None else getattr(estimate, rule.bound)
        tripped = measured is None or measured > rule.above
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
    claim: ClaimResult | None = None,
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
    tripped, refuted = any(line.tripped for line in policy), claim is not None and claim.refuted
    exit_code = int(tripped or refuted)
    gate = " The release policy is exceeded, or could not be measured." if tripped else ""
    gate += " The claimed guarantee is refuted." if refuted else ""
    unmeasured = [one.stage for one in stages if one.status == "attacked" and not one.headline]
    gap = f" Nothing could be measured at: {_and(unmeasured)}." if unmeasured else ""
    leaking = [one.stage for one in stages if one.headline and one.headline.above_chance]
    leaking.sort(key=STAGES.index)
    if leaking:
        text = (
            f"Who was in the private set can be told better than by chance from: {_and(leaking)}."
        )
        return Verdict("leak found", exit_code, text + gap + gate)
    return Verdict("no leak found", exit_code, _no_leak(stages) + gap + gate)


def _and(names: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _no_leak(stages: Sequence[StageResult]) -> str:
    """What "no leak found" rests on, and what it leaves open."""
    headlines = [one.headline for one in stages if one.headline is not None]
    measured = [one for stage in stages for one in stage.attacks if one.metrics is not None]
    if not headlines:
        return "No attack could run."
    auc = headlines[0].metrics.auc
    text = (
        f"No stage's headline attack, measured on {headlines[0].metrics.n_pairs} pairs of shadows, "
        f"was above chance at {auc.confidence:.0%} confidence for all stages together. That is "
        "evidence against these attacks, not a proof of privacy."
    )
    open_ = [one.attack for one in measured if one.metrics and one.metrics.auc.low > 0.5]
    if open_:
        text += (
            f" Taken one by one over all pairs, {len(open_)} of {len(measured)} attacks have an "
            f"interval above chance ({_and(open_)}): add shadows to settle it."
        )
    return text
