"""Parquet files."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from curation_audit.arrow_columns import columns_from_arrow, unique_names
from curation_audit.checks import InputError
from curation_audit.pipelines.sources.base import ChooseColumns, RawTable
from curation_audit.pipelines.sources.files import find_files, read_files, shown
from curation_audit.types import Column, Indices

MOST_GROUPS: Final = 16
"""Row groups of one file that a sample is taken from."""
BUFFER: Final = 1 << 20
"""Bytes read at a time where only the first rows of a group are wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParquetSource:
    """A parquet file, a folder of them, or a glob; only the needed columns are read."""

    path: str

    def read(self, base: Path, choose: ChooseColumns | None = None) -> RawTable:
        """See ``Source.read``."""

        def read_one(file: Path, where: str) -> dict[str, Column]:
            with _opened(file, where) as opened:
                wanted = _wanted(opened, where, choose)
                return columns_from_arrow(opened.read(columns=wanted).select(wanted), where)

        return read_files(self.path, base, ".parquet", read_one)

    def sample(self, base: Path, choose: ChooseColumns | None, most: int) -> RawTable:
        """About ``most`` of the rows, or all where there are no more; always the same ones.

        They are the first rows of row groups that lie evenly over every file, so that little of a
        large set is read.
        """
        sizes = {file: parquet_schema(file, where)[1] for file, where in self.files(base)}
        total = sum(sizes.values())
        if total <= most:
            return self.read(base, choose)

        def read_some(file: Path, where: str) -> dict[str, Column]:
            n = math.ceil(most * sizes[file] / total)
            with _opened(file, where) as opened:
                wanted = _wanted(opened, where, choose)
                return columns_from_arrow(_spread(opened, wanted, n), where)

        return read_files(self.path, base, ".parquet", read_some)

    def files(self, base: Path) -> list[tuple[Path, str]]:
        """The files in order, each with the name that messages give it."""
        return [(file, shown(file, base)) for file in find_files(self.path, base, ".parquet")]


def parquet_schema(file: Path, where: str) -> tuple[list[str], int]:
    """The names of a file's columns and how many rows it has; no row is read."""
    with _opened(file, where) as opened:
        names = list(opened.schema_arrow.names)
        unique_names(names, where)
        return names, int(opened.metadata.num_rows)


def row_group_sizes(file: Path, where: str) -> list[int]:
    """How many rows each row group of a file has; no row is read."""
    with _opened(file, where) as opened:
        return _group_sizes(opened)


@contextmanager
def _opened(file: Path, where: str) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file, buffer_size=BUFFER) as opened:
            yield opened
    except (pa.ArrowException, OSError, UnicodeError) as error:
        # Arrow's own text is left out: it may quote values.
        raise InputError(
            where,
            f"cannot be read as parquet ({type(error).__name__})",
            "it may be cut short or of another format; write it again",
        ) from error


def _group_sizes(opened: Any) -> list[int]:
    return [opened.metadata.row_group(i).num_rows for i in range(opened.num_row_groups)]


def _wanted(opened: Any, where: str, choose: ChooseColumns | None) -> list[str]:
    names = list(opened.schema_arrow.names)
    unique_names(names, where)
    return list(choose(names, where).names) if choose else names


def _spread(opened: Any, wanted: list[str], n: int) -> Any:
    """The first rows of some row groups, ``n`` or a few more in all."""
    import pyarrow as pa

    sizes = _group_sizes(opened)
    parts: list[Any] = []
    for group, rows in _shares(np.array(sizes, dtype=np.int64), n):
        batches = opened.iter_batches(batch_size=rows, row_groups=[group], columns=wanted)
        parts.append(next(batches))
    if not parts:
        return opened.schema_arrow.empty_table().select(wanted)
    return pa.Table.from_batches(parts).select(wanted)


def _shares(sizes: Indices, n: int) -> list[tuple[int, int]]:
    """Which row groups, and how many first rows of each, make ``n`` rows or a few more.

    They lie evenly, ``MOST_GROUPS`` of them or, where groups are small, as many as it takes.
    """
    filled = np.flatnonzero(sizes)
    n = min(n, int(sizes.sum()))
    if not n:
        return []
    n_groups = min(len(filled), MOST_GROUPS, n)
    while True:
        at = np.linspace(0, len(filled) - 1, n_groups).round().astype(np.int64)
        groups = filled[at]
        if sizes[groups].sum() >= n:
            break
        n_groups = min(2 * n_groups, len(filled))
    each = math.ceil(n / n_groups)
    while np.minimum(sizes[groups], each).sum() < n:  # some are smaller than their share
        short = n - int(np.minimum(sizes[groups], each).sum())
        each += math.ceil(short / int((sizes[groups] > each).sum()))
    return [(int(group), min(each, int(sizes[group]))) for group in groups]
