"""A fine-tuned model from a pipeline file to every rendering: which epsilon stands where."""

import json
from pathlib import Path

import pytest
import yaml

import curation_audit
from curation_audit.report.versions import readable

MED = Path(curation_audit.__file__).parent / "pipelines" / "med.yaml"
PROTECT = "curate.protect={mechanism: dp_gd, epsilon: 0.5, delta: 1.0e-5, adjacency: zero_out}"
TUNE = "{epsilon: 3, delta: 1.0e-5, adjacency: zero_out, steps: 20, sampling_rate: 1.0}"
METHODS = "attack.methods={scores: [trace], selection: [mask_trace], model: [loss], joint: []}"


@pytest.fixture
def attack(command, tmp_path):
    """Audit ``med`` with a fine-tuned model: (report, Markdown, card, standard output)."""

    def run(*assignments: str):
        own = [f"train={{model: logistic, fine_tune: {TUNE}}}", "attack.shadows=16", METHODS]
        own += [f"run.out={tmp_path}", "report.formats=[html, json, markdown, card]", *assignments]
        arguments = [part for one in own for part in ("--set", one)]
        code, out, err = command("attack", "--pipeline", MED, *arguments)
        assert code == 0, err
        release = tmp_path / "release"
        report = json.loads((release / "report.json").read_text())
        assert "Fine-tuning" in (release / "report.html").read_text()
        texts = {path.name: path.read_text() for path in release.glob("*.md")}
        return report, texts, out

    return run


def test_the_three_epsilons_are_told(attack):
    report, texts, out = attack(PROTECT)
    assert report["design"]["downstream"] == "logistic, then fine-tuning"
    told = report["fine_tuning"]
    three = [told[name] for name in ("curation_epsilon", "epsilon", "joint_epsilon")]
    assert three == pytest.approx([0.5, 3.0, 3.066], abs=1e-3)
    assert report["claim"]["epsilon"] == told["joint_epsilon"] == report["protection"]["epsilon"]
    assert [one["epsilon"] for one in report["claim"]["stages"]] == [three[0], three[0], three[2]]
    spent = "the curation spends epsilon 0.5, which covers scores and selection; fine-tuning spends"
    for text in (texts["report.md"], out):
        flat = " ".join(text.split())
        assert spent in flat
        assert "both together 3.067, which covers the model" in flat  # rounded up
    assert "never released" in " ".join(out.split())  # lines are broken by their width
    card = next(text for name, text in texts.items() if "card" in name)
    assert "3.06" in card


def test_without_protection_no_epsilon_is_printed(attack):
    report, texts, out = attack()
    told = report["fine_tuning"]
    assert [told[name] for name in ("curation_epsilon", "epsilon", "joint_epsilon")] == [None] * 3
    assert report["claim"] is None
    assert report["protection"] is None
    for text in (texts["report.md"], out):
        flat = " ".join(text.split())
        assert "The model has no guarantee at all, whatever noise fine-tuning adds" in flat
        assert "fine-tuning spends" not in flat
    assert all(one["adjacency"] == "zero_out" for one in report["bounds"])


def test_a_report_from_before_it_is_still_read(attack):
    report, _, _ = attack(PROTECT)
    del report["fine_tuning"]
    for stage in report["claim"]["stages"]:
        del stage["epsilon"], stage["pair_share"]
    assert readable(report)["claim"]["epsilon"] == report["claim"]["epsilon"]


def test_a_gate_asks_for_the_joint_epsilon(attack, command, tmp_path):
    """The curation alone would meet a policy of 1; what is released with the model does not."""
    attack(PROTECT)
    for epsilon, outcome in ((1.0, "lies above 1"), (4.0, "was not refuted")):
        claim = {"adjacency": "zero_out", "epsilon": epsilon, "unit": "patient_id"}
        line = {"stage": "model", "metric": "auc", "at_most": 1.0}
        tree = {"version": 1, "name": "p", "appetite": [line], "requires": {"claim": claim}}
        policy = tmp_path / "policy.yaml"
        policy.write_text(yaml.safe_dump(tree))
        _, out, err = command("gate", tmp_path, "--policy", policy)
        assert err == ""
        assert outcome in " ".join(out.split())
