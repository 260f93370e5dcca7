"""Tables that are in memory already: mappings, pandas data frames, pyarrow tables.

Neither library is imported to find out; pandas is no dependency.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from curation_audit.arrow_columns import check_lengths, columns_from_arrow, unique_names
from curation_audit.checks import InputError
from curation_audit.pipelines.sources.base import RawTable
from curation_audit.types import Column


def is_frame(value: Any) -> bool:
    """Whether ``value`` looks like a pandas data frame."""
    return hasattr(value, "columns") and hasattr(value, "iloc")


def is_arrow(value: Any) -> bool:
    """Whether ``value`` looks like a pyarrow table."""
    return hasattr(value, "column_names") and hasattr(value, "schema")


def table_from_object(value: Any, where: str) -> RawTable:
    """A mapping column -> array, a data frame or a pyarrow table as a ``RawTable``.

    Raises:
        InputError: for anything else.
    """
    if is_arrow(value):
        return RawTable(columns_from_arrow(value, where), where)
    if is_frame(value):
        names = [str(name) for name in value.columns]
        unique_names(names, where)
        pairs = [(name, value.iloc[:, i].to_numpy()) for i, name in enumerate(names)]
    elif isinstance(value, Mapping):
        pairs = [(str(name), column) for name, column in value.items()]
    else:
        raise InputError(
            where,
            f"is a {type(value).__name__}",
            "expected a mapping from column to array, a data frame or a pyarrow table",
        )
    columns = {name: column_from_any(column, f"{where}, column {name!r}") for name, column in pairs}
    return RawTable(columns, where)


def column_from_any(values: Any, where: str) -> Column:
    """A column as an array; a column of lists as a matrix (rows, width).

    Raises:
        InputError: where the lists differ in length, or it is no column at all.
    """
    try:
        column = np.asarray(values)
    except ValueError:
        # Lists of different lengths, which numpy refuses to put into one array.
        column = np.empty(len(values), dtype=object)
        column[:] = list(values)
    if column.ndim == 0:
        raise InputError(where, "is a single value", "expected one value per row")
    if column.ndim == 1 and column.dtype == object and any(map(_is_vector, column[:1])):
        check_lengths(np.array([len(v) if _is_vector(v) else -1 for v in column]), where)
        return np.stack([np.asarray(v) for v in column])
    return column


def _is_vector(value: Any) -> bool:
    return isinstance(value, list | tuple | np.ndarray)
