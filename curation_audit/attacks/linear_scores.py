"""What linear scores show of the released vector, in coordinates where score noise is white.

Scores are ``pool @ w``. In an orthonormal basis of the pool's columns, noise that is independent
from pool row to pool row (rounding, say) has the same size along every coordinate, and least
squares over all scores is plain least squares over coordinates.
"""

from dataclasses import dataclass

import numpy as np

from curation_audit.attacks.base import OtherPairs, known_linearisation, known_pool
from curation_audit.observations import RELATIVE_RANK, Knowledge, Observation
from curation_audit.types import Features, Floats, Inclusion, Scores

POOL_ROWS_PER_BLOCK = 8192


@dataclass(frozen=True, slots=True)
class Moves:
    """How the coins move linear scores, in r orthonormal coordinates.

    ``seen`` (S, r) is what every shadow shows, ``rounding`` float64 (S,) the variance of noise
    along each coordinate, from what no linear scorer explains in the shadow's own scores.
    ``reference`` (r,) belongs to coins of one half, ``shifts`` (N, r) to each candidate, and
    ``added`` (r, r) is the covariance of what a private mechanism adds.
    """

    seen: Floats
    rounding: Floats
    reference: Floats
    shifts: Floats
    added: Floats

    @classmethod
    def shown(cls, observation: Observation, knowledge: Knowledge) -> "Moves":
        """Those of what is observed, computed once for all who ask; no coin is used."""
        return observation.derived(
            "linear scores",
            (known_pool(knowledge), known_linearisation(knowledge)),
            lambda: cls.of(observation.scores, knowledge),
        )

    @classmethod
    def of(cls, scores: Scores, knowledge: Knowledge) -> "Moves":
        """For scores (S, m) of a scorer whose linearisation is known."""
        linearised = known_linearisation(knowledge)
        pool = known_pool(knowledge)
        root, inverse = roots(pool)
        seen, rounding = _coordinates(pool, scores, inverse)
        noise = linearised.noise
        return cls(
            seen=seen,
            rounding=rounding,
            reference=linearised.reference @ root,
            shifts=linearised.influence @ root,
            added=np.zeros((root.shape[1],) * 2) if noise is None else root.T @ noise @ root,
        )

    def along(self, basis: Floats) -> "Moves":
        """The same in other orthonormal coordinates, basis (r, r)."""
        return Moves(
            self.seen @ basis,
            self.rounding,
            self.reference @ basis,
            self.shifts @ basis,
            basis.T @ self.added @ basis,
        )


def roots(pool: Features) -> tuple[Floats, Floats]:
    """For a pool (m, p): ``w @ root`` are a vector's coordinates, ``pool @ inverse`` the basis.

    Both are (p, r).
    """
    gram = np.zeros((pool.shape[1],) * 2)
    for start in range(0, pool.shape[0], POOL_ROWS_PER_BLOCK):
        block = pool[start : start + POOL_ROWS_PER_BLOCK].astype(np.float64)
        gram += block.T @ block
    size, axes = np.linalg.eigh(gram)
    there = size > RELATIVE_RANK * size.max(initial=0)
    length = np.sqrt(size[there])
    return axes[:, there] * length, axes[:, there] / length


def _coordinates(pool: Features, scores: Scores, inverse: Floats) -> tuple[Floats, Floats]:
    """Coordinates (S, r) of every shadow's scores, and the variance of what is left, (S,)."""
    blocks = [
        slice(start, start + POOL_ROWS_PER_BLOCK)
        for start in range(0, pool.shape[0], POOL_ROWS_PER_BLOCK)
    ]
    seen = np.zeros((scores.shape[0], inverse.shape[1]))
    for block in blocks:
        seen += scores[:, block].astype(np.float64) @ (pool[block] @ inverse)
    left = np.zeros(scores.shape[0])
    for block in blocks:
        left += ((scores[:, block] - seen @ (pool[block] @ inverse).T) ** 2).sum(axis=1)
    spare = pool.shape[0] - inverse.shape[1]
    step = np.finfo(scores.dtype).eps * np.abs(scores).max(axis=1, initial=0).astype(np.float64)
    return seen, np.maximum(left / max(1, spare), step**2 + np.finfo(np.float64).tiny)


def unexplained(moves: Moves, inclusion: Inclusion, others: OtherPairs) -> tuple[Floats, Floats]:
    """What the coins do not explain, (S, r), and its variance in the other pairs, (P, r).

    Deviations are from the mean of the other pairs' shadows, where coins cancel, so that a
    scorer that is not quite linear is no worse for its reference.
    """
    left = moves.seen - (inclusion - 0.5) @ moves.shifts
    left = left - left[others.known_shadows].mean(axis=0)  # so that squares do not cancel
    center = others.means_of_shadows(left)
    paired = (left**2).reshape(len(left) // 2, 2, left.shape[1])
    squares = others.means(paired.mean(axis=1))
    n_others = 2 * others.counts[:, None]
    variance = (squares - center[0::2] ** 2) * n_others / (n_others - 1)
    return left - center, np.maximum(variance, 0)
