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
ROUNDING = 1e-10  # far below one cell of any evidence, far above an error of the sums


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


def rates_at(tpr: Floats, fpr: Floats, levels: Floats) -> tuple[Floats, Floats]:
    """TPR and FPR at the lowest threshold with FPR at most each level.

    Rates of rising thresholds (B, G) each and levels (L,) give (B, L) each. A level that no
    threshold of the grid meets (FPR 0 with ties at the top) gives 0 and 0.
    """
    n_rows, n_grid = fpr.shape
    # rates lie in [0, 1], so that rows two apart make one rising array to look all levels up in
    apart = 2.0 * np.arange(n_rows)[:, None]
    reached = np.searchsorted((fpr + apart).ravel(), levels + apart + ROUNDING, side="right")
    reached -= n_grid * np.arange(n_rows)[:, None]
    nobody = np.zeros((tpr.shape[0], 1))
    found_tpr, found_fpr = (
        np.take_along_axis(np.concatenate([nobody, rates], axis=1), reached, axis=1)
        for rates in (tpr, fpr)
    )
    return found_tpr, found_fpr


@dataclass(frozen=True, slots=True)
class ReplicatedRates:
    """Rates at L levels of FPR, the threshold chosen again each time.

    Of all pairs ``tpr`` and ``fpr`` (L,), of every replicate ``tprs`` and ``fprs`` (B, L).
    """

    tpr: Floats
    fpr: Floats
    tprs: Floats
    fprs: Floats

    @classmethod
    def of(
        cls, paired: PairedEvidence, levels: Floats, resamples: PairResamples
    ) -> "ReplicatedRates":
        """Look all levels up in every replicate."""
        counts = ThresholdCounts.of(paired)
        tpr, fpr = rates_at(*counts.rates(np.ones((1, paired.n_pairs))), levels)
        blocks = [
            rates_at(*counts.rates(block), levels)
            for block in np.array_split(resamples.weights, 16)
        ]
        tprs, fprs = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
        return cls(tpr[0], fpr[0], tprs, fprs)

    def at(self, level: int) -> "ReplicatedRates":
        """The rates at one level alone."""
        one = slice(level, level + 1)
        return ReplicatedRates(self.tpr[one], self.fpr[one], self.tprs[:, one], self.fprs[:, one])

    @property
    def tpr_deviations(self) -> Floats:
        """How far the TPR of each replicate lies from that of all pairs, (B, L)."""
        return self.tprs - self.tpr


def roc_curve(
    paired: PairedEvidence, resamples: PairResamples, *, confidence: float, inflation: float
) -> RocCurve:
    """The pooled ROC curve at about 60 rates from 1 / (number of outsiders) to 1, with a band.

    The band is pointwise: percentiles of the pair bootstrap, stretched by ``inflation`` around
    the curve and clipped to [0, 1].
    """
    levels = np.geomspace(1 / paired.outsiders.size, 1.0, 60)
    rates = ReplicatedRates.of(paired, levels, resamples)
    curve, tails = rates.tpr, [(1 - confidence) / 2, (1 + confidence) / 2]
    low, high = np.quantile(rates.tpr_deviations, tails, axis=0) * inflation
    return RocCurve(
        levels,
        curve,
        np.clip(curve + np.minimum(low, 0), 0, 1),
        np.clip(curve + np.maximum(high, 0), 0, 1),
    )
