"""From tables to checked data: every check, alignment, units, scaling and fingerprints."""

import dataclasses
import re
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation_audit.checks import InputError
from curation_audit.pipelines.base import ALWAYS_IN, CurationData
from curation_audit.pipelines.data import data_from_arrays, load_data
from curation_audit.pipelines.sources import (
    Columns,
    CsvSource,
    NpzSource,
    ParquetSource,
    PrivateSpec,
    SetSpec,
)
from curation_audit.streams import Streams

STREAMS = Streams(3)


def frame(n: int, seed: int, **columns: Any) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    numbers = {"age": rng.normal(50, 9, n), "dose": rng.normal(1, 0.1, n)}
    names = {"key": [f"k{seed}-{i}" for i in range(n)], "kind": ["b", "a"] * (n // 2)}
    return pd.DataFrame(names | numbers | columns)


def private() -> pd.DataFrame:
    return frame(8, 1, patient=["p2", "p2", "p1", "p3", "p3", "p3", "p4", "p5"])


def pool() -> pd.DataFrame:
    return frame(12, 2)


def held_out() -> pd.DataFrame:
    return frame(6, 3)


def from_frames(
    private: pd.DataFrame, public: pd.DataFrame, test: pd.DataFrame | None = None, **settings: Any
) -> CurationData:
    chosen = {"labels": "kind", "ids": "key", "unit": "patient", "streams": STREAMS} | settings
    return data_from_arrays(private, public, test, **chosen)


def changed(table: pd.DataFrame, row: int, column: str, value: Any) -> pd.DataFrame:
    table = table.astype({column: object})
    table.loc[row, column] = value
    return table


# what is wrong: (private, pool, test), settings, and what the message says
BAD: dict[str, tuple[tuple[Any, Any, Any], dict[str, Any], str]] = {
    "missing column": (
        (private(), pool().rename(columns={"kind": "kinds"}), None),
        {},
        r"^public \(table\): has no column 'kind'; did you mean 'kinds'",
    ),
    "no such unit": ((private(), pool(), None), {"unit": "patent"}, "did you mean 'patient'"),
    "no features": (
        (private()[["key", "kind", "patient"]], pool(), None),
        {},
        r"^private \(table\): has no feature columns, only 'key', 'kind', 'patient'",
    ),
    "another dimension": (
        (private(), pool().drop(columns="dose"), None),
        {},
        r"^private \(table\): has 2 features, but public \(table\) has 1; only here: 'dose'",
    ),
    "another dimension of the test set": (
        (private(), pool(), held_out().assign(more=1.0)),
        {},
        r"^test \(table\): has 3 features, but public \(table\) has 2; only here: 'more'",
    ),
    "another dimension of matrices": (
        (np.zeros((5, 3)), np.zeros((5, 4)), None),
        {"labels": None, "ids": None, "unit": None},
        r"^private \(array\): has 3 features, but public \(array\) has 4; expected the same",
    ),
    "features called otherwise": (
        (private().rename(columns={"age": "years"}), pool(), None),
        {},
        "'years' instead of 'age'; features are matched by name",
    ),
    "ragged vectors": (
        (private().assign(v=[[1.0]] * 7 + [[1.0, 2.0]]), pool(), None),
        {},
        r"^table, column 'v', row 8: holds a vector of 2 numbers, expected 1",
    ),
    "NaN": (
        (changed(private(), 2, "age", np.nan), pool(), None),
        {},
        r"^private \(table\), column 'age', row 3: a value is missing \(NaN\) \(1 not finite",
    ),
    "None": ((changed(private(), 0, "age", None), pool(), None), {}, r"row 1: a value is missing"),
    "pandas NA": (
        (private(), changed(pool(), 1, "dose", pd.NA), None),
        {},
        r"^public \(table\), column 'dose', row 2, id 'k2-1': a value is missing",
    ),
    "infinity": (
        (private(), pool(), held_out().assign(age=[1, 2, np.inf, -np.inf, 5, 6])),
        {},
        r"column 'age', row 3, id 'k3-2': a value is infinite \(2 not finite in all, in 'age'\)",
    ),
    "text among numbers": (
        (changed(private(), 4, "age", "73.25"), pool(), None),
        {},
        r"column 'age', row 5: a feature column holds text, expected numbers",
    ),
    "text": (
        (private().assign(ward="north"), pool(), None),
        {},
        r"column 'ward'.*holds text, expected numbers; encode it",
    ),
    "dates": (
        (private(), pool().assign(seen=datetime(2020, 1, 1)), None),
        {},
        "column 'seen': a feature column holds dates",
    ),
    "complex": ((private(), pool().assign(z=1j), None), {}, "holds complex numbers"),
    "other objects": (
        (private().assign(z=[{}] * 8), pool(), None),
        {},
        "column 'z', row 1: a feature column holds dict values",
    ),
    "private id twice": (
        (changed(private(), 6, "key", "k1-2"), pool(), None),
        {},
        r"column 'key', row 7: repeats the id of row 3 \(1 repeated in all\).*name a unit",
    ),
    "public id twice": (
        (private(), changed(pool(), 6, "key", "k2-2"), None),
        {},
        r"column 'key', row 7, id 'k2-2': repeats the id of row 3",
    ),
    "id missing": ((private(), changed(pool(), 6, "key", None), None), {}, "the id is missing"),
    "empty private set": (
        (private().iloc[:0], pool(), None),
        {},
        r"^private \(table\): the set is empty",
    ),
    "empty pool": ((private(), pool().iloc[:0], None), {}, r"^public \(table\): the set is empty"),
    "empty test set": (
        (private(), pool(), held_out().iloc[:0]),
        {},
        r"^test \(table\): the set is empty",
    ),
    "three candidates": (
        (private().iloc[:6], pool(), None),
        {},
        r"has 3 candidates \(units\); an audit needs at least 4",
    ),
    "three rows": (
        (private().iloc[:3], pool(), None),
        {"unit": None, "features": ["age", "dose"]},
        r"has 3 candidates \(rows\)",
    ),
    "private label that the pool lacks": (
        (private().assign(kind=list("abcdefgh")), pool(), None),
        {},
        r"^private .*: 6 rows have labels that the pool lacks, the first is row 3; "
        "the pool has 'a', 'b'",
    ),
    "test label that the pool lacks": (
        (private(), pool(), held_out().assign(kind="z")),
        {},
        r"^test .*: has labels that the pool lacks: 'z'",
    ),
    "label missing": (
        (private(), changed(pool(), 3, "kind", None), None),
        {},
        r"column 'kind', row 4: the label is missing \(1 such",
    ),
    "label that is NaN": (
        (private(), pool().assign(kind=[1.0, np.nan] * 6), None),
        {},
        r"row 2: the label is missing \(6 such",
    ),
    "labels without the pool's": (
        (private(), pool().drop(columns="kind"), None),
        {"labels": {"private": "kind"}},
        r"^private .*names a label column, but public \(table\) names none",
    ),
    "one class": (
        (private(), pool().assign(kind="a"), None),
        {},
        r"^public .*all rows have the label 'a'; a downstream model needs at least two",
    ),
    "unit missing": (
        (changed(private(), 5, "patient", None), pool(), None),
        {},
        r"column 'patient', row 6: the unit is missing",
    ),
    "vectors as labels": (
        (private(), pool().assign(kind=[[1, 2]] * 12), None),
        {},
        "column 'kind': holds vectors, expected one label per row",
    ),
    "labels of another length": (
        (np.zeros((5, 2)), np.zeros((6, 2)), None),
        {"labels": {"public": [0, 1]}, "ids": None, "unit": None},
        r"column '\(label\)': has 2 rows, but column 'features' has 6",
    ),
    "no matrix": (
        (np.zeros(5), np.zeros((6, 2)), None),
        {"labels": None, "ids": None, "unit": None},
        r"^private \(array\): has shape \(5,\); expected a matrix",
    ),
    "too many targets": (
        (private(), pool(), None),
        {"targets": 6},
        r"^attack\.targets: is 6, but private .* has 5 candidates \(units\); expected 4 to 5",
    ),
    "too few targets": ((private(), pool(), None), {"targets": 3}, "expected 4 to 5, or all"),
    "too large for float32": (
        (private().assign(age=1e200), pool(), None),
        {"standardise": "none"},
        r"column 'age', row 1: a value is too large for float32 once scaled",
    ),
    "too large to scale": (
        (private(), pool().assign(age=[1e308, -1e308] * 6), None),
        {},
        "column 'age': the values are too large for a standard deviation",
    ),
}


@pytest.mark.parametrize("case", sorted(BAD))
def test_bad_data_is_told_in_one_line(case: str) -> None:
    sets, settings, says = BAD[case]
    with pytest.raises(InputError, match=says) as caught:
        from_frames(*sets, **settings)
    assert "\n" not in str(caught.value)
    assert "73.25" not in str(caught.value)
    assert not re.search(r"k1-\d|'p\d'", str(caught.value)), "a private id"


SECRET = "918273.5"


@given(
    row=st.integers(0, 7),
    column=st.sampled_from(["key", "kind", "age", "dose", "patient"]),
    value=st.sampled_from([None, np.nan, np.inf, "text", SECRET, b"x", 1e300, {}, [], ["a"], 1j]),
)
def test_no_private_value_is_ever_told(row: int, column: str, value: Any) -> None:
    # Every private number holds the secret's digits; labels that the pool lacks are told by name.
    table = private().assign(age=918273.5, dose=918273.5, key=[f"918273-{i}" for i in range(8)])
    table = table.assign(patient=[f"918273-{i // 2}" for i in range(8)])
    values = table[column].astype(object)
    values.iat[row] = value
    try:
        told = " ".join(from_frames(table.assign(**{column: values}), pool()).warnings)
    except InputError as error:
        told = str(error)
    assert "918273" not in told or column == "kind"


def test_data_is_aligned_grouped_and_in_the_pools_label_space() -> None:
    turned = private()[["patient", "dose", "kind", "age", "key"]]  # columns in another order
    data = from_frames(turned, pool(), held_out(), standardise="none", dtype="float64")
    assert data.private.unit.tolist() == [0, 0, 1, 2, 2, 2, 3, 4]
    assert data.private.unit_ids == ("p2", "p1", "p3", "p4", "p5")
    np.testing.assert_array_equal(data.private.features, private()[["age", "dose"]])
    assert data.private.ids == tuple(private()["key"])
    assert data.classes == ("a", "b")
    assert data.pool.labels is not None
    assert data.pool.labels.tolist() == [1, 0] * 6
    assert data.test is not None
    assert len(data.test) == 6
    assert (data.n_private_rows_in_pool, data.warnings) == (0, ())


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([10, 9, 2], ("2", "9", "10")),
        ([1.0, 0.0, 2.0], ("0", "1", "2")),
        (["10", "9", "2"], ("2", "9", "10")),
        (["10", "9", "x"], ("10", "9", "x")),
        (["10", "9", "nan"], ("10", "9", "nan")),
        ([True, False, True], ("False", "True")),
        ([0.5, -1.5, 2], ("-1.5", "0.5", "2")),
    ],
)
def test_classes_are_sorted_by_value_where_all_are_numbers(
    labels: list[Any], classes: tuple[str, ...]
) -> None:
    rows = np.eye(3)
    given = {"public": np.array(labels)}
    data = data_from_arrays(np.ones((4, 3)), rows, labels=given, streams=STREAMS)
    assert data.classes == classes
    assert data.pool.labels is not None
    assert [data.classes[code] for code in data.pool.labels] == [
        str(int(x)) if isinstance(x, float) and x.is_integer() else str(x)
        for x in np.array(labels).tolist()
    ]


def test_scaling_is_the_pools_alone() -> None:
    public = pool().assign(same=0.1)
    data = from_frames(private().assign(same=0.3), public, dtype="float64")
    numbers = public[["age", "dose"]].to_numpy()
    mean, sd = numbers.mean(axis=0), numbers.std(axis=0)
    np.testing.assert_allclose(data.pool.features[:, :2], (numbers - mean) / sd, atol=1e-12)
    np.testing.assert_allclose(
        data.private.features[:, :2], (private()[["age", "dose"]] - mean) / sd, atol=1e-9
    )
    np.testing.assert_allclose(data.private.features[:, 2], 0.2)  # a constant: scale 1
    other = from_frames(private().assign(same=0.3, age=0.0), public, dtype="float64")
    np.testing.assert_array_equal(other.pool.features, data.pool.features)


def test_a_dtype_that_is_no_float_is_a_mistake_of_code() -> None:
    with pytest.raises(ValueError, match="float32 or float64, got int64"):
        from_frames(private(), pool(), dtype="int64")


def test_targets_leave_the_other_rows_always_in() -> None:
    data = from_frames(private(), pool(), targets=4)
    assert data.private.n_candidates == 4
    assert len(data.private) == 8
    for row, owner in enumerate(private()["patient"]):
        column = data.private.unit[row]
        if owner in data.private.unit_ids:
            assert data.private.unit_ids[column] == owner
        else:
            assert column == ALWAYS_IN
    again = from_frames(private(), pool(), targets=4)
    assert again.private.unit_ids == data.private.unit_ids
    others = {
        data_from_arrays(
            np.eye(40), np.eye(40) * 2, targets=5, streams=Streams(seed)
        ).private.unit_ids
        for seed in range(5)
    }
    assert len(others) == 5


def test_rows_in_two_sets_are_counted_and_kept() -> None:
    shared = private()
    shared.loc[[0, 3], ["age", "dose"]] = pool().loc[[5, 7], ["age", "dose"]].to_numpy()
    shared.loc[7, ["age", "dose"]] = shared.loc[2, ["age", "dose"]].to_numpy()  # p5 and p1
    shared.loc[5, ["age", "dose"]] = shared.loc[4, ["age", "dose"]].to_numpy()  # both p3
    test = held_out()
    test.loc[1, ["age", "dose"]] = pool().loc[0, ["age", "dose"]].to_numpy()
    data = from_frames(shared, pool(), test)
    assert data.n_private_rows_in_pool == 2
    assert len(data.private) == 8
    assert len(data.warnings) == 3
    assert data.warnings[0].startswith("2 of 8 private rows also stand in the public pool")
    assert data.warnings[1].startswith("1 of 6 test rows also stand in the public pool")
    assert data.warnings[2].startswith("2 of 8 private rows are equal to a row of another unit")


def test_negative_zero_is_zero() -> None:
    data = data_from_arrays(np.eye(4) * -0.0, np.zeros((1, 4)), streams=STREAMS)
    assert data.n_private_rows_in_pool == 4


WRITERS = {
    "parquet": lambda table, path: table.to_parquet(path, index=False),
    "csv": lambda table, path: table.to_csv(path, index=False),
    "npz": lambda table, path: np.savez(
        path, **{c: np.array(table[c].tolist()) for c in table.columns}
    ),
}
SOURCE = {"parquet": ParquetSource, "csv": CsvSource, "npz": NpzSource}


def from_files(folder: Path, kind: str, **settings: Any) -> CurationData:
    for name, table in {"private": private(), "public": pool(), "test": held_out()}.items():
        WRITERS[kind](table, folder / f"{name}.{kind}")
    columns = Columns(id="key", label="kind")
    return load_data(
        PrivateSpec(source=SOURCE[kind](path=f"private.{kind}"), columns=columns, unit="patient"),
        SetSpec(source=SOURCE[kind](path=f"public.{kind}"), columns=columns),
        SetSpec(source=SOURCE[kind](path=f"test.{kind}"), columns=columns),
        base=folder,
        streams=STREAMS,
        **settings,
    )


def assert_equal(one: Any, other: Any) -> None:
    if dataclasses.is_dataclass(one):
        for field in dataclasses.fields(one):
            assert_equal(getattr(one, field.name), getattr(other, field.name))
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    else:
        assert one == other


@pytest.mark.parametrize("kind", sorted(WRITERS))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_file_kind_gives_the_same_data(kind: str, dtype: str, tmp_path: Path) -> None:
    data = from_files(tmp_path, kind, dtype=dtype)
    assert data.pool.features.dtype == dtype
    assert_equal(data, from_frames(private(), pool(), held_out(), dtype=dtype))


def test_matrices_give_the_same_data_as_frames() -> None:
    sets = {"private": private(), "public": pool(), "test": held_out()}
    data = data_from_arrays(
        *(table[["age", "dose"]].to_numpy() for table in sets.values()),
        labels={name: table["kind"].tolist() for name, table in sets.items()},  # type: ignore[arg-type]
        ids={name: table["key"].to_numpy() for name, table in sets.items()},  # type: ignore[arg-type]
        unit=private()["patient"],
        streams=STREAMS,
    )
    named = from_frames(private(), pool(), held_out())
    assert (data.columns, named.columns) == ((), ("age", "dose"))
    assert_equal(replace(data, columns=named.columns), named)


def test_missing_column_of_a_file_names_set_and_file(tmp_path: Path) -> None:
    private().to_csv(tmp_path / "ward.csv", index=False)
    spec = SetSpec(source=CsvSource(path="ward.csv"), columns=Columns(id="kye"))
    with pytest.raises(InputError, match=r"^public \(ward\.csv\): has no column 'kye'; did you"):
        load_data(
            PrivateSpec(source=spec.source, columns=Columns(features=("age",))),
            spec,
            None,
            base=tmp_path,
            streams=STREAMS,
        )


def odd_table(n: int, seed: int) -> pa.Table:
    """Names and types that no example uses."""
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "N° dossier": pa.array(np.arange(n) + 1000 * seed, pa.int64()),
            "hb (g/dl)": pa.array(rng.integers(80, 170, n), pa.int16()),
            "crp.log": pa.array(rng.normal(size=n).astype(np.float16)),
            "smoker?": pa.array(rng.random(n) < 0.5),
            "dose": pa.array([Decimal(int(x)) / 100 for x in rng.integers(1, 900, n)]),
            "ecg": pa.array(list(rng.normal(size=(n, 3))), pa.list_(pa.float64())),
            "eeg": pa.FixedSizeListArray.from_arrays(pa.array(rng.normal(size=2 * n)), 2),
            "outcome": pa.array(rng.choice(["home", "ward"], n)).dictionary_encode(),
            "Ärztin": pa.array([f"D{i % 5}" for i in range(n)], pa.large_string()),
            "seen": pa.array([datetime(2020, 1, 1)] * n),
        }
    )


def odd_data(folder: Path, features: tuple[str, ...] | None) -> CurationData:
    for name, n in (("a", 30), ("b", 50)):
        pq.write_table(odd_table(n, ord(name)), folder / f"{name}.parquet", row_group_size=7)
    columns = Columns(id="N° dossier", label="outcome", features=features)
    return load_data(
        PrivateSpec(source=ParquetSource(path="a.parquet"), columns=columns, unit="Ärztin"),
        SetSpec(source=ParquetSource(path="b.parquet"), columns=columns),
        None,
        base=folder,
        streams=STREAMS,
    )


def test_parquet_with_odd_names_and_types(tmp_path: Path) -> None:
    named = ("hb (g/dl)", "crp.log", "smoker?", "dose", "e?g")
    data = odd_data(tmp_path, named)
    assert data.private.features.shape == (30, 9)
    assert data.private.unit_ids == ("D0", "D1", "D2", "D3", "D4")
    assert data.classes == ("home", "ward")
    assert data.pool.ids[:2] == ("98000", "98001")
    np.testing.assert_allclose(data.pool.features.std(axis=0), 1, rtol=1e-4)
    assert data.test is None


def test_parquet_timestamps_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"column 'seen': a feature column holds dates"):
        odd_data(tmp_path, ("hb*", "seen"))


@given(
    name=st.sampled_from(["private", "public", "test"]),
    column=st.sampled_from(["key", "kind", "age", "dose"]),
    row=st.integers(0, 5),
)
def test_fingerprint_changes_with_any_value(name: str, column: str, row: int) -> None:
    tables = {"private": private(), "public": pool(), "test": held_out()}
    before = from_frames(*tables.values()).fingerprints
    table = tables[name]
    value = table.loc[row, column]
    new = {"key": "new", "kind": {"a": "b", "b": "a"}.get(str(value))}
    table.loc[row, column] = new.get(column) or np.nextafter(value, np.inf)
    after = from_frames(*tables.values()).fingerprints
    assert {key for key in before if before[key] != after[key]} == {name}


def test_fingerprint_changes_with_units_and_with_where_ids_are_cut() -> None:
    before = from_frames(private(), pool()).fingerprints
    moved = private().assign(patient=["p2", "p1", "p1", "p3", "p3", "p3", "p4", "p5"])
    assert from_frames(moved, pool()).fingerprints["private"] != before["private"]
    assert from_frames(moved, pool()).fingerprints["public"] == before["public"]
    one = data_from_arrays(np.eye(4), np.eye(2, 4), ids={"public": ["a", "bc"]}, streams=STREAMS)
    two = data_from_arrays(np.eye(4), np.eye(2, 4), ids={"public": ["ab", "c"]}, streams=STREAMS)
    assert one.fingerprints["public"] != two.fingerprints["public"]


def test_inputs_are_not_modified_and_not_shared() -> None:
    rows, background = np.eye(4), np.ones((3, 4))
    rows.setflags(write=False)
    data = data_from_arrays(rows, background, standardise="none", dtype="float64", streams=STREAMS)
    background[:] = 7
    np.testing.assert_array_equal(data.pool.features, np.ones((3, 4)))
    np.testing.assert_array_equal(data.private.features, np.eye(4))


def test_the_row_that_made_text_of_a_column_is_named(tmp_path):
    """One cell that is no number turns a whole csv column into text."""
    lines = ["a,b", *(f"{i},{i / 2}" for i in range(6)), "7,<5", "8,9.5"]
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    spec = SetSpec(source=CsvSource(path="rows.csv"))
    with pytest.raises(InputError, match=r"column 'b', row 7: a feature column holds text"):
        load_data(PrivateSpec(source=spec.source), spec, None, base=tmp_path, streams=Streams(0))
