"""Streamed pools against pools in memory; and samples of large ones."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation_audit.checks import InputError
from curation_audit.pipelines import pools
from curation_audit.pipelines.data_sets import read_set
from curation_audit.pipelines.pools import (
    Background,
    ParquetPool,
    PoolInMemory,
    feature_places,
    open_pool,
)
from curation_audit.pipelines.sources import parquet
from curation_audit.pipelines.sources.base import Columns, SetSpec
from curation_audit.pipelines.sources.csv import CsvSource
from curation_audit.pipelines.sources.npz import NpzSource
from curation_audit.pipelines.sources.parquet import MOST_GROUPS, ParquetSource, _shares
from curation_audit.releases.public_maps import MeanMap
from curation_audit.releases.release import Release

D = 3
SCALARS = Columns(id="uid", features=("a", "b", "c"))
VECTORS = Columns(id="uid", embedding="emb")
READ = {"scalars": (SCALARS, ("a", "b", "c")), "vectors": (VECTORS, ("emb",))}


def rows_of(at: int, n: int, **columns: Any) -> pa.Table:
    """Rows ``at`` to ``at + n`` of a pool without an end: three numbers, and one vector of them."""
    x = np.stack([np.random.default_rng([3, row]).normal(size=D) for row in range(at, at + n)])
    offsets = pa.array(np.arange(0, n * D + 1, D, dtype=np.int32))
    made = {
        "uid": [f"u{row}" for row in range(at, at + n)],
        "text": [f"the text of row {row}" for row in range(at, at + n)],
        **{name: x[:, i] for i, name in enumerate("abc")},
        "emb": pa.ListArray.from_arrays(offsets, pa.array(x.ravel())),
    }
    return pa.table(made | columns)


def write(folder: Path, name: str, *tables: pa.Table) -> Path:
    """One file, each table in a row group of its own."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, tables[0].schema) as writer:
        for table in tables:
            writer.write_table(table)
    return path


def opened(folder: Path, path: str, columns: Columns) -> ParquetPool:
    pool = open_pool(SetSpec(source=ParquetSource(path=path), columns=columns), folder)
    assert isinstance(pool, ParquetPool)
    return pool


def in_memory(folder: Path, path: str, columns: Columns) -> PoolInMemory:
    """The reader of an audit."""
    table = ParquetSource(path=path).read(folder)
    return PoolInMemory(read_set("public", table, columns.roles(list(table.columns), table.where)))


def release(*columns: str) -> Release:
    rng = np.random.default_rng(1)
    return Release(
        map=MeanMap("cosine"),
        weights=rng.normal(size=D),
        facts={},
        shift=rng.normal(size=D),
        scale=rng.uniform(1, 2, D),
        columns=columns,
    )


def scores(pool: pools.Pool, of: Release) -> np.ndarray:
    return np.concatenate([of.score(block) for block in pool.blocks(of.columns, of.width)])


def everyone(pool: pools.Pool) -> list[str]:
    return pool.ids(np.arange(len(pool)))


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    """Several batches from few rows."""
    monkeypatch.setattr(pools, "ROWS_PER_BATCH", 16)


LAYOUTS = {
    "one file": ("pool.parquet", {"pool.parquet": (100,)}),
    "row groups": ("pool.parquet", {"pool.parquet": (1, 40, 0, 59)}),
    "a folder": ("pool", {"pool/1.parquet": (30,), "pool/2.parquet": (7, 63)}),
    "a glob": ("*/part-*.parquet", {"x/part-1.parquet": (50,), "y/part-1.parquet": (50,)}),
    "many files": ("pool", {f"pool/{i:03}.parquet": (4,) for i in range(25)}),
}


def lay_out(folder: Path, files: dict[str, tuple[int, ...]]) -> None:
    at = 0
    for name, groups in files.items():
        tables = []
        for n in groups:
            tables.append(rows_of(at, n) if n else rows_of(0, 1).slice(0, 0))
            at += n
        write(folder, name, *tables)


@pytest.mark.parametrize("kind", READ)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_stream_has_the_scores_and_ids_of_the_pool_in_memory(layout, kind, tmp_path):
    path, files = LAYOUTS[layout]
    lay_out(tmp_path, files)
    columns, names = READ[kind]
    stream, whole = opened(tmp_path, path, columns), in_memory(tmp_path, path, columns)
    assert len(stream) == len(whole) == 100
    found = scores(stream, release(*names))
    np.testing.assert_array_equal(found, scores(whole, release(*names)))
    assert np.isfinite(found).all()
    assert everyone(stream) == everyone(whole) == [f"u{row}" for row in range(100)]
    assert all(len(block) <= 16 for block in stream.blocks(names, D))


@given(rows=st.sets(st.integers(0, 99)))
def test_ids_of_some_rows_are_those_rows_ids(rows, ids_folder):
    wanted = np.array(sorted(rows), dtype=np.int64)
    expected = [f"u{row}" for row in sorted(rows)]
    assert opened(ids_folder, "pool", SCALARS).ids(wanted) == expected
    without = opened(ids_folder, "pool", Columns(features=("a",)))
    assert without.ids(wanted) == [f"row-{row + 1}" for row in sorted(rows)]


@pytest.fixture(scope="module")
def ids_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ids")
    lay_out(folder, LAYOUTS["a folder"][1])
    return folder


def test_only_what_a_release_reads_is_needed(tmp_path):
    """A text that is no feature, a column too many, another order of columns."""
    write(tmp_path, "pool/1.parquet", rows_of(0, 20))
    other = rows_of(20, 20).select(["emb", "c", "uid", "a", "text", "b"])
    write(tmp_path, "pool/2.parquet", other.append_column("more", pa.array(range(20))))
    pool = opened(tmp_path, "pool", SCALARS)
    of = release("c", "a", "b")
    table = pa.concat_tables([rows_of(0, 20), rows_of(20, 20)])
    np.testing.assert_array_equal(scores(pool, of), of(table)["dp_score"].to_numpy())
    assert everyone(pool) == [f"u{row}" for row in range(40)]


NARROW = {
    "whole numbers, then fractions": (pa.array([1, 2]), pa.array([0.5, 1.5])),
    "float32, then float64": (pa.array([0.5, 1], pa.float32()), pa.array([0.1, 0.2])),
    "int8, then int64": (pa.array([1, 2], pa.int8()), pa.array([2**40, 7])),
}


@pytest.mark.parametrize("name", NARROW)
@pytest.mark.parametrize("flipped", [False, True])
def test_files_keep_numbers_of_their_own_width(name, flipped, tmp_path):
    """As an audit reads them: nothing is rounded to the kind of the first file."""
    one, two = NARROW[name][::-1] if flipped else NARROW[name]
    write(tmp_path, "pool/1.parquet", rows_of(0, 2, a=one))
    write(tmp_path, "pool/2.parquet", rows_of(2, 2, a=two))
    pool = opened(tmp_path, "pool", SCALARS)
    found = np.concatenate([block[:, 0] for block in pool.blocks(("a", "b", "c"), D)])
    assert found.tolist() == one.to_pylist() + two.to_pylist()
    of = release("a", "b", "c")
    np.testing.assert_array_equal(
        scores(pool, of), scores(in_memory(tmp_path, "pool", SCALARS), of)
    )


def test_lists_of_one_kind_in_a_file_and_of_another_in_the_next(tmp_path):
    write(tmp_path, "pool/1.parquet", rows_of(0, 3))
    wide = rows_of(3, 3)["emb"].cast(pa.list_(pa.float64(), D))
    write(tmp_path, "pool/2.parquet", rows_of(3, 3, emb=wide))
    narrow = rows_of(6, 3)["emb"].cast(pa.list_(pa.float32()))
    write(tmp_path, "pool/3.parquet", rows_of(6, 3, emb=narrow))
    pool = opened(tmp_path, "pool", VECTORS)
    found = np.concatenate(list(pool.blocks(("emb",), D)))
    expected = np.array(pa.concat_tables([rows_of(0, 6)])["emb"].to_pylist())
    np.testing.assert_array_equal(found[:6], expected)
    np.testing.assert_allclose(found[6:], np.array(narrow.to_pylist()), rtol=0)


@pytest.mark.parametrize("first", [True, False])
def test_files_without_rows_are_passed_over(first, tmp_path):
    none = rows_of(0, 1).slice(0, 0)
    if first:  # writers that saw no value know no type
        none = pa.table({name: pa.nulls(0) for name in none.column_names})
    write(tmp_path, f"pool/{'0' if first else '2'}.parquet", none)
    write(tmp_path, "pool/1.parquet", rows_of(0, 20))
    pool = opened(tmp_path, "pool", VECTORS)
    assert len(pool) == 20
    assert np.isfinite(scores(pool, release("emb"))).all()
    assert everyone(pool) == [f"u{row}" for row in range(20)]


def test_a_pool_without_rows_has_no_scores(tmp_path):
    write(tmp_path, "pool.parquet", rows_of(0, 1).slice(0, 0))
    pool = opened(tmp_path, "pool.parquet", VECTORS)
    assert (len(pool), list(pool.blocks(("emb",), D)), everyone(pool)) == (0, [], [])


@pytest.mark.parametrize("hole", ["a number", "a vector"])
def test_what_is_missing_is_nan_in_its_row_alone(hole, tmp_path):
    table = rows_of(0, 40)
    values = table["a" if hole == "a number" else "emb"].to_pylist()
    for row in (0, 17, *range(32, 40)):  # a whole batch, too
        values[row] = None
    kind, names = ("scalars", "a") if hole == "a number" else ("vectors", "emb")
    table = table.set_column(table.column_names.index(names), names, pa.array(values))
    write(tmp_path, "pool.parquet", table)
    columns, read = READ[kind]
    found = scores(opened(tmp_path, "pool.parquet", columns), release(*read))
    assert np.flatnonzero(np.isnan(found)).tolist() == [0, 17, *range(32, 40)]


# ids

IDS = {
    "text": (pa.array(["7", "x y", "ü"]), ["7", "x y", "ü"]),
    "whole numbers": (pa.array([7, -1, 2**60 + 1]), ["7", "-1", str(2**60 + 1)]),
    "whole floats": (pa.array([7.0, 2.5, -1.0]), ["7", "2.5", "-1"]),
    "a dictionary": (pa.array(["k", "l", "k2"]).dictionary_encode(), ["k", "l", "k2"]),
    "bytes": (pa.array([b"k", b"l", b"m"]), ["k", "l", "m"]),
}


@pytest.mark.parametrize("name", IDS)
def test_ids_are_text_as_in_an_audit(name, tmp_path):
    column, expected = IDS[name]
    write(tmp_path, "pool.parquet", rows_of(0, 3, uid=column))
    assert everyone(opened(tmp_path, "pool.parquet", SCALARS)) == expected
    assert everyone(in_memory(tmp_path, "pool.parquet", SCALARS)) == expected


GAPS = {
    "text": (["a", None, "c"], ["a", "c"]),
    "whole numbers": ([1, None, 3], ["1", "3"]),
    "floats": ([1.0, math.nan, 3.0], ["1", "3"]),
}


@pytest.mark.parametrize("name", GAPS)
def test_a_missing_id_is_told_where_its_row_is_picked(name, tmp_path):
    column, others = GAPS[name]
    write(tmp_path, "pool.parquet", rows_of(0, 3, uid=pa.array(column)))
    pool = opened(tmp_path, "pool.parquet", SCALARS)
    assert pool.ids(np.array([0, 2])) == others
    with pytest.raises(InputError, match=r"column 'uid', row 2: the id is missing; fill it in"):
        pool.ids(np.array([1, 2]))


# what is refused


def test_a_column_that_is_missing_is_told_before_a_row_is_read(tmp_path):
    write(tmp_path, "pool/1.parquet", rows_of(0, 5))
    write(tmp_path, "pool/2.parquet", rows_of(5, 5).drop_columns("b"))
    with pytest.raises(InputError, match=r"public \(pool/2.parquet\): has no column 'b'; expected"):
        opened(tmp_path, "pool", SCALARS)
    with pytest.raises(InputError, match="has no column 'uidd'; did you mean 'uid'"):
        opened(tmp_path, "pool", Columns(id="uidd", features=("a",)))


def test_features_by_wildcard_must_be_the_same_in_every_file(tmp_path):
    write(tmp_path, "pool/1.parquet", rows_of(0, 5).select(["uid", "a", "b"]))
    write(tmp_path, "pool/2.parquet", rows_of(5, 5).select(["uid", "a", "b", "c"]))
    with pytest.raises(InputError, match=r"2.parquet.*features are not those of pool/1.parquet"):
        opened(tmp_path, "pool", Columns(id="uid"))


def test_a_column_that_the_release_reads_and_the_pool_lacks_is_told(tmp_path):
    write(tmp_path, "pool.parquet", rows_of(0, 5))
    pool = opened(tmp_path, "pool.parquet", SCALARS)
    with pytest.raises(InputError, match=r"public \(pool.parquet\): has no column 'embd'; did you"):
        list(pool.blocks(("embd",), D))
    with pytest.raises(InputError, match="was made from a matrix and knows no column"):
        list(pool.blocks((), D))


SECRET = "the text of row"


@pytest.mark.parametrize("share", [0.0, 0.2, 0.6, 0.98])
def test_a_truncated_file_is_told_without_its_values(share, tmp_path):
    path = write(tmp_path, "pool/2.parquet", rows_of(0, 200))
    write(tmp_path, "pool/1.parquet", rows_of(0, 5))
    whole = path.read_bytes()
    pool = opened(tmp_path, "pool", VECTORS)
    path.write_bytes(whole[: int(share * len(whole))])
    for broken in (
        lambda: opened(tmp_path, "pool", VECTORS),
        lambda: scores(pool, release("emb")),  # it was whole when the pool was opened
        lambda: everyone(pool),
    ):
        with pytest.raises(InputError, match=r"pool/2.parquet.*cannot be read as parquet") as found:
            broken()
        assert SECRET not in str(found.value)
        assert "\n" not in str(found.value)


def test_damage_in_the_middle_of_a_file_is_told_when_it_is_reached(tmp_path):
    path = write(tmp_path, "pool.parquet", rows_of(0, 64), rows_of(64, 64))
    pool, content = opened(tmp_path, "pool.parquet", SCALARS), bytearray(path.read_bytes())
    start = pq.ParquetFile(path).metadata.row_group(1).column(2).data_page_offset
    content[start : start + 40] = b"\xff" * 40
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot be read as parquet .*; it may be cut short"):
        scores(pool, release("a", "b", "c"))
    path.unlink()
    with pytest.raises(InputError, match=r"cannot be read as parquet .FileNotFoundError"):
        scores(pool, release("a", "b", "c"))


# pools in memory


def csv_pool(folder: Path, columns: Columns) -> PoolInMemory:
    (folder / "pool.csv").write_text("uid,a,b,c\nx,1,2,3\ny,4,5,6\n")
    pool = open_pool(SetSpec(source=CsvSource(path="pool.csv"), columns=columns), folder)
    assert isinstance(pool, PoolInMemory)
    return pool


def test_a_pool_in_memory_gives_columns_by_name(tmp_path):
    """A release that was made from columns in another order must not read them by position."""
    pool = csv_pool(tmp_path, SCALARS)
    assert [block.tolist() for block in pool.blocks(("c", "a"), 2)] == [[[3, 1], [6, 4]]]
    assert pool.ids(np.array([1])) == ["y"]
    with pytest.raises(InputError, match=r"pool.csv\): has no feature column 'd'; expected one of"):
        list(pool.blocks(("d", "a"), 2))
    with pytest.raises(InputError, match="was made from a matrix and knows no column"):
        list(pool.blocks((), D))


def test_a_pool_of_vectors_in_memory_is_read_whole_or_by_name(tmp_path):
    np.savez(tmp_path / "pool.npz", emb=np.arange(12.0).reshape(4, 3), age=np.arange(4))
    both = Columns(features=("emb", "age"))
    pool = open_pool(SetSpec(source=NpzSource(path="pool.npz"), columns=both), tmp_path)
    assert next(iter(pool.blocks(("age", "emb"), 4)))[1].tolist() == [1, 3, 4, 5]
    alone = Columns(embedding="emb")
    pool = open_pool(SetSpec(source=NpzSource(path="pool.npz"), columns=alone), tmp_path)
    for columns in ((), ("emb",)):  # a release of a matrix fits one column of vectors
        assert np.concatenate(list(pool.blocks(columns, D))).tolist()[1] == [3, 4, 5]


def test_places_of_vectors_and_numbers_side_by_side(tmp_path):
    columns = {"v": np.zeros((2, 2)), "a": np.zeros(2), "w": np.zeros((2, 1)), "b": np.zeros(2)}
    np.savez(tmp_path / "pool.npz", **columns)
    spec = Columns(features=("v", "a", "w", "b"))
    pool = open_pool(SetSpec(source=NpzSource(path="pool.npz"), columns=spec), tmp_path)
    assert isinstance(pool, PoolInMemory)
    assert feature_places(pool.rows, ("b", "v", "w", "a")).tolist() == [4, 0, 1, 3, 2]


# samples


def numbered(folder: Path, *files: tuple[int, ...]) -> ParquetSource:
    """Rows with their number, in files of row groups."""
    at = 0
    for i, groups in enumerate(files):
        tables = []
        for n in groups:
            tables.append(pa.table({"n": pa.array(range(at, at + n), pa.int64())}))
            at += n
        write(folder, f"pool/{i:04}.parquet", *tables)
    return ParquetSource(path="pool")


def sampled(source: ParquetSource, folder: Path, most: int) -> list[int]:
    found: list[int] = source.sample(folder, None, most).columns["n"].tolist()
    return found


@pytest.mark.parametrize(
    ("files", "most"),
    [
        (((1000,),), 100),
        (((100,) * 10,), 100),
        (((10,) * 300,), 1000),  # more row groups than are usually looked at
        (((1000, *[1] * 50),), 500),  # groups that are smaller than their share
        (((0, 30, 0, 0, 30, 0),), 20),
        (((500,), (), (500,), (1,)), 100),
        (((7,),) * 50, 60),
    ],
)
def test_a_sample_is_as_large_as_asked_and_always_the_same(files, most, tmp_path):
    source = numbered(tmp_path, *[groups or (0,) for groups in files])
    found = sampled(source, tmp_path, most)
    # every file may round its share and those of its row groups upwards
    assert most <= len(found) <= most + sum(1 + max(MOST_GROUPS, len(groups)) for groups in files)
    assert found == sorted({*found})
    assert sampled(source, tmp_path, most) == found


def test_a_sample_lies_evenly_over_every_file_and_its_groups(tmp_path):
    source = numbered(tmp_path, (100,) * 40, (100,) * 20)
    found = np.array(sampled(source, tmp_path, 600))
    shares = np.histogram(found, [0, 4000, 6000])[0]
    assert shares.tolist() == [400, 208]  # two thirds and one third, by whole rows of 16 groups
    groups = np.unique(found // 100)
    assert len(groups) == 2 * MOST_GROUPS
    assert {0, 39, 40, 59} <= {*groups.tolist()}
    assert np.diff(groups).max() <= 4
    assert {*(found % 100).tolist()} == {*range(25)}  # the first rows of each


def test_a_small_pool_is_taken_whole(tmp_path):
    source = numbered(tmp_path, (10, 20), (5,))
    for most in (35, 36, 10**9):
        assert sampled(source, tmp_path, most) == [*range(35)]
    assert len(sampled(source, tmp_path, 34)) >= 34


@given(
    sizes=st.lists(st.integers(0, 50), min_size=1, max_size=80),
    n=st.integers(0, 3000),
)
def test_shares_of_row_groups(sizes, n):
    shares = _shares(np.array(sizes, dtype=np.int64), n)
    groups, rows = [group for group, _ in shares], [k for _, k in shares]
    assert groups == sorted({*groups})
    assert all(1 <= k <= sizes[group] for group, k in shares)
    wanted = min(n, sum(sizes))
    assert wanted <= sum(rows) <= wanted + len(shares)


def test_a_sample_reads_only_what_is_chosen(tmp_path, monkeypatch):
    """Of the columns and of the files: a private set beside the pool is none of its business."""
    write(tmp_path, "pool.parquet", rows_of(0, 60), rows_of(60, 60))
    (tmp_path / "private.parquet").write_text("whoever reads this fails")
    seen, real = [], parquet._opened
    monkeypatch.setattr(
        parquet, "_opened", lambda file, where: (seen.append(file.name), real(file, where))[1]
    )
    source = ParquetSource(path="pool.parquet")
    table = source.sample(tmp_path, lambda names, where: VECTORS.roles(names, where), 10)
    assert {*seen} == {"pool.parquet"}
    assert sorted(table.columns) == ["emb", "uid"]
    assert table.columns["emb"].shape == (10, D)
    assert table.columns["uid"].tolist() == [f"u{row}" for row in (*range(5), *range(60, 65))]


def test_a_background_of_other_sources_is_all_of_them(tmp_path):
    (tmp_path / "pool.csv").write_text("a\n" + "\n".join(map(str, range(50))))
    found = Background(CsvSource(path="pool.csv"), 10).read(tmp_path)
    assert len(found) == 50
    write(tmp_path, "pool.parquet", rows_of(0, 50))
    assert len(Background(ParquetSource(path="pool.parquet"), 10).read(tmp_path)) == 10
