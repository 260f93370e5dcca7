"""Measurements in plain words: the numbers are those of the report, and nothing is promised."""

import copy

import pytest

from curation_audit.report.plain import assumed, in_plain_words, people
from tests.report.sample import sample_report, sparse_report

REPORT = sample_report()
SCORES = REPORT["stages"][0]


def told(report, stage):
    return " ".join(in_plain_words(report, stage))


def with_numbers(**point):
    """The scores with one resolved rate that can be checked by hand."""
    report = copy.deepcopy(REPORT)
    headline = report["stages"][0]["headline"]
    headline["metrics"]["auc"] |= {"value": 0.61, "low": 0.58, "high": 0.64}
    resolved = next(p for p in headline["metrics"]["tpr_at_fpr"] if p["status"] == "resolved")
    resolved |= {"fpr": 0.01, "realised_fpr": 0.01, **point}
    resolved["tpr"] |= {"value": 0.065, "low": 0.05, "high": 0.08}
    for one in resolved["precision"]:
        if one["prior"] == 0.01:
            one["ppv"] = {**resolved["tpr"], "value": 0.062, "low": 0.048, "high": 0.075}
    headline["metrics"]["tpr_at_fpr"] = [resolved]
    return report, report["stages"][0]


def test_the_numbers_are_those_of_the_report():
    text = told(*with_numbers())
    assert "right one 610 of 1000 times (580 to 640; guessing is 500)" in text
    assert "the attack names 65 (50 to 80), while wrongly naming 10 of 1000 comparable" in text
    assert "only 1 in 100 of those asked about is in the set, 6.2 % of the named are right" in text
    assert "(4.8 % to 7.5 %)" in text


def test_what_the_attacker_had_is_said():
    assert "sees the score of every public row, and knows how the curation works" in told(
        REPORT, SCORES
    )
    assert assumed({"knows": []}, "model").endswith("and knows nothing else.")


def test_what_could_not_be_resolved_is_said_and_is_no_zero():
    report, stage = with_numbers()
    stage["headline"]["metrics"]["tpr_at_fpr"] = []
    text = told(report, stage)
    assert "could not be resolved" in text
    assert "names 0" not in text


def test_a_stage_without_a_headline_says_nothing():
    assert in_plain_words(sparse_report(), sparse_report()["stages"][2]) == []


def test_chance_is_not_sold_as_a_finding():
    report, stage = with_numbers()
    stage["headline"]["above_chance"] = False
    assert "not told apart from guessing" in told(report, stage)


@pytest.mark.parametrize(
    ("unit", "name"),
    [("patient_id", "patients"), ("row", "records"), ("ward", "units (ward)")],
)
def test_candidates_are_called_what_they_are(unit, name):
    assert people(unit) == name


def test_nothing_is_called_safe():
    for stage in REPORT["stages"]:
        assert "safe" not in told(REPORT, stage).lower()
