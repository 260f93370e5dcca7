"""Online LiRA on the downstream model."""

from dataclasses import dataclass
from typing import ClassVar

from curation_audit.attacks.base import OtherPairs
from curation_audit.attacks.gaussian import gaussian_evidence
from curation_audit.attacks.signals import margin_per_candidate
from curation_audit.observations import Knowledge, Observation, Stage
from curation_audit.streams import ShadowStreams
from curation_audit.types import Evidence, Inclusion


@dataclass(frozen=True, slots=True, kw_only=True)
class Lira:
    """Gaussian likelihood ratio of the logit margin at the candidate, in against out shadows."""

    name: ClassVar[str] = "lira"
    title: ClassVar[str] = "LiRA (online) at the candidate"
    stage: ClassVar[Stage] = "model"
    needs: ClassVar[frozenset[str]] = frozenset(
        {"algorithm", "candidates", "confidences", "labels", "pool", "queries at the candidates"}
    )
    source: ClassVar[str] = "Carlini et al. 2022, arXiv:2112.03570"
    cost: ClassVar[str] = "S N C"

    def evidence(
        self,
        observation: Observation,
        inclusion: Inclusion,
        knowledge: Knowledge,
        *,
        streams: ShadowStreams,
    ) -> Evidence:
        """Float64 (S, N)."""
        signal = margin_per_candidate(observation, knowledge)
        return gaussian_evidence(signal, inclusion, OtherPairs.of(knowledge, inclusion))
