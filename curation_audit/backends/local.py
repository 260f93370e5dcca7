"""A pool of processes on this machine, or none: then this process computes."""

import concurrent.futures
import multiprocessing
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from typing import Any

from curation_audit.backends.base import Job, Placement, ResultT, TaskT, Work
from curation_audit.checks import InputError


@dataclass(frozen=True, slots=True)
class Local:
    """``placement.n_workers`` processes; ``resources`` are for schedulers and change nothing."""

    placement: Placement

    def results(self, work: Work[TaskT, ResultT]) -> Iterator[tuple[TaskT, ResultT]]:
        """As ``Backend.results``."""
        for task, result in _computed(work, self.placement.n_workers):
            work.keep(task, result)
            yield task, result


def _computed(work: Work[TaskT, ResultT], n_workers: int) -> Iterator[tuple[TaskT, ResultT]]:
    if n_workers == 1 or len(work.tasks) < 2:
        for task in work.tasks:
            yield task, work.job.run(task)
        return
    check_it_can_travel(work.job)
    with concurrent.futures.ProcessPoolExecutor(
        max_workers=min(n_workers, len(work.tasks)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(work.job,),
    ) as pool:
        futures = {pool.submit(_work, task): task for task in work.tasks}
        try:
            for future in concurrent.futures.as_completed(futures):
                yield futures[future], future.result()
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


def _start_worker(job: Job[Any, Any]) -> None:
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
