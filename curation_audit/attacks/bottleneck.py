"""Through the bottleneck of the scorer: its weights, guessed from the model."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from curation_audit.attacks.base import OtherPairs, known_linearisation
from curation_audit.attacks.signals import known_at_pool, log_odds
from curation_audit.attacks.smoothing import kernel_of, smoothed
from curation_audit.observations import Knowledge, Observation, Stage
from curation_audit.streams import ShadowStreams
from curation_audit.types import Evidence, Inclusion


@dataclass(frozen=True, slots=True, kw_only=True)
class Bottleneck:
    """Regress what the candidates did to the scorer's weights on the model, then trace.

    All that a model knows of the candidates came through the scorer's few weights. The other
    pairs' coins say what those weights were, to first order: ``sum of (coin - 1/2) influence``.
    A ridge regression on the model's log odds at the queried rows guesses the tested shadow's,
    and ``guess' Sigma^-1 influence_n`` is then the expectation of coin n in a Gaussian model.
    """

    name: ClassVar[str] = "bottleneck"
    title: ClassVar[str] = "Scorer guessed from the model"
    stage: ClassVar[Stage] = "model"
    needs: ClassVar[frozenset[str]] = frozenset(
        {
            "algorithm",
            "candidates",
            "confidences",
            "linear scorer",
            "pool",
            "queries at pool rows",
        }
    )
    source: ClassVar[str] = "this project; tracing after Dwork et al. 2015"
    cost: ClassVar[str] = "14 S^3 + S^2 Q C + S p N"

    def evidence(
        self,
        observation: Observation,
        inclusion: Inclusion,
        knowledge: Knowledge,
        *,
        streams: ShadowStreams,
    ) -> Evidence:
        """Float64 (S, N)."""
        outputs, _ = known_at_pool(observation, knowledge)
        linearised = known_linearisation(knowledge)
        kernel = observation.derived(
            "kernel at pool rows", (), lambda: kernel_of(log_odds(outputs))
        )
        moved = np.where(inclusion, 0.5, -0.5) @ linearised.influence[:, linearised.slopes]
        guess = smoothed(kernel, moved, OtherPairs.of(knowledge, inclusion))
        evidence: Evidence = guess @ linearised.whitening_of_slopes
        return evidence
