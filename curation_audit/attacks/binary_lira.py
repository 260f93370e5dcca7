"""LiRA on one bit of the selection per candidate: the published attack on released picks."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from curation_audit.attacks.base import OtherPairs
from curation_audit.attacks.best_row import best_rows
from curation_audit.observations import Knowledge, Observation, Stage
from curation_audit.streams import ShadowStreams
from curation_audit.types import Evidence, Inclusion


@dataclass(frozen=True, slots=True, kw_only=True)
class BinaryLira:
    """Bernoulli likelihood ratio of the pick that depends most on the candidate."""

    name: ClassVar[str] = "binary_lira"
    title: ClassVar[str] = "LiRA on the most telling pick"
    stage: ClassVar[Stage] = "selection"
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
        """Float64 (S, N); frequencies are smoothed by half a count on either side."""
        mask = observation.selection.mask().astype(np.float64)
        others = OtherPairs.of(knowledge, inclusion)
        rows = best_rows(mask, inclusion, others)
        n_others = others.counts[:, None, None]
        picked = rows.tested > 0.5
        rate = (rows.mean * n_others + 0.5) / (n_others + 1)
        log_odds = np.where(picked[:, :, None], np.log(rate)[:, None], np.log1p(-rate)[:, None])
        evidence: Evidence = log_odds[:, :, 0] - log_odds[:, :, 1]
        return evidence.reshape(inclusion.shape)
