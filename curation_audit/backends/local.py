"""A pool of processes on this machine, or none: then this process computes."""

import concurrent.futures
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from typing import Any

from curation_audit.backends.base import Job, Placement, ResultT, TaskT, Work
from curation_audit.checks import InputError


@dataclass(frozen=True, slots=True)
class Local:
    """``placement.n_workers`` processes; ``resources`` are for schedulers and change nothing."""

    placement: Placement

    @contextmanager
    def held(self) -> "Iterator[Local | Processes]":
        """As ``Backend.held``: the same processes for all jobs."""
        if self.placement.n_workers == 1:
            yield self
            return
        with _started(self.placement.n_workers, None) as pool:
            yield Processes(pool)

    def results(self, work: Work[TaskT, ResultT]) -> Iterator[tuple[TaskT, ResultT]]:
        """As ``Backend.results``; processes are started with the job, which travels once."""
        n_workers = min(self.placement.n_workers, len(work.tasks))
        if n_workers < 2:
            for task in work.tasks:
                result = work.job.run(task)
                work.keep(task, result)
                yield task, result
            return
        check_it_can_travel(work.job)
        with _started(n_workers, work.job) as pool:
            yield from _kept(pool, work, _work)


@dataclass(frozen=True, slots=True)
class Processes:
    """Processes that are up, for one job after another."""

    pool: concurrent.futures.ProcessPoolExecutor

    @contextmanager
    def held(self) -> "Iterator[Processes]":
        """As ``Backend.held``."""
        yield self

    def results(self, work: Work[TaskT, ResultT]) -> Iterator[tuple[TaskT, ResultT]]:
        """As ``Backend.results``."""
        check_it_can_travel(work.job)
        yield from _kept(self.pool, work, work.job.run)


def _started(n_workers: int, job: Job[Any, Any] | None) -> concurrent.futures.ProcessPoolExecutor:
    return concurrent.futures.ProcessPoolExecutor(
        max_workers=n_workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(job,),
    )


def _kept(
    pool: concurrent.futures.ProcessPoolExecutor,
    work: Work[TaskT, ResultT],
    run: Callable[[TaskT], ResultT],
) -> Iterator[tuple[TaskT, ResultT]]:
    """Results in the order of finishing, each kept before it is given."""
    futures = {pool.submit(run, task): task for task in work.tasks}
    try:
        for future in concurrent.futures.as_completed(futures):
            task, result = futures.pop(future), future.result()
            work.keep(task, result)
            yield task, result
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise


def check_it_can_travel(job: object) -> None:
    """Raise ``InputError`` for a job that cannot be sent to this run's own workers."""
    try:
        ForkingPickler.dumps(job)
    except Exception as error:  # a stranger's object may fail in any way
        raise InputError(
            "run.workers",
            f"the pipeline cannot be sent to worker processes ({type(error).__name__})",
            "define your callables at the top level of a module, or use workers: 1",
        ) from None


class _Worker:
    """What a worker process was started with; set once per process."""

    job: Job[Any, Any]


def _start_worker(job: Job[Any, Any] | None) -> None:
    if job is not None:
        _Worker.job = job
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """End this worker when the audit is killed; it would wait for work forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(task: Any) -> Any:
    return _Worker.job.run(task)
