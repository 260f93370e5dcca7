"""The matched filter on the direction that the picks give away."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from curation_audit import checks
from curation_audit.attacks.base import OtherPairs, known_linearisation
from curation_audit.attacks.half_spaces import half_spaces
from curation_audit.observations import Knowledge, Linearisation, Observation, Stage
from curation_audit.streams import ShadowStreams
from curation_audit.training.halfspaces import Whitening
from curation_audit.types import Evidence, Floats, Inclusion

LEAST_NOISE = 1e-6  # of what the coins move


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskFilter:
    """Likelihood ratio of each candidate's shift of the scorer, the other coins being noise.

    The cut that explains the picks best has the scorer's direction, its length is lost. Given the
    coins it is a known vector times a gain, plus noise of the same size along every whitened
    direction of the pool; gain and noise are learnt from the other pairs. ``steps`` of gradient
    descent recover the direction; more are more exact where the picks obey one cut.
    """

    name: ClassVar[str] = "mask_filter"
    title: ClassVar[str] = "Matched filter on the direction of the picks"
    stage: ClassVar[Stage] = "selection"
    needs: ClassVar[frozenset[str]] = frozenset(
        {"algorithm", "candidates", "linear scorer", "other candidates", "pool"}
    )
    source: ClassVar[str] = "this project; influence after Koh & Liang 2017"
    cost: ClassVar[str] = "70 S m p + S p N + m p^2"

    steps: int = 16

    def __post_init__(self) -> None:
        """Check the number of steps."""
        checks.positive(steps=self.steps)

    def evidence(
        self,
        observation: Observation,
        inclusion: Inclusion,
        knowledge: Knowledge,
        *,
        streams: ShadowStreams,
    ) -> Evidence:
        """Float64 (S, N)."""
        linearised = known_linearisation(knowledge)
        cuts = half_spaces(observation, knowledge, self.steps)
        moves = observation.derived(
            "moves of picks", (cuts, linearised), lambda: Moves.of(linearised, cuts.whitening)
        )
        others = OtherPairs.of(knowledge, inclusion)
        return filtered(of_length_one(cuts.slopes), inclusion, moves, others)


@dataclass(frozen=True, slots=True)
class Moves:
    """How coins move the scorer, in coordinates where that covariance is diagonal.

    ``basis`` (r, r) turns whitened coordinates into those; ``shifts`` (N, r) of each candidate,
    ``variance`` (r,) over all coins and over what a private mechanism adds, ``noise`` its second
    part on average.
    """

    basis: Floats
    shifts: Floats
    variance: Floats
    noise: float

    @classmethod
    def of(cls, linearised: Linearisation, whitening: Whitening) -> "Moves":
        """A slope w on rows is the slope ``root^-1 w`` on whitened rows.

        What is no slope is constant over the pool, and has no part in whitened rows.
        """
        slopes = linearised.slopes
        unwhiten = np.linalg.pinv(whitening.root[slopes])
        shifts = linearised.influence[:, slopes] @ unwhiten.T
        covariance = shifts.T @ shifts / 4
        added = np.zeros_like(covariance)
        if linearised.noise is not None:
            added = unwhiten @ linearised.noise[np.ix_(slopes, slopes)] @ unwhiten.T
        variance, basis = np.linalg.eigh(covariance + added)
        noise = float(np.trace(added)) / max(1, added.shape[0])
        return cls(basis, shifts @ basis, np.maximum(variance, 0), noise)


def of_length_one(slopes: Floats) -> Floats:
    """Slopes of length one, (S, r); of length zero where nothing was learnt."""
    length = np.linalg.norm(slopes, axis=1, keepdims=True)
    unit: Floats = slopes / np.where(length > 0, length, 1)
    return unit


def filtered(found: Floats, inclusion: Inclusion, moves: Moves, others: OtherPairs) -> Evidence:
    """Log likelihood ratios (S, N) from recovered directions (S, r).

    With shift a, gain g and ``Sigma = g^2 (1/4 sum a a') + noise``, all coins fair:
    ``g a' Sigma^-1 (x - mean) / (1 - g^2 a' Sigma^-1 a / 4)`` (Sherman & Morrison).
    """
    if not found.shape[1]:  # a pool without directions
        return np.zeros(inclusion.shape)
    found = found @ moves.basis
    deviations = found - others.means_of_shadows(found)
    expected = (inclusion - 0.5) @ moves.shifts
    gain, noise = gain_and_noise(found, expected, others)
    noise = noise - gain**2 * moves.noise
    floor = LEAST_NOISE * (gain**2 * moves.variance.mean() + np.finfo(np.float64).tiny)
    total = gain[:, None] ** 2 * moves.variance + np.maximum(noise, floor)[:, None]
    weights = gain[:, None] / np.maximum(total, np.finfo(np.float64).tiny)  # (P, r)
    share = gain[:, None] * (weights @ (moves.shifts**2).T) / 4
    ratio: Evidence = (deviations * np.repeat(weights, 2, axis=0)) @ moves.shifts.T
    ratio /= np.repeat(1 - np.minimum(share, 1 - LEAST_NOISE), 2, axis=0)
    return ratio


def gain_and_noise(found: Floats, expected: Floats, others: OtherPairs) -> tuple[Floats, Floats]:
    """Regress what was found on what the coins make expect, over the other pairs: (P,), (P,).

    Half the difference within a pair carries no mean, and half the variance of the noise, which
    is per coordinate.
    """
    x, y = ((values[0::2] - values[1::2]) / 2 for values in (expected, found))
    xx, xy, yy = (others.sums((a * b).sum(axis=1)) for a, b in ((x, x), (x, y), (y, y)))
    gain = np.maximum(xy, 0) / np.where(xx > 0, xx, 1)
    residual = np.maximum(yy - gain * xy, 0)
    return gain, 2 * residual / (others.counts * found.shape[1])
