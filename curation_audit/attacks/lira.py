"""Online LiRA on the downstream model."""

from dataclasses import dataclass
from typing import ClassVar

from curation_audit.attacks.base import OtherPairs
from curation_audit.attacks.moments import Variance, gaussian_ratio
from curation_audit.attacks.signals import Signal, signal_per_candidate
from curation_audit.observations import Knowledge, Observation, Stage
from curation_audit.streams import ShadowStreams
from curation_audit.types import Evidence, Inclusion


@dataclass(frozen=True, slots=True, kw_only=True)
class Lira:
    """Gaussian likelihood ratio of a signal at the candidate, in against out shadows.

    ``variance``: each candidate's ``own``, or ``shared`` by all; ``auto`` shares below 64
    shadows. ``signal``: see ``signals``.
    """

    name: ClassVar[str] = "lira"
    title: ClassVar[str] = "LiRA (online) at the candidate"
    stage: ClassVar[Stage] = "model"
    needs: ClassVar[frozenset[str]] = frozenset(
        {"algorithm", "candidates", "confidences", "labels", "pool", "queries at the candidates"}
    )
    source: ClassVar[str] = "Carlini et al. 2022, arXiv:2112.03570"
    cost: ClassVar[str] = "S N C"

    signal: Signal = "margin"
    variance: Variance = "auto"

    def evidence(
        self,
        observation: Observation,
        inclusion: Inclusion,
        knowledge: Knowledge,
        *,
        streams: ShadowStreams,
    ) -> Evidence:
        """Float64 (S, N)."""
        signal = signal_per_candidate(observation, knowledge, self.signal)
        others = OtherPairs.of(knowledge, inclusion)
        return gaussian_ratio(signal, inclusion, others, self.variance)
