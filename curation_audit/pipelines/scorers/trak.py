"""Mean TRAK influence on the private rows (Park et al. 2023; DsDm, Engstrom et al. 2024)."""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from curation_audit.observations import Linearisation
from curation_audit.pipelines.base import Family, FittedScorers, PrivateRows, Rows, Scorer
from curation_audit.pipelines.scorers.gradient_kernel import (
    KernelScorers,
    PoolFitted,
    linearised_mean,
)
from curation_audit.pipelines.scorers.trak_map import TrakMap, TrakSettings
from curation_audit.results import Adjacency
from curation_audit.streams import ShadowStreams
from curation_audit.training.device import resolve_device
from curation_audit.types import Features, Inclusion, Labels


@dataclass(frozen=True, slots=True, kw_only=True)
class Trak(TrakSettings, PoolFitted):
    """``score(x) = <query(x), mean of contribution(t) over the private rows t>``; see ``TrakMap``.

    It says how much a pool row, trained on, raises the private rows' log-odds; 0 for an empty
    private set. Models and second moments are the pool's.
    """

    name: ClassVar[str] = "trak"
    family: ClassVar[Family] = "linear"
    adjacency: ClassVar[Adjacency] = "add_remove"

    def bind(self, pool: Rows) -> Scorer:
        """The scorer with models of this pool.

        Raises:
            SettingError: for a pool without labels, or where training diverges.
        """
        return BoundTrak(self, TrakMap.of_pool(self, pool, self.name))


@dataclass(frozen=True, slots=True, eq=False)
class BoundTrak:
    """``Trak`` with the models of one pool; ``fit`` does not look at another."""

    name: ClassVar[str] = "trak"
    family: ClassVar[Family] = "linear"
    adjacency: ClassVar[Adjacency] = "add_remove"
    settings: Trak
    map: TrakMap

    def describe(self) -> dict[str, Any]:
        """What results are told apart by; all of it is public."""
        device = resolve_device(self.settings.device).type
        return {**asdict(self.settings), "device": device, "map": self.map.describe()}

    def embed(self, features: Features, labels: Labels | None = None) -> Features:
        """The queries."""
        return self.map.query(features, labels)

    def fit(
        self, private: PrivateRows, inclusion: Inclusion, pool: Rows, *, streams: ShadowStreams
    ) -> FittedScorers:
        """All S means by one matrix product."""
        vectors = self.map.contribution(private.features, private.labels)
        held = private.row_inclusion(inclusion).astype(vectors.dtype)
        count = np.maximum(held.sum(axis=1, keepdims=True), 1)
        return KernelScorers(held @ vectors / count, self.map.query)

    def linearise(self, private: PrivateRows, pool: Rows) -> Linearisation:
        """The mean's derivative by the rows' weights."""
        rows = private.features.astype(np.float64)
        return linearised_mean(private, self.map.contribution(rows, private.labels))
