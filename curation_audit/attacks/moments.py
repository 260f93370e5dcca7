"""Means and variances with the candidate in and out, learnt from the other pairs, in few passes.

For a deviation d from the mean c of n pairs, what is left without that pair has the mean
``c - d / (n - 1)`` and the sum of squares ``SS - d^2 n / (n - 1)``: nothing is summed again.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from curation_audit.attacks.base import OtherPairs, in_first, in_shadow_order
from curation_audit.types import Evidence, Features, Floats, Inclusion

MIN_PAIRS_FOR_OWN_VARIANCE = 32
RELATIVE_FLOOR = 1e-6

Variance: TypeAlias = Literal["auto", "shared", "own"]


@dataclass(frozen=True, slots=True)
class Moments:
    """Of a signal, for each pair and candidate; axis 1 holds "in" first, then "out".

    ``tested`` (P, 2, N): the signal in the pair's own shadow with the candidate, and without.
    ``mean``, ``variance`` (P, 2, N): over the other pairs' shadows with the candidate, and
    without; the variance is unbiased, and 0 where there is one other pair only. ``counts`` (P,).
    ``resolution``: differences that are nothing but rounding.
    """

    tested: Floats
    mean: Floats
    variance: Floats
    counts: Floats
    resolution: float

    @property
    def floor(self) -> Floats:
        """The least variance that counts, (P, 1, 1): a millionth of the overall spread."""
        effect = (self.mean[:, 0] - self.mean[:, 1]) / 2
        spread = self.variance.mean(axis=(1, 2)) + (effect**2).mean(axis=1)
        floor: Floats = RELATIVE_FLOOR * spread + self.resolution**2 + np.finfo(np.float64).tiny
        return floor[:, None, None]


def moments(signal: Floats, inclusion: Inclusion, others: OtherPairs) -> Moments:
    """The moments of a signal (S, N)."""
    signal = np.asarray(signal, dtype=np.float64)
    tested = in_first(signal, inclusion)
    known = others.known
    n_known = int(known.sum())
    centre = tested[known].mean(axis=0)
    deviation = tested - centre
    left_out = known[:, None, None] / max(n_known - 1, 1)
    variance = deviation**2
    total = variance[known].sum(axis=0)
    variance *= -n_known * left_out
    variance += total
    variance /= np.maximum(others.counts - 1, 1)[:, None, None]
    np.maximum(variance, 0, out=variance)
    deviation *= -left_out
    deviation += centre
    return Moments(
        tested, deviation, variance, others.counts, rounding_of(signal[others.known_shadows])
    )


def gaussian_ratio(
    signal: Floats, inclusion: Inclusion, others: OtherPairs, variance: Variance = "auto"
) -> Evidence:
    """Log likelihood under "in" less that under "out", (S, N).

    The variance is each candidate's own, or shared by all; ``auto`` shares it below 64 shadows
    (Carlini et al. 2022, section VI-C).
    """
    found = moments(signal, inclusion, others)
    spread = np.maximum(found.variance, found.floor)
    if is_shared(variance, others):
        spread = np.maximum(found.variance.mean(axis=2, keepdims=True), found.floor)
    return in_shadow_order(_log_ratio(found, spread), inclusion)


def is_shared(variance: Variance, others: OtherPairs) -> bool:
    """Whether all candidates share a variance."""
    few = others.counts.min() + 1 < MIN_PAIRS_FOR_OWN_VARIANCE
    return variance == "shared" or (variance == "auto" and bool(few))


def _log_ratio(found: Moments, spread: Floats) -> Floats:
    """The log likelihood ratio of both shadows of every pair, (P, 2, N)."""
    scale = -0.5 / spread
    ratio = 0.5 * (np.log(spread[:, 1:]) - np.log(spread[:, :1])) + np.zeros_like(found.tested)
    for hypothesis, sign in ((0, 1.0), (1, -1.0)):
        away = found.tested - found.mean[:, hypothesis, None]
        away[np.abs(away) < found.resolution] = 0.0
        away *= away
        away *= sign * scale[:, hypothesis, None]
        ratio += away
    return ratio


def rounding_of(values: Features) -> float:
    """Differences between such values that are nothing but rounding."""
    return float(8 * np.finfo(values.dtype).eps * np.abs(values).max(initial=0))


def sums_without_own(values: Floats, others: OtherPairs) -> Floats:
    """For each pair the sum over its other pairs of values (P, ...) that are not negative.

    By running sums from either end: a total less its largest part would be rounding.
    """
    kept = values * others.known.reshape((-1,) + (1,) * (values.ndim - 1))
    sums = np.zeros_like(kept)
    np.cumsum(kept[:-1], axis=0, out=sums[1:])
    sums[:-1] += np.cumsum(kept[:0:-1], axis=0)[::-1]
    return sums
