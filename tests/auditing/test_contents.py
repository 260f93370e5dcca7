"""What a report declares, which attacks it lists, and which questions it says it answers."""

import dataclasses

import numpy as np
import pytest

from curation_audit import AttackSettings, Pipeline, Threat, audit
from curation_audit.attacks import ATTACKS
from curation_audit.auditing.context import ReleaseContext, unattacked
from curation_audit.auditing.crosswalk import QUESTIONS, crosswalk
from curation_audit.auditing.engine import run_audit
from curation_audit.auditing.governance import combined_risk
from curation_audit.checks import SettingError
from curation_audit.statistics.precision import predictive_value


def pipeline(**settings):
    rng = np.random.default_rng(0)
    return Pipeline(
        private=rng.standard_normal((120, 4)),
        public=rng.standard_normal((60, 4)),
        train=None,
        attack=AttackSettings(shadows=64, methods={"scores": ("trace", "lira_best_row")}),
        **settings,
    )


@pytest.fixture(scope="module")
def result():
    context = ReleaseContext(artefacts=("scores", "model"), prior=0.02, recipients="a partner")
    plan = dataclasses.replace(
        pipeline(threat=Threat(observes=("scores",))).plan(), context=context
    )
    return run_audit(plan)


def test_every_attack_is_run_not_run_or_not_applicable(result):
    rows = {row["attack"]: row for row in result.report["coverage"]}
    assert set(rows) == set(ATTACKS)
    assert rows["trace"]["status"] == "run"
    assert rows["extract"] | {"title": ""} == {
        "attack": "extract",
        "title": "",
        "stage": "scores",
        "status": "not run",
        "reason": "attack.methods does not name it",
    }
    assert rows["gibbs"]["reason"] == "the stage selection is not attacked in this audit"
    assert all((row["reason"] is None) == (row["status"] == "run") for row in rows.values())


def test_what_leaves_and_was_not_attacked_is_warned_of(result):
    assert any("declares that model leave" in line for line in result.report["warnings"])
    assert unattacked(None, ()) == []
    assert unattacked(ReleaseContext(artefacts=("scores",)), ("scores",)) == []


def test_the_combined_risk_moves_the_odds_of_the_measured_one(result):
    (row,) = result.report["combined_risk"]
    assert row["stage"] == "scores"
    assert row["prior"] == 0.02
    (point,) = (
        p
        for p in result.report["stages"][0]["headline"]["metrics"]["tpr_at_fpr"]
        if p["fpr"] == 0.01
    )
    assert point["status"] == "resolved"
    expected = predictive_value(0.02, point["tpr"]["value"], point["realised_fpr"])
    assert row["predictive_value"]["value"] == pytest.approx(expected)
    assert row["predictive_value"]["low"] <= expected <= row["predictive_value"]["high"]


def test_without_a_declared_share_there_is_no_combined_risk(result):
    assert combined_risk(None, result.stages) is None
    assert audit(pipeline()).report["combined_risk"] is None


def test_a_stage_without_a_resolved_rate_has_none(result):
    (stage,) = (one for one in result.stages if one.headline)
    metrics = dataclasses.replace(stage.headline.metrics, tpr_at_fpr=())
    bare = dataclasses.replace(stage, headline=dataclasses.replace(stage.headline, metrics=metrics))
    (row,) = combined_risk(0.02, [bare])
    assert row.predictive_value is None


def test_the_crosswalk_says_what_is_not_covered(result):
    rows = result.report["crosswalk"]
    assert len(rows) == len(QUESTIONS)
    by_topic = {row["topic"]: row for row in rows}
    assert by_topic["attribute inference"]["status"] == "not covered"
    assert by_topic["membership inference"]["status"] == "covered"
    assert by_topic["both stated"]["status"] == "not covered"
    assert by_topic["depth of testing by release context"]["status"] == "covered"
    for row in rows:
        assert (row["where"] is None) == (row["status"] == "not covered")
        assert row["status"] != "not covered" or row["note"]


def test_no_fact_covers_no_more_than_nothing():
    nothing = crosswalk({})
    assert {row.status for row in nothing} == {"not covered"}
    everything = crosswalk({fact: True for q in QUESTIONS for fact in q.facts if fact != "never"})
    never = [row for row, q in zip(everything, QUESTIONS, strict=True) if "never" in q.facts]
    assert {row.status for row in never} == {"not covered"}
    assert {row.status for row in everything if row not in never} == {"covered"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prior": 0.0}, "report.context.prior: found 0.0"),
        ({"prior": 1.0}, "report.context.prior: found 1.0"),
        ({"review_date": "soon"}, "report.context.review_date: found 'soon'; expected YYYY-MM-DD"),
        ({"artefacts": ("score",)}, "report.context.artefacts: found 'score'; did you mean"),
    ],
)
def test_declarations_that_cannot_be_are_refused(settings, message):
    with pytest.raises(SettingError) as refused:
        ReleaseContext(**settings)
    assert str(refused.value).startswith(message)
