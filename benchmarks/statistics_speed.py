"""1,000 bootstrap replicates of every metric, against one ROC curve after another, in one run.

A replicate draws whole pairs of shadows and chooses every threshold again: AUC, advantage, TPR
and predictive values at three false-positive rates. The loop is what others do, written by us:
scikit-learn's roc_curve on the drawn cells. It is timed on a few replicates and scaled; those few
must agree with ours. `measure` is what an audit runs: the same bootstrap for rates and predictive
values, closed forms for AUC and advantage, thresholds of other pairs, and flip rates.

    python benchmarks/statistics_speed.py [--shadows 64] [--candidates 10000] [--repeats 5]
"""

import argparse
import statistics
import time

import numpy as np
from sklearn.metrics import auc, roc_curve

from curation_audit.statistics import PairedEvidence, PairResamples, measure
from curation_audit.statistics.precision import PRIORS, predictive_value
from curation_audit.statistics.resampling import ThresholdCounts, rates_at
from curation_audit.training.device import one_thread

FPRS = np.array([0.001, 0.01, 0.1])


def all_metrics(tpr, fpr, tprs, fprs, area):
    """One row: AUC, advantage, TPR at every rate, predictive values at every rate and prior."""
    ppv = [predictive_value(prior, tprs, fprs) for prior in PRIORS]
    return np.concatenate([[area, (tpr - fpr).max()], tprs, *ppv])


def batched(paired, weights):
    """All replicates at once: (B, 17)."""
    counts, rows = ThresholdCounts.of(paired), []
    for block in np.array_split(weights, 16):
        tpr, fpr = counts.rates(block)
        tprs, fprs = rates_at(tpr, fpr, FPRS)
        areas = np.trapezoid(np.pad(tpr, ((0, 0), (1, 0))), np.pad(fpr, ((0, 0), (1, 0))), axis=1)
        rows += map(all_metrics, tpr, fpr, tprs, fprs, areas)
    return np.array(rows)


def one_by_one(paired, weights):
    """The same, replicate after replicate."""
    rows = []
    for drawn in (np.repeat(np.arange(paired.n_pairs), w.astype(int)) for w in weights):
        members, outsiders = paired.members[drawn].ravel(), paired.outsiders[drawn].ravel()
        truth = np.repeat([1, 0], members.size)
        cells = np.concatenate([members, outsiders])
        fpr, tpr, _ = roc_curve(truth, cells, drop_intermediate=False)
        at = np.searchsorted(fpr, FPRS + 1e-12, side="right") - 1
        rows.append(all_metrics(tpr, fpr, tpr[at], fpr[at], auc(fpr, tpr)))
    return np.array(rows)


def seconds(work, repeats):
    """The median of several runs, and the last result."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - started)
    return statistics.median(times), result


def main() -> None:
    """Print medians, the ratio, and how far the two ways agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shadows", type=int, default=64)
    parser.add_argument("--candidates", type=int, default=10_000)
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--looped", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    shape = (options.shadows // 2, options.candidates)
    members, outsiders = rng.standard_normal((2, *shape)) + 0.3 * rng.standard_normal(
        (2, shape[0], 1)
    )
    paired = PairedEvidence(members + 0.5, outsiders)
    resamples = PairResamples.draw(options.replicates, shape[0], rng)
    few = resamples.weights[: options.looped]
    with one_thread():
        ours, found = seconds(lambda: batched(paired, resamples.weights), options.repeats)
        loop, expected = seconds(lambda: one_by_one(paired, few), 1)
        whole, _ = seconds(
            lambda: measure(paired, fprs=FPRS, confidence=0.95, inflation=1.5, resamples=resamples),
            options.repeats,
        )
    loop *= options.replicates / len(few)
    apart = np.abs(found[: len(few)] - expected)
    print(f"{options.shadows} shadows, {options.candidates} candidates, {options.replicates} draws")
    print(f"at once       median {ours:8.2f} s")
    print(f"one by one    scaled {loop:8.1f} s  (from {len(few)} replicates)")
    print(f"ratio                {loop / ours:8.0f}")
    print(f"measure       median {whole:8.2f} s")
    print(f"furthest apart: AUC {apart[:, 0].max():.1e}, advantage {apart[:, 1].max():.1e},")
    print(f"  TPR {apart[:, 2:5].max():.1e}, predictive values {apart[:, 5:].max():.1e}")


if __name__ == "__main__":
    main()
