"""TRAK from one noisy sum of gradients: the private form of ``trak``."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from curation_audit import checks
from curation_audit.dp.events import Event
from curation_audit.pipelines.protection.base import Budget, ScorerPart, Site
from curation_audit.pipelines.protection.sums import median_length, noisy_mean
from curation_audit.pipelines.scorers.gradient_sums import GradientSum
from curation_audit.pipelines.scorers.trak import BoundTrak, Trak
from curation_audit.pipelines.scorers.trak_map import TrakMap


@dataclass(frozen=True, slots=True, kw_only=True)
class TrakSum:
    """Settings of the sum of gradients, of all models side by side.

    Models, projections and second moments are the pool's, as ``curate.scorer`` says where that is
    ``trak``, and as ``trak`` has them by default elsewhere; their inverses are read after the
    noise, and free. Sensitivity: a unit's gradients are clipped to ``clip``, by default the median
    length over pool rows; one that replaces another moves the sum by at most ``2 clip``.
    """

    name: ClassVar[str] = "trak_sum"
    clip: float | None = None

    def __post_init__(self) -> None:
        """Check the number."""
        if self.clip is not None:
            checks.positive(clip=self.clip)

    def prepare(self, budget: Budget, beside: Sequence[Event], site: Site) -> ScorerPart:
        """One Gaussian release."""
        public = GradientSum(name=self.name, map=_map(site))
        vectors = public.contribution(site.pool.features, site.pool.labels)
        clip = self.clip or median_length(vectors)
        return noisy_mean(public, clip, budget, beside, site)


def _map(site: Site) -> TrakMap:
    """The models of the pipeline's own scorer, or such as ``trak`` has by default."""
    if isinstance(site.scorer, BoundTrak):
        return site.scorer.map
    settings = site.scorer if isinstance(site.scorer, Trak) else Trak(device=site.device)
    return TrakMap.of_pool(settings, site.pool, Trak.name)
