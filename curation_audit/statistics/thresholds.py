"""Decisions at thresholds that other pairs of shadows set.

A candidate is named a member where its evidence is *above* the threshold. Ties at the threshold
are therefore not named, so that ties can lower a rate but never smuggle it up.
"""

import numpy as np

from curation_audit.statistics.paired import PairedEvidence
from curation_audit.types import Floats, Indices


def thresholds_at_fpr(paired: PairedEvidence, fpr: float) -> Floats:
    """For each pair the lowest threshold at which the other pairs' FPR is at most ``fpr``, (P,).

    At most ``floor(fpr * (P - 1) * N)`` outsiders of the other pairs lie above it. One sort of the
    highest serves all pairs: where a pair's i-th outsider (from 0) stands at place q, q - i of the
    others stand before it, so the others' k-th stands at place k + #{i: q_i - i <= k}.
    """
    n_pairs, n_candidates = paired.outsiders.shape
    n_others = (n_pairs - 1) * n_candidates
    allowed = min(int(np.floor(fpr * n_others + 1e-9)), n_others - 1)
    falling = _highest(paired.outsiders, allowed + n_candidates + 1)
    by_pair = np.argsort(falling // n_candidates, kind="stable")  # q, pair after pair
    pair = falling[by_pair] // n_candidates
    own_rank = np.arange(pair.size) - np.searchsorted(pair, pair)
    before = np.bincount(pair[by_pair - own_rank <= allowed], minlength=n_pairs)
    thresholds: Floats = paired.outsiders.ravel()[falling[allowed + before]]
    return thresholds


def _highest(values: Floats, n: int) -> Indices:
    """Where the ``n`` largest cells stand in the flat array, from high to low."""
    flat = -values.ravel()
    which = np.argpartition(flat, n - 1)[:n] if n < flat.size else np.arange(flat.size)
    return which[np.argsort(flat[which])]


def thresholds_at_best_advantage(paired: PairedEvidence) -> Floats:
    """For each pair the threshold that maximises TPR - FPR on the other half of the pairs, (P,).

    Pairs with even and with odd numbers are the halves. Leaving out one pair at a time instead
    lets a maximum among many near ties flicker: without a leak nominal 95 % intervals then cover
    .71, against .92 with halves (simulation).

    The largest value that is not named, so that decisions follow the order of the evidence alone;
    plus infinity where naming nobody is best.
    """
    cuts = [_best_cut(paired.members[other::2], paired.outsiders[other::2]) for other in (1, 0)]
    return np.resize(np.array(cuts), paired.n_pairs)


def _best_cut(members: Floats, outsiders: Floats) -> float:
    """The threshold with the most members less outsiders above it, the highest of equals."""
    cells = np.concatenate([members.ravel(), outsiders.ravel()])
    falling = np.argsort(-cells, kind="stable")
    values = cells[falling]
    last_of_ties = np.append(values[1:] < values[:-1], True)
    named = np.cumsum(np.where(falling < members.size, 1, -1))
    gain = np.where(last_of_ties, named, np.iinfo(np.int64).min)
    best = int(np.argmax(gain))
    # all cells together gain nothing, so the best cut that gains leaves a value below it
    return float(values[best + 1]) if gain[best] > 0 else np.inf
