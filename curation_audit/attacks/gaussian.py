"""The Gaussian likelihood ratio of LiRA, learnt from the other pairs of shadows."""

import numpy as np

from curation_audit.attacks.base import OtherPairs
from curation_audit.attacks.moments import RELATIVE_FLOOR, gaussian_ratio
from curation_audit.observations import Knowledge
from curation_audit.types import Evidence, Floats, Inclusion


def gaussian_evidence(
    signal: Floats, inclusion: Inclusion, others: OtherPairs | None = None
) -> Evidence:
    """``log N(x; mean_in, var_in) - log N(x; mean_out, var_out)`` for a signal (S, N).

    Means and variances of the in and the out values come from the other pairs. Below 64 shadows
    the variance is shared by all candidates (Carlini et al. 2022, section VI-C), above it is the
    candidate's own.
    """
    return gaussian_ratio(signal, inclusion, others or OtherPairs.of(Knowledge(), inclusion))


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
