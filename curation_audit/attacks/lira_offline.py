"""Offline LiRA: shadows without the candidate only."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import log_ndtr

from curation_audit.attacks.base import OtherPairs, in_shadow_order
from curation_audit.attacks.moments import Variance, is_shared, moments
from curation_audit.attacks.signals import Signal, signal_per_candidate
from curation_audit.observations import Knowledge, Observation, Stage
from curation_audit.streams import ShadowStreams
from curation_audit.types import Evidence, Inclusion


@dataclass(frozen=True, slots=True, kw_only=True)
class LiraOffline:
    """How unlikely so sure a model is without the candidate: ``-log P(out signal > signal)``.

    The Gaussian of the out signal comes from the other pairs' shadows without the candidate; no
    shadow with it is looked at. ``variance`` and ``signal`` as for ``Lira``.
    """

    name: ClassVar[str] = "lira_offline"
    title: ClassVar[str] = "LiRA (offline) at the candidate"
    stage: ClassVar[Stage] = "model"
    needs: ClassVar[frozenset[str]] = frozenset(
        {"algorithm", "candidates", "confidences", "labels", "pool", "queries at the candidates"}
    )
    source: ClassVar[str] = "Carlini et al. 2022, arXiv:2112.03570, section VI-B"
    cost: ClassVar[str] = "S N C"

    signal: Signal = "margin"
    variance: Variance = "auto"

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
        others = OtherPairs.of(knowledge, inclusion)
        found = moments(signal, inclusion, others)
        variance = found.variance[:, 1:]
        if is_shared(self.variance, others):
            variance = variance.mean(axis=2, keepdims=True)
        # the floor is that of the out signal alone: offline, in shadows are unknown
        floor = 1e-6 * found.variance[:, 1:].mean(axis=2, keepdims=True) + found.resolution**2
        spread = np.maximum(variance, floor + np.finfo(np.float64).tiny)
        above = found.tested - found.mean[:, 1:]
        above[np.abs(above) < found.resolution] = 0.0
        return in_shadow_order(-log_ndtr(-above / np.sqrt(spread)), inclusion)
