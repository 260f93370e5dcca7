"""From what a stage shows back to the scores: a regression on analytic shadows.

What is regressed on a stage's outputs are the few coordinates of the scores, not the many coins:
a few thousand analytic shadows are enough where as many real ones would not be.
"""

from dataclasses import dataclass

import numpy as np

from curation_audit.observations import RELATIVE_RANK
from curation_audit.types import Evidence, Floats, Mask

RIDGES = (1e-6, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
FEWEST_SHADOWS = 4
MOST_LEVERAGE = 1 - 1e-9


@dataclass(frozen=True, slots=True)
class Inversion:
    """A ridge regression from a stage's outputs (S, q) to coordinates of the scores (S, r).

    ``shifts`` (N, r) is what candidates do to the coordinates, ``added`` (r, r) the covariance of
    a private mechanism's noise in them. ``r2``: the share of the coordinates' variance that the
    regression explains in analytic shadows that it has not seen.
    """

    center: Floats  # (q,)
    offset: Floats  # (r,)
    slopes: Floats  # (q, r)
    covariance: Floats  # (r, r) of the guesses
    shifts: Floats
    added: Floats
    ridge: float
    r2: float

    def guess(self, outputs: Floats | Mask) -> Floats:
        """Deviations of coordinates from the reference, (S, r)."""
        deviations = np.asarray(outputs, dtype=np.float64) - self.center
        found: Floats = deviations @ self.slopes + self.offset
        return found

    def likelihood_ratios(self, guess: Floats) -> Evidence:
        """Of the coins, (S, N), by guessed deviations of coordinates (S, r).

        A guess u is the mean of the coordinates given the output, so that candidate n moves its
        mean by ``C Sigma^-1 a_n`` with C its own covariance; the filter is then
        ``a_n' Sigma^-1 u``, over one less the candidate's own part.
        """
        sigma = self.shifts.T @ self.shifts / 4 + self.added
        whitened = self.shifts @ np.linalg.pinv(sigma, rcond=RELATIVE_RANK, hermitian=True)
        leverage = ((whitened @ self.covariance) * whitened).sum(axis=1) / 4
        ratio: Evidence = guess @ whitened.T / (1 - np.minimum(leverage, MOST_LEVERAGE))
        return ratio


def inverted(shifts: Floats, added: Floats, moved: Floats, outputs: Floats | Mask) -> Inversion:
    """Learn to read coordinates off a stage's outputs.

    Args:
        shifts: of every candidate, (N, r).
        added: covariance of a private mechanism's noise, (r, r).
        moved: coordinates of analytic shadows beside the reference's, (n, r).
        outputs: what the stage gives for them, (n, q).

    Raises:
        ValueError: with fewer than four shadows.
    """
    half = len(moved) // 2
    if len(moved) < FEWEST_SHADOWS:
        raise ValueError(f"{FEWEST_SHADOWS} analytic shadows are needed, got {len(moved)}.")
    shown = np.asarray(outputs, dtype=np.float64)
    center, offset = shown.mean(axis=0), moved.mean(axis=0)
    # what comes back is taken apart from the offset, which coins have by chance
    shown, moved = shown - center, moved - offset
    ridge = _best_ridge(shown, moved)
    trained = _ridge_slopes(shown[:half], moved[:half], (ridge,))[0]
    fresh = shown[half:] @ trained
    error = ((fresh - moved[half:]) ** 2).sum()
    return Inversion(
        center=center,
        offset=offset,
        slopes=_ridge_slopes(shown, moved, (ridge,))[0],
        covariance=fresh.T @ fresh / len(fresh),
        shifts=shifts,
        added=added,
        ridge=ridge,
        r2=1 - float(error / max((moved[half:] ** 2).sum(), np.finfo(np.float64).tiny)),
    )


def _best_ridge(outputs: Floats, moved: Floats) -> float:
    """That with the least error on the half that it was not fitted on."""
    half = len(outputs) // 2
    fits = _ridge_slopes(outputs[:half], moved[:half], RIDGES)
    errors = [((outputs[half:] @ slopes - moved[half:]) ** 2).sum() for slopes in fits]
    return RIDGES[int(np.argmin(errors))]


def _ridge_slopes(outputs: Floats, moved: Floats, ridges: tuple[float, ...]) -> list[Floats]:
    """(n, q), (n, r) -> (q, r) for each ridge, in shares of the outputs' mean variance per row."""
    n, q = outputs.shape
    if q <= n:
        values, axes = np.linalg.eigh(outputs.T @ outputs)
        right = axes.T @ (outputs.T @ moved)
        scale = values.sum() / max(1, q)
        return [axes @ (right / (np.maximum(values, 0) + one * scale)[:, None]) for one in ridges]
    values, axes = np.linalg.eigh(outputs @ outputs.T)
    right, back = axes.T @ moved, outputs.T @ axes
    scale = values.sum() / max(1, n)
    return [back @ (right / (np.maximum(values, 0) + one * scale)[:, None]) for one in ridges]
