"""From the model back to the picks, and from the picks to the candidates."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from curation_audit import checks
from curation_audit.attacks.base import OtherPairs, in_first, in_shadow_order, known_pool
from curation_audit.attacks.linear import Discriminant
from curation_audit.attacks.signals import (
    known_at_pool,
    log_odds,
    nearest_queried,
    signals_at_pool,
)
from curation_audit.attacks.smoothing import kernel_of, smoothed
from curation_audit.observations import Knowledge, Observation, Stage
from curation_audit.streams import ShadowStreams
from curation_audit.types import Evidence, Floats, Inclusion

LIMITS = (0.01, 0.99)  # no linear guess is surer than that


@dataclass(frozen=True, slots=True, kw_only=True)
class ThroughMask:
    """Guess which pool rows a model was trained on, then attack the guess as a mask of picks.

    The adversary ran the other pairs' shadows, so he knows what they picked: a ridge regression
    of each row's pick on the model's log odds at all queried rows, and on its margin at that row.
    The guessed mask is traced where the scorer is linear; else each of the ``rows`` rows nearest
    to the candidate enters as a pick that is known up to the odds of the guess. The centre of
    the tracing and the rates of the picks come from what the other pairs picked in truth: the
    guesses about them owe something to the tested pair. What that scored and picked is not
    looked at.
    """

    name: ClassVar[str] = "through_mask"
    title: ClassVar[str] = "Picks guessed from the model"
    stage: ClassVar[Stage] = "model"
    needs: ClassVar[frozenset[str]] = frozenset(
        {"algorithm", "candidates", "confidences", "pool", "queries at pool rows"}
    )
    source: ClassVar[str] = "this project; tracing after Dwork et al. 2015"
    cost: ClassVar[str] = "14 S^3 + S^2 Q (C + 1) + S Q p + S p N"

    rows: int = 4

    def __post_init__(self) -> None:
        """Check the number of rows."""
        checks.positive(rows=self.rows)

    def evidence(
        self,
        observation: Observation,
        inclusion: Inclusion,
        knowledge: Knowledge,
        *,
        streams: ShadowStreams,
    ) -> Evidence:
        """Float64 (S, N)."""
        others = OtherPairs.of(knowledge, inclusion)
        _, queried = known_at_pool(observation, knowledge)
        picked = observation.selection.mask()[:, queried].astype(np.float64)
        guess = guessed_picks(observation, knowledge, picked, others)
        linearised = knowledge.linearisation
        if linearised is not None:
            pool = known_pool(knowledge)[queried]
            discriminant = observation.derived(
                "discriminant of queried rows",
                (known_pool(knowledge), queried, linearised),
                lambda: Discriminant.of(pool, linearised),
            )
            vectors = discriminant.directions(pool, guess)
            known = discriminant.directions(pool, picked)
            deviations = vectors - others.means_of_shadows(known)
            of_linear: Evidence = deviations @ linearised.whitening_of_slopes
            return of_linear
        evidence = np.zeros(inclusion.shape)
        for rows in nearest_queried(knowledge, self.rows).T:
            evidence += soft_pick_ratio(guess[:, rows], picked[:, rows], inclusion, others)
        return evidence


def guessed_picks(
    observation: Observation, knowledge: Knowledge, picked: Floats, others: OtherPairs
) -> Floats:
    """How likely each queried row was picked, by the other pairs' picks (S, Q), (S, Q).

    A linear prediction: it may leave [0, 1].
    """
    outputs, _ = known_at_pool(observation, knowledge)
    kernel = observation.derived("kernel at pool rows", (), lambda: kernel_of(log_odds(outputs)))
    return smoothed(kernel, picked, others, signals_at_pool(observation, knowledge))


def soft_pick_ratio(
    guess: Floats, picked: Floats, inclusion: Inclusion, others: OtherPairs
) -> Evidence:
    """Log likelihood ratio, in against out, of one row's pick that is only guessed, (S, N).

    ``guess`` (S, N): the probability that candidate n's row was picked, given what the model
    shows; ``picked`` (S, N): whether it was. With L, the odds of the guess over those of the
    row's rate, the ratio is ``(r_in L + 1 - r_in) / (r_out L + 1 - r_out)``. Rates come from the
    other pairs, pulled to their common rate by one imagined shadow.
    """
    sums, counts = others.sums(in_first(picked, inclusion)), others.counts[:, None, None]
    common = (sums.sum(axis=1, keepdims=True) + 0.5) / (2 * counts + 1)
    rate = (sums + common) / (counts + 1)
    sure = np.clip(in_first(guess, inclusion), *LIMITS)
    odds = sure / (1 - sure) * (1 - common) / common
    likelihood = 1 + rate[:, :, None] * (odds - 1)[:, None]  # (P, hypothesis, shadow, N)
    return in_shadow_order(np.log(likelihood[:, 0]) - np.log(likelihood[:, 1]), inclusion)
