"""How much like the picks of shadows with, and of shadows without the candidate."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from curation_audit.attacks.base import OtherPairs
from curation_audit.observations import Knowledge, Observation, Stage
from curation_audit.streams import ShadowStreams
from curation_audit.types import Evidence, Features, Floats, Inclusion, Mask


@dataclass(frozen=True, slots=True, kw_only=True)
class Jaccard:
    """Similarity of whole selections, for any scorer.

    The Jaccard similarity (of multisets) between the picks seen and how often the other pairs'
    shadows with the candidate pick each row, less that for those without.
    """

    name: ClassVar[str] = "jaccard"
    title: ClassVar[str] = "Likeness of the picks to those with the candidate"
    stage: ClassVar[Stage] = "selection"
    needs: ClassVar[frozenset[str]] = frozenset({"algorithm", "candidates", "pool"})
    source: ClassVar[str] = "this project; likeness as in Wahdany et al. 2026, arXiv:2603.00811"
    cost: ClassVar[str] = "S^2 (m + N)"

    def evidence(
        self,
        observation: Observation,
        inclusion: Inclusion,
        knowledge: Knowledge,
        *,
        streams: ShadowStreams,
    ) -> Evidence:
        """Float64 (S, N)."""
        others = OtherPairs.of(knowledge, inclusion)
        shared = observation.derived(
            "shared picks", (), lambda: shared_picks(observation.selection.mask())
        )
        sizes = np.diag(shared).copy()
        learnt = learnt_from(others)
        counts = np.repeat(others.counts, 2)[:, None]
        alike = [
            likeness(
                (shared * learnt) @ held / counts, (sizes * learnt) @ held / counts, sizes[:, None]
            )
            for held in (inclusion.astype(np.float64), (~inclusion).astype(np.float64))
        ]
        return alike[0] - alike[1]


def shared_picks(mask: Mask) -> Floats:
    """How many rows each two of S shadows both picked, (S, S); whole numbers."""
    # float32 holds whole numbers up to 2^24
    exact = np.float32 if mask.shape[1] < 2**24 else np.float64
    picked: Features = mask.astype(exact)
    shared: Features = picked @ picked.T
    return shared.astype(np.float64)


def learnt_from(others: OtherPairs) -> Mask:
    """Whether shadow s learns from shadow t, (S, S)."""
    known = others.known_shadows
    pair = np.arange(known.shape[0]) // 2
    learnt: Mask = known[None, :] & (pair[:, None] != pair[None, :])
    return learnt


def likeness(common: Floats, size: Floats, own_size: Floats) -> Floats:
    """``sum min / sum max`` of a mask and of rates: common picks over those of either."""
    either = size + own_size - common
    similarity: Floats = common / np.where(either > 0, either, 1)
    return similarity
