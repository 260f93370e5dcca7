"""Least squares for all coins at once: the published attack on scores that are linear in them."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from curation_audit.attacks.linear_scores import Moves
from curation_audit.observations import Knowledge, Observation, Stage
from curation_audit.streams import ShadowStreams
from curation_audit.types import Evidence, Inclusion

RELATIVE_CUT = 1e-6  # single precision shows no smaller singular values


@dataclass(frozen=True, slots=True, kw_only=True)
class LeastSquares:
    """The coins that explain the scores best, ``argmin_c |A c - (s - s_0)|``, shortest if many.

    Column n of A is what candidate n adds to the scores and s_0 belongs to coins of one half.
    All of it happens in the coordinates of the pool's span, where it is the same problem. With
    no more candidates than independent directions (N <= p) the coins come out exactly where
    scores are linear in them. With more, the shortest solution ``a' (sum a a')^-1 (w - w_0)`` is
    the matched filter without its noise and scale: as good on exact scores of a mean, worse
    where linearisation is rough. The publication has no s_0. It learns nothing from shadows.
    """

    name: ClassVar[str] = "least_squares"
    title: ClassVar[str] = "Least squares for all coins at once"
    stage: ClassVar[Stage] = "scores"
    needs: ClassVar[frozenset[str]] = frozenset(
        {"algorithm", "candidates", "linear scorer", "other candidates", "pool", "score values"}
    )
    source: ClassVar[str] = "Wahdany et al. 2026, arXiv:2603.00811"
    cost: ClassVar[str] = "S m p + S p N + p^2 (m + N)"

    def evidence(
        self,
        observation: Observation,
        inclusion: Inclusion,
        knowledge: Knowledge,
        *,
        streams: ShadowStreams,
    ) -> Evidence:
        """Float64 (S, N); the inclusion is not looked at."""
        moves = Moves.shown(observation, knowledge)
        solution: Evidence = (moves.seen - moves.reference) @ np.linalg.pinv(
            moves.shifts, rcond=RELATIVE_CUT
        )
        return solution
