"""One-shot Gumbel top-k that draws noise only for rows that can reach a threshold.

A race: row i arrives at time ``E_i exp(-score_i / scale)`` with ``E_i`` exponential, and the first
k arrivals in order are the k largest ``score_i - scale log E_i``, Gumbel noise. Whether a row
arrives before the threshold's time can be drawn row by row, and most rows hardly ever do.

The threshold may be anything that is independent of the noise which decides: it changes how long
the draw takes, and the distribution of the picks not at all. How long it takes depends on the
scores, so times must not be released.
"""

from dataclasses import dataclass

import numpy as np

from curation_audit.checks import positive
from curation_audit.dp.top_k import (
    SMALLEST_EXPONENTIAL,
    check_k,
    finite_float64,
    gumbel_top_k,
)
from curation_audit.types import Floats, Indices, Scores

PILOT_ROWS = 1 << 15
SMALLEST_POOL = 2 * PILOT_ROWS
"""Below it a full draw takes no longer than the pilot."""
LARGEST_SHARE = 0.1
"""Of the rows that need noise of their own; above it a full draw is as fast."""
SMALLEST_CHANCE = 1e-12


@dataclass(frozen=True, slots=True)
class Threshold:
    """Rows whose noisy score exceeds ``tau`` are wanted.

    Every row with a score above ``cut`` gets noise of its own. Of the others a random subset does,
    each row with chance ``chance``, which is at least that of ``cut`` to exceed ``tau``.
    """

    tau: float
    cut: float
    chance: float


def lazy_gumbel_top_k(scores: Scores, k: int, scale: float, rng: np.random.Generator) -> Indices:
    """``gumbel_top_k`` with less noise drawn: the same distribution of ordered picks, (m,) -> (k,).

    Not the same picks for the same generator. Where no threshold saves work (small pools, k near
    m) it is the full draw.

    Raises:
        ValueError: for scores that are not finite, k outside 1..m or a scale that is not positive.
    """
    positive(scale=scale)
    if scores.ndim != 1:
        raise ValueError(f"found scores {scores.shape}, expected (m,).")
    check_k(k, scores.size)
    clean = finite_float64(scores)
    threshold = _pilot(clean, k, scale, rng) if clean.size >= SMALLEST_POOL else None
    if threshold is None:
        return gumbel_top_k(clean, k, scale, rng)
    return _race(clean, k, scale, threshold, rng)


def _pilot(clean: Floats, k: int, scale: float, rng: np.random.Generator) -> Threshold | None:
    """A threshold that k rows very likely exceed and few more do; None if it saves no work.

    From random rows, and noise that is drawn for them here and then forgotten.
    """
    rows = np.sort(clean[rng.integers(clean.size, size=PILOT_ROWS)])[::-1]
    weight = clean.size / PILOT_ROWS
    # five standard deviations of the count among all rows and in the pilot, and ten pilot rows
    wanted = k + 5 * np.sqrt(k * (1 + weight)) + 10 * weight
    rank = int(wanted / weight)
    if rank >= PILOT_ROWS * LARGEST_SHARE:
        return None
    noisy = rows - scale * _log_exponential(rng.standard_exponential(PILOT_ROWS))
    tau = float(np.partition(noisy, PILOT_ROWS - rank)[PILOT_ROWS - rank])
    chances = _chance(rows, tau, scale)
    shares = np.arange(PILOT_ROWS) / PILOT_ROWS + chances  # of rows that get noise, by the cut
    best = int(np.argmin(shares))
    if shares[best] >= LARGEST_SHARE:
        return None
    return Threshold(tau, float(rows[best]), max(float(chances[best]), SMALLEST_CHANCE))


def _race(
    clean: Floats, k: int, scale: float, threshold: Threshold, rng: np.random.Generator
) -> Indices:
    """The first k arrivals, (m,) -> (k,), whatever the threshold.

    If fewer rows arrive before the threshold's time they stay first. For each of the others it is
    only known that it arrives later, and the wait of an exponential has no memory: what remains
    is the same race afresh among the rows left, for the places left. (To start *everything* afresh
    would favour the orders that are fast.)
    """
    first = _exceeders(clean, scale, threshold, rng)[:k]
    if first.size == k:
        return first
    left = np.delete(np.arange(clean.size), first)
    later = gumbel_top_k(clean[left], k - first.size, scale, rng)
    return np.concatenate([first, left[later]])


def _exceeders(
    clean: Floats, scale: float, threshold: Threshold, rng: np.random.Generator
) -> Indices:
    """The rows whose noisy score exceeds ``tau``, largest first.

    A row not above the cut can exceed only if its ``E_i`` lies below ``-log(1 - chance)``: it does
    with probability ``chance``, for every such row alike, and then ``E_i`` follows the exponential
    distribution cut off there.
    """
    above = np.flatnonzero(clean > threshold.cut)
    count = rng.binomial(clean.size, threshold.chance)
    drawn = rng.choice(clean.size, count, replace=False, shuffle=False)
    below = drawn[clean[drawn] <= threshold.cut]
    rows = np.concatenate([above, below])
    uniform = 1 - rng.random(below.size)  # never 0
    exponentials = np.concatenate(
        [rng.standard_exponential(above.size), -np.log1p(-uniform * threshold.chance)]
    )
    noisy = clean[rows] - scale * _log_exponential(exponentials)
    exceed = noisy > threshold.tau
    in_order: Indices = rows[exceed][np.argsort(-noisy[exceed])]
    return in_order


def _chance(scores: Floats, tau: float, scale: float) -> Floats:
    """``1 - exp(-exp((score - tau) / scale))``: of the noisy score to exceed tau."""
    return -np.expm1(-np.exp(np.minimum((scores - tau) / scale, 3)))  # of 3 it is 1 - 2e-9


def _log_exponential(exponentials: Floats) -> Floats:
    return np.log(np.maximum(exponentials, SMALLEST_EXPONENTIAL))
