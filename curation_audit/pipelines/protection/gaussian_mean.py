"""One noisy mean (or sum) of clipped rows: the private form of ``mean``, and a first classifier."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from curation_audit import checks
from curation_audit.dp.events import Event
from curation_audit.pipelines.protection.base import Budget, ScorerPart, Site
from curation_audit.pipelines.protection.sums import median_length, noisy_mean
from curation_audit.pipelines.scorers.classifier import Classifier
from curation_audit.pipelines.scorers.mean import Mean
from curation_audit.releases.public_maps import MeanMap, Metric


@dataclass(frozen=True, slots=True, kw_only=True)
class GaussianMean:
    """Settings of the noisy mean.

    ``clip``: the largest length of a unit's vector, by default the median length of a pool row.
    ``whiten``: by the pool's covariance, which makes it linear discriminant analysis; by default
    in place of a classifier. ``center``: rows less the pool's mean; always when whitened.
    ``metric``: that of the scorer, cosine by default.
    """

    name: ClassVar[str] = "gaussian_mean"
    clip: float | None = None
    center: bool = False
    whiten: bool | None = None
    metric: Metric | None = None

    def __post_init__(self) -> None:
        """Check the norm."""
        if self.clip is not None:
            checks.positive(clip=self.clip)

    def map(self, site: Site) -> MeanMap:
        """The public map, taken from the pool."""
        whiten = isinstance(site.scorer, Classifier) if self.whiten is None else self.whiten
        own = site.scorer.metric if isinstance(site.scorer, Mean) else None
        metric: Metric = self.metric or own or ("inner_product" if whiten else "cosine")
        return MeanMap.of_pool(site.pool.features, metric, center=self.center, whiten=whiten)

    def clip_for(self, mapped: np.ndarray) -> float:
        """The clipping norm: as set, or the median length of pool rows (rows, p)."""
        return self.clip or median_length(mapped.astype(np.float64))

    def prepare(self, budget: Budget, beside: Sequence[Event], site: Site) -> ScorerPart:
        """One Gaussian release."""
        public = self.map(site)
        clip = self.clip_for(public.query(site.pool.features))
        return noisy_mean(public, clip, budget, beside, site)
