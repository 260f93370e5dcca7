"""Reports of older versions are read, and what they did not measure stays unmeasured."""

import json
from pathlib import Path

import pytest

from curation_audit.report import SCHEMA_VERSION, readable, render_html, validate_report
from tests.report.sample import sample_report, sparse_report

OLD = json.loads((Path(__file__).parent / "golden" / "report_v1.json").read_text())


def test_a_report_of_version_1_is_read():
    assert OLD["schema_version"] == 1
    with pytest.raises(ValueError, match=r"schema_version|required"):
        validate_report(OLD)
    tree = readable(OLD)
    assert tree["schema_version"] == SCHEMA_VERSION
    for key in ("stages", "bounds", "controls", "verdict", "configuration"):
        assert tree[key] == OLD[key]
    claim = tree["claim"]
    for one, old in zip(claim["stages"], OLD["claim"]["stages"], strict=True):
        # what was claimed of the whole was claimed of each stage
        assert one == {**old, "pair_share": claim["pair_share"], "epsilon": claim["epsilon"]}
    assert {**claim, "stages": OLD["claim"]["stages"]} == OLD["claim"]
    assert tree["context"] is tree["combined_risk"] is tree["protection"] is None
    assert tree["crosswalk"] == []
    assert len(tree["coverage"]) == sum(len(stage["attacks"]) for stage in OLD["stages"])
    page = render_html(tree, None)
    assert "it was written by an older version" in page


@pytest.mark.parametrize("report", [sample_report(), sparse_report()], ids=["full", "sparse"])
def test_a_report_of_this_version_is_itself(report):
    assert readable(report) == report


def test_events_that_were_text_only_are_not_known():
    report = sample_report()
    assert report["protection"] is not None
    before = {**report, "protection": {**report["protection"]}}
    del before["protection"]["coded_events"]
    assert readable(before) == report
    assert "coded_events" not in before["protection"]


@pytest.mark.parametrize(
    "report", [{}, [], None, "report", {"schema_version": "1"}, {"schema_version": 99}]
)
def test_what_is_no_report_is_refused(report):
    with pytest.raises(ValueError, match="schema_version"):
        readable(report)
