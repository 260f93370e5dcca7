"""The loss threshold: the oldest attack on a model, and the weakest; it needs no shadow."""

from dataclasses import dataclass
from typing import ClassVar

from curation_audit.attacks.signals import Signal, signal_per_candidate
from curation_audit.observations import Knowledge, Observation, Stage
from curation_audit.streams import ShadowStreams
from curation_audit.types import Evidence, Inclusion


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """The negative loss of the downstream model at the candidate, or another ``signal``."""

    name: ClassVar[str] = "loss"
    title: ClassVar[str] = "Loss at the candidate"
    stage: ClassVar[Stage] = "model"
    needs: ClassVar[frozenset[str]] = frozenset(
        {"candidates", "confidences", "labels", "queries at the candidates"}
    )
    source: ClassVar[str] = "Yeom et al. 2018"
    cost: ClassVar[str] = "S N"

    signal: Signal = "loss"

    def evidence(
        self,
        observation: Observation,
        inclusion: Inclusion,
        knowledge: Knowledge,
        *,
        streams: ShadowStreams,
    ) -> Evidence:
        """Float64 (S, N); the inclusion is not looked at."""
        return signal_per_candidate(observation, knowledge, self.signal)
