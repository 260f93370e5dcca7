"""A kernel density of the private set by random Fourier features: the private form of a density."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from curation_audit import checks
from curation_audit.dp.events import Event
from curation_audit.pipelines.protection.base import Budget, ScorerPart, Site
from curation_audit.pipelines.protection.sums import noisy_mean
from curation_audit.releases.density_maps import FourierMap


@dataclass(frozen=True, slots=True, kw_only=True)
class RffDensity:
    """Settings of the density.

    Sensitivity: every row's features have length one, whatever the row, so that a unit of one row
    is never clipped at ``clip`` 1; one row that replaces another moves the sum by at most 2.
    ``frequencies``: more are a better kernel and have more noise in them. ``bandwidth`` of the
    Gaussian kernel, by default the median distance between pool rows.
    """

    name: ClassVar[str] = "rff_density"
    frequencies: int = 128
    bandwidth: float | None = None
    clip: float = 1.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        checks.positive(frequencies=self.frequencies, clip=self.clip)
        if self.bandwidth is not None:
            checks.positive(bandwidth=self.bandwidth)

    def prepare(self, budget: Budget, beside: Sequence[Event], site: Site) -> ScorerPart:
        """One Gaussian release of the features' sum."""
        public = FourierMap.of_pool(site.pool.features, self.frequencies, self.bandwidth, site.seed)
        return noisy_mean(public, self.clip, budget, beside, site)
