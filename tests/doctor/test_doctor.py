"""The self-test from end to end: all is well here; table, JSON, exit codes; nothing is written."""

import json
import os
from pathlib import Path

import pytest

from curation_audit import doctor
from curation_audit.auditing.progress import Silence
from curation_audit.doctor import CHECKS, Check, CheckResult, Outcome, run_checks

GROUPS = ("known answers", "null calibration", "planted violations", "this machine")


def answer(passed, expected="1.5", found="1.5 [bold]"):
    return lambda: Outcome(expected, found, passed)


def some_checks(*passed):
    return tuple(
        Check(group, f"check {i}", answer(one))
        for i, (group, one) in enumerate(zip(GROUPS, passed, strict=True))
    )


def everything_below(*folders):
    return {
        (path, path.stat().st_mtime_ns) for folder in folders for path in Path(folder).rglob("*")
    }


def test_this_installation_passes_and_nothing_is_written(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data_home = os.environ["XDG_DATA_HOME"]
    before = everything_below(tmp_path, data_home)
    code, out, err = command("doctor", "--json")
    assert everything_below(tmp_path, data_home) == before
    tree = json.loads(out)
    failed = [check for check in tree["checks"] if not check["passed"]]
    assert failed == []
    assert (code, tree["exit_code"], tree["n_failed"], err) == (0, 0, 0, "")
    assert [check["name"] for check in tree["checks"]] == [check.name for check in CHECKS]
    assert list(dict.fromkeys(check["group"] for check in tree["checks"])) == list(GROUPS)
    assert sum(check["seconds"] for check in tree["checks"]) < 60


def test_a_failed_check_is_an_invalid_audit(command, monkeypatch):
    monkeypatch.setattr(doctor, "CHECKS", some_checks(True, False, True, False))
    code, out, err = command("doctor")
    assert code == 5
    assert out.count("FAILED") == 3
    assert "2 of 4 checks FAILED" in out
    assert "check 1, check 3" in out
    assert "null calibration: 1/1" in err
    code, out, _ = command("doctor", "--json")
    tree = json.loads(out)
    assert (code, tree["exit_code"], tree["n_failed"]) == (5, 5, 2)
    assert tree["checks"][1] | {"seconds": 0} == {
        "group": "null calibration",
        "name": "check 1",
        "expected": "1.5",
        "found": "1.5 [bold]",
        "passed": False,
        "seconds": 0,
    }


def test_all_passed(command, monkeypatch):
    monkeypatch.setattr(doctor, "CHECKS", some_checks(True, True, True, True))
    code, out, err = command("doctor", "--quiet")
    assert (code, err) == (0, "")
    assert "all 4 checks passed" in out
    assert "FAILED" not in out
    assert "1.5 [bold]" in out  # what was found is shown as it is
    code, _, err = command("doctor", "--json-logs")
    events = [json.loads(line) for line in err.splitlines()]
    assert [one["phase"] for one in events if one["done"] == 1] == list(GROUPS)


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_keeps_to_the_width(monkeypatch, capsys, width):
    from curation_audit.console import show_checkup

    monkeypatch.setenv("COLUMNS", str(width))
    results = [
        CheckResult(
            check.group, check.name, "above 0 in at most 35 of 400", 12 * "0.917 ", False, 1
        )
        for check in CHECKS
    ]
    show_checkup(results)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    text = " ".join(lines)
    assert text.count("FAILED") == len(CHECKS) + 1
    for word in {word for check in CHECKS for word in check.name.split()}:
        assert word in text


def test_checks_repeat_themselves():
    names = {"noise half as large as claimed", "the same noise twice", "an attack that peeks"}
    cheap = [check for check in CHECKS if check.name in names]
    assert len(cheap) == 3
    first, second = (run_checks(cheap, Silence()) for _ in range(2))
    assert [one.found for one in first] == [one.found for one in second]
