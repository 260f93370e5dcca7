"""Curations in chunks of shadows: the unit of caching, resuming and distributing.

Chunk bounds depend on neither workers nor memory. A task is a pure function of the plan, so a
chunk that is found by its key equals the chunk that would be computed.
"""

import concurrent.futures
import contextlib
import hashlib
import inspect
import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import sklearn
import torch
from threadpoolctl import threadpool_limits

from curation_audit.auditing.curation import (
    Curated,
    Scope,
    score_shadows,
    select_and_train,
    shuffled_scores,
)
from curation_audit.auditing.plan import AuditPlan
from curation_audit.auditing.progress import Progress
from curation_audit.checks import InputError
from curation_audit.game import paired_inclusion
from curation_audit.storage import ChunkStore, array_digest, code_digest, content_key
from curation_audit.streams import Streams
from curation_audit.training.device import resolve_device

SHADOWS_PER_CHUNK = 16
CHUNK_FORMAT = 2


@dataclass(frozen=True, slots=True)
class Task:
    """Shadows ``start`` to ``stop`` of one family."""

    scope: Scope
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Curations:
    """All curations of an audit, and the keys of the chunks that they came from."""

    real: Curated
    shadows: Curated
    null: Curated
    keys: tuple[str, ...]
    n_chunks: int
    n_reused: int


def describe(part: Any) -> dict[str, Any]:
    """The name and the public settings of a scorer, rule, downstream model or attack.

    A part without settings of its own describes itself by ``describe()``; what it gives must
    change whenever its results do. A part from outside this package is told apart by where it
    is defined and by that file's content.
    """
    if hasattr(part, "describe"):
        return {"name": part.name, **part.describe(), **_origin(part)}
    if not is_dataclass(part) or isinstance(part, type):
        raise ValueError(f"{part!r} must be a frozen dataclass or have describe().")
    settings = asdict(part)
    if "device" in settings:
        settings["device"] = resolve_device(settings["device"]).type
    return {"name": getattr(part, "name", type(part).__name__), **settings, **_origin(part)}


def _origin(part: Any) -> dict[str, Any]:
    """Where a stranger's class is defined; nothing for our own, which ``code_digest`` covers."""
    kind = type(part)
    if kind.__module__.split(".")[0] == __name__.split(".")[0]:
        return {}
    try:
        source = Path(inspect.getfile(kind)).read_bytes()
    except (OSError, TypeError):
        raise InputError(
            f"{kind.__module__}.{kind.__qualname__}",
            "is defined in no file, so that its results cannot be told from an earlier version's",
            "put the class into a module",
        ) from None
    return {
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "source": hashlib.sha256(source).hexdigest(),
    }


def plan_parts(plan: AuditPlan) -> dict[str, Any]:
    """What shapes every chunk of a plan."""
    data = plan.data
    arrays = {
        "private": data.private.features,
        "unit": data.private.unit,
        "private labels": data.private.labels,
        "pool": data.pool.features,
        "pool labels": data.pool.labels,
        "pool ids": np.array(data.pool.ids),
        "test": None if data.test is None else data.test.features,
        "test labels": None if data.test is None else data.test.labels,
    }
    return {
        "format": CHUNK_FORMAT,
        "code": code_digest(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "scikit-learn": sklearn.__version__,
        "torch": torch.__version__,
        "data": array_digest(arrays),
        "classes": list(data.classes),
        "scorer": describe(plan.scorer),
        "rule": describe(plan.rule),
        "downstream": None if plan.downstream is None else describe(plan.downstream),
        "utility": plan.utility,
        "seed": plan.seed,
    }


def tasks_of(n_shadows: int, scope: Scope) -> list[Task]:
    """The chunks of one family of shadows."""
    starts = range(0, n_shadows, SHADOWS_PER_CHUNK)
    return [Task(scope, start, min(start + SHADOWS_PER_CHUNK, n_shadows)) for start in starts]


def run_task(plan: AuditPlan, task: Task, real_scores: np.ndarray | None) -> Curated:
    """Compute one chunk on one thread; ``real_scores`` (1, m) are needed for null shadows."""
    streams = Streams(plan.seed)
    of_chunk = streams.for_shadows(task.scope, range(task.start, task.stop))
    n_candidates = plan.data.private.n_candidates
    with one_thread():
        if task.scope == "null":
            if real_scores is None:
                raise ValueError("null shadows need the real scores.")
            scores = shuffled_scores(real_scores, of_chunk)
        else:
            if task.scope == "real":
                inclusion = np.ones((1, n_candidates), dtype=bool)
            else:
                everything = paired_inclusion(plan.attack.shadows, n_candidates, streams)
                inclusion = everything[task.start : task.stop]
            scores = checked_scores(score_shadows(plan, inclusion, of_chunk), task, plan)
        return select_and_train(plan, scores, of_chunk)


def checked_scores(scores: np.ndarray, task: Task, plan: AuditPlan) -> np.ndarray:
    """The scores, if they are what a scorer owes: finite, (S, m).

    Raises:
        InputError: naming the scorer; it may be the user's own.
    """
    expected = (task.stop - task.start, len(plan.data.pool))
    where = f"curate.scorer {plan.scorer.name!r}"
    if scores.shape != expected:
        raise InputError(where, f"gave scores of shape {scores.shape}, expected {expected}")
    if not np.isfinite(scores).all():
        raise InputError(where, "gave scores that are NaN or infinite", "expected finite numbers")
    return scores


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """BLAS and torch on one thread: faster for small batches, and the same bits every time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


def run_curations(plan: AuditPlan, store: ChunkStore, progress: Progress) -> Curations:
    """The real curation, all shadows and all null shadows; from the store where they are."""
    parts = plan_parts(plan)
    tasks = [
        Task("real", 0, 1),
        *tasks_of(plan.attack.shadows, "shadow"),
        *tasks_of(plan.attack.shadows, "null"),
    ]
    keys = [content_key({**parts, **asdict(task)}) for task in tasks]
    found: dict[Task, Curated] = {}
    for task, key in zip(tasks, keys, strict=True):
        arrays = store.load(key)
        if arrays is not None:
            found[task] = Curated.from_arrays(arrays)
    n_reused = len(found)
    with progress.phase("curations", len(tasks)) as advance:
        advance(n_reused)
        if tasks[0] not in found:
            found[tasks[0]] = run_task(plan, tasks[0], None)
            store.save(keys[0], found[tasks[0]].to_arrays())
            advance(1)
        real_scores = found[tasks[0]].observation.scores
        missing = [task for task in tasks if task not in found]
        key_of = dict(zip(tasks, keys, strict=True))
        for task, curated in _computed(plan, missing, real_scores):
            store.save(key_of[task], curated.to_arrays())
            found[task] = curated
            advance(1)
    return Curations(
        real=found[tasks[0]],
        shadows=Curated.concatenate([found[t] for t in tasks if t.scope == "shadow"]),
        null=Curated.concatenate([found[t] for t in tasks if t.scope == "null"]),
        keys=tuple(keys),
        n_chunks=len(tasks),
        n_reused=n_reused,
    )


def _computed(
    plan: AuditPlan, tasks: Sequence[Task], real_scores: np.ndarray
) -> Iterator[tuple[Task, Curated]]:
    """Compute tasks here, or in worker processes; in the order in which they finish."""
    if plan.run.workers == 1 or len(tasks) < 2:
        for task in tasks:
            yield task, run_task(plan, task, real_scores)
        return
    check_it_can_travel(plan)
    with concurrent.futures.ProcessPoolExecutor(
        max_workers=min(plan.run.workers, len(tasks)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(plan, real_scores),
    ) as pool:
        futures = {pool.submit(_work, task): task for task in tasks}
        try:
            for future in concurrent.futures.as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def check_it_can_travel(plan: AuditPlan) -> None:
    """Raise ``InputError`` for a plan that cannot be sent to this run's own workers."""
    try:
        ForkingPickler.dumps(plan)
    except Exception as error:  # a stranger's object may fail in any way
        raise InputError(
            "run.workers",
            f"the pipeline cannot be sent to worker processes ({type(error).__name__})",
            "define your callables at the top level of a module, or use workers: 1",
        ) from None


class _Worker:
    """What a worker process was started with; set once per process."""

    plan: AuditPlan
    real_scores: np.ndarray


def _start_worker(plan: AuditPlan, real_scores: np.ndarray) -> None:
    _Worker.plan, _Worker.real_scores = plan, real_scores
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """End this worker when the audit is killed; it would wait for work forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(task: Task) -> Curated:
    return run_task(_Worker.plan, task, _Worker.real_scores)
