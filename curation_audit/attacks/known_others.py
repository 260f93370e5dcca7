"""The adversary of differential privacy: he knows every coin but the one he asks about."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from curation_audit.attacks.base import OtherPairs
from curation_audit.attacks.linear_scores import Moves, unexplained
from curation_audit.observations import Knowledge, Observation, Stage
from curation_audit.streams import ShadowStreams
from curation_audit.types import Evidence, Inclusion


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownOthers:
    """Likelihood ratio of each candidate's shift after all other candidates' are taken off.

    What is left is what a private mechanism adds, or what linearisation leaves in the other
    pairs where that is more. For Gaussian noise of covariance V on a linear scorer the evidence
    of a candidate with shift a separates at ``mu = sqrt(a' V^-1 a)``, the most that Gaussian
    differential privacy with this mu allows: AUC ``Phi(mu / sqrt(2))``.

    It reads the other coins of the row that it attacks (``memberships``), so neither one-run
    bounds nor tests with fresh coins hold for it; nothing depends on the candidate's own coin.
    """

    name: ClassVar[str] = "known_others"
    title: ClassVar[str] = "Matched filter, all other candidates known"
    stage: ClassVar[Stage] = "scores"
    needs: ClassVar[frozenset[str]] = frozenset(
        {
            "algorithm",
            "candidates",
            "linear scorer",
            "memberships",
            "other candidates",
            "pool",
            "score values",
        }
    )
    source: ClassVar[str] = (
        "this project; adversary after Dwork & Roth 2014 and Dong, Roth & Su 2022"
    )
    cost: ClassVar[str] = "S m p + S p N + m p^2"

    def evidence(
        self,
        observation: Observation,
        inclusion: Inclusion,
        knowledge: Knowledge,
        *,
        streams: ShadowStreams,
    ) -> Evidence:
        """Float64 (S, N)."""
        moves = Moves.shown(observation, knowledge)
        return of_known_others(moves, inclusion, OtherPairs.of(knowledge, inclusion))


def of_known_others(moves: Moves, inclusion: Inclusion, others: OtherPairs) -> Evidence:
    """``a' V^-1 (x - mean - what the other coins explain)`` for every candidate's shift a.

    What all coins leave, plus the candidate's own part: its coin cancels.
    """
    covariance = moves.added if moves.added.any() else moves.shifts.T @ moves.shifts / 4
    moves = moves.along(np.linalg.eigh(covariance)[1])
    left, variance = unexplained(moves, inclusion, others)
    noise = np.maximum(variance, np.diag(moves.added))
    weights = 1 / np.maximum(np.repeat(noise, 2, axis=0), moves.rounding[:, None])  # (S, r)
    own = (inclusion - 0.5) * (weights @ (moves.shifts**2).T)
    ratio: Evidence = (left * weights) @ moves.shifts.T + own
    return ratio
