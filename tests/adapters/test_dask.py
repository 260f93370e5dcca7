"""A release in dask data frames."""

import numpy as np
import pyarrow.dataset as pds
import pytest

pytest.importorskip("dask.dataframe", reason="dask[dataframe] is not installed")

import dask
import dask.dataframe as dd
import pandas as pd

from curation_audit import Cut, InputError, Release, Threshold, TopFraction, TopK, select
from curation_audit.adapters import arrow
from curation_audit.adapters.dask import pick, score
from tests.adapters import job

pytestmark = [
    # dask 2026.8 on pandas 3.1; gone when dask no longer says inplace=True
    pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame.reset_index"),
]


@pytest.fixture
def release(finished_job) -> Release:
    return Release.load(finished_job / "release.npz")


def pool(folder) -> dd.DataFrame:
    return dd.read_parquet(folder / "pool", dtype_backend="pyarrow")


def expected_scores(folder, release) -> np.ndarray:
    return release(pds.dataset(folder / "pool").to_table())["dp_score"].to_numpy()


def tied_frame(npartitions: int) -> dd.DataFrame:
    return dd.from_pandas(pd.DataFrame(job.tied_pool().to_pydict()), npartitions=npartitions)


def test_the_example_picks_the_best_rows(job_folder, best_ids, release):
    job.run_example("with_dask.py", job_folder)
    picked, source = (pds.dataset(job_folder / name).to_table() for name in ("picked", "pool"))
    assert picked["uid"].to_pylist() == sorted(best_ids)
    assert picked.column_names == ["uid", "text", "emb", "dp_score"]
    expected = source.take([int(uid[1:]) for uid in picked["uid"].to_pylist()])
    assert picked["emb"].combine_chunks().equals(expected["emb"].combine_chunks())
    assert picked["text"].to_pylist() == expected["text"].to_pylist()
    assert np.array_equal(picked["dp_score"], release(expected)["dp_score"])
    assert job.bookings(job_folder) == 1


@pytest.mark.parametrize("backend", [None, "pyarrow"])
def test_scores_are_the_same_bits_each_time(job_folder, release, backend):
    options = {"dtype_backend": backend} if backend else {}
    scored = score(dd.read_parquet(job_folder / "pool", **options), release)
    for _ in range(2):
        found = scored["dp_score"].compute(scheduler="threads")
        assert np.array_equal(found, expected_scores(job_folder, release))
    assert job.bookings(job_folder) == 1


def test_worker_processes_give_the_same_bits(job_folder, release, best_ids):
    with dask.config.set(scheduler="processes", num_workers=2):
        scored = score(pool(job_folder), release)
        picked = pick(scored, TopK(k=job.PICKED), id="uid").compute()
    assert set(picked["uid"]) == best_ids
    rows = [int(uid[1:]) for uid in picked["uid"]]
    assert rows == sorted(rows)
    assert np.array_equal(picked["dp_score"], expected_scores(job_folder, release)[rows])


def test_who_asks_for_scores_reads_no_other_column(job_folder, release):
    scored = score(pool(job_folder), release)
    plan = scored[["dp_score", "uid"]].optimize(fuse=False)
    read = [leaf.columns for leaf in plan.find_operations(_parquet())]
    assert read
    assert all(set(columns) <= {"uid", "emb"} for columns in read)


def _parquet():
    from dask.dataframe.dask_expr.io import ReadParquet

    return ReadParquet


def test_the_same_release_has_the_same_name_in_a_graph(job_folder, release):
    again = score(pool(job_folder), Release.load(job_folder / "release.npz"))
    assert again._name == score(pool(job_folder), release)._name
    assert again._name != score(pool(job_folder), _doubled(release))._name


def _doubled(release: Release) -> Release:
    return Release(
        release.map,
        release.weights * 2,
        release.facts,
        release.shift,
        release.scale,
        columns=release.columns,
    )


def test_inputs_and_their_index_stay_as_they_were(release):
    _, values = job.read_only_pool(40)
    values.flags.writeable = False
    names = [f"f{i}" for i in range(job.WIDTH)]
    frame = pd.DataFrame(values, columns=names, index=np.arange(100, 140))
    before = frame.copy()
    ddf = dd.from_pandas(frame, npartitions=3)
    scored = score(ddf, release.reading(*names))
    assert list(ddf.columns) == names
    assert scored.divisions == ddf.divisions
    whole = scored.compute()
    assert whole.index.equals(frame.index)
    assert np.array_equal(whole["dp_score"], release.score(values))
    pd.testing.assert_frame_equal(frame, before)


def test_empty_partitions(job_folder, release):
    scored = score(pool(job_folder), release)
    late = scored[scored["uid"] >= "u30000"]  # the first three partitions hold nothing
    assert late.map_partitions(len).compute().tolist() == [0, 0, 0, 10_000]
    assert len(pick(late, TopK(k=7), id="uid")) == 7
    bare = pool(job_folder)
    rescored = score(bare[bare["uid"] >= "u30000"], release)["dp_score"].compute()
    assert np.array_equal(rescored, expected_scores(job_folder, release)[30_000:])
    nothing = scored[scored["uid"] > "v"]
    assert len(pick(nothing, Threshold(minimum=0.0))) == 0


@pytest.mark.parametrize("npartitions", [1, 7])
def test_ties_are_picked_as_arrow_picks_them(npartitions):
    cut = arrow.cut_of(job.tied_pool(), TopK(k=250), id="uid")
    expected = arrow.pick(job.tied_pool(), cut, id="uid").read_all()["uid"].to_pylist()
    frame = tied_frame(npartitions)
    assert pick(frame, TopK(k=250), id="uid").compute()["uid"].tolist() == expected
    assert pick(frame, cut, id="uid").compute()["uid"].tolist() == expected
    assert len(pick(frame, TopFraction(fraction=0.1), id="uid")) == 40
    assert len(pick(frame, Threshold(minimum=390.0))) == 5


def test_what_is_missing_is_told_at_once(job_folder, release):
    frame = tied_frame(2)
    with pytest.raises(InputError, match=r"no column 'emb'.*reading"):
        score(frame, release)
    with pytest.raises(InputError, match="'dp_score' already"):
        score(frame.rename(columns={"uid": "emb"}), release)
    with pytest.raises(InputError, match="score it first"):
        pick(pool(job_folder), TopK(k=1), id="uid")
    with pytest.raises(InputError, match="did you mean 'uid'"):
        pick(frame, TopK(k=1), id="uuid")
    with pytest.raises(InputError, match="id='uid'"):
        pick(frame, TopK(k=1))
    with pytest.raises(InputError, match="id='uid'"):
        pick(frame, Cut(1.0, tie_bound=5))
    with pytest.raises(InputError, match="k = 401, but the pool has 400"):
        pick(frame, TopK(k=401), id="uid")


def test_lists_that_dask_turned_into_text_are_refused(release):
    frame = pd.DataFrame({"emb": [[0.0] * job.WIDTH] * 4})
    scored = score(dd.from_pandas(frame, npartitions=2), release)
    with pytest.raises(InputError, match="expected numbers"):
        scored.compute()
    with dask.config.set({"dataframe.convert-string": False}):
        assert len(score(dd.from_pandas(frame, npartitions=2), release).compute()) == 4


def test_the_callable_alone_is_enough(job_folder, release, best_ids):
    """What a user writes who knows no adapter."""
    import pyarrow as pa

    def scored(part):
        scores = release(pa.Table.from_pandas(part[["emb"]], preserve_index=False))["dp_score"]
        return part.assign(dp_score=scores.to_numpy())

    frame = pool(job_folder).map_partitions(scored)
    pair = frame[["uid", "dp_score"]].compute()
    cut = select(pair["dp_score"], TopK(k=job.PICKED), pair["uid"])
    assert set(pair["uid"][cut.mask(pair["dp_score"], pair["uid"])]) == best_ids
