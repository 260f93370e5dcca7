"""The posterior over sets of members, given which rows a nearest scorer picked."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import special

from curation_audit import checks
from curation_audit.attacks.mask_thresholds import (
    OtherCurations,
    Thresholds,
    curations_of_others,
    found_thresholds,
    pairs_above,
    told_thresholds,
)
from curation_audit.attacks.near_pairs import NearPairs
from curation_audit.attacks.places import scores_of_nobody
from curation_audit.observations import Knowledge, Observation, Stage
from curation_audit.streams import ShadowStreams
from curation_audit.types import Evidence, Features, Floats, Inclusion, Mask

DAMPING = 0.2
LEAST = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Gibbs:
    """Log-odds of membership under fair coins, by belief propagation.

    A row that was left speaks against everyone who is more similar to it than the threshold; a
    picked row has at least one member among them (a noisy "or"). ``rounds`` of messages;
    ``nearest`` candidates of a row are looked at.
    """

    name: ClassVar[str] = "gibbs"
    title: ClassVar[str] = "Posterior over the sets that explain the picks"
    stage: ClassVar[Stage] = "selection"
    needs: ClassVar[frozenset[str]] = frozenset(
        {"algorithm", "candidates", "nearest scorer", "one cut", "other candidates", "pool"}
    )
    source: ClassVar[str] = "this project; belief propagation after Pearl 1988"
    cost: ClassVar[str] = "m N p + S m log m + 150 S E, E pairs above the threshold, at most 4 m"

    rounds: int = 12
    nearest: int = 24

    def __post_init__(self) -> None:
        """Check the counts."""
        checks.positive(rounds=self.rounds, nearest=self.nearest)

    def evidence(
        self,
        observation: Observation,
        inclusion: Inclusion,
        knowledge: Knowledge,
        *,
        streams: ShadowStreams,
    ) -> Evidence:
        """Float64 (S, N)."""
        learnt = curations_of_others(observation, inclusion, knowledge)
        cuts = told_thresholds(observation, knowledge)
        if cuts is None:
            cuts = found_thresholds(observation, knowledge, learnt, self.nearest)
        pairs = pairs_above(observation, knowledge, cuts.value - cuts.slack, self.nearest)
        background = scores_of_nobody(observation, knowledge)
        mask = observation.selection.mask()
        evidence = np.empty(inclusion.shape)
        for block in pairs.blocks(inclusion.shape[0]):
            model = picks_model(pairs, cuts, learnt, background, mask, block)
            evidence[block] = posterior_log_odds(model, pairs, self.rounds)
        return evidence


@dataclass(frozen=True, slots=True)
class PicksModel:
    """The noisy "or" of some shadows.

    ``reach`` (S, E): probability that this candidate alone makes the row picked. ``picked``
    (S, E): the row of the pair was. ``unexplained`` (S, R): probability that the row is left
    where no candidate reaches it. ``prior`` (S, N): log-odds after the rows that were left.
    """

    reach: Floats
    picked: Mask
    unexplained: Floats
    prior: Floats


def picks_model(
    pairs: NearPairs,
    cuts: Thresholds,
    learnt: OtherCurations,
    background: Features,
    mask: Mask,
    block: slice,
) -> PicksModel:
    """The likelihood of the masks of a block of shadows."""
    missed, stray = (np.repeat(rate, 2)[block, None] for rate in (learnt.missed, learnt.stray))
    reach = (1 - missed) * cuts.reach_of(pairs, block)
    always = (1 - missed) * cuts.reach(background[pairs.rows].astype(np.float64), block)
    picked = mask[block][:, pairs.row]
    prior = pairs.per_candidate(np.where(picked, 0.0, np.log1p(-reach)))
    return PicksModel(reach, picked, (1 - stray) * (1 - always), prior)


def posterior_log_odds(model: PicksModel, pairs: NearPairs, rounds: int) -> Evidence:
    """Loopy belief propagation, exact where the picks that share candidates form a tree: (S, N).

    The message of a picked row to a candidate is the log-ratio of the row's probability with and
    without him, the others as likely members as their other messages say.
    """
    messages = np.zeros(model.reach.shape)
    for _ in range(rounds):
        log_odds = model.prior + pairs.per_candidate(messages)
        member = special.expit(log_odds[:, pairs.candidate] - messages)
        left = np.log1p(-np.minimum(member * model.reach, 1 - LEAST))
        row_left = np.log(np.maximum(model.unexplained, LEAST)) + pairs.per_row(left)
        others_left = np.minimum(np.exp(row_left[:, pairs.group] - left), 1 - LEAST)
        fresh = np.log1p(-others_left * (1 - model.reach)) - np.log1p(-others_left)
        messages = np.where(model.picked, DAMPING * messages + (1 - DAMPING) * fresh, 0.0)
    evidence: Evidence = model.prior + pairs.per_candidate(messages)
    return evidence
