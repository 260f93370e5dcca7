"""The seam of an attack, and what attacks share: sums that leave one pair of shadows out.

Evidence for shadow s may use neither row s of the inclusion nor its partner. As both rows of a
pair are left out together, and every candidate is in exactly one of them, leave-one-pair-out
means need no loop: they are the sum over all pairs less the pair's own value.
"""

from typing import ClassVar, Protocol

import numpy as np

from curation_audit.game import check_pairs
from curation_audit.observations import Candidates, Knowledge, Linearisation, Observation, Stage
from curation_audit.streams import ShadowStreams
from curation_audit.types import Evidence, Features, Floats, Inclusion


class Attack(Protocol):
    """Turns what S shadows show into evidence; its fields are public settings."""

    name: ClassVar[str]
    title: ClassVar[str]
    stage: ClassVar[Stage]
    needs: ClassVar[frozenset[str]]
    source: ClassVar[str]
    cost: ClassVar[str]

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


def mean_of_other_pairs(values: Floats) -> Floats:
    """For each shadow the mean of ``values`` (S, ...) over the shadows of all other pairs."""
    pairs = values.reshape(-1, 2, *values.shape[1:]).sum(axis=1)
    others = (pairs.sum(axis=0) - pairs) / (values.shape[0] - 2)
    return np.repeat(others, 2, axis=0)


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
