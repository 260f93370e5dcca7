"""Every kind of source: what is written is what is read, and faults are told in one line."""

import contextlib
import zipfile
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation_audit.checks import InputError
from curation_audit.pipelines.sources import (
    SOURCES,
    CallableSource,
    Columns,
    CsvSource,
    ExampleSource,
    NpzSource,
    ParquetSource,
    SklearnSource,
)

NAMES = np.array(["a", "b", "c"])
VALUES = np.array([1.5, -2.0, 3.25])
MATRIX = np.arange(6.0).reshape(3, 2)


def write_parquet(folder: Path) -> ParquetSource:
    pq.write_table(pa.table({"name": NAMES, "value": VALUES}), folder / "t.parquet")
    return ParquetSource(path="t.parquet")


def write_csv(folder: Path) -> CsvSource:
    pd.DataFrame({"name": NAMES, "value": VALUES}).to_csv(folder / "t.csv", index=False)
    return CsvSource(path="t.csv")


def write_npz(folder: Path) -> NpzSource:
    np.savez(folder / "t.npz", name=NAMES, value=VALUES, meta=np.array("a description"))
    return NpzSource(path="t.npz")


def offer(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> CallableSource:
    """Install a package with the entry point ``ours``, as pip would leave it."""
    info = folder / "our_data-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: our-data\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[curation_audit.sources]\nours = our_data:load\n")
    (folder / "our_data.py").write_text(code)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(__import__("sys").modules, "our_data", raising=False)
    return CallableSource(name="ours", params={"scale": 2})


FILES = {"parquet": write_parquet, "csv": write_csv, "npz": write_npz}
CASES = {
    **FILES,
    "sklearn": lambda folder: SklearnSource(name="iris"),
    "example": lambda folder: ExampleSource(name="med", part="private"),
    "callable": None,  # needs a package: test_callable_returns_any_table
}


def test_every_source_has_a_case() -> None:
    assert sorted(CASES) == sorted(SOURCES)


@pytest.mark.parametrize("kind", sorted(set(CASES) - {"callable"}))
def test_source_reads_columns_of_one_length_and_only_those_chosen(
    kind: str, tmp_path: Path
) -> None:
    source = CASES[kind](tmp_path)
    table = source.read(tmp_path)
    assert type(source) is SOURCES[kind]
    assert len(table) > 0
    assert {len(column) for column in table.columns.values()} == {len(table)}
    first = next(iter(table.columns))
    chosen = source.read(tmp_path, lambda names, where: Columns(features=(first,)).roles(names, ""))
    assert list(chosen.columns) == [first]
    np.testing.assert_array_equal(chosen.columns[first], table.columns[first])


@pytest.mark.parametrize("kind", sorted(FILES))
def test_file_round_trip(kind: str, tmp_path: Path) -> None:
    table = FILES[kind](tmp_path).read(tmp_path)
    assert list(table.columns) == ["name", "value"]
    assert table.columns["name"].tolist() == NAMES.tolist()
    np.testing.assert_array_equal(table.columns["value"], VALUES)
    assert table.where == f"t.{kind}"


@pytest.mark.parametrize("path", ["parts", "parts/*.parquet", "**/*.parquet"])
def test_folder_and_glob_join_the_parts_in_order_of_name(path: str, tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    parts.mkdir()
    pq.write_table(pa.table({"x": [3, 4], "y": ["c", "d"]}), parts / "b.parquet")
    # Columns in another order, and a narrower type, are still the same columns.
    first = pa.table({"y": ["a", "b"], "x": pa.array([1, 2], pa.int16())})
    pq.write_table(first, parts / "a.parquet")
    (parts / "_SUCCESS").touch()
    table = ParquetSource(path=path).read(tmp_path)
    assert table.columns["x"].tolist() == [1, 2, 3, 4]
    assert table.columns["y"].tolist() == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]], pa.list_(pa.float32())),
        pa.array([[0, 1], [2, 3], [4, 5]], pa.large_list(pa.int8())),
        pa.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]], pa.list_(pa.float64(), 2)),
        pa.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]], pa.list_(pa.float16(), 2)),
    ],
    ids=lambda column: str(column.type),
)
def test_parquet_lists_become_a_matrix(column: pa.Array, tmp_path: Path) -> None:
    pq.write_table(pa.table({"v": column}), tmp_path / "v.parquet", row_group_size=2)
    read = ParquetSource(path="v.parquet").read(tmp_path).columns["v"]
    np.testing.assert_array_equal(read, MATRIX)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([1, 2, 3], pa.int16()), [1, 2, 3]),
        (pa.array([0.5, 1.5, 2.5], pa.float16()), [0.5, 1.5, 2.5]),
        (pa.array([True, False, True]), [1, 0, 1]),
        (pa.array([Decimal("1.25"), Decimal("2.50"), Decimal("0")]), [1.25, 2.5, 0]),
        (pa.array([7, 8, 7]).dictionary_encode(), [7, 8, 7]),
        (pa.array([1, None, 3]), [1, np.nan, 3]),
        (pa.array([True, None, False]), [1, np.nan, 0]),
        (pa.nulls(3), [np.nan] * 3),
    ],
    ids=str,
)
def test_parquet_numbers_of_every_kind(
    column: pa.Array, expected: list[float], tmp_path: Path
) -> None:
    pq.write_table(pa.table({"odd name. (x)": column}), tmp_path / "t.parquet")
    read = ParquetSource(path="t.parquet").read(tmp_path).columns["odd name. (x)"]
    assert read.dtype.kind in "biuf"
    np.testing.assert_array_equal(read.astype(float), expected)


def test_csv_types_are_those_of_the_whole_file_and_ids_stay_text(tmp_path: Path) -> None:
    # More than one block, and no fraction before the last line.
    lines = ["patient,x", *(f"{i:07d},{i:08d}" for i in range(1_100_000)), "0000000,0.5"]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    table = CsvSource(path="t.csv").read(
        tmp_path, lambda names, where: Columns().roles(names, where, "patient")
    )
    assert table.columns["patient"][7] == "0000007"
    assert table.columns["x"][-1] == 0.5


def test_csv_with_another_delimiter(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a;b\n1;2\n")
    table = CsvSource(path="t.csv", delimiter=";").read(tmp_path)
    assert {name: column.tolist() for name, column in table.columns.items()} == {"a": [1], "b": [2]}


def test_npz_flattens_images_and_skips_what_has_no_rows(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", X=np.zeros((3, 4, 5)), name=np.array([b"a"] * 3), meta="text")
    table = NpzSource(path="t.npz").read(tmp_path)
    assert table.columns["X"].shape == (3, 20)
    assert table.columns["name"].tolist() == ["a"] * 3
    assert "meta" not in table.columns


@pytest.mark.parametrize("name", ["breast_cancer", "digits", "iris", "wine"])
def test_sklearn_parts_are_a_partition(name: str, tmp_path: Path) -> None:
    every = SklearnSource(name=name).read(tmp_path)
    parts = [SklearnSource(name=name, part=p).read(tmp_path) for p in ("private", "public", "test")]
    ids = [i for part in parts for i in part.columns["id"].tolist()]
    assert sorted(ids) == sorted(every.columns["id"].tolist())
    assert all(part.columns.keys() == every.columns.keys() for part in parts)


@pytest.mark.parametrize(
    "result",
    [
        "{'x': [1 * scale, 2], 'v': [[1, 2], [3, 4]]}",
        "__import__('pandas').DataFrame({'x': [1 * scale, 2], 'v': [[1, 2], [3, 4]]})",
        "__import__('pyarrow').table({'x': [1 * scale, 2], 'v': [[1, 2], [3, 4]]})",
    ],
)
def test_callable_returns_any_table(
    result: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = offer(tmp_path, monkeypatch, f"def load(scale):\n    return {result}\n")
    table = source.read(tmp_path)
    assert table.columns["x"].tolist() == [2, 2]
    assert table.columns["v"].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("def load(scale): raise KeyError('secret-73')", "callable ours: raised KeyError"),
        ("def load(scale): return 3", "is a int; expected a mapping from column"),
        ("def load(): return {}", "raised TypeError"),
        ("def load(scale): return {'x': [1, 2], 'y': [1]}", "'y': has 1 rows, but column 'x'"),
        ("def load(scale): return {'x': [[1, 2], [3]]}", "'x', row 2: holds a vector of 1"),
        ("def load(scale): return {'x': 3}", "is a single value"),
    ],
)
def test_callable_that_fails(
    code: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = offer(tmp_path, monkeypatch, code)
    with pytest.raises(InputError) as caught:
        source.read(tmp_path)
    assert says in str(caught.value)
    assert "secret" not in str(caught.value)


def cut_short(folder: Path, name: str, keep: int) -> None:
    path = folder / name
    path.write_bytes(path.read_bytes()[:keep])


def garble(folder: Path) -> None:
    """An archive whose member is no array."""
    with zipfile.ZipFile(folder / "t.npz", "w") as archive:
        archive.writestr("x.npy", b"not an array")


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)


BAD = {
    "no file": (
        lambda f: write_parquet(f),
        ParquetSource(path="tt.parquet"),
        r"tt\.parquet: no such file or folder .*did you mean 't\.parquet'",
    ),
    "no folder": (
        lambda f: None,
        CsvSource(path="nowhere/t.csv"),
        "no such file or folder .*relative paths count from the folder of the YAML file",
    ),
    "empty folder": (
        lambda f: (f / "d").mkdir(),
        ParquetSource(path="d"),
        "^d: the folder holds no .parquet file",
    ),
    "empty glob": (lambda f: None, NpzSource(path="*.npz"), "no file matches; expected .npz"),
    "not parquet": (
        lambda f: write(f, "t.parquet", "x,y\n1,2\n"),
        ParquetSource(path="t.parquet"),
        r"^t\.parquet: cannot be read as parquet \(ArrowInvalid\); it may be cut short",
    ),
    "parquet cut short": (
        lambda f: (write_parquet(f), cut_short(f, "t.parquet", 300)),
        ParquetSource(path="t.parquet"),
        "cannot be read as parquet",
    ),
    "npz cut short": (
        lambda f: (write_npz(f), cut_short(f, "t.npz", 200)),
        NpzSource(path="t.npz"),
        r"^t\.npz: cannot be read as npz \(BadZipFile\)",
    ),
    "npz of nothing": (
        lambda f: write(f, "t.npz", ""),
        NpzSource(path="t.npz"),
        "cannot be read as npz",
    ),
    "npz with no array": (garble, NpzSource(path="t.npz"), "cannot be read as npz"),
    "npz that is npy": (
        lambda f: (np.save(f / "t.npy", VALUES), (f / "t.npy").rename(f / "t.npz")),
        NpzSource(path="t.npz"),
        "holds one bare array; expected .npz",
    ),
    "npz with objects": (
        lambda f: np.savez(f / "t.npz", x=np.array([{}, None])),
        NpzSource(path="t.npz"),
        "column 'x': holds pickled Python objects, which are never loaded",
    ),
    "csv of nothing": (
        lambda f: write(f, "t.csv", ""),
        CsvSource(path="t.csv"),
        r"^t\.csv: the file is empty; expected a header line and rows",
    ),
    "csv with a short line": (
        lambda f: write(f, "t.csv", "x,y\n1,2\n73.25\n4,5\n"),
        CsvSource(path="t.csv"),
        r"^t\.csv, line 3: has 1 values, expected 2 as in the header; mend the line$",
    ),
    "csv in another encoding": (
        lambda f: (f / "t.csv").write_bytes(b"x,y\n1,2\n\xff\xfe,3\n" * 2),
        ParquetSource(path="t.csv"),
        "cannot be read as parquet",
    ),
    "csv with one name twice": (
        lambda f: write(f, "t.csv", "x,x\n1,2\n"),
        CsvSource(path="t.csv"),
        "has 2 columns called 'x'; rename all but one",
    ),
    "parts with other columns": (
        lambda f: (write(f, "a.csv", "x,y\n1,2\n"), write(f, "b.csv", "x,z\n1,2\n")),
        CsvSource(path="*.csv"),
        r"^b\.csv: its columns are not those of a\.csv: 'y', 'z'; expected",
    ),
    "parts with other values": (
        lambda f: (write(f, "a.csv", "x\n1\n"), write(f, "b.csv", "x\nred\n")),
        CsvSource(path="*.csv"),
        r"^b\.csv, column 'x': holds text or other values, but numbers in a\.csv",
    ),
    "ragged vectors": (
        lambda f: pq.write_table(pa.table({"v": [[1.0, 2.0], [3.0]]}), f / "t.parquet"),
        ParquetSource(path="t.parquet"),
        "column 'v', row 2: holds a vector of 1 numbers, expected 2 as in the other rows",
    ),
    "a vector that is missing": (
        lambda f: pq.write_table(pa.table({"v": [[1.0, 2.0], None]}), f / "t.parquet"),
        ParquetSource(path="t.parquet"),
        "row 2: holds no vector, expected 2",
    ),
    "arrays of two lengths": (
        lambda f: np.savez(f / "t.npz", x=np.zeros(3), y=np.zeros(2)),
        NpzSource(path="t.npz"),
        r"^t\.npz, column 'y': has 2 rows, but column 'x' has 3",
    ),
    "unknown built-in": (
        lambda f: None,
        SklearnSource(name="iriss"),
        "is not a built-in set; did you mean 'iris'",
    ),
    "unknown example": (
        lambda f: None,
        ExampleSource(name="mde", part="private"),
        "example mde: is not known; did you mean 'med'",
    ),
    "unknown part": (
        lambda f: None,
        ExampleSource(name="med", part="privat"),
        "did you mean 'private'",
    ),
    "example without its folder": (
        lambda f: None,
        ExampleSource(name="chest_xray", part="test"),
        "no folder given for pneumoniamnist.npz; datasets/ has a card",
    ),
    "example without its file": (
        lambda f: None,
        ExampleSource(name="surgical_ward", part="test", folder="."),
        "no file diabetes130.parquet in .*; datasets/ has a card",
    ),
    "unknown callable": (
        lambda f: None,
        CallableSource(name="ours"),
        "callable ours: is not an entry point of 'curation_audit.sources'",
    ),
}


@pytest.mark.parametrize("case", sorted(BAD))
def test_bad_source_is_told_in_one_line(case: str, tmp_path: Path) -> None:
    prepare, source, says = BAD[case]
    prepare(tmp_path)
    with pytest.raises(InputError, match=says) as caught:
        source.read(tmp_path)
    assert "\n" not in str(caught.value)
    assert "73.25" not in str(caught.value)


def test_csv_in_another_encoding_hides_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("x,name\n1,M\xfcller\n".encode("latin-1"))
    with pytest.raises(InputError, match="column number 2: cannot be read as csv; expected UTF-8"):
        CsvSource(path="t.csv").read(
            tmp_path, lambda names, where: Columns(id="name").roles(names, where)
        )


@pytest.mark.parametrize("kind", sorted(FILES))
def test_files_with_broken_bytes_are_read_or_told_but_never_crash(
    kind: str, tmp_path: Path
) -> None:
    rng = np.random.default_rng(5)
    source = FILES[kind](tmp_path)
    whole = (tmp_path / source.path).read_bytes()
    for _ in range(150):
        broken = bytearray(whole)
        for place in rng.integers(len(broken), size=rng.integers(1, 4)):
            broken[place] = rng.integers(256)
        (tmp_path / source.path).write_bytes(broken)
        with contextlib.suppress(InputError):
            source.read(tmp_path)


def test_text_that_is_not_utf8_is_told_without_the_text(tmp_path: Path) -> None:
    path = tmp_path / "bad.parquet"
    column = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\4\0\0\0"), pa.py_buffer(b"abc\xff")]
    )
    pq.write_table(pa.table({"name": column}), path)
    with pytest.raises(InputError, match="column 'name': holds text that is not UTF-8") as caught:
        ParquetSource(path="bad.parquet").read(tmp_path)
    assert "abc" not in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (Columns(), ("id", "p_0", "p_1", "label", "a[0]")),
        (Columns(id="id", label="label"), ("p_0", "p_1", "a[0]")),
        (Columns(features=("p_*",)), ("p_0", "p_1")),
        (Columns(features=("p_1", "p_*")), ("p_1", "p_0")),
        (Columns(features=("a[0]",)), ("a[0]",)),
        (Columns(id="id", label="label", features=("*",)), ("p_0", "p_1", "a[0]")),
        (Columns(embedding="p_0"), ("p_0",)),
    ],
)
def test_columns_find_the_features(columns: Columns, expected: tuple[str, ...]) -> None:
    assert columns.roles(["id", "p_0", "p_1", "label", "a[0]"], "t").features == expected


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        (Columns(id="idd"), "^t: has no column 'idd'; did you mean 'id'"),
        (Columns(label="zzz"), "^t: has no column 'zzz'; expected one of age, id"),
        (Columns(features=("aeg",)), "has no column 'aeg'; did you mean 'age'"),
        (Columns(features=("q_*",)), "no column matches 'q_\\*'"),
        (Columns(id="id", label="age"), "has no feature columns, only 'id', 'age'"),
        (Columns(id="id", features=("id",)), "column 'id' is named as a feature and as id"),
        (Columns(embedding="age", features=("id",)), "both features and embedding are named"),
    ],
)
def test_columns_that_are_not_there(columns: Columns, says: str) -> None:
    with pytest.raises(InputError, match=says):
        columns.roles(["id", "age"], "t")


def test_missing_column_among_many_names_only_some() -> None:
    with pytest.raises(InputError, match="it has 900 columns: c0, c1") as caught:
        Columns(label="zzz").roles([f"c{i}" for i in range(900)], "t")
    assert len(str(caught.value)) < 200
