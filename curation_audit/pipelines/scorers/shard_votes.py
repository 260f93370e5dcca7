"""Shards of private units that each pick by any scorer, and one noisy count of their picks."""

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from curation_audit.checks import SettingError
from curation_audit.observations import Linearisation
from curation_audit.pipelines.base import (
    ALWAYS_IN,
    Family,
    FittedScorers,
    PrivateRows,
    Rows,
    Scorer,
)
from curation_audit.pipelines.rules.cut import tie_hashes, tie_order
from curation_audit.pipelines.rules.top import best_rows
from curation_audit.pipelines.scorers.noisy_sum import NOISE_STREAM
from curation_audit.results import Adjacency
from curation_audit.streams import ShadowStreams
from curation_audit.types import Features, Floats, Inclusion, Indices, Labels, Scores


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardVotes:
    """How many of the ``shards`` pick a pool row, each its best ``picks``, plus Gaussian noise.

    ``mu`` is that of the trade-off curve, infinite for no noise. A unit is in one shard, whose
    scorer is fitted on that shard's rows and on nothing else that is private: which it is follows
    from the unit's place, or from a hash of its id where units come and go.
    """

    name: ClassVar[str] = "shard_votes"
    family: ClassVar[Family] = "other"
    scorer: Scorer
    shards: int
    picks: int
    mu: float
    adjacency_of_claim: Adjacency
    seed: int

    @property
    def adjacency(self) -> Adjacency:
        """The game that a coin plays."""
        return "add_remove" if self.adjacency_of_claim == "add_remove" else "zero_out"

    @property
    def sensitivity(self) -> float:
        """In L2: a shard casts ``picks`` votes whatever is in it, and may change all of them."""
        return math.sqrt(2 * self.picks)

    @property
    def sigma(self) -> float:
        """The standard deviation of the noise on every count."""
        return self.sensitivity / self.mu

    def describe(self) -> dict[str, Any]:
        """What results are told apart by; all of it is public."""
        constants = {
            "shards": self.shards,
            "picks": self.picks,
            "mu": self.mu if math.isfinite(self.mu) else None,
            "adjacency": self.adjacency_of_claim,
            "seed": self.seed,
        }
        of_shards = self.scorer.describe() if hasattr(self.scorer, "describe") else self.scorer
        return {**constants, "scorer": f"{self.scorer.name}: {of_shards}"}

    def embed(self, features: Features, labels: Labels | None = None) -> Features:
        """As the scorer of the shards."""
        return self.scorer.embed(features, labels)

    def linearise(self, private: PrivateRows, pool: Rows) -> Linearisation | None:
        """Picks are not linear in the coins."""
        return None

    def fit(
        self, private: PrivateRows, inclusion: Inclusion, pool: Rows, *, streams: ShadowStreams
    ) -> FittedScorers:
        """Shard after shard; of a shard all shadows together.

        Raises:
            SettingError: for private rows that are in every shadow, which would be in every shard.
        """
        counts = self.counts(private, inclusion, pool, streams)
        if self.sigma > 0:
            noise = [one.standard_normal(len(pool)) for one in streams.generators(NOISE_STREAM)]
            counts = counts + self.sigma * np.stack(noise)
        return CountedRows(counts.astype(pool.features.dtype))

    def counts(
        self, private: PrivateRows, inclusion: Inclusion, pool: Rows, streams: ShadowStreams
    ) -> Floats:
        """The votes without noise, (S, m)."""
        check_at_stake(private)
        shard, rank = self.shard_of(private), tie_order(pool.ids, self.seed)
        counts = np.zeros((len(inclusion), len(pool)))
        for one in range(self.shards):
            of_shard = replace(streams, scope=f"{streams.scope}/shard {one}")
            members = np.flatnonzero(shard == one)
            scores = np.zeros((len(inclusion), len(pool)), dtype=pool.features.dtype)
            if len(members):
                fitted = self.scorer.fit(
                    private.only(members), inclusion[:, members], pool, streams=of_shard
                )
                scores = fitted.score(pool.features, pool.labels)
            counts += best_rows(scores, rank, self.picks).mask()
        return counts

    def shard_of(self, private: PrivateRows) -> Indices:
        """The shard of every unit, int64 (N,): by place where places stay, else by id."""
        if self.adjacency_of_claim != "add_remove":
            return np.arange(private.n_candidates) % self.shards
        hashes = tie_hashes(private.unit_ids, f"shards {self.seed}")
        return (hashes % np.uint64(self.shards)).astype(np.int64)


def check_at_stake(private: PrivateRows) -> None:
    """Raise ``SettingError`` for private rows that are in every shadow."""
    if (private.unit == ALWAYS_IN).any():
        raise SettingError(
            "attack.targets",
            "found private rows that every shadow holds, which no shard could be without",
            "shard_votes needs attack.targets: all, and no canaries",
        )


@dataclass(frozen=True, slots=True)
class CountedRows:
    """Noisy counts of the pool's rows, (S, m)."""

    counts: Scores

    def score(self, features: Features, labels: Labels | None = None) -> Scores:
        """The counts; of the pool that was voted on, and of no other rows."""
        if len(features) != self.counts.shape[1]:
            raise ValueError("votes are for the rows of one pool.")
        return self.counts
