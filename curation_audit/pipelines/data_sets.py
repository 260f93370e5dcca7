"""One set as it was read: numbers, ids, labels and units, each checked by itself.

Messages never hold a value or an id of a private row: a row number says enough. Rows are
counted from 1.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from curation_audit.checks import InputError
from curation_audit.pipelines.sources.base import RawTable, Roles, quoted
from curation_audit.types import Column, Features, Indices

SetName: TypeAlias = Literal["private", "public", "test"]

# Rows are worked on in blocks, so that float64 copies of a large set never exist at once.
_BLOCK = 8192
# Numbers with more values than this are measurements, not categories.
MOST_NUMBERS = 10
MISSING = "(missing)"


@dataclass(frozen=True, slots=True)
class ReadSet:
    """A set as read, before standardisation. ``where`` begins every message about it.

    ``features`` (rows, d) is float32 where that holds every value exactly, else float64.
    ``from_vectors`` is True where they come from one column of vectors, whose entries have no
    names of their own. ``columns``: where they were read from, in order. ``texts`` and ``sizes``
    int64 (rows,) are ``None`` where no column was named.
    """

    name: SetName
    where: str
    ids: tuple[str, ...]
    features: Features
    feature_names: tuple[str, ...]
    from_vectors: bool
    labels: tuple[str, ...] | None
    unit: tuple[str, ...] | None
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    texts: tuple[str, ...] | None = None
    sizes: Indices | None = None

    def __len__(self) -> int:
        return int(self.features.shape[0])

    def ordered_like(self, names: tuple[str, ...]) -> "ReadSet":
        """The same set with its features in the order of ``names``."""
        place = {name: i for i, name in enumerate(self.feature_names)}
        features = self.features[:, [place[name] for name in names]]
        return replace(self, features=features, feature_names=names)

    def part(self, start: int, stop: int) -> "ReadSet":
        """The rows from ``start`` on, before ``stop``."""
        rows = slice(start, stop)
        return replace(
            self,
            ids=self.ids[rows],
            features=self.features[rows],
            labels=None if self.labels is None else self.labels[rows],
            unit=None if self.unit is None else self.unit[rows],
            groups={name: of[rows] for name, of in self.groups.items()},
            texts=None if self.texts is None else self.texts[rows],
            sizes=None if self.sizes is None else self.sizes[rows],
        )


def read_set(name: SetName, table: RawTable, roles: Roles) -> ReadSet:
    """Check a table by itself, and take it apart.

    Raises:
        InputError: for an empty set, non-numeric or missing features, missing or repeated ids,
            and missing labels or units.
    """
    where = f"{name} ({table.where})"
    if not len(table):
        raise InputError(where, "the set is empty", "expected at least one row")
    ids = _ids(name, table, roles.id, where)
    features, names = _features(table, roles.features, where)
    _refuse_not_finite(features, names, where, ids if name != "private" else None)
    return ReadSet(
        name,
        where,
        ids,
        features,
        names,
        len(roles.features) == 1 and table.columns[roles.features[0]].ndim == 2,
        None if roles.label is None else _whole(table, roles.label, where, "label"),
        None if roles.unit is None else _whole(table, roles.unit, where, "unit"),
        {column: categories_of(table.columns[column], column, where) for column in roles.groups},
        roles.features,
        None if roles.content is None else _whole(table, roles.content, where, "text"),
        None if roles.size is None else sizes_of(table.columns[roles.size], roles.size, where),
    )


def fingerprint(data: ReadSet) -> str:
    """The sha256 of ids, features, labels and units as read, in hex; groups shape nothing.

    It depends on the values only: neither on the kind of file nor on how wide its numbers are.
    """
    digest = hashlib.sha256()
    named = {"ids": data.ids, "labels": data.labels, "unit": data.unit}
    if data.texts is not None:
        named["texts"] = data.texts
    for name, texts in named.items():
        digest.update(f"{name} {'none' if texts is None else len(texts)};".encode())
        for text in texts or ():
            encoded = text.encode("utf-8", "surrogatepass")
            # The length first, so that "a", "bc" and "ab", "c" differ.
            digest.update(f"{len(encoded)}:".encode() + encoded)
    digest.update(f"features {data.features.shape};".encode())
    for block in float64_blocks(data.features):
        digest.update(block.tobytes())
    return digest.hexdigest()


def row_keys(features: Features) -> list[bytes]:
    """A 128-bit hash of every row: rows are equal exactly where their keys are."""
    return [
        hashlib.blake2b(row.tobytes(), digest_size=16).digest()
        for block in float64_blocks(features)
        for row in block
    ]


def float64_blocks(features: Features) -> Iterator[NDArray[np.float64]]:
    """The rows in blocks of little-endian float64; -0.0 becomes 0.0, to which it is equal."""
    for start in range(0, len(features), _BLOCK):
        yield features[start : start + _BLOCK].astype("<f8") + 0.0


def _ids(name: SetName, table: RawTable, column: str | None, where: str) -> tuple[str, ...]:
    if column is None:
        return tuple(f"row-{row}" for row in range(1, len(table) + 1))
    ids = _whole(table, column, where, "id")
    first: dict[str, int] = {}
    again = [row for row, text in enumerate(ids) if first.setdefault(text, row) != row]
    if again:
        shown = "" if name == "private" else f", id {ids[again[0]]!r}"
        raise InputError(
            f"{where}, column {column!r}, row {again[0] + 1}{shown}",
            f"repeats the id of row {first[ids[again[0]]] + 1} ({len(again)} repeated in all)",
            "ids must differ within a set" + ("; name a unit to group rows" * (name == "private")),
        )
    return ids


def _whole(table: RawTable, column: str, where: str, role: str) -> tuple[str, ...]:
    """A column of names as text, none of them missing."""
    values = table.columns[column]
    place = f"{where}, column {column!r}"
    if values.ndim != 1:
        raise InputError(place, f"holds vectors, expected one {role} per row", "name another")
    texts = as_text(values)
    missing = [row for row, text in enumerate(texts) if text is None]
    if missing:
        raise InputError(
            f"{place}, row {missing[0] + 1}",
            f"the {role} is missing ({len(missing)} such rows in all)",
            f"every row needs a {role}; fill it in or leave the rows out",
        )
    return tuple(text for text in texts if text is not None)


def sizes_of(values: Column, column: str, where: str) -> Indices:
    """A column of whole numbers, none of them missing or below 0, int64 (rows,)."""
    place = f"{where}, column {column!r}"
    values = _numeric(values, place)
    if values.ndim != 1:
        raise InputError(place, "holds vectors, expected one size per row", "name another")
    wrong = np.flatnonzero(~((values >= 0) & (values == np.floor(values)) & np.isfinite(values)))
    if len(wrong):
        problem = f"holds no whole number ({len(wrong)} such rows in all)"
        raise InputError(f"{place}, row {wrong[0] + 1}", problem, "expected 0 or more, e.g. tokens")
    return values.astype(np.int64)


def categories_of(values: Column, column: str, where: str) -> tuple[str, ...]:
    """A column of categories as text; what is missing is a category of its own."""
    place = f"{where}, column {column!r}"
    if values.ndim != 1:
        raise InputError(place, "holds vectors, expected one group per row", "name another")
    texts = tuple(MISSING if text is None else text for text in as_text(values))
    n_distinct = len(set(texts) - {MISSING})
    if n_distinct > MOST_NUMBERS and _holds_numbers(values):
        raise InputError(
            place,
            f"a group column holds {n_distinct} different numbers, {MOST_NUMBERS} at most",
            "cut the column into ranges, such as 'under 40', first",
        )
    return texts


def _holds_numbers(values: Column) -> bool:
    """Whether every value that is there is a number, not a text that reads as one."""
    return values.dtype.kind in "iuf" or all(
        is_missing(value) or _is_number(value) for value in values.tolist()
    )


def as_text(values: Column) -> list[str | None]:
    """Every value as text, ``None`` where it is missing; whole floats as integers.

    >>> as_text(np.array([1.0, 2.5, np.nan]))
    ['1', '2.5', None]
    """
    if values.dtype.kind in "biuU":
        return [str(value) for value in values.tolist()]
    return [_text(value) for value in values.tolist()]


def _text(value: Any) -> str | None:
    if is_missing(value):
        return None
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def is_missing(value: Any) -> bool:
    """Whether ``value`` is None, NaN, or what pandas writes for them."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def _features(
    table: RawTable, names: Sequence[str], where: str
) -> tuple[Features, tuple[str, ...]]:
    """All feature columns side by side, and a name for each of the d."""
    columns = [_numeric(table.columns[name], f"{where}, column {name!r}") for name in names]
    expanded: list[str] = []
    for name, column in zip(names, columns, strict=True):
        vector = column.ndim == 2
        expanded += [f"{name}[{i}]" for i in range(column.shape[1])] if vector else [name]
    if not expanded and names:
        raise InputError(where, "the vectors are empty", "expected at least one number per row")
    exact32 = all(np.can_cast(column.dtype, np.float32, "safe") for column in columns)
    features = np.empty((len(table), len(expanded)), np.float32 if exact32 else np.float64)
    at = 0
    for column in columns:
        width = column.shape[1] if column.ndim == 2 else 1
        features[:, at : at + width] = column.reshape(len(table), width)
        at += width
    return features, tuple(expanded)


def _numeric(column: Column, place: str) -> Column:
    if column.dtype.kind in "biuf":
        return column
    if column.dtype == object:
        flat = [np.nan if is_missing(value) else value for value in column.ravel().tolist()]
        strange = [row for row, value in enumerate(flat) if not _is_number(value)]
        if not strange:
            return np.array([float(value) for value in flat]).reshape(column.shape)
        # one "<5" makes text of a whole csv column: that row is the one to name
        wrong = next((row for row in strange if not _reads_as_number(flat[row])), strange[0])
        row = wrong // (column.shape[1] if column.ndim == 2 else 1)
        kind = "text" if isinstance(flat[wrong], str) else f"{type(flat[wrong]).__name__} values"
        place = f"{place}, row {row + 1}"
    else:
        kinds = {"U": "text", "S": "text", "M": "dates", "m": "durations", "c": "complex numbers"}
        kind = kinds.get(column.dtype.kind, f"{column.dtype} values")
    raise InputError(
        place,
        f"a feature column holds {kind}, expected numbers",
        "encode it as numbers, or leave it out by naming the columns in features",
    )


def _is_number(value: Any) -> bool:
    # Decimals and fractions are numbers too, and so is whatever else says how to be a float.
    return hasattr(value, "__float__") and not isinstance(value, complex)


def _reads_as_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _refuse_not_finite(
    features: Features, names: Sequence[str], where: str, ids: Sequence[str] | None
) -> None:
    finite = np.isfinite(features)
    if finite.all():
        return
    row, column = (int(i) for i in np.argwhere(~finite)[0])
    shown = "" if ids is None else f", id {ids[row]!r}"
    count = int(finite.size - finite.sum())
    kind = "missing (NaN)" if np.isnan(features[row, column]) else "infinite"
    raise InputError(
        f"{where}, column {names[column]!r}, row {row + 1}{shown}",
        f"a value is {kind} ({count} not finite in all, in "
        f"{quoted([names[int(i)] for i in np.nonzero(~finite.all(axis=0))[0]], most=3)})",
        "fill missing values in, or leave the rows or columns out",
    )
