"""A release in Ray Data, with the real engine on this machine."""

import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pds
import pytest

from curation_audit import Cut, InputError, Release, Threshold, TopFraction, TopK, select
from curation_audit.adapters.ray import ScoringActor, pick, score
from tests.adapters import job

ray = pytest.importorskip("ray", reason="Ray is not installed: make test-ray")
pytest.importorskip("ray.data", reason="Ray Data is not installed: make test-ray")

pytestmark = [
    pytest.mark.ray,
    # Ray warns of its own settings whenever it makes them
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\.data\.context"),
]


@pytest.fixture(scope="module", autouse=True)
def _quiet():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")  # no test talks to a network
        patch.setenv("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
        yield


@pytest.fixture
def no_engine():
    """For an example, which starts its own."""
    ray.shutdown()
    yield
    ray.shutdown()


@pytest.fixture
def engine():
    """Two processors, and a GPU that Ray is told of, whether there is one or not."""
    if not ray.is_initialized():
        ray.init(num_cpus=2, num_gpus=1, include_dashboard=False, logging_level="ERROR")


@pytest.fixture
def release(finished_job) -> Release:
    return Release.load(finished_job / "release.npz")


def table_of(dataset) -> pa.Table:
    """What a data set holds, in the order of ``n``: blocks may come in any order."""
    blocks = ray.get(dataset.to_arrow_refs())
    # Ray may forget the columns of a block without rows
    return pa.concat_tables(block for block in blocks if block.num_rows).sort_by("n")


def numbered(table: pa.Table) -> pa.Table:
    return table.append_column("n", pa.array(range(table.num_rows)))


ACTORS = {"num_gpus": 0.5, "num_cpus": 0.25, "batch_format": "pyarrow", "batch_size": 16}


def by_actors(dataset, kind, release, size=2):
    pool = ray.data.ActorPoolStrategy(size=size)
    return dataset.map_batches(kind, fn_constructor_args=(release,), compute=pool, **ACTORS)


def check_picked(folder, best_ids):
    picked, pool = (pds.dataset(folder / name).to_table() for name in ("picked", "pool"))
    assert picked.num_rows == job.PICKED
    assert set(picked["uid"].to_pylist()) == best_ids
    assert picked.column_names == [*pool.column_names, "dp_score"]
    rows = pool.take([int(uid[1:]) for uid in picked["uid"].to_pylist()])
    assert picked.drop(["dp_score"]).to_pylist() == rows.to_pylist()
    release = Release.load(folder / "release.npz")
    np.testing.assert_allclose(picked["dp_score"], release(rows)["dp_score"], rtol=1e-12)
    assert job.bookings(folder) == 1


@pytest.mark.usefixtures("no_engine")
def test_the_example_with_tasks_picks_the_best_rows(job_folder, best_ids):
    job.run_example("with_ray.py", job_folder)
    check_picked(job_folder, best_ids)


@pytest.mark.usefixtures("no_engine")
def test_the_example_with_actors_picks_the_best_rows(job_folder, best_ids):
    job.run_example("with_ray_actors.py", job_folder)
    check_picked(job_folder, best_ids)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("how", ["tasks", "actors", "callable"])
def test_read_only_batches_get_the_bits_of_the_release(release, how):
    table, values = job.read_only_pool(100)
    before = pa.table(table.to_pydict(), schema=table.schema)
    dataset = ray.data.from_arrow(table).repartition(5).materialize()
    if how == "tasks":
        scored = score(dataset, release, batch_size=7)
    elif how == "actors":
        scored = by_actors(dataset, ScoringActor, release)
    else:  # what a user writes who knows no adapter
        scored = dataset.map_batches(release, batch_format="pyarrow", zero_copy_batch=True)
    found = table_of(scored)
    assert found.column_names == ["uid", "n", "emb", "dp_score"]
    assert found.schema.field("dp_score").type == pa.float64()
    assert np.array_equal(found["dp_score"], release.score(values))
    assert found.drop(["dp_score"]).to_pylist() == before.to_pylist()
    assert table_of(dataset).to_pylist() == before.to_pylist()  # nor did its blocks change


@pytest.mark.usefixtures("engine")
def test_tensors_are_vectors(release):
    values = np.random.default_rng(1).normal(size=(40, job.WIDTH))
    dataset = ray.data.from_numpy(values).repartition(3)
    scored = score(dataset, release.reading("data"))
    found = np.sort([row["dp_score"] for row in scored.iter_rows()])
    assert np.array_equal(found, np.sort(release.score(values)))


@pytest.mark.usefixtures("engine")
def test_empty_blocks_and_empty_pools(release):
    table, values = job.read_only_pool(20)
    empty = table.slice(0, 0)
    scored = score(ray.data.from_arrow([empty, table, empty]), release)
    assert np.array_equal(table_of(scored)["dp_score"], release.score(values))
    scored = by_actors(ray.data.from_arrow([empty, table, empty]), ScoringActor, release)
    assert np.array_equal(table_of(scored)["dp_score"], release.score(values))
    best = pick(scored, TopK(k=3), id="uid")
    assert set(table_of(best)["dp_score"].to_pylist()) == set(np.sort(release.score(values))[-3:])
    none = pick(scored, Threshold(minimum=9.0), id="uid").materialize()
    assert none.count() == 0
    assert pick(none, Threshold(minimum=0.0)).count() == 0


def crashing(marker, release):
    """A task and an actor whose first process dies in the middle, as a machine does."""

    def die_once():
        try:
            os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        os._exit(1)

    def task(table):
        scored = release(table)
        die_once()
        return scored

    class Actor(ScoringActor):
        def __call__(self, table):
            scored = super().__call__(table)
            die_once()
            return scored

    return task, Actor


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("how", ["tasks", "actors"])
def test_a_retry_gives_the_same_bits_and_books_nothing(finished_job, release, tmp_path, how):
    bookings = job.bookings(finished_job)
    table, values = job.read_only_pool(64)
    task, actor = crashing(str(tmp_path / "died"), release)
    dataset = ray.data.from_arrow(table).repartition(4)
    if how == "tasks":
        scored = dataset.map_batches(task, batch_format="pyarrow")
    else:
        scored = by_actors(dataset, actor, release)
    found = table_of(scored)
    assert (tmp_path / "died").exists()
    assert np.array_equal(found["dp_score"], release.score(values))
    assert job.bookings(finished_job) == bookings


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("ids", ["text", "integers"])
@pytest.mark.parametrize("blocks", [1, 7])
def test_rows_of_equal_score_are_picked_by_id_whatever_the_blocks(ids, blocks):
    table = numbered(job.tied_pool())
    if ids == "integers":
        table = table.set_column(0, "uid", pa.array(range(1_000, 1_000 + table.num_rows)))
    cut = select(table["dp_score"], TopK(k=250), table["uid"].to_pylist())
    expected = table.filter(pa.array(cut.mask(table["dp_score"], table["uid"].to_pylist())))
    shuffled = table.take(np.random.default_rng(0).permutation(table.num_rows))
    dataset = ray.data.from_arrow(shuffled).repartition(blocks)
    assert table_of(pick(dataset, TopK(k=250), id="uid")).equals(expected)
    assert table_of(pick(dataset, cut, id="uid")).equals(expected)
    assert table_of(pick(dataset, TopFraction(fraction=0.1), id="uid")).num_rows == 40
    assert table_of(pick(dataset, Threshold(minimum=200.0))).num_rows == 300


@pytest.mark.usefixtures("engine")
def test_rows_without_a_score_come_last(release):
    table, values = job.read_only_pool(30)
    holes = values.copy()
    holes[::3, 5] = np.nan
    table = table.set_column(2, "emb", pa.FixedSizeListArray.from_arrays(holes.ravel(), job.WIDTH))
    scored = score(ray.data.from_arrow(table).repartition(4), release).materialize()
    assert pc.is_nan(table_of(scored)["dp_score"]).to_pylist() == [i % 3 == 0 for i in range(30)]
    best = table_of(pick(scored, TopK(k=20), id="uid"))
    assert best["n"].to_pylist() == [i for i in range(30) if i % 3]


@pytest.mark.usefixtures("engine")
def test_scores_and_ids_alone_come_to_the_driver_and_nothing_is_sorted(monkeypatch):
    seen = []
    iter_batches = ray.data.Dataset.iter_batches

    def watched(self, **options):
        for batch in iter_batches(self, **options):
            seen.append(batch.column_names)
            yield batch

    def never(self, *_, **__):
        raise AssertionError("the pool was sorted")

    monkeypatch.setattr(ray.data.Dataset, "iter_batches", watched)
    monkeypatch.setattr(ray.data.Dataset, "sort", never)
    dataset = ray.data.from_arrow(numbered(job.tied_pool())).repartition(3)
    picked = pick(dataset, TopK(k=5), id="uid")
    assert {tuple(names) for names in seen} == {("dp_score", "uid")}
    seen.clear()
    pick(dataset, Threshold(minimum=0.0))
    assert not seen  # a threshold is a cut already
    assert table_of(picked).num_rows == 5


@pytest.mark.usefixtures("engine")
def test_mistakes_are_told_before_anything_runs(release):
    table, _ = job.read_only_pool(10)
    dataset = ray.data.from_arrow(table)
    with pytest.raises(InputError, match="no column 'dp_score'; score it first"):
        pick(dataset, TopK(k=3), id="uid")
    with pytest.raises(InputError, match="no column 'em'; did you mean 'emb'"):
        score(dataset, release.reading("em"))
    scored = score(dataset, release).materialize()
    with pytest.raises(InputError, match="'dp_score' already"):
        score(scored, release)
    with pytest.raises(InputError, match="no column 'uud'; did you mean 'uid'"):
        pick(scored, TopK(k=3), id="uud")
    with pytest.raises(InputError, match="id='uid'"):
        pick(scored, TopK(k=3))
    with pytest.raises(InputError, match="id='uid'"):
        pick(scored, Cut(1.0, tie_bound=5))
    with pytest.raises(InputError, match="k = 11, but the pool has 10"):
        pick(scored, TopK(k=11), id="uid")


@pytest.mark.usefixtures("engine")
def test_a_mistake_in_the_data_is_told_by_the_task(release):
    dataset = ray.data.from_arrow(pa.table({"emb": ["one", "two"]}))
    with pytest.raises(Exception, match="expected numbers"):
        score(dataset, release).materialize()


@pytest.mark.usefixtures("engine")
def test_files_are_checked_before_they_are_read(job_folder, release):
    with pytest.raises(InputError, match="no column 'embb'; did you mean 'emb'"):
        score(ray.data.read_parquet(str(job_folder / "pool")), release.reading("embb"))


def test_an_actor_places_the_release_by_what_there_is(finished_job, release):
    import torch

    table, values = job.read_only_pool(100)
    actor = ScoringActor(release)
    assert actor.device == ("cuda" if torch.cuda.is_available() else "cpu")
    on_torch = ScoringActor(release, "cpu:0")  # by torch, as on a GPU
    for one in (actor, on_torch):
        np.testing.assert_allclose(one(table)["dp_score"], release.score(values), rtol=1e-12)
        assert one(table).column_names == ["uid", "n", "emb", "dp_score"]
    of_file = ScoringActor(str(finished_job / "release.npz"), "cpu")
    assert np.array_equal(of_file(table)["dp_score"], release.score(values))


def test_the_adapter_imports_neither_ray_nor_torch():
    code = (
        "import sys, curation_audit.adapters, curation_audit.adapters.ray\n"
        "print([name for name in ('ray', 'pyspark', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
