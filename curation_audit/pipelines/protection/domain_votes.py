"""Which labelled domains private rows come from: a histogram under noise."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from curation_audit import checks
from curation_audit.checks import SettingError
from curation_audit.dp.events import Event
from curation_audit.pipelines.protection.base import Budget, ScorerPart, Site
from curation_audit.pipelines.protection.sums import noisy_mean
from curation_audit.pipelines.scorers.class_votes import ClassVotes


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainVotes:
    """Settings of the histogram: every private row votes for the domain that its label names.

    The domains are the labels of the pool, which are public; a pool row scores the votes for its
    domain over the pool rows there. Sensitivity: a row adds one vote, a unit's votes have length
    ``clip`` at most; a vote that moves from one domain to another moves the histogram by sqrt(2).
    """

    name: ClassVar[str] = "domain_votes"
    clip: float = 1.0

    def __post_init__(self) -> None:
        """Check the number."""
        checks.positive(clip=self.clip)

    def prepare(self, budget: Budget, beside: Sequence[Event], site: Site) -> ScorerPart:
        """One Gaussian release of a histogram."""
        of_pool = site.pool.labels
        if of_pool is None or site.private.labels is None:
            raise SettingError(
                f"{'public' if of_pool is None else 'private'}.columns.label",
                f"is missing, but {self.name} counts private rows by it",
                "name the column of domains in both sets",
            )
        public = ClassVotes(np.bincount(of_pool))
        return noisy_mean(public, self.clip, budget, beside, site)
