"""Jobs in processes of their own: one a shadow, several at a time, kept where a folder is named.

The folder of a shadow holds the request (ids of private rows), the job's output until it was
checked, and what the job printed. A checked result is stored under the request's fingerprint.
"""

import concurrent.futures
import contextlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from curation_audit.checks import InputError
from curation_audit.pipelines.scorers import command_keeper
from curation_audit.pipelines.scorers.command_files import (
    PLACE,
    JobError,
    Output,
    ids_digest,
    read_output,
    write_ids,
)
from curation_audit.storage import ChunkStore, locked
from curation_audit.types import Floats

MOST_TOLD: Final = 3
PRIVATE: Final = "private.parquet"
OUT: Final = "out-{}.parquet"
PLACEHOLDER: Final = re.compile(r"\{\{([a-z_]+)\}\}|\{([a-z_]+)\}")


@dataclass(frozen=True, slots=True)
class Jobs:
    """How jobs are run: the program and its arguments with placeholders, and the limits."""

    argv: tuple[str, ...]
    output: Output
    time_limit: float
    workers: int
    retries: int
    cwd: Path


@dataclass(frozen=True, slots=True)
class Request:
    """What one shadow asks: its name, the private rows it holds, and numbers of its own."""

    name: str
    fingerprint: str
    held_ids: tuple[str, ...]
    shadow: int
    seed: int


class JobsFailedError(InputError):
    """Jobs that failed in every attempt."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A shadow that no attempt brought to an end."""

    name: str
    reason: str
    stderr: Path


def placeholders(element: str) -> set[str]:
    """The names in braces in one element; doubled braces stand for themselves."""
    return {found[2] for found in PLACEHOLDER.finditer(element) if found[2]}


def filled(argv: Sequence[str], values: dict[str, str]) -> list[str]:
    """The elements with values in the place of names, each in one pass: values stay text."""
    return [
        PLACEHOLDER.sub(lambda m: values[m[2]] if m[2] else f"{{{m[1]}}}", element)
        for element in argv
    ]


def find_program(program: str, cwd: Path) -> None:
    """Raise ``InputError`` where there is no such program; a bare name is looked up on PATH."""
    if not cwd.is_dir():
        raise InputError(f"{PLACE}: cwd", f"{cwd} is no folder", "expected where the job runs")
    there = shutil.which(str(cwd / program) if "/" in program else program)
    if there is None:
        where = "below the folder of the pipeline file" if "/" in program else "on PATH"
        raise InputError(
            f"{PLACE}: argv", f"{program!r} is no program {where}", "install it, or give its path"
        )


@contextlib.contextmanager
def working_folder(named: Path | None) -> Iterator[Path]:
    """The named folder, kept; or a temporary one, of which only what failed jobs printed is kept.

    Raises:
        InputError: if it cannot be made.
    """
    if named is not None:
        with _writable(named):
            named.mkdir(parents=True, exist_ok=True, mode=0o700)
        yield named
        return
    temporary = Path(tempfile.mkdtemp(prefix="curation-audit-jobs-"))
    try:
        yield temporary
    except JobsFailedError:
        for file in temporary.rglob("*"):
            if file.is_symlink() or (file.is_file() and not file.name.startswith("stderr-")):
                file.unlink()
        raise
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def _writable(folder: Path) -> Iterator[None]:
    """Tell of a folder that cannot be made or written."""
    try:
        yield
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        raise InputError(
            f"{PLACE}: folder",
            f"{folder} is no writable folder ({error.strerror})",
            "name another one",
        ) from None


class Keepers:
    """The processes that stand between this one and its jobs; ``stop`` ends them all."""

    def __init__(self) -> None:
        """None yet."""
        self._lock, self._stopped = threading.Lock(), False
        self._running: set[subprocess.Popen[bytes]] = set()

    def run(self, argv: list[str], seconds: float, cwd: Path, printed: tuple[Path, Path]) -> str:
        """Run one job to its end, and say how it ended."""
        keeper = [sys.executable, "-I", "-S", command_keeper.__file__, str(seconds)]
        with self._lock:
            if self._stopped:
                return command_keeper.STOPPED
            process = subprocess.Popen(  # noqa: S603 - a list that no shell reads
                [*keeper, *map(str, printed), *argv],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=cwd,
                start_new_session=True,
            )
            self._running.add(process)
        if process.stdout is None or process.stdin is None:
            raise ValueError("a keeper has pipes.")
        with process.stdout:
            ended = process.stdout.read().decode().strip()
        process.wait()
        with self._lock:
            self._running.discard(process)
            process.stdin.close()
        return ended or "its keeper was killed"

    def stop(self) -> None:
        """End all jobs, and start none any more."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                if process.stdin is not None:
                    process.stdin.close()


def run_jobs(
    jobs: Jobs, requests: Sequence[Request], pool_ids: tuple[str, ...], named: Path | None
) -> Floats:
    """The scores of all requests, float64 (S, m). A failure of one lets the others finish first.

    Raises:
        JobsFailedError: naming the shadows that failed in every attempt.
        InputError: for a program or a folder that is not there.
    """
    find_program(jobs.argv[0].replace("{python}", sys.executable), jobs.cwd)
    with working_folder(named) as folder:
        work = Work(jobs, Keepers(), folder, pool_ids, kept=named is not None)
        outcomes = work.all_done(requests)
        failures = [one for one in outcomes if isinstance(one, Failure)]
        if failures:
            raise _told(failures, len(requests), jobs.retries, kept=named is not None)
    return np.stack([one for one in outcomes if not isinstance(one, Failure)])


def _told(failures: list[Failure], n: int, retries: int, *, kept: bool) -> JobsFailedError:
    first = ", ".join(f"{one.name} ({one.reason})" for one in failures[:MOST_TOLD])
    more = f" and {len(failures) - MOST_TOLD} more" if len(failures) > MOST_TOLD else ""
    again = "the others are kept" if kept else "name a folder, so that the others are kept"
    times = "once" if retries == 0 else f"{retries + 1} times each"
    return JobsFailedError(
        PLACE,
        f"{len(failures)} of {n} jobs failed {times}: {first}{more}",
        f"read {failures[0].stderr}, put the job right, and give the same command again; {again}",
    )


@dataclass(frozen=True, slots=True)
class Work:
    """One chunk of jobs in a folder; where it is not kept, nothing of a finished job is."""

    jobs: Jobs
    keepers: Keepers
    folder: Path
    pool_ids: tuple[str, ...]
    kept: bool

    @property
    def pool_file(self) -> Path:
        """Where the ids of the pool are written if the program asks for them."""
        return self.folder / f"pool-{ids_digest(self.pool_ids)[:16]}.parquet"

    def all_done(self, requests: Sequence[Request]) -> "list[Floats | Failure]":
        """The outcomes in order, several jobs at a time; whatever stops this stops all jobs."""
        with _writable(self.folder):
            if any("pool" in placeholders(element) for element in self.jobs.argv):
                write_ids(self.pool_file, self.pool_ids)
        with concurrent.futures.ThreadPoolExecutor(self.jobs.workers) as threads:
            futures = [threads.submit(self.done, request) for request in requests]
            try:
                return [future.result() for future in futures]
            except BaseException:
                self.keepers.stop()
                threads.shutdown(wait=False, cancel_futures=True)
                raise

    def done(self, request: Request) -> "Floats | Failure":
        """The checked scores (m,) of one request: found, or computed and stored."""
        mine = self.folder / f"{request.name}-{request.fingerprint[:16]}"
        with _writable(mine):
            store = ChunkStore(mine)  # it makes the folder, for its owner only
        with locked(mine):
            found = store.load(request.fingerprint)
            scores = self._computed(request, mine) if found is None else found["scores"]
            if isinstance(scores, Failure):
                return scores
            if self.kept and found is None:
                store.save(request.fingerprint, {"scores": scores})
            (mine / PRIVATE).unlink(missing_ok=True)  # as well of one that ended at this line
        if not self.kept:
            shutil.rmtree(mine, ignore_errors=True)
        return scores

    def _computed(self, request: Request, mine: Path) -> "Floats | Failure":
        """Run the job until it gives what it owes, or has failed too often."""
        for left_over in mine.glob(OUT.format("*")):
            _remove(left_over)
        with _writable(mine):
            write_ids(mine / PRIVATE, request.held_ids)
        reason, stderr = "", mine
        for attempt in range(1, self.jobs.retries + 2):
            stderr = mine / f"stderr-{attempt}.txt"
            try:
                return self._attempt(request, mine, stderr)
            except JobError as error:
                reason = str(error)
        return Failure(request.name, reason, stderr)

    def _attempt(self, request: Request, mine: Path, stderr: Path) -> Floats:
        """Run the job once; its output goes to a name that nothing else reads."""
        out = mine / OUT.format(uuid.uuid4().hex)
        values = {
            "private": str(mine / PRIVATE),
            "out": str(out),
            "pool": str(self.pool_file),
            "shadow": str(request.shadow),
            "seed": str(request.seed),
            "python": sys.executable,
        }
        stdout = stderr.with_name(stderr.name.replace("stderr", "stdout"))
        argv = filled(self.jobs.argv, values)
        try:
            ended = self.keepers.run(argv, self.jobs.time_limit, self.jobs.cwd, (stdout, stderr))
            if ended == command_keeper.TIME_LIMIT:
                raise JobError(f"time limit of {self.jobs.time_limit:g} s")
            if ended != command_keeper.OK:
                raise JobError(ended)
            return read_output(out, self.pool_ids, self.jobs.output)
        finally:
            _remove(out)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
