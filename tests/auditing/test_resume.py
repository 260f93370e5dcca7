"""What is reused, what is not, and that a killed audit ends with the same bytes."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curation_audit import software, storage
from curation_audit.api import Pipeline
from curation_audit.auditing import chunks
from curation_audit.auditing.engine import AuditResult, run_audit
from curation_audit.auditing.plan import AttackSettings, RunSettings, Threat
from curation_audit.checks import InputError
from curation_audit.pipelines.downstream.logistic import Logistic
from curation_audit.pipelines.rules.top import TopK
from curation_audit.pipelines.scorers.mean import Mean

N_CHUNKS = 3  # the real curation, 16 shadows, 16 null shadows
METHODS = {"scores": ("trace",), "selection": ("binary_lira",), "model": ("loss",)}
RELEASED = ("release/report.json", "evidence.npz")
ROOT = Path(__file__).parents[2]


def rows(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, 5))
    return features, (features[:, 0] + rng.standard_normal(n) > 0).astype(int)


def run(out: Path | None, *, edit: Callable[[Any], Any] | None = None, **settings) -> AuditResult:
    """A small audit that writes no HTML; ``edit`` changes its plan."""
    (private, mine), (pool, theirs), (test, truth) = rows(24, 0), rows(80, 1), rows(30, 2)
    pipeline = Pipeline(
        **{
            "private": private,
            "public": pool,
            "test": test,
            "labels": {"private": mine, "public": theirs, "test": truth},
            "scorer": Mean(),
            "select": TopK(k=20),
            "train": Logistic(l2=0.1, device="cpu"),
            "attack": AttackSettings(shadows=16, methods=METHODS),
            "run": RunSettings(out=out, device="cpu"),
            "seed": 3,
            **settings,
        }
    )
    plan = replace(pipeline.plan(), formats=("json",))
    return run_audit(edit(plan) if edit else plan)


def released(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in RELEASED}


def counts(result: AuditResult) -> tuple[int, int]:
    """(reused chunks, chunks)."""
    last = result.run["history"][-1]
    return last["n_reused"], last["n_chunks"]


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "run"


def test_a_second_run_reuses_everything_and_ends_with_the_same_bytes(out, monkeypatch):
    assert counts(run(out)) == (0, N_CHUNKS)
    first = released(out)
    monkeypatch.setattr(chunks, "run_task", lambda *_: pytest.fail("nothing is to be computed"))
    monkeypatch.setattr(
        "curation_audit.attacks.trace.Trace.evidence", lambda *_, **__: pytest.fail("nor attacked")
    )
    again = run(out)
    assert counts(again) == (N_CHUNKS, N_CHUNKS)
    assert released(out) == first
    assert [entry["n_reused"] for entry in again.run["history"]] == [0, N_CHUNKS]


def other_value(plan):
    features = plan.data.pool.features.copy()
    features[7, 2] = np.nextafter(features[7, 2], 9)
    return replace(plan, data=replace(plan.data, pool=replace(plan.data.pool, features=features)))


def other_label(plan):
    labels = plan.data.pool.labels.copy()
    labels[0] = 1 - labels[0]
    return replace(plan, data=replace(plan.data, pool=replace(plan.data.pool, labels=labels)))


def other_ids(plan):
    ids = tuple(f"x{i}" for i in plan.data.pool.ids)
    return replace(plan, data=replace(plan.data, pool=replace(plan.data.pool, ids=ids)))


def other_private_ids(plan):
    """Some scorers hash them, and an external job is told them."""
    ids = tuple(f"x{i}" for i in plan.data.private.ids)
    return replace(plan, data=replace(plan.data, private=replace(plan.data.private, ids=ids)))


def with_sizes(plan):
    pool = replace(plan.data.pool, sizes=np.arange(len(plan.data.pool)))
    return replace(plan, data=replace(plan.data, pool=pool))


def with_groups(plan):
    groups = {"site": tuple("a" * len(plan.data.pool))}
    pool = replace(plan.data.pool, groups=groups)
    return replace(plan, data=replace(plan.data, pool=pool))


def other_test(plan):
    test = replace(plan.data.test, labels=1 - plan.data.test.labels)
    return replace(plan, data=replace(plan.data, test=test))


CHANGED: dict[str, dict[str, Any]] = {
    "penalty of the model": {"train": Logistic(l2=0.2, device="cpu")},
    "no model": {"train": None},
    "seed": {"seed": 4},
    "k": {"select": TopK(k=21)},
    "setting of the scorer": {"scorer": Mean(metric="inner_product")},
    "scorer": {"scorer": "nearest"},
    "one value of the pool": {"edit": other_value},
    "one label of the pool": {"edit": other_label},
    "ids of the pool": {"edit": other_ids},
    "ids of the private set": {"edit": other_private_ids},
    "sizes of the pool": {"edit": with_sizes},
    "groups of the pool": {"edit": with_groups},
    "labels of the test set": {"edit": other_test},
    "metric": {"metric": "auc"},
    "scaling": {"standardise": "none"},
    "units": {"unit": np.repeat(np.arange(12), 2)},
    "targets": {"attack": AttackSettings(shadows=16, methods=METHODS, targets=20)},
}


@pytest.mark.parametrize("change", CHANGED.values(), ids=CHANGED)
def test_a_changed_pipeline_reuses_nothing_and_gets_its_own_numbers(out, tmp_path, change):
    run(out)
    assert counts(run(out, **change)) == (0, N_CHUNKS)
    run(tmp_path / "fresh", **change)
    assert released(out) == released(tmp_path / "fresh")


def test_another_dtype_reuses_nothing(out):
    run(out)
    assert counts(run(out, run=RunSettings(out=out, device="cpu", dtype="float64")))[0] == 0


def test_other_code_reuses_nothing(out, monkeypatch):
    run(out)
    monkeypatch.setattr(software, "code_digest", lambda: "0" * 64)
    assert counts(run(out))[0] == 0


def test_what_shapes_no_curation_reuses_all_of_them(out):
    run(out)
    threat = Threat(knows=("algorithm", "candidates", "labels"))
    without_pool = run(out, threat=threat)
    assert counts(without_pool) == (N_CHUNKS, N_CHUNKS)
    assert "trace" not in without_pool.evidence
    methods = {**METHODS, "scores": ("lira_best_row",), "joint": ()}
    other_attack = run(out, attack=AttackSettings(shadows=16, methods=methods, confidence=0.9))
    assert counts(other_attack) == (N_CHUNKS, N_CHUNKS)
    assert set(other_attack.evidence) == {"lira_best_row", "binary_lira", "loss"}


def test_more_shadows_keep_the_earlier_chunks(out):
    few = run(out)
    many = run(out, attack=AttackSettings(shadows=32, methods=METHODS))
    assert counts(many) == (N_CHUNKS, N_CHUNKS + 2)
    np.testing.assert_array_equal(many.inclusion[:16], few.inclusion)
    # and the evidence is not that of fewer shadows
    assert not np.array_equal(many.evidence["trace"][:16], few.evidence["trace"])


def test_a_spoiled_chunk_is_computed_again(out):
    run(out)
    first = released(out)
    for path in sorted((out / "cache").iterdir()):
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        again = run(out)
        is_evidence = counts(again) == (N_CHUNKS, N_CHUNKS)
        assert is_evidence or counts(again) == (N_CHUNKS - 1, N_CHUNKS)
        assert released(out) == first
        assert path.read_bytes() == content


def test_workers_change_no_byte(out, tmp_path):
    shadows = AttackSettings(shadows=24, methods=METHODS)
    run(out, attack=shadows)
    two = tmp_path / "two"
    run(two, attack=shadows, run=RunSettings(out=two, device="cpu", workers=2))
    assert released(two) == released(out)
    assert sorted(p.name for p in (two / "cache").iterdir()) == sorted(
        p.name for p in (out / "cache").iterdir()
    )


def test_workers_get_no_function_that_cannot_be_sent(out):
    with pytest.raises(InputError, match=r"^run\.workers: .* cannot be sent .*; define your calla"):
        run(
            out,
            scorer=lambda private, pool: pool[:, 0],
            scorer_version="1",
            run=RunSettings(out=out, device="cpu", workers=2),
        )


@pytest.mark.parametrize("n_written", range(7))
def test_a_full_disk_loses_nothing_that_was_finished(out, tmp_path, monkeypatch, n_written):
    """Three chunks and the evidence of three attacks are written, then run.json and the release."""
    undisturbed = tmp_path / "undisturbed"
    run(undisturbed)
    write, done = storage.write_atomically, []

    def fills_up(path, *rest, **more):
        if len(done) == n_written:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write(path, *rest, **more)
        done.append(path)

    with monkeypatch.context() as broken:
        broken.setattr(storage, "write_atomically", fills_up)
        broken.setattr("curation_audit.auditing.release.write_atomically", fills_up)
        with pytest.raises(OSError, match="No space left"):
            run(out)
    assert all(path.exists() for path in done)
    assert not (out / "release" / "report.json").exists()
    assert counts(run(out)) == (min(n_written, N_CHUNKS), N_CHUNKS)
    assert released(out) == released(undisturbed)


def test_a_run_in_memory_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(None)
    assert counts(result) == (0, N_CHUNKS)
    assert result.report_path is None
    assert not list(tmp_path.rglob("*"))
    assert not list(Path(os.environ["XDG_DATA_HOME"]).rglob("*"))


def slow_pipeline(epochs: int, shadows: int) -> Callable[[dict[str, Any]], None]:
    def edit(tree: dict[str, Any]) -> None:
        tree["train"] = {"model": "mlp", "hidden": [16], "epochs": epochs, "batch_size": 8}
        tree["attack"] = {"shadows": shadows}
        tree["report"] = {"formats": ["json"]}
        tree["run"] = {"device": "cpu"}

    return edit


KILLER = """
import os, random, signal, sys, time
from pathlib import Path
import curation_audit.auditing.engine, curation_audit.config, curation_audit.console
from curation_audit.cli import main

pipeline, undisturbed, disturbed, n_kills = sys.argv[1:]
draw = random.Random(8)

def start(out):
    child = os.fork()
    if child == 0:
        sys.argv = ["curation-audit", "attack", "--pipeline", pipeline, "--out", out, "--quiet"]
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        main()
    return child

begun = time.monotonic()
assert os.waitpid(start(undisturbed), 0)[1] == 0
whole = time.monotonic() - begun
for _ in range(int(n_kills)):
    child = start(disturbed)
    time.sleep(draw.uniform(0, whole))
    os.kill(child, signal.SIGKILL)
    killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
    cache = Path(disturbed) / "cache"
    print("killed" if killed else "finished", len(list(cache.glob("*.chunk"))), flush=True)
assert os.waitpid(start(disturbed), 0)[1] == 0
"""


def check_the_end(undisturbed: Path, disturbed: Path) -> None:
    """The same bytes, and no temporary file left in what is passed on."""
    assert released(disturbed) == released(undisturbed)
    assert not list((disturbed / "cache").glob("*.tmp"))
    history = json.loads((disturbed / "run.json").read_text())["history"]
    assert sum(entry["n_reused"] for entry in history) > 0


def test_a_run_killed_five_times_ends_with_the_same_bytes(small, tmp_path):
    """Killed within the work: the processes are forked from one that has imported everything."""
    pipeline = small(slow_pipeline(epochs=60, shadows=64))
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    arguments = [str(pipeline), str(undisturbed), str(disturbed), "5"]
    killer = subprocess.run(
        [sys.executable, "-c", KILLER, *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert killer.returncode == 0, killer.stderr
    kills = [line.split() for line in killer.stdout.splitlines()]
    assert len(kills) == 5
    with_chunks = [n for outcome, n in kills if outcome == "killed" and int(n) > 0]
    assert with_chunks, f"no kill came while there were chunks: {kills}"
    check_the_end(undisturbed, disturbed)


def start_command(pipeline: Path, out: Path) -> subprocess.Popen[bytes]:
    code = "from curation_audit.cli import main; main()"
    arguments = ["attack", "--pipeline", str(pipeline), "--out", str(out), "--quiet"]
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=out.parent,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["small", "med"])
def test_twenty_kills_at_any_moment_change_no_byte(small, tmp_path, name):
    """From the start of the interpreter to the last write."""
    pipeline = small(slow_pipeline(epochs=150, shadows=128))
    if name == "med":
        pipeline = ROOT / "curation_audit" / "pipelines" / "med.yaml"
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    begun = time.monotonic()
    assert start_command(pipeline, undisturbed).wait() == 0
    whole = time.monotonic() - begun
    draw, n_with_chunks, n_killed = np.random.default_rng(0), 0, 0
    for _ in range(20):
        process = start_command(pipeline, disturbed)
        try:
            process.wait(timeout=float(draw.uniform(0, whole)))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            n_killed += 1
            n_with_chunks += any((disturbed / "cache").glob("*.chunk"))
    assert n_killed >= 10
    assert n_with_chunks >= 1
    assert start_command(pipeline, disturbed).wait() == 0
    check_the_end(undisturbed, disturbed)


ORPHANED = """
import sys
from pathlib import Path
from curation_audit.api import AttackSettings, Pipeline, RunSettings, audit
import numpy as np

def slow(private, pool):
    import os, time
    Path(sys.argv[1], str(os.getpid())).touch()
    time.sleep(0.2)
    return pool[:, 0]

if __name__ == "__main__":
    rng = np.random.default_rng(0)
    audit(Pipeline(
        private=rng.normal(size=(20, 3)), public=rng.normal(size=(40, 3)), train=None,
        scorer=slow, attack=AttackSettings(shadows=128), run=RunSettings(workers=2),
    ))
"""


def is_running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_workers_leave_when_the_audit_is_killed(tmp_path):
    script, signs = tmp_path / "script.py", tmp_path / "signs"
    script.write_text(ORPHANED)
    signs.mkdir()
    audit = subprocess.Popen(
        [sys.executable, str(script), str(signs)],
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    try:
        deadline = time.monotonic() + 60
        while len(list(signs.iterdir())) < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        workers = [int(sign.name) for sign in signs.iterdir() if int(sign.name) != audit.pid]
        assert len(workers) == 2
    finally:
        audit.kill()
        audit.wait()
    deadline = time.monotonic() + 20
    while any(map(is_running, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(is_running, workers))


def test_what_a_killed_writer_left_in_the_release_is_swept(tmp_path):
    run(tmp_path / "run")
    for folder in (tmp_path / "run", tmp_path / "run" / "release"):
        (folder / "report.json.4711.tmp").write_text("half")
    run(tmp_path / "run")
    assert not list((tmp_path / "run").rglob("*.tmp"))


@pytest.mark.parametrize(("asked", "started"), [(1, 1), (2, 2), (3, 3), (64, 3), ("auto", 3)])
def test_no_more_processes_are_started_than_there_are_cores(monkeypatch, asked, started):
    monkeypatch.setattr("curation_audit.auditing.run_settings.cpu_count", lambda: 3)
    assert RunSettings(workers=asked).n_workers == started


@pytest.mark.parametrize("workers", [0, -1, "many", 1.5, True])
def test_numbers_of_processes_that_are_none(workers):
    with pytest.raises(InputError, match="expected 1 or more, or auto"):
        RunSettings(workers=workers)
