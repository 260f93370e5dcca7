"""Wall clock and peak memory of the default audit, in a process of its own, from nothing.

python benchmarks/default_audit.py [pipelines/med.yaml] [--repeats 5]
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMAND = "from curation_audit.cli import main; main()"


def one_run(pipeline: Path) -> dict[str, float]:
    """Seconds of the whole command, its own phases, and its peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["attack", "--pipeline", str(pipeline), "--out", folder, "--quiet"]
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", COMMAND, *arguments], check=True, capture_output=True)
        seconds = time.perf_counter() - started
        run = json.loads((Path(folder) / "run.json").read_text())
    phases = {phase["name"]: phase["seconds"] for phase in run["phases"]}
    return {"whole command": seconds, **phases, "peak MB": run["peak_memory_mb"]}


def main() -> None:
    """Print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pipeline", nargs="?", default=ROOT / "pipelines" / "med.yaml", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    runs = [one_run(options.pipeline) for _ in range(options.repeats)]
    for name in runs[0]:
        values = [run[name] for run in runs]
        unit = "" if name == "peak MB" else " s"
        print(f"{name:14s} median {statistics.median(values):8.2f}{unit}  max {max(values):8.2f}")


if __name__ == "__main__":
    main()
