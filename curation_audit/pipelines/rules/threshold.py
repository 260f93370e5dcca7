"""All rows at or above a fixed score."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from curation_audit.observations import Selection
from curation_audit.pipelines.base import Rows
from curation_audit.streams import ShadowStreams
from curation_audit.types import Indices, Mask, Scores


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """The rows with ``score >= minimum``; their number differs between shadows, and may be 0."""

    name: ClassVar[str] = "threshold"
    by_rank: ClassVar[bool] = False
    one_cut: ClassVar[bool] = True
    minimum: float

    def __post_init__(self) -> None:
        """Check the minimum."""
        if not math.isfinite(self.minimum):
            raise ValueError(f"minimum must be a finite number, got {self.minimum}.")

    def select(
        self,
        scores: Scores,
        tie_order: Indices,
        streams: ShadowStreams | None = None,
        pool: Rows | None = None,
    ) -> Selection:
        """Pick every row that reaches the minimum; ties play no role."""
        return Selection.from_mask(at_least(scores, self.minimum))


def at_least(scores: Scores, level: float) -> Mask:
    """Which scores reach a level, (S, m) -> bool (S, m); NaN reaches none.

    In float64, as a ``Cut`` compares: the level is not rounded to the width of the scores.
    """
    reached: Mask = scores >= np.float64(level)
    return reached
