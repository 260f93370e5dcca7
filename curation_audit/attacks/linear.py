"""Scorers with linear scores: recover what they released, and trace candidates in it."""

import numpy as np

from curation_audit.attacks.base import OtherPairs, known_pool
from curation_audit.observations import Knowledge, Linearisation, Observation
from curation_audit.types import Evidence, Features, Floats, Mask

RELATIVE_RANK = 1e-10
RELATIVE_RIDGE = 1e-6


def shown_vectors(observation: Observation, knowledge: Knowledge) -> Floats:
    """``released_vectors`` of what is observed, computed once for all who ask."""
    pool = known_pool(knowledge)
    return observation.derived(
        "released vectors", (pool,), lambda: released_vectors(pool, observation.scores)
    )


def released_vectors(pool: Features, scores: Features) -> Floats:
    """The weights of every shadow by least squares: pool (m, p), scores (S, m) -> (S, p).

    Exact where scores are linear and the pool spans the space; the shortest solution otherwise.
    """
    design = np.asarray(pool, dtype=np.float64)
    gram = design.T @ design
    inverse = np.linalg.pinv(gram, rcond=RELATIVE_RANK, hermitian=True)
    vectors: Floats = (np.asarray(scores, dtype=np.float64) @ design) @ inverse
    return vectors


def directions_of_masks(pool: Features, mask: Mask | Floats, linearised: Linearisation) -> Floats:
    """The slopes that best explain which rows were picked, or how likely, (S, slopes).

    Linear discriminant analysis: the difference between the picked rows' mean and the pool's,
    whitened by the pool. Its length is unknown and set so that the scores it gives have the
    spread of the reference scorer's.
    """
    design = np.asarray(pool, dtype=np.float64)[:, linearised.slopes]
    design = design - design.mean(axis=0)
    picked = mask.astype(np.float64)
    sizes = np.maximum(picked.sum(axis=1, keepdims=True), 1)
    covariance = design.T @ design / design.shape[0]
    ridge = RELATIVE_RIDGE * np.trace(covariance) / covariance.shape[0]
    inverse = np.linalg.pinv(covariance + ridge * np.eye(covariance.shape[0]), hermitian=True)
    directions = picked @ design / sizes @ inverse
    spread = np.sqrt(np.einsum("sp,pq,sq->s", directions, covariance, directions))[:, None]
    reference = linearised.reference[linearised.slopes]
    target = np.sqrt(reference @ covariance @ reference)
    scaled: Floats = directions * (target / np.where(spread > 0, spread, 1))
    return scaled


def traced(
    vectors: Floats, linearised: Linearisation, observed: Mask, others: OtherPairs
) -> Evidence:
    """Whitened correlation of each shadow's deviation with each candidate's influence, (S, N).

    ``(w_s - mean of the other pairs)' Sigma^-1 a_n`` over the observed coordinates, where a_n is
    the shift that candidate n causes and Sigma the covariance over all coins.
    """
    return whitened(vectors - others.means_of_shadows(vectors), linearised, observed)


def whitened(deviations: Floats, linearised: Linearisation, observed: Mask) -> Evidence:
    """``deviation_s' Sigma^-1 a_n`` over the observed coordinates: (S, p) -> (S, N)."""
    covariance = linearised.covariance[np.ix_(observed, observed)]
    inverse = np.linalg.pinv(covariance, rcond=RELATIVE_RANK, hermitian=True)
    evidence: Evidence = deviations @ inverse @ linearised.influence[:, observed].T
    return evidence
