"""All rows whose score lies between fixed levels: what harms nobody, occupied clusters, a range."""

import math
from dataclasses import dataclass
from typing import ClassVar

from curation_audit.checks import positive
from curation_audit.observations import Selection
from curation_audit.pipelines.base import Rows
from curation_audit.pipelines.rules.threshold import at_least
from curation_audit.streams import ShadowStreams
from curation_audit.types import Indices, Scores


@dataclass(frozen=True, slots=True, kw_only=True)
class Nonnegative:
    """The rows with ``score >= 0``: those that do no harm (D3M, Jain et al. 2024, section 3).

    For scores with a zero that means something, such as influences. A row without a score (NaN)
    is never kept, and a shadow may keep none or all.
    """

    name: ClassVar[str] = "nonnegative"
    by_rank: ClassVar[bool] = False
    one_cut: ClassVar[bool] = True

    @property
    def minimum(self) -> float:
        """The lowest score that is kept."""
        return 0.0

    def select(
        self,
        scores: Scores,
        tie_order: Indices,
        streams: ShadowStreams | None = None,
        pool: Rows | None = None,
    ) -> Selection:
        """Pick every row that is not below 0; ties play no role."""
        return Selection.from_mask(at_least(scores, self.minimum))


@dataclass(frozen=True, slots=True, kw_only=True)
class OccupiedClusters:
    """The rows of clusters with ``least`` votes or more (DataComp, Gadre et al. 2023, sec. 3.4).

    For scores that are the votes of a row's cluster, such as those of ``centroid_votes``: with
    ``least: 1`` all pool rows stay that share a cluster with a private row. A row without a score
    (NaN) is never kept.
    """

    name: ClassVar[str] = "occupied_clusters"
    by_rank: ClassVar[bool] = False
    one_cut: ClassVar[bool] = True
    least: float = 1.0

    def __post_init__(self) -> None:
        """Check the number of votes."""
        positive(least=self.least)

    @property
    def minimum(self) -> float:
        """The lowest score that is kept."""
        return self.least

    def select(
        self,
        scores: Scores,
        tie_order: Indices,
        streams: ShadowStreams | None = None,
        pool: Rows | None = None,
    ) -> Selection:
        """Pick every row of an occupied cluster; ties play no role."""
        return Selection.from_mask(at_least(scores, self.minimum))


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRange:
    """The rows with ``low <= score <= high``, both ends included, as filters of data-juicer do.

    It drops what is too good as well, such as copies of private rows. A row without a score (NaN)
    is never kept.
    """

    name: ClassVar[str] = "range"
    by_rank: ClassVar[bool] = False
    one_cut: ClassVar[bool] = False
    low: float
    high: float

    def __post_init__(self) -> None:
        """Check the ends."""
        for name, value in (("low", self.low), ("high", self.high)):
            if not math.isfinite(value):
                raise ValueError(f"{name} must be a finite number, got {value}.")
        if self.low > self.high:
            raise ValueError(f"low must not be above high, got {self.low} and {self.high}.")

    def select(
        self,
        scores: Scores,
        tie_order: Indices,
        streams: ShadowStreams | None = None,
        pool: Rows | None = None,
    ) -> Selection:
        """Pick every row in the range; ties play no role."""
        return Selection.from_mask(at_least(scores, self.low) & at_least(-scores, -self.high))
