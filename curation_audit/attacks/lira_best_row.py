"""LiRA on the score of one pool row per candidate: the published attack on released scores."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from curation_audit.attacks.base import OtherPairs
from curation_audit.attacks.best_row import best_rows
from curation_audit.attacks.gaussian import floored, log_ratio
from curation_audit.attacks.moments import rounding_of
from curation_audit.observations import Knowledge, Observation, Stage
from curation_audit.streams import ShadowStreams
from curation_audit.types import Evidence, Inclusion


@dataclass(frozen=True, slots=True, kw_only=True)
class LiraBestRow:
    """Gaussian likelihood ratio of the score that moves most with the candidate."""

    name: ClassVar[str] = "lira_best_row"
    title: ClassVar[str] = "LiRA on the most telling pool row"
    stage: ClassVar[Stage] = "scores"
    needs: ClassVar[frozenset[str]] = frozenset({"algorithm", "candidates", "pool"})
    source: ClassVar[str] = "Wahdany et al. 2026, arXiv:2603.00811"
    cost: ClassVar[str] = "S N m"

    def evidence(
        self,
        observation: Observation,
        inclusion: Inclusion,
        knowledge: Knowledge,
        *,
        streams: ShadowStreams,
    ) -> Evidence:
        """Float64 (S, N)."""
        scores = observation.scores
        others = OtherPairs.of(knowledge, inclusion)
        learnt = scores[others.known_shadows]
        rows = best_rows(scores, inclusion, others, learnt.mean(axis=0, dtype=np.float64))
        resolution = rounding_of(learnt)
        variance = floored(rows.square - rows.mean**2, rows.mean, rows.square, resolution)
        return log_ratio(rows.tested, rows.mean, variance, resolution).reshape(inclusion.shape)
