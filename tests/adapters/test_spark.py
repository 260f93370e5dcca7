"""A release in Spark, with the real engine on this machine."""

import datetime
import decimal
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pds
import pytest

from curation_audit import Cut, InputError, Release, Threshold, TopFraction, TopK, select
from tests.adapters import job

pytest.importorskip("pyspark", reason="PySpark is not installed: make test-spark")

from pyspark.sql import SparkSession
from pyspark.sql.types import DoubleType, StructField, StructType

from curation_audit.adapters.spark import pick, score, score_column, score_pandas

pytestmark = pytest.mark.spark

SETTINGS = {
    "PYSPARK_PYTHON": sys.executable,
    "SPARK_LOCAL_IP": "127.0.0.1",
    "PYTHONWARNINGS": "ignore",
}
WAYS = {
    "arrow": score,
    "pandas": score_pandas,
    "column": lambda frame, release: frame.withColumn(
        "dp_score", score_column(release)(*release.columns)
    ),
}


@pytest.fixture(scope="module")
def spark():
    """Two threads, four tries for every task, and batches of a few rows."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SETTINGS.items():
            patch.setenv(name, value)
        session = (
            SparkSession.builder.master("local[2,4]")
            .config("spark.ui.enabled", "false")
            .config("spark.sql.shuffle.partitions", "2")
            .config("spark.sql.execution.arrow.maxRecordsPerBatch", "16")
            .getOrCreate()
        )
        session.sparkContext.setLogLevel("ERROR")
        yield session
        session.stop()


@pytest.fixture
def release(finished_job) -> Release:
    return Release.load(finished_job / "release.npz")


def run_example(name: str, folder: Path) -> None:
    """In a process of its own: the paths of a Java machine start where it was started."""
    submit = "--conf spark.ui.enabled=false pyspark-shell"
    done = subprocess.run(
        [sys.executable, str(job.EXAMPLES / name)],
        cwd=folder,
        env={**os.environ, **SETTINGS, "PYSPARK_SUBMIT_ARGS": submit},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def check_picked(folder: Path, best_ids: set[str]) -> None:
    pool = pds.dataset(folder / "pool").to_table()
    picked = pds.dataset(folder / "picked").to_table()
    assert picked.num_rows == job.PICKED
    assert set(picked["uid"].to_pylist()) == best_ids
    assert picked.column_names == [*pool.column_names, "dp_score"]
    rows = pool.take([int(uid[1:]) for uid in picked["uid"].to_pylist()])
    assert picked.drop(["dp_score"]).to_pylist() == rows.to_pylist()
    release = Release.load(folder / "release.npz")
    assert np.array_equal(picked["dp_score"], release(rows)["dp_score"])
    assert job.bookings(folder) == 1


def test_the_example_by_arrow_picks_the_best_rows(job_folder, best_ids):
    run_example("with_spark.py", job_folder)
    check_picked(job_folder, best_ids)


def test_the_example_by_pandas_picks_the_best_rows(job_folder, best_ids):
    run_example("with_spark_pandas.py", job_folder)
    check_picked(job_folder, best_ids)


def frame_of(spark, table: pa.Table, partitions: int = 3):
    return spark.createDataFrame(table).repartition(partitions)


def table_of(frame, by: str = "n") -> pa.Table:
    """What a data frame holds, in the order of ``by``: partitions come in any order."""
    return frame.toArrow().sort_by(by)


def pool_of(rows: int) -> tuple[pa.Table, np.ndarray]:
    """The read-only pool with lists of any length, as Spark's arrays are."""
    table, values = job.read_only_pool(rows)
    return table.set_column(2, "emb", table["emb"].cast(pa.list_(pa.float32()))), values


@pytest.mark.parametrize("way", WAYS)
def test_all_ways_give_the_bits_of_the_release(spark, release, way):
    table, values = pool_of(100)
    frame = frame_of(spark, table)
    before = frame.schema.json()
    found = table_of(WAYS[way](frame, release))
    assert found.column_names == ["uid", "n", "emb", "dp_score"]
    assert found.schema.field("dp_score").type == pa.float64()
    assert np.array_equal(found["dp_score"], release.score(values))
    assert found.drop(["dp_score"]).to_pylist() == table.to_pylist()
    assert frame.schema.json() == before  # StructType.add would have changed it
    assert table_of(frame).to_pylist() == table.to_pylist()


def test_batches_are_read_only_and_the_callable_alone_is_enough(spark, release):
    """What a user writes who knows no adapter."""
    table, values = pool_of(50)
    frame = frame_of(spark, table)
    schema = StructType([*frame.schema.fields, StructField("dp_score", DoubleType())])

    def scored(batches):
        for batch in batches:
            numbers = batch.column("emb").values.to_numpy(zero_copy_only=True)
            assert not numbers.flags.writeable
            yield from release(pa.Table.from_batches([batch])).to_batches()

    found = table_of(frame.mapInArrow(scored, schema))
    assert np.array_equal(found["dp_score"], release.score(values))


@pytest.mark.parametrize("way", WAYS)
def test_columns_of_all_kinds_are_kept(spark, release, way):
    table, values = pool_of(12)
    day = datetime.date(2026, 11, 26)
    others = {
        "day": [day + datetime.timedelta(i) for i in range(12)],
        "when": pa.array(
            [datetime.datetime(2026, 1, 1, 0, i) for i in range(12)], pa.timestamp("us")
        ),
        "price": [decimal.Decimal(i) / 4 for i in range(12)],
        "words": [["a"] * i for i in range(12)],
        "record": [{"a": i, "b": str(i)} for i in range(12)],
        "raw": [bytes([i]) for i in range(12)],
        "sure": [i % 2 == 0 for i in range(12)],
        "gaps": pa.array([None, *range(11)], pa.float64()),
    }
    for name, column in others.items():
        table = table.append_column(name, pa.array(column))
    frame = frame_of(spark, table)
    scored = WAYS[way](frame, release)
    assert scored.schema.fields[:-1] == frame.schema.fields
    found = table_of(scored)
    assert np.array_equal(found["dp_score"], release.score(values))
    assert found.drop(["dp_score"]).equals(table_of(frame))
    best = table_of(pick(scored, TopK(k=3), id="uid"))
    assert best.schema.equals(found.schema)
    assert set(best["dp_score"].to_pylist()) == set(np.sort(release.score(values))[-3:])


def test_names_with_dots_are_for_column_functions(spark, release):
    table, values = pool_of(12)
    table = table.append_column("a.b`c", table["uid"])
    scored = WAYS["column"](frame_of(spark, table), release)
    best = table_of(pick(scored, TopK(k=3), id="a.b`c"))
    assert best.column_names == [*table.column_names, "dp_score"]
    assert set(best["dp_score"].to_pylist()) == set(np.sort(release.score(values))[-3:])


@pytest.mark.parametrize("way", WAYS)
def test_one_column_per_feature(spark, release, way):
    _, values = job.read_only_pool(20)
    names = [f"f{i}" for i in range(job.WIDTH)]
    table = pa.table(list(values.T.astype(np.float64)), names).append_column("n", [list(range(20))])
    found = table_of(WAYS[way](frame_of(spark, table), release.reading(*names)))
    assert np.array_equal(found["dp_score"], release.score(values))


@pytest.mark.parametrize("way", WAYS)
def test_empty_partitions_and_empty_pools(spark, release, way):
    table, values = pool_of(5)
    found = table_of(WAYS[way](frame_of(spark, table, partitions=8), release))
    assert np.array_equal(found["dp_score"], release.score(values))
    empty = WAYS[way](frame_of(spark, table).filter("n < 0"), release)
    assert empty.columns == found.column_names
    assert empty.count() == 0
    assert pick(empty, Threshold(minimum=0.0)).count() == 0
    with pytest.raises(InputError, match="k = 3, but the pool has 0"):
        pick(empty, TopK(k=3), id="uid")


@pytest.mark.parametrize("way", WAYS)
def test_rows_without_a_score_come_last(spark, release, way):
    table, values = pool_of(30)
    vectors = [None if i % 3 == 0 else one.tolist() for i, one in enumerate(values)]
    table = table.set_column(2, "emb", pa.array(vectors, pa.list_(pa.float32())))
    scored = WAYS[way](frame_of(spark, table), release).cache()
    best = table_of(pick(scored, TopK(k=20), id="uid"))
    assert best["n"].to_pylist() == [i for i in range(30) if i % 3]
    assert np.array_equal(best["dp_score"], release.score(values[[i for i in range(30) if i % 3]]))


def test_a_retry_gives_the_same_bits_and_books_nothing(spark, finished_job, release, tmp_path):
    bookings = job.bookings(finished_job)
    table, values = pool_of(64)
    frame, marker = frame_of(spark, table, 4), str(tmp_path / "died")

    class DiesOnce(Release):
        """A release in whose first batch the worker dies, as a machine does."""

        def __call__(self, batch):
            scored = Release.__call__(self, batch)
            if not batch.num_rows:  # the driver asks for the columns alone
                return scored
            try:
                os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return scored
            os._exit(1)

    parts = {name: getattr(release, name) for name in Release.__dataclass_fields__}
    found = table_of(score(frame, DiesOnce(**parts)))
    assert Path(marker).exists()
    assert np.array_equal(found["dp_score"], release.score(values))
    assert job.bookings(finished_job) == bookings


@pytest.mark.parametrize("ids", ["text", "integers"])
@pytest.mark.parametrize("partitions", [1, 7])
def test_rows_of_equal_score_are_picked_by_id_whatever_the_partitions(spark, ids, partitions):
    table = job.tied_pool()
    if ids == "integers":
        table = table.set_column(0, "uid", pa.array(range(2**60, 2**60 + table.num_rows)))
    listed = table["uid"].to_pylist()
    cut = select(table["dp_score"], TopK(k=250), listed)
    expected = set(np.array(listed)[cut.mask(table["dp_score"], listed)].tolist())
    shuffled = table.take(np.random.default_rng(0).permutation(table.num_rows))
    frame = frame_of(spark, shuffled, partitions)
    for rule in (TopK(k=250), cut):
        picked = table_of(pick(frame, rule, id="uid"), by="uid")["uid"].to_pylist()
        assert len(picked) == 250
        assert set(picked) == expected
    assert pick(frame, TopFraction(fraction=0.1), id="uid").count() == 40
    assert pick(frame, Threshold(minimum=200.0)).count() == 300


def test_scores_and_ids_alone_come_to_the_driver_and_nothing_is_shuffled(spark, monkeypatch):
    seen = []
    to_arrow = type(spark.range(1)).toArrow

    def watched(self):
        seen.append(self.columns)
        return to_arrow(self)

    monkeypatch.setattr(type(spark.range(1)), "toArrow", watched)
    table = job.tied_pool().append_column("text", pa.array(["long"] * 400))
    frame = spark.createDataFrame(table)
    picked = pick(frame, TopK(k=5), id="uid")
    assert seen == [["dp_score", "uid"]]
    pick(frame, Threshold(minimum=0.0))
    assert len(seen) == 1  # a threshold is a cut already
    plan = picked._jdf.queryExecution().toString()
    assert "Sort" not in plan
    assert "Exchange" not in plan


def test_mistakes_are_told_before_anything_runs(spark, release):
    table, _ = pool_of(10)
    frame = frame_of(spark, table)
    for way in (score, score_pandas):
        with pytest.raises(InputError, match="no column 'em'; did you mean 'emb'"):
            way(frame, release.reading("em"))
        with pytest.raises(InputError, match="'dp_score' already"):
            way(way(frame, release), release)
    with pytest.raises(InputError, match="no column 'dp_score'; score it first"):
        pick(frame, TopK(k=3), id="uid")
    scored = score(frame, release)
    with pytest.raises(InputError, match="no column 'uud'; did you mean 'uid'"):
        pick(scored, TopK(k=3), id="uud")
    with pytest.raises(InputError, match="id='uid'"):
        pick(scored, TopK(k=3))
    with pytest.raises(InputError, match="id='uid'"):
        pick(scored, Cut(1.0, tie_bound=5))
    with pytest.raises(InputError, match="k = 11, but the pool has 10"):
        pick(scored, TopK(k=11), id="uid")


def test_a_mistake_in_the_data_is_told_by_the_task(spark, release):
    frame = spark.createDataFrame(pa.table({"emb": ["one", "two"]}))
    with pytest.raises(Exception, match="expected numbers"):
        score(frame, release).count()


def test_the_adapters_import_no_engine():
    code = (
        "import sys, curation_audit, curation_audit.adapters, curation_audit.adapters.arrow\n"
        "print([name for name in ('ray', 'pyspark', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
