"""The schema of ``report.json``, and the check that a report keeps to it.

``schema.json`` beside this file is the contract. What JSON Schema cannot say (finite numbers,
ordered intervals, arrays of matching length) is checked here as well.
"""

import json
import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

SCHEMA_VERSION: Final = 2
ROUNDING: Final = 1e-6


@cache
def report_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of ``report.json``; do not modify it."""
    text = Path(__file__).with_name("schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def validate_report(report: dict[str, Any]) -> None:
    """Check a report against the schema.

    Raises:
        ValueError: at the first mismatch, naming its path, such as ``stages[0].headline``.
    """
    check_schema(report, report_schema(), "report")
    for place, problem in _inconsistencies(report, ""):
        raise ValueError(f"{place}: {problem}")


def check_schema(tree: Any, schema: dict[str, Any], whole: str) -> None:
    """Check a tree of JSON values against a schema (draft 2020-12).

    Raises:
        ValueError: at the first mismatch, naming its path, or ``whole`` where that is the tree.
    """
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    error = best_match(Draft202012Validator(schema).iter_errors(tree))
    if error is not None:
        place = error.json_path.removeprefix("$").removeprefix(".") or whole
        raise ValueError(f"{place}: {shortened(error.message)}")


def shortened(message: str, length: int = 300) -> str:
    """Cut a message: jsonschema repeats the whole offending value, which may be a report."""
    return message if len(message) <= length else f"{message[:length]} ..."


def _inconsistencies(value: Any, place: str) -> Iterator[tuple[str, str]]:
    """What is wrong below ``place`` that JSON Schema cannot say."""
    if isinstance(value, float) and not math.isfinite(value):
        yield place, f"must be finite or null, got {value}"
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _inconsistencies(item, f"{place}[{index}]")
    elif isinstance(value, dict):
        yield from ((place, problem) for problem in _mismatches(value))
        for key, item in value.items():
            # The configuration is free-form: whatever the user may write there is right.
            if place or key != "configuration":
                yield from _inconsistencies(item, f"{place}.{key}" if place else key)


def _mismatches(item: dict[str, Any]) -> Iterator[str]:
    """Keys of one object that contradict each other."""
    if item.get("low") is not None and item["low"] > item.get("high", math.inf):
        yield f"low must not be above high, got {item['low']} and {item['high']}"
    if item.keys() == {"fpr", "tpr", "low", "high"}:
        if len({len(array) for array in item.values()}) > 1:
            yield "fpr, tpr, low and high must have the same length"
    elif "bin_edges" in item and len(item["bin_edges"]) != len(item["counts"]) + 1:
        yield "bin_edges must be one longer than counts"
    elif "resolution" in item and item["epsilon"] > item["resolution"] + ROUNDING:
        yield f"epsilon must not be above its resolution, got {item['epsilon']}"
    elif "refuted" in item and "stages" in item:
        yield from _mismatches_of_claim(item)


def _mismatches_of_claim(claim: dict[str, Any]) -> Iterator[str]:
    if len(claim["fpr"]) != len(claim["tpr"]):
        yield "fpr and tpr must have the same length"
    if claim["refuted"] != any(stage["refuted"] for stage in claim["stages"]):
        yield "refuted must say whether any stage refutes the claim"
