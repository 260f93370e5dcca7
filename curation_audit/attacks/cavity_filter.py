"""The matched filter for networks: what candidates do to trained references, and shadows' noise."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from curation_audit.attacks.base import OtherPairs
from curation_audit.attacks.inversion import MOST_LEVERAGE
from curation_audit.attacks.shadow_filter import shrinkage
from curation_audit.observations import Knowledge, Observation, Stage
from curation_audit.streams import ShadowStreams
from curation_audit.types import Evidence, Floats, Inclusion

MOST_NUMBERS: Final = 2**24
LEAST_SCALE: Final = 1e-12  # of what pairs show, where shrinkage is all


@dataclass(frozen=True, slots=True, kw_only=True)
class CavityFilter:
    """Likelihood ratio of each candidate's shift, coins and a network's own randomness as noise.

    Shifts come from a few trained references, at each of which every candidate is taken out or
    put in to first order. What coins do not explain (initial weights, orders of rows, higher
    orders) has the covariance that the other pairs show, shrunk after Ledoit & Wolf (2004).
    """

    name: ClassVar[str] = "cavity_filter"
    title: ClassVar[str] = "Matched filter at trained references"
    stage: ClassVar[Stage] = "scores"
    needs: ClassVar[frozenset[str]] = frozenset(
        {
            "algorithm",
            "candidates",
            "other candidates",
            "pool",
            "score values",
            "trained references",
        }
    )
    source: ClassVar[str] = "this project; influence after Koh & Liang 2017"
    cost: ClassVar[str] = "16 trainings + S m r + r^3 + S^2 (S + N + r), r at most N"

    def evidence(
        self,
        observation: Observation,
        inclusion: Inclusion,
        knowledge: Knowledge,
        *,
        streams: ShadowStreams,
    ) -> Evidence:
        """Float64 (S, N)."""
        find = knowledge.first_order
        if find is None:
            raise ValueError("this attack needs trained references.")
        found = knowledge.memo.of(self.name, (find,), find)
        seen = observation.derived(
            "coordinates at references", (found,), lambda: observation.scores @ found.basis.T
        )
        return filtered(seen, inclusion, found.shifts, OtherPairs.of(knowledge, inclusion))


def filtered(seen: Floats, inclusion: Inclusion, shifts: Floats, others: OtherPairs) -> Evidence:
    """``a' Sigma^-1 (x - mean) / (1 - a' Sigma^-1 a / 4)`` for every candidate's shift a.

    ``Sigma = 1/4 sum a a' + noise``, with the noise of the pair's other pairs: half of the shrunk
    covariance of what coins leave of the differences within pairs.

    Args:
        seen: coordinates of scores, (S, r).
        inclusion: coins (S, N).
        shifts: of each candidate, (N, r).
        others: the other pairs of each.
    """
    size, axes = np.linalg.eigh(shifts.T @ shifts / 4)
    seen, shifts = seen @ axes, shifts @ axes
    left = seen - (inclusion - 0.5) @ shifts
    differences = (left[0::2] - left[1::2])[others.known]
    scale, ridge = shrinkage(differences @ differences.T, others, shifts.shape[1])
    deviations = (seen - others.means_of_shadows(seen)).reshape(-1, 2, shifts.shape[1])
    evidence = np.empty((len(deviations), 2, len(shifts)))
    for pairs in _blocks(len(deviations), len(differences), shifts):
        diagonal = np.maximum(size, 0) + ridge[pairs, None] / 2  # (p, r)
        fellows = _without_own(differences, others, pairs)  # (p, K, r)
        learnt = fellows / diagonal[:, None]
        core = learnt @ fellows.transpose(0, 2, 1)
        core += (2 / np.maximum(scale[pairs], LEAST_SCALE))[:, None, None] * np.eye(core.shape[1])
        root = np.linalg.cholesky(core)
        of_shifts = np.linalg.solve(root, learnt @ shifts.T)  # (p, K, N)
        of_seen = np.linalg.solve(root, learnt @ deviations[pairs].transpose(0, 2, 1))
        ratio = (deviations[pairs] / diagonal[:, None]) @ shifts.T
        ratio -= of_seen.transpose(0, 2, 1) @ of_shifts
        leverage = ((1 / diagonal) @ (shifts**2).T - (of_shifts**2).sum(axis=1)) / 4
        evidence[pairs] = ratio / (1 - np.minimum(leverage, MOST_LEVERAGE))[:, None]
    return evidence.reshape(inclusion.shape)


def _blocks(n_pairs: int, n_known: int, shifts: Floats) -> Iterator[slice]:
    """Some pairs at a time, so that what is made for each of them fits."""
    step = max(1, MOST_NUMBERS // max(1, n_known * sum(shifts.shape)))
    return (slice(at, at + step) for at in range(0, n_pairs, step))


def _without_own(differences: Floats, others: OtherPairs, pairs: slice) -> Floats:
    """The known pairs' differences for each of some pairs, its own taken out: (p, K, r)."""
    numbers = np.arange(len(others.known))
    kept = numbers[others.known] != numbers[pairs, None]  # (p, K)
    fellows: Floats = differences * kept[:, :, None]
    return fellows
