"""The cut of a pool in shards, which are read once a pass and never held together.

A pass asks one question (``CountDigits``, ``FindTies``) of every shard, wherever it lies, and adds
the answers up. ``cut_of_shards`` asks here; ``cut_by_asking`` whoever is given to it.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias, TypeVar

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


T = TypeVar("T")
Read: TypeAlias = Callable[[], Iterable[Shard]]


class AskAll(Protocol):
    """Asks all shards of a pool."""

    def __call__(self, question: Callable[[Shard], T], /) -> Iterable[T]:
        """The answer of every shard, once each, in any order; the question is a pure function."""
        ...


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
    return cut_by_asking(_Here(read), rule, salt=salt, bits=bits)


def cut_by_asking(ask: AskAll, rule: Any, *, salt: str = "0", bits: int = 64) -> Cut:
    """As ``cut_of_shards``, of shards that are asked where they lie: at most five questions."""
    if isinstance(rule, Levelled):
        return cut_at_levels(rule, salt)
    passes = _Passes(ask, bits, salt, sized=isinstance(rule, TokenBudget))
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
    return cuts_by_asking(_Here(read), rule, salt=salt, bits=bits)


def cuts_by_asking(ask: AskAll, rule: PerGroup, *, salt: str = "0", bits: int = 64) -> GroupCuts:
    """As ``cuts_of_shards``, of shards that are asked where they lie."""
    passes = _Passes(ask, bits, salt, grouped=True)
    first = passes.count(None)
    wanted = rule.counts({name: first[name].total for name in sorted(first)})
    return GroupCuts(passes.cuts(first, {name: k for name, k in wanted.items() if k > 0}))


@dataclass(frozen=True, slots=True)
class _Here:
    """Shards that this process reads, one after another."""

    read: Read

    def __call__(self, question: Callable[[Shard], T], /) -> Iterable[T]:
        return map(question, self.read())


@dataclass(frozen=True, slots=True)
class _Passes:
    """Passes over all shards; a pool without groups is one group without a name."""

    ask: AskAll
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
        if prefixes is not None and not prefixes:
            return {}
        question = CountDigits(self.bits, prefixes, sized=self.sized, grouped=self.grouped)
        return _summed(self.ask(question))

    def ties(self, cuts: Mapping[str, tuple[Prefix, int]]) -> dict[str, Ties]:
        """The last pass: the rows with just the key of the cut, and how many of them fit."""
        if not cuts:
            return {}
        question = FindTies(self.bits, cuts, self.salt, sized=self.sized, grouped=self.grouped)
        return _summed(self.ask(question))


@dataclass(frozen=True, slots=True)
class CountDigits:
    """The question of a pass: how many units of a shard have which next digit, by group.

    ``prefixes``: the digits that are known of the groups that matter; ``None`` for all groups and
    the first digit.
    """

    bits: int
    prefixes: Mapping[str, Prefix] | None
    sized: bool = False
    grouped: bool = False

    def __call__(self, shard: Shard) -> dict[str, Histogram]:
        """The histograms of one shard."""
        counted = {}
        for name, keys, rows in _parts(shard, self.bits, self.prefixes, grouped=self.grouped):
            prefix = Prefix(self.bits) if self.prefixes is None else self.prefixes[name]
            sizes = _sizes(shard)[rows] if self.sized else None
            counted[name] = Histogram.of(keys, prefix, sizes)
        return counted


@dataclass(frozen=True, slots=True)
class FindTies:
    """The question of the last pass: which rows of a shard have the key of the cut, by group.

    ``cuts``: that key as a whole prefix, and how many of its units fit.
    """

    bits: int
    cuts: Mapping[str, tuple[Prefix, int]]
    salt: str
    sized: bool = False
    grouped: bool = False

    def __call__(self, shard: Shard) -> dict[str, Ties]:
        """The ties of one shard."""
        tied = {}
        for name, keys, rows in _parts(shard, self.bits, self.cuts, grouped=self.grouped):
            prefix, budget = self.cuts[name]
            mine = rows[keys == prefix.value]
            sizes = _sizes(shard)[mine] if self.sized else None
            ids = ids_at(shard.ids, mine, len(shard.scores))
            tied[name] = Ties.of(tie_hashes(ids, self.salt), budget, sizes)
        return tied


Sum = TypeVar("Sum", Histogram, Ties)


def _summed(answers: Iterable[dict[str, Sum]]) -> dict[str, Sum]:
    total: dict[str, Sum] = {}
    for answer in answers:
        for name, part in answer.items():
            total[name] = total[name] + part if name in total else part
    return total


def _sizes(shard: Shard) -> Indices:
    return whole_sizes(shard.sizes, len(shard.scores))


def _parts(
    shard: Shard, bits: int, wanted: Container[str] | None, *, grouped: bool
) -> Iterator[tuple[str, AnyKeys, Indices]]:
    """The groups of a shard that are wanted, with the keys and the places of their rows."""
    if shard.ids is None:
        raise SettingError("ids", "are missing", "rows of shards need ids of their own")
    keys = KEYS[bits](shard.scores)
    if not grouped:
        yield WHOLE_POOL, keys, np.arange(len(keys))
        return
    for name, rows in rows_by_group(shard.groups, len(keys)):
        if wanted is None or name in wanted:
            yield name, keys[rows], rows
