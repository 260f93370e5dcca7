"""Slurm, played by an ``sbatch`` on PATH that runs the jobs of an array one after another."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from curation_audit.backends.base import Origin, Placement, Resources, SlurmSettings
from curation_audit.backends.slurm import Slurm, prepare, script_of
from curation_audit.checks import InputError, SettingError, Unfinished
from tests import test_spread_picks as pools
from tests.auditing.test_share import ROOT, quick, same
from tests.backends.jobs import Kept, Square, all_results

SBATCH = """#!{python}
import json, os, re, subprocess, sys
from pathlib import Path

folder = Path({folder!r})
calls = len(list(folder.glob("call*")))
(folder / f"call{{calls}}.json").write_text(json.dumps(sys.argv[1:]))
if {refuses!r}:
    sys.exit("sbatch: error: invalid partition specified: moon")
print("4711", flush=True)
(last,) = [one for one in sys.argv if one.startswith("--array=0-")]
for index in range(int(last.removeprefix("--array=0-")) + 1):
    if index in {lost!r}[min(calls, len({lost!r}) - 1)]:
        continue
    environment = os.environ | {{"SLURM_ARRAY_TASK_ID": str(index)}}
    subprocess.run(["/bin/sh", sys.argv[-1]], env=environment, stdout=sys.stderr, check=True)
"""


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Put an ``sbatch`` on PATH; ``lost``: which jobs die at each submission."""

    def start(lost=((),), refuses=False) -> Path:
        folder = tmp_path / "cluster"
        folder.mkdir()
        sbatch = folder / "sbatch"
        sbatch.write_text(
            SBATCH.format(python=sys.executable, folder=str(folder), lost=lost, refuses=refuses)
        )
        sbatch.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        return folder

    return start


def calls(folder: Path) -> list[list[str]]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("call*"))]


def on_slurm(tree):
    quick(tree)
    tree["run"] = {
        "backend": "slurm",
        "workers": 2,
        "resources": {"cpus": 1, "gpus": 1},
        "slurm": {"partition": "long", "time": "0:30:00", "memory": "2G", "poll": 0.05},
    }


def test_an_audit_by_slurm_ends_with_the_bytes_of_one_process(small, command, cluster, tmp_path):
    """The first job dies once, and an override and a folder with a space get through."""
    folder = cluster(lost=((0,), (1,)))
    pipeline, out, local = small(on_slurm), tmp_path / "on slurm", tmp_path / "local"
    seed = ("--set", "seed=9", "--quiet")
    code, _, err = command("attack", "--pipeline", pipeline, "--out", out, *seed)
    assert code == 0, err
    here = ("--set", "run.backend=local", *seed)
    code, _, err = command("attack", "--pipeline", pipeline, "--out", local, *here)
    assert code == 0, err
    assert same(out, local)
    first, second = calls(folder)
    assert first == second
    for option in (
        "--wait",
        "--parsable",
        "--array=0-1",
        "--cpus-per-task=1",
        "--gres=gpu:1",
        "--partition=long",
        "--time=0:30:00",
        "--mem=2G",
    ):
        assert option in first
    assert (out / "slurm").stat().st_mode & 0o777 == 0o700


folder = pools.folder


def test_a_curation_by_slurm_picks_what_one_process_picks(folder, command, cluster):
    """Jobs score shares of the pool, a file each; the first dies once. This process picks."""
    path = pools.protected(folder, command)
    noted = cluster(lost=((0,), ()))
    on = ("--set", "run.backend=slurm", "--set", "run.slurm={poll: 0.05}", "--workers", 2)
    place = ("--pipeline", path, "--out", folder / "on slurm")
    code, _, err = command("curate", *place, *on, "--quiet")
    assert (code, err) == (0, "")
    assert pools.picked(folder / "on slurm") == pools.picked(folder / "one")
    assert len(calls(noted)) == 2
    script = (folder / "on slurm" / "slurm" / "worker.sh").read_text()
    assert " curate-worker --release " in script


def test_jobs_that_die_every_time_end_unfinished(small, command, cluster, tmp_path):
    folder = cluster(lost=((0, 1),))
    code, _, err = command("attack", "--pipeline", small(on_slurm), "--out", tmp_path / "out")
    assert (code, err.splitlines()[-1].startswith("error: 3 submissions left 6 chunks")) == (
        3,
        True,
    )
    assert len(calls(folder)) == 3


def placement(tmp_path: Path, **changes) -> Placement:
    given = {"out": tmp_path / "out", "origin": Origin(tmp_path / "p.yaml"), "n_workers": 2}
    return Placement(**given | changes)


def test_what_the_scheduler_refuses_is_told_in_its_words(cluster, tmp_path):
    folder = cluster(refuses=True)
    slurm = Slurm(placement(tmp_path, slurm=SlurmSettings(partition="moon", poll=0.01)))
    with pytest.raises(InputError, match="took no job: sbatch: error: invalid partition"):
        all_results(slurm, Kept().work(Square(), 3))
    assert len(calls(folder)) == 1


def test_what_is_stored_is_taken_though_a_job_is_lost(cluster, tmp_path):
    cluster(lost=((0, 1),))
    place = placement(tmp_path, slurm=SlurmSettings(attempts=1, poll=0.01))
    results = Slurm(place).results(Kept({0: 0, 1: 1}).work(Square(), 3))
    assert [next(results), next(results)] == [(0, 0), (1, 1)]
    with pytest.raises(Unfinished, match="left 1 chunks undone"):
        next(results)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"origin": None}, "without a pipeline file"),
        ({"out": None}, "without a pipeline file or a run folder"),
        ({"resources": Resources(gpus=0.25)}, "Slurm gives whole GPUs"),
        ({"out": Path("back\\slash")}, "holds a backslash"),
    ],
)
def test_what_jobs_could_not_do_is_refused(cluster, tmp_path, monkeypatch, changes, problem):
    cluster()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingError, match=problem):
        prepare(placement(tmp_path, **changes))


def test_without_sbatch(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SettingError, match="no sbatch on PATH"):
        prepare(placement(tmp_path))


NASTY = ["a b", "$(touch pwned)", "`touch pwned`", "x'; touch pwned; '", "x\n#SBATCH --uid=0", "%j"]


@pytest.mark.parametrize("word", NASTY)
def test_no_word_of_the_user_reaches_the_shell(tmp_path, word):
    """The script is run by a shell with a Python that prints its arguments."""
    origin = Origin(tmp_path / word, (f"name={word}",))
    text = script_of(placement(tmp_path), origin, tmp_path / word)
    printer = "import sys, json; print(json.dumps(sys.argv[1:]))"
    text = text.replace(
        shlex.quote("from curation_audit.cli import main; main()"), shlex.quote(printer)
    )
    script = tmp_path / "worker.sh"
    script.write_text(text)
    told = subprocess.run(
        ["/bin/sh", str(script)],
        env={"SLURM_ARRAY_TASK_ID": "3"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    words = json.loads(told.stdout)
    assert words[:3] == ["worker", "--pipeline", str(tmp_path / word)]
    assert words[3:5] == ["--set", f"name={word}"]
    assert words[-2:] == ["--shard", "3"]
    assert not list(tmp_path.rglob("pwned"))
    assert [line for line in text.splitlines()[:2] if line.startswith("#SBATCH")] == []
