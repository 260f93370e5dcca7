"""Files for tools that are joined by files, in the formats that these document."""

import gzip
import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pds
import pyarrow.parquet as pq
import pytest

from curation_audit import InputError, Release, TopK, select
from curation_audit.adapters.arrow import cut_of, pick, score
from curation_audit.adapters.interchange import (
    write_datacomp,
    write_dolma,
    write_ids,
    write_scores,
)
from tests.adapters import job

RECIPES = (job.EXAMPLES.parent / "interchange.md").read_text()
SCORES = [0.1, float("nan"), -2.5e-300, 1.0]
IDS = pytest.mark.parametrize("ids", [["a", "b", "ö", "d"], [7, 8, -9, 2**62]])


def scored(ids, scores=SCORES, **columns) -> pa.Table:
    return pa.table({"uid": ids, "dp_score": pa.array(scores, pa.float64()), **columns})


def documents(tmp_path, name="part-0.jsonl.gz"):
    return tmp_path / "documents" / "2019" / name


def attributes(tmp_path, experiment="dp", name="part-0.jsonl.gz") -> list[dict]:
    path = tmp_path / "attributes" / experiment / "2019" / name
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def test_the_example_writes_scores_and_the_best_ids(job_folder, best_ids):
    job.run_example("with_interchange.py", job_folder)
    ids = (job_folder / "ids.txt").read_text().splitlines()
    assert ids == sorted(best_ids)  # the order of the pool
    table = pq.read_table(job_folder / "scores.parquet")
    assert table.column_names == ["uid", "dp_score"]
    pool = pds.dataset(job_folder / "pool")
    expected = score(pool, Release.load(job_folder / "release.npz")).read_all()
    assert table.equals(expected.select(["uid", "dp_score"]))
    assert job.bookings(job_folder) == 1


def recipe(tool: str) -> str:
    """The Python of a section of the recipes."""
    (section,) = re.findall(rf"^## {tool}\n(.*?)(?=^## |\Z)", RECIPES, re.DOTALL | re.MULTILINE)
    (block,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    return block


def test_the_recipe_for_dolma_marks_the_best_documents(finished_job, tmp_path, monkeypatch):
    release = Release.load(finished_job / "release.npz")
    release.save(tmp_path / "release.npz")
    table, _ = job.read_only_pool(60)
    rows = table.append_column("text", table["uid"]).select(["uid", "text", "emb"]).to_pylist()
    lines = [json.dumps({"id": row.pop("uid"), "source": "x", **row}) + "\n" for row in rows]
    folder = tmp_path / "data" / "documents"
    folder.mkdir(parents=True)
    for part in range(3):
        text = "".join(lines[part * 20 : part * 20 + 20])
        (folder / f"part-{part}.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    monkeypatch.chdir(tmp_path)
    exec(recipe("dolma").replace("k=4_000", "k=7"), {})
    kept = {
        line["id"]
        for part in range(3)
        for line in map(
            json.loads,
            gzip.decompress(
                (tmp_path / f"data/attributes/dp/part-{part}.jsonl.gz").read_bytes()
            ).splitlines(),
        )
        if line["attributes"]["dp__mean__kept"][0][2] >= 0.5
    }
    best = pick(release(table), TopK(k=7), id="uid").read_all()
    assert kept == set(best["uid"].to_pylist())


def test_the_recipe_for_datacomp_keeps_the_best_rows(tmp_path, monkeypatch, rng):
    uids = [rng.bytes(16).hex() for _ in range(50)]
    (tmp_path / "scored").mkdir()
    pq.write_table(scored(uids, np.arange(50.0)), tmp_path / "scored" / "part-0.parquet")
    monkeypatch.chdir(tmp_path)
    exec(recipe("DataComp"), {})
    subset = np.load(tmp_path / "subset.npy")
    assert [f"{a:016x}{b:016x}" for a, b in subset.tolist()] == sorted(uids[35:])


@IDS
def test_scores_keep_their_bits_and_ids_their_type(tmp_path, ids):
    table = scored(ids, text=["x"] * 4)
    path = write_scores(table, tmp_path / "new" / "scores.parquet")
    read = pq.read_table(path)
    assert read.schema.equals(table.select(["uid", "dp_score"]).schema)
    assert read["uid"].to_pylist() == ids
    assert read["dp_score"].to_pylist() == [0.1, None, -2.5e-300, 1.0]  # NaN is a null
    first = path.read_bytes()
    write_scores(table.to_reader(), path)
    assert path.read_bytes() == first


@IDS
def test_ids_are_one_a_line(tmp_path, ids):
    text = write_ids(scored(ids), tmp_path / "ids.txt").read_text(encoding="utf-8")
    assert text.split("\n") == [*map(str, ids), ""]


@pytest.mark.parametrize("bad", ["two\nlines", "a\r", "\u2028", "x\x0by", ""])
def test_ids_that_break_a_line_are_refused(tmp_path, bad):
    with pytest.raises(InputError, match="must fit on one line"):
        write_ids(scored(["a", "b", bad, "d"]), tmp_path / "ids.txt")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array(["a", "b", "a", "c"]), "one id on several rows"),
        (pa.array([1, 2, None, 4]), "lacks 1 ids"),
        (pa.array([0.5, 1.0, 2.0, 3.0]), "holds double values; expected text or integers"),
    ],
)
@pytest.mark.parametrize("write", [write_scores, write_ids, write_datacomp])
def test_bad_ids_are_refused(tmp_path, write, column, message):
    with pytest.raises(InputError, match=message):
        write(scored(column), tmp_path / "file")
    assert not list(tmp_path.iterdir())


def test_what_is_missing_is_told(tmp_path):
    table = scored(list("abcd"))
    with pytest.raises(InputError, match="no column 'dp_score'; score it first"):
        write_scores(table.drop(["dp_score"]), tmp_path / "file")
    with pytest.raises(InputError, match="no column 'uud'; did you mean 'uid'"):
        write_ids(table, tmp_path / "file", id="uud")
    with pytest.raises(InputError, match="is a list; expected a pyarrow table"):
        write_ids(["a", "b"], tmp_path / "file")
    with pytest.raises(InputError, match="no column 'text'"):
        write_dolma(table, documents(tmp_path), experiment="dp", id="uid")


def test_dictionaries_of_ids_are_ids(tmp_path):
    table = scored(pa.array(list("abcd")).dictionary_encode())
    assert write_ids(table, tmp_path / "ids.txt").read_text() == "a\nb\nc\nd\n"


def test_only_the_columns_of_the_file_are_read_of_files(tmp_path):
    pq.write_table(scored(list("abcd"), text=list("abcd")), tmp_path / "scored.parquet")
    files, scans = pds.dataset(tmp_path / "scored.parquet"), []

    class Watched:
        schema = files.schema

        def scanner(self, **options):
            scans.append(options["columns"])
            return files.scanner(**options)

    write_scores(Watched(), tmp_path / "file")
    write_ids(Watched(), tmp_path / "file")
    assert scans == [["uid", "dp_score"], ["uid"]]


def test_datacomp_subsets_are_what_its_readme_makes(tmp_path, rng):
    uids = [rng.bytes(16).hex() for _ in range(300)]
    uids[:3] = [f"{0:032x}", f"{2**128 - 1:032x}", "139E4A9B22A614771F06C700A8EBE150"]
    expected = np.array(  # as DataComp's README says
        [(int(uid[:16], 16), int(uid[16:32], 16)) for uid in uids], np.dtype("u8,u8")
    )
    expected.sort()
    path = write_datacomp(scored(uids, np.zeros(300)), tmp_path / "subset.npy")
    subset = np.load(path, allow_pickle=False)
    assert subset.dtype == np.dtype("u8,u8")
    assert np.array_equal(subset, expected)


@pytest.mark.parametrize("bad", ["", "12", "g" * 32, "0" * 33, "0x" + "0" * 30, " " + "0" * 31])
def test_datacomp_refuses_other_uids(tmp_path, bad):
    with pytest.raises(InputError, match="expected 32 hex digits"):
        write_datacomp(scored(["0" * 32, bad], [0, 0]), tmp_path / "subset.npy")
    with pytest.raises(InputError, match="one id on several rows"):
        write_datacomp(scored(["a" * 32, "A" * 32], [0, 0]), tmp_path / "subset.npy")


def test_empty_picks_are_files_too(tmp_path):
    table = scored(["a" * 32] * 4, text=["x"] * 4).slice(0, 0)
    assert pq.read_table(write_scores(table, tmp_path / "scores.parquet")).num_rows == 0
    assert write_ids(table, tmp_path / "ids.txt").read_text() == ""
    assert np.load(write_datacomp(table, tmp_path / "subset.npy")).shape == (0,)
    assert write_dolma(table, documents(tmp_path), experiment="dp", id="uid") == 0
    assert attributes(tmp_path) == []


@IDS
def test_dolma_attributes_line_up_with_the_documents(tmp_path, ids):
    table = scored(ids, text=["one", "", "zwölf 🏷", "four"])
    n_without = write_dolma(
        table, documents(tmp_path), experiment="dp", tagger="mean_v1", id="uid", text="text"
    )
    assert n_without == 1
    name = "dp__mean_v1__dp_score"
    assert attributes(tmp_path) == [
        {"id": ids[0], "attributes": {name: [[0, 3, 0.1]]}},
        {"id": ids[1], "attributes": {name: []}},
        {"id": ids[2], "attributes": {name: [[0, 7, -2.5e-300]]}},
        {"id": ids[3], "attributes": {name: [[0, 4, 1.0]]}},
    ]


def test_dolma_scores_keep_their_bits(tmp_path, rng):
    scores = np.concatenate([rng.standard_normal(500) * 10.0 ** rng.integers(-300, 300, 500)])
    table = scored([f"d{i}" for i in range(500)], scores, text=[5] * 500)
    write_dolma(table, documents(tmp_path), experiment="dp", id="uid")
    (name,) = attributes(tmp_path)[0]["attributes"]
    read = [line["attributes"][name][0] for line in attributes(tmp_path)]
    assert np.array_equal([span[2] for span in read], scores)
    assert all(span[:2] == [0, 5] for span in read)  # lengths may be given in place of texts


def test_dolma_scores_are_floats(tmp_path):
    table = scored(list("abcd"), [0.0, -1.0, 1e30, float("nan")], text=list("abcd"))
    write_dolma(table, documents(tmp_path), experiment="dp", id="uid")
    lines = gzip.decompress(
        (tmp_path / "attributes/dp/2019/part-0.jsonl.gz").read_bytes()
    ).splitlines()
    # dolma's mixer does not find 0 equal to 0.0
    assert [line.rpartition(b": ")[2] for line in lines] == [
        b"[[0, 1, 0.0]]}}",
        b"[[0, 1, -1.0]]}}",
        b"[[0, 1, 1e+30]]}}",
        b"[]}}",
    ]


def test_dolma_ids_are_escaped_or_refused(tmp_path):
    ids = ['say "hi"', "back\\slash\\", "é\u2028/", "<&>"]
    write_dolma(scored(ids, text=ids), documents(tmp_path), experiment="dp", id="uid")
    assert [line["id"] for line in attributes(tmp_path)] == ids
    for bad in ("new\nline", "tab\t", "\x00"):
        with pytest.raises(InputError, match="control characters"):
            write_dolma(
                scored([*"abc", bad], text=ids), documents(tmp_path), experiment="x", id="uid"
            )


def test_dolma_gets_the_cut_where_rows_have_equal_scores(tmp_path):
    table = job.tied_pool()
    table = table.append_column("text", table["uid"])
    cut = cut_of(table, TopK(k=250), id="uid")
    write_dolma(table, documents(tmp_path), experiment="dp", id="uid", cut=cut)
    lines = attributes(tmp_path)
    kept = [line["id"] for line in lines if line["attributes"]["dp__curation_audit__kept"][0][2]]
    assert kept == pick(table, cut, id="uid").read_all()["uid"].to_pylist()
    assert lines[0]["attributes"]["dp__curation_audit__dp_score"] == [[0, 2, 200.0]]


def test_dolma_keeps_documents_without_a_score_where_all_are_kept(tmp_path):
    table = scored(list("abcd"), text=list("abcd"))
    cut = select(table["dp_score"], TopK(k=4), table["uid"])
    write_dolma(table, documents(tmp_path), experiment="dp", id="uid", cut=cut)
    marks = [line["attributes"]["dp__curation_audit__kept"] for line in attributes(tmp_path)]
    assert marks == [[[0, 1, 1.0]]] * 4


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("docs/a.gz", "lies in no folder 'documents'"),
        ("documents/x/documents/a.gz", "or in two"),
        ("documents", "lies in no folder"),
        ("documents/a.jsonl", "is no .gz file"),
    ],
)
def test_dolma_wants_its_folders(tmp_path, path, message):
    table = scored(list("abcd"), text=list("abcd"))
    with pytest.raises(InputError, match=message):
        write_dolma(table, tmp_path / path, experiment="dp", id="uid")


@pytest.mark.parametrize("name", ["", "a b", "a-b", "a/b", "ä", "../x"])
def test_dolma_names_are_words(tmp_path, name):
    table = scored(list("abcd"), text=list("abcd"))
    with pytest.raises(InputError, match="expected letters, digits and _"):
        write_dolma(table, documents(tmp_path), experiment="dp", tagger=name, id="uid")
    with pytest.raises(InputError, match="expected letters, digits and _"):
        write_dolma(table, documents(tmp_path), experiment=name, id="uid")


def test_tables_and_files_stay_as_they_were(tmp_path):
    table = scored(list("abcd"), text=list("abcd"))
    before = pa.table(table.to_pydict(), schema=table.schema)
    path = tmp_path / "scores.parquet"
    write_scores(table, path)
    content = path.read_bytes()
    with pytest.raises(InputError):
        write_scores(scored(list("aaaa")), path)
    assert path.read_bytes() == content
    write_dolma(table, documents(tmp_path), experiment="dp", id="uid")
    assert str(table) == str(before)  # NaN equals nothing
