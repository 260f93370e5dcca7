"""Tasks of Ray Core (extra ``ray``), on a cluster or on this machine.

Ray Core, not Ray Data: a task is a chunk of shadows, not rows of a table. The job, which holds the
private rows, is put into the object store once. At most ``n_workers`` tasks are in flight, and a
result leaves the store before the next task enters, so that the store holds no more than these.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, Any, Final

from curation_audit.backends.base import Job, Placement, Resources, ResultT, TaskT, Work
from curation_audit.backends.local import check_it_can_travel
from curation_audit.checks import InputError, SettingError, Unfinished

if TYPE_CHECKING:
    from types import ModuleType

MOST_RETRIES: Final = 3


@dataclass(frozen=True, slots=True)
class RayCore:
    """Ray where ``RAY_ADDRESS`` says, or where this process has it already, else a new one here.

    Tasks of a worker or node that died run again, three times each.
    """

    placement: Placement

    @contextlib.contextmanager
    def held(self) -> "Iterator[RayCore]":
        """As ``Backend.held``: the engine stays up."""
        with _engine(_imported()):
            yield self

    def results(self, work: Work[TaskT, ResultT]) -> Iterator[tuple[TaskT, ResultT]]:
        """As ``Backend.results``."""
        ray = _imported()
        if not work.tasks:
            return
        check_it_can_travel(work.job)
        with _engine(ray), _told(ray):
            _check_room(ray, self.placement.resources)
            for task, result in _in_flight(ray, work, self.placement):
                work.keep(task, result)
                yield task, result


def _in_flight(
    ray: "ModuleType", work: Work[TaskT, ResultT], placement: Placement
) -> Iterator[tuple[TaskT, ResultT]]:
    resources = placement.resources
    start = ray.remote(
        num_cpus=resources.cpus,
        num_gpus=resources.gpus,
        max_retries=MOST_RETRIES,
        max_calls=0,  # else a process ends after every task on a GPU, and the next one starts anew
    )(_run)
    job = ray.put(work.job)
    waiting, running = iter(work.tasks), dict[Any, TaskT]()
    try:
        while True:
            for task in waiting:
                running[start.remote([job], task)] = task
                if len(running) >= placement.n_workers:
                    break
            if not running:
                return
            (done,), _ = ray.wait(list(running), num_returns=1)
            task = running.pop(done)
            result: ResultT | _Failed = ForkingPickler.loads(ray.get(done))
            del done  # the last reference: the store may forget the result
            if isinstance(result, _Failed):
                raise result.error
            yield task, result
    finally:
        for reference in running:
            ray.cancel(reference, force=True)


@dataclass(frozen=True, slots=True)
class _Failed:
    """What a task raised, as a value: Ray prints the text of exceptions, and it may be private."""

    error: Exception


class _Worker:
    """The job that this process has read and checked last, and what Ray knows it by."""

    reference: Any = None
    job: Job[Any, Any]


def _run(box: list[Any], task: Any) -> bytes:
    """A result, or what was raised, in bytes: arrays of Ray would lie in its store while in use.

    ``box`` holds a reference to the job, which a process reads once; alone it would be read for
    every task.
    """
    try:
        if _Worker.reference != box[0]:
            job = _imported().get(box[0])
            job.check_here()
            _Worker.reference, _Worker.job = box[0], job
        return bytes(ForkingPickler.dumps(_Worker.job.run(task)))
    except Exception as error:  # a stranger's object may fail in any way
        return bytes(ForkingPickler.dumps(_Failed(_that_travels(error))))


def _that_travels(error: Exception) -> Exception:
    """The error, or another one with its name where it cannot be sent."""
    try:
        ForkingPickler.loads(ForkingPickler.dumps(error))
    except Exception:
        return RuntimeError(type(error).__name__)
    return error


def _imported() -> "ModuleType":
    try:
        import ray
    except ImportError:
        raise SettingError(
            "run.backend", "found ray, which is not installed", "pip install 'curation-audit[ray]'"
        ) from None
    module: ModuleType = ray
    return module


@contextlib.contextmanager
def _engine(ray: "ModuleType") -> Iterator[None]:
    """Ray as it is, or one that is started and stopped here."""
    if ray.is_initialized():
        yield
        return
    try:
        # what a task prints stays with its worker: it may quote private values
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    except ConnectionError:
        raise InputError(
            "RAY_ADDRESS", "found no Ray there", "start the cluster, or unset it for this machine"
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _told(ray: "ModuleType") -> Iterator[None]:
    """What befell machines is ``Unfinished``."""
    try:
        yield
    except ray.exceptions.RayError as error:
        raise Unfinished(
            f"Ray lost a task more than {MOST_RETRIES} times ({type(error).__name__}; "
            "out of memory?); what was finished is kept, run again to continue"
        ) from None


def _check_room(ray: "ModuleType", resources: Resources) -> None:
    """Raise ``SettingError`` where no node could ever take a task: it would wait for ever."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    asked = {"CPU": resources.cpus, "GPU": resources.gpus}
    if any(all(node.get(kind, 0) >= n for kind, n in asked.items()) for node in nodes):
        return
    most = {kind: max((node.get(kind, 0) for node in nodes), default=0) for kind in asked}
    raise SettingError(
        "run.resources",
        f"found {resources.cpus:g} cpus and {resources.gpus:g} gpus, which no node of Ray has",
        f"expected at most what a node has: {most['CPU']:g} and {most['GPU']:g}",
    )
