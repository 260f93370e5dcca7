"""LiRA on the score of one pool row per candidate: the published attack on released scores."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from curation_audit.attacks.best_row import best_rows, variance_of
from curation_audit.observations import Knowledge, Observation, Stage
from curation_audit.streams import ShadowStreams
from curation_audit.types import Evidence, Inclusion

RELATIVE_FLOOR = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class LiraBestRow:
    """Gaussian likelihood ratio of the score that moves most with the candidate."""

    name: ClassVar[str] = "lira_best_row"
    title: ClassVar[str] = "LiRA on the most telling pool row"
    stage: ClassVar[Stage] = "scores"
    needs: ClassVar[frozenset[str]] = frozenset({"algorithm"})
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
        rows = best_rows(observation.scores, inclusion)
        variance = variance_of(rows, RELATIVE_FLOOR)
        tested = rows.tested[:, :, None]
        ratio = -0.5 * (
            (tested - rows.mean[:, None]) ** 2 / variance[:, None] + np.log(variance)[:, None]
        )
        return (ratio[:, :, 0] - ratio[:, :, 1]).reshape(inclusion.shape)
