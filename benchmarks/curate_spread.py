"""Picks of a streamed pool by two workers beside one process, and what Ray adds.

The pool of `curate_stream` (10,000,000 rows of 64 float32 numbers in 10 parquet files). In turns,
each in a process of its own: the picks by one process, which holds all scores; by two processes;
and by two tasks of Ray Core where the extra ``ray`` is installed. The clock starts when imports are
done; the start of processes, or of Ray, is in it. All pick the same ids.

    python -m benchmarks.curate_spread [--rows 10000000] [--repeats 3] [--folder FOLDER]
"""

import argparse
import importlib.util
import json
import os
import statistics
import tempfile
from pathlib import Path

from benchmarks.curate_stream import child, make_pool

BODY = """
import hashlib, json, sys, time
from pathlib import Path


def main(backend):
    from curation_audit import Release
    from curation_audit.auditing.progress import Silence
    from curation_audit.auditing.run_settings import RunSettings
    from curation_audit.config import load_picking
    from curation_audit.picks import pick
    from curation_audit.pool_shards import forget_scores
    from curation_audit.spread_picks import Workers, pick_apart

    class Clock(Silence):
        def phase(self, name, total):
            self.name = name
            return self

        def __enter__(self):
            return lambda steps: None

        def __exit__(self, *_):
            if self.name == "scores":  # counts and picks are phases of their own
                self.scored = time.perf_counter()

    release, picking, clock = Release.load("release.npz"), load_picking("pipeline.yaml"), Clock()
    given = (release, picking.pool, picking.rule, picking.seed)
    out = Path("out").resolve()
    start = time.perf_counter()
    if backend == "none":
        picks = pick(*given, clock)
    else:
        workers = Workers.of(RunSettings(backend=backend, workers=2), out)
        picks = pick_apart(*given, out=out, workers=workers, progress=clock)
    ended = time.perf_counter()
    forget_scores(out)
    digest = hashlib.sha256("".join(picks.ids).encode()).hexdigest()
    told = {"seconds": ended - start, "scores": clock.scored - start, "digest": digest}
    print(json.dumps(told))


if __name__ == "__main__":  # what a spawned process imports again is what stands above
    main(sys.argv[1])
"""
KINDS = {"one process": "none", "two processes": "local", "two tasks of Ray": "ray"}


def main():
    """Write, run in turns, tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", help="where to write the pool; a temporary folder by default")
    options = parser.parse_args()
    kinds = dict(KINDS)
    if importlib.util.find_spec("ray") is None:
        del kinds["two tasks of Ray"]
    with tempfile.TemporaryDirectory(dir=options.folder) as root:
        folder = Path(root)
        make_pool(folder, options.rows)
        os.sync()  # else the scores wait for the pool to reach the disk
        command = "import sys; from curation_audit.cli import main; sys.exit(main())"
        child(folder, "-c", command, "curate", "--pipeline", "pipeline.yaml", "--json", "--quiet")
        (folder / "picked" / "release.npz").rename(folder / "release.npz")
        (folder / "body.py").write_text(BODY)
        runs = {name: [] for name in kinds}
        for _ in range(options.repeats):
            for name, backend in kinds.items():
                text, _, memory = child(folder, "body.py", backend)
                runs[name].append(json.loads(text.splitlines()[-1]) | {"memory": memory})
    if len({one["digest"] for measured in runs.values() for one in measured}) != 1:
        raise SystemExit("the picks differ")
    print(f"{options.rows} rows, median of {options.repeats}, {os.cpu_count()} cores; the same ids")
    for name, measured in runs.items():
        seconds, scores, memory = (
            statistics.median(one[key] for one in measured)
            for key in ("seconds", "scores", "memory")
        )
        spread = f"{min(one['seconds'] for one in measured):.1f} to "
        spread += f"{max(one['seconds'] for one in measured):.1f}"
        print(
            f"{name:20} {seconds:6.1f} s ({spread}), of it scores {scores:6.1f} s; largest of "
            f"this process {memory:6.0f} MB"
        )


if __name__ == "__main__":
    main()
