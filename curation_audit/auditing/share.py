"""A share of an audit's chunks, for schedulers that know nothing of audits.

Workers and whoever ends the audit meet in the run folder only. Chunks are found by what shaped
them, so it does not matter who computed one, how often, or under which share.
"""

from dataclasses import dataclass

from curation_audit.auditing.chunks import (
    Stored,
    Task,
    placement_of,
    plant_once,
    run_task,
    stored_chunks,
    work_of,
)
from curation_audit.auditing.curation import Curated
from curation_audit.auditing.plan import AuditPlan
from curation_audit.auditing.planting import Planting
from curation_audit.auditing.progress import Progress
from curation_audit.backends.local import Local
from curation_audit.checks import SettingError
from curation_audit.storage import ChunkStore


@dataclass(frozen=True, slots=True)
class Share:
    """How many chunks a worker owes beside the real curation, and how many were there before."""

    n_chunks: int
    n_reused: int


def compute_share(plan: AuditPlan, shard: int, of: int, progress: Progress) -> Share:
    """Compute the chunks ``shard``, ``shard + of``, ... of those beside the real curation.

    ``plan.run.n_workers`` processes do it. Takes no lock: workers run beside one another and
    beside the audit that waits for them.

    Raises:
        InputError: as an audit.
        OSError: if the run folder cannot be written; what was finished stays there.
    """
    stored, planting = _open(plan)
    first, *rest = stored.key_of
    real = _real(plan, stored, first)
    mine = rest[shard::of]
    missing = [task for task in mine if stored.find(task) is None]
    n_reused = len(mine) - len(missing)
    with progress.phase("curations", len(mine)) as advance:
        advance(n_reused)
        work = work_of(plan, stored, missing, real, planting)
        for _ in Local(placement_of(plan)).results(work):
            advance(1)
    return Share(len(mine), n_reused)


def n_missing(plan: AuditPlan) -> tuple[int, int]:
    """How many chunks are not there yet, and of how many; nothing but planted rows is computed."""
    stored, _ = _open(plan)
    missing = sum(stored.find(task) is None for task in stored.key_of)
    return missing, len(stored.key_of)


def _open(plan: AuditPlan) -> tuple[Stored, Planting | None]:
    if plan.run.out is None:
        raise SettingError("run.out", "is missing", "workers meet in the run folder")
    store = ChunkStore.beside_others(plan.run.out / "cache")
    planting = plant_once(plan, store)
    return stored_chunks(plan, store, planting), planting


def _real(plan: AuditPlan, stored: Stored, task: Task) -> Curated:
    """The real curation, which every worker needs: the first to miss it computes it."""
    found = stored.find(task)
    if found is None:
        found = run_task(plan, task, None)
        stored.keep(task, found)
    return found
