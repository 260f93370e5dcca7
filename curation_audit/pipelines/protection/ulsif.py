"""A density ratio, private over pool, with everything public but one noisy mean of kernels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from curation_audit import checks
from curation_audit.checks import SettingError
from curation_audit.dp.events import Event
from curation_audit.pipelines.protection.base import PATH, Budget, ScorerPart, Site
from curation_audit.pipelines.protection.sums import median_length, noisy_mean
from curation_audit.releases.density_maps import RatioMap


@dataclass(frozen=True, slots=True, kw_only=True)
class Ulsif:
    """Settings of the ratio.

    Sensitivity: a unit adds kernels at ``centers`` public centres, none of them negative, clipped
    to ``clip`` (by default the median length over pool rows): one that replaces another moves the
    sum by at most ``sqrt(2) clip``. The usual method takes centres from the private sample and
    tunes ``bandwidth`` and ``ridge`` on it; here the first is the median distance between pool
    rows, and the second is as set, in units of the mean second moment.
    """

    name: ClassVar[str] = "ulsif"
    centers: int = 64
    bandwidth: float | None = None
    ridge: float = 0.1
    clip: float | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        checks.positive(centers=self.centers, ridge=self.ridge)
        for name in ("bandwidth", "clip"):
            if getattr(self, name) is not None:
                checks.positive(**{name: getattr(self, name)})

    def prepare(self, budget: Budget, beside: Sequence[Event], site: Site) -> ScorerPart:
        """One Gaussian release of the kernels' sum."""
        if self.centers > len(site.pool):
            raise SettingError(
                f"{PATH}.centers",
                f"found {self.centers}, but the pool has {len(site.pool)} rows",
                "ask for fewer centers",
            )
        pool = site.pool.features
        public = RatioMap.of_pool(pool, self.centers, self.bandwidth, self.ridge, site.seed)
        clip = self.clip or median_length(public.contribution(pool))
        return noisy_mean(public, clip, budget, beside, site)
