"""Gumbel top-k of ten million scores: with a full sort, with a partition, and lazily, in one run.

All three draw from one distribution. The baseline is the usual recipe, written by us: numpy's
Gumbel noise on every score, argsort, the last k. The second is `gumbel_top_k`, the third
`lazy_gumbel_top_k`. They take turns, on one thread; before a ratio is printed, each has to pick k
different rows whose mean score lies within five standard errors of the baseline's.

    python benchmarks/noisy_top_k.py [--rows 10000000] [--picks 10000] [--scale 1] [--repeats 7]
"""

import argparse
import statistics
import time

import numpy as np

from curation_audit.dp.lazy_top_k import lazy_gumbel_top_k
from curation_audit.dp.top_k import gumbel_top_k
from curation_audit.training.device import one_thread

WAYS = {
    "full draw, argsort": lambda scores, k, scale, rng: np.argsort(
        scores + rng.gumbel(scale=scale, size=scores.size)
    )[: -k - 1 : -1],
    "full draw, partition": gumbel_top_k,
    "lazy": lazy_gumbel_top_k,
}


def in_turn(scores, k, scale, repeats):
    """Seconds of every repeat, and the last picks, by way."""
    rng = np.random.default_rng(1)
    times, picks = {way: [] for way in WAYS}, {}
    for _ in range(repeats):
        for way, draw in WAYS.items():
            started = time.perf_counter()
            picks[way] = draw(scores, k, scale, rng)
            times[way].append(time.perf_counter() - started)
    return times, picks


def check(scores, picks, k):
    """Stop unless all ways pick k different rows of one mean score."""
    baseline = scores[picks["full draw, argsort"]]
    error = baseline.std() * np.sqrt(2 / k)
    for way, picked in picks.items():
        gap = abs(scores[picked].mean() - baseline.mean())
        if np.unique(picked).size != k or gap > 5 * error:
            raise SystemExit(f"{way}: not the picks of the baseline's distribution")


def main() -> None:
    """Print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--picks", type=int, default=10_000)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    scores = np.random.default_rng(0).standard_normal(options.rows)
    with one_thread():
        times, picks = in_turn(scores, options.picks, options.scale, options.repeats)
    check(scores, picks, options.picks)
    first = times["full draw, argsort"]
    print(f"{options.rows} rows, {options.picks} picks, scale {options.scale:g}, one thread")
    print(f"{'':22}{'median':>10}{'ratio':>8}{'smallest':>10}  mean score of the picks")
    for way, spent in times.items():
        smallest = min(a / b for a, b in zip(first, spent, strict=True))
        median = statistics.median(spent)
        ratio, mean = statistics.median(first) / median, scores[picks[way]].mean()
        print(f"{way:22}{median:8.4f} s{ratio:8.1f}{smallest:10.1f}  {mean:.3f}")


if __name__ == "__main__":
    main()
