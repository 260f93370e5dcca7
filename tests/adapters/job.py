"""One data job, the same for every tool: a pool on disk, a release, and the rows to be picked."""

import os
import runpy
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from curation_audit import Budget, Curator
from curation_audit.dp import budget_ledger

ROWS, FILES, WIDTH, PICKED = 40_000, 4, 64, 4_000
EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def vectors(rng: np.random.Generator, rows: int, mean: float) -> pa.Array:
    values = rng.normal(mean, 1, (rows, WIDTH)).astype(np.float32)
    return pa.ListArray.from_arrays(np.arange(0, (rows + 1) * WIDTH, WIDTH), values.ravel())


def make_job(folder: Path) -> None:
    """private.parquet, hospital.ledger, and pool/ with the columns uid, text and emb."""
    rng = np.random.default_rng(17)
    patients = pa.array([f"p{i // 2}" for i in range(2_000)])
    private = pa.table({"patient": patients, "emb": vectors(rng, 2_000, 0.3)})
    pq.write_table(private, folder / "private.parquet")
    (folder / "pool").mkdir()
    for part in range(FILES):
        rows = range(part * ROWS // FILES, (part + 1) * ROWS // FILES)
        table = pa.table(
            {
                "uid": [f"u{i:05}" for i in rows],
                "text": [f"the text of row {i}" for i in rows],
                "emb": vectors(rng, len(rows), 0.0),
            }
        )
        pq.write_table(table, folder / "pool" / f"part-{part}.parquet", row_group_size=2_500)
    budget = budget_ledger.Budget("patient", "zero_out", 4.0, 1e-5)
    budget_ledger.BudgetLedger.create(folder / "hospital.ledger", budget)


def make_release(folder: Path) -> None:
    """release.npz, as docs/examples/fit.py makes it."""
    curator = Curator(
        scorer="mean",
        adjacency="zero_out",
        ledger=folder / "hospital.ledger",
        unit="patient",
        features=["emb"],
    )
    pool = pq.read_table(folder / "pool" / "part-0.parquet").select(["emb"])
    release = curator.fit(
        pq.read_table(folder / "private.parquet"),
        budget=Budget(epsilon=1, delta=1e-5),
        background=pool,
    )
    release.save(folder / "release.npz")


def best_ids(folder: Path) -> set[str]:
    """The rows to be picked, by a plain sort of scores that numpy computes."""
    from curation_audit import Release

    release = Release.load(folder / "release.npz")
    pool = ds.dataset(folder / "pool").to_table()
    emb = np.array(pool["emb"].to_pylist(), dtype=np.float64)
    rows = (emb - release.shift) / release.scale
    scores = rows / np.linalg.norm(rows, axis=1, keepdims=True) @ release.weights
    best = np.argsort(-scores, kind="stable")[:PICKED]
    return {pool["uid"][int(i)].as_py() for i in best}


def run_example(name: str, folder: Path) -> None:
    """Run docs/examples/NAME in a folder, as a user would."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    finally:
        os.chdir(before)


def picked_ids(path: Path, column: str = "uid") -> list[str]:
    """The ids in a parquet file or a folder of them."""
    return ds.dataset(path).to_table(columns=[column])[column].to_pylist()


def bookings(folder: Path) -> int:
    """How often the private set was paid for."""
    return len(budget_ledger.BudgetLedger.open(folder / "hospital.ledger").bookings())


def read_only_pool(rows: int, seed: int = 1) -> tuple[pa.Table, np.ndarray]:
    """A table of three columns whose vectors lie in memory that nobody can write, and those."""
    values = np.random.default_rng(seed).normal(size=(rows, WIDTH)).astype(np.float32)
    numbers = pa.Array.from_buffers(pa.float32(), rows * WIDTH, [None, pa.py_buffer(bytes(values))])
    uids = [f"u{i}" for i in range(rows)]
    vectors = pa.FixedSizeListArray.from_arrays(numbers, WIDTH)
    return pa.table({"uid": uids, "n": range(rows), "emb": vectors}), values


def tied_pool(rows: int = 400) -> pa.Table:
    """A scored pool in which every second row has the same score."""
    scores = np.arange(rows, dtype=np.float64)
    scores[::2] = rows / 2
    return pa.table({"uid": [f"u{i}" for i in range(rows)], "dp_score": scores})
