"""Every kind of bad input: one clear line, exit 2, no traceback."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Edit = Callable[[dict[str, Any]], None]


def setting(path: str, value: Any) -> Edit:
    def edit(tree: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for part in parents:
            tree = tree.setdefault(part, {})
        tree[last] = value

    return edit


def without(path: str) -> Edit:
    def edit(tree: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for part in parents:
            tree = tree[part]
        del tree[last]

    return edit


SETTINGS = {
    "unknown key": (setting("atack", {}), ["small.yaml:", "atack", "did you mean 'attack'?"]),
    "unknown nested key": (
        setting("private.columns.lable", "Befund"),
        ["private.columns.lable", "did you mean 'label'?"],
    ),
    "misspelt section": (
        lambda tree: tree.update(curat=tree.pop("curate")),
        ["small.yaml:", "unknown setting 'curat'", "did you mean 'curate'?"],
    ),
    "misspelt method": (
        setting("curate.scorer", {"methd": "mean"}),
        ["curate.scorer.methd", "did you mean 'method'?"],
    ),
    "missing section": (without("public"), ["'public' is missing"]),
    "wrong version": (setting("version", 2), ["version", "found 2"]),
    "negative seed": (setting("seed", -1), ["seed", "found -1"]),
    "unknown scorer": (
        setting("curate.scorer", {"method": "nearst"}),
        ["curate.scorer.method", "found 'nearst'", "did you mean 'nearest'?"],
    ),
    "unknown setting of a scorer": (
        setting("curate.scorer", {"method": "nearest", "l2": 1}),
        ["curate.scorer.l2", "unknown setting 'l2'"],
    ),
    "scorer without method": (setting("curate.scorer", {}), ["'method' is missing"]),
    "rule without its number": (setting("curate.select", {"rule": "top_k"}), ["'k' is missing"]),
    "rule with a bad number": (
        setting("curate.select", {"rule": "top_fraction", "fraction": 1.5}),
        ["curate.select", "fraction must be in (0, 1), got 1.5"],
    ),
    "text for a number": (
        setting("curate.select", {"rule": "top_k", "k": "many"}),
        ["curate.select.k", "found 'many'"],
    ),
    "more picks than rows": (
        setting("curate.select", {"rule": "top_k", "k": 999}),
        ["curate.select", "k = 999", "300 rows"],
    ),
    "protection without its neighbours": (
        setting("curate.protect", {"epsilon": 1}),
        ["curate.protect", "'adjacency' is missing", "add_remove, zero_out, replace_one"],
    ),
    "unknown model": (setting("train", {"model": "svm"}), ["train.model", "found 'svm'"]),
    "odd shadows": (setting("attack.shadows", 17), ["attack.shadows", "found 17", "even"]),
    "too few shadows": (setting("attack.shadows", 4), ["attack.shadows", "found 4"]),
    "impossible rate": (setting("attack.fpr", [2]), ["attack.fpr", "found 2"]),
    "unknown attack": (
        setting("attack.methods", {"scores": ["trase"]}),
        ["attack.methods.scores", "did you mean 'trace'?"],
    ),
    "attack of another stage": (
        setting("attack.methods", {"scores": ["lira"]}),
        ["attack.methods.scores", "'lira'", "no attack on scores"],
    ),
    "unknown stage": (setting("threat.observes", ["picks"]), ["threat.observes", "found 'picks'"]),
    "unknown device": (setting("run.device", "gpux"), ["run.device", "found 'gpux'"]),
    "no workers": (setting("run.workers", 0), ["run.workers", "found 0"]),
    "unknown backend": (setting("run.backend", "rey"), ["run.backend"]),
    "half a processor too few": (
        setting("run.resources.cpus", 0),
        ["run.resources.cpus", "found 0"],
    ),
    "words for Slurm": (setting("run.slurm.partition", "a b"), ["run.slurm.partition", "'a b'"]),
    "unknown policy metric": (
        setting("report.policy", [{"stage": "scores", "metric": "f1", "above": 0.5}]),
        ["report.policy", "found metric 'f1'"],
    ),
    "policy rate that is not measured": (
        setting("report.policy", [{"stage": "scores", "metric": "tpr@0.2", "above": 0.5}]),
        ["report.policy", "tpr@0.2", "attack.fpr"],
    ),
    "unknown source": (
        setting("public.source", {"kind": "parket", "path": "x"}),
        ["public.source.kind", "did you mean 'parquet'?"],
    ),
    "callable that is not installed": (
        setting("public.source", {"kind": "callable", "name": "nope"}),
        ["callable nope", "no installed package offers one"],
    ),
    "missing file": (
        setting("public.source.path", "pol.parquet"),
        ["pol.parquet", "no such file"],
    ),
    "glob that matches nothing": (
        setting("public.source.path", "pool-*.parquet"),
        ["pool-*.parquet"],
    ),
    "missing column": (
        setting("private.columns.label", "Befunt"),
        ["private.parquet", "'Befunt'", "did you mean 'Befund'?"],
    ),
    "missing unit": (setting("private.unit", "Patient"), ["'Patient'"]),
    "training without labels": (without("public.columns.label"), ["label"]),
    "an attack named twice": (
        setting("attack.methods", {"scores": ["trace", "trace"]}),
        ["attack.methods.scores", "twice"],
    ),
    "nothing to see": (setting("threat.observes", []), ["threat.observes", "found nothing"]),
    "nothing known": (setting("threat.knows", []), ["threat", "lets no attack run"]),
    "misspelt view of the scores": (
        setting("threat.scores_as", "top_only"),
        ["threat.scores_as", "found 'top_only'", "did you mean 'top only'?"],
    ),
    "one word for a list": (
        setting("threat.knows", "pool"),
        ["threat.knows", "found 'pool'", "a valid list"],
    ),
    "misspelt kind of canary": (
        setting("attack.canaries", {"kind": "isolate"}),
        ["attack.canaries.kind: found 'isolate'; did you mean 'isolated'?"],
    ),
    "misspelt stage": (
        setting("attack.methods", {"score": ["trace"]}),
        ["attack.methods.score: found 'score'; did you mean 'scores'?"],
    ),
    "text where a word or a number is due": (
        setting("attack.targets", "some"),
        ["attack.targets: found 'some'", "'all'", "integer"],
    ),
    "two mistakes": (
        lambda tree: tree.update(seed=-1, name=""),
        ["found", "(and 1 more)"],
    ),
    "an impossible limit": (
        setting("report.policy", [{"stage": "scores", "metric": "auc", "above": 2}]),
        ["report.policy", "found above: 2"],
    ),
    "more targets than candidates": (setting("attack.targets", 31), ["31", "30"]),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_a_bad_setting_gives_one_line(case, small, command, tmp_path):
    edit, expected = SETTINGS[case]
    code, out, err = command("attack", "--pipeline", small(edit), "--quiet")
    assert_one_line(code, out, err, expected)
    assert not (tmp_path / "run" / "release").exists()


Tables = dict[str, dict[str, Any]]


def changed(tables: Tables, set_name: str, column: str, change: Callable[[Any], Any]) -> Tables:
    tables[set_name][column] = change(tables[set_name][column])
    return tables


def with_value(value: Any) -> Callable[[list[list[float]]], list[list[float]]]:
    return lambda vectors: [[value, *vectors[0][1:]], *vectors[1:]]


def emptied(tables: Tables, set_name: str) -> Tables:
    tables[set_name] = {name: column[:0] for name, column in tables[set_name].items()}
    tables[set_name]["Vektor"] = np.zeros((0, 3)).tolist()
    return tables


DATA = {
    "NaN": (
        lambda t: changed(t, "private", "Vektor", with_value(float("nan"))),
        ["private.parquet"],
    ),
    "infinity": (
        lambda t: changed(t, "public", "Vektor", with_value(float("inf"))),
        ["public.parquet"],
    ),
    "ragged vectors": (
        lambda t: changed(t, "private", "Vektor", lambda v: [v[0][:2], *v[1:]]),
        ["private.parquet", "Vektor"],
    ),
    "another dimension": (
        lambda t: changed(t, "test", "Vektor", lambda v: [one[:2] for one in v]),
        ["2", "3"],
    ),
    "text in features": (
        lambda t: changed(t, "public", "Vektor", lambda v: ["x"] * len(v)),
        ["public.parquet", "Vektor"],
    ),
    "duplicate ids": (
        lambda t: changed(t, "public", "Satz", lambda ids: np.zeros_like(ids)),
        ["public.parquet", "Satz"],
    ),
    "empty pool": (lambda t: emptied(t, "public"), ["public.parquet"]),
    "empty private set": (lambda t: emptied(t, "private"), ["private.parquet"]),
    "label that the pool lacks": (
        lambda t: changed(t, "test", "Befund", lambda labels: ["vielleicht", *labels[1:]]),
        ["vielleicht"],
    ),
    "one patient only": (
        lambda t: changed(t, "private", "Pat.Nr", lambda units: np.zeros_like(units)),
        ["1"],
    ),
}


@pytest.mark.parametrize("case", DATA)
def test_bad_data_gives_one_line(case, small, tables, command):
    make, expected = DATA[case]
    code, out, err = command("attack", "--pipeline", small(tables=make(tables)), "--quiet")
    assert_one_line(code, out, err, expected)


TEXTS = {
    "no YAML": ("version: [1", ["small.yaml:", "not valid YAML"]),
    "empty": ("\n", ["found no mapping"]),
    "a list": ("- 1\n", ["found no mapping"]),
    "a key twice": ("version: 1\nname: a\nname: b\n", ["small.yaml:3:1", "'name' stands twice"]),
    "an alias": ("version: &a 1\nname: *a\n", ["found an alias"]),
    "a Python object": ("version: !!python/object/apply:os.system ['true']\n", ["not valid YAML"]),
    "a date that is none": ("version: 1\nname: 2023-13-45\n", ["not valid YAML"]),
    "a number without end": ("version: " + "9" * 5000 + "\n", ["not valid YAML"]),
    "a tower of brackets": ("version: " + "[" * 2000, ["nested"]),
    "not text": ("version: 1\x00", ["not valid YAML"]),
}


@pytest.mark.parametrize("case", TEXTS)
def test_a_file_that_is_no_pipeline_gives_one_line(case, small, command):
    text, expected = TEXTS[case]
    code, out, err = command("validate", "--pipeline", small(text=text))
    assert_one_line(code, out, err, expected)


def test_other_bad_calls_give_one_line(small, command, tmp_path):
    pipeline = small()
    (tmp_path / "file").write_text("")
    broken = tmp_path / "public.parquet"
    calls = {
        ("attack", "--pipeline", "nowhere.yaml"): "nowhere.yaml: no such file",
        ("attack", "--pipeline", pipeline, "--set", "seed"): "found no KEY=VALUE",
        ("attack", "--pipeline", pipeline, "--set", "seed.x=1"): "holds no settings",
        ("attack", "--pipeline", pipeline, "--set", "atack.x=1"): "--set atack",
        ("attack", "--pipeline", pipeline, "--seed", "x"): "not a valid integer",
        ("attack", "--pipeline", pipeline, "--out", tmp_path / "file"): "no writable folder",
        ("attack",): "Missing option '--pipeline'",
        ("atack",): "No such command",
        ("init", pipeline): "already there",
        ("report", tmp_path / "nowhere"): "found no release/report.json",
        ("report", tmp_path, "--format", "pdff"): "found 'pdff'",
    }
    for call, expected in calls.items():
        assert_one_line(*command(*call), [expected])
    broken.write_bytes(broken.read_bytes()[:-20])
    assert_one_line(*command("attack", "--pipeline", pipeline), ["public.parquet"])


def test_an_internal_error_names_no_value(small, command, monkeypatch):
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("patient 4711 has value 3.5")

    monkeypatch.setattr("curation_audit.auditing.engine.run_curations", fail)
    code, out, err = command("attack", "--pipeline", small(), "--quiet")
    assert code == 4
    assert "internal error: RuntimeError at test_bad_input.py" in err
    assert "4711" not in err + out
    assert "Traceback" not in err


def test_a_stop_by_the_keyboard_is_unfinished(small, command, monkeypatch):
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("curation_audit.auditing.engine.run_curations", stop)
    code, _, err = command("attack", "--pipeline", small(), "--quiet")
    assert code == 3
    assert "give the same command again" in err


def assert_one_line(code: int, out: str, err: str, expected: list[str]) -> None:
    lines = [line for line in err.splitlines() if line]
    assert code == 2, err
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    assert "Traceback" not in err + out
    for part in expected:
        assert str(part) in lines[0]


def test_places_in_the_file_are_right(small, command):
    path = small(setting("curate.select", {"rule": "top_k", "kk": 3}))
    line = 1 + next(i for i, text in enumerate(path.read_text().splitlines()) if "kk:" in text)
    _, _, err = command("validate", "--pipeline", path)
    assert f"small.yaml:{line}:5: curate.select.kk" in err
    assert isinstance(path, Path)
