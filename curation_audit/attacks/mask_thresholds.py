"""At which similarity a nearest scorer's picks were cut off; told, or read off the picks."""

from dataclasses import dataclass

import numpy as np

from curation_audit.attacks.base import OtherPairs, known_candidates, known_pool
from curation_audit.attacks.gaussian import rounding_of
from curation_audit.attacks.near_pairs import NearPairs
from curation_audit.observations import Knowledge, Observation
from curation_audit.types import Floats, Inclusion, Indices, Mask, Scores

SPREADS = 4.0  # how far, in standard deviations of the others', a threshold is searched
STEPS = 8  # of a search, on either side
ZOOMS = 2


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Per shadow, (S,): the threshold, and how far it may be off.

    A candidate at similarity x makes the curator pick a row with probability ``reach``: 0 below
    ``value - slack``, 1 above ``value + slack``, a straight line in between.
    """

    value: Floats
    slack: Floats

    def reach(self, similarity: Floats, shadows: slice) -> Floats:
        """(E,) -> (S, E) for some of the shadows."""
        value, slack = self.value[shadows, None], self.slack[shadows, None]
        reached: Floats = np.clip(0.5 + (similarity - value) / (2 * slack), 0, 1)
        return reached

    @property
    def least(self) -> float:
        """Below this no similarity matters to any shadow."""
        return float((self.value - self.slack).min())


@dataclass(frozen=True, slots=True)
class OtherCurations:
    """What the curations of the other pairs teach, for each pair: all (P,).

    ``mean`` and ``spread`` of their thresholds. ``missed``: the share of rows above it that were
    not picked all the same, ``stray`` of rows below it that were; nearly 0 without noise.
    """

    mean: Floats
    spread: Floats
    missed: Floats
    stray: Floats

    @classmethod
    def of(
        cls, scores: Scores, mask: Mask, others: OtherPairs, resolution: float
    ) -> "OtherCurations":
        """From what the curator computes on the coins of all pairs, scores (S, m)."""
        value = kth_largest(scores, mask.sum(axis=1))
        above = scores > value[:, None] + resolution
        below = scores < value[:, None] - resolution
        middle = value.mean()  # subtracted first, so that the squares do not cancel
        paired = value.reshape(-1, 2) - middle
        mean = others.means(paired.mean(axis=1))
        variance = others.means((paired**2).mean(axis=1)) - mean**2
        counts = [
            others.sums(rows.sum(axis=1).reshape(-1, 2).sum(axis=1).astype(np.float64))
            for rows in (above & ~mask, above, below & mask, below)
        ]
        return cls(
            mean + middle,
            np.sqrt(np.maximum(variance, 0)),
            (counts[0] + 0.5) / (counts[1] + 1),
            (counts[2] + 0.5) / (counts[3] + 1),
        )


def kth_largest(scores: Scores, k: Indices) -> Floats:
    """The k_s-th largest of each row (S, m), float64 (S,); the largest where k_s is 0."""
    ordered = np.sort(scores, axis=1)
    column = np.minimum(scores.shape[1] - k, scores.shape[1] - 1)
    largest = np.take_along_axis(ordered, column[:, None], axis=1)[:, 0]
    return largest.astype(np.float64)


def curations_of_others(
    observation: Observation, inclusion: Inclusion, knowledge: Knowledge
) -> OtherCurations:
    """Run the curator on the coins of the other pairs."""
    if knowledge.score is None:
        raise ValueError("this attack needs to run the scorer.")
    scores = knowledge.score(inclusion)
    mask = observation.selection.mask()
    others = OtherPairs.of(knowledge, inclusion)
    return OtherCurations.of(scores, mask, others, resolution_of(knowledge))


def resolution_of(knowledge: Knowledge) -> float:
    """Similarities that differ by less are equal."""
    largest = np.linalg.norm(known_candidates(knowledge).features, axis=1).max(initial=0)
    pool = known_pool(knowledge)
    scale = largest * np.linalg.norm(pool, axis=1).max(initial=0)
    return max(rounding_of(np.asarray([scale], dtype=pool.dtype)), float(np.finfo("f8").tiny))


def told_thresholds(observation: Observation, knowledge: Knowledge) -> Thresholds | None:
    """Those that the adversary sees; infinite where nothing was picked."""
    told = observation.thresholds
    if told is None:
        return None
    return Thresholds(told, np.full(told.shape, resolution_of(knowledge)))


def found_thresholds(
    observation: Observation, knowledge: Knowledge, learnt: OtherCurations, most: int
) -> Thresholds:
    """Those under which the picks explain themselves best, near those of the other pairs.

    Too low a threshold bars members by rows that were left, too high a one leaves picks without
    an explanation; in between few are possible.
    """
    resolution = resolution_of(knowledge)
    centre, spread = np.repeat(learnt.mean, 2), np.repeat(learnt.spread, 2)
    step = np.maximum(SPREADS * spread / STEPS, resolution)
    least = float((centre - STEPS * step).min())
    pairs = NearPairs.above(known_pool(knowledge), known_candidates(knowledge), least, most)
    mask = observation.selection.mask()
    value = centre
    for _ in range(ZOOMS):
        value, slack = search(value, step, mask, pairs)
        step = np.maximum(slack / STEPS, resolution)
    return Thresholds(value, slack)


def search(centre: Floats, step: Floats, mask: Mask, pairs: NearPairs) -> tuple[Floats, Floats]:
    """Thresholds on a grid that explain the most picks: their middle, how far they reach, (S,)."""
    offsets = np.arange(-STEPS, STEPS + 1)
    middle, width = np.empty_like(centre), np.empty_like(centre)
    for block in pairs.blocks(centre.shape[0]):
        grid = centre[block, None] + offsets * step[block, None]
        explained = np.stack(
            [explained_picks(grid[:, g], mask[block], pairs) for g in range(offsets.shape[0])],
            axis=1,
        )
        best = explained == explained.max(axis=1, keepdims=True)
        low = np.where(best, grid, np.inf).min(axis=1)
        high = np.where(best, grid, -np.inf).max(axis=1)
        middle[block], width[block] = (low + high) / 2, (high - low) / 2 + step[block]
    return middle, width


def explained_picks(value: Floats, mask: Mask, pairs: NearPairs) -> Floats:
    """How many picks (S,) can be explained where the thresholds are ``value`` (S,).

    A candidate who is above it on a row that was left is no member; a pick is explained by one
    who may be a member and is not below it.
    """
    reached = pairs.similarity >= value[:, None]
    picked = mask[:, pairs.row]
    barred = pairs.per_candidate((reached & ~picked).astype(np.float64)) > 0
    explains = reached & picked & ~barred[:, pairs.candidate]
    explained: Floats = pairs.any_of_row(explains).sum(axis=1).astype(np.float64)
    return explained
