"""LiRA at the pool rows that are nearest to the candidate."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from curation_audit import checks
from curation_audit.attacks.base import OtherPairs
from curation_audit.attacks.moments import Moments, gaussian_ratio, moments
from curation_audit.attacks.signals import Signal, nearest_queried, signals_at_pool
from curation_audit.observations import Knowledge, Observation, Stage
from curation_audit.streams import ShadowStreams
from curation_audit.types import Evidence, Floats, Inclusion

LEAST_WEIGHT = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class NearestPool:
    """Gaussian likelihood ratios of a signal at the candidate's nearest pool rows, weighed.

    The model was trained on rows that the candidate may have pulled in, not on the candidate. The
    ``rows`` nearest are weighed by how telling rows of that rank are on the other pairs: the
    share of the squared gap between in and out that is not sampling error, over all candidates.
    A plain sum would let the noise of many rows drown the few that tell.
    """

    name: ClassVar[str] = "nearest_pool"
    title: ClassVar[str] = "LiRA at the nearest pool rows"
    stage: ClassVar[Stage] = "model"
    needs: ClassVar[frozenset[str]] = frozenset(
        {"algorithm", "candidates", "confidences", "pool", "queries at pool rows"}
    )
    source: ClassVar[str] = "this project; ratio after Carlini et al. 2022"
    cost: ClassVar[str] = "N Q d + S N rows"

    rows: int = 2
    signal: Signal = "margin"

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
        at_pool = signals_at_pool(observation, knowledge, self.signal)
        evidence = np.zeros(inclusion.shape)
        for rows in nearest_queried(knowledge, self.rows).T:
            signal = at_pool[:, rows]
            weight = telling(moments(signal, inclusion, others))
            ratio = gaussian_ratio(signal, inclusion, others)
            evidence += np.repeat(weight, 2)[:, None] * ratio
        return evidence


def telling(found: Moments) -> Floats:
    """For each pair the share of the gap between in and out that is real, (P,).

    ``1 - sampling variance / squared gap``, both relative to the variance within and averaged
    over candidates; never quite nothing.
    """
    variance = np.maximum(found.variance, found.floor)
    noise = variance.sum(axis=1) / found.counts[:, None]
    gap = (found.mean[:, 0] - found.mean[:, 1]) ** 2
    share = 1 - 1 / np.maximum((gap / noise).mean(axis=1), 1)
    weight: Floats = np.maximum(share, LEAST_WEIGHT)
    return weight
