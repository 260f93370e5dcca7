"""Analytic shadows: scorers that are drawn, not trained, and what the real code makes of them.

Over fair coins the linearised scorer's vector is Gaussian with ``covariance`` about the reference.
Draws of it are scored and selected (and trained) on by the real code, and a regression reads the
vector off what comes out. No shadow is needed; shadows only give the centre.
"""

from collections.abc import Callable
from typing import Final

import numpy as np

from curation_audit.attacks.base import OtherPairs, known_linearisation, known_pool
from curation_audit.attacks.inversion import FEWEST_SHADOWS, Inversion, inverted
from curation_audit.attacks.linear_scores import roots
from curation_audit.observations import Knowledge
from curation_audit.types import Evidence, Floats, Indices, Mask, Scores

BLOCK: Final = 256
MOST_OUTPUTS: Final = 4096
LEAST_SPREAD: Final = 1e-3
"""Outputs that vary less than that, relative to the one that varies most, are not regressed on."""


def check_enough(shadows: int) -> None:
    """Raise ``ValueError`` for fewer analytic shadows than a regression needs."""
    if shadows < FEWEST_SHADOWS:
        raise ValueError(f"shadows must be at least {FEWEST_SHADOWS}, got {shadows}.")


def read_back(guess: Floats, inversion: Inversion, others: OtherPairs) -> Evidence:
    """Evidence (S, N) of guessed coordinates (S, r), about the mean of the other pairs' guesses.

    There coins cancel, so that what first order leaves of the centre does no harm.
    """
    return inversion.likelihood_ratios(guess - others.means_of_shadows(guess))


def drawn_inversion(
    knowledge: Knowledge,
    stage: Callable[[Scores, range], Floats | Mask],
    n_shadows: int,
    rng: np.random.Generator,
) -> tuple[Inversion, Indices]:
    """The regression, and which outputs (q,) of the stage it wants.

    Args:
        knowledge: with a linearised scorer and the pool.
        stage: the real code, scores (n, m) and the numbers of n trials -> outputs (n, q). What
            it draws has to be another for each number.
        n_shadows: how many vectors are drawn.
        rng: for them.
    """
    linearised, pool = known_linearisation(knowledge), known_pool(knowledge)
    root = roots(pool)[0]
    covariance = linearised.influence.T @ linearised.influence / 4
    if linearised.noise is not None:
        covariance = covariance + linearised.noise
    size, axes = np.linalg.eigh(covariance)
    # the symmetric root, which no order of candidates and no sign of an axis changes
    spread = (axes * np.sqrt(np.maximum(size, 0))) @ axes.T
    moved = rng.standard_normal((n_shadows, len(spread))) @ spread
    weights = (linearised.reference + moved).astype(pool.dtype)
    blocks = [range(n_shadows)[at : at + BLOCK] for at in range(0, n_shadows, BLOCK)]
    outputs = np.concatenate([stage(weights[one] @ pool.T, one) for one in blocks])
    wanted = telling(outputs)
    noise = np.zeros((root.shape[1],) * 2)
    if linearised.noise is not None:
        noise = root.T @ linearised.noise @ root
    found = inverted(linearised.influence @ root, noise, moved @ root, outputs[:, wanted])
    return found, wanted


def telling(outputs: Floats | Mask) -> Indices:
    """The outputs that vary, at most ``MOST_OUTPUTS`` of them, ascending."""
    spread = outputs.std(axis=0)
    varying = np.flatnonzero((spread > LEAST_SPREAD * spread.max(initial=0)) & (spread > 0))
    if len(varying) <= MOST_OUTPUTS:
        return varying
    most = np.argsort(-spread[varying], kind="stable")[:MOST_OUTPUTS]
    return np.sort(varying[most])
