"""S curations at once against one after another, in one run, on one thread.

The loop is what others do, written by us: for every shadow fit scikit-learn's LogisticRegression
(lbfgs, default tolerance) on its private rows against the pool, take the top k, and fit another
on the picks. Both ways get the same inclusion; their picks must agree.

    python benchmarks/batched_curations.py [--shadows 128] [--repeats 5]
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from curation_audit import load_pipeline
from curation_audit.auditing.curation import score_shadows, select_and_train
from curation_audit.game import paired_inclusion
from curation_audit.streams import Streams
from curation_audit.training.device import one_thread

ROOT = Path(__file__).parents[1]


def batched(plan, inclusion):
    """All shadows at once: mask (S, m), probabilities at the candidates (S, rows, C)."""
    streams = Streams(plan.seed).for_shadows("shadow", range(len(inclusion)))
    curated = select_and_train(plan, score_shadows(plan, inclusion, streams), streams)
    return curated.observation.selection.mask(), curated.observation.probabilities


def one_by_one(plan, inclusion):
    """The same, shadow after shadow."""
    private, pool = plan.data.private, plan.data.pool
    masks, probabilities = [], []
    for held in private.row_inclusion(inclusion):
        rows = np.concatenate([private.features[held], pool.features])
        target = np.arange(len(rows)) < held.sum()
        scorer = LogisticRegression(C=1 / plan.scorer.l2, max_iter=1000).fit(rows, target)
        picked = np.argsort(-scorer.decision_function(pool.features))[: plan.rule.k]
        model = LogisticRegression(C=1 / plan.downstream.l2, max_iter=1000)
        model.fit(pool.features[picked], pool.labels[picked])
        probabilities.append(model.predict_proba(private.features))
        masks.append(np.isin(np.arange(len(pool)), picked))
    return np.array(masks), np.array(probabilities)


def main() -> None:
    """Print the median ratio and how far the two ways agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shadows", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    plan = load_pipeline(ROOT / "pipelines" / "med.yaml", f"attack.shadows={options.shadows}")
    inclusion = paired_inclusion(
        options.shadows, plan.data.private.n_candidates, Streams(plan.seed)
    )
    with one_thread():
        batched(plan, inclusion[:4])
        times = []
        for _ in range(options.repeats):
            started = time.perf_counter()
            ours, _ = batched(plan, inclusion)
            between = time.perf_counter()
            theirs, _ = one_by_one(plan, inclusion)
            times.append((between - started, time.perf_counter() - between))
    ratios = [loop / batch for batch, loop in times]
    shared = (ours & theirs).sum() / ours.sum()
    print(f"batched      median {statistics.median(t[0] for t in times):.3f} s")
    print(f"one by one   median {statistics.median(t[1] for t in times):.3f} s")
    print(f"ratio        median {statistics.median(ratios):.1f}  (min {min(ratios):.1f})")
    print(f"picks shared {shared:.2%} (intercepts are penalised in one and free in the other)")


if __name__ == "__main__":
    main()
