"""The Gaussian likelihood ratio of LiRA, leaving one pair of shadows out."""

import numpy as np

from curation_audit.attacks.base import in_first, in_shadow_order
from curation_audit.types import Evidence, Floats, Inclusion

MIN_PAIRS_FOR_OWN_VARIANCE = 32
RELATIVE_FLOOR = 1e-6


def gaussian_evidence(signal: Floats, inclusion: Inclusion) -> Evidence:
    """``log N(x; mean_in, var_in) - log N(x; mean_out, var_out)`` for a signal (S, N).

    Means and variances of the in and the out values come from the other pairs. Below 64 shadows
    the variance is shared by all candidates (Carlini et al. 2022, section VI-C), above it is the
    candidate's own.
    """
    pairs = in_first(np.asarray(signal, dtype=np.float64), inclusion)
    n_others = pairs.shape[0] - 1
    # centred first, so that sums of squares do not cancel
    center = pairs.mean(axis=(0, 1))
    pairs = pairs - center
    mean = (pairs.sum(axis=0) - pairs) / n_others
    square = ((pairs**2).sum(axis=0) - pairs**2) / n_others
    variance = (square - mean**2) * n_others / max(n_others - 1, 1)
    if n_others + 1 < MIN_PAIRS_FOR_OWN_VARIANCE:
        variance = np.broadcast_to(variance.mean(axis=2, keepdims=True), variance.shape)
    spread = square.mean(axis=1, keepdims=True) - mean.mean(axis=1, keepdims=True) ** 2
    floor = RELATIVE_FLOOR * spread.mean(axis=2, keepdims=True) + np.finfo(np.float64).tiny
    variance = np.maximum(variance, floor)
    tested = pairs[:, :, None, :]  # (P, row that holds the candidate or not, hypothesis, N)
    ratio = -0.5 * ((tested - mean[:, None]) ** 2 / variance[:, None] + np.log(variance)[:, None])
    return in_shadow_order(ratio[:, :, 0] - ratio[:, :, 1], inclusion)
