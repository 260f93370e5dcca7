"""A release called on Arrow tables: what it reads, appends, refuses, and leaves alone."""

import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from curation_audit.checks import InputError
from curation_audit.releases.public_maps import MeanMap, VotesMap
from curation_audit.releases.release import Release

D = 3
ROWS = [[1.0, 2.0, 3.0], [0.5, -1.0, 4.0], [-2.0, 0.25, 8.0], [3.0, 3.0, -7.0]]
WEIGHTS, SHIFT, SCALE = np.array([1.0, -2.0, 0.5]), np.array([0.5, 0.0, 1.0]), np.array([1, 2, 4.0])
# ((x - shift) / scale) @ weights, worked out by hand
SCORES = [0.5 - 2.0 + 0.25, 0.0 + 1.0 + 0.375, -2.5 - 0.25 + 0.875, 2.5 - 3.0 - 1.0]


def plain(*columns: str, **changes) -> Release:
    """Inner products, whose scores are known."""
    fields = {
        "map": MeanMap("inner_product"),
        "weights": WEIGHTS,
        "facts": {"epsilon": 1.0},
        "shift": SHIFT,
        "scale": SCALE,
        "columns": columns or ("emb",),
    }
    return Release(**(fields | changes))


def scored(column, release: Release | None = None) -> list[float]:
    """The scores of a table with that one column of vectors."""
    found = (release or plain())(pa.table({"emb": column}))
    return found["dp_score"].to_pylist()


def vectors(kind: pa.DataType, rows=ROWS) -> pa.Array:
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, pa.array(rows, kind.storage_type))
    return pa.array(rows, kind)


KINDS = {
    "list": pa.list_(pa.float64()),
    "list of float32": pa.list_(pa.float32()),
    "list of float16": pa.list_(pa.float16()),
    "large list": pa.large_list(pa.float64()),
    "fixed-size list": pa.list_(pa.float64(), D),
    "tensor": pa.fixed_shape_tensor(pa.float32(), [D]),
}


@pytest.fixture(params=KINDS)
def kind(request) -> pa.DataType:
    return KINDS[request.param]


# what is read


def test_every_kind_of_vectors_has_the_known_scores(kind):
    assert scored(vectors(kind)) == SCORES


def test_the_score_is_float64_whatever_the_vectors_are(kind):
    assert plain()(pa.table({"emb": vectors(kind)}))["dp_score"].type == pa.float64()


def test_slices_and_chunks_score_their_own_rows(kind):
    whole = vectors(kind)
    assert scored(whole.slice(1, 2)) == SCORES[1:3]
    chunks = pa.chunked_array([whole.slice(3), whole.slice(0, 0), whole.slice(0, 2)])
    assert scored(chunks) == [SCORES[3], *SCORES[:2]]
    table = pa.table({"emb": chunks})
    assert plain()(table.slice(1, 1))["dp_score"].to_pylist() == SCORES[:1]


def test_missing_vectors_score_nan_wherever_they_stand(kind):
    column = vectors(kind, [None, ROWS[0], None, *ROWS[1:], None])
    found = scored(column)
    assert np.isnan([found[0], found[2], found[6]]).all()
    assert [found[1], *found[3:6]] == SCORES
    assert scored(column.slice(1, 1)) == SCORES[:1]
    # a batch of missing rows only is a batch like any other
    for alone in (column.slice(0, 1), column.slice(6), vectors(kind, [None, None])):
        assert np.isnan(scored(alone)).all()


def test_a_column_without_a_type_misses_all_its_vectors():
    assert np.isnan(scored(pa.nulls(2))).all()
    assert np.isnan(scored(pa.array([None], pa.string()))).all()


@pytest.mark.parametrize("bad", [None, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("public", ["inner_product", "cosine", "votes"])
def test_a_missing_or_infinite_number_scores_nan_and_touches_no_other_row(bad, public):
    release = {
        "inner_product": plain(),
        "cosine": plain(map=MeanMap("cosine")),
        "votes": plain(map=VotesMap(np.eye(D), np.array([2, 5, 9]))),
    }[public]
    whole = scored(pa.array(ROWS), release)
    assert np.isfinite(whole).all()
    for place in range(D):
        rows = [list(row) for row in ROWS]
        rows[1][place] = bad
        found = scored(pa.array(rows), release)
        assert np.isnan(found[1])
        assert [found[0], *found[2:]] == [whole[0], *whole[2:]]


def test_a_score_beyond_float64_is_nan():
    assert np.isnan(scored(pa.array([[1e308, -1e308, 1e308]]))).all()


COLUMNS = {
    "float64": (pa.float64(), [1.5, 2.5]),
    "float16": (pa.float16(), [1.5, 2.5]),
    "int8": (pa.int8(), [-7, 3]),
    "uint64": (pa.uint64(), [2**40, 1]),
    "bool": (pa.bool_(), [True, False]),
    "decimal": (pa.decimal128(5, 2), [1, 2]),
    "dictionary": (pa.dictionary(pa.int8(), pa.float32()), [0.5, 0.5]),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_one_column_per_feature_of_any_kind_of_number(name):
    kind, values = COLUMNS[name]
    release = plain("b", "a", "c", shift=np.zeros(D), scale=np.ones(D))
    made = pa.array(values, kind) if name != "dictionary" else pa.array(values).dictionary_encode()
    table = pa.table({"a": made, "b": [1.0, 2.0], "c": [4, 8]})
    expected = [b - 2 * float(a) + c / 2 for a, b, c in zip(values, [1, 2], [4, 8], strict=True)]
    assert release(table)["dp_score"].to_pylist() == expected


def test_gaps_in_columns_of_numbers_score_nan():
    release = plain("a", "b", "c", shift=np.zeros(D), scale=np.ones(D))
    table = pa.table({"a": [1, None, 1, 1], "b": [True, True, None, True], "c": [2, 2, 2, None]})
    found = release(table)["dp_score"].to_pylist()
    assert found[0] == 1 - 2 + 1
    assert np.isnan(found[1:]).all()
    gone = table.set_column(1, "b", pa.nulls(4))
    assert np.isnan(release(gone)["dp_score"]).all()


def test_an_empty_table_gets_an_empty_column():
    for column in (vectors(KINDS["list"], []), pa.chunked_array([], KINDS["tensor"]), pa.nulls(0)):
        found = plain()(pa.table({"emb": column}))
        assert (found.num_rows, found.column_names) == (0, ["emb", "dp_score"])
        assert found["dp_score"].type == pa.float64()


# what is appended, and what is left alone


def test_columns_and_metadata_are_kept_in_order_and_the_table_stays_as_it_was():
    table = pa.table({"uid": ["a", "b", "c", "d"], "emb": ROWS, "n": [1, 2, 3, 4]})
    table = table.replace_schema_metadata({"made": "today"})
    before = pickle.dumps(table)
    found = plain()(table)
    assert found.column_names == ["uid", "emb", "n", "dp_score"]
    assert found.drop_columns("dp_score").equals(table, check_metadata=True)
    assert found["uid"].chunk(0).buffers()[1].address == table["uid"].chunk(0).buffers()[1].address
    assert pickle.dumps(table) == before
    assert table.column_names == ["uid", "emb", "n"]


def test_memory_that_cannot_be_written_is_read_and_never_written():
    values = np.array(ROWS).ravel()
    values.setflags(write=False)
    offsets = pa.array(np.arange(0, D * len(ROWS) + 1, D, dtype=np.int32))
    column = pa.ListArray.from_arrays(offsets, pa.Array.from_buffers(
        pa.float64(), len(values), [None, pa.py_buffer(values.tobytes())]
    ))  # fmt: skip
    before = column.to_pylist()
    assert scored(column) == SCORES
    assert column.to_pylist() == before
    rows = np.array(ROWS)
    rows.setflags(write=False)
    release = plain()
    assert release.score(rows).tolist() == SCORES
    assert release.score(rows).tolist() == SCORES
    np.testing.assert_array_equal(rows, ROWS)


def test_a_record_batch_is_scored_too():
    batch = pa.RecordBatch.from_pydict({"emb": ROWS})
    assert plain()(batch)["dp_score"].to_pylist() == SCORES


def test_reading_is_the_same_release_for_other_names():
    one = plain("emb")
    other = one.reading("vector")
    table = pa.table({"vector": ROWS})
    assert other(table)["dp_score"].to_pylist() == SCORES
    assert one.columns == ("emb",)
    three = one.reading("x", "y", "z")
    columns = dict(zip("xyz", np.array(ROWS).T, strict=True))
    assert three(pa.table(columns))["dp_score"].to_pylist() == SCORES


# what is refused


REFUSED = {
    "no such column": ({"embd": ROWS}, r"no column 'emb'; did you mean 'embd'\?; see reading"),
    "not one that is near": ({"q": [1]}, "no column 'emb'; expected one of q; see reading"),
    "text": ({"emb": ["a", "b"]}, "column 'emb': holds string values; expected numbers, or vec"),
    "vectors of text": ({"emb": [["a", "b", "c"]]}, "column 'emb': holds list<.*expected numbers"),
    "records": ({"emb": [{"x": 1.0}]}, "column 'emb': holds struct<.*expected numbers"),
    "dates": ({"emb": pa.array([0], pa.date32())}, "column 'emb': holds date32.*expected numbers"),
    "short vectors": ({"emb": [[1.0, 2.0]]}, "expected rows with 3 numbers each, the pool's feat"),
    "numbers": ({"emb": [1.0, 2.0]}, "expected rows with 3 numbers each"),
    "vectors of two lengths": ({"emb": [*ROWS, [1.0]]}, "row 5: holds a vector of 1 numbers"),
    "a score already": ({"emb": ROWS, "dp_score": [1] * 4}, "has a column 'dp_score' already; a s"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_table_that_does_not_fit_is_told_in_one_line(case):
    columns, expected = REFUSED[case]
    with pytest.raises(InputError, match=expected) as found:
        plain()(pa.table(columns))
    assert "\n" not in str(found.value)
    assert found.value.hint


def test_one_name_on_two_columns_is_refused():
    table = pa.table([pa.array(ROWS), pa.array(ROWS)], names=["emb", "emb"])
    with pytest.raises(InputError, match="has 2 columns called 'emb'; rename all but one"):
        plain()(table)


def test_a_release_of_a_matrix_asks_for_names():
    with pytest.raises(InputError, match=r"knows no column; name .* release\.reading\('embedding'"):
        replace(plain(), columns=())(pa.table({"emb": ROWS}))


def test_a_second_release_after_renaming_the_first_column():
    first = plain()(pa.table({"emb": ROWS}))
    second = plain()(first.rename_columns(["emb", "dp_score_1"]))
    assert second.column_names == ["emb", "dp_score_1", "dp_score"]


# the fingerprint, and travelling


def test_the_fingerprint_follows_what_scores_and_guarantees_follow_from(tmp_path):
    one = plain()
    assert len(one.fingerprint) == 64
    loaded = Release.load(one.save(tmp_path / "release.npz"))
    for same in (plain(), pickle.loads(pickle.dumps(one)), loaded, one.reading("emb")):
        assert same.fingerprint == one.fingerprint
    others = [
        plain(weights=np.nextafter(WEIGHTS, 9)),
        one.reading("vector"),
        plain(facts={"epsilon": 2.0}),
        plain(shift=SHIFT + 1),
        plain(scale=SCALE * 2),
        plain(map=MeanMap("cosine")),
        plain(map=MeanMap("inner_product", center=np.zeros(D))),
        plain(map=VotesMap(np.eye(D), np.array([1, 2, 3]))),
    ]
    assert len({one.fingerprint, *(other.fingerprint for other in others)}) == 1 + len(others)


def test_another_process_finds_the_same_fingerprint_and_scores(tmp_path):
    release = plain(map=MeanMap("cosine", center=np.array([0.1, 0.2, 0.3])))
    release.save(tmp_path / "release.npz")
    (tmp_path / "release.pickle").write_bytes(pickle.dumps(release))
    script = f"""
import pickle, sys
from curation_audit.releases.release import Release
for one in (Release.load("release.npz"), pickle.load(open("release.pickle", "rb"))):
    print(one.fingerprint, *(score.hex() for score in one.score({ROWS!r}).tolist()))
"""
    out = run(script, tmp_path)
    line = " ".join([release.fingerprint, *(s.hex() for s in release.score(ROWS).tolist())])
    assert out.splitlines() == [line, line]


def run(script: str, folder) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_a_release_and_a_cut_imports_numpy_alone(tmp_path):
    script = """
import sys
import curation_audit.pipelines.rules.cut, curation_audit.releases.release
heavy = {"torch", "sklearn", "scipy", "pandas", "pydantic", "matplotlib", "pyarrow", "numpy"}
print(sorted(heavy & {*sys.modules}))
"""
    assert run(script, tmp_path) == "['numpy']\n"


def test_a_worker_that_scores_and_cuts_needs_pyarrow_beside_it(tmp_path):
    """Nothing is put off until the first batch; pyarrow itself imports pandas where that is."""
    plain().save(tmp_path / "release.npz")
    script = f"""
import sys
import pyarrow as pa
from curation_audit.releases.release import Release
from curation_audit.pipelines.rules.cut import select
from curation_audit.pipelines.rules.top import TopK
table = Release.load("release.npz")(pa.table({{"emb": {ROWS!r}}}))
print(select(table["dp_score"], TopK(k=2)).indices(table["dp_score"]).tolist())
print(sorted({{"torch", "sklearn", "scipy", "pydantic"}} & {{*sys.modules}}))
"""
    best = sorted(np.argsort(SCORES)[-2:].tolist())
    assert run(script, tmp_path).splitlines() == [str(best), "[]"]
