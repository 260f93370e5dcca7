"""``curation-audit gate`` end to end, on a real audit."""

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest
import yaml

from curation_audit.gating import decision_schema
from tests.config.test_bad_input import assert_one_line
from tests.gating.reports import UNIT, with_claim, with_number
from tests.report.sample import sparse_report

MED = Path(__file__).parents[2] / "curation_audit" / "pipelines" / "med.yaml"
SIGNS = ("Traceback", "internal error")


@pytest.fixture(scope="module")
def med(tmp_path_factory):
    """A run folder of the example, with few shadows and two attacks a stage."""
    from curation_audit import audit, load_pipeline

    out = tmp_path_factory.mktemp("runs") / "med"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("keys")))
        methods = (
            "{scores: [trace, extract], selection: [mask_trace], model: [loss, lira], joint: []}"
        )
        audit(
            load_pipeline(MED, "attack.shadows=16", f"run.out={out}", f"attack.methods={methods}")
        )
    return out


@pytest.fixture
def gate(command, tmp_path):
    """Gate a run by a policy given as a tree, or a report given as one."""

    def run(where, appetite, *options, **requires):
        if isinstance(where, dict):
            path = tmp_path / "report.json"
            path.write_text(json.dumps(where))
            where = path
        policy = tmp_path / "policy.yaml"
        lines = [dict(zip(("stage", "metric", "at_most"), one, strict=True)) for one in appetite]
        tree = {"version": 1, "name": "p", "appetite": lines, "requires": requires}
        policy.write_text(yaml.safe_dump(tree))
        return command("gate", where, "--policy", policy, *options)

    return run


def test_a_leaking_audit_is_rejected(med, gate):
    code, out, err = gate(med, [("scores", "auc", 0.5), ("scores", "epsilon", 0.01)])
    assert (code, err) == (1, "")
    assert "verdict: Reject: scores auc (upper) and scores epsilon (upper)." in out
    assert not any(sign in out for sign in SIGNS)


def test_a_generous_policy_supports_release(med, gate):
    appetite = [("scores", "auc", 1.0), ("model", "maximum_exposure", 1.0)]
    code, out, _ = gate(
        med,
        appetite,
        controls=["random curation", "permuted inclusion", "blind classifier"],
        attacks={"scores": ["trace"]},
        power={"shadows": 16, "candidates": 200, "smallest_fpr": 0.1},
    )
    assert code == 0
    assert "against the attacks listed: trace, extract" in out
    assert "verdict: Supports release against the attacks listed" in out


def test_a_small_audit_is_not_enough(med, gate):
    lines = [("scores", "tpr_at_fpr_0.001", 1.0), ("joint", "auc", 1.0)]
    code, out, _ = gate(med, lines, attacks={"model": ["rmia"]}, power={"shadows": 128})
    assert code == 1
    assert "Not resolvable" in out
    assert "verdict: Not enough evidence" in out
    assert "It did not run: the audit was not told to run it." in out


def test_every_metric_reads_a_real_report(med, gate):
    metrics = ("auc", "advantage", "balanced_accuracy", "tpr_at_fpr_0.1", "average_exposure")
    lines = [("scores", metric, 0.5) for metric in (*metrics, "maximum_exposure", "epsilon")]
    _, out, _ = gate(med, lines, "--format", "json")
    tree = json.loads(out)
    jsonschema.validate(tree, decision_schema())
    numbers = {one["name"].split()[1]: one["number"] for one in tree["findings"]}
    assert set(numbers) == {metric for _, metric, _ in lines}
    for metric, number in numbers.items():
        assert number["low"] <= number["value"], metric
        assert metric == "epsilon" or number["value"] <= number["high"]
    assert len(tree["report"]["sha256"]) == 64
    assert tree["report"]["name"] == "med"


def test_a_report_can_be_gated_wherever_it_was_passed_on_to(med, gate, tmp_path):
    handed = tmp_path / "handed" / "release"
    shutil.copytree(med / "release", handed)
    places = (med, handed, handed / "report.json", handed.parent)
    outs = {gate(place, [("scores", "auc", 0.6)], "--format", "json")[1] for place in places}
    assert len(outs) == 1


@pytest.mark.parametrize("form", ["text", "json", "markdown", "junit"])
def test_a_format_in_a_file_leaves_the_verdict_on_the_terminal(form, med, gate, tmp_path):
    lines = [("scores", "auc", 0.5)]
    shown = gate(med, lines, "--format", form)[1]
    path = tmp_path / "out" / "gate"
    code, out, _ = gate(med, lines, "--format", form, "--out", path)
    assert code == 1
    assert out.splitlines() == [f"wrote {path}", "verdict: Reject: scores auc (upper)."]
    if form != "text":  # which is as wide as the terminal
        assert path.read_text() == shown
    if form == "junit":
        assert ElementTree.fromstring(path.read_text()).get("failures") == "1"


def test_an_invalid_audit_ends_in_exit_5(gate):
    code, out, _ = gate(sparse_report(), [("scores", "auc", 0.99)])
    assert code == 5
    assert "the audit is invalid (the control 'blind classifier' failed)" in out


@pytest.mark.parametrize(("epsilon", "code"), [(4.0, 0), (3.9, 1)])
def test_a_claim_is_held_against_the_policy(epsilon, code, gate):
    report = with_number("auc", 0.55, 0.5, 0.58, report=with_claim())
    claim = {"adjacency": "zero_out", "epsilon": epsilon, "unit": UNIT}
    assert gate(report, [("scores", "auc", 0.6)], claim=claim)[0] == code


REPORTS = {
    "no JSON": ("{", "is no report"),
    "not text": (b"\xff\xfe{}", "is no report"),
    "a list": ("[]", "is no report"),
    "a number": ("7", "is no report"),
    "something else": ('{"schema_version": 1}', "is no report"),
    "of another time": ('{"schema_version": 99}', "99"),
    "a tower": ("[" * 100_000, "is no report"),
    "empty": ("", "is no report"),
}


@pytest.mark.parametrize("case", REPORTS)
def test_a_broken_report_gives_one_line(case, gate, tmp_path):
    payload, part = REPORTS[case]
    path = tmp_path / "run" / "release" / "report.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(payload if isinstance(payload, bytes) else payload.encode())
    result = gate(tmp_path / "run", [("scores", "auc", 0.6)])
    assert_one_line(*result, ["report.json", part])


def test_a_report_that_lies_about_its_shape_gives_one_line(gate):
    report = with_number("auc", 0.55, 0.6, 0.5)
    assert_one_line(*gate(report, [("scores", "auc", 0.6)]), ["low must not be above high"])


def test_other_bad_calls_give_one_line(med, gate, command, tmp_path):
    lines = [("scores", "auc", 0.6)]
    (tmp_path / "empty").mkdir()
    assert_one_line(*gate(tmp_path / "empty", lines), ["found no release/report.json"])
    assert_one_line(*gate(tmp_path / "nowhere", lines), ["no such folder or file"])
    assert_one_line(*gate(med, lines, "--format", "pdf"), ["pdf"])
    blocked = tmp_path / "policy.yaml" / "gate.json"
    assert_one_line(*gate(med, lines, "--out", blocked), ["cannot be written"])
    assert_one_line(*gate(med, [("score", "auc", 0.6)]), ["policy.yaml:", "mean 'scores'?"])
    assert_one_line(*command("gate", med), ["--policy"])
    assert_one_line(
        *command("gate", med, "--policy", tmp_path / "none.yaml"), ["no such file", "--policy"]
    )


def test_the_starter_is_written_and_runs(med, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = command("init", "--policy")
    assert code == 0
    assert "next: curation-audit gate RUN --policy policy.yaml" in out
    assert command("gate", med, "--policy", "policy.yaml")[0] == 1
    assert command("init", "--policy", "mine/p.yaml")[0] == 0
    assert (tmp_path / "mine" / "p.yaml").exists()
    assert_one_line(*command("init", "--policy"), ["already there"])
    assert_one_line(*command("init", "--policy", "--example", "med"), ["--example"])
    assert command("init")[0] == 0
    assert (tmp_path / "pipeline.yaml").exists()
