"""A release in datatrove's executors."""

import copy

import numpy as np
import pyarrow.dataset as pds
import pytest

pytest.importorskip("datatrove", reason="datatrove is not installed")

from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.writers import ParquetWriter

from curation_audit import Cut, InputError, Release, Threshold, TopK
from curation_audit.adapters import arrow
from curation_audit.adapters.datatrove import Keep, Score, cut_of
from tests.adapters import job


@pytest.fixture
def release(finished_job) -> Release:
    return Release.load(finished_job / "release.npz")


def documents(n: int) -> list[Document]:
    _, values = job.read_only_pool(n)
    return [
        Document("text", f"u{i}", metadata={"emb": one, "n": i}) for i, one in enumerate(values)
    ]


def tied_documents() -> list[Document]:
    rows = job.tied_pool().to_pylist()
    return [Document("t", row["uid"], metadata={"dp_score": row["dp_score"]}) for row in rows]


def scored_table(folder):
    return pds.dataset(folder).to_table().sort_by("id")


def test_the_example_picks_the_best_rows_and_a_relaunch_does_nothing(job_folder, best_ids, release):
    job.run_example("with_datatrove.py", job_folder)
    assert job.picked_ids(job_folder / "picked", "id") == sorted(best_ids)
    picked = scored_table(job_folder / "picked")
    assert picked.column_names == ["text", "id", "emb", "file_path", "dp_score"]
    pool = pds.dataset(job_folder / "pool").to_table()
    expected = pool.take([int(uid[1:]) for uid in picked["id"].to_pylist()])
    # through Python's floats, and the same bits as pyarrow's
    assert picked["dp_score"].equals(release(expected)["dp_score"])
    assert picked["text"].equals(expected["text"])
    written = {
        path: path.stat().st_mtime_ns
        for name in ("scored", "picked", "logs")
        for path in (job_folder / name).rglob("*.*")
    }
    assert len(list((job_folder / "logs").rglob("completions/*"))) == 8
    job.run_example("with_datatrove.py", job_folder)
    assert written == {path: path.stat().st_mtime_ns for path in written}
    assert job.bookings(job_folder) == 1


def score_job(folder, release) -> LocalPipelineExecutor:
    steps = [
        ParquetReader(str(folder / "pool"), id_key="uid", limit=500),
        Score(release),
        ParquetWriter(str(folder / "scored"), expand_metadata=True),
    ]
    logs = str(folder / "logs" / release.fingerprint)
    return LocalPipelineExecutor(steps, tasks=4, workers=1, logging_dir=logs)


def test_a_relaunch_repeats_only_what_was_not_finished(job_folder, release):
    score_job(job_folder, release).run()
    first = scored_table(job_folder / "scored")
    files = sorted((job_folder / "scored").iterdir())
    before = [path.stat().st_mtime_ns for path in files]
    [logs] = (job_folder / "logs").iterdir()
    (logs / "completions" / "00002").unlink()
    files[2].unlink()
    score_job(job_folder, release).run()
    after = [path.stat().st_mtime_ns for path in files]
    assert [i for i in range(4) if after[i] != before[i]] == [2]
    assert scored_table(job_folder / "scored").equals(first)  # bit for bit
    assert job.bookings(job_folder) == 1
    assert cut_of(job_folder / "scored", TopK(k=100)) == arrow.cut_of(first, TopK(k=100), id="id")


@pytest.mark.parametrize("batch_size", [1, 7, 1_000])
def test_documents_keep_their_order_and_all_they_have(release, batch_size):
    _, values = job.read_only_pool(30)
    ours = documents(30)
    for document in ours:
        document.metadata["emb"].flags.writeable = False
    step = Score(release, batch_size)
    found = list(step.run(iter(ours)))
    assert [document.id for document in found] == [f"u{i}" for i in range(30)]
    assert [document.metadata["dp_score"] for document in found] == release.score(values).tolist()
    assert all(list(document.metadata) == ["emb", "n", "dp_score"] for document in found)
    assert np.array_equal([document.metadata["emb"] for document in found], values)
    assert step.stats["total"].total == 30
    assert step.stats["dp_score"].mean == pytest.approx(release.score(values).mean())


def test_documents_are_read_a_batch_at_a_time(release):
    read = []

    def source():
        for document in documents(30):
            read.append(document)
            yield document

    next(Score(release, batch_size=5).run(source()))
    assert len(read) == 5


@pytest.mark.parametrize("data", [None, [], iter(())])
def test_no_documents(release, data):
    assert list(Score(release).run(data)) == []
    assert list(Keep(Threshold(minimum=0.0)).run(data)) == []


def test_documents_without_a_vector_have_no_score(release):
    ours = documents(3)
    ours[1].metadata["emb"] = None
    step = Score(release)
    found = [document.metadata["dp_score"] for document in step.run(ours)]
    assert [np.isnan(one) for one in found] == [False, True, False]
    assert (step.stats["unscored"].total, step.stats["dp_score"].n) == (1, 2)
    ours[0].metadata["dp_score"] = None  # as NaN comes back from JSON
    assert len(list(Keep(Threshold(minimum=-9.0)).run(ours))) == 1


def test_what_is_missing_is_told(release):
    ours = documents(3)
    with pytest.raises(InputError, match=r"document 'u0': has no 'em'; did you mean 'emb'"):
        list(Score(release.reading("em")).run(ours))
    del ours[2].metadata["emb"]
    for size in (1, 3):  # whatever the batch
        with pytest.raises(InputError, match="document 'u2': has no 'emb'"):
            list(Score(release, size).run(copy.deepcopy(ours)))
    with pytest.raises(InputError, match="has no 'emb'"):
        list(Score(release).run([Document("text", "bare")]))
    scored = list(Score(release).run(documents(3)))
    with pytest.raises(InputError, match="has a 'dp_score' already"):
        list(Score(release).run(scored))
    with pytest.raises(InputError, match="Score"):
        list(Keep(Threshold(minimum=0.0)).run(documents(3)))
    with pytest.raises(InputError, match="cut_of"):
        Keep(TopK(k=3))


def test_an_error_in_a_worker_is_told_as_it_is(job_folder, release):
    steps = [ParquetReader(str(job_folder / "pool"), id_key="uid"), Score(release.reading("em"))]
    logs = str(job_folder / "logs")
    with pytest.raises(InputError, match="did you mean 'emb'"):
        LocalPipelineExecutor(steps, tasks=2, workers=1, logging_dir=logs).run()


@pytest.mark.parametrize("batch_size", [1, 33, 1_000])
def test_ties_are_kept_as_arrow_keeps_them(batch_size):
    cut = arrow.cut_of(job.tied_pool(), TopK(k=250), id="uid")
    step = Keep(cut, batch_size)
    kept = [document.id for document in step.run(tied_documents())]
    assert kept == arrow.pick(job.tied_pool(), cut, id="uid").read_all()["uid"].to_pylist()
    counts = {name: step.stats[name].total for name in ("total", "forwarded", "dropped")}
    assert counts == {"total": 400, "forwarded": 250, "dropped": 150}


def test_a_threshold_needs_one_job(release):
    _, values = job.read_only_pool(50)
    scores = release.score(values)
    bar = float(np.median(scores))
    kept = list(Keep(Threshold(minimum=bar)).run(Score(release).run(documents(50))))
    assert [document.metadata["n"] for document in kept] == np.flatnonzero(scores >= bar).tolist()


def test_scores_within_a_column_of_records(tmp_path):
    writer = ParquetWriter(str(tmp_path / "scored"))  # datatrove's default keeps metadata in one
    list(writer.run(iter(tied_documents())))
    assert "dp_score" not in pds.dataset(tmp_path / "scored").schema.names
    expected = arrow.cut_of(job.tied_pool(), TopK(k=250), id="uid")
    assert cut_of(tmp_path / "scored", TopK(k=250)) == expected
    assert isinstance(expected, Cut)
    with pytest.raises(InputError, match="no column 'uid'; did you mean 'id'"):
        cut_of(tmp_path / "scored", TopK(k=250), id="uid")
