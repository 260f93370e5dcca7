import json

import pytest
import yaml

from curation_audit.report.card import render_card
from tests.report.runs import HOSTILE, hostile_report
from tests.report.sample import sample_report, sparse_report


def front(text):
    """The front matter, and what comes after it."""
    start, matter, rest = text.split("---\n", 2)
    assert start == ""
    return yaml.safe_load(matter), rest


def metrics(text, stage):
    (entry,) = front(text)[0]["model-index"]
    results = [r for r in entry["results"] if r["dataset"]["name"].endswith(f"stage {stage}")]
    return {one["type"]: one for one in results[0]["metrics"]}


def test_metadata_holds_the_numbers_of_the_report_with_their_intervals():
    report = sample_report()
    text = render_card(report)
    for stage in report["stages"]:
        found, own = metrics(text, stage["stage"]), stage["headline"]["metrics"]
        assert found["auc"]["value"] == own["auc"]["value"]
        assert found["auc"]["args"]["low"] == own["auc"]["low"]
        tpr = own["tpr_at_fpr"][1]["tpr"]
        assert found["tpr_at_fpr_0.01"]["value"] == tpr["value"]
        assert found["tpr_at_fpr_0.01"]["args"]["high"] == tpr["high"]
        assert found["tpr_at_fpr_0.01"]["args"]["attack"] == stage["headline"]["attack"]
    bound = metrics(text, "scores")["epsilon_lower_bound"]
    assert bound["args"]["label"] == "bound"
    assert bound["args"]["method"] == "one run"


def test_every_result_has_what_a_model_index_needs():
    (entry,) = front(render_card(sample_report()))[0]["model-index"]
    assert entry["name"] == "med"
    for result in entry["results"]:
        assert {"type", "name"} <= result["task"].keys()
        assert {"type", "name"} <= result["dataset"].keys()
        assert all({"type", "value"} <= metric.keys() for metric in result["metrics"])
    assert entry["results"][-1]["metrics"] == [
        {"type": "accuracy", "name": "accuracy", "value": sample_report()["utility"]["curated"]}
    ]


def test_what_is_not_resolvable_is_left_out_and_never_zero():
    assert "tpr_at_fpr_0.001" not in metrics(render_card(sample_report()), "scores")


def test_guarantee_is_stated_with_what_it_does_not_cover():
    report = sample_report()
    report["protection"]["covers"] = ["scores"]
    text = front(render_card(report))[1]
    for line in (
        "- Mechanism: gaussian\\_mean", "- Epsilon: 0.325", "- Delta: 1e-5",
        "- Unit: patient\\_id", "add or remove all records of one patient\\_id", "- Covers: scores",
        "- Does not cover: selection; model; the pool", "- Tuning: selection not accounted",
    ):  # fmt: skip
        assert line in text
    assert "Refuted" in text


@pytest.mark.parametrize("key", ["protection", "claim"])
def test_no_guarantee_is_invented(key):
    report = sample_report()
    report[key] = None
    stated = "No differential privacy is claimed" in render_card(report)
    assert not stated
    report["protection"] = report["claim"] = None
    assert "No differential privacy is claimed" in render_card(report)


def test_mechanism_without_noise_is_no_guarantee():
    report = sample_report()
    report["protection"] |= {"epsilon": None, "ablation": True}
    text = render_card(report)
    assert "none: something of what is seen together ran without noise" in text
    assert "an ablation, not for use" in text


def test_invalid_audit_says_so():
    assert "Do not rely on any number of this card" in render_card(sparse_report())


def test_hostile_names_stay_values():
    matter, rest = front(render_card(hostile_report()))
    assert matter["model-index"][0]["name"] == HOSTILE
    assert json.loads(json.dumps(matter)) == matter
    assert "<script>" not in rest
