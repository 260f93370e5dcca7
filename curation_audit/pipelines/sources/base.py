"""What a source is, what it reads, and which of the columns are what.

Rows are counted from 1 in every message, over all files of a set in the order of their names.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol, TypeAlias

from curation_audit.checks import InputError, known_columns
from curation_audit.types import Column


def quoted(names: Iterable[str], most: int = 5) -> str:
    """The first names in quotes.

    >>> quoted(["a", "b", "c"], most=2)
    "'a', 'b' and 1 more"
    """
    every = list(names)
    shown = ", ".join(repr(name) for name in every[:most])
    return shown if len(every) <= most else f"{shown} and {len(every) - most} more"


@dataclass(frozen=True, slots=True)
class RawTable:
    """Columns as they were read; ``where`` names the file or files for messages.

    Raises:
        InputError: where the columns differ in length or have more than two dimensions.
    """

    columns: Mapping[str, Column]
    where: str

    def __post_init__(self) -> None:
        """Check that the columns are columns of one table."""
        first = next(iter(self.columns), "")
        for name, column in self.columns.items():
            if column.ndim not in (1, 2):
                raise InputError(
                    f"{self.where}, column {name!r}",
                    f"has shape {column.shape}",
                    "expected one value or one vector per row",
                )
            if len(column) != len(self.columns[first]):
                raise InputError(
                    f"{self.where}, column {name!r}",
                    f"has {len(column)} rows, but column {first!r} has {len(self.columns[first])}",
                    "expected columns of one length",
                )

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))


@dataclass(frozen=True, slots=True)
class Roles:
    """Which columns of one table are what; all of them stand in the table."""

    features: tuple[str, ...]
    id: str | None
    label: str | None
    unit: str | None
    groups: tuple[str, ...] = ()
    content: str | None = None
    size: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that are needed, each once."""
        single = [name for name in self._single if name is not None]
        return tuple(dict.fromkeys([*self.features, *single, *self.groups]))

    @property
    def _single(self) -> tuple[str | None, ...]:
        return (self.id, self.label, self.unit, self.content, self.size)

    @property
    def text(self) -> frozenset[str]:
        """The columns that are names or texts and not numbers: "007" is not "7"."""
        of_text = (self.id, self.unit, self.content)
        return frozenset(name for name in of_text if name is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Which columns hold what.

    ``features`` may hold shell wildcards (``pixel_*``). With neither ``features`` nor
    ``embedding`` (one column of vectors) every column except id, label, unit and groups is a
    feature. ``groups`` are columns of categories by which results are told apart; one of them is
    a feature too where ``features`` names it. ``text`` is a column of texts, from which a feature
    step makes features; where it is named, only columns that are named are features beside it.
    ``size`` is a column of whole numbers, such as tokens per row, for rules with a budget.
    """

    id: str | None = None
    features: tuple[str, ...] | None = None
    embedding: str | None = None
    label: str | None = None
    groups: tuple[str, ...] = ()
    text: str | None = None
    size: str | None = None

    def roles(self, names: Sequence[str], where: str, unit: str | None = None) -> Roles:
        """Find the columns among ``names``.

        Raises:
            InputError: for a column that is not there, or where no feature column is left.
        """
        for name in (self.id, self.label, unit, self.embedding, self.text, self.size, *self.groups):
            if name is not None and name not in names:
                raise InputError(where, f"has no column {name!r}", known_columns(name, names))
        single = (self.id, self.label, unit, self.text, self.size)
        special = {name for name in single if name is not None}
        if taken := special & set(self.groups):
            raise InputError(
                where,
                f"column {min(taken)!r} is named as a group and as id, label or unit",
                "results are told apart by label anyway; leave it out of groups",
            )
        features = self._features(names, where, special | set(self.groups))
        if not features and self.text is None:
            raise InputError(
                where,
                f"has no feature columns, only {quoted(names) or 'none at all'}",
                "expected at least one beside id, label and unit",
            )
        if taken := special & set(features):
            raise InputError(
                where,
                f"column {min(taken)!r} is named as a feature and as id, label or unit",
                "give each column one role",
            )
        groups = tuple(dict.fromkeys(self.groups))
        return Roles(features, self.id, self.label, unit, groups, self.text, self.size)

    def _features(self, names: Sequence[str], where: str, special: set[str]) -> tuple[str, ...]:
        if self.embedding is not None and self.features is not None:
            raise InputError(
                where, "both features and embedding are named", "keep one of the two in columns"
            )
        if self.embedding is not None:
            return (self.embedding,)
        if self.features is None and self.text is not None:
            return ()
        if self.features is None:
            return tuple(name for name in names if name not in special)
        found: dict[str, None] = {}
        for pattern in self.features:
            # An exact name wins, so that a column called "a[0]" can be named.
            hits = [pattern] if pattern in names else [n for n in names if fnmatchcase(n, pattern)]
            if not hits:
                wildcard = any(sign in pattern for sign in "*?[")
                problem = (
                    f"no column matches {pattern!r}" if wildcard else f"has no column {pattern!r}"
                )
                raise InputError(where, problem, known_columns(pattern, names))
            # A wildcard never takes what is already the id, the label, the unit or a group.
            found |= dict.fromkeys(n for n in hits if n == pattern or n not in special)
        return tuple(found)


ChooseColumns: TypeAlias = Callable[[Sequence[str], str], Roles]


class Source(Protocol):
    """Where a set comes from. Implementations are frozen dataclasses with public settings."""

    def read(self, base: Path, choose: ChooseColumns | None = None) -> RawTable:
        """Read the columns that ``choose(names, where)`` asks for, or all of them.

        Relative paths are relative to ``base``, the folder of the YAML file.

        Raises:
            InputError: for whatever the user can put right.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SetSpec:
    """A public set: the pool or the test set."""

    source: Source
    columns: Columns = field(default_factory=Columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateSpec:
    """The private set. ``unit`` names the column whose rows belong together, e.g. a patient's.

    Without it each row is a unit of its own.
    """

    source: Source
    columns: Columns = field(default_factory=Columns)
    unit: str | None = None


def keep_chosen(table: RawTable, choose: ChooseColumns | None) -> RawTable:
    """The columns that are asked for, of a table that is in memory anyway."""
    if choose is None:
        return table
    names = choose(list(table.columns), table.where).names
    return RawTable({name: table.columns[name] for name in names}, table.where)
