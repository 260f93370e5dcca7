"""At which similarity a nearest scorer's picks were cut off; told, or read off the picks."""

from dataclasses import dataclass

import numpy as np

from curation_audit.attacks.base import OtherPairs, digest, known_candidates, known_pool
from curation_audit.attacks.moments import rounding_of
from curation_audit.attacks.near_pairs import NearPairs
from curation_audit.attacks.places import N_NEAREST, neighbours
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

    def reach_of(self, pairs: NearPairs, shadows: slice) -> Floats:
        """The same for pairs, 0 where the shadow does not look at them."""
        return self.reach(pairs.similarity, shadows) * pairs.looked_at(shadows)


@dataclass(frozen=True, slots=True)
class Tallies:
    """What the curator does on the coins of each shadow, against what it picked: all (S,).

    ``value``: the threshold. ``above``, ``below``: how many rows are clearly on that side of it;
    ``missed`` and ``stray``: how many of those were left, and picked, all the same.
    """

    value: Floats
    missed: Floats
    above: Floats
    stray: Floats
    below: Floats

    @classmethod
    def of(cls, scores: Scores, mask: Mask, resolution: float) -> "Tallies":
        """From what the curator computes on the coins, scores (S, m)."""
        value = kth_largest(scores, mask.sum(axis=1))
        above = scores > value[:, None] + resolution
        below = scores < value[:, None] - resolution
        counts = [rows.sum(axis=1) for rows in (above & ~mask, above, below & mask, below)]
        return cls(value, *(count.astype(np.float64) for count in counts))


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
    def of(cls, run: Tallies, others: OtherPairs) -> "OtherCurations":
        """From curations on the coins of all pairs."""
        # subtracted first, so that the squares do not cancel
        middle = run.value[others.known_shadows].mean()
        paired = run.value.reshape(-1, 2) - middle
        mean = others.means(paired.mean(axis=1))
        variance = others.means((paired**2).mean(axis=1)) - mean**2
        missed, above, stray, below = (
            others.sums(rows.reshape(-1, 2).sum(axis=1))
            for rows in (run.missed, run.above, run.stray, run.below)
        )
        return cls(
            mean + middle,
            np.sqrt(np.maximum(variance, 0)),
            (missed + 0.5) / (above + 1),
            (stray + 0.5) / (below + 1),
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
    score, candidates, pool = knowledge.score, known_candidates(knowledge), known_pool(knowledge)
    if score is None:
        raise ValueError("this attack needs to run the scorer.")
    run = observation.derived(
        f"curations of coins {digest(inclusion)}",
        (score, candidates, pool),
        lambda: Tallies.of(
            score(inclusion), observation.selection.mask(), resolution_of(knowledge)
        ),
    )
    return OtherCurations.of(run, OtherPairs.of(knowledge, inclusion))


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
    pairs = pairs_above(observation, knowledge, centre - STEPS * step, most)
    mask = observation.selection.mask()
    value = centre
    for _ in range(ZOOMS):
        value, slack = search(value, step, mask, pairs)
        step = np.maximum(slack / STEPS, resolution)
    return Thresholds(value, slack)


def pairs_above(
    observation: Observation, knowledge: Knowledge, low: Floats, most: int
) -> NearPairs:
    """Pairs at least ``low`` (S,) alike, of each row the ``most`` nearest candidates."""
    nearest = neighbours(observation, knowledge, max(most, N_NEAREST))
    return NearPairs.above(nearest, low, most, known_candidates(knowledge))


def search(centre: Floats, step: Floats, mask: Mask, pairs: NearPairs) -> tuple[Floats, Floats]:
    """Thresholds on a grid that explain the most picks: their middle, how far they reach, (S,)."""
    offsets = np.arange(-STEPS, STEPS + 1)
    middle, width = np.empty_like(centre), np.empty_like(centre)
    for block in pairs.blocks(centre.shape[0]):
        grid = centre[block, None] + offsets * step[block, None]
        explained = explained_picks(grid, mask[block], pairs, pairs.looked_at(block))
        best = explained == explained.max(axis=1, keepdims=True)
        low = np.where(best, grid, np.inf).min(axis=1)
        high = np.where(best, grid, -np.inf).max(axis=1)
        middle[block], width[block] = (low + high) / 2, (high - low) / 2 + step[block]
    return middle, width


def explained_picks(grid: Floats, mask: Mask, pairs: NearPairs, looked_at: Mask) -> Indices:
    """How many picks can be explained under each of G < 32 thresholds, grid (S, G): (S, G).

    A candidate who is above a threshold on a row that was left is no member; a pick is explained
    by one who may be a member and is not below it. Bit g of a number is about threshold g.
    """
    reached = np.zeros(looked_at.shape, dtype=np.uint32)
    for g in range(grid.shape[1]):
        reached |= (pairs.similarity >= grid[:, g, None]).astype(np.uint32) << np.uint32(g)
    reached[~looked_at] = 0
    picked = mask[:, pairs.row]
    barred = pairs.bits_of_candidate(np.where(picked, np.uint32(0), reached))
    explains = np.where(picked, reached & ~barred[:, pairs.candidate], np.uint32(0))
    rows = pairs.bits_of_row(explains)
    bits = [np.uint32(1 << g) for g in range(grid.shape[1])]
    return np.stack([np.count_nonzero(rows & bit, axis=1) for bit in bits], axis=1)
