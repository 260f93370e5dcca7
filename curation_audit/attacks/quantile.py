"""Quantile regression: what a signal is without membership, predicted from the features alone."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import ndtri

from curation_audit import checks
from curation_audit.attacks.base import OtherPairs, in_first, in_shadow_order, known_candidates
from curation_audit.attacks.moments import Moments, moments
from curation_audit.attacks.signals import Signal, known_labels, signal_per_candidate
from curation_audit.observations import Candidates, Knowledge, Observation, Stage
from curation_audit.streams import ShadowStreams
from curation_audit.types import Evidence, Features, Floats, Inclusion


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantile:
    """The signal's place among the quantiles predicted for a non-member with such features.

    A Gaussian of the out signal whose mean and log variance are ridge regressions on the
    candidates' features and label, fitted to the other pairs' shadows: the (1 - alpha) quantile
    is ``mean + scale z(1 - alpha)``, and the evidence, ``(signal - mean) / scale``, exceeds
    z(1 - alpha) exactly where the signal exceeds that quantile. No candidate needs shadows of
    its own.
    """

    name: ClassVar[str] = "quantile"
    title: ClassVar[str] = "Quantile regression on features"
    stage: ClassVar[Stage] = "model"
    needs: ClassVar[frozenset[str]] = frozenset(
        {"algorithm", "candidates", "confidences", "labels", "pool", "queries at the candidates"}
    )
    source: ClassVar[str] = (
        "Bertran et al. 2023, arXiv:2307.03694, with a Gaussian regression in closed form"
    )
    cost: ClassVar[str] = "N p^2 + S N (p + C)"

    signal: Signal = "margin"
    ridge: float = 1.0

    def __post_init__(self) -> None:
        """Check the penalty."""
        checks.positive(ridge=self.ridge)

    def evidence(
        self,
        observation: Observation,
        inclusion: Inclusion,
        knowledge: Knowledge,
        *,
        streams: ShadowStreams,
    ) -> Evidence:
        """Float64 (S, N)."""
        signal = signal_per_candidate(observation, knowledge, self.signal)
        found = moments(signal, inclusion, OtherPairs.of(knowledge, inclusion))
        features = design(known_candidates(knowledge), knowledge)
        mean, scale = predicted(found, features, self.ridge)
        above = in_first(signal, inclusion) - mean[:, None]
        above[np.abs(above) < found.resolution] = 0.0
        return in_shadow_order(above / scale[:, None], inclusion)


def design(candidates: Candidates, knowledge: Knowledge) -> Features:
    """Standardised features, averaged over a candidate's rows, with classes and ones, (N, p)."""
    labels = known_labels(knowledge)
    classes = (labels[:, None] == np.unique(labels)).astype(np.float64)
    rows = np.column_stack([candidates.features.astype(np.float64), classes])
    mean = candidates.mean_per_unit(rows.T).T
    mean -= mean.mean(axis=0)
    spread = mean.std(axis=0)
    standard = mean / np.where(spread > 1e-9 * np.abs(rows).max(initial=1), spread, np.inf)
    return np.column_stack([standard, np.ones(len(standard))])


def predicted(found: Moments, features: Features, ridge: float) -> tuple[Floats, Floats]:
    """Mean and scale of the out signal of such features, by each pair's other pairs, (P, N) each.

    Each candidate is out once in every pair, so all fits share one Gram matrix, and what differs
    between them are the means over the other pairs.
    """
    penalty = ridge * np.eye(features.shape[1])
    penalty[-1, -1] = 0.0
    solve = np.linalg.solve(features.T @ features + penalty, features.T)
    out, variance, n = found.mean[:, 1], found.variance[:, 1], found.counts[:, None]
    mean = out @ features @ solve
    square = variance * (n - 1) / n + (out - mean) ** 2
    # a candidate at whose level the fit happens to pass must not set its log variance
    square = np.maximum(square, found.floor[:, 0])
    shape = np.exp(np.log(square) @ features @ solve)
    level = (square / shape).mean(axis=1, keepdims=True)
    return mean, np.sqrt(level * shape)


def quantile_of(mean: Floats, scale: Floats, alpha: float) -> Floats:
    """The level that a non-member's signal exceeds with probability ``alpha``, (P, N)."""
    level: Floats = mean + scale * ndtri(1 - alpha)
    return level
