"""What a report says beside its measurements: what is declared, what ran, and whom that answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from curation_audit.auditing.plan import AuditPlan
from curation_audit.observations import Stage
from curation_audit.results import Estimate, StageResult
from curation_audit.statistics.precision import predictive_value

CoverageStatus: TypeAlias = Literal["run", "not run", "not applicable"]
ONE_PERCENT: Final = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """One attack that this tool has: whether it ran at its stage, and if not, why."""

    attack: str
    title: str
    stage: Stage
    status: CoverageStatus
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CombinedRisk:
    """What the headline attack of a stage means at the *declared* share of members.

    ``prior``: that share among the people an adversary would ask about; ``predictive_value``: the
    share of the named who are members, ``None`` where it could not be measured. It joins a
    measured number with a declared one, and is no better than either.
    """

    stage: Stage
    prior: float
    fpr: float
    predictive_value: Estimate | None


def coverage(plan: AuditPlan, stages: Sequence[StageResult]) -> tuple[Coverage, ...]:
    """Every attack that there is, in the order of the registry."""
    ran = {one.attack: one for stage in stages for one in stage.attacks}
    observed = {*plan.stages}
    rows = []
    for name, attack in plan.attack.offered.items():
        status: CoverageStatus = "not run"
        if name in ran:
            status, reason = ran[name].status, ran[name].reason
        elif attack.stage not in observed:
            reason = f"the stage {attack.stage} is not attacked in this audit"
        else:
            reason = "attack.methods does not name it"
        rows.append(
            Coverage(
                attack=name, title=attack.title, stage=attack.stage, status=status, reason=reason
            )
        )
    return tuple(rows)


def combined_risk(
    prior: float | None, stages: Sequence[StageResult]
) -> tuple[CombinedRisk, ...] | None:
    """The headline attacks at 1 % false positives, at a declared share of members, if any is."""
    if prior is None:
        return None
    return tuple(
        CombinedRisk(
            stage=stage.stage,
            prior=prior,
            fpr=ONE_PERCENT,
            predictive_value=_predictive_value(stage, prior),
        )
        for stage in stages
        if stage.headline is not None
    )


def _predictive_value(stage: StageResult, prior: float) -> Estimate | None:
    """From TPR over FPR, whose interval stands behind the predictive values of the report."""
    if stage.headline is None:
        return None
    for point in stage.headline.metrics.tpr_at_fpr:
        if abs(point.fpr - ONE_PERCENT) > 1e-12 or point.tpr is None or not point.precision:
            continue
        known = next((one for one in point.precision if one.ppv is not None), None)
        if known is None or known.ppv is None:
            return None
        values = [_moved(value, known.prior, prior) for value in _ends(known.ppv)]
        return Estimate(values[0], values[1], values[2], known.ppv.confidence)
    return None


def _ends(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.value, estimate.low, estimate.high


def _moved(value: float, prior: float, other: float) -> float:
    """A predictive value at one prior as that at another: the odds are moved."""
    if value >= 1:
        return 1.0
    ratio = value / (1 - value) * (1 - prior) / prior  # TPR / FPR
    return predictive_value(other, ratio, 1.0)
