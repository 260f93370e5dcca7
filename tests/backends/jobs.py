"""Jobs without an audit, for the tests of backends; at the top level, so that they travel."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from curation_audit.backends.base import Work
from curation_audit.checks import InputError


@dataclass(frozen=True)
class Square:
    """Squares a number; stops at ``fails``, with the text of a stranger's exception behind it."""

    fails: int | None = None
    seconds: float = 0.0

    def check_here(self) -> None:
        pass

    def run(self, task: int) -> int:
        time.sleep(self.seconds)
        if task == self.fails:
            raise InputError("curate.scorer 'mine'", "gave scores that are NaN")
        return task * task


@dataclass(frozen=True)
class Killed:
    """Squares a number; task 2 kills its process by SIGKILL until ``times`` marks are there."""

    marks: Path
    times: int

    def check_here(self) -> None:
        pass

    def run(self, task: int) -> int:
        if task == 2 and len(list(self.marks.iterdir())) < self.times:
            (self.marks / str(os.getpid())).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return task * task


@dataclass(frozen=True)
class Elsewhere(Square):
    """A job whose worker has other software."""

    def check_here(self) -> None:
        raise InputError("run.backend", "a worker has another numpy than this machine")


@dataclass(frozen=True)
class NodeNoted:
    """Squares a number; notes on which node of Ray every attempt began."""

    folder: Path

    def check_here(self) -> None:
        pass

    def run(self, task: int) -> int:
        import ray

        node = ray.get_runtime_context().get_node_id()
        (self.folder / f"began-{task}-{time.time_ns()}").write_text(node)
        time.sleep(1.0)
        return task * task


@dataclass
class Kept:
    """A store in memory."""

    results: dict[int, int] = field(default_factory=dict)

    def work(self, job: object, n_tasks: int) -> Work[int, int]:
        return Work(
            job=job, tasks=range(n_tasks), find=self.results.get, keep=self.results.__setitem__
        )


def squares(n_tasks: int) -> dict[int, int]:
    return {task: task * task for task in range(n_tasks)}


def all_results(backend: object, work: Work[int, int], look: Callable[[], None] = lambda: None):
    """What a backend gives, checked to come once each."""
    found: dict[int, int] = {}
    for task, result in backend.results(work):
        assert task not in found
        found[task] = result
        look()
    return found
