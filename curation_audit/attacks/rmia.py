"""Online RMIA on the downstream model."""

from dataclasses import dataclass
from typing import ClassVar

from curation_audit import checks
from curation_audit.attacks.base import OtherPairs
from curation_audit.attacks.population import (
    Form,
    compared,
    informed,
    log_ratios,
    mean_likelihood,
    population_of,
)
from curation_audit.observations import Knowledge, Observation, Stage
from curation_audit.streams import ShadowStreams
from curation_audit.types import Evidence, Inclusion


@dataclass(frozen=True, slots=True, kw_only=True)
class Rmia:
    """How often the candidate's likelihood ratio beats a population row's by a factor ``gamma``.

    ``P(x)`` is the mean likelihood over the other pairs' shadows, half of which hold x. The
    population is the queried pool rows where they are granted, else the other candidates.
    ``form="information"`` replaces the share by a sum of logarithms (InfoRMIA, arXiv:2510.05582),
    which knows no ties.
    """

    name: ClassVar[str] = "rmia"
    title: ClassVar[str] = "RMIA (online) at the candidate"
    stage: ClassVar[Stage] = "model"
    needs: ClassVar[frozenset[str]] = frozenset(
        {"algorithm", "candidates", "confidences", "labels", "pool", "queries at the candidates"}
    )
    source: ClassVar[str] = "Zarifzadeh et al. 2024, arXiv:2312.03262"
    cost: ClassVar[str] = "S (N + Q) log Q"

    gamma: float = 1.0
    form: Form = "share"

    def __post_init__(self) -> None:
        """Check the factor."""
        checks.positive(gamma=self.gamma)

    def evidence(
        self,
        observation: Observation,
        inclusion: Inclusion,
        knowledge: Knowledge,
        *,
        streams: ShadowStreams,
    ) -> Evidence:
        """Float64 (S, N); of the inclusion, only the pairs are used."""
        others = OtherPairs.of(knowledge, inclusion)
        population = population_of(observation, knowledge)
        expected = mean_likelihood(population.candidates, others)
        ratios, rows = log_ratios(population.candidates, expected), None
        if population.rows is not None:
            expected = mean_likelihood(population.rows, others)
            rows = log_ratios(population.rows, expected)
        if self.form == "share":
            return compared(ratios, rows, self.gamma)
        return informed(ratios, rows, expected)
