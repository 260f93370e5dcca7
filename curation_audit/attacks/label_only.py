"""What the model's labels alone tell."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from curation_audit import checks
from curation_audit.attacks.base import OtherPairs, in_first, in_shadow_order, known_candidates
from curation_audit.attacks.signals import (
    beside_candidates,
    known_at_pool,
    known_labels,
    nearest_queried,
    per_candidate,
)
from curation_audit.observations import Knowledge, Observation, Stage
from curation_audit.streams import ShadowStreams
from curation_audit.types import Evidence, Floats, Inclusion


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelOnly:
    """Bernoulli likelihood ratios of "the model says the candidate's label", summed.

    At the candidate, and at its ``rows`` nearest queried pool rows. Rates with and without the
    candidate come from the other pairs and are pulled to their common rate by
    ``prior_shadows`` imagined shadows: where labels never change, nothing is said.
    """

    name: ClassVar[str] = "label_only"
    title: ClassVar[str] = "Labels at and near the candidate"
    stage: ClassVar[Stage] = "model"
    needs: ClassVar[frozenset[str]] = frozenset(
        {
            "algorithm",
            "candidates",
            "labels",
            "pool",
            "queries at both",
            "queries at pool rows",
            "queries at the candidates",
        }
    )
    source: ClassVar[str] = (
        "this project; labels after Choquette-Choo et al. 2021, arXiv:2007.14321"
    )
    cost: ClassVar[str] = "N Q d + S N rows"

    rows: int = 4
    prior_shadows: float = 4.0

    def __post_init__(self) -> None:
        """Check the settings."""
        checks.positive(rows=self.rows, prior_shadows=self.prior_shadows)

    def evidence(
        self,
        observation: Observation,
        inclusion: Inclusion,
        knowledge: Knowledge,
        *,
        streams: ShadowStreams,
    ) -> Evidence:
        """Float64 (S, N); of the outputs, only the likeliest class is used."""
        observation, knowledge = beside_candidates(observation, knowledge)
        candidates, labels = known_candidates(knowledge), known_labels(knowledge)
        outputs, _ = known_at_pool(observation, knowledge)
        said = observation.probabilities.argmax(axis=2) == labels
        others = OtherPairs.of(knowledge, inclusion)
        agreement = per_candidate(said.astype(np.float64), candidates)
        evidence = bernoulli_ratio(agreement, inclusion, others, self.prior_shadows)
        label = np.zeros(candidates.n_candidates, dtype=np.int64)
        label[candidates.unit[::-1]] = labels[::-1]  # that of the candidate's first row
        said_at_pool = outputs.argmax(axis=2)
        for rows in nearest_queried(knowledge, self.rows).T:
            agreement = (said_at_pool[:, rows] == label).astype(np.float64)
            evidence += bernoulli_ratio(agreement, inclusion, others, self.prior_shadows)
        return evidence


def bernoulli_ratio(
    agreement: Floats, inclusion: Inclusion, others: OtherPairs, prior_shadows: float
) -> Evidence:
    """Log likelihood ratio of an agreement in [0, 1], (S, N); a share counts as that many."""
    pairs = in_first(agreement, inclusion)
    sums, counts = others.sums(pairs), others.counts[:, None, None]
    common = (sums.sum(axis=1, keepdims=True) + 0.5) / (2 * counts + 1)
    rate = (sums + prior_shadows * common) / (counts + prior_shadows)
    agreed = np.log(rate[:, :1]) - np.log(rate[:, 1:])
    differed = np.log1p(-rate[:, :1]) - np.log1p(-rate[:, 1:])
    return in_shadow_order(pairs * agreed + (1 - pairs) * differed, inclusion)
