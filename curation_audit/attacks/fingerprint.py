"""Fingerprints: rows planted in the pool, and what the model says about them."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from curation_audit.attacks.base import OtherPairs
from curation_audit.attacks.gaussian import gaussian_evidence
from curation_audit.attacks.signals import logit_margin
from curation_audit.checks import positive
from curation_audit.observations import Knowledge, Observation, Stage
from curation_audit.streams import ShadowStreams
from curation_audit.types import Evidence, Floats, Inclusion, Indices


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """Likelihood ratio of the logit margin for the absurd label at a candidate's planted rows.

    Rows with an absurd label were planted before the curation so that they are picked where their
    target is in. Nothing is assumed about that: in the shadows that the ratio is learnt from, and
    in those under attack, the model was trained on what was picked of the pool with all planted
    rows in it. Candidates beyond the budget have no row, and evidence 0: numbers are over all
    candidates, as for an adversary who cannot afford more. ``attack.targets`` sets how many are
    at stake.

    ``rows_per_target`` copies of a row weigh more in training, and leave fewer targets.
    """

    name: ClassVar[str] = "fingerprint"
    title: ClassVar[str] = "Fingerprints: planted rows with an absurd label"
    stage: ClassVar[Stage] = "model"
    needs: ClassVar[frozenset[str]] = frozenset(
        {"algorithm", "candidates", "confidences", "insertions", "pool"}
    )
    source: ClassVar[str] = (
        "Wahdany et al. 2026, arXiv:2603.00811; measured detection and closed form: this project"
    )
    cost: ClassVar[str] = "S f C, beside S more curations (and as many null ones)"

    rows_per_target: int = 1

    def __post_init__(self) -> None:
        """Check the number of rows."""
        positive(rows_per_target=self.rows_per_target)

    def evidence(
        self,
        observation: Observation,
        inclusion: Inclusion,
        knowledge: Knowledge,
        *,
        streams: ShadowStreams,
    ) -> Evidence:
        """Float64 (S, N); 0 for candidates without a planted row."""
        targets, signal = margin_per_target(observation, knowledge)
        evidence = np.zeros(inclusion.shape)
        evidence[:, targets] = gaussian_evidence(
            signal, inclusion[:, targets], OtherPairs.of(knowledge, inclusion)
        )
        return evidence


def margin_per_target(observation: Observation, knowledge: Knowledge) -> tuple[Indices, Floats]:
    """The targets, int64 (T,), and the margin for the absurd label, mean over their rows (S, T).

    Raises:
        ValueError: without planted rows; an attack that names ``insertions`` always has them.
    """
    planted = knowledge.planted
    if planted is None or observation.planted is None:
        raise ValueError("this attack needs planted rows.")
    order = np.argsort(planted.target, kind="stable")
    targets, starts = np.unique(planted.target[order], return_index=True)
    margin = logit_margin(observation.planted, planted.labels)[:, order]
    mean: Floats = np.add.reduceat(margin, starts, axis=1) / np.diff([*starts, len(order)])
    return targets, mean
