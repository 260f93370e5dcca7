"""Votes of private rows for public clusters: the private form of ``nearest``."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from curation_audit import checks
from curation_audit.checks import SettingError
from curation_audit.dp.events import Event
from curation_audit.pipelines.protection.base import PATH, Budget, ScorerPart, Site
from curation_audit.pipelines.protection.sums import noisy_mean
from curation_audit.releases.public_maps import VotesMap


@dataclass(frozen=True, slots=True, kw_only=True)
class CentroidVotes:
    """Settings of the votes.

    ``clusters``: how many the pool falls into; fewer have more votes each, and so less noise beside
    them. ``votes``: for how many different clusters a row votes, the nearest ones; exactly so
    many, as ``1 / sqrt(votes)`` each, so that one row has length 1 and more votes have no more
    sensitivity: the votes of k nearest neighbours for public representatives. ``clip``: the
    largest length of a unit's vector of votes.
    """

    name: ClassVar[str] = "centroid_votes"
    clusters: int = 32
    votes: int = 1
    clip: float = 1.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        checks.positive(clusters=self.clusters, votes=self.votes, clip=self.clip)
        if self.votes > self.clusters:
            raise ValueError(f"votes must be at most clusters, got {self.votes}.")

    def prepare(self, budget: Budget, beside: Sequence[Event], site: Site) -> ScorerPart:
        """One Gaussian release of a histogram."""
        if self.clusters > len(site.pool):
            raise SettingError(
                f"{PATH}.clusters",
                f"found {self.clusters}, but the pool has {len(site.pool)} rows",
                "ask for fewer clusters",
            )
        public = VotesMap.of_pool(site.pool.features, self.clusters, site.seed, self.votes)
        return noisy_mean(public, self.clip, budget, beside, site)
