"""The nearest picked rows vote."""

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

import numpy as np

from curation_audit import checks
from curation_audit.observations import Selection
from curation_audit.pipelines.base import FittedModels, Rows
from curation_audit.pipelines.rules.cut import tie_order
from curation_audit.streams import ShadowStreams
from curation_audit.types import Features, Floats, Indices, Labels, Mask, Probabilities

Metric: TypeAlias = Literal["l2", "cosine"]
Weights: TypeAlias = Literal["uniform", "distance"]
BYTES_PER_PIECE = 1 << 26
SMALLEST = 1e-250  # of squared lengths: its inverse is a number
SAME = 1e-10  # distances closer than this share of the rows' largest squared length are equal
TIE_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Knn:
    """The shares of the classes among the ``k`` nearest picked rows (Cover & Hart 1967).

    ``metric`` is ``l2`` or ``cosine`` (one minus the cosine; a row of zeros has distance 1 to
    all). With ``weights: distance`` a neighbour counts one over its distance; where some lie at
    distance 0, only these count. Of rows at one distance those with the lower keyed hash of
    their id come first. A shadow with fewer than ``k`` rows uses all of them, one without any
    says that all classes are alike.
    """

    name: ClassVar[str] = "knn"
    deterministic: ClassVar[bool] = True
    k: int = 5
    metric: Metric = "l2"
    weights: Weights = "uniform"

    def __post_init__(self) -> None:
        """Check the settings."""
        checks.positive(k=self.k)
        checks.one_of("train.metric", self.metric, ("l2", "cosine"))
        checks.one_of("train.weights", self.weights, ("uniform", "distance"))

    def fit(
        self, pool: Rows, selection: Selection, n_classes: int, *, streams: ShadowStreams
    ) -> FittedModels:
        """Keep the rows that anybody picked, in the order of ties."""
        if pool.labels is None:
            raise ValueError("a downstream model needs labels of the pool.")
        used = np.unique(selection.indices)
        used = used[np.argsort(tie_order([pool.ids[i] for i in used], TIE_SEED))]
        rows = pool.features[used].astype(np.float64)
        return KnnModels(self, rows, pool.labels[used], selection.mask()[:, used], n_classes)


@dataclass(frozen=True, slots=True)
class KnnModels:
    """Rows (u, d) in the order of ties, their labels (u,), and who picked them, bool (S, u)."""

    settings: Knn
    rows: Features
    labels: Labels
    held: Mask
    n_classes: int

    def predict_proba(self, features: Features) -> Probabilities:
        """(rows, d) -> float32 (S, rows, C)."""
        n_shadows, n_used = self.held.shape
        found = np.full((n_shadows, len(features), self.n_classes), 1 / self.n_classes, np.float32)
        if not n_used:
            return found
        # a piece holds distances, their order, and for all shadows the neighbours looked at
        step = max(1, BYTES_PER_PIECE // (n_used * (32 + 8 * n_shadows)))
        for at in range(0, len(features), step):
            asked = features[at : at + step].astype(np.float64)
            found[:, at : at + step] = self._shares(*self._neighbours(asked))
        return found

    def _neighbours(self, asked: Features) -> tuple[Indices, Floats]:
        """All used rows by distance from each row asked about, and the distances: (q, u) twice."""
        ties, distances = distances_between(asked, self.rows, self.settings.metric)
        order = np.argsort(ties, axis=1, kind="stable")
        return order, np.take_along_axis(distances, order, axis=1)

    def _shares(self, order: Indices, distances: Floats) -> Floats:
        """The weighed shares of the classes, (S, q, C); nobody looks further than it must."""
        n_shadows, n_used = self.held.shape
        sizes = self.held.sum(axis=1)
        wanted = np.minimum(self.settings.k, sizes)
        depth = n_used if not sizes.min() else int(4 * wanted.max() * n_used // sizes.min())
        while True:
            depth = min(depth, n_used)
            own = self.held[:, order[:, :depth]]  # (S, q, depth)
            rank = own.cumsum(axis=2, dtype=np.int32)
            if depth == n_used or (rank[:, :, -1] >= wanted[:, None]).all():
                break
            depth *= 2
        own &= rank <= wanted[:, None, None]
        shadow, row, place = np.nonzero(own)
        voter = shadow * len(order) + row
        weight = self._weights(voter, distances[row, place], n_shadows * len(order))
        cell = voter * self.n_classes + self.labels[order[row, place]]
        n_cells = n_shadows * len(order) * self.n_classes
        votes = np.bincount(cell, weight, n_cells).reshape(n_shadows, len(order), self.n_classes)
        total = votes.sum(axis=2, keepdims=True)
        empty = total == 0
        shares: Floats = np.where(empty, 1 / self.n_classes, votes / np.where(empty, 1, total))
        return shares

    def _weights(self, voter: Indices, distances: Floats, n_voters: int) -> Floats:
        """What each neighbour counts beside those of the same shadow and row, both ``voter``."""
        if self.settings.weights == "uniform":
            return np.ones(len(distances))
        at_zero = distances == 0
        some_at_zero = np.bincount(voter, at_zero, n_voters)[voter] > 0
        return np.where(some_at_zero, at_zero, 1 / np.where(at_zero, 1, distances))


def distances_between(asked: Features, rows: Features, metric: Metric) -> tuple[Floats, Floats]:
    """What rows are ordered by, and their distances, both (q, u).

    Squared distances come from products, whose last digits depend on how many rows are asked at
    once; they are rounded before they are compared, so that equal rows are equal.
    """
    if metric == "cosine":
        asked, rows = _unit(asked), _unit(rows)
        squared = 2 - 2 * asked @ rows.T
        grid = SAME
    else:
        center = rows.mean(axis=0)  # products of rows far from 0 would cancel
        asked, rows = asked - center, rows - center
        of_rows = np.einsum("ud,ud->u", rows, rows)
        squared = np.einsum("qd,qd->q", asked, asked)[:, None] + of_rows - 2 * asked @ rows.T
        # where all rows are one, what rounding leaves of it
        scale = max(of_rows.max(), np.finfo(float).eps ** 2 * (center @ center), SMALLEST)
        grid = SAME * 2.0 ** np.ceil(np.log2(scale))
    ties = np.rint(squared / grid)
    squared = np.where(ties <= 0, 0, squared)
    return ties, squared / 2 if metric == "cosine" else np.sqrt(squared)


def _unit(rows: Features) -> Features:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1)
