"""Several attacks' evidence as one, with weights fitted on other pairs of shadows."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy.special import expit

from curation_audit.attacks.base import Attack, OtherPairs, digest, in_first
from curation_audit.observations import Knowledge, Observation
from curation_audit.streams import ShadowStreams
from curation_audit.types import Evidence, Floats, Inclusion, Indices, Mask

N_FOLDS = 4
MIN_KNOWN_PAIRS = 3  # without a fold, and without the pair that is judged, one must remain
N_NEWTON_STEPS = 12
RIDGE = 1.0
SHARE_OF_MEAN = 1e-3
FAR_OUT = 4.0  # median distances
SHARED_BYTES = 2**22  # of one member's evidence on one fold; larger is not kept


def stacked_evidence(
    members: Sequence[Attack],
    observation: Observation,
    inclusion: Inclusion,
    knowledge: Knowledge,
    *,
    streams: ShadowStreams,
) -> Evidence:
    """The members' evidence in one number, float64 (S, N).

    The pairs fall into folds. For a fold, members and weights learn from the known pairs outside
    it, so that nothing but the tested observation is used of a pair under attack: weights that
    were fitted to all pairs' leave-one-pair-out evidence would carry its coins. Pairs that are
    not known are one more fold.

    Raises:
        ValueError: if fewer than 3 pairs are known, too few for folds to learn from.
    """
    known = OtherPairs.of(knowledge, inclusion).known
    fold = folds_of(known, streams)
    evidence = np.zeros(inclusion.shape)
    for target in np.unique(fold):
        learnt_from = known & (fold != target)
        asked = np.repeat(fold == target, 2)
        here = dataclasses.replace(knowledge, known_pairs=learnt_from)
        seen = np.stack(
            [evidence_of(member, observation, inclusion, here, streams) for member in members],
            axis=2,
        )
        trained = np.repeat(learnt_from, 2)
        scale = Scale.of(seen[trained])
        weights = pairwise_weights(scale.squashed(seen[trained]), inclusion[trained])
        evidence[asked] = scale.squashed(seen[asked]) @ weights
    return evidence


def evidence_of(
    member: Attack,
    observation: Observation,
    inclusion: Inclusion,
    knowledge: Knowledge,
    streams: ShadowStreams,
) -> Evidence:
    """One member's evidence (S, N) for ``known_pairs``; shared where a second ensemble will ask.

    The member's streams are its own, whichever ensemble asks first.
    """
    own = dataclasses.replace(streams, scope=f"member {member.name}")

    def compute() -> Evidence:
        return member.evidence(observation, inclusion, knowledge, streams=own)

    if "several stages" not in knowledge.granted or 8 * inclusion.size > SHARED_BYTES:
        return compute()
    known = OtherPairs.of(knowledge, inclusion).known
    inputs = [
        getattr(knowledge, one.name)
        for one in dataclasses.fields(knowledge)
        if one.name not in ("known_pairs", "granted")  # in the digest; the same arrays
    ]
    name = f"member {member.name} on {digest(inclusion, known, streams=own)}"
    return observation.derived(name, (member, *inputs), compute)


def folds_of(known: Mask, streams: ShadowStreams) -> Indices:
    """The fold of every pair by its own number, int64 (P,); -1 for pairs that are not known.

    A pair's number, not its place: the order in which pairs are handed over does not count.
    """
    n_known = int(known.sum())
    if n_known < MIN_KNOWN_PAIRS:
        raise ValueError(f"stacking needs {MIN_KNOWN_PAIRS} known pairs, got {n_known}.")
    number = np.array(streams.shadows[0::2]) // 2
    rank = np.empty(len(known), dtype=np.int64)
    rank[np.lexsort((number, ~known))] = np.arange(len(known))
    return np.where(known, rank % min(N_FOLDS, n_known), -1)


@dataclasses.dataclass(frozen=True, slots=True)
class Scale:
    """What is usual of each attack's evidence over known shadows, (A,) each."""

    center: Floats
    spread: Floats

    @classmethod
    def of(cls, seen: Floats) -> "Scale":
        """Median, and median distance from it, of evidence (shadows, N, A).

        A thousandth of the mean distance is added: most of an attack's evidence may be tied.
        """
        cells = seen.reshape(-1, seen.shape[2])
        center = np.median(cells, axis=0)
        distance = np.abs(cells - center)
        spread = np.median(distance, axis=0) + SHARE_OF_MEAN * distance.mean(axis=0)
        return cls(center, np.where(spread > 0, spread, 1.0))

    def squashed(self, seen: Floats) -> Floats:
        """Evidence (shadows, N, A) on one scale: linear near the middle, logarithmic far out.

        Attacks differ in scale and tails; ranks would do, too, but hang on rounding at ties.
        """
        squashed: Floats = np.arcsinh((seen - self.center) / (FAR_OUT * self.spread))
        return FAR_OUT * squashed


def pairwise_weights(seen: Floats, inclusion: Inclusion) -> Floats:
    """Weights (A,) of the logistic model of "which shadow of the pair holds the candidate".

    ``P(first) = sigma(w' (x_first - x_second))`` (conditional logistic regression), ridge
    penalty, Newton's method on cells (P N, A).
    """
    n_attacks = seen.shape[2]
    pairs = np.stack([in_first(seen[..., a], inclusion) for a in range(n_attacks)], axis=-1)
    difference = (pairs[:, 0] - pairs[:, 1]).reshape(-1, n_attacks)
    weights = np.zeros(n_attacks)
    for _ in range(N_NEWTON_STEPS):
        missed = expit(-(difference @ weights))
        gradient = difference.T @ missed - RIDGE * weights
        curvature = (difference.T * (missed * (1 - missed))) @ difference
        weights = weights + np.linalg.solve(curvature + RIDGE * np.eye(n_attacks), gradient)
    return weights
