"""What a report holds beside measurements: coverage, the declared context, and the crosswalk."""

from collections.abc import Sequence
from typing import Any

from curation_audit.auditing.crosswalk import crosswalk
from curation_audit.auditing.governance import combined_risk, coverage
from curation_audit.auditing.plan import AuditPlan
from curation_audit.results import ClaimResult, ControlResult, StageResult, Utility


def contents(
    plan: AuditPlan,
    *,
    stages: Sequence[StageResult],
    controls: Sequence[ControlResult],
    claim: ClaimResult | None,
    utility: Utility | None,
) -> dict[str, Any]:
    """The keys ``coverage``, ``context``, ``combined_risk`` and ``crosswalk`` of a report."""
    prior = None if plan.context is None else plan.context.prior
    return {
        "coverage": coverage(plan, stages),
        "context": plan.context,
        "combined_risk": combined_risk(prior, stages),
        "crosswalk": crosswalk(facts_of(plan, stages, controls, claim, utility)),
    }


def facts_of(
    plan: AuditPlan,
    stages: Sequence[StageResult],
    controls: Sequence[ControlResult],
    claim: ClaimResult | None,
    utility: Utility | None,
) -> dict[str, bool]:
    """What the questions of the crosswalk ask about; see ``QUESTIONS`` for what is always so."""
    headlines = [stage.headline for stage in stages if stage.headline is not None]
    ran = {one.attack for stage in stages for one in stage.attacks if one.status == "run"}
    tuning = "" if plan.protection is None else plan.protection.tuning
    return {
        "system": True,
        "attacked": bool(headlines),
        "nothing above chance": bool(headlines)
        and not any(headline.above_chance for headline in headlines),
        "ensemble": any(name.endswith("ensemble") for name in ran),
        "joint": "joint_ensemble" in ran,
        "subgroups": any(headline.subgroups is not None for headline in headlines),
        "controls": bool(controls) and all(control.passed for control in controls),
        "claim": claim is not None,
        "protection": plan.protection is not None,
        "tuning accounted": tuning.startswith(("stated", "paid for")),
        "utility": utility is not None,
        "context": plan.context is not None,
        "policy": bool(plan.policy),
    }
