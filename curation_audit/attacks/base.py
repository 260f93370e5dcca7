"""The seam of an attack, and what attacks share: sums that leave one pair of shadows out.

Evidence for shadow s may use neither row s of the inclusion nor its partner, and no pair that
``Knowledge.known_pairs`` leaves out. As both rows of a pair are left out together, and every
candidate is in exactly one of them, leave-one-pair-out means need no loop: they are the sum over
the known pairs less the pair's own value.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from curation_audit.game import check_pairs
from curation_audit.observations import Candidates, Knowledge, Linearisation, Observation, Stage
from curation_audit.streams import ShadowStreams
from curation_audit.types import Evidence, Features, Floats, Inclusion, Mask


class Attack(Protocol):
    """Turns what S shadows show into evidence; its fields are public settings."""

    @property
    def name(self) -> str:
        """What it is called in pipeline files and reports."""
        ...

    @property
    def title(self) -> str:
        """What it is, in a few words."""
        ...

    @property
    def stage(self) -> Stage:
        """What it attacks."""
        ...

    @property
    def needs(self) -> frozenset[str]:
        """What the adversary must know, names of ``KNOWABLE``."""
        ...

    @property
    def source(self) -> str:
        """Who published it."""
        ...

    @property
    def cost(self) -> str:
        """Operations, in S, N, m, p, C, Q."""
        ...

    def evidence(
        self,
        observation: Observation,
        inclusion: Inclusion,
        knowledge: Knowledge,
        *,
        streams: ShadowStreams,
    ) -> Evidence:
        """Float64 (S, N), higher = candidate n was in shadow s."""
        ...


def in_first(values: Floats, inclusion: Inclusion) -> Floats:
    """Sort values (S, N) by pairs: (P, 2, N), first where the candidate was in, then out."""
    check_pairs(inclusion)
    pairs = values.reshape(-1, 2, values.shape[1])
    swap = ~inclusion[0::2, None, :]
    return np.where(swap, pairs[:, ::-1], pairs)


def in_shadow_order(pairs: Floats, inclusion: Inclusion) -> Floats:
    """The inverse of ``in_first``: (P, 2, N) -> (S, N)."""
    swap = ~inclusion[0::2, None, :]
    return np.where(swap, pairs[:, ::-1], pairs).reshape(inclusion.shape)


@dataclass(frozen=True, slots=True)
class OtherPairs:
    """For every pair of shadows under attack, the pairs that the adversary learns from.

    ``known`` bool (P,): learnt from, except for a known pair itself.
    """

    known: Mask

    def __post_init__(self) -> None:
        """Check that there is enough to learn from."""
        if self.counts.min() < 1:
            raise ValueError("an attack needs another pair of shadows to learn from.")

    @classmethod
    def of(cls, knowledge: Knowledge, inclusion: Inclusion) -> "OtherPairs":
        """The known pairs; all of them where the knowledge does not say."""
        check_pairs(inclusion)
        n_pairs = inclusion.shape[0] // 2
        known = knowledge.known_pairs
        if known is None:
            return cls(np.ones(n_pairs, dtype=bool))
        if known.shape != (n_pairs,):
            raise ValueError(f"known_pairs must be ({n_pairs},), got {known.shape}.")
        return cls(known)

    @property
    def counts(self) -> Floats:
        """How many pairs each pair is judged by, (P,)."""
        known = self.known.astype(np.float64)
        counts: Floats = known.sum() - known
        return counts

    @property
    def known_shadows(self) -> Mask:
        """The shadows of the known pairs, bool (S,).

        What only guards against rounding (centres, resolutions) may come from all of them: the
        pair under attack is among them only where pairs learn from one another.
        """
        return np.repeat(self.known, 2)

    def sums(self, values: Floats) -> Floats:
        """For each pair the sum of ``values`` (P, ...) over its other pairs."""
        shape = (-1,) + (1,) * (values.ndim - 1)
        if self.known.all():
            others: Floats = values.sum(axis=0) - values
            return others
        kept: Floats = values * self.known.reshape(shape)
        others = kept.sum(axis=0) - kept
        return others

    def means(self, values: Floats) -> Floats:
        """For each pair the mean of ``values`` (P, ...) over its other pairs."""
        shape = (-1,) + (1,) * (values.ndim - 1)
        means: Floats = self.sums(values) / self.counts.reshape(shape)
        return means

    def means_of_shadows(self, values: Floats) -> Floats:
        """For each shadow the mean of ``values`` (S, ...) over the shadows of its other pairs."""
        pairs = values.reshape(len(values) // 2, 2, *values.shape[1:]).mean(axis=1)
        return np.repeat(self.means(pairs), 2, axis=0)


def digest(*arrays: NDArray[Any], **settings: object) -> str:
    """Names arrays and settings by what they hold, where ``Observation.derived`` needs a name."""
    content = hashlib.sha256(repr(sorted(settings.items())).encode())
    for array in arrays:
        content.update(f"{array.dtype} {array.shape}".encode())
        content.update(np.ascontiguousarray(array).tobytes())
    return content.hexdigest()


def known_candidates(knowledge: Knowledge) -> Candidates:
    """The candidates; an attack that names them in ``needs`` always has them."""
    if knowledge.candidates is None:
        raise ValueError("this attack needs the candidates.")
    return knowledge.candidates


def known_pool(knowledge: Knowledge) -> Features:
    """The embedded pool; an attack that names it in ``needs`` always has it."""
    if knowledge.pool is None:
        raise ValueError("this attack needs the pool.")
    return knowledge.pool


def known_linearisation(knowledge: Knowledge) -> Linearisation:
    """The linearised scorer; an attack that names it in ``needs`` always has it."""
    if knowledge.linearisation is None:
        raise ValueError("this attack needs a scorer with linear scores.")
    return knowledge.linearisation
