"""A release in pandas and pyarrow."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pds
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation_audit import Cut, InputError, Release, Threshold, TopFraction, TopK, select
from curation_audit.adapters import arrow
from curation_audit.adapters.arrow import (
    best_so_far,
    cut_of,
    keep,
    mask_of,
    pick,
    pick_frame,
    score,
    score_frame,
)
from tests.adapters import job

REASON = "pandas is not installed"


@pytest.fixture
def release(finished_job) -> Release:
    return Release.load(finished_job / "release.npz")


def test_the_arrow_example_picks_the_best_rows(job_folder, best_ids):
    job.run_example("with_arrow.py", job_folder)
    names = ("picked.parquet", "pool")
    picked, pool = (pds.dataset(job_folder / name).to_table() for name in names)
    assert set(picked["uid"].to_pylist()) == best_ids
    assert picked["uid"].to_pylist() == sorted(best_ids)  # the order of the pool
    assert picked.column_names == [*pool.column_names, "dp_score"]
    rows = [int(uid[1:]) for uid in picked["uid"].to_pylist()]
    assert picked.drop(["dp_score"]).equals(pool.take(rows))


def test_a_second_run_gives_the_same_bits_and_books_nothing(job_folder):
    before = job.bookings(job_folder)
    job.run_example("with_arrow.py", job_folder)
    first = (job_folder / "scored.parquet").read_bytes()
    job.run_example("with_arrow.py", job_folder)
    assert (job_folder / "scored.parquet").read_bytes() == first
    assert job.bookings(job_folder) == before == 1


def test_the_pandas_example_picks_the_best_rows(job_folder, best_ids):
    pytest.importorskip("pandas", reason=REASON)
    job.run_example("with_pandas.py", job_folder)
    picked = pq.read_table(job_folder / "picked.parquet")
    assert picked["uid"].to_pylist() == sorted(best_ids)
    assert picked.column_names == ["uid", "text", "emb", "dp_score"]
    assert job.bookings(job_folder) == 1


def test_pandas_and_arrow_give_the_same_bits(job_folder, release):
    pd = pytest.importorskip("pandas", reason=REASON)
    frame = score_frame(pd.read_parquet(job_folder / "pool"), release)
    stream = score(pds.dataset(job_folder / "pool"), release).read_all()
    assert np.array_equal(frame["dp_score"], stream["dp_score"])


@pytest.mark.parametrize("batch_rows", [1, 7, 10_000])
def test_read_only_batches_are_scored_whatever_their_size(release, batch_rows):
    table, values = job.read_only_pool(50)
    before = pa.table(table.to_pydict(), schema=table.schema)
    scored = score(table, release, batch_rows=batch_rows).read_all()
    assert np.array_equal(scored["dp_score"], release.score(values))
    assert scored.drop(["dp_score"]).equals(table)
    assert table.equals(before)


def test_empty_batches_and_empty_pools(release):
    table, values = job.read_only_pool(5)
    full, empty = table.to_batches()[0], table.slice(0, 0).to_batches(max_chunksize=1)
    none = pa.RecordBatch.from_pylist([], schema=table.schema)
    reader = pa.RecordBatchReader.from_batches(table.schema, [none, full, *empty, none])
    scored = score(reader, release).read_all()
    assert np.array_equal(scored["dp_score"], release.score(values))
    nothing = score(table.slice(0, 0), release).read_all()
    assert nothing.num_rows == 0
    assert nothing.schema == scored.schema
    assert pick(nothing, Threshold(minimum=0.0)).read_all().num_rows == 0


def test_a_stream_is_read_as_it_is_asked_for(release):
    table, _ = job.read_only_pool(64)
    read = []

    def batches():
        for batch in table.to_batches(max_chunksize=1):
            read.append(batch)
            yield batch

    scored = score(pa.RecordBatchReader.from_batches(table.schema, batches()), release)
    assert not read
    scored.read_next_batch()
    kept = pick(scored, Threshold(minimum=-9.0))
    kept.read_next_batch()
    assert len(read) <= 3  # never more than the two that were asked for, and one ahead


def test_batches_of_files_are_small(job_folder, release):
    scored = score(pds.dataset(job_folder / "pool"), release, batch_rows=1_000)
    assert max(batch.num_rows for batch in scored) <= 1_000


def test_a_large_file_is_never_held_as_a_whole(tmp_path, release):
    part = job.read_only_pool(1_000)[0]
    with pq.ParquetWriter(tmp_path / "large.parquet", part.schema) as writer:
        for _ in range(160):
            writer.write_table(part)
    held = pa.total_allocated_bytes()
    scored = score(pds.dataset(tmp_path / "large.parquet"), release, batch_rows=1_000)
    most = max(pa.total_allocated_bytes() - held for _ in scored)
    assert most < 160 * part.nbytes / 2  # read ahead are 16 batches; all of it are 160


def test_files_of_other_formats_are_read(tmp_path, release):
    table, values = job.read_only_pool(20)
    pds.write_dataset(table, tmp_path / "pool", format="feather")
    scored = score(pds.dataset(tmp_path / "pool", format="feather"), release).read_all()
    assert np.array_equal(scored["dp_score"], release.score(values))
    fragments = pds.dataset(tmp_path / "pool", format="feather").get_fragments()
    assert score(next(fragments), release).read_all().equals(scored)


def test_objects_of_other_libraries_are_streams(release):
    class Foreign:
        def __arrow_c_stream__(self, requested_schema=None):
            return table.__arrow_c_stream__(requested_schema)

    table, values = job.read_only_pool(20)
    assert np.array_equal(score(Foreign(), release).read_all()["dp_score"], release.score(values))
    with pytest.raises(InputError, match="is a dict; expected a pyarrow data set"):
        score({"emb": values}, release)


def test_a_missing_column_is_named_before_anything_is_read(release):
    table, _ = job.read_only_pool(3)
    with pytest.raises(InputError, match=r"no column 'emb'.*did you mean 'em'.*reading"):
        score(table.rename_columns(["uid", "n", "em"]), release)
    scored = score(table.rename_columns(["uid", "n", "em"]), release.reading("em")).read_all()
    assert scored.column_names == ["uid", "n", "em", "dp_score"]
    with pytest.raises(InputError, match="'dp_score' already"):
        score(scored, release.reading("em"))


def test_text_in_place_of_vectors_is_told_when_it_is_read(release):
    table = pa.table({"emb": ["one", "two"]})
    with pytest.raises(InputError, match=r"'emb'.*expected numbers"):
        score(table, release).read_all()


def test_what_is_missing_for_a_pick_is_told(release):
    table = job.tied_pool()
    with pytest.raises(InputError, match="no column 'dp_score'; score it first"):
        pick(table.drop(["dp_score"]), TopK(k=3), id="uid")
    with pytest.raises(InputError, match="no column 'uud'; did you mean 'uid'"):
        pick(table, TopK(k=3), id="uud")
    with pytest.raises(InputError, match="id='uid'"):
        pick(table, TopK(k=3))
    with pytest.raises(InputError, match="id='uid'"):
        pick(table, Cut(1.0, tie_bound=5))
    with pytest.raises(InputError, match="k = 401, but the pool has 400"):
        pick(table, TopK(k=401), id="uid")
    with pytest.raises(InputError, match="only once"):
        pick(table.to_reader(), TopK(k=3), id="uid")


@pytest.mark.parametrize("batch_rows", [1, 33, 1_000])
def test_rows_of_equal_score_are_picked_by_id_whatever_the_batches(batch_rows):
    table = job.tied_pool()
    cut = cut_of(table, TopK(k=250), id="uid")
    picked = pick(table, TopK(k=250), id="uid", batch_rows=batch_rows).read_all()
    assert picked.num_rows == 250
    shuffled = table.take(np.random.default_rng(0).permutation(400))
    again = pick(shuffled, cut, id="uid", batch_rows=batch_rows).read_all()
    assert set(again["uid"].to_pylist()) == set(picked["uid"].to_pylist())
    assert cut == select(table["dp_score"], TopK(k=250), table["uid"].to_pylist())
    # a reader is enough for a cut that is there already
    assert pick(table.to_reader(), cut, id="uid").read_all().num_rows == 250


def test_fractions_and_thresholds(job_folder):
    table = job.tied_pool()
    assert pick(table, TopFraction(fraction=0.1), id="uid").read_all().num_rows == 40
    assert pick(table.to_reader(), Threshold(minimum=200.0)).read_all().num_rows == 300


def test_the_cut_reads_scores_and_ids_only(job_folder, release):
    class Watched:
        def scanner(self, **options):
            scans.append(options.get("columns"))
            return files.scanner(**options)

    scans: list[list[str] | None] = []
    scored = score(pds.dataset(job_folder / "pool"), release)
    pds.write_dataset(scored, job_folder / "scored", format="parquet")
    files = pds.dataset(job_folder / "scored")
    cut = cut_of(Watched(), TopK(k=5), id="uid")
    assert scans == [None, ["dp_score", "uid"]]  # the first is for the schema, and reads no row
    scans.clear()
    assert pick(Watched(), cut, id="uid").read_all().num_rows == 5
    assert scans == [None]


def test_an_error_in_the_middle_of_a_stream_reaches_who_writes_it(tmp_path, release):
    table, _ = job.read_only_pool(20)
    short = pa.table({"uid": ["x"], "n": [1], "emb": pa.array([[0.0]], pa.list_(pa.float32()))})
    kind = pa.list_(pa.float32())
    good = table.set_column(2, "emb", table["emb"].cast(kind))
    batches = [*good.to_batches(), *short.to_batches()]
    stream = pa.RecordBatchReader.from_batches(good.schema, batches)
    with pytest.raises(InputError, match="expected rows with 64 numbers"):
        pds.write_dataset(score(stream, release), tmp_path / "scored", format="parquet")


def test_workers_need_the_release_and_the_cut_alone(job_folder, release, best_ids):
    parts = [pq.read_table(path) for path in sorted((job_folder / "pool").iterdir())]
    whole = score(pds.dataset(job_folder / "pool"), release).read_all()
    cut = cut_of(whole, TopK(k=job.PICKED), id="uid")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        scored = list(pool.map(release, parts))
        picked = list(pool.map(partial(keep, cut=cut, id="uid"), scored))
    assert pa.concat_tables(scored).equals(whole)
    assert set(pa.concat_tables(picked)["uid"].to_pylist()) == best_ids
    assert [len(part) for part in picked] == [mask_of(part, cut, "uid").sum() for part in scored]


def test_frames_keep_their_index_and_stay_as_they_were(release):
    pd = pytest.importorskip("pandas", reason=REASON)
    table, values = job.read_only_pool(30)
    vectors = list(values)
    for vector in vectors:
        vector.flags.writeable = False
    frame = pd.DataFrame({"emb": vectors, "uid": table["uid"].to_pylist()}, index=[7] * 30)
    before = frame.copy()
    scored = score_frame(frame, release)
    assert np.array_equal(scored["dp_score"], release.score(values))
    assert list(scored.columns) == ["emb", "uid", "dp_score"]
    picked = pick_frame(scored, TopK(k=4), id="uid")
    assert picked.index.tolist() == [7] * 4
    assert set(picked["dp_score"]) == set(np.sort(scored["dp_score"])[-4:])
    assert picked["uid"].tolist() == sorted(picked["uid"], key=lambda uid: int(uid[1:]))
    pd.testing.assert_frame_equal(frame, before)


def test_frames_of_one_column_per_feature(release):
    pd = pytest.importorskip("pandas", reason=REASON)
    _, values = job.read_only_pool(30)
    values.flags.writeable = False
    frame = pd.DataFrame(values, columns=[f"f{i}" for i in range(job.WIDTH)])
    scored = score_frame(frame, release.reading(*frame.columns))
    assert np.array_equal(scored["dp_score"], release.score(values))


def test_empty_frames_and_frames_that_lack_a_column(release):
    pd = pytest.importorskip("pandas", reason=REASON)
    frame = pd.DataFrame({"emb": [], "uid": []})
    scored = score_frame(frame, release)
    assert scored["dp_score"].dtype == np.float64
    assert not len(pick_frame(scored, Threshold(minimum=0.0)))
    with pytest.raises(InputError, match="no column 'emb'; did you mean 'embb'"):
        score_frame(frame.rename(columns={"emb": "embb"}), release)
    with pytest.raises(InputError, match="'dp_score' already"):
        score_frame(scored, release)
    with pytest.raises(InputError, match="score it first"):
        pick_frame(frame, TopK(k=1))


def test_frames_pick_ties_as_arrow_does():
    pd = pytest.importorskip("pandas", reason=REASON)
    table = job.tied_pool()
    frame = pd.DataFrame(table.to_pydict())
    cut = cut_of(table, TopK(k=250), id="uid")
    expected = pick(table, cut, id="uid").read_all()["uid"].to_pylist()
    assert pick_frame(frame, TopK(k=250), id="uid")["uid"].tolist() == expected
    assert pick_frame(frame, cut, id="uid")["uid"].tolist() == expected
    assert len(pick_frame(frame, TopK(k=250))) == 250  # by the rows' numbers


def test_the_callable_alone_is_enough(job_folder, release, best_ids):
    """What a user writes who knows no adapter."""
    source = pds.dataset(job_folder / "pool")
    batches = (
        scored
        for batch in source.to_batches()
        for scored in release(pa.Table.from_batches([batch])).to_batches()
    )
    table = pa.Table.from_batches(batches)
    picked = table.take(
        select(table["dp_score"], TopK(k=job.PICKED), table["uid"]).indices(
            table["dp_score"], table["uid"]
        )
    )
    assert set(picked["uid"].to_pylist()) == best_ids


@given(
    scores=st.lists(
        st.sampled_from([0.0, 1.0, 2.0, 3.0, -1.0, np.inf, -np.inf, np.nan]),
        min_size=1,
        max_size=60,
    ),
    share=st.floats(0.01, 1),
    batch_rows=st.integers(1, 7),
)
def test_the_best_so_far_give_the_cut_of_all_rows(scores, share, batch_rows):
    """Whatever the batches: ties at the cut, and rows without a score, are not lost on the way."""
    k, ids = max(1, round(share * len(scores))), [str(i) for i in range(len(scores))]
    table = pa.table({"dp_score": pa.array(scores, pa.float64()), "uid": ids})
    with patch.object(arrow, "LIGHT_BATCH_ROWS", batch_rows), patch.object(arrow, "ROWS_KEPT", 1):
        found = cut_of(table, TopK(k=k), "uid")
        best = best_so_far(table.to_batches(max_chunksize=batch_rows), k)
    expected = select(np.array(scores), TopK(k=k), ids)
    assert repr(found) == repr(expected)  # NaN is not equal to itself
    assert sum(map(len, best)) >= k


def test_of_many_rows_few_are_held():
    rng = np.random.default_rng(0)
    scores = rng.standard_normal(50_000)
    table = pa.table({"dp_score": scores, "uid": np.arange(50_000)})
    with patch.object(arrow, "LIGHT_BATCH_ROWS", 1000):
        best = best_so_far(table.to_batches(max_chunksize=1000), 100)
    held = np.concatenate([np.asarray(one.column("dp_score")) for one in best])
    assert len(held) < 1100
    assert set(np.sort(scores)[-100:]) <= set(held)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint64", "int32", "float32", "float16"])
def test_the_best_so_far_of_any_kind_of_number(dtype):
    """Negated, an unsigned 0 would be the best."""
    scores = np.random.default_rng(0).integers(0, 100, 3000).astype(dtype)
    table = pa.table({"dp_score": scores, "uid": np.arange(3000)})
    with patch.object(arrow, "LIGHT_BATCH_ROWS", 100):
        found = cut_of(table, TopK(k=50), "uid")
    assert found == select(scores, TopK(k=50), np.arange(3000))


class OneShot:
    """What another library gives that reads a network: each batch once."""

    def __init__(self, table):
        self.reader = table.to_reader(max_chunksize=2)

    def __arrow_c_stream__(self, requested_schema=None):
        return self.reader.__arrow_c_stream__(requested_schema)


def test_a_stream_that_is_gone_once_read_is_refused_not_emptied():
    table = pa.table({"dp_score": [0.1, 0.5, 0.3], "uid": ["a", "b", "c"]})
    with pytest.raises(InputError, match="can be read only once"):
        pick(OneShot(table), TopK(k=2), "uid")
    kept = pick(OneShot(table), Threshold(minimum=0.2), "uid").read_all()
    assert kept["uid"].to_pylist() == ["b", "c"]
