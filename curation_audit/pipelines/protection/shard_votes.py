"""Shard and vote: the private form of any scorer, whatever it does."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from curation_audit import checks
from curation_audit.checks import SettingError
from curation_audit.dp.events import Event, Gaussian
from curation_audit.pipelines.protection.base import PATH, Budget, ScorerPart, Site
from curation_audit.pipelines.scorers.shard_votes import ShardVotes, check_at_stake


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardVoting:
    """Settings of the vote.

    Private units are dealt into ``shards``; the scorer of the pipeline, a job of yours included,
    is fitted on each alone, and each votes for its best ``picks`` rows. What is released are the
    counts, under noise. A row that all shards agree on counts ``shards``, the noise is
    ``sqrt(2 picks) / mu``: with fewer than about ``3 sqrt(2 picks) / mu`` shards it hides
    everything.
    """

    name: ClassVar[str] = "shard_votes"
    shards: int = 20
    picks: int = 10

    def __post_init__(self) -> None:
        """Check the numbers."""
        checks.positive(shards=self.shards, picks=self.picks)

    def prepare(self, budget: Budget, beside: Sequence[Event], site: Site) -> ScorerPart:
        """One Gaussian release of the counts."""
        if self.picks > len(site.pool):
            raise SettingError(
                f"{PATH}.picks",
                f"found {self.picks}, but the pool has {len(site.pool)} rows",
                "ask for fewer picks",
            )
        check_at_stake(site.private)
        mu = budget.mu_left(beside)
        scorer = ShardVotes(
            scorer=site.scorer,
            shards=self.shards,
            picks=self.picks,
            mu=mu,
            adjacency_of_claim=site.adjacency,
            seed=site.seed,
        )
        drowned = mu < math.inf and self.shards < 3 * scorer.sigma
        return ScorerPart(
            scorer=scorer,
            event=None if mu == math.inf else Gaussian(mu=mu, what=f"scorer ({self.name})"),
            sensitivity=(
                f"L2 sensitivity of the counts {scorer.sensitivity:.6g}: a unit is in one shard, "
                f"which casts exactly {self.picks} votes, for different rows, with and without it"
            ),
            notes=(
                f"{self.shards} shards that all agree hardly stand out of noise of "
                f"{scorer.sigma:.3g}: use more shards or fewer picks",
            )
            if drowned
            else (),
        )
