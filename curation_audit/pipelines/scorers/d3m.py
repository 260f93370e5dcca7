"""TRAK influence on the groups that the model is worst at (D3M, Jain et al. 2024)."""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from curation_audit.observations import Linearisation
from curation_audit.pipelines.base import Family, FittedScorers, PrivateRows, Rows, Scorer
from curation_audit.pipelines.scorers.gradient_kernel import (
    KernelScorers,
    PoolFitted,
    group_means,
    linearised,
)
from curation_audit.pipelines.scorers.linear import half_weights
from curation_audit.pipelines.scorers.trak_map import TrakMap, TrakSettings
from curation_audit.results import Adjacency
from curation_audit.streams import ShadowStreams
from curation_audit.training.device import resolve_device
from curation_audit.types import Features, Inclusion, Indices, Labels


@dataclass(frozen=True, slots=True, kw_only=True)
class D3m(TrakSettings, PoolFitted):
    """``score(x) = 1/|G| sum_g loss_g * mean over private t in g of tau(x, t)``; 0 for nobody.

    ``tau`` is the influence of TRAK (see ``TrakMap``), the groups g are the private labels, and
    ``loss_g`` the public models' mean cross-entropy of the private rows in g. Means, losses and
    which groups there are come from the rows that a shadow holds; models are the pool's.
    """

    name: ClassVar[str] = "d3m"
    family: ClassVar[Family] = "linear"
    adjacency: ClassVar[Adjacency] = "add_remove"

    def bind(self, pool: Rows) -> Scorer:
        """The scorer with models of this pool.

        Raises:
            SettingError: for a pool without labels, or where training diverges.
        """
        return BoundD3m(self, TrakMap.of_pool(self, pool, self.name))


@dataclass(frozen=True, slots=True, eq=False)
class BoundD3m:
    """``D3m`` with the models of one pool; ``fit`` does not look at another."""

    name: ClassVar[str] = "d3m"
    family: ClassVar[Family] = "linear"
    adjacency: ClassVar[Adjacency] = "add_remove"
    settings: D3m
    map: TrakMap

    def describe(self) -> dict[str, Any]:
        """What results are told apart by; all of it is public."""
        device = resolve_device(self.settings.device).type
        return {**asdict(self.settings), "device": device, "map": self.map.describe()}

    def embed(self, features: Features, labels: Labels | None = None) -> Features:
        """The queries of TRAK."""
        return self.map.query(features, labels)

    def fit(
        self, private: PrivateRows, inclusion: Inclusion, pool: Rows, *, streams: ShadowStreams
    ) -> FittedScorers:
        """All S weighted means by one matrix product a group."""
        rows, groups = _rows(self.map, private, private.features)
        means, counts = group_means(private.row_inclusion(inclusion), rows, groups)
        vectors, losses = means[:, :, :-1], means[:, :, -1:]
        n_groups = np.maximum((counts > 0).sum(axis=1), 1).astype(rows.dtype)
        return KernelScorers((losses * vectors).sum(axis=1) / n_groups[:, None], self.map.query)

    def linearise(self, private: PrivateRows, pool: Rows) -> Linearisation:
        """The derivative of means and losses by the rows' weights.

        How many groups there are is not smooth; it is taken as that of all private rows.
        """
        rows, groups = _rows(self.map, private, private.features.astype(np.float64))
        weights = half_weights(private)
        there, group = np.unique(groups, return_inverse=True)
        member = (group[:, None] == np.arange(len(there))) * weights[:, None]
        totals = member.sum(axis=0)
        means = (member.T @ rows) / totals[:, None]  # (G, p + 1)
        moved = (rows - means[group]) / totals[group, None]
        influence = moved[:, :-1] * means[group, -1:] + means[group, :-1] * moved[:, -1:]
        reference = (means[:, :-1] * means[:, -1:]).mean(axis=0)
        return linearised(private, reference, influence / len(there))


def _rows(of: TrakMap, private: PrivateRows, features: Features) -> tuple[Features, Indices]:
    """Contributions and losses side by side, (rows, p + 1), and the groups, int64 (rows,)."""
    labels = of.own_labels(features) if private.labels is None else private.labels
    losses = of.losses(features, labels)
    return np.column_stack([of.contribution(features, labels), losses]), labels
