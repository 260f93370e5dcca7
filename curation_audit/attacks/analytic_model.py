"""The scorer guessed from the model, by a regression on analytic shadows."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from curation_audit.attacks.analytic_shadows import check_enough, drawn_inversion, read_back
from curation_audit.attacks.base import OtherPairs, known_linearisation, known_pool
from curation_audit.attacks.signals import known_at_pool, log_odds
from curation_audit.observations import Knowledge, Observation, Stage
from curation_audit.streams import ShadowStreams
from curation_audit.types import Evidence, Floats, Inclusion, Scores


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalyticModel:
    """Regress the scorer on models that are trained on the picks of drawn scorers, then filter.

    ``bottleneck`` learns the same from shadows whose scorers were trained, too. ``shadows``
    models are trained (``attack.analytic_models`` says whether), but no scorer.
    """

    name: ClassVar[str] = "analytic_model"
    title: ClassVar[str] = "Scorer guessed from the model by analytic shadows"
    stage: ClassVar[Stage] = "model"
    needs: ClassVar[frozenset[str]] = frozenset(
        {
            "algorithm",
            "analytic models",
            "candidates",
            "confidences",
            "linear scorer",
            "other candidates",
            "pool",
            "queries at pool rows",
        }
    )
    source: ClassVar[str] = "this project; influence after Koh & Liang 2017"
    cost: ClassVar[str] = "H trainings + H m p + H^2 Q C + H^3 + S p N, H analytic shadows"

    shadows: int = 512

    def __post_init__(self) -> None:
        """Check the number of shadows."""
        check_enough(self.shadows)

    def evidence(
        self,
        observation: Observation,
        inclusion: Inclusion,
        knowledge: Knowledge,
        *,
        streams: ShadowStreams,
    ) -> Evidence:
        """Float64 (S, N)."""
        train = knowledge.train
        if train is None:
            raise ValueError("this attack needs analytic models.")
        at_pool, queried = known_at_pool(observation, knowledge)

        def answers(scores: Scores, trials: range) -> Floats:
            return in_a_row(log_odds(train(scores, queried, trials)))

        rng = streams.root.generator(self.name)
        inversion, wanted = knowledge.memo.of(
            f"{self}",
            (known_pool(knowledge), known_linearisation(knowledge), train, queried),
            lambda: drawn_inversion(knowledge, answers, self.shadows, rng),
        )
        guess = inversion.guess(in_a_row(log_odds(at_pool))[:, wanted])
        return read_back(guess, inversion, OtherPairs.of(knowledge, inclusion))


def in_a_row(odds: Floats) -> Floats:
    """(S, Q, C) -> (S, Q C)."""
    return np.asarray(odds, dtype=np.float64).reshape(len(odds), -1)
