"""The flat list says what the stages say, under names that hold their units."""

import copy
import json
from pathlib import Path

import pytest

from curation_audit.report import readable, validate_report
from curation_audit.report.numbers import headline_numbers
from tests.report.sample import sample_report, sparse_report

OLD = json.loads((Path(__file__).parent / "golden" / "report_v1.json").read_text())


def named(report, stage):
    return {one["name"]: one for one in report["numbers"] if one["stage"] == stage}


def test_estimates_are_those_of_the_headline():
    report = sample_report()
    for stage in report["stages"]:
        found, metrics = named(report, stage["stage"]), stage["headline"]["metrics"]
        pairs = [(name, metrics[name]) for name in ("auc", "advantage", "balanced_accuracy")]
        pairs.append(("tpr_at_fpr_0.01", metrics["tpr_at_fpr"][1]["tpr"]))
        for name, estimate in pairs:
            got = {key: found[name][key] for key in estimate}
            assert got == estimate
            assert found[name]["unit"] == "fraction"
            assert found[name]["attack"] == stage["headline"]["attack"]


def test_a_rate_that_is_not_resolvable_is_null_and_keeps_its_name():
    number = named(sample_report(), "scores")["tpr_at_fpr_0.001"]
    assert number["value"] is number["low"] is number["high"] is number["confidence"] is None


def test_the_bound_is_the_one_that_was_declared():
    report = sample_report()
    number = named(report, "scores")["epsilon_lower_bound"]
    (one,) = [one for one in report["bounds"][0]["results"] if one["method"] == number["method"]]
    assert (number["label"], number["unit"]) == ("bound", "nats")
    assert number["value"] == one["epsilon"]
    assert (number["delta"], number["confidence"]) == (one["delta"], one["confidence"])


def test_without_headline_or_bound_there_is_no_number():
    report = sparse_report()
    assert {one["stage"] for one in report["numbers"]} == {"scores"}
    assert all(one["name"] != "epsilon_lower_bound" for one in report["numbers"])


def test_every_rate_is_a_fraction():
    for one in sample_report()["numbers"]:
        if one["unit"] == "fraction" and one["value"] is not None:
            assert -1 <= one["low"] <= one["value"] <= one["high"] <= 1


def test_an_older_report_gets_the_list():
    tree = readable(OLD)
    assert tree["numbers"] == headline_numbers(OLD)
    assert "tpr_at_fpr_0.01" in named(tree, "scores")


@pytest.mark.parametrize(
    ("key", "value"),
    [("name", "tpr"), ("unit", "percent"), ("label", "safe"), ("stage", "data"), ("low", 2.0)],
)
def test_what_is_no_number_is_refused(key, value):
    report = copy.deepcopy(sample_report())
    report["numbers"][0][key] = value
    with pytest.raises(ValueError, match="numbers"):
        validate_report(report)
