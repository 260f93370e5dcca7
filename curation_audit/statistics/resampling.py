"""The bootstrap over pairs of shadows, for rates whose threshold is chosen again each time.

Whole pairs are drawn, never cells or rows. Counts above a grid of thresholds are kept per pair,
so that every replicate is one row of a matrix product.
"""

from dataclasses import dataclass

import numpy as np

from curation_audit.results import RocCurve
from curation_audit.statistics.paired import PairedEvidence
from curation_audit.types import Floats

N_EXACT_RANKS = 256
GRID_RATIO = 1.01


@dataclass(frozen=True, slots=True)
class PairResamples:
    """How often each pair was drawn in each replicate, float64 (B, P), rows sum to P."""

    weights: Floats

    @classmethod
    def draw(cls, n_replicates: int, n_pairs: int, rng: np.random.Generator) -> "PairResamples":
        """Draw ``n_replicates`` bootstrap samples of ``n_pairs`` pairs."""
        uniform = np.full(n_pairs, 1 / n_pairs)
        return cls(rng.multinomial(n_pairs, uniform, size=n_replicates).astype(np.float64))


@dataclass(frozen=True, slots=True)
class ThresholdCounts:
    """Members and outsiders of every pair above each of G falling thresholds, (P, G) each."""

    members: Floats
    outsiders: Floats
    n_candidates: int

    @classmethod
    def of(cls, paired: PairedEvidence) -> "ThresholdCounts":
        """Count over a grid: the 256 largest outsiders, then ranks in steps of 1 %, then all."""
        falling = np.sort(paired.outsiders, axis=None)[::-1]
        ranks = np.arange(min(N_EXACT_RANKS, falling.size))
        if falling.size > N_EXACT_RANKS:
            n_steps = int(np.log(falling.size / N_EXACT_RANKS) / np.log(GRID_RATIO)) + 1
            coarse = np.geomspace(N_EXACT_RANKS, falling.size - 1, n_steps).astype(np.int64)
            ranks = np.concatenate([ranks, coarse])
        grid = np.unique(np.append(falling[ranks], -np.inf))
        return cls(
            _counts_above(paired.members, grid),
            _counts_above(paired.outsiders, grid),
            paired.n_candidates,
        )

    def rates(self, weights: Floats) -> tuple[Floats, Floats]:
        """TPR and FPR at every threshold for weights (B, P): (B, G) each, both rising in G."""
        n_cells = weights.sum(axis=1, keepdims=True) * self.n_candidates
        return weights @ self.members / n_cells, weights @ self.outsiders / n_cells


def _counts_above(values: Floats, rising_grid: Floats) -> Floats:
    """How many values of each row lie above each grid point, from high to low: (P, G)."""
    n_rows, n_grid = values.shape[0], rising_grid.size
    n_below = np.searchsorted(rising_grid, values, side="left")
    flat = (np.arange(n_rows)[:, None] * (n_grid + 1) + n_below).ravel()
    histogram = np.bincount(flat, minlength=n_rows * (n_grid + 1)).reshape(n_rows, n_grid + 1)
    above = np.cumsum(histogram[:, ::-1], axis=1)[:, :-1]
    return above.astype(np.float64)


def tpr_at(tpr: Floats, fpr: Floats, levels: Floats) -> Floats:
    """The largest TPR with FPR at most each level: (B, G), (B, G), (L,) -> (B, L).

    A level that no threshold of the grid meets (FPR 0 with ties at the top) gives 0.
    """
    reached = (fpr[:, :, None] <= levels[None, None, :] + 1e-12).sum(axis=1)
    padded = np.concatenate([np.zeros((tpr.shape[0], 1)), tpr], axis=1)
    return np.take_along_axis(padded, reached, axis=1)


def tpr_deviations(
    paired: PairedEvidence, levels: Floats, resamples: PairResamples
) -> tuple[Floats, Floats]:
    """Pooled TPR at FPR levels (L,), and how far each replicate lies from it (B, L)."""
    counts = ThresholdCounts.of(paired)
    pooled = tpr_at(*counts.rates(np.ones((1, paired.n_pairs))), levels)
    replicates = [
        tpr_at(*counts.rates(block), levels) for block in np.array_split(resamples.weights, 16)
    ]
    return pooled[0], np.concatenate(replicates) - pooled


def roc_curve(
    paired: PairedEvidence, resamples: PairResamples, *, confidence: float, inflation: float
) -> RocCurve:
    """The pooled ROC curve at about 60 rates from 1 / (number of outsiders) to 1, with a band.

    The band is pointwise: percentiles of the pair bootstrap, stretched by ``inflation`` around
    the curve and clipped to [0, 1].
    """
    levels = np.geomspace(1 / paired.outsiders.size, 1.0, 60)
    curve, deviations = tpr_deviations(paired, levels, resamples)
    alpha = 1 - confidence
    low, high = np.quantile(deviations, [alpha / 2, 1 - alpha / 2], axis=0) * inflation
    return RocCurve(
        levels,
        curve,
        np.clip(curve + np.minimum(low, 0), 0, 1),
        np.clip(curve + np.maximum(high, 0), 0, 1),
    )
