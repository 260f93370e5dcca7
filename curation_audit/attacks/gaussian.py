"""The Gaussian likelihood ratio of LiRA, learnt from the other pairs of shadows."""

import numpy as np

from curation_audit.attacks.base import OtherPairs, in_first, in_shadow_order
from curation_audit.observations import Knowledge
from curation_audit.types import Evidence, Features, Floats, Inclusion

MIN_PAIRS_FOR_OWN_VARIANCE = 32
RELATIVE_FLOOR = 1e-6


def gaussian_evidence(
    signal: Floats, inclusion: Inclusion, others: OtherPairs | None = None
) -> Evidence:
    """``log N(x; mean_in, var_in) - log N(x; mean_out, var_out)`` for a signal (S, N).

    Means and variances of the in and the out values come from the other pairs. Below 64 shadows
    the variance is shared by all candidates (Carlini et al. 2022, section VI-C), above it is the
    candidate's own.
    """
    others = others or OtherPairs.of(Knowledge(), inclusion)
    signal = np.asarray(signal, dtype=np.float64)
    pairs = in_first(signal, inclusion)
    # centred first, so that sums of squares do not cancel
    pairs = pairs - pairs.mean(axis=(0, 1))
    n_others = others.counts[:, None, None]
    mean, square = others.means(pairs), others.means(pairs**2)
    variance = (square - mean**2) * n_others / np.maximum(n_others - 1, 1)
    if others.counts.min() + 1 < MIN_PAIRS_FOR_OWN_VARIANCE:
        variance = np.broadcast_to(variance.mean(axis=2, keepdims=True), variance.shape)
    resolution = rounding_of(signal)
    variance = floored(variance, mean, square, resolution)
    return in_shadow_order(log_ratio(pairs, mean, variance, resolution), inclusion)


def rounding_of(values: Features) -> float:
    """Differences between such values that are nothing but rounding."""
    return float(8 * np.finfo(values.dtype).eps * np.abs(values).max(initial=0))


def floored(variance: Floats, mean: Floats, square: Floats, resolution: float) -> Floats:
    """Variances (P, 2, N), no smaller than rounding or a millionth of what all others spread."""
    spread = square.mean(axis=1, keepdims=True) - mean.mean(axis=1, keepdims=True) ** 2
    floor = RELATIVE_FLOOR * np.maximum(spread, 0).mean(axis=2, keepdims=True)
    least: Floats = np.maximum(variance, floor + resolution**2 + np.finfo(np.float64).tiny)
    return least


def log_ratio(tested: Floats, mean: Floats, variance: Floats, resolution: float) -> Floats:
    """Log likelihood of each tested value under "in" less that under "out", (P, 2, N).

    ``tested`` (P, 2, N) are the values in the two shadows of a pair; ``mean`` and ``variance``
    (P, 2, N) those of the other pairs with the candidate in, and out.
    """
    deviation = tested[:, :, None] - mean[:, None]  # (P, shadow, hypothesis, N)
    deviation[np.abs(deviation) < resolution] = 0.0
    log_likelihood = -0.5 * (deviation**2 / variance[:, None] + np.log(variance)[:, None])
    ratio: Floats = log_likelihood[:, :, 0] - log_likelihood[:, :, 1]
    return ratio
