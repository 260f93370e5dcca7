"""Scorers with linear scores: recover what they released, and trace candidates in it."""

from dataclasses import dataclass

import numpy as np

from curation_audit.attacks.base import OtherPairs, known_pool
from curation_audit.observations import RELATIVE_RANK, Knowledge, Linearisation, Observation
from curation_audit.types import Evidence, Features, Floats, Mask

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


@dataclass(frozen=True, slots=True)
class Discriminant:
    """Linear discriminant analysis of what a ranking of the pool shows of a linear scorer.

    ``slopes`` bool (p,) are the coordinates that it shows; ``mean`` (q,) and ``covariance`` (q, q)
    are the pool's in these, ``inverse`` that of the covariance with a ridge, and ``length`` the
    spread of the reference scorer's scores.
    """

    slopes: Mask
    mean: Floats
    covariance: Floats
    inverse: Floats
    length: float

    @classmethod
    def of(cls, pool: Features, linearised: Linearisation) -> "Discriminant":
        """That of pool rows (m, p)."""
        slopes = linearised.slopes
        design = np.asarray(pool, dtype=np.float64)[:, slopes]
        mean = design.mean(axis=0)
        design = design - mean
        covariance = design.T @ design / design.shape[0]
        ridge = RELATIVE_RIDGE * np.trace(covariance) / covariance.shape[0]
        inverse = np.linalg.pinv(covariance + ridge * np.eye(covariance.shape[0]), hermitian=True)
        reference = linearised.reference[slopes]
        length = float(np.sqrt(reference @ covariance @ reference))
        return cls(slopes, mean, covariance, inverse, length)

    def directions(self, pool: Features, mask: Mask | Floats) -> Floats:
        """The slopes that best explain which rows were picked, or how likely, (S, m) -> (S, q).

        The difference between the picked rows' mean and the pool's, whitened by the pool. Its
        length is unknown and set so that its scores have the spread of the reference scorer's.
        """
        picked = mask.astype(np.float64)
        sizes = picked.sum(axis=1, keepdims=True)
        sums = (picked @ np.asarray(pool, dtype=np.float64))[:, self.slopes] - sizes * self.mean
        directions = sums / np.maximum(sizes, 1) @ self.inverse
        spread = np.sqrt(np.einsum("sp,pq,sq->s", directions, self.covariance, directions))[:, None]
        scaled: Floats = directions * (self.length / np.where(spread > 0, spread, 1))
        return scaled


def traced(vectors: Floats, whitening: Floats, others: OtherPairs) -> Evidence:
    """Whitened correlation of each shadow's deviation with each candidate's influence, (S, N).

    ``(w_s - mean of the other pairs)' Sigma^-1 a_n``, with a_n the shift that candidate n causes
    and Sigma the covariance over all coins: ``whitening`` of the ``Linearisation``, (p, N).
    """
    evidence: Evidence = (vectors - others.means_of_shadows(vectors)) @ whitening
    return evidence
