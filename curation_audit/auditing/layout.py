"""What a reader should know about how an audit is laid out."""

from curation_audit.auditing.context import unattacked
from curation_audit.auditing.plan import AuditPlan
from curation_audit.statistics.metrics import MIN_EXPECTED_FALSE_POSITIVES

FEW_SHADOWS = 32


def smallest_fpr(plan: AuditPlan) -> float:
    """The smallest rate that a headline, measured on half of the pairs, can resolve."""
    return resolved_fpr(plan.attack.shadows, plan.data.private.n_candidates)


def resolved_fpr(n_shadows: int, n_candidates: int) -> float:
    """``smallest_fpr`` of as many shadows and candidates."""
    n_fresh_pairs = n_shadows // 2 - n_shadows // 4
    return MIN_EXPECTED_FALSE_POSITIVES / (n_fresh_pairs * n_candidates)


def design_warnings(plan: AuditPlan) -> list[str]:
    """What a reader should know about how an audit is laid out."""
    warnings = []
    if plan.attack.canaries is not None:
        warnings.append(
            f"The candidates are {plan.data.n_canaries} canaries: records made up from the public "
            "pool to be more exposed than real ones. The numbers are about them, not about the "
            "real private rows, which are in every shadow."
        )
    if plan.claim is not None and plan.scorer.name in ("callable", "command"):
        warnings.append(
            "A claim is tested on a scorer that is code of your own. Its noise must be fresh "
            "in every call: with a fixed seed, or with one generator per worker process, a true "
            "claim is refuted or a false one passes."
        )
    if plan.fine_tuned is not None and plan.claim is None:
        warnings.append(plan.fine_tuned.told.summary)
    warnings += unattacked(plan.context, plan.observed)
    if plan.attack.shadows < FEW_SHADOWS:
        warnings.append(
            f"With {plan.attack.shadows} shadows the controls would notice gross faults only; "
            f"{FEW_SHADOWS} or more are advised."
        )
    hidden = [f"{fpr:g}" for fpr in plan.attack.fpr if fpr < smallest_fpr(plan)]
    if hidden:
        warnings.append(
            f"{plan.attack.shadows} shadows of {plan.data.private.n_candidates} candidates do not "
            f"resolve headline false-positive rates of {', '.join(hidden)}; "
            f"the smallest is {smallest_fpr(plan):.2g}."
        )
    return warnings
