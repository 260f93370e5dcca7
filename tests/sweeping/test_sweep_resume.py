"""What a sweep reuses, what not, and that a stopped one ends with the same bytes."""

import dataclasses
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curation_audit import storage
from curation_audit.auditing.plan import AttackSettings, Threat
from curation_audit.checks import InputError
from curation_audit.pipelines.protection.gaussian_mean import GaussianMean
from curation_audit.results import to_plain
from curation_audit.sweeping import run as running
from curation_audit.sweeping.plan import SweepPlan
from curation_audit.sweeping.run import run_sweep
from curation_audit.sweeping.stored import point_from_plain
from tests.sweeping.world import (
    FOLDERS,
    METHODS,
    N,
    planned,
    point,
    released,
    worth,
)

pytestmark = pytest.mark.usefixtures("_quickened")
ROOT = Path(__file__).parents[2]


# what is reused


def test_a_second_run_audits_nothing_and_ends_with_the_same_bytes(finished, out, audited):
    run_sweep(planned(out))
    assert audited == list(FOLDERS)
    first = released(out)
    assert first == released(finished[0])  # whatever the folder is called
    run_sweep(planned(out))
    assert audited == list(FOLDERS)
    assert released(out) == first


@pytest.mark.parametrize("n_done", [0, 1, 3])
def test_a_stopped_sweep_continues_with_the_next_point(finished, out, audited, n_done, monkeypatch):
    run_audit = running.run_audit

    def stopped(plan, *rest):
        if len(audited) == n_done:
            raise KeyboardInterrupt
        return run_audit(plan, *rest)

    with monkeypatch.context() as broken:
        broken.setattr(running, "run_audit", stopped)
        with pytest.raises(KeyboardInterrupt):
            run_sweep(planned(out))
    assert audited == list(FOLDERS[:n_done])
    assert not (out / "release").exists()
    run_sweep(planned(out))
    assert audited == list(FOLDERS)
    assert released(out) == released(finished[0])


def copied(finished, out: Path) -> Path:
    """A finished sweep to spoil."""
    shutil.copytree(finished[0], out, ignore=shutil.ignore_patterns(".lock"))
    return out


def spoil(path: Path, how: str, folder: Path) -> None:
    text = path.read_text()
    tree = json.loads(text)
    shapes = {"no mapping": [], "nothing": None, "no points": {"key": tree["key"]}}
    if how == "truncated":
        path.write_text(text[: len(text) // 2])
    elif how == "empty":
        path.write_text("")
    elif how == "not text":
        path.write_bytes(b"\xff\xfe\x00")
    elif how == "another point's":
        path.write_bytes((folder / "gaussian_mean-8" / "point.json").read_bytes())
    elif how == "a list for a mapping":
        path.write_text(json.dumps(tree | {"point": tree["point"] | {"usefulness": []}}))
    elif how == "a key too many":
        path.write_text(json.dumps(tree | {"point": tree["point"] | {"ceilings": {"mu": 1}}}))
    else:
        path.write_text(json.dumps(shapes[how]))


@pytest.mark.parametrize(
    "how",
    [
        "truncated",
        "empty",
        "not text",
        "another point's",
        "a list for a mapping",
        "a key too many",
        "no mapping",
        "nothing",
        "no points",
    ],
)
def test_a_spoiled_point_is_measured_again(finished, out, audited, how):
    folder = copied(finished, out) / "points"
    spoil(folder / "gaussian_mean-1" / "point.json", how, folder)
    run_sweep(planned(out))
    assert audited == ["gaussian_mean-1"]
    assert released(out) == released(finished[0])


EVERY = ("unprotected", "gaussian_mean-1")
CHANGED: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "delta": ({"delta": 1e-6}, EVERY),
    "repeats": ({"repeats": 4}, EVERY),
    "seed": ({"of": {"seed": 4}}, EVERY),
    "confidence": (
        {"of": {"attack": AttackSettings(shadows=8, methods=METHODS, confidence=0.9)}},
        EVERY,
    ),
    "attacks": (
        {"of": {"attack": AttackSettings(shadows=8, methods=METHODS | {"scores": ()})}},
        EVERY,
    ),
    "what is observed": ({"of": {"threat": Threat(observes=("scores",))}}, EVERY),
    "what is known": ({"of": {"threat": Threat(knows=("algorithm", "candidates", "pool"))}}, EVERY),
    "unit": ({"of": {"unit": np.repeat(np.arange(N // 2), 2)}}, EVERY),
    "metric": ({"of": {"metric": "auc"}}, EVERY),
    "adjacency": ({"adjacency": "add_remove"}, EVERY[1:]),
    "clipping": ({"scorers": {"gaussian_mean": GaussianMean(clip=0.5)}}, EVERY[1:]),
    "fitted on": ({"fitted_on": {"encoder": "public"}}, EVERY[1:]),
    "nothing": ({}, ()),
}


@pytest.mark.parametrize("case", CHANGED)
def test_changed_settings_reuse_no_point_that_they_touch(narrow, out, audited, case):
    change, expected = CHANGED[case]
    copied(narrow, out)
    run_sweep(planned(out, epsilons=(1.0,), **change))
    assert audited == [*expected]


def test_a_changed_scorer_is_what_points_are_compared_with(narrow, out, audited):
    """The private form of both scorers is the same; what it is compared with is not."""
    mechanism = {"mechanisms": ("gaussian_mean",), "epsilons": (1.0,)}
    copied(narrow, out)
    changed, same = planned(out, of={"scorer": "nearest"}, **mechanism), planned(**mechanism)
    scorers = [plan.audit(plan.points[0]).scorer.describe() for plan in (changed, same)]
    assert scorers[0] == scorers[1]
    found = run_sweep(changed).result.points[0].usefulness
    assert audited == [*EVERY]
    before = narrow[2]["points"][0]["usefulness"]
    assert found.accuracy.value == before["accuracy"]["value"]
    assert found.overlap.value != before["overlap"]["value"]


def test_other_relevant_rows_are_measured_anew(out, audited):
    """The pool's categories shape no curation, but the share of relevant picks."""
    plan = planned(out, relevant={"site": ("a",)}, epsilons=(8.0,))

    def with_sites(sites) -> SweepPlan:
        pool = dataclasses.replace(plan.base.data.pool, groups={"site": tuple(sites)})
        data = dataclasses.replace(plan.base.data, pool=pool)
        return dataclasses.replace(plan, base=dataclasses.replace(plan.base, data=data))

    first = run_sweep(with_sites(["a"] * 40 + ["b"] * 40)).result
    second = run_sweep(with_sites(["b"] * 40 + ["a"] * 40)).result
    assert len(audited) == 4
    assert first.random.relevant.value == pytest.approx(1 - second.random.relevant.value)
    picked = [one.points[0].usefulness.relevant.value for one in (first, second)]
    assert sum(picked) == pytest.approx(1)


def test_more_epsilons_reuse_nothing_as_claims_share_the_error(finished, out, audited):
    copied(finished, out)
    run_sweep(planned(out, epsilons=(1.0, 2.0, 8.0)))
    assert audited == [*FOLDERS[:2], "gaussian_mean-2", FOLDERS[2]]


def test_finished_points_do_not_hang_on_workers(finished, out, audited):
    copied(finished, out)
    run_sweep(planned(out, of={"workers": 2}))
    assert audited == []
    assert released(out) == released(finished[0])


@pytest.mark.slow
def test_workers_change_no_byte(finished, out, audited):
    folder = copied(finished, out) / "points" / "gaussian_mean-1"
    shutil.rmtree(folder)  # the other points need no workers, which take long to start
    run_sweep(planned(out, of={"workers": 2}))
    assert audited == ["gaussian_mean-1"]
    assert json.loads((folder / "run.json").read_text())["workers"] == 2
    assert released(out) == released(finished[0])


def test_a_stored_point_is_the_same_point(finished):
    _, outcome, _ = finished
    strange = point(2.0, None, stages=(), ceilings=None, usefulness=worth(None), events=())
    for one in (outcome.result.unprotected, *outcome.result.points, point(4.0, 0.7), strange):
        again = point_from_plain(json.loads(json.dumps(to_plain(one))))
        assert again == one
        assert to_plain(again) == to_plain(one)
    for broken in ({}, to_plain(strange) | {"ceilings": 3}, {"mechanism": "x"}):
        with pytest.raises((KeyError, TypeError)):
            point_from_plain(broken)


# what goes wrong


def written(broken: pytest.MonkeyPatch, fails_at: str) -> None:
    """Make the disk full where a file whose path ends so is to be written."""
    write = storage.write_atomically

    def full(path, *rest, **more):
        if str(path).endswith(fails_at):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write(path, *rest, **more)

    broken.setattr(storage, "write_atomically", full)
    broken.setattr("curation_audit.auditing.release.write_atomically", full)
    broken.setattr(running, "write_atomically", full)


FULL_AT = {
    "points/unprotected/point.json": [],
    "points/gaussian_mean-8/release/report.json": [*FOLDERS[:2]],
    "points/gaussian_mean-8/point.json": [*FOLDERS[:2]],
    "release/sweep.json": [*FOLDERS],
    "release/sweep.html": [*FOLDERS],
}


@pytest.mark.parametrize("fails_at", FULL_AT)
def test_a_full_disk_loses_no_finished_point(finished, out, audited, monkeypatch, fails_at):
    with monkeypatch.context() as broken:
        written(broken, fails_at)
        with pytest.raises(OSError, match="No space left"):
            run_sweep(planned(out))
    kept = FULL_AT[fails_at]
    assert [name for name in FOLDERS if (out / "points" / name / "point.json").exists()] == kept
    assert not (out / "release" / "sweep.html").exists()
    assert not list(out.rglob("*.tmp"))
    audited.clear()
    run_sweep(planned(out))
    assert audited == [name for name in FOLDERS if name not in kept]
    assert released(out) == released(finished[0])


def test_a_folder_that_cannot_be_written_is_bad_input(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="no writable folder"):
            run_sweep(planned(place))


@pytest.mark.skipif(os.geteuid() == 0, reason="everything can be written by root")
def test_a_read_only_folder_is_bad_input(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="no writable folder"):
        run_sweep(planned(tmp_path / "sweep"))


def test_a_second_sweep_in_the_folder_is_refused(out):
    with (
        storage.locked(out),
        pytest.raises(InputError, match="another process is at work in this folder"),
    ):
        run_sweep(planned(out))


def test_what_a_killed_writer_left_is_swept(finished, out):
    copied(finished, out)
    left = out / "release" / "sweep.json.4711.tmp"
    left.write_text("half")
    run_sweep(planned(out))
    assert not left.exists()


def test_a_relevant_column_that_is_not_there_ends_before_anything_runs(out, audited):
    with pytest.raises(InputError, match=r"sweep\.relevant\.site: is no column"):
        run_sweep(planned(out, relevant={"site": ("a",)}))
    assert audited == []


SWEEP = """
import sys
from pathlib import Path
from curation_audit.sweeping.run import run_sweep
from tests.sweeping.world import planned
run_sweep(planned(Path(sys.argv[1])))
"""


@pytest.mark.slow
def test_ten_kills_at_any_moment_change_no_byte(tmp_path):
    """From the start of the interpreter to the last write; the page is drawn."""

    def start(out: Path) -> subprocess.Popen[bytes]:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen([sys.executable, "-c", SWEEP, str(out)], env=environment)

    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    begun = time.monotonic()
    assert start(undisturbed).wait() == 0
    whole = time.monotonic() - begun
    draw, n_killed, n_with_points = np.random.default_rng(0), 0, 0
    for _ in range(10):
        process = start(disturbed)
        try:
            process.wait(timeout=float(draw.uniform(0, whole)))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            n_killed += 1
            n_with_points += any(disturbed.glob("points/*/point.json"))
    assert n_killed >= 4
    assert n_with_points >= 1
    assert start(disturbed).wait() == 0
    assert released(disturbed) == released(undisturbed)
