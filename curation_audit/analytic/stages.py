"""From what a stage shows back to the scores, for coins that are tossed here.

Scores follow by first order, and the *real* selection (and training) runs on them.
"""

from collections.abc import Callable

import numpy as np

from curation_audit.analytic.affine import AffineScores
from curation_audit.attacks.inversion import Inversion, inverted
from curation_audit.types import Floats, Inclusion, Scores

BLOCK = 256


def invert_stage(
    affine: AffineScores,
    scores: Callable[[Inclusion], Scores],
    stage: Callable[[Scores, range], Floats],
    n_shadows: int,
    rng: np.random.Generator,
) -> Inversion:
    """Learn to read the scores' coordinates off a stage's outputs.

    Args:
        affine: how coins move the scores.
        scores: the analytic scores of coins, (S, N) -> (S, m).
        stage: the real code: scores (S, m) and the numbers of S trials -> outputs (S, q), as
            many of them for any scores. What it draws has to be another for each number.
        n_shadows: analytic shadows to learn from, by half for training and for the ridge.
        rng: for the coins.

    Raises:
        ValueError: with fewer than four shadows.
    """
    inclusion = rng.random((n_shadows, len(affine.shifts))) < 0.5
    blocks = [range(n_shadows)[at : at + BLOCK] for at in range(0, n_shadows, BLOCK)]
    outputs = [stage(scores(inclusion[block]), block) for block in blocks]
    moved = (inclusion - 0.5) @ affine.shifts
    return inverted(affine.shifts, affine.added, moved, np.concatenate(outputs))
