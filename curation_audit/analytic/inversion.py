"""From what a stage shows back to the scores: a regression on analytic shadows.

Coins are tossed, scores follow by first order, and the *real* selection (and training) runs on
them. What is regressed on the stage's output are the few coordinates of the scores, not the many
coins: a few thousand analytic shadows are enough where as many real ones would not be.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from curation_audit import checks
from curation_audit.analytic.affine import MOST_LEVERAGE, RELATIVE_RANK, AffineScores
from curation_audit.types import Evidence, Floats, Inclusion, Scores

RIDGES = (1e-6, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
BLOCK = 256


@dataclass(frozen=True, slots=True)
class Inversion:
    """A ridge regression from a stage's outputs (S, q) to coordinates of the scores (S, r).

    ``r2``: the share of their variance that it explains in analytic shadows it has not seen.
    """

    center: Floats  # (q,)
    offset: Floats  # (r,)
    slopes: Floats  # (q, r)
    covariance: Floats  # (r, r) of the guesses
    affine: AffineScores
    ridge: float
    r2: float

    def guess(self, outputs: Floats) -> Floats:
        """Deviations of coordinates from the reference, (S, r)."""
        deviations = np.asarray(outputs, dtype=np.float64) - self.center
        found: Floats = deviations @ self.slopes + self.offset
        return found

    def likelihood_ratios(self, outputs: Floats) -> Evidence:
        """Of the coins, (S, N).

        A guess u is the mean of the coordinates given the output, so that candidate n moves its
        mean by ``C Sigma^-1 a_n`` with C its own covariance; the filter is then
        ``a_n' Sigma^-1 u``, over one less the candidate's own part.
        """
        shifts = self.affine.shifts
        sigma = shifts.T @ shifts / 4 + self.affine.added
        whitened = shifts @ np.linalg.pinv(sigma, rcond=RELATIVE_RANK, hermitian=True)
        leverage = ((whitened @ self.covariance) * whitened).sum(axis=1) / 4
        ratio: Evidence = self.guess(outputs) @ whitened.T
        ratio /= 1 - np.minimum(leverage, MOST_LEVERAGE)
        return ratio


def invert_stage(
    affine: AffineScores,
    scores: Callable[[Inclusion], Scores],
    stage: Callable[[Scores], Floats],
    n_shadows: int,
    rng: np.random.Generator,
) -> Inversion:
    """Learn to read the scores' coordinates off a stage's outputs.

    Args:
        affine: how coins move the scores.
        scores: the analytic scores of coins, (S, N) -> (S, m).
        stage: the real code: scores (S, m) -> outputs (S, q), as many of them for any scores.
        n_shadows: analytic shadows to learn from, by half for training and for the ridge.
        rng: for the coins.

    Raises:
        ValueError: with fewer than four shadows.
    """
    checks.positive(n_shadows=n_shadows)
    if n_shadows < 4:
        raise ValueError(f"n_shadows must be at least 4, got {n_shadows}.")
    inclusion = rng.random((n_shadows, len(affine.shifts))) < 0.5
    outputs = np.concatenate(
        [stage(scores(inclusion[at : at + BLOCK])) for at in range(0, n_shadows, BLOCK)]
    ).astype(np.float64)
    moved = (inclusion - 0.5) @ affine.shifts
    center, offset = outputs.mean(axis=0), moved.mean(axis=0)
    # what comes back is taken apart from the offset, which coins have by chance
    outputs, moved = outputs - center, moved - offset
    ridge = _best_ridge(outputs, moved)
    half = n_shadows // 2
    trained = _ridge_slopes(outputs[:half], moved[:half], (ridge,))[0]
    fresh = outputs[half:] @ trained
    error = ((fresh - moved[half:]) ** 2).sum()
    return Inversion(
        center=center,
        offset=offset,
        slopes=_ridge_slopes(outputs, moved, (ridge,))[0],
        covariance=fresh.T @ fresh / len(fresh),
        affine=affine,
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
