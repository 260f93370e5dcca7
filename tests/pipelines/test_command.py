"""Jobs of the user's own, as real processes: what they are given, and how they may fail."""

import json
import os
import pickle
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation_audit.api import Pipeline
from curation_audit.auditing.engine import AuditResult, run_audit
from curation_audit.auditing.plan import AttackSettings, RunSettings, Threat
from curation_audit.checks import InputError, SettingError
from curation_audit.config import load_plan
from curation_audit.config.sections import Problem, build_scorer
from curation_audit.pipelines.base import PrivateRows, Rows
from curation_audit.pipelines.canaries import CanarySettings
from curation_audit.pipelines.downstream.logistic import Logistic
from curation_audit.pipelines.rules.threshold import Threshold
from curation_audit.pipelines.rules.top import TopK
from curation_audit.pipelines.scorers.command import Command
from curation_audit.pipelines.scorers.command_jobs import JobsFailedError, filled
from curation_audit.pipelines.scorers.mean import Mean
from curation_audit.pipelines.scorers.nearest import Nearest
from curation_audit.streams import Streams
from tests.pipelines.test_command_files import IDS, N_POOL, SCORES, write_table

ROOT = Path(__file__).parents[2]
PACKAGED = ROOT / "curation_audit" / "pipelines" / "gallery" / "command.yaml"
STREAMS = Streams(0).for_shadows("test", range(4))
UNIT = np.array([0, 0, 1, 2, 3, -1, 4, 5, 5, 6])
ARGV = ("{python}", "job.py", "{private}", "{out}")

# What a team has: a script that knows where its rows lie, and was never written for an audit.
JOB = """
import sys
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
private, out, method, output = [*sys.argv[1:], "mean", "scores"][:4]
rows = np.load("rows.npz")
with open("calls.txt", "a") as calls:
    calls.write(private + "\\n")
asked = pq.read_table(private)["id"].to_pylist()
e = {k: rows[k] / np.linalg.norm(rows[k], axis=1, keepdims=True) for k in ("private", "pool")}
products = e["pool"] @ e["private"][[list(rows["private_ids"]).index(i) for i in asked]].T
score = products.mean(axis=1) if method == "mean" else products.max(axis=1, initial=-1)
if not asked:
    score = np.full(len(e["pool"]), 0.0 if method == "mean" else -1.0)
backwards = np.arange(len(score))[::-1]
table = {"id": rows["pool_ids"][backwards], "score": score[backwards]}
if output == "picks":
    table = {"id": rows["pool_ids"][score > 0]}
pq.write_table(pa.table(table), out)
"""

# Any program will do: one that copies scores which lie there.
COPY = """
echo "$1" >> calls.txt
cp scores.parquet "$2"
"""
SHELL = ("/bin/sh", "job.py", "{private}", "{out}")

# One that writes a column of ids and one of scores by hand, or does something else.
BY_HAND = """
import os, subprocess, sys, time
import pyarrow as pa, pyarrow.parquet as pq
private, out = sys.argv[1:3]
ids, score = [f"q{i}" for i in range(20)], [float(i) for i in range(20)]
def write(ids=ids, score=score, **more):
    pq.write_table(pa.table({"id": ids, "score": score, **more}), out)
"""


@pytest.fixture
def private(rng) -> PrivateRows:
    names = ("a", "b c", "$(touch x)", "; touch x", "'d'", '"e"', "{out}", "--f", "g\n", "日本")
    return PrivateRows(names, rng.normal(size=(10, 3)), UNIT, tuple("tuvwxyz"))


@pytest.fixture
def pool(rng) -> Rows:
    return Rows(tuple(f"q{i}" for i in range(N_POOL)), rng.normal(size=(N_POOL, 3)))


@pytest.fixture
def inclusion(rng) -> np.ndarray:
    drawn = rng.integers(0, 2, (4, 7)).astype(bool)
    drawn[3] = False  # only the row that is always in
    return drawn


@pytest.fixture
def job(tmp_path, private, pool) -> Callable[..., Command]:
    """Write a script and its rows into a folder, and make a scorer of it."""

    def make(script: str = JOB, argv: tuple[str, ...] = ARGV, **settings: Any) -> Command:
        (tmp_path / "job.py").write_text(script)
        write_rows(tmp_path, private.ids, private.features, pool.ids, pool.features)
        settings = {"version": 1, "workers": 2, "retries": 0, "time_limit": 60} | settings
        if argv is SHELL:  # COPY gives everybody the same
            write_table(tmp_path / "scores.parquet", IDS, SCORES)
            settings = {"may_ignore_private": True} | settings
        return Command(argv=argv, cwd=str(tmp_path), **settings)

    return make


def write_rows(folder: Path, ids, features, pool_ids, pool_features) -> None:
    np.savez(
        folder / "rows.npz",
        private=features,
        pool=pool_features,
        private_ids=np.array(ids),
        pool_ids=np.array(pool_ids),
    )


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch) -> Path:
    """Where temporary folders go, to see what is left of them."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def scored(scorer, private, inclusion, pool) -> np.ndarray:
    streams = Streams(0).for_shadows("test", range(len(inclusion)))
    return scorer.fit(private, inclusion, pool, streams=streams).score(pool.features)


def calls(folder: Path) -> int:
    return len((folder / "calls.txt").read_text().splitlines())


@pytest.mark.parametrize("method", [Mean(), Nearest()], ids=lambda one: one.name)
def test_a_job_equals_the_built_in_that_computes_the_same(
    job, private, pool, inclusion, method, temporary
):
    found = scored(job(argv=(*ARGV, method.name)), private, inclusion, pool)
    np.testing.assert_allclose(found, scored(method, private, inclusion, pool), atol=1e-12)
    assert list(temporary.iterdir()) == []


def test_scores_have_the_dtype_of_the_pool(job, private, pool, inclusion):
    single = Rows(pool.ids, pool.features.astype(np.float32))
    found = scored(job(), private, inclusion[:1], single)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, scored(Mean(), private, inclusion[:1], pool), atol=1e-6)


def test_an_empty_shadow_gets_an_empty_file(job, private, pool):
    candidates = replace(private, unit=np.where(UNIT == -1, 0, UNIT))
    nobody = np.zeros((1, 7), dtype=bool)
    np.testing.assert_array_equal(scored(job(), candidates, nobody, pool), np.zeros((1, N_POOL)))


def test_picks_are_scores_of_one_and_zero(job, private, pool, inclusion):
    argv = (*ARGV, "mean", "picks")
    found = scored(job(argv=argv, output="picks"), private, inclusion, pool)
    np.testing.assert_array_equal(found, scored(Mean(), private, inclusion, pool) > 0)


def test_what_a_job_is_given_stays_text(job, private, pool, inclusion, tmp_path):
    """Elements of argv, and ids, that a shell would act on."""
    text = (
        "; touch x",
        "$(touch x)",
        "a b",
        "'",
        '"',
        "*",
        "~",
        "{{pool}}",
        '{"a": 1}',
        "--s={seed}",
    )
    script = BY_HAND + (
        "import json\n"
        "open('seen.json', 'a').write(json.dumps([sys.argv[3:],"
        " pq.read_table(private)['id'].to_pylist()]) + '\\n')\n"
        "assert pq.read_schema(private).equals(pa.schema({'id': pa.string()}))\n"
        "assert pq.read_table(sys.argv[3])['id'].to_pylist() == ids\n"
        "write()"
    )
    argv = (*ARGV, "{pool}", "{shadow}", *text)
    scored(job(script, argv, workers=1), private, inclusion[2:], pool)
    lines = [json.loads(line) for line in (tmp_path / "seen.json").read_text().splitlines()]
    for s, (arguments, ids) in enumerate(lines):
        rows = [i for i, u in enumerate(UNIT) if u == -1 or inclusion[2 + s][u]]
        assert ids == [private.ids[i] for i in rows]
        assert arguments[1] == str(s)
        assert arguments[2:-1] == [*text[:-3], "{pool}", '{"a": 1}']
    seeds = {int(arguments[-1].removeprefix("--s=")) for arguments, _ in lines}
    assert len(seeds) == 2
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert not (tmp_path / "x").exists()


def test_values_are_not_read_again_for_names():
    assert filled(["{out}{{out}}"], {"out": "{private}", "private": "p"}) == ["{private}{out}"]


def test_files_are_their_owners_only(job, private, pool, inclusion, tmp_path):
    script = "echo kept\necho told >&2\n" + COPY
    before = os.umask(0o022)
    scored(job(script, SHELL, folder=str(tmp_path / "new" / "jobs")), private, inclusion, pool)
    os.umask(before)
    folder = tmp_path / "new" / "jobs"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    shadows = sorted(folder.iterdir())
    assert [path.name[:9] for path in shadows] == [f"test-000{i}" for i in range(4)]
    for path in shadows:
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        held = sorted(file.name for file in path.iterdir() if file.name != ".lock")
        assert held[1:] == ["stderr-1.txt", "stdout-1.txt"]  # what private.parquet was is gone
        assert held[0].endswith(".chunk")
        assert (path / "stdout-1.txt").read_text() == "kept\n"
        assert (path / "stderr-1.txt").read_text() == "told\n"
        modes = {stat.S_IMODE(file.stat().st_mode) for file in path.iterdir()}
        assert modes <= {0o600, 0o644}
        assert stat.S_IMODE((path / held[0]).stat().st_mode) == 0o600
        assert stat.S_IMODE((path / "stderr-1.txt").stat().st_mode) == 0o600


# script, settings, what the message says
BROKEN: dict[str, tuple[str, dict[str, Any], str]] = {
    "exits with 1": ("exit 1", {}, r"\(exit code 1\)"),
    "is killed": ("kill -9 $$", {}, r"\(signal 9\)"),
    "takes too long": ("sleep 60", {"time_limit": 0.3}, r"\(time limit of 0.3 s\)"),
    "no output": ("", {}, r"\(wrote no file to {out}\)"),
    "half an output": (
        'head -c 300 scores.parquet > "$2"',
        {},
        r"\(wrote no readable parquet file to {out} \(ArrowInvalid\)\)",
    ),
    "scores of others": ("cp others.parquet $2", {}, r"wrote 20 ids that the pool does not have"),
}


@pytest.mark.parametrize("case", BROKEN.values(), ids=BROKEN)
def test_a_broken_job_is_one_line_that_quotes_nothing(
    job, private, pool, inclusion, case, temporary, tmp_path
):
    script, settings, message = case
    write_table(tmp_path / "scores.parquet", IDS, range(N_POOL))
    write_table(tmp_path / "others.parquet", ["patient 91735", *"abcdefghijklmnopqrs"], range(20))
    scorer = job(f"echo patient 91735 >&2\n{script}", SHELL, **settings)
    with pytest.raises(InputError, match=message) as error:
        scored(scorer, private, inclusion[:1], pool)
    told = str(error.value)
    assert told.startswith("curate.scorer command: 1 of 1 jobs failed once: test-0000 (")
    assert "91735" not in told
    assert "\n" not in told
    (kept,) = [path for path in temporary.rglob("*") if path.is_file()]
    assert f"read {kept}, put the job right" in told
    assert kept.read_text() == "patient 91735\n"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_a_job_that_fails_once_is_tried_again(job, private, pool, inclusion):
    script = 'if [ ! -e "$1.mark" ]; then touch "$1.mark"; exit 1; fi\n' + COPY
    found = scored(job(script, SHELL, retries=1), private, inclusion, pool)
    np.testing.assert_array_equal(found, [SCORES] * 4)


def test_the_others_finish_first_and_are_kept(job, private, pool, inclusion, tmp_path):
    """Two of four shadows fail always; after the job is put right only these run again."""
    bad = 'case "$1" in *test-0001*|*test-0002*) if [ -e bad ]; then exit 3; fi;; esac\n'
    broken = job(bad + COPY, SHELL, folder=str(tmp_path / "jobs"), retries=1)
    (tmp_path / "bad").touch()
    message = (
        r"2 of 4 jobs failed 2 times each: test-0001 \(exit code 3\), test-0002 \(exit code 3\); "
        r"read .*test-0001-\w+/stderr-2.txt, .* give the same command again; the others are kept"
    )
    with pytest.raises(InputError, match=message):
        scored(broken, private, inclusion, pool)
    assert calls(tmp_path) == 2
    (tmp_path / "bad").unlink()
    for _ in range(2):
        np.testing.assert_array_equal(scored(broken, private, inclusion, pool), [SCORES] * 4)
        assert calls(tmp_path) == 4


def test_as_many_jobs_run_at_a_time_as_there_are_workers(job, private, pool, rng, tmp_path):
    script = "mkdir on.$$; sleep 0.2; ls -d on.* | wc -l >> most.txt; sleep 0.1; rmdir on.$$\n"
    scored(job(script + COPY, SHELL, workers=3), private, rng.random((9, 7)) < 0.5, pool)
    assert max(map(int, (tmp_path / "most.txt").read_text().split())) == 3


def test_many_failures_are_counted(job, private, pool, inclusion):
    with pytest.raises(InputError, match=r"4 of 4 .*test-0002 \(exit code 7\) and 1 more; read"):
        scored(job("exit 7", SHELL), private, inclusion, pool)


def test_a_finished_job_is_used_again_for_the_same_request_only(
    job, private, pool, inclusion, tmp_path
):
    folder = str(tmp_path / "jobs")
    first, one = job(COPY, SHELL, folder=folder), inclusion[:1]
    scored(first, private, one, pool)
    scored(replace(first, workers=1, time_limit=50, retries=3), private, one, pool)
    assert calls(tmp_path) == 1
    changes: list[tuple[Command, PrivateRows, np.ndarray, Rows]] = [
        (replace(first, version=2), private, one, pool),
        (replace(first, argv=(*SHELL, "more")), private, one, pool),
        (first, private, ~one, pool),
        (first, private, one, Rows(pool.ids[::-1], pool.features)),
        (first, private, one, Rows(pool.ids, pool.features[::-1])),
        (first, replace(private, features=private.features + 1), one, pool),
    ]
    for n, change in enumerate(changes):
        scored(*change)
        assert calls(tmp_path) == 2 + n
    first.fit(private, one, pool, streams=Streams(1).for_shadows("test", range(1)))
    assert calls(tmp_path) == 8
    scored(job(COPY + "# changed\n", SHELL, folder=folder), private, one, pool)
    assert calls(tmp_path) == 9


def test_a_request_that_outlived_its_result_is_removed(job, private, pool, inclusion, tmp_path):
    """An audit may be killed between the two."""
    scorer = job(COPY, SHELL, folder=str(tmp_path / "jobs"))
    scored(scorer, private, inclusion[:1], pool)
    (mine,) = (tmp_path / "jobs").iterdir()
    (mine / "private.parquet").touch()
    scored(scorer, private, inclusion[:1], pool)
    assert calls(tmp_path) == 1
    assert not (mine / "private.parquet").exists()


def test_a_damaged_result_is_computed_again(job, private, pool, inclusion, tmp_path):
    scorer = job(COPY, SHELL, folder=str(tmp_path / "jobs"))
    first = scored(scorer, private, inclusion[:1], pool)
    (stored,) = (tmp_path / "jobs").rglob("*.chunk")
    stored.write_bytes(stored.read_bytes()[:-20])
    np.testing.assert_array_equal(scored(scorer, private, inclusion[:1], pool), first)
    assert calls(tmp_path) == 2


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone(pid: int, seconds: float = 5) -> bool:
    end = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not alive(pid)


CHILD = 'sleep 600 &\necho "$!" >> pids.txt\n'
needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")


@needs_proc
@pytest.mark.parametrize("ends", ["sleep 600", "exit 1"])
def test_what_a_job_started_ends_with_it(job, private, pool, inclusion, tmp_path, ends):
    with pytest.raises(InputError, match=r"time limit of 0.5 s|exit code 1"):
        scored(job(CHILD + ends, SHELL, time_limit=0.5), private, inclusion[:1], pool)
    (pid,) = map(int, (tmp_path / "pids.txt").read_text().split())
    assert gone(pid)


AUDIT = "import sys; from curation_audit.cli import main; main()"


def small_pipeline(small, tmp_path: Path, script: str, **scorer: Any) -> Path:
    """The pipeline of the fixture with a job that is this script, in its folder."""
    (tmp_path / "own").mkdir(exist_ok=True)
    (tmp_path / "own" / "job.sh").write_text(script)
    argv = ["sh", "own/job.sh", "{private}", "{out}"]
    settings = {"method": "command", "argv": argv, "version": 1, "folder": "jobs", "workers": 2}
    settings["may_ignore_private"] = True

    def edit(tree: dict[str, Any]) -> None:
        del tree["train"]
        methods = {"scores": ["lira_best_row"], "selection": ["binary_lira"], "joint": []}
        tree["attack"] = {"shadows": 16, "methods": methods}
        tree["curate"]["scorer"] = settings | scorer
        tree["report"] = {"formats": ["json"]}

    write_table(tmp_path / "scores.parquet", list(range(300)), np.arange(300) % 7)
    return small(edit)


@needs_proc
@pytest.mark.parametrize(
    "how", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)], ids=str
)
def test_an_audit_that_is_stopped_leaves_no_job_and_continues(small, tmp_path, how):
    path = small_pipeline(small, tmp_path, CHILD + "sleep 0.2\n" + COPY)
    command = [sys.executable, "-c", AUDIT, "attack", "--pipeline", str(path), "--quiet"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.PIPE) as first:
        end = time.monotonic() + 60
        while len(list((tmp_path / "jobs").glob("shadow-*/*.chunk"))) < 4:
            assert first.poll() is None, first.communicate()
            assert time.monotonic() < end
            time.sleep(0.02)
        first.send_signal(how)
        assert first.wait(timeout=20) == (-9 if how == signal.SIGKILL else 3)
    for pid in map(int, (tmp_path / "pids.txt").read_text().split()):
        assert gone(pid)
    finished = len(list((tmp_path / "jobs").rglob("*.chunk")))
    assert 5 <= finished < 17
    before = calls(tmp_path)
    run_audit(load_plan(path))
    assert calls(tmp_path) == before + 17 - finished  # only what was not finished runs again
    assert not list((tmp_path / "jobs").rglob("private.parquet"))
    assert not list((tmp_path / "jobs").rglob("out-*"))


def test_an_interrupt_here_ends_the_jobs(job, private, pool, inclusion, tmp_path, temporary):
    """As Ctrl-C does: the exception in this thread stops jobs in the others at once."""
    scorer = job("sleep 600", SHELL)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    started = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            scored(scorer, private, inclusion, pool)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - started < 10
    assert list(temporary.iterdir()) == []


def test_a_program_that_is_not_there(job, private, pool, inclusion, tmp_path):
    for program, message in {
        "no-such-program": "argv: 'no-such-program' is no program on PATH; install it",
        "./nothing": "argv: './nothing' is no program below the folder of the pipeline file",
        "./job.py": "argv: './job.py' is no program",  # there, but not executable
    }.items():
        scorer = job(argv=(program, "{private}", "{out}"))
        with pytest.raises(InputError, match=message):
            scored(scorer, private, inclusion, pool)


def test_a_program_that_cannot_be_started(job, private, pool, inclusion, tmp_path):
    (tmp_path / "tool").write_bytes(b"\0")
    (tmp_path / "tool").chmod(0o700)
    with pytest.raises(InputError, match=r"could not be started \(OSError\)"):
        scored(job(argv=("./tool", "{private}", "{out}")), private, inclusion[:1], pool)


def test_a_program_of_the_folder_is_found_in_it(job, private, pool, inclusion, tmp_path):
    job(COPY, SHELL)
    scorer = job("#!/bin/sh" + COPY, argv=("./job.py", "{private}", "{out}"))
    (tmp_path / "job.py").chmod(0o700)
    np.testing.assert_array_equal(scored(scorer, private, inclusion[:1], pool), [SCORES])


def test_folders_that_are_none(job, private, pool, inclusion, tmp_path):
    (tmp_path / "file").write_text("")
    for folder in ("file", "file/below"):
        scorer = job(folder=str(tmp_path / folder))
        with pytest.raises(InputError, match=r"folder: .* is no writable folder"):
            scored(scorer, private, inclusion, pool)
    with pytest.raises(InputError, match=r"cwd: .* is no folder"):
        scored(replace(job(), cwd=str(tmp_path / "nowhere")), private, inclusion, pool)


def test_a_folder_at_work_is_refused(job, private, pool, inclusion, tmp_path):
    from curation_audit.storage import locked

    scorer = job(COPY, SHELL, folder=str(tmp_path / "jobs"))
    scored(scorer, private, inclusion[:1], pool)
    (mine,) = (tmp_path / "jobs").iterdir()
    code = (
        "import sys,time,filelock\nwith filelock.FileLock(sys.argv[1]): print(flush=True); input()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(mine / ".lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert other.stdout is not None
    other.stdout.readline()
    with pytest.raises(InputError, match="another process is at work in this folder"):
        scored(scorer, private, inclusion[:1], pool)
    other.communicate(b"\n")
    with locked(mine):
        pass


@pytest.mark.parametrize("output", ["scores", "picks"])
def test_a_job_that_does_not_look_at_private_rows_is_refused(job, private, pool, inclusion, output):
    """It would pass every audit; three sets may well give the same."""
    blind = job(COPY, SHELL, output=output, may_ignore_private=False)
    with pytest.raises(InputError, match="same result for 4 different private sets; does it find"):
        scored(blind, private, inclusion, pool)
    scored(blind, private, inclusion[[0, 1, 2, 2]], pool)


def test_other_rows_than_the_pools_are_refused(job, private, pool, inclusion):
    fitted = job(COPY, SHELL).fit(
        private, inclusion[:1], pool, streams=Streams(0).for_shadows("test", [0])
    )
    np.testing.assert_array_equal(fitted.score(pool.features.copy()), fitted.score(pool.features))
    for rows in (pool.features[5:8], pool.features + 1):
        with pytest.raises(InputError, match="rows that are not the pool's"):
            fitted.score(rows)


def test_nothing_is_assumed_about_a_job(job, private, pool):
    scorer = job()
    assert scorer.linearise(private, pool) is None
    assert (scorer.name, scorer.family, scorer.adjacency) == ("command", "other", "add_remove")
    expected = np.concatenate([pool.features, np.ones((N_POOL, 1))], axis=1)
    np.testing.assert_array_equal(scorer.embed(pool.features), expected)


GOOD = ["python", "{private}", "{out}"]
SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "a string": ({"argv": "python job.py {private} {out}"}, "valid list"),
    "nothing": ({"argv": []}, "names no program"),
    "no program": ({"argv": ["", "{private}", "{out}"]}, "names no program"),
    "no argv": ({}, "names no program"),
    "numbers": ({"argv": [*GOOD, 3]}, "valid string"),
    "no private": ({"argv": ["python", "{out}"]}, r"has no \{private\}"),
    "no out": ({"argv": ["python", "{private}", "{{out}}"]}, r"has no \{out\}"),
    "unknown": ({"argv": [*GOOD, "{privat}"]}, r"found \{privat\}; did you mean 'private'"),
    "a zero byte": ({"argv": [*GOOD, "\0"]}, "holds a zero byte"),
    "no version": ({"argv": GOOD, "version": None}, "is missing, but results"),
    "output": ({"argv": GOOD, "output": "score"}, "'scores'"),
    "time limit": ({"argv": GOOD, "time_limit": 0}, "expected seconds above 0"),
    "workers": ({"argv": GOOD, "workers": 0}, "expected 1 or more"),
    "retries": ({"argv": GOOD, "retries": -1}, "expected 0 or more"),
    "shell": ({"argv": GOOD, "shell": True}, "unknown setting 'shell'"),
}


@pytest.mark.parametrize(("settings", "message"), SETTINGS.values(), ids=SETTINGS)
def test_wrong_settings(settings, message):
    with pytest.raises((Problem, SettingError)) as error:
        build_scorer({"method": "command", "version": 1, **settings}, "cpu")
    told = getattr(error.value, "problem", "") + "; " + getattr(error.value, "hint", "")
    assert re.search(message, told), told


def test_a_string_in_python_is_refused_as_well():
    with pytest.raises(SettingError, match="expected a list; no shell reads it"):
        Command(argv="python {private} {out}", version=1)  # type: ignore[arg-type]


def test_what_reports_show_holds_no_folders(tmp_path):
    (tmp_path / "job.py").write_text("pass")
    argv = ("/usr/bin/python3", "job.py", "--data=/srv/ann/rows.parquet", "{private}", "{out}")
    here = Command(argv=argv, version=1, folder=str(tmp_path / "jobs"), cwd=str(tmp_path))
    shown = here.describe()
    assert shown["argv"] == ["python3", "job.py", "--data=rows.parquet", "{private}", "{out}"]
    assert list(shown["scripts"])[-1] == "job.py"
    assert "ann" not in str(shown)
    assert str(tmp_path) not in str(shown)
    moved = replace(here, argv=tuple(one.replace("ann", "bob") for one in argv))
    assert moved.describe() != shown
    assert replace(here, workers=3, folder=None, time_limit=9, retries=5).describe() == shown


def test_paths_count_from_the_pipeline_file(small, tmp_path):
    path = small_pipeline(small, tmp_path, JOB)
    scorer = load_plan(path).scorer
    assert isinstance(scorer, Command)
    assert Path(scorer.cwd) == tmp_path
    assert scorer.folder == str(tmp_path / "jobs")


@pytest.mark.parametrize(
    ("select", "message"),
    [
        ({"rule": "top_k", "k": 40}, "found top_k, which picks other rows than the job did"),
        ({"rule": "threshold", "minimum": 0}, "found threshold, which picks other rows"),
        ({"rule": "threshold", "minimum": 1.1}, "found threshold, which picks other rows"),
    ],
)
def test_picks_need_a_rule_that_keeps_them(small, tmp_path, select, message):
    path = small_pipeline(small, tmp_path, JOB, output="picks")
    good = load_plan(path, ["curate.select={rule: threshold, minimum: 0.5}"])
    assert isinstance(good.rule, Threshold)
    with pytest.raises(InputError, match=rf"curate\.select: {message}"):
        load_plan(path, [f"curate.select={select}"])


def test_rows_that_the_job_has_not_got_are_refused(small, tmp_path):
    path = small_pipeline(small, tmp_path, JOB)
    with pytest.raises(InputError, match="are made-up records, of which the job"):
        load_plan(path, ["attack.canaries={count: 10}"])


def arrays(rng) -> dict[str, Any]:
    """Private rows, and a pool that holds near copies of them beside much else."""
    private = rng.normal(size=(24, 5))
    close = private + 0.05 * rng.normal(size=private.shape)
    pool = np.concatenate([close, rng.normal(size=(96, 5))])
    test = rng.normal(size=(40, 5))
    labels = {
        name: (rows[:, 0] > 0).astype(int)
        for name, rows in (("private", private), ("public", pool), ("test", test))
    }
    return {"private": private, "public": pool, "test": test, "labels": labels}


@pytest.mark.parametrize("method", [Mean(), Nearest()], ids=lambda one: one.name)
def test_the_audit_of_a_job_finds_the_leak_of_the_built_in(tmp_path, rng, method):
    """The same numbers at every stage, and for ``nearest`` a leak that is plain to see.

    Scores are seen to nine digits: by their last bits, in which job and built-in differ, the order
    of two equal pieces of evidence may turn.
    """
    pipeline = Pipeline(
        **arrays(rng),
        scorer=method,
        select=TopK(k=24),
        train=Logistic(device="cpu"),
        standardise="none",
        threat=Threat(scores_as="rounded", decimals=9),
        attack=AttackSettings(shadows=16, methods=METHODS),
        run=RunSettings(dtype="float64", device="cpu"),
        seed=3,
    )
    plan = pipeline.plan()
    private, pool = plan.data.private, plan.data.pool
    (tmp_path / "job.py").write_text(JOB)
    write_rows(tmp_path, private.ids, private.features, pool.ids, pool.features)
    job = Command(argv=(*ARGV, method.name), version=1, workers=2, cwd=str(tmp_path))
    ours, theirs = run_audit(plan), run_audit(replace(pipeline, scorer=job).plan())
    assert calls(tmp_path) == 17
    assert aucs(theirs) == aucs(ours)
    assert sorted(aucs(ours)) == ["model", "scores", "selection"]
    for name, evidence in ours.evidence.items():
        np.testing.assert_array_equal(theirs.evidence[name], evidence)
    if method.name == "nearest":
        assert aucs(theirs)["scores"] > 0.8
        assert aucs(theirs)["selection"] > 0.8


METHODS = {
    "scores": ("lira_best_row",),
    "selection": ("binary_lira",),
    "model": ("lira",),
    "joint": (),
}


def aucs(result: AuditResult) -> dict[str, float]:
    """The headline's AUC at every stage that has one."""
    headlines = {one.stage: one.headline for one in result.stages if one.headline is not None}
    return {stage: headline.metrics.auc.value for stage, headline in headlines.items()}


def test_nothing_is_planted_for_a_job(tmp_path, rng):
    from curation_audit.auditing.planting import planting_warnings

    plan = Pipeline(
        **arrays(rng),
        scorer=Command(argv=GOOD, version=1),
        threat=Threat(may_insert=40),
        run=RunSettings(device="cpu"),
    ).plan()
    (warning,) = planting_warnings(plan)
    assert "an external job scores the pool that it knows by its ids" in warning


def test_canaries_are_refused_in_python(rng):
    pipeline = Pipeline(
        **arrays(rng),
        scorer=Command(argv=GOOD, version=1),
        attack=AttackSettings(canaries=CanarySettings(count=10)),
    )
    with pytest.raises(InputError, match="made-up records, of which the job"):
        pipeline.plan()


def test_a_job_and_its_failure_travel_between_processes():
    scorer = Command(argv=GOOD, version=1)
    assert pickle.loads(pickle.dumps(scorer)) == scorer
    error = pickle.loads(pickle.dumps(JobsFailedError("here", "failed", "read")))
    assert isinstance(error, JobsFailedError)
    assert str(error) == "here: failed; read"


def test_the_example_of_the_page_runs(tmp_path, rng):
    """The job and the pipeline of docs/your-own-job.md, as they stand, on data of that form."""
    page = (ROOT / "docs" / "your-own-job.md").read_text()
    (script,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (pipeline,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "job.py").write_text(script)
    (tmp_path / "audit.yaml").write_text(pipeline)
    for file, name, n in (("hospital", "row_id", 20), ("pool", "uid", 80)):
        emb = rng.normal(size=(n, 4))
        pq.write_table(pa.table({name: range(n), "emb": list(emb)}), tmp_path / f"{file}.parquet")
    plan = load_plan(tmp_path / "audit.yaml", ["run.dtype=float64"])
    private, pool = plan.data.private, plan.data.pool
    inclusion = np.array([[False] * 20, [True] * 9 + [False] * 11])
    found = scored(plan.scorer, private, inclusion, pool)
    built_in = scored(Mean(metric="inner_product"), private, inclusion, pool)
    np.testing.assert_allclose(found, built_in, atol=1e-12)
    assert len(list((tmp_path / "jobs").rglob("*.chunk"))) == 2
    settings = {one.name for one in fields(Command)}
    assert all(f"    {name}: " in pipeline for name in settings)


def test_the_example_of_the_package_equals_the_built_in():
    plan = load_plan(PACKAGED, ["run.dtype=float64"])
    private, pool = plan.data.private, plan.data.pool
    half = np.arange(private.n_candidates)[None] % 2 == 0
    found = scored(plan.scorer, private, half, pool)
    np.testing.assert_allclose(found, scored(Mean(), private, half, pool), atol=1e-12)
