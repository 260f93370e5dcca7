"""What a curation costs by candidates N, pool rows m, shadows S and features d, and its memory.

    python -m benchmarks.curation_scale [--repeats 3]

First the large one: N = 10,000, m = 100,000, d = 64, S = 256 for ``mean``, ``classifier`` and
``nearest``, the best hundredth picked, in 16 chunks by two processes, as an audit computes them
(their start, some seconds, is in it), and all at once in one. Then each quantity is doubled
from a smaller base, one at a time; exponents are slopes of the logarithms over the largest
three, and a plot is written to ``benchmarks/curation_scale.svg``.
"""

import argparse
import resource
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from curation_audit import Pipeline
from curation_audit.auditing.chunks import run_curations
from curation_audit.auditing.curation import score_shadows
from curation_audit.auditing.plan import AttackSettings, AuditPlan, RunSettings
from curation_audit.auditing.progress import Silence
from curation_audit.game import paired_inclusion
from curation_audit.pipelines.base import Scorer
from curation_audit.pipelines.rules.cut import tie_order
from curation_audit.pipelines.rules.top import TopFraction
from curation_audit.pipelines.scorers.classifier import Classifier
from curation_audit.pipelines.scorers.mean import Mean
from curation_audit.pipelines.scorers.nearest import Nearest
from curation_audit.storage import ChunkStore
from curation_audit.streams import Streams
from curation_audit.training.device import one_thread

Sizes = Mapping[str, int]
LARGE: Sizes = {"N": 10_000, "m": 100_000, "S": 256, "d": 64}
BASE: Sizes = {"N": 2_000, "m": 10_000, "S": 32, "d": 16}
DOUBLINGS = 4
SCORERS: Mapping[str, Scorer] = {
    "mean": Mean(),
    "classifier": Classifier(device="cpu"),
    "nearest": Nearest(),
}


def plan_of(scorer: str, sizes: Sizes) -> AuditPlan:
    """Normal rows."""
    rng = np.random.default_rng(0)
    return Pipeline(
        private=rng.standard_normal((sizes["N"], sizes["d"]), dtype=np.float32),
        public=rng.standard_normal((sizes["m"], sizes["d"]), dtype=np.float32),
        scorer=SCORERS[scorer],
        select=TopFraction(fraction=0.01),
        train=None,
        attack=AttackSettings(shadows=sizes["S"]),
    ).plan()


def at_once(scorer: str, sizes: Sizes) -> tuple[float, float]:
    """Seconds for all shadows of a plan in one go, and the process's peak memory in GB."""
    plan = plan_of(scorer, sizes)
    n_shadows, streams = sizes["S"], Streams(0)
    rank = tie_order(plan.data.pool.ids, 0)
    with one_thread():
        start = time.perf_counter()
        inclusion = paired_inclusion(n_shadows, sizes["N"], streams)
        shadows = streams.for_shadows("shadow", range(n_shadows))
        scores = score_shadows(plan, inclusion, shadows)
        plan.rule.select(scores, rank, shadows, plan.data.pool)
        seconds = time.perf_counter() - start
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def apart(scorer: str, sizes: Sizes, repeats: int) -> tuple[float, float]:
    """The least time of some runs, each in a process of its own, and its memory."""
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        found = [pool.submit(at_once, scorer, sizes).result() for _ in range(repeats)]
    return min(found)


def audited(scorer: str) -> tuple[float, float]:
    """Seconds of all curations of an audit in two processes, and the largest one's memory in GB."""
    plan = replace(plan_of(scorer, LARGE), run=RunSettings(workers=2, device="cpu"))
    start = time.perf_counter()
    run_curations(plan, ChunkStore(None), Silence())
    seconds = time.perf_counter() - start
    here, there = (
        resource.getrusage(who).ru_maxrss / 1e6
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return seconds, max(here, there)


def growth(repeats: int) -> None:
    """Print exponents, and plot."""
    figure, axes = plt.subplots(1, 4, figsize=(12, 3), sharey=True)
    print("| scorer | " + " | ".join(f"exponent of {name}" for name in BASE) + " |")
    print("|---|---|---|---|---|")
    for scorer in SCORERS:
        slopes = []
        for axis, name in zip(axes, BASE, strict=True):
            sizes = [BASE[name] * 2**k for k in range(DOUBLINGS)]
            seconds = [
                min(at_once(scorer, {**BASE, name: size})[0] for _ in range(repeats))
                for size in sizes
            ]
            slopes.append(float(np.polyfit(np.log(sizes[-3:]), np.log(seconds[-3:]), 1)[0]))
            axis.loglog(sizes, seconds, marker="o", label=f"{scorer} ({slopes[-1]:.2f})")
            axis.set_xlabel(name)
            axis.legend(fontsize=7)
        print(f"| {scorer} | " + " | ".join(f"{one:.2f}" for one in slopes) + " |", flush=True)
    axes[0].set_ylabel("seconds")
    figure.tight_layout()
    figure.savefig(Path(__file__).parent / "curation_scale.svg")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    print("| scorer | audit, two processes, s | its memory, GB | at once, s | memory, GB |", end="")
    print(" ms a shadow at S = 16, 64, 256 |")
    print("|---|---|---|---|---|---|")
    for scorer in SCORERS:
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            seconds, memory = pool.submit(audited, scorer).result()
        by_size = [apart(scorer, {**LARGE, "S": size}, asked.repeats) for size in (16, 64, 256)]
        each = ", ".join(
            f"{1000 * one[0] / size:.3g}" for one, size in zip(by_size, (16, 64, 256), strict=True)
        )
        print(
            f"| {scorer} | {seconds:.1f} | {memory:.2f} | {by_size[-1][0]:.2f} | "
            f"{by_size[-1][1]:.2f} | {each} |",
            flush=True,
        )
    growth(asked.repeats)


if __name__ == "__main__":
    main()
