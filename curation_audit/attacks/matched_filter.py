"""The matched filter: the likelihood ratio of a candidate's shift in the released vector."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from curation_audit.attacks.base import OtherPairs
from curation_audit.attacks.linear_scores import Moves, unexplained
from curation_audit.observations import Knowledge, Observation, Stage
from curation_audit.streams import ShadowStreams
from curation_audit.types import Evidence, Inclusion

LEAST_REST = 1e-9  # of a candidate's shift that its fellows cannot hide


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchedFilter:
    """Likelihood ratio of each candidate's shift, all other coins being Gaussian noise.

    The shifts and the covariance of all others come from the linearised scorer, without any
    shadow; the other pairs give the centre, and the variance that linearisation leaves, without
    which directions that hardly any candidate moves would be trusted too far. For a mean of n of
    2n known standard normal candidates the AUC is ``Phi(sqrt((d / n) / (1 - d / 2n)))`` while
    d < 2n; beyond, every coin can be read.
    """

    name: ClassVar[str] = "matched_filter"
    title: ClassVar[str] = "Matched filter in the recovered scorer"
    stage: ClassVar[Stage] = "scores"
    needs: ClassVar[frozenset[str]] = frozenset(
        {"algorithm", "candidates", "linear scorer", "other candidates", "pool", "score values"}
    )
    source: ClassVar[str] = "this project; influence after Koh & Liang 2017"
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
        shown = Moves.shown(observation, knowledge)
        moves = observation.derived("moves by variance", (shown,), lambda: by_variance(shown))
        return matched(moves, inclusion, OtherPairs.of(knowledge, inclusion))


def by_variance(moves: Moves) -> Moves:
    """Along the axes of what all coins and the noise of a mechanism add up to."""
    covariance = moves.shifts.T @ moves.shifts / 4 + moves.added
    return moves.along(np.linalg.eigh(covariance)[1])


def matched(moves: Moves, inclusion: Inclusion, others: OtherPairs) -> Evidence:
    """``a' Sigma^-1 (x - mean) / (1 - a' Sigma^-1 a / 4)`` for every candidate's shift a.

    ``Sigma = 1/4 sum a a' + noise`` covers all coins, and is diagonal for moves ``by_variance``;
    the denominator takes the candidate's own coin out of it (Sherman & Morrison).
    """
    variance = (moves.shifts**2).sum(axis=0) / 4 + np.diag(moves.added)
    left = unexplained(moves, inclusion, others)[1] - np.diag(moves.added)
    noise = np.maximum(np.repeat(left, 2, axis=0), moves.rounding[:, None])
    weights = 1 / (np.maximum(variance, 0) + noise)  # (S, r)
    deviations = moves.seen - others.means_of_shadows(moves.seen)
    share = weights @ (moves.shifts**2).T / 4
    ratio: Evidence = (deviations * weights) @ moves.shifts.T / np.maximum(1 - share, LEAST_REST)
    return ratio
