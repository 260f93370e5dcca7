"""Curations in chunks of shadows: the unit of caching, resuming and distributing.

Chunk bounds depend on neither workers nor memory. A task is a pure function of the plan, so a
chunk that is found by its key equals the chunk that would be computed.
"""

import hashlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from curation_audit.auditing.curation import (
    Curated,
    Scope,
    score_shadows,
    select_and_ask,
    select_and_train,
    shuffled_scores,
)
from curation_audit.auditing.plan import AuditPlan
from curation_audit.auditing.planting import Planting, plant, plants, with_planted
from curation_audit.auditing.progress import Progress
from curation_audit.backends import BACKENDS
from curation_audit.backends.base import Placement, Work
from curation_audit.checks import InputError
from curation_audit.game import paired_inclusion
from curation_audit.pipelines.downstream.repeated import Repeated
from curation_audit.software import check_software, software
from curation_audit.storage import ChunkStore, array_digest, content_key
from curation_audit.streams import ShadowStreams, Streams
from curation_audit.training.device import one_thread, resolve_device
from curation_audit.types import Inclusion, Scores

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
    """All curations of an audit, and the keys of the chunks that they came from.

    ``planted`` and ``planted_null`` are curations of a pool with planted rows: scores, picks and
    probabilities of these rows only. ``shadows`` and ``null`` hold the probabilities too.
    """

    real: Curated
    shadows: Curated
    null: Curated
    keys: tuple[str, ...]
    n_chunks: int
    n_reused: int
    planted: Curated | None = None
    planted_null: Curated | None = None


def describe(part: Any) -> dict[str, Any]:
    """The name and the public settings of a scorer, rule, downstream model or attack.

    A part without settings of its own describes itself by ``describe()``; what it gives must
    change whenever its results do. A part from outside this package is told apart by where it
    is defined and by that file's content.
    """
    if isinstance(part, Repeated):
        return {**describe(part.model), "repeats": part.repeats}
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
        "private ids": np.array(data.private.ids),
        "unit": data.private.unit,
        "owner": data.private.owners,
        "private labels": data.private.labels,
        "pool": data.pool.features,
        "pool labels": data.pool.labels,
        "pool ids": np.array(data.pool.ids),
        "pool sizes": data.pool.sizes,
        **{f"pool group {name}": np.array(of) for name, of in sorted(data.pool.groups.items())},
        "test": None if data.test is None else data.test.features,
        "test labels": None if data.test is None else data.test.labels,
    }
    return {
        "format": CHUNK_FORMAT,
        **software(),
        "data": array_digest(arrays),
        "classes": list(data.classes),
        "scorer": describe(plan.scorer),
        "rule": describe(plan.rule),
        "downstream": None if plan.downstream is None else describe(plan.downstream),
        "fine-tuning": None if plan.fine_tuned is None else plan.fine_tuned.model.describe(),
        "utility": plan.utility,
        "seed": plan.seed,
    }


def tasks_of(n_shadows: int, scope: Scope) -> list[Task]:
    """The chunks of one family of shadows."""
    starts = range(0, n_shadows, SHADOWS_PER_CHUNK)
    return [Task(scope, start, min(start + SHADOWS_PER_CHUNK, n_shadows)) for start in starts]


def tasks_of_plan(n_shadows: int, *, planted: bool) -> list[Task]:
    """All chunks of an audit; the real curation first."""
    scopes: tuple[Scope, ...] = ("shadow", "null")
    if planted:
        scopes += ("planted", "planted null")
    chunks = [task for scope in scopes for task in tasks_of(n_shadows, scope)]
    return [Task("real", 0, 1), *chunks]


def run_task(
    plan: AuditPlan,
    task: Task,
    real_scores: np.ndarray | None,
    planting: Planting | None = None,
) -> Curated:
    """Compute one chunk on one thread.

    Null shadows need ``real_scores`` (1, m), those with planted rows the ``planting``.
    """
    of_chunk = Streams(plan.seed).for_shadows(task.scope, range(task.start, task.stop))
    held = held_by(plan, task, of_chunk)
    with one_thread():
        if not task.scope.startswith("planted"):
            scores = _scores(plan, task, held, real_scores, of_chunk)
            return select_and_train(plan, scores, of_chunk, held)
        if planting is None:
            raise ValueError("planted shadows need planted rows.")
        grown = with_planted(plan, planting)
        scores = _scores(grown, task, held, real_scores, of_chunk)
        return select_and_ask(grown, scores, len(planting.features), of_chunk, held)


def held_by(plan: AuditPlan, task: Task, streams: ShadowStreams) -> Inclusion:
    """Whom the shadows of one chunk hold, bool (S, N).

    Everyone for the real curation, and for null shadows, whose models may not tell the coins: they
    differ from the real one in the picks alone, wherever models are fine-tuned.
    """
    n_candidates = plan.data.private.n_candidates
    if task.scope in ("real", "null", "planted null"):
        return np.ones((task.stop - task.start, n_candidates), dtype=bool)
    everything = paired_inclusion(plan.attack.shadows, n_candidates, streams.root)
    return everything[task.start : task.stop]


def _scores(
    plan: AuditPlan,
    task: Task,
    held: Inclusion,
    real_scores: np.ndarray | None,
    streams: ShadowStreams,
) -> Scores:
    """The scores of one chunk: of the coins, or of nothing for null shadows."""
    if task.scope in ("null", "planted null"):
        if real_scores is None:
            raise ValueError("null shadows need the real scores.")
        n_planted = len(plan.data.pool) - real_scores.shape[1]
        return shuffled_scores(real_scores, streams, n_planted)
    return checked_scores(score_shadows(plan, held, streams), task, plan)


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


def plant_once(plan: AuditPlan, store: ChunkStore) -> Planting | None:
    """The planted rows of a plan, from the store where they are; ``None`` where there are none."""
    if not plants(plan):
        return None
    budget = {"may_insert": plan.threat.may_insert, "queries": plan.threat.queries}
    key = content_key({**plan_parts(plan), "planting": budget})
    arrays = store.load(key)
    if arrays is not None:
        return Planting.from_arrays(arrays)
    with one_thread():
        planting = plant(plan)
    store.save(key, planting.to_arrays())
    return planting


@dataclass(frozen=True, slots=True)
class CurationJob:
    """What computes the chunks of an audit, here or on another machine.

    ``real_scores`` (1, m) are those of the real curation. ``software`` and ``device`` are those of
    the machine that the keys of the chunks come from.
    """

    plan: AuditPlan
    real_scores: Scores
    planting: Planting | None
    software: Mapping[str, str]
    device: str

    def check_here(self) -> None:
        """Raise ``InputError`` where other software or another device would compute."""
        check_software(self.software)
        if resolve_device(self.plan.run.device).type != self.device:
            problem = "a worker has another device than this machine"
            raise InputError("run.backend", problem, "set run.device to cpu or cuda")

    def run(self, task: Task) -> Curated:
        """One chunk."""
        return run_task(self.plan, task, self.real_scores, self.planting)


@dataclass(frozen=True, slots=True)
class Stored:
    """The chunks of an audit in its store."""

    store: ChunkStore
    key_of: Mapping[Task, str]

    def find(self, task: Task) -> Curated | None:
        """A chunk, if it is there and whole."""
        arrays = self.store.load(self.key_of[task])
        return None if arrays is None else Curated.from_arrays(arrays)

    def keep(self, task: Task, curated: Curated) -> None:
        """Store a chunk."""
        self.store.save(self.key_of[task], curated.to_arrays())


def work_of(
    plan: AuditPlan,
    stored: Stored,
    tasks: Sequence[Task],
    real: Curated,
    planting: Planting | None,
) -> Work[Task, Curated]:
    """What a backend is given."""
    device = resolve_device(plan.run.device).type
    job = CurationJob(plan, real.observation.scores, planting, software(), device)
    return Work(job=job, tasks=tasks, find=stored.find, keep=stored.keep)


def stored_chunks(plan: AuditPlan, store: ChunkStore, planting: Planting | None) -> Stored:
    """All chunks of an audit, the real curation first, whether they are there or not."""
    tasks = tasks_of_plan(plan.attack.shadows, planted=planting is not None)
    return Stored(store, _keys(plan, tasks, planting))


def run_curations(
    plan: AuditPlan, store: ChunkStore, progress: Progress, planting: Planting | None = None
) -> Curations:
    """The real curation and all families of shadows; from the store where they are.

    With a ``planting`` every shadow, and every null one, runs a second time on the pool that
    holds the planted rows.
    """
    stored = stored_chunks(plan, store, planting)
    tasks = list(stored.key_of)
    looked = {task: stored.find(task) for task in tasks}
    found = {task: curated for task, curated in looked.items() if curated is not None}
    n_reused = len(found)
    with progress.phase("curations", len(tasks)) as advance:
        advance(n_reused)
        if tasks[0] not in found:
            found[tasks[0]] = run_task(plan, tasks[0], None)
            stored.keep(tasks[0], found[tasks[0]])
            advance(1)
        missing = [task for task in tasks if task not in found]
        work = work_of(plan, stored, missing, found[tasks[0]], planting)
        for task, curated in BACKENDS[plan.run.backend](placement_of(plan)).results(work):
            found[task] = curated
            advance(1)
    family = {
        scope: Curated.concatenate([found[task] for task in tasks if task.scope == scope])
        for scope in dict.fromkeys(task.scope for task in tasks)
    }
    planted, planted_null = family.get("planted"), family.get("planted null")
    return Curations(
        real=family["real"],
        shadows=_with_answers(family["shadow"], planted),
        null=_with_answers(family["null"], planted_null),
        keys=tuple(stored.key_of.values()),
        n_chunks=len(tasks),
        n_reused=n_reused,
        planted=planted,
        planted_null=planted_null,
    )


def placement_of(plan: AuditPlan) -> Placement:
    """Where the plan says that its chunks are computed."""
    run = plan.run
    return Placement(
        n_workers=run.n_workers,
        resources=run.resources,
        slurm=run.slurm,
        out=run.out,
        origin=plan.origin,
    )


def _keys(plan: AuditPlan, tasks: Sequence[Task], planting: Planting | None) -> dict[Task, str]:
    """What each chunk is stored under; planted rows count as rows of the pool."""
    parts = plan_parts(plan)
    grown = parts if planting is None else plan_parts(with_planted(plan, planting))
    return {
        task: content_key(
            {**(grown if task.scope.startswith("planted") else parts), **asdict(task)}
        )
        for task in tasks
    }


def _with_answers(curated: Curated, planted: Curated | None) -> Curated:
    """The curations, and what their twins with planted rows say of these rows."""
    if planted is None:
        return curated
    answers = planted.observation.probabilities
    return replace(curated, observation=replace(curated.observation, planted=answers))
