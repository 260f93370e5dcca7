"""Picks from a streamed pool beside a plain pyarrow scan of the same columns, and peak memory.

A pool of 10 parquet files is written (10,000,000 rows of 64 float32 numbers: 2.6 GB). In turns,
each in a process of its own: a plain scan that counts rows; the picks by a linear release (scores,
cut, ids); and `curation-audit curate` as a whole, the first time (which books, fits and picks) and
again. The pool is in the page cache for all of them.

    python -m benchmarks.curate_stream [--rows 10000000] [--repeats 5] [--folder FOLDER]
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

WIDTH, FILES, PICKED = 64, 10, 100_000
PIPELINE = """version: 1
name: stream
seed: 17
private:
  source: {{kind: parquet, path: private.parquet}}
  columns: {{embedding: emb}}
  ledger: budget.ledger
public:
  source: {{kind: parquet, path: pool}}
  columns: {{id: uid, embedding: emb}}
curate:
  scorer: {{method: mean}}
  select: {{rule: top_k, k: {picked}}}
  protect: {{mechanism: gaussian_mean, epsilon: 1.0, delta: 1.0e-6, adjacency: zero_out}}
threat: {{observes: [scores, selection]}}
"""
SCAN = """
import pyarrow.dataset as ds
n = 0
for batch in ds.dataset("pool").to_batches(columns=["uid", "emb"]):
    n += len(batch)
"""
PICK = """
release = Release.load("release.npz")
picking = load_picking("pipeline.yaml")
picks = pick(release, picking.pool, picking.rule, picking.seed)
"""
IMPORTS = """
import time
from curation_audit import Release
from curation_audit.config import load_picking
from curation_audit.curating import pick
"""
TIMED = (
    "{before}\nimport time\nstart = time.perf_counter()\n{body}\nprint(time.perf_counter() - start)"
)


def make_pool(folder, rows):
    """Write the pool, 2,000 private rows, and a budget."""
    from curation_audit.dp.budget_ledger import Budget, BudgetLedger

    rng = np.random.default_rng(0)

    def vectors(n, mean=0.0):
        values = rng.standard_normal(n * WIDTH, dtype=np.float32) + np.float32(mean)
        return pa.FixedSizeListArray.from_arrays(pa.array(values), WIDTH)

    (folder / "pool").mkdir()
    for part in range(FILES):
        n = rows // FILES
        uids = pa.array([f"{part:02}{row:010}" for row in range(n)])
        table = pa.table({"uid": uids, "emb": vectors(n)})
        path = folder / "pool" / f"part-{part:02}.parquet"
        pq.write_table(table, path, row_group_size=1 << 17, use_dictionary=False)
    pq.write_table(pa.table({"emb": vectors(2_000, 0.3)}), folder / "private.parquet")
    (folder / "pipeline.yaml").write_text(PIPELINE.format(picked=PICKED))
    BudgetLedger.create(folder / "budget.ledger", Budget("row", "zero_out", 8.0, 1e-6))


def child(folder, *arguments):
    """Run Python in the folder: what it printed, wall seconds, peak memory in MB."""
    reading, writing = os.pipe()
    start = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        os.dup2(writing, 1)
        os.chdir(folder)
        os.execv(sys.executable, [sys.executable, *arguments])
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise SystemExit(f"a child failed: {arguments}\n{text}")
    return text, time.perf_counter() - start, usage.ru_maxrss / 1024


def told(name, seconds, memory, base):
    """One line of the table."""
    middle, least, most = statistics.median(seconds), min(seconds), max(seconds)
    print(
        f"{name:34} {middle:7.2f} s ({least:.2f} to {most:.2f})  {middle / base:5.2f} x a scan  "
        f"{max(memory):6.0f} MB",
        flush=True,
    )


def main():
    """Write, run in turns, tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", help="where to write the pool; a temporary folder by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as root:
        folder = Path(root)
        make_pool(folder, options.rows)
        command = "import sys; from curation_audit.cli import main; sys.exit(main())"
        curate = ("-c", command, "curate", "--pipeline", "pipeline.yaml", "--json", "--quiet")
        text, first, first_memory = child(folder, *curate)
        assert json.loads(text)["booked"]
        (folder / "picked" / "release.npz").rename(folder / "release.npz")
        runs = {"plain scan": [], "picks by a release": [], "curate again, the whole command": []}
        for _ in range(options.repeats):
            for name, before, body in (
                ("plain scan", "", SCAN),
                ("picks by a release", IMPORTS, PICK),
            ):
                text, _, memory = child(folder, "-c", TIMED.format(before=before, body=body))
                runs[name].append((float(text), memory))
            text, seconds, memory = child(folder, *curate)
            assert not json.loads(text)["booked"]
            runs["curate again, the whole command"].append((seconds, memory))
        base = statistics.median(seconds for seconds, _ in runs["plain scan"])
        print(f"{options.rows} rows x {WIDTH}, median of {options.repeats}, {os.cpu_count()} cores")
        for name, measured in runs.items():
            told(name, *zip(*measured, strict=True), base)
        told("curate the first time", [first], [first_memory], base)


if __name__ == "__main__":
    main()
