"""Reports with chosen numbers, made of the sample of ``tests/report``."""

from typing import Any

from curation_audit.gating import AppetiteLine, Policy, Requirements, decide
from curation_audit.gating.outcomes import Decision, Finding
from curation_audit.gating.policy import AVERAGE_EXPOSURE, EPSILON, MAXIMUM_EXPOSURE, rate_of
from tests.report.sample import sample_report

Tree = dict[str, Any]
UNIT = "patient_id"


def valid_report() -> Tree:
    """The sample without its refuted claim and its mechanism; all controls passed."""
    return sample_report() | {"claim": None, "protection": None}


def stage_at(report: Tree, stage: str) -> Tree:
    return next(one for one in report["stages"] if one["stage"] == stage)


def bounds_at(report: Tree, stage: str) -> Tree:
    return next(one for one in report["bounds"] if one["stage"] == stage)


def with_number(
    metric: str,
    value: float,
    low: float,
    high: float,
    *,
    stage: str = "scores",
    report: Tree | None = None,
) -> Tree:
    """A report whose metric at a stage has these numbers (an epsilon: ``low`` alone)."""
    tree = valid_report() if report is None else report
    headline, bounds = stage_at(tree, stage)["headline"], bounds_at(tree, stage)
    estimate = {"value": value, "low": low, "high": high, "confidence": 0.95, "label": "estimate"}
    if metric == EPSILON:
        for one in bounds["results"]:
            one["epsilon"], one["resolution"] = low, low + 1
    elif metric == AVERAGE_EXPOSURE:
        bounds |= {"pair_share": value, "pair_share_low": low}
    elif metric == MAXIMUM_EXPOSURE:
        headline["records"]["worst"][0]["exposure"] = estimate
    elif (rate := rate_of(metric)) is not None:
        point = next(one for one in headline["metrics"]["tpr_at_fpr"] if one["fpr"] == rate)
        point["tpr"] = estimate
    else:
        headline["metrics"][metric] = estimate
    return tree


def policy_of(*lines: AppetiteLine, **requires: Any) -> Policy:
    return Policy(name="of a test", appetite=lines, requires=Requirements(**requires))


def line(metric: str = "auc", at_most: float = 0.6, **rest: Any) -> AppetiteLine:
    return AppetiteLine(**{"stage": "scores", "metric": metric, "at_most": at_most} | rest)


def first(report: Tree, *lines: AppetiteLine, **requires: Any) -> Finding:
    return decide(report, policy_of(*lines, **requires)).findings[0]


def named(decision: Decision, name: str) -> Finding:
    return next(one for one in decision.findings if one.name == name)


def with_claim(**changes: Any) -> Tree:
    """A valid report beside an unrefuted claim: zero_out, epsilon 4 at 1e-5, per patient."""
    tree = valid_report()
    full = sample_report()
    stages = [one | {"refuted": False} for one in full["claim"]["stages"]]
    mine = {"adjacency": "zero_out", "epsilon": 4.0, "delta": 1e-5}
    tree["claim"] = full["claim"] | mine | {"stages": stages, "refuted": False} | changes
    tree["protection"] = full["protection"] | mine | {"unit": UNIT}
    return tree
