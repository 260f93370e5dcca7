"""Extraction from the picks alone: a classifier of picked rows, then LiRA at the candidate."""

from dataclasses import dataclass
from typing import ClassVar

from curation_audit import checks
from curation_audit.attacks.base import OtherPairs, known_candidates
from curation_audit.attacks.gaussian import gaussian_evidence
from curation_audit.attacks.half_spaces import half_spaces
from curation_audit.observations import Knowledge, Observation, Stage
from curation_audit.streams import ShadowStreams
from curation_audit.types import Evidence, Inclusion


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskExtract:
    """Logistic surrogates of picked against left rows, one per shadow, all fitted at once.

    ``steps`` of gradient descent; fewer are a stronger penalty.
    """

    name: ClassVar[str] = "mask_extract"
    title: ClassVar[str] = "LiRA on a surrogate fitted to the picks"
    stage: ClassVar[Stage] = "selection"
    needs: ClassVar[frozenset[str]] = frozenset({"algorithm", "pool", "candidates"})
    source: ClassVar[str] = "this project; ratio after Carlini et al. 2022"
    cost: ClassVar[str] = "70 S m p + S p N + m p^2"

    steps: int = 16

    def __post_init__(self) -> None:
        """Check the number of steps."""
        checks.positive(steps=self.steps)

    def evidence(
        self,
        observation: Observation,
        inclusion: Inclusion,
        knowledge: Knowledge,
        *,
        streams: ShadowStreams,
    ) -> Evidence:
        """Float64 (S, N)."""
        candidates = known_candidates(knowledge)
        cuts = half_spaces(observation, knowledge, self.steps)
        signal = observation.derived(
            "logits of being picked",
            (cuts, candidates),
            lambda: candidates.mean_per_unit(cuts.logits(candidates.features)),
        )
        return gaussian_evidence(signal, inclusion, OtherPairs.of(knowledge, inclusion))
