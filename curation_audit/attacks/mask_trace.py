"""Tracing from the picks alone: recover the scorer's direction, then trace."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from curation_audit.attacks.base import OtherPairs, known_linearisation, known_pool
from curation_audit.attacks.linear import Discriminant, traced
from curation_audit.observations import Knowledge, Observation, Stage
from curation_audit.streams import ShadowStreams
from curation_audit.types import Evidence, Inclusion


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskTrace:
    """Whitened tracing of the direction that separates picked rows from the others.

    ``center``: ``shadows`` subtracts what the other shadows released on average, ``nothing``
    does not; uncentred, a mean of n of 2n standard normal candidates gives
    ``Phi(sqrt(d / 2n))``.
    """

    name: ClassVar[str] = "mask_trace"
    title: ClassVar[str] = "Tracing in the direction of the picks"
    stage: ClassVar[Stage] = "selection"
    needs: ClassVar[frozenset[str]] = frozenset(
        {"algorithm", "pool", "candidates", "linear scorer"}
    )
    source: ClassVar[str] = (
        "this project; tracing after Dwork et al. 2015, influence after Koh & Liang 2017"
    )
    cost: ClassVar[str] = "S m p + S p N"

    center: Literal["shadows", "nothing"] = "shadows"

    def evidence(
        self,
        observation: Observation,
        inclusion: Inclusion,
        knowledge: Knowledge,
        *,
        streams: ShadowStreams,
    ) -> Evidence:
        """Float64 (S, N)."""
        linearised = known_linearisation(knowledge)
        mask = observation.selection.mask()
        pool = known_pool(knowledge)
        discriminant = observation.derived(
            "discriminant", (pool, linearised), lambda: Discriminant.of(pool, linearised)
        )
        directions = discriminant.directions(pool, mask)
        if self.center == "nothing":
            evidence: Evidence = directions @ linearised.whitening_of_slopes
            return evidence
        others = OtherPairs.of(knowledge, inclusion)
        return traced(directions, linearised.whitening_of_slopes, others)
