"""Votes of private rows for clusters of the pool (DataComp's image-based filter)."""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from scipy import sparse

from curation_audit import checks
from curation_audit.checks import SettingError
from curation_audit.observations import Linearisation
from curation_audit.pipelines.base import Family, FittedScorers, PrivateRows, Rows, Scorer
from curation_audit.pipelines.scorers.linear import half_weights, linearisation
from curation_audit.releases.public_maps import VotesMap
from curation_audit.results import Adjacency
from curation_audit.streams import ShadowStreams
from curation_audit.types import Features, Floats, Inclusion, Indices, Labels, Scores

SEED = 0  # of the clusters; it is public, and no setting
ROWS_PER_BLOCK = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class CentroidVotes:
    """``score(x)``: how many private rows lie nearest to the centroid that x is nearest to.

    The ``clusters`` are k-means of the pool's rows of length one; nothing private is in them.
    ``score``: the ``votes``, of which ``threshold`` with minimum 1 keeps the occupied clusters as
    DataComp does (Gadre et al. 2023, section 3.4), or their ``density``, votes over the pool rows
    there. The private form is the mechanism of the same name, noise on the votes.
    """

    name: ClassVar[str] = "centroid_votes"
    family: ClassVar[Family] = "linear"
    adjacency: ClassVar[Adjacency] = "add_remove"
    clusters: int = 32
    score: Literal["votes", "density"] = "votes"

    def __post_init__(self) -> None:
        """Check the number."""
        checks.positive(clusters=self.clusters)

    def bind(self, pool: Rows) -> Scorer:
        """The scorer with clusters of this pool.

        Raises:
            SettingError: for more clusters than rows.
        """
        if self.clusters > len(pool):
            raise SettingError(
                "curate.scorer.clusters",
                f"found {self.clusters}, but the pool has {len(pool)} rows",
                "ask for fewer clusters",
            )
        return BoundCentroidVotes(self, VotesMap.of_pool(pool.features, self.clusters, SEED))

    def fit(
        self, private: PrivateRows, inclusion: Inclusion, pool: Rows, *, streams: ShadowStreams
    ) -> FittedScorers:
        """As the bound scorer."""
        return self.bind(pool).fit(private, inclusion, pool, streams=streams)

    def embed(self, features: Features, labels: Labels | None = None) -> Features:
        """Nothing without a pool.

        Raises:
            ValueError: always.
        """
        raise ValueError("clusters are the pool's: bind(pool) first.")

    def linearise(self, private: PrivateRows, pool: Rows) -> Linearisation | None:
        """As the bound scorer."""
        return self.bind(pool).linearise(private, pool)


@dataclass(frozen=True, slots=True, eq=False)
class BoundCentroidVotes:
    """``CentroidVotes`` with the clusters of one pool; ``fit`` does not look at another."""

    name: ClassVar[str] = "centroid_votes"
    family: ClassVar[Family] = "linear"
    adjacency: ClassVar[Adjacency] = "add_remove"
    settings: CentroidVotes
    map: VotesMap

    def describe(self) -> dict[str, Any]:
        """What results are told apart by; all of it is public."""
        return {**asdict(self.settings), "map": self.map.describe()}

    def embed(self, features: Features, labels: Labels | None = None) -> Features:
        """One column a cluster: 1, or one over its size, where the row lies."""
        if self.settings.score == "density":
            return self.map.query(features)
        return self.map.contribution(features).astype(features.dtype)

    def fit(
        self, private: PrivateRows, inclusion: Inclusion, pool: Rows, *, streams: ShadowStreams
    ) -> FittedScorers:
        """All S histograms by one product of the inclusion and sparse votes."""
        clusters = clusters_of(self.map, private.features)
        n_clusters = len(self.map.centroids)
        votes = sparse.csr_array(
            (np.ones(len(private)), clusters, np.arange(len(private) + 1)),
            shape=(len(private), n_clusters),
        )
        counts: Floats = np.asarray(private.row_inclusion(inclusion) @ votes, dtype=np.float64)
        if self.settings.score == "density":
            counts = counts / np.maximum(self.map.sizes, 1)
        return VoteScorers(counts.astype(private.features.dtype), self.map)

    def linearise(self, private: PrivateRows, pool: Rows) -> Linearisation:
        """Exact: a histogram is the minimiser of ``|w - sum of votes|^2 / 2``."""
        votes = self.map.contribution(private.features)
        n_clusters = votes.shape[1]
        return linearisation(
            private,
            reference=half_weights(private) @ votes,
            gradients=-votes,
            hessian=np.eye(n_clusters),
            slopes=np.ones(n_clusters, dtype=bool),
            exact=True,
        )


@dataclass(frozen=True, slots=True)
class VoteScorers:
    """The value of every cluster for S shadows, (S, c)."""

    values: Floats
    map: VotesMap

    def score(self, features: Features, labels: Labels | None = None) -> Scores:
        """(rows, d) -> (S, rows)."""
        scores: Scores = self.values[:, clusters_of(self.map, features)]
        return scores


def clusters_of(votes: VotesMap, features: Features) -> Indices:
    """The cluster of every row, int64 (rows,); blocks keep memory small."""
    return np.concatenate(
        [
            votes.contribution(features[at : at + ROWS_PER_BLOCK]).argmax(axis=1)
            for at in range(0, max(1, len(features)), ROWS_PER_BLOCK)
        ]
    )
