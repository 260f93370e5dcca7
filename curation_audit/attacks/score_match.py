"""Score match: who explains each score exactly, as log odds."""

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from curation_audit.attacks.base import known_candidates
from curation_audit.attacks.places import Neighbours, Places, neighbours, scores_of_nobody
from curation_audit.observations import Knowledge, Observation, Stage
from curation_audit.streams import ShadowStreams
from curation_audit.types import Evidence, Floats, Inclusion, Indices, Mask, Scores

FALSE_VOTES: Final = 1e-6
CERTAIN: Final = -float(np.log(FALSE_VOTES))


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreMatch:
    """Log odds from votes: pool rows name who may be in, and who cannot be.

    A score is the largest similarity to a member. So whoever is more similar is out, and
    somebody exactly as similar is in: surely where that is one candidate, else one of g, who
    each get ``-log(1 - 2^(1 - g))``, the log ratio for "one of g is in" with fair coins.
    Candidates whom any row rules out do not count among the g, and no vote is given where rows
    that are always in explain the score. Sure votes count as independent, each wrong once in a
    million; of a candidate's shared votes the strongest counts.

    A row votes on the 32 candidates that are nearest to it: with fair coins, none of them is in
    once in 2^32. Equal means up to the rounding of single precision, or up to half a step where
    the shadow's scores are rounded to decimals. Nothing is learnt from shadows.
    """

    name: ClassVar[str] = "score_match"
    title: ClassVar[str] = "Who explains the scores exactly"
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
    source: ClassVar[str] = "this project; votes after Wahdany et al. 2026, arXiv:2603.00811"
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
        alone = scores_of_nobody(observation, knowledge)
        nearest = neighbours(observation, knowledge)
        n_candidates = known_candidates(knowledge).n_candidates
        return observation.derived(
            "score match",
            (nearest, alone),
            lambda: matched_scores(observation.scores, nearest, alone, n_candidates),
        )


def matched_scores(
    scores: Scores, nearest: Neighbours, alone: Scores, n_candidates: int
) -> Evidence:
    """Log odds (S, N) from scores (S, m); ``alone`` (m,) is what rows score without candidates."""
    places = Places.of(scores, nearest)
    explained = alone >= scores - places.slack
    if not nearest.complete:  # somebody further down may be as similar
        explained |= places.upto == nearest.similarity.shape[1]
    against = places.against(nearest, n_candidates)
    return in_favour(places, explained, nearest, against) - CERTAIN * against


def in_favour(places: Places, explained: Mask, nearest: Neighbours, against: Floats) -> Floats:
    """The votes for each candidate, weighed by how many others could explain the score.

    Only candidates whom no row rules out share a vote; who stands alone always has it. Of
    shared votes the strongest counts, as rows near each other say the same.
    """
    n_candidates = against.shape[1]
    size = places.upto - places.above
    size[explained] = 0
    shadow, row = np.nonzero(size == 1)
    at = shadow * n_candidates + nearest.candidate[row, places.above[shadow, row]]
    votes = CERTAIN * np.bincount(at, minlength=against.size)
    shadow, row = np.nonzero(size > 1)
    first = places.above[shadow, row].astype(np.int64)
    beyond = places.upto[shadow, row].astype(np.int64)
    sharing = []
    n_sharing = np.zeros(len(shadow), dtype=np.int64)
    for step in range(int(size.max(initial=0)) if len(shadow) else 0):
        group = np.flatnonzero(first + step < beyond)
        at = nearest.candidate[row[group], first[group] + step] + shadow[group] * n_candidates
        possible = against.ravel()[at] == 0
        sharing.append((group[possible], at[possible]))
        n_sharing[group[possible]] += 1
    shared = np.zeros(against.size)
    for group, at in sharing:
        np.maximum.at(shared, at, vote_for(n_sharing[group]))
    favour: Floats = (votes + shared).reshape(against.shape)
    return favour


def vote_for(n_possible: Indices) -> Floats:
    """``-log P(one of g is in | a given one of them is out)``, at least a false vote."""
    none_of_others = 0.5 ** (n_possible - 1.0)
    votes: Floats = -np.log1p(-none_of_others * (1 - FALSE_VOTES))
    return votes
