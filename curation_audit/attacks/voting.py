"""Voting: the published attack on scores of the nearest private row."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from curation_audit.attacks.base import known_candidates
from curation_audit.attacks.places import Neighbours, Places, neighbours
from curation_audit.observations import Knowledge, Observation, Stage
from curation_audit.streams import ShadowStreams
from curation_audit.types import Evidence, Inclusion, Scores


@dataclass(frozen=True, slots=True, kw_only=True)
class Voting:
    """A plain count of votes: pool rows name who is in, and who cannot be.

    A score is the largest similarity to a member. Whoever is exactly as similar gets a positive
    vote, whoever is more similar a negative one. Evidence is the number of positive votes where
    there is no negative one, else minus the number of those.

    A row votes on the 32 candidates that are nearest to it: with fair coins, none of them is in
    once in 2^32. Equal means up to the rounding of single precision, or up to half a step where
    the shadow's scores are rounded to decimals. Nothing is learnt from shadows.
    """

    name: ClassVar[str] = "voting"
    title: ClassVar[str] = "Voting by equal similarity"
    stage: ClassVar[Stage] = "scores"
    needs: ClassVar[frozenset[str]] = frozenset(
        {
            "algorithm",
            "candidates",
            "nearest scorer",
            "other candidates",
            "pool",
            "score values of picked rows",
        }
    )
    source: ClassVar[str] = "Wahdany et al. 2026, arXiv:2603.00811"
    cost: ClassVar[str] = "m N (p + log N) + about 32 S m"

    def evidence(
        self,
        observation: Observation,
        inclusion: Inclusion,
        knowledge: Knowledge,
        *,
        streams: ShadowStreams,
    ) -> Evidence:
        """Float64 (S, N); the inclusion is not looked at."""
        nearest = neighbours(observation, knowledge)
        n_candidates = known_candidates(knowledge).n_candidates
        return observation.derived(
            "votes", (nearest,), lambda: counted_votes(observation.scores, nearest, n_candidates)
        )


def counted_votes(scores: Scores, nearest: Neighbours, n_candidates: int) -> Evidence:
    """Signed counts (S, N) from scores (S, m)."""
    places = Places.of(scores, nearest)
    against = places.against(nearest, n_candidates)
    return np.where(against > 0, -against, places.equal(nearest, n_candidates))
