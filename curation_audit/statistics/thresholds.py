"""Decisions at thresholds that other pairs of shadows set.

A candidate is named a member where its evidence is *above* the threshold. Ties at the threshold
are therefore not named, so that ties can lower a rate but never smuggle it up.
"""

import numpy as np

from curation_audit.statistics.paired import PairedEvidence
from curation_audit.types import Floats


def thresholds_at_fpr(paired: PairedEvidence, fpr: float) -> Floats:
    """For each pair the lowest threshold at which the other pairs' FPR is at most ``fpr``, (P,).

    At most ``floor(fpr * (P - 1) * N)`` outsiders of the other pairs lie above it.
    """
    n_pairs, n_candidates = paired.outsiders.shape
    order = np.argsort(-paired.outsiders, axis=None, kind="stable")
    values, pairs = paired.outsiders.ravel()[order], order // n_candidates
    allowed = int(np.floor(fpr * (n_pairs - 1) * n_candidates + 1e-9))
    return np.array([values[pairs != j][allowed] for j in range(n_pairs)])


def thresholds_at_best_advantage(paired: PairedEvidence) -> Floats:
    """For each pair the threshold that maximises TPR - FPR on the other pairs, (P,).

    Midway between two values; plus infinity where naming nobody is best.
    """
    cells = np.concatenate([paired.members.ravel(), paired.outsiders.ravel()])
    order = np.argsort(-cells, kind="stable")
    values = cells[order]
    step = np.where(order < paired.members.size, 1, -1)
    pairs = (order % paired.members.size) // paired.n_candidates
    return np.array(
        [_best_cut(values[pairs != j], step[pairs != j]) for j in range(len(paired.members))]
    )


def _best_cut(values: Floats, step: Floats) -> float:
    """The cut of descending ``values`` with the largest running sum of ``step``."""
    last_of_ties = np.append(values[1:] < values[:-1], True)
    gain = np.where(last_of_ties, np.cumsum(step), np.iinfo(np.int64).min)
    best = int(np.argmax(gain))
    if gain[best] <= 0:
        return np.inf
    if best + 1 == values.shape[0]:
        return -np.inf
    return float(values[best] + values[best + 1]) / 2
