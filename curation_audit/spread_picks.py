"""Picked rows of a pool by a release, by many workers: the same as one process picks.

Workers score the shards of the pool; the cut comes from counts of shards that add up
(``rules.shards``), so that no process ever holds the scores; then every shard is asked for its
picked rows.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from curation_audit.auditing.progress import Progress
from curation_audit.auditing.run_settings import RunSettings
from curation_audit.backends import BACKENDS
from curation_audit.backends.base import Backend, Origin, Placement, Work
from curation_audit.backends.local import Local
from curation_audit.picks import Picks
from curation_audit.pipelines.base import SelectionRule
from curation_audit.pipelines.picking import picked_rows
from curation_audit.pipelines.pools import Pool
from curation_audit.pipelines.rules.cut import Cut
from curation_audit.pipelines.rules.group_cuts import GroupCuts
from curation_audit.pipelines.rules.per_group import PerGroup
from curation_audit.pipelines.rules.sampled import GumbelTopK, Pareto
from curation_audit.pipelines.rules.shards import Shard, cut_by_asking, cuts_by_asking
from curation_audit.pool_shards import (
    FOLDER,
    AskShard,
    PoolShard,
    ScoreFolder,
    ScoreShard,
    TakePicked,
    key_of,
    n_unscored,
    pool_changed,
)
from curation_audit.releases.release import Release
from curation_audit.software import software
from curation_audit.types import Floats

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Workers:
    """Who scores shards, and who is asked about them."""

    score: Backend[PoolShard, int]
    ask: Backend[PoolShard, Any]

    @classmethod
    def of(cls, run: RunSettings, out: Path, origin: Origin | None = None) -> "Workers":
        """Those of a pipeline; jobs of Slurm only score, and this process asks."""
        placement = Placement(
            n_workers=run.n_workers,
            resources=run.resources,
            slurm=run.slurm,
            out=out,
            origin=origin,
        )
        score: Backend[PoolShard, Any] = BACKENDS[run.backend](placement)
        here: Backend[PoolShard, Any] = Local(replace(placement, n_workers=1))
        return cls(score, here if run.backend == "slurm" else score)

    @contextlib.contextmanager
    def held(self) -> Iterator["Workers"]:
        """The same, with whatever starts slowly started once."""
        with self.score.held() as score:
            yield Workers(score, score if self.ask is self.score else self.ask)


def score_share(
    release: Release, pool: Pool, out: Path, share: slice, workers: Workers, progress: Progress
) -> int:
    """Score a share of a pool's shards into a folder; how many shards it has.

    Raises:
        InputError: for a pool without the release's columns.
        OSError: if the folder cannot be written; what was finished stays there.
    """
    shards = shards_of(release, pool)[share]
    _score(release, shards, ScoreFolder(out / FOLDER), workers, progress)
    return len(shards)


def shards_of(release: Release, pool: Pool) -> list[PoolShard]:
    """The shards of a pool, and what their scores are stored under."""
    by = software()
    return [PoolShard(i, rows, key_of(release, rows, by)) for i, rows in enumerate(pool.shards())]


def pick_apart(
    release: Release,
    pool: Pool,
    rule: SelectionRule,
    seed: int,
    *,
    out: Path,
    workers: Workers,
    progress: Progress,
) -> Picks:
    """As ``pick``, by workers that see ``out``; what was stopped goes on where it was.

    A rule that draws (Gumbel, Pareto) needs all scores at once: this process reads them.

    Raises:
        InputError: as ``pick``; and for a pool that changes, or workers that do not see ``out``.
    """
    shards, folder = shards_of(release, pool), ScoreFolder(out / FOLDER)
    with _unchanged(release, shards), workers.held() as held:
        n_missing = _score(release, shards, folder, held, progress)
        if isinstance(rule, GumbelTopK | Pareto):
            scores = _joined([folder.read(shard) for shard in shards])
            rows = picked_rows(scores, rule, pool, seed)
            ids, picked = pool.ids(rows), scores[rows]
        else:
            ids, picked = _taken(_Asking(shards, folder, rule, held, progress), rule, seed)
    return Picks.of(ids, picked, seed=seed, n_pool=len(pool), n_unscored=n_missing)


@contextlib.contextmanager
def _unchanged(release: Release, shards: Sequence[PoolShard]) -> Iterator[None]:
    """Refuse what was asked of a pool that changed after its scores were stored.

    A changed file may fail in any way before this looks, so that failures are looked at as well.
    """

    def check() -> None:
        by = software()
        if any(key_of(release, shard.rows, by) != shard.key for shard in shards):
            raise pool_changed()

    try:
        yield
    except Exception:
        check()
        raise
    check()


def _joined(scores: Sequence[Floats]) -> Floats:
    """Those of all shards, of which an empty pool has none."""
    return np.concatenate([np.empty(0), *scores])


def _score(
    release: Release,
    shards: Sequence[PoolShard],
    folder: ScoreFolder,
    workers: Workers,
    progress: Progress,
) -> int:
    """Score the shards that are not yet scored; how many rows of all have no score."""

    def found(shard: PoolShard) -> int | None:
        scores = folder.find(shard)
        return None if scores is None else n_unscored(scores)

    with progress.phase("scores", sum(len(shard.rows) for shard in shards)) as advance:
        looked = [(shard, found(shard)) for shard in shards]
        advance(sum(len(shard.rows) for shard, n in looked if n is not None))
        total = sum(n for _, n in looked if n is not None)
        missing = [shard for shard, n in looked if n is None]
        job = ScoreShard(release, folder, software())
        work = Work(job=job, tasks=missing, find=found, keep=_kept_by_workers)
        for shard, n in workers.score.results(work):
            total += n
            advance(len(shard.rows))
    return total


def _kept_by_workers(_shard: PoolShard, _result: object) -> None:
    """What the worker of a shard stored itself, or what nobody needs again."""


@dataclass(frozen=True, slots=True)
class _Asking:
    """All shards, asked by workers."""

    shards: Sequence[PoolShard]
    folder: ScoreFolder
    rule: SelectionRule
    workers: Workers
    progress: Progress

    def __call__(self, question: Callable[[Shard], T], /) -> Iterable[T]:
        return (answer for _, answer in self.numbered(question, "counts"))

    def numbered(self, question: Callable[[Shard], T], phase: str) -> Iterator[tuple[int, T]]:
        """Answers with the numbers of their shards."""
        job = AskShard(question, self.folder, self.rule, software())
        work = Work(job=job, tasks=self.shards, find=lambda _: None, keep=_kept_by_workers)
        with self.progress.phase(phase, len(self.shards)) as advance:
            for shard, answer in self.workers.ask.results(work):
                advance(1)
                yield shard.number, answer


def _taken(asking: _Asking, rule: SelectionRule, seed: int) -> tuple[list[str], Floats]:
    """The picked rows in the order of the pool: ids, and scores (k,)."""
    salt = str(seed)
    cut: Cut | GroupCuts
    if isinstance(rule, PerGroup):
        cut = cuts_by_asking(asking, rule, salt=salt)
    else:
        cut = cut_by_asking(asking, rule, salt=salt)
    found = dict(asking.numbered(TakePicked(cut), "picks"))
    ids = [one for number in sorted(found) for one in found[number][0]]
    return ids, _joined([found[number][1] for number in sorted(found)])
