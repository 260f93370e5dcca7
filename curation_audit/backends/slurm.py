"""Jobs of Slurm: an array of ``curation-audit worker`` calls, and a wait for what they store.

The only ways between this process and the jobs are ``sbatch`` and the run folder, which all nodes
must share.
"""

import contextlib
import math
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from curation_audit.backends.base import Origin, Placement, ResultT, TaskT, Work
from curation_audit.checks import InputError, SettingError, Unfinished
from curation_audit.storage import write_atomically

FOLDER: Final = "slurm"
COMMAND: Final = "from curation_audit.cli import main; main()"
SUBMITTED: Final = re.compile(r"^\d+(;[\w.-]+)?$", re.MULTILINE)
Client: TypeAlias = subprocess.Popen[bytes]


@dataclass(frozen=True, slots=True)
class Slurm:
    """``placement.n_workers`` jobs, each with its share of the tasks.

    Jobs that end without all results are submitted again, ``attempts`` times in all.
    """

    placement: Placement

    def held(self) -> AbstractContextManager["Slurm"]:
        """As ``Backend.held``: nothing is held between submissions."""
        return contextlib.nullcontext(self)

    def results(self, work: Work[TaskT, ResultT]) -> Iterator[tuple[TaskT, ResultT]]:
        """As ``Backend.results``; here it is the jobs that store."""
        if not work.tasks:
            return
        command, folder = prepare(self.placement)
        settings = self.placement.slurm
        missing = dict.fromkeys(work.tasks)
        for _ in range(settings.attempts):
            with _submitted(command, folder) as client:
                for task, result in _stored(work, missing, client, settings.poll):
                    del missing[task]
                    yield task, result
            if not missing:
                return
            _check_accepted(folder)
        raise Unfinished(
            f"{settings.attempts} submissions left {len(missing)} chunks undone; what was "
            f"finished is kept, run again to continue; {folder} has the logs"
        )


def _stored(
    work: Work[TaskT, ResultT], missing: dict[TaskT, None], client: Client, poll: float
) -> Iterator[tuple[TaskT, ResultT]]:
    """Results as they appear in the run folder, until all are there or the jobs have ended."""
    while missing:
        ended = client.poll() is not None  # before the look: what they stored last counts
        for task in list(missing):
            result = work.find(task)
            if result is not None:
                yield task, result
        if ended:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            client.wait(poll if missing else 0)


def prepare(placement: Placement) -> tuple[list[str], Path]:
    """Write the script of the jobs; the command that submits it, and the folder it lies in.

    Raises:
        SettingError: where the jobs could not do the work.
    """
    out, origin, gpus = placement.out, placement.origin, placement.resources.gpus
    where, sbatch = "run.backend", shutil.which("sbatch")
    if sbatch is None:
        raise SettingError(where, "found slurm, but there is no sbatch on PATH", "use local or ray")
    if origin is None or out is None:
        problem = "found slurm for an audit without a pipeline file or a run folder"
        raise SettingError(where, problem, "jobs read the file again: use attack --pipeline")
    if gpus != int(gpus):
        problem = f"found {gpus:g}, but Slurm gives whole GPUs"
        raise SettingError("run.resources.gpus", problem, "expected 0, 1, ...")
    folder = out.resolve() / FOLDER
    if "\\" in str(folder):
        raise SettingError("run.out", "holds a backslash, which sbatch reads as more", "rename it")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    script = folder / "worker.sh"
    write_atomically(script, script_of(placement, origin, out.resolve()).encode(), mode=0o700)
    return [sbatch, *_options(placement, folder), str(script)], folder


def script_of(placement: Placement, origin: Origin, out: Path) -> str:
    """What every job of the array runs; whatever comes from the user is quoted."""
    n_processes = math.ceil(placement.resources.cpus)
    overrides = [word for one in origin.assignments for word in ("--set", one)]
    words = [sys.executable, "-c", COMMAND, *origin.command, "--pipeline", str(origin.pipeline)]
    words += [*overrides, "--out", str(out), "--workers", str(n_processes)]
    words += ["--of", str(placement.n_workers), "--quiet"]
    return f'#!/bin/sh\nexec {shlex.join(words)} --shard "$SLURM_ARRAY_TASK_ID"\n'


def _options(placement: Placement, folder: Path) -> list[str]:
    resources, settings = placement.resources, placement.slurm
    options = {
        "array": f"0-{placement.n_workers - 1}",
        "cpus-per-task": str(math.ceil(resources.cpus)),
        "gres": f"gpu:{int(resources.gpus)}" if resources.gpus else None,
        "job-name": "curation-audit",
        "output": f"{str(folder).replace('%', '%%')}/%A_%a.log",
        "partition": settings.partition,
        "account": settings.account,
        "qos": settings.qos,
        "time": settings.time,
        "mem": settings.memory,
    }
    given = [f"--{name}={value}" for name, value in options.items() if value is not None]
    return ["--parsable", "--wait", *given]


@contextlib.contextmanager
def _submitted(command: list[str], folder: Path) -> Iterator[Client]:
    """The client that waits for the jobs; they outlive it where this process is stopped."""
    with (folder / "sbatch.out").open("wb") as told, (folder / "sbatch.err").open("wb") as failed:
        client = subprocess.Popen(  # noqa: S603 - a list of words, no shell
            command, stdin=subprocess.DEVNULL, stdout=told, stderr=failed
        )
    try:
        yield client
    finally:
        client.terminate()
        client.wait()


def _check_accepted(folder: Path) -> None:
    """Raise ``InputError`` with the scheduler's words where it took no job."""
    if SUBMITTED.search((folder / "sbatch.out").read_text(errors="replace")):
        return
    words = (folder / "sbatch.err").read_text(errors="replace").split()
    raise InputError(
        "run.slurm", f"sbatch took no job: {' '.join(words)[:300]}", "see its settings in the file"
    )
