"""From sources, or from arrays in memory, to the checked data of a pipeline.

Whatever is fitted here (means, scales, the label space) is fitted on public rows only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from curation_audit.checks import InputError
from curation_audit.pipelines.base import ALWAYS_IN, CurationData, PrivateRows, Rows
from curation_audit.pipelines.data_checks import (
    check_labels,
    find_overlaps,
    in_one_space,
    pool_classes,
)
from curation_audit.pipelines.data_sets import (
    ReadSet,
    SetName,
    fingerprint,
    float64_blocks,
    read_set,
)
from curation_audit.pipelines.features.base import FeatureStep, fit_steps
from curation_audit.pipelines.sources.base import (
    Columns,
    PrivateSpec,
    RawTable,
    Roles,
    SetSpec,
)
from curation_audit.pipelines.sources.frames import (
    column_from_any,
    is_arrow,
    is_frame,
    table_from_object,
)
from curation_audit.streams import Streams
from curation_audit.types import Features, Floats, Indices, Labels

Standardise: TypeAlias = Literal["public", "none"]

# The complementary coins of fewer candidates say nothing about anybody.
MIN_CANDIDATES = 4


def load_data(
    private: PrivateSpec,
    public: SetSpec,
    test: SetSpec | None,
    *,
    base: Path,
    standardise: Standardise = "public",
    dtype: DTypeLike = np.float32,
    targets: int | None = None,
    streams: Streams,
    steps: Sequence[FeatureStep] = (),
) -> CurationData:
    """Read, check and align the three sets.

    ``targets`` keeps that many random units as candidates; the rows of the others are
    ``ALWAYS_IN``. ``steps`` make features of features or texts; ``standardise="public"`` takes mean
    and scale of the pool after them.

    Raises:
        InputError: for whatever is wrong with the data; see ``assemble``.
    """
    private_set = read_spec("private", private.source, private.columns, base, private.unit)
    pool = read_spec("public", public.source, public.columns, base)
    test_set = None if test is None else read_spec("test", test.source, test.columns, base)
    return assemble(
        private_set,
        pool,
        test_set,
        standardise=standardise,
        dtype=dtype,
        targets=targets,
        streams=streams,
        steps=steps,
    )


def read_spec(
    name: SetName, source: Any, columns: Columns, base: Path, unit: str | None = None
) -> ReadSet:
    """One set, read and checked by itself."""

    def choose(names: Sequence[str], where: str) -> Roles:
        return columns.roles(names, f"{name} ({where})", unit)

    table = source.read(base, choose)
    return read_set(name, table, choose(list(table.columns), table.where))


def data_from_arrays(
    private: Any,
    public: Any,
    test: Any = None,
    *,
    labels: str | Mapping[SetName, Any] | None = None,
    ids: str | Mapping[SetName, Any] | None = None,
    unit: Any = None,
    groups: Sequence[str] | Mapping[str, Any] = (),
    features: Sequence[str] | None = None,
    standardise: Standardise = "public",
    dtype: DTypeLike = np.float32,
    targets: int | None = None,
    streams: Streams,
) -> CurationData:
    """The same from matrices (rows, d), data frames, pyarrow tables or mappings in memory.

    Args:
        private: the rows whose membership is at stake.
        public: the pool.
        test: the test set, or ``None``.
        labels: a column name for all sets, or ``{"public": ...}`` with an array or a column name
            per set. Sets that the mapping leaves out have no labels.
        ids: likewise.
        unit: an array or a column name of the private set.
        groups: columns of categories of the private set, or arrays by name.
        features: column names or wildcards, for tables; all that is left by default.
        standardise: see ``load_data``.
        dtype: see ``load_data``.
        targets: see ``load_data``.
        streams: see ``load_data``.

    Raises:
        InputError: as ``load_data``.
    """
    picked = None if features is None else tuple(features)

    def given(name: SetName, rows: Any) -> ReadSet:
        private_only = {"unit": unit, "groups": groups} if name == "private" else {}
        roles = {"label": _of_set(labels, name), "id": _of_set(ids, name)}
        return _given(name, rows, roles, picked, **private_only)

    data = assemble(
        given("private", private),
        given("public", public),
        None if test is None else given("test", test),
        standardise=standardise,
        dtype=dtype,
        targets=targets,
        streams=streams,
    )
    # a matrix has no column that tables could be read by
    return data if _is_table(public) else replace(data, columns=())


def _of_set(given: str | Mapping[SetName, Any] | None, name: SetName) -> Any:
    return given.get(name) if isinstance(given, Mapping) else given


def _given(
    name: SetName,
    rows: Any,
    given: Mapping[str, Any],
    features: tuple[str, ...] | None,
    unit: Any = None,
    groups: Sequence[str] | Mapping[str, Any] = (),
) -> ReadSet:
    table, embedding = _table(name, rows)
    where = f"{name} ({table.where})"
    columns = dict(table.columns)
    if isinstance(groups, Mapping):
        columns |= _group_columns(groups, columns, where)
    named: dict[str, str | None] = {}
    for role, values in (dict(given) | {"unit": unit}).items():
        if values is None or isinstance(values, str):
            named[role] = values
        else:
            named[role] = name_of_array = f"({role})"  # no column of the user is called that
            columns[name_of_array] = column_from_any(values, f"{name} ({role} array)")
    spec = Columns(
        id=named["id"],
        label=named["label"],
        features=None if embedding else features,
        embedding=embedding,
        groups=tuple(groups),
    )
    return read_set(
        name,
        RawTable(columns, table.where),
        spec.roles(list(columns), where, named["unit"]),
    )


def _group_columns(
    groups: Mapping[str, Any], columns: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """Arrays of categories as columns of their names."""
    if taken := sorted(set(groups) & set(columns)):
        raise InputError(
            f"{where}, groups", f"{taken[0]!r} is a column already", "give the array another name"
        )
    return {
        name: column_from_any(values, f"{where}, groups, {name!r}")
        for name, values in groups.items()
    }


def _is_table(rows: Any) -> bool:
    return is_frame(rows) or is_arrow(rows) or isinstance(rows, Mapping)


def _table(name: SetName, rows: Any) -> tuple[RawTable, str | None]:
    """The rows as a table, and the name of the column of vectors where they are a matrix."""
    if _is_table(rows):
        return table_from_object(rows, "table"), None
    matrix = column_from_any(rows, f"{name} (array)")
    if matrix.ndim != 2:
        raise InputError(
            f"{name} (array)", f"has shape {matrix.shape}", "expected a matrix (rows, features)"
        )
    return RawTable({"features": matrix}, "array"), "features"


@dataclass(frozen=True, slots=True)
class _Scaling:
    """``(x - mean) / scale`` in float64, whatever the dtype in and out."""

    mean: Floats
    scale: Floats
    dtype: np.dtype[Any]

    def __call__(self, data: ReadSet) -> Features:
        scaled = np.empty(data.features.shape, self.dtype)
        at = 0
        # Overflow is looked for below, and told with its place.
        with np.errstate(over="ignore", invalid="ignore"):
            for block in float64_blocks(data.features):
                scaled[at : at + len(block)] = (block - self.mean) / self.scale
                at += len(block)
        wrong = np.argwhere(~np.isfinite(scaled))
        if len(wrong):
            row, column = (int(i) for i in wrong[0])
            raise InputError(
                f"{data.where}, column {data.feature_names[column]!r}, row {row + 1}",
                f"a value is too large for {self.dtype} once scaled",
                "mend the value, or use run.dtype: float64",
            )
        return scaled


def _scaling(pool: ReadSet, standardise: Standardise, dtype: np.dtype[Any]) -> _Scaling:
    d = pool.features.shape[1]
    if standardise == "none":
        return _Scaling(np.zeros(d), np.ones(d), dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = sum(block.sum(axis=0) for block in float64_blocks(pool.features)) / len(pool)
        squares = sum(((b - mean) ** 2).sum(axis=0) for b in float64_blocks(pool.features))
        scale = np.sqrt(squares / len(pool))
    wrong = np.nonzero(~np.isfinite(scale))[0]
    if len(wrong):
        raise InputError(
            f"{pool.where}, column {pool.feature_names[wrong[0]]!r}",
            "the values are too large for a standard deviation",
            "divide the column by a constant",
        )
    # Rounding gives a constant column a tiny sd; by its range it is constant.
    constant = pool.features.min(axis=0) == pool.features.max(axis=0)
    return _Scaling(mean, np.where(constant | (scale == 0), 1.0, scale), dtype)


def assemble(
    private: ReadSet,
    pool: ReadSet,
    test: ReadSet | None,
    *,
    standardise: Standardise,
    dtype: DTypeLike,
    targets: int | None,
    streams: Streams,
    steps: Sequence[FeatureStep] = (),
) -> CurationData:
    """Check the sets against each other and bring them into one feature and label space.

    Raises:
        InputError: where dimensions, feature names or labels do not fit, or with fewer than
            four candidates.
    """
    sets = [private, pool] if test is None else [private, pool, test]
    fingerprints: dict[str, str] = {data.name: fingerprint(data) for data in sets}
    private = in_one_space(private, pool)
    test = None if test is None else in_one_space(test, pool)
    pool, mapped = fit_steps(steps, pool)
    private, test = mapped(private), None if test is None else mapped(test)
    classes = pool_classes(pool)
    for data in (private, test):
        if data is not None:
            check_labels(data, pool, classes)
    owners = private.ids if private.unit is None else private.unit
    unit, unit_ids, owner = _units(private, owners, targets, streams)
    overlaps = find_overlaps(private, pool, test, owners)
    scaling = _scaling(pool, standardise, _float_type(dtype))
    return CurationData(
        private=_private_rows(private, scaling(private), unit, unit_ids, owner, classes),
        pool=Rows(pool.ids, scaling(pool), _codes(pool, classes), dict(pool.groups), pool.sizes),
        test=None if test is None else Rows(test.ids, scaling(test), _codes(test, classes)),
        classes=classes,
        n_private_rows_in_pool=overlaps.n_private_rows_in_pool,
        fingerprints=fingerprints,
        warnings=overlaps.warnings,
        shift=scaling.mean,
        scale=scaling.scale,
        columns=pool.columns,
    )


def _private_rows(
    private: ReadSet,
    features: Features,
    unit: Indices,
    unit_ids: tuple[str, ...],
    owner: Indices,
    classes: tuple[str, ...],
) -> PrivateRows:
    """The private rows; a unit is in the groups of its first row."""
    rows = PrivateRows(private.ids, features, unit, unit_ids, _codes(private, classes))
    first = rows.first_rows.tolist()
    groups = {name: tuple(of_row[i] for i in first) for name, of_row in private.groups.items()}
    return replace(rows, groups=groups, owner=owner)


def _float_type(dtype: DTypeLike) -> np.dtype[Any]:
    if np.dtype(dtype) not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(f"dtype must be float32 or float64, got {np.dtype(dtype)}.")
    return np.dtype(dtype)


def _codes(data: ReadSet, classes: tuple[str, ...]) -> Labels | None:
    if data.labels is None:
        return None
    code = {label: i for i, label in enumerate(classes)}
    return np.array([code[label] for label in data.labels], dtype=np.int64)


def _units(
    private: ReadSet, owners: tuple[str, ...], targets: int | None, streams: Streams
) -> tuple[Indices, tuple[str, ...], Indices]:
    """The column of every row, int64 (rows,), the names of the columns, and the unit of every row.

    Units are numbered as they first appear.
    """
    number: dict[str, int] = {}
    of_row: NDArray[np.int64] = np.array(
        [number.setdefault(owner, len(number)) for owner in owners], dtype=np.int64
    )
    names = tuple(number)
    what = "rows" if private.unit is None else "units"
    if len(names) < MIN_CANDIDATES:
        raise InputError(
            private.where,
            f"has {len(names)} candidates ({what})",
            f"an audit needs at least {MIN_CANDIDATES}",
        )
    if targets is None or targets == len(names):
        return of_row, names, of_row
    if not MIN_CANDIDATES <= targets < len(names):
        raise InputError(
            "attack.targets",
            f"is {targets}, but {private.where} has {len(names)} candidates ({what})",
            f"expected {MIN_CANDIDATES} to {len(names)}, or all",
        )
    chosen = np.sort(streams.generator("targets").permutation(len(names))[:targets])
    column = np.full(len(names), ALWAYS_IN, dtype=np.int64)
    column[chosen] = np.arange(targets)
    return column[of_row], tuple(names[i] for i in chosen), of_row
