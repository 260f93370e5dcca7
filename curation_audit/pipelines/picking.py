"""From the scores of a streamed pool to its picked rows, by any selection rule."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from curation_audit.pipelines.base import SelectionRule
from curation_audit.pipelines.pools import Pool
from curation_audit.pipelines.rules.cut import Counted, select, tie_order
from curation_audit.pipelines.rules.group_cuts import rows_by_group, select_groups
from curation_audit.pipelines.rules.per_group import PerGroup
from curation_audit.pipelines.rules.sampled import GumbelTopK, Pareto
from curation_audit.pipelines.rules.token_budget import TokenBudget
from curation_audit.pipelines.rules.top import TopK
from curation_audit.streams import Streams
from curation_audit.types import Floats, Indices


def check_pickable(rule: SelectionRule, pool: Pool) -> None:
    """Raise ``InputError`` where a rule cannot pick from a pool, whatever the scores will be."""
    if isinstance(rule, Counted):
        rule.size(len(pool))
    elif isinstance(rule, GumbelTopK):
        TopK(k=rule.k).size(len(pool))
    elif isinstance(rule, TokenBudget):
        rule.check_sizes(pool.sizes())
    elif isinstance(rule, PerGroup):
        groups = pool.groups(rule.by)
        rule.counts({name: len(rows) for name, rows in rows_by_group(groups, len(pool))})


def picked_rows(scores: Floats, rule: SelectionRule, pool: Pool, seed: int) -> Indices:
    """The rows of a pool that a rule keeps, int64, ascending; equal to the picks of an audit.

    Rules of one cut hold nothing beside the scores (m,); those with groups or a budget hold these
    too, and those that draw hold a hash of every id, as a row's noise goes by it.

    Raises:
        InputError: as ``check_pickable``.
    """
    salt = str(seed)
    if isinstance(rule, PerGroup):
        groups, ids = pool.groups(rule.by), pool.ids(np.arange(len(pool)))
        cuts = select_groups(scores, rule, groups, ids, salt=salt)
        return np.flatnonzero(cuts.mask(scores, groups, ids))
    if isinstance(rule, GumbelTopK | Pareto):
        rank = tie_order(pool.ids(np.arange(len(pool))), seed)
        streams = Streams(seed).for_shadows("real", (0,))  # as the audit's own
        return rule.select(scores[None, :], rank, streams).indices
    sizes = pool.sizes() if isinstance(rule, TokenBudget) else None
    names = PoolIds(pool)
    return select(scores, rule, names, sizes=sizes, salt=salt).indices(scores, names)


@dataclass(frozen=True, slots=True)
class PoolIds:
    """The ids of a pool as cuts take them: only those that are asked for are read."""

    pool: Pool

    def __len__(self) -> int:
        return len(self.pool)

    def take(self, rows: Indices) -> list[str]:
        """The ids of some rows, which ascend."""
        return self.pool.ids(rows)


class HeldPoolIds:
    """The same where many groups ask one after another: all ids are read when the first does."""

    def __init__(self, pool: Pool) -> None:
        """Of a pool, or a shard of one."""
        self._pool = pool

    def __len__(self) -> int:
        return len(self._pool)

    @cached_property
    def _all(self) -> list[str]:
        return self._pool.ids(np.arange(len(self._pool)))

    def take(self, rows: Indices) -> list[str]:
        """The ids of some rows."""
        return [self._all[row] for row in rows.tolist()]
