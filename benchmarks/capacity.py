"""What a chunk of shadows costs by size: a formula from small sizes, and its error at larger ones.

    python -m benchmarks.capacity

One core, processor seconds (so that neighbours on the machine count little). A chunk is 16 shadows
of ``mean`` with the best hundredth picked and no model, on normal rows of 64 features. The formula
``seconds = fixed + per_row * m + per_candidate * N`` is fitted on pools up to 100,000 rows and held
against pools up to 400,000. Then the projection to a pool of 1e9 rows and 1,000 shadows, which
nobody ran.
"""

import time
from collections.abc import Mapping

import numpy as np
from scipy.optimize import nnls

from benchmarks.curation_scale import plan_of
from curation_audit.auditing.chunks import SHADOWS_PER_CHUNK, Task, run_task, tasks_of_plan

FEATURES = 64
FITTED = [(1_000, 12_500), (1_000, 25_000), (1_000, 50_000), (1_000, 100_000), (16_000, 12_500)]
CHECKED = [(1_000, 200_000), (1_000, 400_000), (32_000, 100_000)]
REPEATS = 3
TARGET = {"N": 100_000, "m": 1_000_000_000, "S": 1_000}


def measured(n_candidates: int, n_pool: int) -> tuple[float, int]:
    """Processor seconds of one chunk, the least of three, and the bytes it stores."""
    sizes = {"N": n_candidates, "m": n_pool, "S": SHADOWS_PER_CHUNK, "d": FEATURES}
    plan, found = plan_of("mean", sizes), []
    for _ in range(REPEATS):
        started = time.process_time()
        curated = run_task(plan, Task("shadow", 0, SHADOWS_PER_CHUNK), None)
        found.append(time.process_time() - started)
    return min(found), sum(array.nbytes for array in curated.to_arrays().values())


def row_of(n_candidates: int, n_pool: int) -> list[float]:
    """What the formula multiplies."""
    return [1.0, float(n_pool), float(n_candidates)]


def projected(costs: np.ndarray, bytes_per_row: float, sizes: Mapping[str, int]) -> None:
    """Print what all chunks of an audit take; scores and picks of null shadows too."""
    n_chunks = len(tasks_of_plan(sizes["S"], planted=False))
    seconds = n_chunks * float(np.dot(costs, row_of(sizes["N"], sizes["m"])))
    pool = 4 * FEATURES * sizes["m"]
    print(
        f"projection for {sizes['S']:,} shadows x {sizes['m']:,} rows x {sizes['N']:,} candidates"
    )
    print(f"  {n_chunks} chunks, {seconds / 3600:,.0f} core hours")
    print(f"  {n_chunks * pool / 1e12:,.0f} TB of features read, a pool of {pool / 1e9:,.0f} GB")
    print(f"  {n_chunks * bytes_per_row * sizes['m'] / 1e12:,.1f} TB of chunks stored")


def main() -> None:
    """Fit, check, project."""
    known = [(size, *measured(*size)) for size in FITTED]
    design = np.array([row_of(*size) for size, _, _ in known])
    seconds = np.array([one for _, one, _ in known])
    # errors count by their share, or the largest pool alone would decide
    costs, _ = nnls(design / seconds[:, None], np.ones(len(seconds)))
    for name, cost in zip(("fixed", "per pool row", "per candidate"), costs, strict=True):
        print(f"{name:14} {cost:.3g} s a chunk of {SHADOWS_PER_CHUNK} shadows")
    print("     N        m   measured  formula  measured / formula")
    for size, found, _ in known + [(size, *measured(*size)) for size in CHECKED]:
        formula = float(np.dot(costs, row_of(*size)))
        mark = "checked" if size in CHECKED else "fitted"
        print(f"{size[0]:6} {size[1]:8} {found:9.3f} {formula:8.3f}  {found / formula:.2f} {mark}")
    (_, n_pool), _, n_bytes = known[3]
    projected(costs, n_bytes / n_pool, TARGET)


if __name__ == "__main__":
    main()
