"""From the scores of a streamed pool to its picked rows, by any selection rule."""

from dataclasses import dataclass
from typing import Any

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
    ids_of = _Ids(pool)
    return select(scores, rule, ids_of, sizes=sizes, salt=salt).indices(scores, ids_of)


@dataclass(frozen=True, slots=True)
class _Ids:
    """The ids of a pool, looked up for tied rows only."""

    pool: Pool

    def __len__(self) -> int:
        return len(self.pool)

    def take(self, rows: Any) -> list[str]:
        return self.pool.ids(rows)
