"""The command line end to end."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from curation_audit.auditing.plan import RunSettings
from curation_audit.report import validate_report
from curation_audit.results import Estimate


def test_attack_writes_a_report_and_says_where(small, command, tmp_path):
    code, out, err = command("attack", "--pipeline", small())
    assert code == 0, err
    release = tmp_path / "run" / "release"
    assert str(release / "report.html") in out
    report = json.loads((release / "report.json").read_text())
    validate_report(report)
    assert report["design"]["n_candidates"] == 30  # patients, not their 60 visits
    assert report["design"]["unit"] == "Pat.Nr"
    for word in ("scores", "selection", "model", "controls: ", "utility: ", "verdict: "):
        assert word in out
    assert "curations: 3/3" in err  # plain progress lines without a terminal


def test_other_columns_dtypes_and_units_go_through(small, command, tmp_path):
    """Float16, whole numbers and truth values as features, under names no example uses."""

    def edit(tree):
        for name in ("private", "public", "test"):
            columns = tree[name]["columns"]
            del columns["embedding"]
            columns["features"] = ["Blut*", "Puls", "raucht"]
        tree["curate"] = {
            "scorer": {"method": "classifier", "l2": 0.5},
            "select": {"rule": "threshold", "minimum": -1.0},
        }
        tree["train"] = {"model": "mlp", "hidden": [8], "epochs": 3}

    code, _, err = command("attack", "--pipeline", small(edit), "--quiet")
    assert code == 0, err
    report = json.loads((tmp_path / "run" / "release" / "report.json").read_text())
    assert report["design"]["n_features"] == 3
    assert report["design"]["picked"]["shadows_min"] < report["design"]["picked"]["shadows_max"]


def test_json_is_for_machines(small, command):
    code, out, err = command("attack", "--pipeline", small(), "--json")
    result = json.loads(out)
    assert (code, result["exit_code"], err) == (0, 0, "")
    stages = ["scores", "selection", "model", "joint"]
    assert [stage["stage"] for stage in result["stages"]] == stages
    assert [bounds["stage"] for bounds in result["bounds"]] == stages
    assert result["claim"] is None
    assert Path(result["report"]).exists()


def test_json_logs_are_lines_of_json(small, command):
    _, _, err = command("attack", "--pipeline", small(), "--json-logs")
    events = [json.loads(line) for line in err.splitlines()]
    *progress, ending = events
    assert {event["phase"] for event in progress} == {"curations", "attacks", "statistics"}
    assert progress[-1]["done"] == progress[-1]["total"]
    assert (ending["event"], ending["exit_code"]) == ("finished", 0)


@pytest.mark.parametrize("call", [("validate",), ("attack", "--dry-run")])
def test_the_plan_is_printed_and_nothing_is_run(call, small, command, tmp_path):
    name, *options = call
    code, out, _ = command(name, "--pipeline", small(), *options)
    assert code == 0
    for word in ("30 candidates (Pat.Nr)", "60 rows", "mean -> top_k -> logistic", "33: 16"):
        assert word in out
    # 10 false positives are needed, and a headline has 4 pairs of 30 candidates: 120 chances
    assert f"{10 / 120:.2g} can be resolved" in out
    assert "warning: With 16 shadows the controls would notice gross faults only" in out
    assert not (tmp_path / "run").exists()


def test_options_override_the_file(small, command, tmp_path):
    out_folder = tmp_path / "elsewhere"
    pipeline = small()
    options = ("--set", "attack.shadows=8", "--seed", "9", "--workers", "2", "--out", out_folder)
    code, _, err = command("attack", "--pipeline", pipeline, *options, "--quiet")
    assert code == 0, err
    report = json.loads((out_folder / "release" / "report.json").read_text())
    assert (report["seed"], report["design"]["n_shadows"]) == (9, 8)
    assert report["configuration"]["attack"]["shadows"] == 8
    assert (
        json.loads((out_folder / "run.json").read_text())["workers"]
        == RunSettings(workers=2).n_workers
    )


def test_a_policy_that_is_exceeded_ends_in_exit_1(small, command, tmp_path):
    def edit(tree):
        line = {"stage": "scores", "metric": "auc", "bound": "high", "above": 0.01}
        tree["report"] = {"policy": [line, line | {"above": 0.9999}]}

    code, out, _ = command("attack", "--pipeline", small(edit), "--quiet")
    assert code == 1
    assert "TRIPPED" in out
    report = json.loads((tmp_path / "run" / "release" / "report.json").read_text())
    assert [line["tripped"] for line in report["policy"]] == [True, False]


def test_a_failed_control_ends_in_exit_5(small, command, monkeypatch):
    def peeking(features, inclusion, rng):
        return inclusion + 0.1 * rng.standard_normal(inclusion.shape)

    monkeypatch.setattr("curation_audit.auditing.evidence.blind_evidence", peeking)
    code, out, _ = command("attack", "--pipeline", small(), "--quiet")
    assert code == 5
    assert "audit invalid" in out
    assert "FAILED" in out


def test_a_full_disk_is_unfinished_and_keeps_what_was_done(small, command, monkeypatch, tmp_path):
    import errno

    from curation_audit import storage

    write, n_written = storage.write_atomically, 0

    def full(path, payload, **more):
        nonlocal n_written
        n_written += 1
        if n_written > 2:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write(path, payload, **more)

    monkeypatch.setattr(storage, "write_atomically", full)
    code, _, err = command("attack", "--pipeline", small(), "--quiet")
    assert code == 3
    assert len(err.splitlines()) == 1
    assert "No space left on device" in err
    assert len(list((tmp_path / "run" / "cache").glob("*.chunk"))) == 2


def test_report_renders_a_finished_run_again(small, command, tmp_path):
    command("attack", "--pipeline", small(), "--quiet")
    page = tmp_path / "run" / "release" / "report.html"
    before = page.read_bytes()
    page.unlink()
    code, out, _ = command("report", tmp_path / "run", "--format", "html,json")
    assert code == 0
    assert out.split() == [str(page), str(page.with_suffix(".json"))]
    assert page.read_bytes() == before


@pytest.mark.parametrize("example", ["med", "digits"])
def test_an_example_can_be_copied_and_run_from_another_folder(
    example, command, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    code, out, _ = command("init", "sub/mine.yaml", "--example", example)
    assert code == 0
    assert "curation-audit attack --pipeline sub/mine.yaml" in out
    code, _, err = command(
        "attack", "--pipeline", "sub/mine.yaml", "--set", "attack.shadows=8", "--quiet"
    )
    assert code == 0, err
    assert (tmp_path / "runs" / example / "release" / "report.html").exists()


def test_the_starter_explains_itself_and_names_what_is_missing(command, tmp_path):
    code, _, _ = command("init", tmp_path / "new.yaml")
    text = (tmp_path / "new.yaml").read_text()
    assert code == 0
    assert text.count("#") > 20
    code, _, err = command("validate", "--pipeline", tmp_path / "new.yaml")
    assert code == 2
    assert "private" in err
    assert "no" in err


def test_schema_describes_the_examples(command):
    import jsonschema
    import yaml

    _, out, _ = command("schema")
    folder = Path(__file__).parents[1] / "curation_audit" / "pipelines"
    files = sorted(folder.glob("*.yaml"))
    assert files
    for path in files:
        jsonschema.validate(yaml.safe_load(path.read_text()), json.loads(out))


def test_without_a_command_the_help_is_shown_as_it_is(command):
    code, out, err = command()
    assert (code, err) == (0, "")
    assert out == command("--help")[1]
    # lines to copy stand on lines of their own
    assert "\n    curation-audit init med.yaml --example med\n" in out


def test_the_configuration_of_the_report_is_complete(small, command, tmp_path):
    """With every default that nobody wrote down."""
    command("attack", "--pipeline", small(), "--quiet")
    report = json.loads((tmp_path / "run" / "release" / "report.json").read_text())
    found = report["configuration"]
    assert found["curate"]["scorer"] == {"method": "mean", "metric": "cosine"}
    assert found["train"] == {"model": "logistic", "l2": 1.0}
    assert found["attack"]["fpr"] == [0.001, 0.01, 0.1]
    assert found["threat"]["observes"] == ["scores", "selection", "model"]
    assert found["features"] == {"steps": [], "standardise": "public"}
    assert found["run"] == {"device": "auto", "dtype": "float32"}
    assert found["private"]["unit"] == "Pat.Nr"
    # and a pipeline again, as these paths had no folders to lose
    again = small(lambda tree: (tree.clear(), tree.update(found)))
    assert command("validate", "--pipeline", again)[0] == 0


def test_a_pipeline_without_a_model_says_so(small, command, tmp_path):
    code, out, _ = command("attack", "--pipeline", small(lambda t: t.pop("train")), "--quiet")
    assert code == 0
    assert "no model is trained" in " ".join(out.replace("│", " ").split())
    assert "no model is trained" in (tmp_path / "run" / "release" / "report.html").read_text()


def test_a_narrow_terminal_cuts_no_name_in_two(small, command, monkeypatch):
    monkeypatch.setattr("curation_audit.console._console", lambda: Console(width=72))
    methods = {"selection": ["selection_ensemble"], "joint": ["joint_ensemble"]}
    pipeline = small(lambda tree: tree["attack"].update(methods=methods))
    out = command("attack", "--pipeline", pipeline, "--quiet")[1]
    for name in ("selection", "selection_ensemble", "joint_ensemble"):
        assert f" {name} " in out


def test_a_second_run_says_what_it_found(small, command):
    pipeline = small()
    assert "continued:" not in command("attack", "--pipeline", pipeline, "--quiet")[1]
    out = command("attack", "--pipeline", pipeline, "--quiet")[1]
    assert "continued: 3 of 3 chunks were there" in out


def test_a_scheduler_stops_it_like_a_person(small, tmp_path):
    def slow(tree):
        tree["train"] = {"model": "mlp", "epochs": 10_000}

    call = "from curation_audit.cli import main; main()"
    arguments = ["attack", "--pipeline", str(small(slow)), "--json-logs"]
    with subprocess.Popen(
        [sys.executable, "-c", call, *arguments], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert "curations" in process.stderr.readline()
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 3
    assert err.splitlines()[-1].startswith("error: stopped; give the same command again")


def test_help_says_what_to_type(command):
    for name in ("init", "validate", "attack", "report", "schema"):
        code, out, _ = command(name, "--help")
        assert code == 0
        assert "Usage: curation-audit" in out or "Usage: cli" in out
    assert re.search(r"--set KEY=VALUE", command("attack", "--help")[1])


@pytest.mark.parametrize("example", ["med", "digits"])
def test_the_default_audit_finds_the_leak_and_its_controls_do_not(example, tmp_path):
    from curation_audit import audit, load_pipeline

    path = Path(__file__).parents[1] / "curation_audit" / "pipelines" / f"{example}.yaml"
    result = audit(load_pipeline(path, f"run.out={tmp_path / 'run'}"))
    headline = result.stages[0].headline
    assert headline is not None
    auc: Estimate = headline.metrics.auc
    assert auc.value > 0.6
    assert auc.low > 0.5
    assert all(control.passed for control in result.controls)
    assert {control.control for control in result.controls} == {
        "random curation",
        "permuted inclusion",
        "blind classifier",
    }
    assert result.utility is not None
    assert result.utility.curated > result.utility.random_mean
    assert np.isfinite([result.utility.curated, result.utility.random_mean]).all()


def test_the_handler_of_a_stop_goes_with_the_command(command):
    """Workers that a process forks later would not die of it."""
    before = signal.getsignal(signal.SIGTERM)
    assert command("--help")[0] == 0
    assert signal.getsignal(signal.SIGTERM) == before
