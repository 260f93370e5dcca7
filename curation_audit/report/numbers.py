"""The headline numbers of a report as one flat list, for dashboards and cards.

A name holds what a number is measured at, such as ``tpr_at_fpr_0.01``, and a number its unit:
``fraction`` (of one, never percent) or ``nats``. What was not measured is null, never 0.
"""

from collections.abc import Iterator
from typing import Any

from curation_audit.report import words


def headline_numbers(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Estimates and the declared bound of every stage with a headline, in the order of stages.

    Args:
        report: the tree of report.json, or as much of it as ``stages`` and ``bounds``.
    """
    return [
        number
        for stage in report["stages"]
        if stage["headline"] is not None
        for number in (*_estimates(stage), *_bound(report, stage["stage"]))
    ]


def _estimates(stage: dict[str, Any]) -> Iterator[dict[str, Any]]:
    attack, metrics = stage["headline"]["attack"], stage["headline"]["metrics"]
    told = {name: metrics[name] for name in ("auc", "advantage", "balanced_accuracy")}
    told |= {f"tpr_at_fpr_{point['fpr']:g}": point["tpr"] for point in metrics["tpr_at_fpr"]}
    for name, estimate in told.items():
        found = estimate or dict.fromkeys(("value", "low", "high", "confidence"))
        yield {
            "name": name,
            "stage": stage["stage"],
            "attack": attack,
            "method": None,
            "unit": "fraction",
            "label": "estimate",
            **{key: found[key] for key in ("value", "low", "high", "confidence")},
            "delta": None,
        }


def _bound(report: dict[str, Any], stage: str) -> Iterator[dict[str, Any]]:
    of = words.bounds_at(report, stage)
    declared = None if of is None else words.declared_bound(of)
    if of is None or declared is None:
        return
    yield {
        "name": "epsilon_lower_bound",
        "stage": stage,
        "attack": of["attack"],
        "method": declared["method"],
        "unit": "nats",
        "label": declared["label"],
        "value": declared["epsilon"],
        "low": None,
        "high": None,
        "confidence": declared["confidence"],
        "delta": declared["delta"],
    }
