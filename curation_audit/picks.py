"""Picked rows of a pool by a release, in one process.

Memory holds one score per row of the pool, the batches in flight, and the picked rows.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from curation_audit.auditing.progress import Progress, Silence
from curation_audit.checks import InputError
from curation_audit.pipelines.base import SelectionRule
from curation_audit.pipelines.picking import picked_rows
from curation_audit.pipelines.pools import Pool
from curation_audit.pipelines.rules.cut import tie_hashes
from curation_audit.releases.release import Release
from curation_audit.types import Floats


@dataclass(frozen=True, slots=True)
class Picks:
    """Picked rows, best first: ``ids`` and ``scores`` float64 (k,).

    ``n_unscored`` rows of the pool miss a feature; they come behind all others.
    """

    ids: list[str]
    scores: Floats
    n_pool: int
    n_unscored: int

    @classmethod
    def of(
        cls, ids: list[str], scores: Floats, *, seed: int, n_pool: int, n_unscored: int
    ) -> "Picks":
        """Picked rows in any order; of equal scores the earlier of the tie order of an audit.

        Raises:
            InputError: for one id on several of them.
        """
        repeated = [one for one, n in Counter(ids).items() if n > 1]
        if repeated:
            raise InputError(
                f"public, id {repeated[0]!r}",
                f"is the id of several picked rows ({len(repeated)} such ids in all)",
                "ids must differ within a pool",
            )
        best = np.lexsort((tie_hashes(ids, str(seed)), -scores))
        return cls([ids[i] for i in best.tolist()], scores[best], n_pool, n_unscored)


def pick(
    release: Release, pool: Pool, rule: SelectionRule, seed: int, progress: Progress | None = None
) -> Picks:
    """Score a pool and pick from it.

    Raises:
        InputError: for a pool without the release's columns, or one id on several picked rows.
    """
    scores = np.empty(len(pool))
    at = 0
    # more threads round products otherwise, and workers score on one
    with threadpool_limits(1), (progress or Silence()).phase("scores", len(pool)) as advance:
        for block in pool.blocks(release.columns, release.width):
            scores[at : at + len(block)] = release.score(block)
            at += len(block)
            advance(len(block))
    rows = picked_rows(scores, rule, pool, seed)
    n_unscored = int(np.isnan(scores).sum())
    return Picks.of(
        pool.ids(rows), scores[rows], seed=seed, n_pool=len(pool), n_unscored=n_unscored
    )
