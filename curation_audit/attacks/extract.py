"""Extraction: fit the scorer from its scores, then LiRA on its value at the candidate."""

from dataclasses import dataclass
from typing import ClassVar

from curation_audit.attacks.base import OtherPairs, known_candidates
from curation_audit.attacks.gaussian import gaussian_evidence
from curation_audit.attacks.linear import shown_vectors
from curation_audit.observations import Knowledge, Observation, Stage
from curation_audit.streams import ShadowStreams
from curation_audit.types import Evidence, Inclusion


@dataclass(frozen=True, slots=True, kw_only=True)
class Extract:
    """A linear surrogate of the scorer by least squares, asked about each candidate.

    Exact for scorers with linear scores; for others the surrogate is what their scores have of
    it.
    """

    name: ClassVar[str] = "extract"
    title: ClassVar[str] = "LiRA on the extracted scorer at the candidate"
    stage: ClassVar[Stage] = "scores"
    needs: ClassVar[frozenset[str]] = frozenset({"algorithm", "candidates", "pool", "score values"})
    source: ClassVar[str] = "this project; ratio after Carlini et al. 2022"
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
        candidates = known_candidates(knowledge)
        vectors = shown_vectors(observation, knowledge)
        signal = candidates.mean_per_unit(vectors @ candidates.features.T)
        return gaussian_evidence(signal, inclusion, OtherPairs.of(knowledge, inclusion))
