"""A release in Hugging Face datasets, without a network and with caches of the tests' own."""

import os
import subprocess
import sys
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pds
import pyarrow.parquet as pq
import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when the library is imported
hf = pytest.importorskip("datasets", reason="Hugging Face datasets is not installed")

from curation_audit import Cut, InputError, Release, Threshold, TopK, select  # noqa: E402
from curation_audit.adapters.huggingface import pick, score  # noqa: E402
from tests.adapters import job  # noqa: E402

pytestmark = [
    # newer Pythons warn where a process with threads is forked, as num_proc does
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    folder = tmp_path / "hf"
    monkeypatch.setattr(hf.config, "HF_DATASETS_CACHE", folder / "datasets")
    monkeypatch.setattr(hf.config, "HF_MODULES_CACHE", str(folder / "modules"))
    hf.disable_progress_bars()
    yield folder
    hf.enable_progress_bars()


@pytest.fixture
def release(finished_job) -> Release:
    return Release.load(finished_job / "release.npz")


@pytest.fixture
def other(release) -> Release:
    """A release with other weights."""
    facts = {**release.facts, "note": "another"}
    return type(release)(
        release.map, release.weights * 2, facts, release.shift, release.scale, columns=("emb",)
    )


def pool(folder, streaming=False):
    files = str(folder / "pool" / "*.parquet")
    return hf.load_dataset("parquet", data_files=files, split="train", streaming=streaming)


def table_of(ds) -> pa.Table:
    if isinstance(ds, hf.Dataset):
        return ds.with_format("arrow")[:]
    return pa.concat_tables(ds.with_format("arrow").iter(1_000))


@pytest.mark.parametrize("example", ["with_datasets.py", "with_datasets_streaming.py"])
def test_the_examples_pick_the_best_rows(job_folder, best_ids, release, example):
    if example == "with_datasets.py":
        job.run_example("with_datasets.py", job_folder)
    else:
        job.run_example("with_datasets_streaming.py", job_folder)
    picked = pq.read_table(job_folder / "picked.parquet")
    source = pds.dataset(job_folder / "pool").to_table()
    assert picked["uid"].to_pylist() == sorted(best_ids)  # the order of the pool
    assert picked.column_names == ["uid", "text", "emb", "dp_score"]
    expected = source.take([int(uid[1:]) for uid in picked["uid"].to_pylist()])
    assert picked.drop(["dp_score"]).equals(expected)
    assert picked["dp_score"].equals(release(expected)["dp_score"])
    assert job.bookings(job_folder) == 1


def test_streamed_and_stored_scores_are_the_same_bits(job_folder, release):
    expected = release(pds.dataset(job_folder / "pool").to_table())["dp_score"].to_numpy()
    for ds in (pool(job_folder), pool(job_folder, streaming=True)):
        for batch_size in (333, 1_000):
            found = table_of(score(ds, release, batch_size=batch_size))
            assert np.array_equal(found["dp_score"], expected)
    by_two = score(pool(job_folder), release, num_proc=2)
    assert np.array_equal(table_of(by_two)["dp_score"], expected)
    assert job.bookings(job_folder) == 1


def test_the_cache_is_used_for_the_same_release_and_for_no_other(
    job_folder, release, other, caches
):
    def cached():
        return sorted(path.name for path in caches.rglob("cache-*.arrow"))

    ds = pool(job_folder)
    first = score(ds, release)
    one = cached()
    assert len(one) == 1
    again = score(pool(job_folder), Release.load(job_folder / "release.npz"))
    assert cached() == one
    assert again._fingerprint == first._fingerprint
    second = score(ds, other)
    assert len(cached()) == 2
    assert second._fingerprint != first._fingerprint
    assert np.array_equal(second["dp_score"][:], 2 * np.array(first["dp_score"][:]))


def test_the_cache_is_used_by_the_next_process(job_folder, caches):
    """What a retry does: another process with another hash seed reads the same scores."""
    environment = os.environ | {"HF_HOME": str(caches), "HF_HUB_OFFLINE": "1"}
    found = []
    for seed in ("1", "2"):
        script = [sys.executable, str(job.EXAMPLES / "with_datasets.py")]
        done = environment | {"PYTHONHASHSEED": seed}
        subprocess.run(script, cwd=job_folder, env=done, check=True, capture_output=True)
        files = caches.rglob("cache-*.arrow")
        found.append({path.name: path.stat().st_mtime_ns for path in files})
        (job_folder / "picked.parquet").unlink()
    assert len(found[0]) == 2  # one by each of two processes
    assert found[0] == found[1]


@pytest.mark.parametrize("kind", [None, "numpy", "arrow", "pandas"])
def test_the_users_own_format_stays(job_folder, release, kind):
    ds = pool(job_folder).with_format(kind)
    scored = score(ds, release)
    assert scored.format["type"] == ds.format["type"] == kind
    picked = pick(scored, TopK(k=3), id="uid")
    assert picked.format == scored.format
    streamed = pool(job_folder, streaming=True).with_format(kind)
    kept = pick(score(streamed, release), TopK(k=3), id="uid")
    assert type(next(iter(kept.iter(2)))) is type(picked[:2])
    assert next(iter(kept.iter(2)))["dp_score"][0] == picked[:2]["dp_score"][0]


def test_a_format_of_some_columns_shows_the_score_too(job_folder, release):
    ds = pool(job_folder).with_format("numpy", columns=["uid"], output_all_columns=True)
    scored = score(ds, release)
    assert scored.format["columns"] == ["uid", "dp_score"]
    assert scored.format["output_all_columns"]
    ds = pool(job_folder).with_transform(lambda batch: {"n": [len(batch["uid"])]})
    assert score(ds, release)[:5] == {"n": [5]}


def test_types_of_columns_stay(release):
    table, values = job.read_only_pool(20)
    ds = hf.Dataset(table).add_column("label", [0, 1] * 10)
    ds = ds.cast_column("label", hf.ClassLabel(names=["no", "yes"]))
    for kind in (ds, ds.to_iterable_dataset()):
        scored = score(kind, release)
        assert scored.features == {**ds.features, "dp_score": hf.Value("float64")}
        assert np.array_equal(table_of(scored)["dp_score"], release.score(values))
        slim = scored.remove_columns(["emb"])
        assert table_of(slim).column_names == ["uid", "n", "label", "dp_score"]


def test_inputs_stay_as_they_were(release):
    table, _ = job.read_only_pool(20)
    ds = hf.Dataset(table)
    before, mark = table_of(ds), ds._fingerprint
    scored = score(ds, release)
    pick(scored, TopK(k=2), id="uid")
    assert ds.column_names == ["uid", "n", "emb"]
    assert table_of(ds).equals(before)
    assert ds._fingerprint == mark
    assert len(scored) == 20


def test_empty_data_sets_and_batches(release):
    ds = hf.Dataset(job.read_only_pool(0)[0])
    scored = score(ds, release)
    assert scored.features == {**ds.features, "dp_score": hf.Value("float64")}
    assert pick(scored, Threshold(minimum=0.0)).num_rows == 0
    with pytest.raises(InputError, match="the pool has 0 rows"):
        pick(scored, TopK(k=1), id="uid")
    table, values = job.read_only_pool(20)
    streamed = hf.Dataset(table).to_iterable_dataset(num_shards=4).with_format("arrow")
    late = streamed.filter(_at_least, fn_kwargs={"n": 12}, batched=True, batch_size=2)
    assert np.array_equal(table_of(score(late, release))["dp_score"], release.score(values[12:]))
    none = score(streamed.filter(_at_least, fn_kwargs={"n": 99}, batched=True), release)
    assert list(pick(none, Threshold(minimum=0.0))) == []
    with pytest.raises(InputError, match="the pool has 0 rows"):
        pick(none, TopK(k=1), id="uid")


def _at_least(table, n):
    return [one >= n for one in table["n"].to_pylist()]


def test_picks_of_filtered_rows_and_ties(job_folder):
    table = job.tied_pool()
    expected = select(table["dp_score"], TopK(k=250), table["uid"])
    rows = expected.indices(table["dp_score"], table["uid"])
    ds = hf.Dataset(table)
    streamed = ds.to_iterable_dataset(num_shards=7)
    for kind in (ds, streamed):
        assert table_of(pick(kind, TopK(k=250), id="uid")).equals(table.take(rows))
        assert table_of(pick(kind, expected, id="uid")).equals(table.take(rows))
        assert table_of(pick(kind, Threshold(minimum=390.0))).num_rows == 5
    assert len(pick(ds, TopK(k=250))) == 250  # by the rows' numbers
    # rows that a user has taken out before are not picked
    late = ds.select(range(399, 199, -1))
    assert pick(late, TopK(k=2), id="uid")["uid"][:] == ["u399", "u397"]


def test_what_is_missing_is_told_at_once(release):
    ds = hf.Dataset(job.read_only_pool(5)[0])
    tied = hf.Dataset(job.tied_pool())
    for kind, scored in ((ds, tied), (ds.to_iterable_dataset(), tied.to_iterable_dataset())):
        with pytest.raises(InputError, match=r"no column 'emb'.*did you mean 'em'.*reading"):
            score(kind.rename_column("emb", "em"), release)
        with pytest.raises(InputError, match="'dp_score' already"):
            score(scored.rename_column("uid", "emb"), release)
        with pytest.raises(InputError, match="score it first"):
            pick(kind, TopK(k=1), id="uid")
        with pytest.raises(InputError, match="did you mean 'uid'"):
            pick(scored, TopK(k=1), id="uuid")
        with pytest.raises(InputError, match="id='uid'"):
            pick(scored, Cut(1.0, tie_bound=5))
        with pytest.raises(InputError, match="k = 401, but the pool has 400"):
            pick(scored, TopK(k=401), id="uid")
    with pytest.raises(InputError, match="id='uid'"):
        pick(tied.to_iterable_dataset(), TopK(k=1))
    with pytest.raises(InputError, match="splits; pass one of them: train, test"):
        score(hf.DatasetDict({"train": ds, "test": ds}), release)


@pytest.mark.parametrize("num_proc", [None, 2])
def test_an_error_in_a_worker_is_told_as_it_is(release, num_proc):
    ds = hf.Dataset.from_dict({"emb": [[0.0] * 3] * 8})
    with pytest.raises(InputError, match="expected rows with 64 numbers"):
        score(ds, release, num_proc=num_proc)


def test_a_generator_of_unknown_columns_is_scored_when_read(release):
    _, values = job.read_only_pool(10)
    ds = hf.IterableDataset.from_generator(partial(_rows, values))
    scored = list(score(ds, release))
    assert np.array_equal([row["dp_score"] for row in scored], release.score(values))
    assert [row["uid"] for row in scored] == [f"u{i}" for i in range(10)]


def _rows(values):
    for i, one in enumerate(values):
        yield {"uid": f"u{i}", "emb": one.tolist()}


def test_the_callable_alone_is_enough(job_folder, release, best_ids):
    """What a user writes who knows no adapter."""
    ds = pool(job_folder).with_format("arrow").map(release, batched=True, num_proc=2)
    scores, ids = ds["dp_score"][:], ds["uid"][:]
    picked = ds.select(select(scores, TopK(k=job.PICKED), ids).indices(scores, ids))
    assert set(picked.with_format(None)["uid"][:]) == best_ids
    streamed = pool(job_folder, streaming=True).with_format("arrow").map(release, batched=True)
    assert np.array_equal(table_of(streamed)["dp_score"], scores)
