"""Tracing: recover the released vector from the scores, and correlate it with each candidate."""

from dataclasses import dataclass
from typing import ClassVar

from curation_audit.attacks.base import OtherPairs, known_linearisation
from curation_audit.attacks.linear import shown_vectors, traced
from curation_audit.observations import Knowledge, Observation, Stage
from curation_audit.streams import ShadowStreams
from curation_audit.types import Evidence, Inclusion


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Whitened tracing of the scorer's weights, centred on the other shadows.

    For a mean of n of 2n known standard normal candidates its AUC is ``Phi(sqrt(d / n))``.
    """

    name: ClassVar[str] = "trace"
    title: ClassVar[str] = "Tracing in the recovered scorer"
    stage: ClassVar[Stage] = "scores"
    needs: ClassVar[frozenset[str]] = frozenset(
        {"algorithm", "candidates", "linear scorer", "pool", "score values"}
    )
    source: ClassVar[str] = (
        "this project; tracing after Dwork et al. 2015, influence after Koh & Liang 2017"
    )
    cost: ClassVar[str] = "m p^2 + S p N"

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
        vectors = shown_vectors(observation, knowledge)
        others = OtherPairs.of(knowledge, inclusion)
        return traced(vectors, linearised.whitening, others)
