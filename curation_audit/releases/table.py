"""What a release reads from an Arrow table, and what it appends."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from curation_audit.arrow_columns import column_from_arrow
from curation_audit.checks import InputError, known_columns
from curation_audit.types import Features, Floats

if TYPE_CHECKING:
    import pyarrow as pa


def columns_of(table: "pa.Table", names: Sequence[str], width: int) -> Features:
    """The features of a table's rows, (rows, ``width``); missing numbers and vectors are NaN.

    Raises:
        InputError: where a column is missing, is there twice, or holds no numbers.
    """
    if not names:
        hint = "name the column of vectors: release.reading('embedding')"
        raise InputError("the release", "was made from a matrix and knows no column", hint)
    for name in names:
        n_there = table.column_names.count(name)
        if not n_there:
            known = known_columns(name, table.column_names)
            raise InputError("the table", f"has no column {name!r}", f"{known}; see reading()")
        if n_there > 1:
            problem = f"has {n_there} columns called {name!r}"
            raise InputError("the table", problem, "rename all but one")
    if not table.num_rows:
        return np.empty((0, width))
    if len(names) == 1:
        return _numbers(table, names[0], width)
    return np.concatenate([_numbers(table, name) for name in names], axis=1)


def with_column(table: "pa.Table", name: str, values: Floats) -> "pa.Table":
    """The table with a column appended; the table itself stays as it was.

    Raises:
        InputError: where it has such a column already.
    """
    import pyarrow as pa

    if name in table.column_names:
        hint = "a second release needs the column of the first renamed"
        raise InputError("the table", f"has a column {name!r} already", hint)
    return table.append_column(name, pa.array(values, pa.float64()))


def _numbers(table: "pa.Table", name: str, width: int = 1) -> Features:
    """One column as (rows, width); ``width`` is for one in which all is missing."""
    column = table.column(name)
    if column.null_count == len(column):  # whatever its type: what is missing has none
        return np.full((len(column), width), np.nan)
    there = None
    if column.null_count and _is_nested(column.type):
        there = column.is_valid().to_numpy(zero_copy_only=False)
        column = column.drop_null()
    values = column_from_arrow(column, f"column {name!r}")
    if values.dtype.kind not in "biuf":
        hint = "expected numbers, or vectors of numbers"
        raise InputError(f"column {name!r}", f"holds {column.type} values", hint)
    rows = values.reshape(len(values), -1)
    if there is None:
        return rows
    whole = np.full((len(there), rows.shape[1]), np.nan)
    whole[there] = rows
    return whole


def _is_nested(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    return bool(pa.types.is_nested(kind) or isinstance(kind, pa.BaseExtensionType))
