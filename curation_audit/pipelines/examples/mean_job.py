"""A curation job such as a team may have: mean cosine similarity, on the patients of ``med``.

It knows nothing of audits. ``--private`` is a parquet file of ids; it looks the rows up where
they lie, scores the whole registry, and writes ids and scores to ``--out``. Without private rows
all scores are 0.
"""

import argparse
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curation_audit.pipelines.examples.med import table


def numbers(columns: dict[str, NDArray[Any]]) -> NDArray[Any]:
    """The 30 measurements as a matrix (rows, 30)."""
    names = [name for name in columns if name not in ("patient_id", "record_id", "site")]
    return np.stack([columns[name] for name in names if name != "diagnosis"], axis=1)


def directions(rows: NDArray[Any]) -> NDArray[Any]:
    """Rows at length one."""
    lengths: NDArray[Any] = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1)


def main() -> None:
    """Read, score, write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--private", required=True)
    parser.add_argument("--out", required=True)
    files = parser.parse_args()
    registry, hospital = table("public", None), table("private", None)
    pool, patients = numbers(registry), numbers(hospital)
    shift, scale = pool.mean(axis=0), pool.std(axis=0)  # of the registry: public
    held = np.isin(hospital["patient_id"], pq.read_table(files.private)["id"].to_pylist())
    mine = directions((patients[held] - shift) / scale)
    mean = mine.mean(axis=0) if len(mine) else np.zeros(pool.shape[1])
    scores = directions((pool - shift) / scale) @ mean
    pq.write_table(pa.table({"id": registry["record_id"], "score": scores}), files.out)


if __name__ == "__main__":
    main()
