"""Alignment of gradients along training with the private rows of a subtask (LESS)."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Final, Literal

import numpy as np
import torch
from torch import Tensor

from curation_audit import checks
from curation_audit.observations import Linearisation
from curation_audit.pipelines.base import Family, FittedScorers, PrivateRows, Rows, Scorer
from curation_audit.pipelines.scorers.gradient_kernel import (
    Memo,
    PoolFitted,
    blocks_of,
    check_finite,
    group_means,
    linearised_mean,
    linearised_means,
    pool_labels,
)
from curation_audit.releases.public_maps import unit_rows
from curation_audit.results import Adjacency
from curation_audit.storage import array_digest
from curation_audit.streams import ShadowStreams
from curation_audit.training.device import resolve_device
from curation_audit.training.gradients import (
    Projection,
    cross_entropy,
    logits,
    on_device,
    projected_gradients,
)
from curation_audit.training.public_model import (
    Checkpoint,
    Training,
    fit_checkpoints,
    one_hot,
)
from curation_audit.types import Features, Floats, Inclusion, Indices, Labels, Scores

MOST_SHOWN: Final = 2048
"""Numbers of all subtasks together at most: attacks on linear scores take the cube in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Less(PoolFitted):
    """``score(x) = max_j sum_c w_c <a_c(x), mean over private t in j of b_c(t)>``; 0 for nobody.

    LESS (Xia et al. 2024): at every checkpoint c of a model of the pool, ``b_c(t)`` is the
    gradient of the loss at t, ``a_c(x)`` where Adam would step from the gradient at x, both
    projected and of length one; ``w_c`` is the epoch's mean learning rate over the sum of all.

    ``subtasks``: the private rows by ``labels``, of which a shadow takes those it holds a row of,
    or ``one`` for all. ``epochs``: so many checkpoints. ``hidden``: widths of hidden layers; none
    is a logistic regression. ``projection``: the length of a projected gradient.
    """

    name: ClassVar[str] = "less"
    adjacency: ClassVar[Adjacency] = "add_remove"
    subtasks: Literal["labels", "one"] = "labels"
    hidden: tuple[int, ...] = ()
    epochs: int = 4
    learning_rate: float = 0.01
    projection: int = 128
    device: str = "auto"

    def __post_init__(self) -> None:
        """Check the numbers."""
        checks.positive(
            epochs=self.epochs, learning_rate=self.learning_rate, projection=self.projection
        )
        for width in self.hidden:
            checks.positive(hidden=width)

    @property
    def family(self) -> Family:
        """A maximum over subtasks is not linear."""
        return "linear" if self.subtasks == "one" else "other"

    def bind(self, pool: Rows) -> Scorer:
        """The scorer with checkpoints of a model of this pool.

        Raises:
            SettingError: for a pool without labels, or where training diverges.
        """
        return BoundLess(self, LessMap.of_pool(self, pool))


@dataclass(frozen=True, slots=True, eq=False)
class LessMap:
    """Normalised gradients at all checkpoints, the queries weighted by learning rates."""

    checkpoints: tuple[Checkpoint, ...]
    projection: Projection
    device: str
    memo: Memo = field(default_factory=Memo)

    @classmethod
    def of_pool(cls, settings: Less, pool: Rows) -> "LessMap":
        """Train on the pool."""
        labels = pool_labels(pool, settings.name)
        rows = torch.tensor(pool.features, device=resolve_device(settings.device))
        training = Training(
            hidden=settings.hidden, epochs=settings.epochs, learning_rate=settings.learning_rate
        )
        found = tuple(fit_checkpoints(rows, labels, int(labels.max()) + 1, training))
        check_finite([one.network for one in found])
        return cls(found, Projection(len(found[0].mean), settings.projection), settings.device)

    @property
    def weights(self) -> Floats:
        """The checkpoints' mean learning rates over their sum, (c,)."""
        rates = np.array([one.learning_rate for one in self.checkpoints])
        shares: Floats = rates / rates.sum()
        return shares

    @property
    def n_classes(self) -> int:
        """The pool's classes."""
        return len(self.checkpoints[0].network[-1])

    @property
    def shown(self) -> bool:
        """Whether the means of all subtasks have few enough numbers for attacks to recover them."""
        length = len(self.checkpoints) * self.projection.n_outputs
        return self.n_classes * length <= MOST_SHOWN

    def own_labels(self, features: Features) -> Labels:
        """The likeliest class at the last checkpoint."""
        rows = torch.tensor(features, device=resolve_device(self.device))
        last = on_device(self.checkpoints[-1].network, rows)
        found: Labels = logits(last, rows).argmax(dim=1).cpu().numpy()
        return found

    def query(self, features: Features, labels: Labels | None) -> Features:
        """Adam's directions, side by side and weighted, (rows, c p)."""
        known = self.own_labels(features) if labels is None else labels
        return self.memo.get("query", features, known, lambda: self._query(features, known))

    def contribution(self, features: Features, labels: Labels | None) -> Features:
        """Gradients, side by side, (rows, c p)."""
        known = self.own_labels(features) if labels is None else labels
        return self.memo.get("rows", features, known, lambda: self._contribution(features, known))

    def describe(self) -> dict[str, Any]:
        """A digest of weights and states."""
        parts = {
            f"{c} {i}": part
            for c, one in enumerate(self.checkpoints)
            for i, part in enumerate((*one.network, one.mean, one.square))
        }
        return {"checkpoints": array_digest(parts)}

    def _query(self, features: Features, labels: Labels) -> Features:
        parts = [
            self._unit(one, features, labels, one.direction) * features.dtype.type(weight)
            for one, weight in zip(self.checkpoints, self.weights, strict=True)
        ]
        return np.concatenate(parts, axis=1)

    def _contribution(self, features: Features, labels: Labels) -> Features:
        parts = [self._unit(one, features, labels, None) for one in self.checkpoints]
        return np.concatenate(parts, axis=1)

    def _unit(
        self,
        at: Checkpoint,
        features: Features,
        labels: Labels,
        direction: Callable[[Tensor], Tensor] | None,
    ) -> Features:
        """Projected gradients of length one, or 0 where there is none, (rows, p)."""
        rows = torch.tensor(features, device=resolve_device(self.device))
        network = on_device(at.network, rows)
        targets = one_hot(labels, len(at.network[-1]), rows)
        blocks = projected_gradients(
            cross_entropy, network, rows, targets, self.projection, direction
        )
        found = np.concatenate(
            [np.zeros((0, self.projection.n_outputs), features.dtype)]
            + [one.cpu().numpy() for one in blocks]
        )
        return unit_rows(found)


@dataclass(frozen=True, slots=True, eq=False)
class BoundLess:
    """``Less`` with checkpoints on one pool; ``fit`` does not look at another."""

    name: ClassVar[str] = "less"
    adjacency: ClassVar[Adjacency] = "add_remove"
    settings: Less
    map: LessMap

    @property
    def family(self) -> Family:
        """As its settings."""
        return self.settings.family

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
        """All S means of every subtask by one matrix product."""
        vectors = self.map.contribution(private.features, private.labels)
        groups = self._subtasks(private)
        return LessScorers(
            *group_means(private.row_inclusion(inclusion), vectors, groups), self.map.query
        )

    def linearise(self, private: PrivateRows, pool: Rows) -> Linearisation | None:
        """The means' derivatives by the rows' weights, of all subtasks side by side."""
        if self.settings.subtasks == "labels" and not self.map.shown:
            return None
        rows = private.features.astype(np.float64)
        vectors = self.map.contribution(rows, private.labels)
        if self.settings.subtasks == "one":
            return linearised_mean(private, vectors)
        belongs = self._subtasks(private)[:, None] == np.arange(self.map.n_classes)
        return linearised_means(private, vectors, belongs.astype(np.float64))

    def _subtasks(self, private: PrivateRows) -> Indices:
        if self.settings.subtasks == "one":
            return np.zeros(len(private), dtype=np.int64)
        known = private.labels
        return self.map.own_labels(private.features) if known is None else known


@dataclass(frozen=True, slots=True)
class LessScorers:
    """S means (S, J, p) of J subtasks, and of how many rows each is, int64 (S, J)."""

    means: Features
    counts: Indices
    query: Callable[[Features, Labels | None], Features]

    def score(self, features: Features, labels: Labels | None = None) -> Scores:
        """(rows, d) -> (S, rows)."""
        n_shadows, n_subtasks, p = self.means.shape
        scores = np.full((n_shadows, len(features)), -np.inf, dtype=features.dtype)
        for block in blocks_of(len(features), p):
            of_block = None if labels is None else labels[block]
            queries = self.query(features[block], of_block).T
            for j in range(n_subtasks):
                there = self.counts[:, j] > 0
                best = np.maximum(scores[there, block], self.means[there, j] @ queries)
                scores[there, block] = best
        scores[self.counts.sum(axis=1) == 0] = 0
        return scores
