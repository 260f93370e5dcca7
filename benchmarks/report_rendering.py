"""Time and size of every rendering of a large audit: 5,000 candidates at three stages.

The report is the tests' (tests/report/large.py): every attack there is, curves of 400 points, 60
groups. The evidence table is that of as many candidates in 64 shadows.

    python -m benchmarks.report_rendering [--repeats 5]
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from curation_audit.report.renderings import RENDERINGS, finished_run, write_renderings
from curation_audit.storage import pack_arrays
from tests.report.large import N_CANDIDATES, large_report
from tests.report.runs import arrays_of, run_folder


def main():
    """Render and tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--shadows", type=int, default=64)
    options = parser.parse_args()
    report = large_report()
    with tempfile.TemporaryDirectory() as root:
        folder = run_folder(Path(root) / "run", report, evidence=False)
        arrays = arrays_of(report, options.shadows, N_CANDIDATES)
        (folder / "evidence.npz").write_bytes(pack_arrays(arrays))
        print(f"{N_CANDIDATES} candidates, median of {options.repeats}")
        for name, rendering in RENDERINGS.items():
            times = []
            for _ in range(options.repeats):
                start = time.perf_counter()
                write_renderings(finished_run(folder), [name])
                times.append(time.perf_counter() - start)
            size = (folder / rendering.place).stat().st_size
            seconds = statistics.median(times)
            print(f"{name:9} {seconds:7.3f} s (first {times[0]:.3f} s)  {size / 1e6:7.3f} MB")


if __name__ == "__main__":
    main()
