"""The number of an appetite line in a report, or why there is none."""

import math
from dataclasses import dataclass
from typing import Any

from curation_audit.gating.outcomes import Number
from curation_audit.gating.policy import (
    AVERAGE_EXPOSURE,
    EPSILON,
    MAXIMUM_EXPOSURE,
    AppetiteLine,
    rate_of,
)
from curation_audit.observations import Stage
from curation_audit.report import words

Tree = dict[str, Any]
MORE_SHADOWS = "more shadows, or more candidates"


@dataclass(frozen=True, slots=True)
class NotMeasured:
    """Why a report has no number, and what would give it one."""

    reason: str
    remedy: str


def stage_of(report: Tree, stage: Stage) -> Tree | None:
    """The results of a stage, where the report has them."""
    return next((one for one in report["stages"] if one["stage"] == stage), None)


def attacks_run(report: Tree, stage: Stage) -> tuple[str, ...]:
    """Names of the attacks that ran at a stage."""
    found = stage_of(report, stage)
    attacks = () if found is None else found["attacks"]
    return tuple(one["attack"] for one in attacks if one["status"] == "run")


def measure(report: Tree, line: AppetiteLine) -> Number | NotMeasured:
    """What the audit knows of a line's metric.

    Metrics, rates and the largest exposure are those of the stage's headline attack, from pairs
    that did not choose it; the average exposure and epsilon are those of the bounds' attack.
    """
    stage = stage_of(report, line.stage)
    if stage is None or stage["status"] == "not observed":
        why = f"not measured: stage {line.stage} was not observed"
        return NotMeasured(why, f"audit with {line.stage} among threat.observes")
    if stage["headline"] is None:
        return NotMeasured(
            f"not measured: no attack could run at stage {line.stage}",
            "grant what the attacks need",
        )
    if line.metric == EPSILON:
        return _epsilon(report, line.stage)
    if line.metric == AVERAGE_EXPOSURE:
        return _average_exposure(report, line.stage)
    if line.metric == MAXIMUM_EXPOSURE:
        return _maximum_exposure(stage["headline"]["records"])
    rate = rate_of(line.metric)
    metrics = stage["headline"]["metrics"]
    return _estimate(metrics[line.metric]) if rate is None else _rate(metrics, rate)


def _estimate(found: Tree) -> Number:
    return Number(
        value=found["value"],
        low=found["low"],
        high=found["high"],
        confidence=found["confidence"],
        sides="two-sided",
    )


def _rate(metrics: Tree, rate: float) -> Number | NotMeasured:
    """The TPR at a rate; rates that differ by rounding are the same."""
    points = metrics["tpr_at_fpr"]
    point = next((one for one in points if math.isclose(one["fpr"], rate, rel_tol=1e-9)), None)
    if point is None:
        rates = ", ".join(f"{one['fpr']:g}" for one in points) or "none"
        why = f"not measured: a false-positive rate of {rate:g} (the audit has: {rates})"
        return NotMeasured(why, f"audit with {rate:g} among attack.fpr")
    if point["tpr"] is None:
        return NotMeasured(f"not resolvable: {point['reason']}", MORE_SHADOWS)
    return _estimate(point["tpr"])


def _maximum_exposure(records: Tree) -> Number | NotMeasured:
    """The most exposed candidate, with the interval that holds for all of them together.

    Exact intervals over the same pairs rise with the share, so that of the largest share holds
    the largest limits: the largest true exposure lies between them.
    """
    if not records["worst"]:
        return NotMeasured("not measured: the report lists no candidate", "audit with this version")
    return _estimate(records["worst"][0]["exposure"])


def _average_exposure(report: Tree, stage: Stage) -> Number | NotMeasured:
    """The bounds' pair share: chosen on the fit pairs, measured on the evaluation pairs.

    The histograms' means are no match: they have no interval, and saw the pairs that chose the
    attack. The report's lower limit is by betting. The upper one is Hoeffding's for a mean of
    independent values in [0, 1] (1963, theorem 2): given the fit pairs, evaluation pairs are
    independent, and nothing else is assumed. Each limit is one-sided.
    """
    bounds = words.bounds_at(report, stage)
    if bounds is None:
        return NotMeasured("not measured: no bounds at this stage", "audit with this version")
    confidence = bounds["results"][0]["confidence"]
    slack = math.sqrt(math.log(1 / (1 - confidence)) / (2 * bounds["n_evaluation_pairs"]))
    return Number(
        value=bounds["pair_share"],
        low=bounds["pair_share_low"],
        high=min(1.0, bounds["pair_share"] + slack),
        confidence=confidence,
        sides="one-sided",
    )


def _epsilon(report: Tree, stage: Stage) -> Number | NotMeasured:
    """The lower bound that was declared beforehand to stand for the stage."""
    bounds = words.bounds_at(report, stage)
    one = None if bounds is None else words.declared_bound(bounds)
    if one is None:
        why = "not measured: no bound on epsilon without a hypothesis at this stage"
        return NotMeasured(why, "audit with this version")
    return Number(
        value=one["epsilon"],
        low=one["epsilon"],
        confidence=one["confidence"],
        sides="one-sided",
        label="bound",
    )
