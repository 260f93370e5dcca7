"""Shares of an audit by workers that meet in the run folder only."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from curation_audit.auditing import chunks
from curation_audit.auditing.progress import Silence
from curation_audit.auditing.share import compute_share
from curation_audit.checks import InputError
from curation_audit.config import load_plan
from curation_audit.storage import ABANDONED_AFTER, ChunkStore

ROOT = Path(__file__).parents[2]
RELEASED = ("release/report.json", "evidence.npz")


def quick(tree):
    """Seven chunks: the real curation, three of shadows, three null ones; few attacks."""
    tree["attack"] = {
        "shadows": 40,
        "methods": {
            "scores": ["trace"],
            "selection": ["binary_lira"],
            "model": ["loss"],
            "joint": [],
        },
    }
    tree["report"] = {"formats": ["json"]}


@pytest.fixture
def pipeline(small) -> Path:
    return small(quick)


@pytest.fixture
def local(pipeline, command, tmp_path) -> Path:
    """The run folder of the same audit in one process."""
    code, _, err = command("attack", "--pipeline", pipeline, "--out", tmp_path / "local", "--quiet")
    assert code == 0, err
    return tmp_path / "local"


def share(command, pipeline: Path, out: Path, shard: int, of: int) -> str:
    place = ("--pipeline", pipeline, "--out", out, "--quiet")
    code, told, err = command("worker", *place, "--shard", shard, "--of", of)
    assert code == 0, err
    return told


def same(one: Path, other: Path) -> bool:
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in RELEASED)


@pytest.mark.parametrize("of", [1, 2, 5, 9])
def test_workers_and_a_merge_end_with_the_bytes_of_one_process(
    pipeline, local, command, tmp_path, monkeypatch, of
):
    out = tmp_path / "shared"
    for shard in reversed(range(of)):
        share(command, pipeline, out, shard, of)
    names = {path.name for path in (out / "cache").iterdir()}
    assert names <= {path.name for path in (local / "cache").iterdir()}
    assert len(names) == 7
    monkeypatch.setattr(chunks, "run_task", lambda *_: pytest.fail("nothing is left to compute"))
    code, _, err = command("merge", "--pipeline", pipeline, "--out", out, "--quiet")
    assert code == 0, err
    assert same(out, local)
    assert json.loads((out / "run.json").read_text())["history"][-1]["n_reused"] == 7


def test_a_merge_before_all_workers_is_unfinished_and_an_attack_goes_on(
    pipeline, local, command, tmp_path
):
    out = tmp_path / "moved"
    told = share(command, pipeline, out, 0, 2)
    assert told == "share 0 of 2: 3 chunks, 0 of them there before\n"
    code, _, err = command("merge", "--pipeline", pipeline, "--out", out, "--quiet")
    assert (code, err.count("\n")) == (3, 1)
    assert "3 of 7 chunks are missing" in err
    assert not (out / "release").exists()
    code, _, err = command("attack", "--pipeline", pipeline, "--out", out, "--quiet")
    assert code == 0, err
    assert same(out, local)


def test_a_share_that_is_given_again_computes_what_is_missing(pipeline, command, tmp_path):
    out = tmp_path / "shared"
    share(command, pipeline, out, 0, 1)
    stored = {path: path.read_bytes() for path in (out / "cache").glob("*.chunk")}
    spoiled = sorted(stored)[3]
    spoiled.write_bytes(spoiled.read_bytes()[:-1])
    again = share(command, pipeline, out, 0, 1)
    assert again in {f"share 0 of 1: 6 chunks, {n} of them there before\n" for n in (5, 6)}
    assert {path: path.read_bytes() for path in stored} == stored


def test_another_seed_shares_no_chunk(pipeline, command, tmp_path):
    out = tmp_path / "shared"
    share(command, pipeline, out, 0, 1)
    other = ("--set", "seed=6", "--out", out, "--quiet")
    code, _, err = command("merge", "--pipeline", pipeline, *other)
    assert code == 3
    assert "7 of 7 chunks are missing" in err


def with_planted_rows(tree):
    quick(tree)
    tree["threat"] = {"may_insert": 6}
    tree["attack"]["methods"]["model"] = ["fingerprint"]


def test_planted_rows_are_designed_once_for_all_workers(small, command, tmp_path):
    pipeline, out, local = small(with_planted_rows), tmp_path / "shared", tmp_path / "local"
    share(command, pipeline, out, 1, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "plant", lambda *_: pytest.fail("designed again"))
        told = share(command, pipeline, out, 0, 2)
        assert told == "share 0 of 2: 6 chunks, 0 of them there before\n"
        code, _, err = command("merge", "--pipeline", pipeline, "--out", out, "--quiet")
        assert code == 0, err
    code, _, err = command("attack", "--pipeline", pipeline, "--out", local, "--quiet")
    assert code == 0, err
    assert same(out, local)


@pytest.mark.parametrize(("shard", "of"), [(2, 2), (0, 0), (-1, 2)])
def test_shares_that_are_none(pipeline, command, tmp_path, shard, of):
    place = ("--pipeline", pipeline, "--out", tmp_path / "shared")
    code, _, err = command("worker", *place, "--shard", shard, "--of", of)
    assert (code, err.count("\n")) == (2, 1)
    assert not (tmp_path / "shared").exists()


def test_workers_need_a_run_folder(pipeline):
    from dataclasses import replace

    plan = load_plan(pipeline)
    bare = replace(plan, run=replace(plan.run, out=None))
    with pytest.raises(InputError, match=r"^run\.out: is missing"):
        compute_share(bare, 0, 1, Silence())


def test_an_audit_sweeps_no_file_that_a_worker_is_writing(tmp_path):
    fresh, old = tmp_path / "a.chunk.77.part", tmp_path / "b.chunk.78.part"
    for path in (fresh, old):
        path.write_bytes(b"half")
    long_ago = time.time() - ABANDONED_AFTER - 60
    os.utime(old, (long_ago, long_ago))
    ChunkStore.beside_others(tmp_path)
    assert old.exists()
    ChunkStore(tmp_path)
    assert fresh.exists()
    assert not old.exists()


def test_a_worker_beside_a_running_audit_needs_no_lock(pipeline, local, command):
    from curation_audit.storage import locked

    with locked(local):
        assert "6 of them there before" in share(command, pipeline, local, 0, 1)


def start_worker(pipeline: Path, out: Path) -> subprocess.Popen[bytes]:
    code = "from curation_audit.cli import main; main()"
    arguments = ["worker", "--pipeline", str(pipeline), "--out", str(out), "--quiet"]
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments, "--shard", "0", "--of", "1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )


def slow(tree):
    quick(tree)
    tree["train"] = {"model": "mlp", "hidden": [16], "epochs": 40, "batch_size": 8}


def test_a_worker_killed_in_mid_run_changes_no_byte(small, command, tmp_path):
    pipeline, out, local = small(slow), tmp_path / "shared", tmp_path / "local"
    worker = start_worker(pipeline, out)
    deadline = time.monotonic() + 120
    while len(list(out.glob("cache/*.chunk"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    assert 2 <= len(list(out.glob("cache/*.chunk"))) < 7
    told = share(command, pipeline, out, 0, 1)
    assert "0 of them there before" not in told
    for verb, folder in (("merge", out), ("attack", local)):
        code, _, err = command(verb, "--pipeline", pipeline, "--out", folder, "--quiet")
        assert code == 0, err
    assert same(out, local)
