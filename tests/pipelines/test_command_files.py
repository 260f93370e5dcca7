"""What a job may write: one finite score for each row of the pool, or ids of picks of it."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation_audit.pipelines.scorers.command_files import JobError, read_output

N_POOL = 20
IDS = [f"q{i}" for i in range(N_POOL)]
SCORES = [float(i) for i in range(N_POOL)]


def write_table(path: Path, ids: Any, scores: Any, **more: Any) -> None:
    pq.write_table(pa.table({"id": ids, "score": scores, **more}), path)


# ids, scores, what the message says
WRONG: dict[str, tuple[Any, Any, str]] = {
    "a row is missing": (IDS[1:], SCORES[1:], "wrote no score for 1 of 20 pool rows"),
    "a row is not the pool's": ([*IDS, "p"], [*SCORES, 1], "wrote 1 ids that the pool does not"),
    "a row twice": ([*IDS, "q3"], [*SCORES, 1], "wrote 1 ids that were there before"),
    "no id": ([*IDS[1:], None], SCORES, "wrote 1 ids that the pool does not have"),
    "vectors as ids": ([[1, 2]] * N_POOL, SCORES, "wrote 20 ids that the pool does not have"),
    "text": (IDS, list("abcdefghijklmnopqrst"), "wrote scores that are no numbers"),
    "truth values": (IDS, [True] * N_POOL, "wrote scores that are no numbers"),
    "dates": (IDS, pa.array(range(20)).cast(pa.timestamp("s")), "wrote scores that are no numbers"),
    "NaN": (IDS, [*SCORES[1:], float("nan")], "missing, NaN or infinite"),
    "infinity": (IDS, [*SCORES[1:], float("inf")], "missing, NaN or infinite"),
    "a gap": (IDS, [*SCORES[1:], None], "missing, NaN or infinite"),
    "no rows": (pa.array([], pa.string()), pa.array([], pa.float64()), "for 20 of 20 pool rows"),
}


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
def test_scores_of_anything_but_the_pool_are_refused(tmp_path, case):
    write_table(tmp_path / "out", case[0], case[1])
    with pytest.raises(JobError, match=case[2]):
        read_output(tmp_path / "out", IDS, "scores")


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([*IDS[:3], IDS[0]], "wrote 1 ids that were there before"),
        (["p", "r"], "wrote 2 ids that the pool does not have"),
    ],
)
def test_picks_of_anything_but_the_pool_are_refused(tmp_path, ids, message):
    pq.write_table(pa.table({"id": ids}), tmp_path / "out")
    with pytest.raises(JobError, match=message):
        read_output(tmp_path / "out", IDS, "picks")


def test_files_of_another_form_are_refused(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(JobError, match="wrote no file"):
        read_output(out, IDS, "scores")
    out.mkdir()
    with pytest.raises(JobError, match=r"wrote a folder to {out}, expected one parquet file"):
        read_output(out, IDS, "scores")
    out.rmdir()
    out.write_text("id,score")
    with pytest.raises(JobError, match=r"wrote no readable parquet file to {out} \(ArrowInvalid\)"):
        read_output(out, IDS, "scores")
    pq.write_table(pa.table({"uid": IDS, "score": SCORES}), out)
    with pytest.raises(JobError, match="wrote 0 columns 'id', expected 1"):
        read_output(out, IDS, "scores")
    twice = pa.table([IDS, SCORES, SCORES], names=["id", "score", "score"])
    pq.write_table(twice, out)
    with pytest.raises(JobError, match="wrote 2 columns 'score', expected 1"):
        read_output(out, IDS, "scores")


COLUMNS: dict[str, tuple[Any, Any]] = {
    "whole numbers": (IDS, pa.array(range(N_POOL))),
    "single precision": (IDS, pa.array(SCORES, pa.float32())),
    "half precision": (IDS, pa.array(np.array(SCORES, np.float16))),
    "decimals": (IDS, pa.array(range(N_POOL)).cast(pa.decimal128(20, 1))),
    "dictionaries": (pa.array(IDS).dictionary_encode(), SCORES),
    "long text": (pa.array(IDS, pa.large_string()), SCORES),
}


@pytest.mark.parametrize("columns", COLUMNS.values(), ids=COLUMNS)
def test_columns_of_many_kinds_are_read(tmp_path, columns):
    write_table(tmp_path / "out", *columns, other=IDS)
    np.testing.assert_array_equal(read_output(tmp_path / "out", IDS, "scores"), SCORES)


def test_numbers_are_ids_as_they_are_in_the_sets(tmp_path):
    """A pool whose ids are a column of whole numbers has them as text, like ``as_text``."""
    write_table(tmp_path / "out", list(range(N_POOL))[::-1], SCORES)
    numbered = [str(i) for i in range(N_POOL)]
    np.testing.assert_array_equal(read_output(tmp_path / "out", numbered, "scores"), SCORES[::-1])
    pq.write_table(pa.table({"id": [3, 5]}), tmp_path / "out")
    picked = read_output(tmp_path / "out", numbered, "picks")
    assert np.flatnonzero(picked).tolist() == [3, 5]
