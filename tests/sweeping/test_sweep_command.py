"""``curation-audit sweep`` from end to end, and the Python door."""

import errno
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curation_audit import InputError, SweepSettings, sweep
from curation_audit.console import show_sweep
from curation_audit.report.sweep_page import validate_sweep
from curation_audit.sweeping import run as running
from tests.config.test_bad_input import assert_one_line
from tests.sweeping.trees import TREES
from tests.sweeping.world import METHODS, base, pipeline, settings

pytestmark = pytest.mark.usefixtures("_quickened")
FEW = ("--epsilon", "1,inf", "--set", "attack.shadows=8")


def edit(tree: dict[str, Any]) -> None:
    methods = {stage: list(names) for stage, names in METHODS.items()}
    tree["attack"] = {"shadows": 16, "methods": methods}
    tree["sweep"] = {"adjacency": "zero_out", "delta": 1e-5, "repeats": 2}
    tree["report"] = {"formats": ["json"]}
    tree["run"] |= {"device": "cpu"}


@pytest.fixture
def swept(small, command):
    """Sweep the small pipeline."""

    def run(*options: str | Path) -> tuple[int, str, str]:
        return command("sweep", "--pipeline", small(edit), *FEW, *options)

    return run


def test_it_prints_a_table_and_says_where_the_page_is(swept, tmp_path):
    code, out, err = swept()
    assert code == 0, err
    release = tmp_path / "run-sweep" / "release"
    tree = json.loads((release / "sweep.json").read_text())
    validate_sweep(tree)
    assert tree["design"]["n_shadows"] == 8
    assert tree["unit"] == "Pat.Nr"
    assert [one["epsilon"] for one in tree["points"]] == [1.0, None]
    assert str(release / "sweep.html") in out
    assert (release / "sweep.html").exists()
    for part in ("What privacy costs", "unprotected", "gaussian_mean", "no noise", "not refuted"):
        assert part in out
    for part in ("random picks: accuracy", "whole pool: accuracy", "warning: Selection not acc"):
        assert part in out
    told = " ".join(out.split())
    assert f"conclusion: {tree['sentence']}" in told
    for one in (tree["unprotected"], *tree["points"]):
        assert f"{one['usefulness']['accuracy']['value']:.3f}" in out
        for stage in one["stages"]:
            assert f"{stage['auc']['value']:.3f}" in out
    assert "sweep points: 3/3" in err  # plain progress lines without a terminal


def test_the_table_names_no_bound_that_is_the_largest_of_several(capfd, monkeypatch):
    """Each stage has its own; 0 reads "nothing shown", and numbers are rounded down."""
    monkeypatch.setenv("COLUMNS", "160")
    tree = TREES["full"]
    show_sweep(tree, None)
    out = capfd.readouterr().out
    assert "scores 0.25" in out
    assert "selection 0.25" in out
    assert "left out: noisy_top_k: cannot protect nearest" in out
    one = json.loads(json.dumps(tree))
    for stage in one["points"][0]["stages"]:
        stage["bounds"] = {"one run": 0.0}
    one["points"] = one["points"][:1]
    one["unprotected"]["stages"] = []
    one["points"][0]["stages"][0]["bounds"] = {"one run": 1.9999}
    show_sweep(one, None)
    out = capfd.readouterr().out
    assert "scores 1.99" in out
    assert "selection" not in out.split("at least")[1]
    one["points"][0]["stages"][0]["bounds"] = {"one run": 0.0}
    one["points"][0]["verdict"] = "audit invalid"
    show_sweep(one, None)
    out = capfd.readouterr().out
    assert "nothing shown" in out
    assert "AUDIT INVALID" in out


def test_a_narrow_terminal_loses_no_number(capfd, monkeypatch):
    monkeypatch.setenv("COLUMNS", "78")
    show_sweep(TREES["full"], None)
    out = capfd.readouterr().out
    assert "…" not in out
    assert "centroid_votes" in out


def test_json_is_for_machines(swept):
    code, out, err = swept("--json")
    found = json.loads(out)
    assert (code, found.pop("exit_code"), err) == (0, 0, "")
    validate_sweep(found)


def test_json_logs_are_lines_of_json(swept):
    code, out, err = swept("--json-logs")
    *progress, ending = [json.loads(line) for line in err.splitlines()]
    assert {event["phase"] for event in progress} == {"sweep points"}
    assert (progress[-1]["done"], progress[-1]["total"]) == (3, 3)
    assert ending == {"event": "finished", "exit_code": code}
    assert "What privacy costs" in out


def test_quiet_shows_the_table_only(swept):
    code, out, err = swept("--quiet")
    assert (code, err) == (0, "")
    assert "What privacy costs" in out


def test_options_override_the_file(swept, tmp_path):
    options = ("--mechanism", "gaussian_mean", "--mechanism", "centroid_votes", "--seed", "9")
    more = ("--adjacency", "add_remove", "--delta", "1e-6", "--out", tmp_path / "there")
    code, _, err = swept(*options, *more, "--quiet", "--set", "sweep.repeats=3")
    assert code == 0, err
    tree = json.loads((tmp_path / "there" / "release" / "sweep.json").read_text())
    assert (tree["seed"], tree["adjacency"], tree["delta"]) == (9, "add_remove", 1e-6)
    assert {one["mechanism"] for one in tree["points"]} == {"gaussian_mean", "centroid_votes"}
    assert tree["design"]["repeats"] == 3
    assert not (tmp_path / "run-sweep").exists()
    point = tmp_path / "there" / "points" / "gaussian_mean-1" / "release" / "report.json"
    report = json.loads(point.read_text())
    assert report["configuration"]["curate"]["protect"]["delta"] == 1e-6
    assert report["configuration"]["attack"]["delta"] == 1e-6


BAD = {
    "no numbers": (("--epsilon", "1,many"), "--epsilon: found '1,many'; expected numbers, e.g."),
    "an empty number": (("--epsilon", "1,,2"), "--epsilon: found '1,,2'"),
    "nothing": (("--epsilon", ""), "--epsilon: found ''"),
    "epsilon of 0": (("--epsilon", "0"), "sweep.epsilon: found 0; expected more than 0"),
    "negative epsilon": (("--epsilon=-1,inf",), "sweep.epsilon: found -1"),
    "epsilon that is no number": (("--epsilon", "nan"), "sweep.epsilon: found nan"),
    "an epsilon twice": (("--epsilon", "1,1.0"), "sweep.epsilon: found 1 twice"),
    "misspelt mechanism": (
        ("--mechanism", "gausian_mean"),
        "sweep.mechanisms: found 'gausian_mean'; did you mean 'gaussian_mean'?",
    ),
    "all and one": (("--mechanism", "all", "--mechanism", "dp_gd"), "found 'all'"),
    "misspelt adjacency": (
        ("--adjacency", "zero-out"),
        "sweep.adjacency: found 'zero-out'; did you mean 'zero_out'?",
    ),
    "no adjacency": (("--adjacency", ""), "sweep.adjacency: found ''"),
    "replaced records": (("--adjacency", "replace_one"), "play the zero_out game"),
    "delta of 0": (("--delta", "0"), "sweep.delta: found 0.0; expected a number in (0, 1)"),
    "delta of 1 / N": (("--delta", "0.04"), "sweep.delta: found 0.04, at which a unit could be"),
    "delta in words": (("--delta", "tiny"), "not a valid float"),
    "unknown setting": (("--set", "sweep.repeat=3"), "sweep.repeat"),
    "one repeat": (("--set", "sweep.repeats=1"), "sweep.repeats: found 1"),
    "no such column": (
        ("--set", "sweep.relevant={site: [a]}"),
        "sweep.relevant.site: is no column",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_call_gives_one_line_and_audits_nothing(case, swept, tmp_path):
    options, expected = BAD[case]
    assert_one_line(*swept(*options), [expected])
    assert not list(tmp_path.glob("run-sweep/points/*"))
    assert not (tmp_path / "run-sweep" / "release").exists()


def test_a_full_disk_is_unfinished_and_keeps_finished_points(swept, tmp_path, monkeypatch):
    write = running.write_atomically

    def full(path, *rest):
        if "inf" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write(path, *rest)

    with monkeypatch.context() as broken:
        broken.setattr(running, "write_atomically", full)
        code, _, err = swept("--quiet")
    assert code == 3
    assert len(err.splitlines()) == 1
    assert "No space left on device; what was finished is kept, run again to continue" in err
    found = sorted(path.parent.name for path in tmp_path.glob("run-sweep/points/*/point.json"))
    assert found == ["gaussian_mean-1", "unprotected"]
    assert swept("--quiet")[0] == 0


def test_a_stop_by_the_keyboard_is_unfinished(swept, monkeypatch):
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "run_audit", stop)
    code, _, err = swept("--quiet")
    assert code == 3
    assert "give the same command again to continue" in err


def test_a_refuted_guarantee_ends_in_exit_1_and_is_told(swept, monkeypatch):
    judged = running._stages

    def refuted(result):
        return tuple(replace(stage, refuted=result.claim is not None) for stage in judged(result))

    monkeypatch.setattr(running, "_stages", refuted)
    code, out, _ = swept("--quiet")
    assert code == 1
    assert "REFUTED" in out
    assert (
        "conclusion: Do not use these results: the guarantee of gaussian_mean at epsilon 1" in out
    )


def test_a_failed_control_ends_in_exit_5(swept, monkeypatch):
    """And a refuted guarantee does not hide it."""

    def peeking(features, inclusion, rng):
        return inclusion + 0.1 * rng.standard_normal(inclusion.shape)

    monkeypatch.setattr("curation_audit.auditing.evidence.blind_evidence", peeking)
    code, out, _ = swept("--quiet", "--set", "attack.shadows=16")
    assert code == 5
    assert "AUDIT INVALID" in out
    assert "conclusion: Do not use these results: a control of the audit of" in " ".join(
        out.split()
    )


def test_a_packaged_example_can_be_swept(command, tmp_path, monkeypatch):
    """Its own section says what is relevant; one epsilon will do."""
    monkeypatch.chdir(tmp_path)
    assert command("init", "mine.yaml", "--example", "med")[0] == 0
    methods = "attack.methods={scores: [trace], selection: [binary_lira], model: [loss], joint: []}"
    tiny = ("--set", "sweep.repeats=2", "--set", "report.formats=[json]", "--set", methods)
    code, _, err = command("sweep", "--pipeline", "mine.yaml", *FEW, *tiny, "--quiet")
    assert code == 0, err
    tree = json.loads((tmp_path / "runs" / "med-sweep" / "release" / "sweep.json").read_text())
    validate_sweep(tree)
    assert {one["mechanism"] for one in tree["points"]} == {"dp_gd"}
    assert tree["unprotected"]["usefulness"]["relevant"]["value"] > 0.5
    assert tree["points"][0]["ceilings"]["epsilon"] == pytest.approx(1, rel=1e-3)


def test_help_says_what_to_type(command):
    code, out, _ = command("sweep", "--help")
    assert code == 0
    for option in ("--epsilon LIST", "--mechanism NAME", "--adjacency", "--delta", "--out FOLDER"):
        assert option in out


def test_the_python_door_gives_the_same_result():
    found = sweep(pipeline(), settings(epsilons=(1.0,)))
    again = sweep(base(), settings(epsilons=(1.0,)))
    assert found.points == again.points
    assert found.sentence == again.sentence
    assert [one.epsilon for one in found.points] == [1.0]


def test_the_python_door_tells_bad_input():
    with pytest.raises(InputError, match=r"^sweep\.mechanisms: found 'dp_sdg'"):
        SweepSettings(adjacency="zero_out", delta=1e-5, mechanisms=("dp_sdg",))
    with pytest.raises(InputError, match=r"^sweep\.delta: found 0.05"):
        sweep(pipeline(), settings(delta=1 / 20))
    with pytest.raises(InputError, match=r"^sweep\.mechanisms: is missing"):
        sweep(pipeline(scorer=lambda private, pool: np.zeros(len(pool))), settings())
