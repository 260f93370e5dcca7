"""A pool as a stream: scored block by block, its ids looked up for the picked rows only.

A pool is cut into shards, which are pools, for workers to share.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from curation_audit.arrow_columns import column_from_arrow
from curation_audit.checks import InputError, known_columns
from curation_audit.pipelines.data_sets import (
    ReadSet,
    as_text,
    categories_of,
    fingerprint,
    read_set,
    sizes_of,
)
from curation_audit.pipelines.rules.per_group import no_groups
from curation_audit.pipelines.rules.token_budget import no_sizes
from curation_audit.pipelines.sources.base import (
    ChooseColumns,
    Columns,
    RawTable,
    Roles,
    SetSpec,
    Source,
)
from curation_audit.pipelines.sources.parquet import (
    ParquetSource,
    parquet_schema,
    row_group_sizes,
)
from curation_audit.releases.table import columns_of
from curation_audit.types import Column, Features, Indices

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_PER_BATCH: Final = 1 << 16
ROWS_PER_SHARD: Final = 1 << 19
MOST_IN_FLIGHT: Final = 4
"""Batches that are decoded ahead of their use; they are what memory holds."""


class Pool(Protocol):
    """Public rows in a fixed order."""

    def __len__(self) -> int: ...

    def blocks(self, columns: tuple[str, ...], width: int) -> Iterator[Features]:
        """The features of all rows in order, as they are read: (rows, ``width``) each."""
        ...

    def ids(self, rows: Indices) -> list[str]:
        """The ids of some rows, which ascend."""
        ...

    def sizes(self) -> Indices:
        """The size of every row, int64 (rows,).

        Raises:
            SettingError: where no column of sizes is named.
        """
        ...

    def groups(self, by: str) -> tuple[str, ...]:
        """The category of every row in a column of groups.

        Raises:
            SettingError: where no such column of groups is named.
        """
        ...

    def shards(self) -> "Sequence[Pool]":
        """All rows in order, in pools of about ``ROWS_PER_SHARD`` rows."""
        ...

    def fingerprint(self) -> str:
        """A word that changes whenever the rows do; files are told apart by size and time."""
        ...


def open_pool(spec: SetSpec, base: Path) -> Pool:
    """The pool of a pipeline: parquet files are streamed, what else there is is read.

    Raises:
        InputError: for files that are missing or differ in their columns.
    """
    if isinstance(spec.source, ParquetSource):
        return ParquetPool.of(spec.source, spec.columns, base)

    def choose(names: Sequence[str], where: str) -> Roles:
        return spec.columns.roles(names, f"public ({where})")

    table = spec.source.read(base, choose)
    return PoolInMemory(read_set("public", table, choose(list(table.columns), table.where)))


@dataclass(frozen=True, slots=True)
class PoolInMemory:
    """A pool that was read as a whole, and checked."""

    rows: ReadSet

    def __len__(self) -> int:
        return len(self.rows)

    def blocks(self, columns: tuple[str, ...], width: int) -> Iterator[Features]:
        """See ``Pool.blocks``."""
        places = feature_places(self.rows, columns)
        for at in range(0, len(self.rows), ROWS_PER_BATCH):
            yield self.rows.features[at : at + ROWS_PER_BATCH, places]

    def ids(self, rows: Indices) -> list[str]:
        """See ``Pool.ids``."""
        return [self.rows.ids[i] for i in rows.tolist()]

    def sizes(self) -> Indices:
        """See ``Pool.sizes``."""
        if self.rows.sizes is None:
            raise no_sizes()
        return self.rows.sizes

    def groups(self, by: str) -> tuple[str, ...]:
        """See ``Pool.groups``."""
        if by not in self.rows.groups:
            raise no_groups(by, self.rows.groups)
        return self.rows.groups[by]

    def shards(self) -> "list[PoolInMemory]":
        """See ``Pool.shards``."""
        starts = range(0, len(self.rows), ROWS_PER_SHARD)
        return [PoolInMemory(self.rows.part(at, at + ROWS_PER_SHARD)) for at in starts]

    def fingerprint(self) -> str:
        """See ``Pool.fingerprint``."""
        return fingerprint(self.rows)


@dataclass(frozen=True, slots=True)
class ParquetPart:
    """A parquet file, or some of its row groups; ``where`` is the name that messages give it."""

    file: Path
    where: str
    n_rows: int
    row_groups: tuple[int, ...] | None = None

    def shards(self) -> "Iterator[ParquetPart]":
        """Neighbouring row groups together, up to ``ROWS_PER_SHARD`` rows or one group."""
        groups: list[int] = []
        n_rows = 0
        for group, n in enumerate(row_group_sizes(self.file, self.where)):
            if n_rows and n_rows + n > ROWS_PER_SHARD:
                yield replace(self, n_rows=n_rows, row_groups=tuple(groups))
                groups, n_rows = [], 0
            groups.append(group)
            n_rows += n
        if n_rows:
            yield replace(self, n_rows=n_rows, row_groups=tuple(groups))

    def tables(self, columns: tuple[str, ...]) -> Iterator["pa.Table"]:
        """Batches of some columns, in order."""
        yield from _tables_of(self.file, f"public ({self.where})", columns, self.row_groups)

    def state(self) -> str:
        """What tells another version of the file.

        Raises:
            InputError: where it is gone.
        """
        try:
            found = self.file.stat()
        except OSError:
            raise InputError(f"public ({self.where})", "is not there any more") from None
        return f"{self.where} {found.st_size} {found.st_mtime_ns} {self.row_groups}"


@dataclass(frozen=True, slots=True)
class ParquetPool:
    """Parquet files in the order of their names.

    ``columns``: which of theirs hold what. ``first``: how many rows of the whole pool come before.
    """

    parts: tuple[ParquetPart, ...]
    where: str
    columns: Columns
    n_rows: int
    first: int = 0

    @classmethod
    def of(cls, source: ParquetSource, columns: Columns, base: Path) -> "ParquetPool":
        """Find the files and check their columns; no row is read."""
        files, parts = source.files(base), []
        expected = None
        for file, where in files:
            names, n = parquet_schema(file, where)
            roles = columns.roles(names, f"public ({where})")
            expected = expected or roles
            if set(roles.features) != set(expected.features):
                problem = f"its features are not those of {files[0][1]}"
                raise InputError(where, problem, "expected files with the same columns")
            parts.append(ParquetPart(file, where, n))
        where = files[0][1] if len(files) == 1 else f"{source.path} ({len(files)} files)"
        return cls(tuple(parts), f"public ({where})", columns, sum(part.n_rows for part in parts))

    def __len__(self) -> int:
        return self.n_rows

    def blocks(self, columns: tuple[str, ...], width: int) -> Iterator[Features]:
        """See ``Pool.blocks``; what is missing is NaN, and has no score."""
        for table in self._tables(columns):
            yield columns_of(table, columns, width)

    def ids(self, rows: Indices) -> list[str]:
        """See ``Pool.ids``; only the column of ids is read."""
        if self.columns.id is None:
            return [f"row-{self.first + row + 1}" for row in rows.tolist()]
        found: list[str] = []
        at = 0
        for table in self._tables((self.columns.id,)):
            first, last = np.searchsorted(rows, (at, at + len(table)))
            if last > first:
                part = table.column(0).take(rows[first:last] - at)
                found += self._texts(part, rows[first:last])
            at += len(table)
        return found

    def sizes(self) -> Indices:
        """See ``Pool.sizes``."""
        if self.columns.size is None:
            raise no_sizes()
        return sizes_of(self._column(self.columns.size), self.columns.size, self.where)

    def groups(self, by: str) -> tuple[str, ...]:
        """See ``Pool.groups``."""
        if by not in self.columns.groups:
            raise no_groups(by, self.columns.groups)
        return categories_of(self._column(by), by, self.where)

    def shards(self) -> "list[ParquetPool]":
        """See ``Pool.shards``; a file is a shard, or row groups of one are."""
        found, at = [], self.first
        for part in self.parts:
            for one in part.shards():
                found.append(replace(self, parts=(one,), n_rows=one.n_rows, first=at))
                at += one.n_rows
        return found

    def fingerprint(self) -> str:
        """See ``Pool.fingerprint``."""
        return " ".join([*(part.state() for part in self.parts), str(self.first)])

    def _column(self, name: str) -> Column:
        """One column of all rows."""
        place = f"{self.where}, column {name!r}"
        parts = [column_from_arrow(table.column(0), place) for table in self._tables((name,))]
        return np.concatenate(parts)

    def _texts(self, column: Any, rows: Indices) -> list[str]:
        place = f"{self.where}, column {self.columns.id!r}"
        texts: list[str] = []
        for text, row in zip(as_text(column_from_arrow(column, place)), rows, strict=True):
            if text is None:
                at = f"{place}, row {self.first + row + 1}"
                raise InputError(at, "the id is missing", "fill it in")
            texts.append(text)
        return texts

    def _tables(self, columns: tuple[str, ...]) -> Iterator["pa.Table"]:
        """Batches of some columns, in order."""
        for part in self.parts:
            yield from part.tables(columns)


def _tables_of(
    file: Path, where: str, columns: tuple[str, ...], row_groups: tuple[int, ...] | None
) -> Iterator["pa.Table"]:
    """Batches of one file; its types are its own, as one of whole numbers may follow another."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    try:
        # a buffered stream holds pages in memory, not whole row groups
        options = ds.ParquetFragmentScanOptions(use_buffered_stream=True, pre_buffer=False)
        parquet = ds.ParquetFileFormat(default_fragment_scan_options=options)
        dataset = ds.dataset([str(file)], format=parquet)
        for name in columns:
            if name not in dataset.schema.names:
                known = known_columns(name, dataset.schema.names)
                raise InputError(where, f"has no column {name!r}", known)
        if row_groups is not None:
            (fragment,) = dataset.get_fragments()
            chosen = fragment.subset(row_group_ids=list(row_groups))
            dataset = ds.FileSystemDataset(
                [chosen], dataset.schema, parquet, filesystem=fragment.filesystem
            )
        batches = dataset.to_batches(
            columns=list(columns),
            batch_size=ROWS_PER_BATCH,
            batch_readahead=MOST_IN_FLIGHT,
            fragment_readahead=1,
        )
        for batch in batches:
            if len(batch):
                yield pa.Table.from_batches([batch])
    except (pa.ArrowException, OSError) as error:
        # Arrow's own text is left out: it may quote values.
        problem = f"cannot be read as parquet ({type(error).__name__})"
        raise InputError(where, problem, "it may be cut short; write it again") from error


def feature_places(rows: ReadSet, columns: tuple[str, ...]) -> Indices:
    """Where the features of some columns stand among all of a set, int64.

    Raises:
        InputError: for a column that the set has not read as a feature.
    """
    if not columns:  # of a release that was made from a matrix
        if not rows.from_vectors:
            hint = "name the columns: release.reading('age', 'weight')"
            raise InputError("the release", "was made from a matrix and knows no column", hint)
        columns = rows.columns
    places: dict[str, list[int]] = {}
    at = 0
    for name in rows.columns:
        vector = [f"{name}[0]"] == list(rows.feature_names[at : at + 1])
        n = 1
        while vector and rows.feature_names[at + n : at + n + 1] == (f"{name}[{n}]",):
            n += 1
        places[name] = list(range(at, at + n))
        at += n
    for name in columns:
        if name not in places:
            known = known_columns(name, rows.columns)
            raise InputError(rows.where, f"has no feature column {name!r}", known)
    return np.array([place for name in columns for place in places[name]], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Background:
    """A source that gives about ``most`` rows of a larger one, where that is made of parquet."""

    source: Source
    most: int

    def read(self, base: Path, choose: ChooseColumns | None = None) -> RawTable:
        """See ``Source.read``."""
        if isinstance(self.source, ParquetSource):
            return self.source.sample(base, choose, self.most)
        return self.source.read(base, choose)
