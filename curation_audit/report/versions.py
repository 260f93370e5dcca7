"""Reports of older schema versions, brought to the current one.

What an older version did not measure stays unmeasured: null or an empty list, never a guess.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from curation_audit.report.numbers import headline_numbers
from curation_audit.report.schema import SCHEMA_VERSION, validate_report


def readable(report: Any) -> dict[str, Any]:
    """A report of any known version as one of the current version, checked.

    Raises:
        ValueError: for what is no report, or one of a version that is not known here.
    """
    if not isinstance(report, Mapping) or not isinstance(report.get("schema_version"), int):
        raise ValueError("schema_version: is missing")
    tree = dict(report)
    while tree["schema_version"] in UPGRADES:
        tree = UPGRADES[tree["schema_version"]](tree)
    if tree["schema_version"] != SCHEMA_VERSION:
        known = ", ".join(str(version) for version in (*UPGRADES, SCHEMA_VERSION))
        raise ValueError(f"schema_version: found {tree['schema_version']}, known are {known}")
    tree = _with_coded_events(_completed(tree))
    validate_report(tree)
    return tree


def _completed(report: dict[str, Any]) -> dict[str, Any]:
    """Early reports of version 2 knew no fine-tuning: one claim was of every stage alike."""
    if "fine_tuning" in report or "claim" not in report:
        return report
    claim = report["claim"]
    if isinstance(claim, Mapping) and isinstance(claim.get("stages"), list):
        alike = {name: claim.get(name) for name in ("pair_share", "epsilon")}
        stages = [{**one, **alike} if isinstance(one, Mapping) else one for one in claim["stages"]]
        claim = {**claim, "stages": stages}
    return {**report, "claim": claim, "fine_tuning": None}


def _with_coded_events(tree: dict[str, Any]) -> dict[str, Any]:
    """The first reports of version 2 had the events of a protection as text only."""
    own = tree.get("protection")
    if not isinstance(own, Mapping) or "coded_events" in own:
        return tree
    return {**tree, "protection": {**own, "coded_events": None}}


def _from_1(report: dict[str, Any]) -> dict[str, Any]:
    """Version 1 knew neither protections nor what is declared; its coverage is what it lists."""
    coverage = [
        {
            "attack": attack["attack"],
            "title": attack["title"],
            "stage": stage["stage"],
            "status": attack["status"],
            "reason": attack["reason"],
        }
        for stage in report["stages"]
        for attack in stage["attacks"]
    ]
    return {
        **report,
        "schema_version": 2,
        "design": {**report["design"], "smallest_fpr": None},
        "protection": report.get("protection"),
        "coverage": coverage,
        "context": None,
        "combined_risk": None,
        "crosswalk": [],
        "numbers": headline_numbers(report),
    }


UPGRADES: Final[dict[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {1: _from_1}
