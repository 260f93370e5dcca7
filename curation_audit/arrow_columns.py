"""Arrow columns as numpy arrays: lists become matrices, dictionaries their values."""

from typing import Any

import numpy as np

from curation_audit.checks import InputError
from curation_audit.types import Column


def columns_from_arrow(table: Any, where: str) -> dict[str, Column]:
    """All columns of a ``pyarrow.Table``.

    Raises:
        InputError: for two columns of one name, and for vectors of different lengths.
    """
    unique_names(table.column_names, where)
    return {
        name: column_from_arrow(table.column(i), f"{where}, column {name!r}")
        for i, name in enumerate(table.column_names)
    }


def unique_names(names: list[str], where: str) -> None:
    """Raise ``InputError`` where two columns have one name."""
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                where, f"has {names.count(name)} columns called {name!r}", "rename all but one"
            )


def column_from_arrow(column: Any, where: str) -> Column:
    """One ``pyarrow.ChunkedArray`` as (rows,) or, for lists, (rows, width).

    A missing number becomes NaN and missing text ``None``; the checks of the set refuse both.
    """
    import pyarrow as pa

    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):  # tensors are lists underneath
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], kind.storage_type)
        kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if _is_list(kind):
        return _vectors(column, where)
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan)
    if pa.types.is_decimal(kind):
        column = column.cast(pa.float64())
    try:
        values: Column = column.to_numpy(zero_copy_only=False)
    except (pa.ArrowException, UnicodeError) as error:
        # Arrow's own text is left out here and elsewhere: it quotes the value.
        raise InputError(where, "holds text that is not UTF-8", "write it again") from error
    if values.dtype == object and pa.types.is_boolean(kind):
        # Booleans with gaps arrive as objects; as numbers the gaps are NaN like any other.
        return np.array([np.nan if value is None else float(value) for value in values])
    return values


def _is_list(kind: Any) -> bool:
    import pyarrow as pa

    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _vectors(column: Any, where: str) -> Column:
    import pyarrow.compute as pc

    lengths = pc.fill_null(pc.list_value_length(column), -1).to_numpy()
    check_lengths(lengths, where)
    if not len(lengths):
        return np.empty((0, 0))
    # Flattening skips rows that are null; check_lengths has refused those.
    values = column_from_arrow(pc.list_flatten(column), where)
    return values.reshape(len(lengths), -1)


def check_lengths(lengths: Column, where: str) -> None:
    """Raise ``InputError`` at the first vector that is missing or not as long as the first."""
    if not len(lengths):
        return
    width = lengths[0] if lengths[0] >= 0 else lengths.max()
    wrong = np.nonzero(lengths != width)[0]
    if len(wrong):
        found = int(lengths[wrong[0]])
        says = "holds no vector" if found < 0 else f"holds a vector of {found} numbers"
        raise InputError(
            f"{where}, row {wrong[0] + 1}",
            f"{says}, expected {int(width)} as in the other rows",
            "all vectors must have one length",
        )
