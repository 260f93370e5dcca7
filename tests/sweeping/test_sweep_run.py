"""A sweep from end to end: what is reused, what is lost (nothing), and how it ends."""

import dataclasses
import errno
import functools
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curation_audit import storage
from curation_audit.auditing import chunks
from curation_audit.auditing.plan import AttackSettings, Threat
from curation_audit.checks import InputError
from curation_audit.dp.claims import GaussianClaim
from curation_audit.dp.gaussian_sum import GaussianSum
from curation_audit.pipelines.scorers.mean import Mean
from curation_audit.report import sweep_page, validate_report
from curation_audit.report.sweep_page import validate_sweep
from curation_audit.results import to_plain
from curation_audit.statistics.gdp import mu_of_epsilon
from curation_audit.sweeping import run as running
from curation_audit.sweeping.plan import SweepPlan
from curation_audit.sweeping.run import SweepOutcome, run_sweep, sweep_tree
from curation_audit.sweeping.stored import point_from_plain
from tests.sweeping.world import (
    DELTA,
    METHODS,
    K,
    M,
    N,
    nothing_drawn,
    planned,
    point,
    worth,
)

KEYED = r"(?<![\w.])[0-9a-f]{16}\b"  # as report.json names candidates; no digits of a number
FOLDERS = ("unprotected", "gaussian_mean-1", "gaussian_mean-8", "gaussian_mean-inf")
RELEASED = ("release/sweep.json", "release/sweep.html")
ROOT = Path(__file__).parents[2]


def quicken(patched: pytest.MonkeyPatch) -> None:
    """Nothing is drawn, which test_sweep_page.py does, and the code is read once."""
    patched.setattr(sweep_page, "_figures", nothing_drawn)
    patched.setattr(chunks, "code_digest", CODE)


CODE = functools.cache(storage.code_digest)


@pytest.fixture(autouse=True)
def _quickened(monkeypatch):
    quicken(monkeypatch)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Iterator[tuple[Path, SweepOutcome, dict[str, Any]]]:
    """A sweep that nothing disturbed; nobody writes into its folder."""
    out = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("home")))
        quicken(patched)
        outcome = run_sweep(planned(out))
    return out, outcome, json.loads((out / "release" / "sweep.json").read_text())


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "sweep"


@pytest.fixture
def audited(monkeypatch) -> list[str]:
    """The folders of the audits that run, in order."""
    names: list[str] = []
    run_audit = running.run_audit

    def noted(plan, *rest):
        names.append(plan.run.out.name)
        return run_audit(plan, *rest)

    monkeypatch.setattr(running, "run_audit", noted)
    return names


def released(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in RELEASED}


# what is found


def test_it_ends_well_and_its_json_is_valid(finished):
    out, outcome, tree = finished
    assert outcome.exit_code == 0
    assert outcome.page == out / "release" / "sweep.html"
    validate_sweep(tree)
    assert tree == json.loads(json.dumps(sweep_tree(planned(out), outcome.result)))
    assert tree["design"] == {
        "n_shadows": 8,
        "n_candidates": N,
        "n_pool": M,
        "n_test": 200,
        "scorer": "mean",
        "rule": "top_k",
        "downstream": "logistic",
        "repeats": 3,
    }
    assert [one["epsilon"] for one in tree["points"]] == [1.0, 8.0, None]
    assert {one["mechanism"] for one in tree["points"]} == {"gaussian_mean"}
    assert (tree["n_claims"], tree["delta"], tree["adjacency"]) == (2, DELTA, "zero_out")
    assert tree["sentence"] == outcome.result.sentence
    assert any("Selection not accounted" in line for line in tree["warnings"])


def test_every_point_has_a_report_of_its_own(finished):
    out, _, tree = finished
    assert [one["folder"] for one in (tree["unprotected"], *tree["points"])] == [
        f"points/{name}" for name in FOLDERS
    ]
    for name in FOLDERS:
        report = json.loads((out / "points" / name / "release" / "report.json").read_text())
        validate_report(report)
        assert (report["claim"] is None) == (name in ("unprotected", "gaussian_mean-inf"))
        assert (report["protection"] is None) == (name == "unprotected")


def test_numbers_of_a_point_are_those_of_its_report(finished):
    out, _, tree = finished
    for one in (tree["unprotected"], *tree["points"]):
        report = json.loads((out / one["folder"] / "release" / "report.json").read_text())
        headlines = {s["stage"]: s["headline"] for s in report["stages"] if s["headline"]}
        assert {s["stage"] for s in one["stages"]} == headlines.keys()
        bounds = {b["stage"]: b["results"] for b in report["bounds"]}
        for stage in one["stages"]:
            assert stage["attack"] == headlines[stage["stage"]]["attack"]
            assert stage["auc"] == headlines[stage["stage"]]["metrics"]["auc"]
            proven = {b["method"]: b["epsilon"] for b in bounds[stage["stage"]]}
            assert stage["bounds"] == {k: v for k, v in proven.items() if k != "joint beta"}
            assert stage["declared"] in ("one run", "pair mean")
        assert one["verdict"] == report["verdict"]["status"]
        assert one["events"] == ([] if not report["protection"] else report["protection"]["events"])


@pytest.mark.parametrize(("number", "epsilon"), [(0, 1.0), (1, 8.0)])
def test_ceilings_are_those_of_the_claim(finished, number, epsilon):
    """Known answers: Phi(mu / sqrt 2) and 2 Phi(mu / 2) - 1 at the mu of epsilon and delta."""
    claim = GaussianClaim(mu=mu_of_epsilon(epsilon, DELTA), adjacency="zero_out")
    found = finished[2]["points"][number]["ceilings"]
    assert found["epsilon"] == pytest.approx(epsilon, rel=1e-6)
    assert found["auc"] == pytest.approx(claim.auc(), rel=1e-6)
    assert found["advantage"] == pytest.approx(claim.advantage(), rel=1e-6)
    assert found["tpr_at_one_percent"] == pytest.approx(claim.tpr(np.array([0.01]))[0], rel=1e-6)
    assert finished[2]["points"][2]["ceilings"] is None  # without noise nothing is claimed


def test_what_points_are_worth_is_in_order(finished):
    _, _, tree = finished
    unprotected = tree["unprotected"]["usefulness"]
    assert unprotected["overlap"]["value"] == 1
    assert unprotected["rank_correlation"]["value"] == pytest.approx(1)
    noisy = [one["usefulness"] for one in tree["points"]]
    assert noisy[0]["overlap"]["value"] < noisy[1]["overlap"]["value"] <= 1
    assert [one["n_repeats"] for one in noisy] == [3, 3, 1]
    assert noisy[0]["overlap"]["low"] < noisy[0]["overlap"]["high"]
    assert tree["random"]["n_repeats"] == 3
    assert tree["random"]["n_picked"] == K
    assert tree["random"]["rank_correlation"] is None
    assert tree["public_only"]["n_picked"] == M
    assert unprotected["accuracy"]["value"] > tree["random"]["accuracy"]["value"]


def test_in_memory_nothing_is_written_and_the_numbers_are_the_same(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = run_sweep(planned())
    assert outcome.page is None
    assert not list(tmp_path.rglob("*"))
    expected = to_plain(finished[1].result)
    for one in (expected["unprotected"], *expected["points"]):
        one["folder"] = None
    assert to_plain(outcome.result) == expected


def test_nothing_private_is_in_what_is_passed_on(finished, tmp_path):
    """Ids, exact values, and the keyed ids of the points' reports."""
    names = {
        "private": [f"Marie-{n}" for n in range(N)],
        "public": [f"p{n}" for n in range(M)],
        "test": [f"t{n}" for n in range(200)],
    }
    plan = planned(tmp_path, of={"ids": names}, epsilons=(1.0,))
    run_sweep(plan)
    texts = [(tmp_path / name).read_text() for name in RELEASED]
    texts.append((tmp_path / "points" / "gaussian_mean-1" / "point.json").read_text())
    values = [f"{abs(value):.6g}" for value in plan.base.data.private.features.ravel()]
    for text in texts:
        assert "Marie" not in text
        assert not [value for value in values if value in text]
    assert not [one for text in texts[:2] for one in re.findall(KEYED, text)]
    assert plan.base.data.private.ids[0] == "Marie-0"


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


CHANGED: dict[str, dict[str, Any]] = {
    "delta": {"delta": 1e-6},
    "repeats": {"repeats": 4},
    "seed": {"of": {"seed": 4}},
    "confidence": {"of": {"attack": AttackSettings(shadows=8, methods=METHODS, confidence=0.9)}},
    "attacks": {"of": {"attack": AttackSettings(shadows=8, methods=METHODS | {"scores": ()})}},
    "what is observed": {"of": {"threat": Threat(observes=("scores",))}},
    "unit": {"of": {"unit": np.repeat(np.arange(N // 2), 2)}},
    "adjacency": {"adjacency": "add_remove"},
    "fitted on": {"fitted_on": {"encoder": "public"}},
}


@pytest.mark.parametrize("change", CHANGED.values(), ids=CHANGED)
def test_changed_settings_reuse_no_point(finished, out, audited, change):
    changes = {"epsilons": (1.0,)} | change
    copied(finished, out)
    run_sweep(planned(out, **changes))
    assert "gaussian_mean-1" in audited
    if "fitted_on" not in change and "adjacency" not in change:
        assert audited == ["unprotected", "gaussian_mean-1"]


def test_a_changed_scorer_is_what_points_are_compared_with(finished, out, audited):
    """The private form of both scorers is the same; what it is compared with is not."""
    mechanism = {"mechanisms": ("gaussian_mean",), "epsilons": (8.0,)}
    copied(finished, out)
    changed = planned(out, of={"scorer": "nearest"}, **mechanism)
    assert changed.audit(changed.points[0]).scorer.describe() == (
        planned(**mechanism).audit(planned(**mechanism).points[0]).scorer.describe()
    )
    found = run_sweep(changed).result.points[0].usefulness
    assert audited == ["unprotected", "gaussian_mean-8"]
    before = finished[2]["points"][1]["usefulness"]
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
        pytest.raises(InputError, match="another audit is running in this folder"),
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


# how it ends


def loud(out: Path | None = None) -> SweepPlan:
    """Enough shadows, and a tight claim on scores that lie wide open without noise."""
    rng = np.random.default_rng(0)
    of = {
        "private": rng.standard_normal((N, 24)),
        "public": rng.standard_normal((M, 24)),
        "test": None,
        "labels": None,
        "train": None,
        "scorer": Mean(metric="inner_product"),
        "threat": Threat(observes=("scores",)),
        "attack": AttackSettings(shadows=64, methods={"scores": ("matched_filter",)}),
    }
    return planned(out, of=of, epsilons=(0.1,))


def test_a_refuted_claim_ends_in_exit_1(monkeypatch, out):
    """The noise goes, the claim stays."""

    def exact(self, vectors, held, noise):
        return self.exact(vectors, held) / self.denominator

    assert run_sweep(loud()).exit_code == 0
    monkeypatch.setattr(GaussianSum, "release", exact)
    outcome = run_sweep(loud(out))
    assert outcome.exit_code == 1
    assert outcome.result.points[0].stages[0].refuted
    assert "gaussian_mean at epsilon 0.1 is refuted" in outcome.result.sentence
    page = outcome.page.read_text()
    assert "A guarantee is refuted" in page
    assert "Do not use these results" in page


def test_the_right_noise_is_not_refuted():
    """The claim's ceiling is not below what was measured."""
    one = run_sweep(loud()).result.points[0]
    assert not one.stages[0].refuted
    assert one.stages[0].auc.low <= one.ceilings.auc


def test_a_failed_control_ends_in_exit_5(monkeypatch, out):
    def peeking(features, inclusion, rng):
        return inclusion + 0.1 * rng.standard_normal(inclusion.shape)

    monkeypatch.setattr("curation_audit.auditing.evidence.blind_evidence", peeking)
    outcome = run_sweep(loud(out))
    assert outcome.exit_code == 5
    assert outcome.result.points[0].verdict == "audit invalid"
    assert outcome.result.sentence.startswith("Do not use these results: a control of the audit of")
    page = outcome.page.read_text()
    assert '<p class="status">Audit invalid</p>' in page
    assert run_sweep(loud(out)).exit_code == 5  # a stored point tells it, too


# the schema


def every(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all mappings."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    if isinstance(tree, dict):
        yield path
    for key, value in items:
        if isinstance(value, dict | list):
            yield from every(value, (*path, key))


def test_the_schema_misses_no_key_and_allows_no_other(finished):
    """A key more, or one less, in any mapping that is no table of the user's names."""
    tree = finished[2]
    for path in every(tree):
        if path[-1:] in (("bounds",), ("left_out",)):
            continue
        for broken in (json.loads(json.dumps(tree)) for _ in range(2)):
            place = broken
            for key in path:
                place = place[key]
            place["surplus"] = 1
            with pytest.raises(ValueError, match="surplus"):
                validate_sweep(broken)
            del place["surplus"]
            place.pop(next(iter(place)))
            with pytest.raises(ValueError, match="required"):
                validate_sweep(broken)


BROKEN = {
    "another version": ("schema_version", 2),
    "an adjacency that is none": ("adjacency", "bounded"),
    "no claims": ("n_claims", 0),
    "an interval for a number": ("points", 0, "usefulness", "overlap", 0.5),
    "a bound that is labelled estimate": ("points", 0, "usefulness", "overlap", "label", "bound"),
    "a stage that is none": ("points", 0, "stages", 0, "stage", "picks"),
    "a negative bound": ("points", 0, "stages", 0, "bounds", "one run", -1.0),
    "a verdict that is none": ("points", 0, "verdict", "fine"),
    "an epsilon in words": ("points", 0, "epsilon", "inf"),
    "a refutation in words": ("points", 0, "stages", 0, "refuted", "no"),
    "a reason that is a number": ("left_out", "dp_gd", 3),
    "no repeats": ("random", "n_repeats", 0),
}


@pytest.mark.parametrize("case", BROKEN)
def test_the_schema_rejects(finished, case):
    *path, last, value = BROKEN[case]
    tree = json.loads(json.dumps(finished[2]))
    place = tree
    for key in path:
        place = place[key]
    place[last] = value
    with pytest.raises(ValueError, match=re.escape(str(path[0] if path else last))):
        validate_sweep(tree)


def test_a_number_that_is_not_finite_is_no_result():
    with pytest.raises(ValueError, match="finite"):
        to_plain(point(2.0, math.nan))


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
