"""The cut of a pool in shards, which are read once a pass and never held together.

For jobs on many machines ``radix`` has the parts: the loop here is what their coordinator does.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np

from curation_audit.checks import SettingError
from curation_audit.pipelines.rules.cut import (
    Counted,
    Cut,
    Levelled,
    cut_at_levels,
    everything,
    ids_at,
    no_cut,
    order_keys,
    tie_hashes,
    whole_sizes,
)
from curation_audit.pipelines.rules.group_cuts import GroupCuts, rows_by_group
from curation_audit.pipelines.rules.per_group import PerGroup
from curation_audit.pipelines.rules.radix import (
    DIGIT,
    AnyKeys,
    Histogram,
    Prefix,
    Ties,
    order_keys32,
    score_of,
)
from curation_audit.pipelines.rules.token_budget import TokenBudget
from curation_audit.types import Indices

KEYS: Final[Mapping[int, Callable[[Any], AnyKeys]]] = {64: order_keys, 32: order_keys32}
WHOLE_POOL: Final = ""


@dataclass(frozen=True, slots=True, eq=False)
class Shard:
    """Some rows of a pool: their ``scores`` (rows,), their ids, and where a rule needs them more.

    ``sizes`` (rows,) are whole numbers, ``groups`` (rows,) texts. Ids differ in the whole pool.
    """

    scores: Any
    ids: Any
    sizes: Any = None
    groups: Any = None


Read: TypeAlias = Callable[[], Iterable[Shard]]


def cut_of_shards(read: Read, rule: Any, *, salt: str = "0", bits: int = 64) -> Cut:
    """The ``Cut`` that ``select`` gives on all rows together.

    Args:
        read: gives all shards, in any order and layout; it is called once a pass.
        rule: as for ``select``.
        salt: a public word that shuffles equal scores.
        bits: 64, or 32 for float32 scores, which needs two passes less.

    Raises:
        SettingError: as ``select``.
    """
    if isinstance(rule, Levelled):
        return cut_at_levels(rule, salt)
    passes = _Passes(read, bits, salt, sized=isinstance(rule, TokenBudget))
    first = passes.count({WHOLE_POOL: Prefix(bits)})
    total = first[WHOLE_POOL].total if first else 0
    if isinstance(rule, TokenBudget):
        rule.check_total(total)
        return passes.cuts(first, {WHOLE_POOL: rule.budget})[WHOLE_POOL]
    if isinstance(rule, Counted):
        return passes.cuts(first, {WHOLE_POOL: rule.size(total)})[WHOLE_POOL]
    raise no_cut(rule)


def cuts_of_shards(read: Read, rule: PerGroup, *, salt: str = "0", bits: int = 64) -> GroupCuts:
    """The cuts that ``select_groups`` gives on all rows together; the rest as ``cut_of_shards``.

    A pass holds 512 KB for every group.
    """
    passes = _Passes(read, bits, salt, grouped=True)
    first = passes.count(None)
    wanted = rule.counts({name: first[name].total for name in sorted(first)})
    return GroupCuts(passes.cuts(first, {name: k for name, k in wanted.items() if k > 0}))


@dataclass(frozen=True, slots=True)
class _Passes:
    """Passes over all shards; a pool without groups is one group without a name."""

    read: Read
    bits: int
    salt: str
    sized: bool = False
    grouped: bool = False

    def cuts(self, first: Mapping[str, Histogram], kept: Mapping[str, int]) -> dict[str, Cut]:
        """The cut of every group that keeps ``kept`` units, from its first digits on.

        The key at the cut is that of the last row of ``kept`` rows, but of the first row that does
        not fit where sizes are counted.
        """
        beyond = 1 if self.sized else 0
        partly = {name: units for name, units in kept.items() if units < first[name].total}
        found = {name: first[name].narrow(units + beyond) for name, units in partly.items()}
        for _ in range(self.bits // DIGIT - 1):
            counted = self.count({name: prefix for name, (prefix, _) in found.items()})
            found = {name: counted[name].narrow(rank) for name, (_, rank) in found.items()}
        ties = self.ties({name: (prefix, rank - beyond) for name, (prefix, rank) in found.items()})
        whole = {name: everything(self.salt) for name in kept}
        return whole | {
            name: Cut(score_of(prefix.value, self.bits), ties[name].bound(), self.salt)
            for name, (prefix, _) in found.items()
        }

    def count(self, prefixes: Mapping[str, Prefix] | None) -> dict[str, Histogram]:
        """One pass: the next digits of the groups that are asked about; ``None`` for all."""
        counted: dict[str, Histogram] = {}
        for name, keys, rows, shard in self._parts(prefixes):
            prefix = Prefix(self.bits) if prefixes is None else prefixes[name]
            sizes = whole_sizes(shard.sizes, len(shard.scores))[rows] if self.sized else None
            found = Histogram.of(keys, prefix, sizes)
            counted[name] = counted[name] + found if name in counted else found
        return counted

    def ties(self, cuts: Mapping[str, tuple[Prefix, int]]) -> dict[str, Ties]:
        """The last pass: the rows with just the key of the cut, and how many of them fit."""
        tied: dict[str, Ties] = {}
        for name, keys, rows, shard in self._parts(cuts):
            prefix, budget = cuts[name]
            mine = rows[keys == prefix.value]
            sizes = whole_sizes(shard.sizes, len(shard.scores))[mine] if self.sized else None
            ids = ids_at(shard.ids, mine, len(shard.scores))
            found = Ties.of(tie_hashes(ids, self.salt), budget, sizes)
            tied[name] = tied[name] + found if name in tied else found
        return tied

    def _parts(
        self, wanted: Container[str] | None
    ) -> Iterator[tuple[str, AnyKeys, Indices, Shard]]:
        """The groups of every shard with the keys and the places of their rows."""
        if wanted is not None and not wanted:
            return
        for shard in self.read():
            if shard.ids is None:
                raise SettingError("ids", "are missing", "rows of shards need ids of their own")
            keys = KEYS[self.bits](shard.scores)
            if not self.grouped:
                yield WHOLE_POOL, keys, np.arange(len(keys)), shard
                continue
            for name, rows in rows_by_group(shard.groups, len(keys)):
                if wanted is None or name in wanted:
                    yield name, keys[rows], rows, shard
