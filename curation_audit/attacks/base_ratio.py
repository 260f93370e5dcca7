"""BASE: the posterior odds of membership under a Gibbs posterior of the model."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from curation_audit import checks
from curation_audit.attacks.base import OtherPairs, known_candidates
from curation_audit.attacks.population import log_ratios, mean_likelihood
from curation_audit.attacks.signals import TINY, known_labels, log_likelihood, per_candidate
from curation_audit.observations import Knowledge, Observation, Stage
from curation_audit.streams import ShadowStreams
from curation_audit.types import Evidence, Floats, Inclusion, Labels, Probabilities


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseRatio:
    """``log p_y(x)`` less the log of its mean over the other pairs' shadows.

    The probabilities are those of logits divided by ``temperature``. With temperature 1 it is the
    log of RMIA's ratio, before the population comes in.
    """

    name: ClassVar[str] = "base"
    title: ClassVar[str] = "BASE at the candidate"
    stage: ClassVar[Stage] = "model"
    needs: ClassVar[frozenset[str]] = frozenset(
        {"algorithm", "candidates", "confidences", "labels", "pool", "queries at the candidates"}
    )
    source: ClassVar[str] = "Lassila et al. 2025, arXiv:2505.24089"
    cost: ClassVar[str] = "S N C"

    temperature: float = 2.0

    def __post_init__(self) -> None:
        """Check the temperature."""
        checks.positive(temperature=self.temperature)

    def evidence(
        self,
        observation: Observation,
        inclusion: Inclusion,
        knowledge: Knowledge,
        *,
        streams: ShadowStreams,
    ) -> Evidence:
        """Float64 (S, N); of the inclusion, only the pairs are used."""
        labels, others = known_labels(knowledge), OtherPairs.of(knowledge, inclusion)
        likelihood = tempered(observation.probabilities, labels, self.temperature)
        likelihood = per_candidate(likelihood, known_candidates(knowledge))
        return log_ratios(likelihood, mean_likelihood(likelihood, others))


def tempered(probabilities: Probabilities, labels: Labels, temperature: float) -> Floats:
    """``log p_y`` of the logits divided by a temperature, (S, rows)."""
    if temperature == 1:
        return log_likelihood(probabilities, labels)
    flat = np.maximum(probabilities, TINY) ** np.float32(1 / temperature)
    total = np.einsum("src->sr", flat).astype(np.float64)
    likelihood: Floats = log_likelihood(probabilities, labels) / temperature - np.log(total)
    return likelihood
