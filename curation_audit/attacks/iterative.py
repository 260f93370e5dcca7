"""Reconstruction of the private set from the picks, in rounds: the published attack."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from curation_audit import checks
from curation_audit.attacks.mask_thresholds import (
    curations_of_others,
    found_thresholds,
    pairs_above,
    resolution_of,
    told_thresholds,
)
from curation_audit.attacks.near_pairs import NearPairs
from curation_audit.observations import Knowledge, Observation, Stage
from curation_audit.streams import ShadowStreams
from curation_audit.types import Evidence, Floats, Inclusion, Mask


@dataclass(frozen=True, slots=True, kw_only=True)
class Iterative:
    """Curate with a set, compare with the picks, correct the set, and again.

    Each picked row votes for its nearest candidate who was not struck off; those with votes are
    the set. Each row that the set would pick and that was left strikes its nearest member off.
    It ends after ``rounds``, or where the picks of the set and those seen agree by ``agreement``
    (Jaccard similarity). ``nearest`` candidates of a row are looked at.
    """

    name: ClassVar[str] = "iterative"
    title: ClassVar[str] = "Iterative reconstruction of the set"
    stage: ClassVar[Stage] = "selection"
    needs: ClassVar[frozenset[str]] = frozenset(
        {"algorithm", "candidates", "nearest scorer", "one cut", "other candidates", "pool"}
    )
    source: ClassVar[str] = "Wahdany et al. 2026, arXiv:2603.00811"
    cost: ClassVar[str] = "m N p + S m log m + 100 S E, E pairs above the threshold, at most 4 m"

    rounds: int = 12
    agreement: float = 0.999
    nearest: int = 24

    def __post_init__(self) -> None:
        """Check the settings."""
        checks.positive(rounds=self.rounds, nearest=self.nearest)
        checks.in_open_unit(agreement=self.agreement)

    def evidence(
        self,
        observation: Observation,
        inclusion: Inclusion,
        knowledge: Knowledge,
        *,
        streams: ShadowStreams,
    ) -> Evidence:
        """Float64 (S, N): votes, or less than 0 by the number of rows that struck it off."""
        cuts = told_thresholds(observation, knowledge)
        if cuts is None:
            learnt = curations_of_others(observation, inclusion, knowledge)
            cuts = found_thresholds(observation, knowledge, learnt, self.nearest)
        pairs = pairs_above(observation, knowledge, cuts.value - cuts.slack, self.nearest)
        mask = observation.selection.mask()
        resolution = resolution_of(knowledge)
        evidence = np.empty(inclusion.shape)
        for block in pairs.blocks(inclusion.shape[0]):
            reach = cuts.reach_of(pairs, block)
            evidence[block] = self.reconstruct(reach, mask[block], pairs, resolution)
        return evidence

    def reconstruct(
        self, reach: Floats, mask: Mask, pairs: NearPairs, resolution: float
    ) -> Evidence:
        """Signed votes (S, N) for some shadows; ``reach`` (S, E): of the threshold."""
        picked = mask[:, pairs.row]
        may, must = reach > 0, reach == 1
        strikes = np.zeros((mask.shape[0], pairs.n_candidates))
        for _ in range(self.rounds):
            standing = (strikes == 0)[:, pairs.candidate]
            votes = pairs.per_candidate(
                shares(pairs.nearest(standing & may & picked, resolution), pairs)
            )
            held = (votes > 0)[:, pairs.candidate]
            false = pairs.nearest(held & must & ~picked, resolution)
            wrong = agreement(held & may, mask, pairs) < self.agreement
            false = false & wrong[:, None]
            if not false.any():
                break
            strikes = strikes + pairs.per_candidate(shares(false, pairs))
        return np.where(strikes > 0, -strikes, votes)


def shares(chosen: Mask, pairs: NearPairs) -> Floats:
    """A row's one vote, shared by the pairs (S, E) that it chose."""
    count = pairs.per_row(chosen.astype(np.float64))[:, pairs.group]
    return chosen / np.maximum(count, 1)


def agreement(held: Mask, mask: Mask, pairs: NearPairs) -> Floats:
    """Jaccard similarity (S,) of the picks seen and those that the held pairs make."""
    mine = pairs.any_of_row(held)
    both = (mine & mask[:, pairs.rows]).sum(axis=1)
    either = mine.sum(axis=1) + mask.sum(axis=1) - both
    similarity: Floats = both / np.maximum(either, 1)
    return similarity
