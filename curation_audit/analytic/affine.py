"""Scores as an affine function of the coins, in few coordinates, and the filter on them.

``s = s0 + sum_n (b_n - 1/2) a_n + noise``: what candidate n moves is ``a_n``, found without any
shadow. For scorers whose scores are a pool times a vector the matrix of all shifts is never made.
"""

from dataclasses import dataclass, replace

import numpy as np

from curation_audit.attacks.inversion import MOST_LEVERAGE
from curation_audit.attacks.linear_scores import Moves
from curation_audit.observations import RELATIVE_RANK, Knowledge, Linearisation
from curation_audit.pipelines.base import CurationData, Scorer
from curation_audit.types import Evidence, Features, Floats, Inclusion, Indices, Scores

NOT_STRAIGHT = 1e-3
"""Share of the largest variance that first order is taken to leave in every direction."""


@dataclass(frozen=True, slots=True)
class AffineScores:
    """How coins move scores, in r coordinates that are orthonormal among score vectors.

    ``reference`` (r,) belongs to coins of one half, ``shifts`` (N, r) to each candidate, ``added``
    (r, r) is the covariance of what a private mechanism adds, and ``left`` the variance that first
    order is taken to leave along every direction; 0 where it is exact.
    """

    reference: Floats
    shifts: Floats
    added: Floats
    left: float

    @property
    def noise(self) -> Floats:
        """The covariance of all that is not a coin's, (r, r)."""
        return self.added + self.left * np.eye(len(self.added))


@dataclass(frozen=True, slots=True)
class Seen:
    """What S shadows show: their scores' coordinates (S, r), and the variance of what is left.

    ``rounding`` is what no coins explain, along every direction: of rounded scores, or of noise.
    """

    coordinates: Floats
    rounding: float


@dataclass(frozen=True, slots=True)
class Linear:
    """A scorer with linear scores, linearised, and the pool (m, p) as it sees it."""

    linearisation: Linearisation
    pool: Features

    @classmethod
    def of(cls, scorer: Scorer, data: CurationData) -> "Linear | None":
        """That of a curation; ``None`` where scores are not linear. No coin is used."""
        pool = data.pool
        found = scorer.linearise(data.private, pool)
        if found is None:
            return None
        return cls(found, found.read(scorer.embed(pool.features, pool.labels)))

    def affine(self) -> AffineScores:
        """How coins move scores."""
        return _affine(self._moves(np.zeros((0, len(self.pool)))), self.linearisation.exact)

    def seen(self, scores: Scores) -> Seen:
        """What scores (S, m) show."""
        moves = self._moves(scores)
        return Seen(moves.seen, float(np.median(moves.rounding)))

    def scores(self, inclusion: Inclusion) -> Scores:
        """What first order says that shadows score, (S, N) -> (S, m): analytic shadows."""
        linear = self.linearisation
        weights = linear.reference + (inclusion - 0.5) @ linear.influence
        scores: Scores = weights.astype(self.pool.dtype) @ self.pool.T
        return scores

    def _moves(self, scores: Scores) -> Moves:
        return Moves.of(scores, Knowledge(pool=self.pool, linearisation=self.linearisation))


def _affine(moves: Moves, exact: bool) -> AffineScores:
    largest = float((moves.shifts**2).sum(axis=0).max(initial=0)) / 4
    left = 0.0 if exact else NOT_STRAIGHT * largest
    return AffineScores(moves.reference, moves.shifts, moves.added, left)


@dataclass(frozen=True, slots=True)
class Kernel:
    """Scores that are a mean over private rows of some similarity to them: linear whatever it is.

    ``similarity`` (N, m): of every candidate to every row of the pool. Coins show in up to N
    directions, not in as many as rows have features.
    """

    similarity: Floats

    def affine(self) -> AffineScores:
        """How coins move scores; exact but for the number of rows that are in."""
        basis, reference = self._basis(), self.similarity.mean(axis=0)
        shifts = (self.similarity - reference) * (2 / len(self.similarity))
        nothing = np.zeros((len(basis), len(basis)))
        return AffineScores(basis @ reference, shifts @ basis.T, nothing, 0.0)

    def seen(self, scores: Scores) -> Seen:
        """What scores (S, m) show."""
        exact, basis = np.asarray(scores, dtype=np.float64), self._basis()
        found = exact @ basis.T
        left = ((exact - found @ basis) ** 2).sum() / max(1, exact.size - found.size)
        return Seen(found, float(left))

    def scores(self, inclusion: Inclusion) -> Scores:
        """The mean over who is in, (S, N) -> (S, m)."""
        weights = inclusion / np.maximum(inclusion.sum(axis=1, keepdims=True), 1)
        scores: Scores = weights @ self.similarity
        return scores

    def _basis(self) -> Floats:
        """Orthonormal rows that span the similarities, (r, m)."""
        _, size, axes = np.linalg.svd(self.similarity, full_matrices=False)
        spanned: Floats = axes[size > RELATIVE_RANK * size.max(initial=0)]
        return spanned


def likelihood_ratios(affine: AffineScores, seen: Seen) -> Evidence:
    """The matched filter: log-likelihood ratios (S, N) of coordinates (S, r), without a shadow.

    ``a' Sigma^-1 (x - x0) / (1 - h)`` with ``Sigma = 1/4 sum a a' + noise`` and
    ``h = a' Sigma^-1 a / 4``: all other coins count as Gaussian noise.

    Args:
        affine: how coins move what is seen.
        seen: what the shadows show.
    """
    shifts = affine.shifts
    covariance = shifts.T @ shifts / 4 + affine.noise + seen.rounding * np.eye(shifts.shape[1])
    inverse = np.linalg.pinv(covariance, rcond=RELATIVE_RANK, hermitian=True)
    whitened = shifts @ inverse
    leverage = np.minimum((whitened * shifts).sum(axis=1) / 4, MOST_LEVERAGE)
    ratio: Evidence = (seen.coordinates - affine.reference) @ whitened.T / (1 - leverage)
    return ratio


def linearity(exact: Scores, linear: Scores) -> Floats:
    """Per shadow, how much of what its scores did is what first order says: (S, m) twice -> (S,).

    The correlation over the pool of both deviations from the mean of the shadows: one for scores
    that are linear in the coins.
    """
    both = [scores.astype(np.float64) - scores.mean(axis=0) for scores in (exact, linear)]
    one, other = (moved - moved.mean(axis=1, keepdims=True) for moved in both)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    found: Floats = (one * other).sum(axis=1) / np.where(lengths > 0, lengths, 1)
    return found


def fewer_candidates(data: CurationData, kept: Indices) -> CurationData:
    """The data with the candidates ``kept``, int64 (n,) ascending, and what is always in."""
    return replace(data, private=data.private.only(kept))
