"""Public maps from rows to vectors: what a private unit adds to a sum, and how a row reads it.

Everything in them comes from the pool. A row's score is the inner product of its ``query`` with
the released sum of ``contribution``.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, TypeAlias

import numpy as np

from curation_audit.types import Features, Floats, Indices, Labels

Metric: TypeAlias = Literal["cosine", "inner_product"]
RELATIVE_RANK = 1e-6
ROWS_PER_BLOCK = 65536
ROWS_OF_PRODUCT = 256
COLUMNS_OF_BUFFER = 4096  # half of numpy's buffer
MOST_FITTED = 50_000  # rows that clusters are fitted to


class StatisticMap(Protocol):
    """What units add to a noisy sum, and how rows read it; its fields are public constants.

    ``labels`` are codes of the pool's classes; most maps do not look at them.
    """

    @property
    def name(self) -> str:
        """The mechanism that releases such a sum, as in pipeline files."""
        ...

    @property
    def nonnegative(self) -> bool:
        """Whether no contribution has a negative entry."""
        ...

    def contribution(self, features: Features, labels: Labels | None = None) -> Floats:
        """What private rows add to the sum, (rows, d) -> float64 (rows, p)."""
        ...

    def query(self, features: Features, labels: Labels | None = None) -> Features:
        """How rows read the sum, (rows, d) -> (rows, p)."""
        ...

    def describe(self) -> dict[str, Any]:
        """What results are told apart by."""
        ...


class PublicMap(StatisticMap, Protocol):
    """A map of features alone, which has a file: what a release scores rows by."""

    def scores(self, rows: Floats, weights: Floats) -> Floats:
        """``query(rows) @ weights``, float64 (rows, d), (p,) -> (rows,).

        To the last bit the score of a row does not depend on the rows beside it.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class MeanMap:
    """Rows as they are, or of length one; less a public centre, by a public whitening.

    ``center`` (d,) and ``root`` (d, p); without whitening ``root`` is ``None``.
    """

    name: ClassVar[str] = "gaussian_mean"
    nonnegative: ClassVar[bool] = False
    metric: Metric
    center: Floats | None = None
    root: Floats | None = None

    @classmethod
    def of_pool(cls, pool: Features, metric: Metric, *, center: bool, whiten: bool) -> "MeanMap":
        """Take centre and covariance of the pool."""
        rows = unit_rows(pool) if metric == "cosine" else pool
        mean = rows.mean(axis=0, dtype=np.float64)
        if not whiten:
            return cls(metric, mean if center else None)
        centred = rows.astype(np.float64) - mean
        values, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
        kept = values > RELATIVE_RANK * values.max(initial=0)
        return cls(metric, mean, vectors[:, kept] / np.sqrt(values[kept]))

    def contribution(self, features: Features, labels: Labels | None = None) -> Floats:
        """(rows, d) -> float64 (rows, p)."""
        return self._mapped(features.astype(np.float64))

    def query(self, features: Features, labels: Labels | None = None) -> Features:
        """(rows, d) -> (rows, p), in the features' dtype."""
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite counts as zero
            return self._mapped(features).astype(features.dtype)

    def scores(self, rows: Floats, weights: Floats) -> Floats:
        """By one vector: whitening and centre are applied to the weights, not to the rows."""
        slopes = weights if self.root is None else self.root @ weights
        products = row_products(rows, slopes)
        if self.metric == "cosine":
            length = np.sqrt(row_squares(rows))
            products /= np.where(length > 0, length, 1)
        return products if self.center is None else products - self.center @ slopes

    def describe(self) -> dict[str, Any]:
        """The metric, and digests of the public arrays."""
        return {
            "metric": self.metric,
            "center": digest(self.center),
            "root": digest(self.root),
        }

    def _mapped(self, features: Features) -> Floats:
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite counts as zero
            rows = unit_rows(features) if self.metric == "cosine" else features
            centred = rows if self.center is None else rows - self.center
            mapped = centred if self.root is None else centred @ self.root
            return np.asarray(mapped, dtype=np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class VotesMap:
    """Votes of every private row for the nearest of some public centroids.

    A pool row reads the votes for its own centroid over the number of pool rows there: a density
    ratio. ``centroids`` (c, d) have length one, ``sizes`` (c,) count pool rows. Every private row
    votes for exactly ``votes`` different centroids, each by ``1 / sqrt(votes)``: a row's vector
    has length one whatever the row.
    """

    name: ClassVar[str] = "centroid_votes"
    nonnegative: ClassVar[bool] = True
    centroids: Floats
    sizes: Indices
    votes: int = 1

    @classmethod
    def of_pool(cls, pool: Features, clusters: int, seed: int, votes: int = 1) -> "VotesMap":
        """K-means on the pool's rows of length one, or on some of many, by a public seed."""
        from sklearn.cluster import KMeans

        rows = unit_rows(pool)
        if len(rows) > MOST_FITTED:
            chosen = np.random.default_rng(seed).permutation(len(rows))[:MOST_FITTED]
            rows = rows[np.sort(chosen)]
        found = KMeans(clusters, n_init=1, random_state=seed).fit(rows)
        centroids = np.asarray(unit_rows(found.cluster_centers_), dtype=np.float64)
        nearest = _nearest(pool, centroids)
        return cls(centroids, np.bincount(nearest, minlength=len(centroids)), votes)

    def contribution(self, features: Features, labels: Labels | None = None) -> Floats:
        """Votes, (rows, d) -> float64 (rows, c)."""
        if self.votes == 1:
            return self._one_hot(features)
        found = np.zeros((len(features), len(self.centroids)))
        for at in range(0, len(features), ROWS_PER_BLOCK):
            block = slice(at, at + ROWS_PER_BLOCK)
            with np.errstate(over="ignore", invalid="ignore"):  # as for the nearest
                near = features[block].astype(np.float64) @ self.centroids.T
            chosen = np.argpartition(-near, self.votes - 1, axis=1)[:, : self.votes]
            np.put_along_axis(found[block], chosen, 1 / np.sqrt(self.votes), axis=1)
        return found

    def query(self, features: Features, labels: Labels | None = None) -> Features:
        """One-hot over the centroid's size, (rows, d) -> (rows, c)."""
        return (self._one_hot(features) / np.maximum(self.sizes, 1)).astype(features.dtype)

    def scores(self, rows: Floats, weights: Floats) -> Floats:
        """The weight of each row's cluster over the cluster's size."""
        value = weights / np.maximum(self.sizes, 1)
        whole = np.isfinite(rows).all(axis=1)
        return np.where(whole, value[_nearest_alone(rows, self.centroids)], np.nan)

    def describe(self) -> dict[str, Any]:
        """Digests of the public arrays."""
        arrays = {"centroids": digest(self.centroids), "sizes": digest(self.sizes)}
        return arrays if self.votes == 1 else {**arrays, "votes": self.votes}

    def _one_hot(self, features: Features) -> Floats:
        votes = np.zeros((len(features), len(self.centroids)))
        votes[np.arange(len(features)), _nearest(features, self.centroids)] = 1
        return votes


def _nearest(features: Features, centroids: Floats) -> Indices:
    """The most similar centroid of every row, int64 (rows,); blocks keep memory small."""
    with np.errstate(over="ignore", invalid="ignore"):  # a huge row votes for some centroid, too
        blocks = [
            (features[at : at + ROWS_PER_BLOCK].astype(np.float64) @ centroids.T).argmax(axis=1)
            for at in range(0, max(1, len(features)), ROWS_PER_BLOCK)
        ]
    return np.concatenate(blocks)


def unit_rows(features: Features) -> Features:
    """Rows scaled to length one; a row of zeros stays zero."""
    length = np.linalg.norm(features, axis=1, keepdims=True)
    unit: Features = features / np.where(length > 0, length, 1)
    return unit


def row_products(rows: Floats, weights: Floats) -> Floats:
    """``rows @ weights`` in one order of summation for every row, (rows, d), (d,) -> (rows,).

    BLAS sums a row otherwise by where in a batch it stands; numpy's own loop does not, for as many
    columns as fit its buffer.
    """
    total = np.zeros(len(rows))
    for at in range(0, len(weights), COLUMNS_OF_BUFFER):
        part = slice(at, at + COLUMNS_OF_BUFFER)
        total += np.einsum("ij,j->i", np.ascontiguousarray(rows[:, part]), weights[part])
    return total


def row_squares(rows: Floats) -> Floats:
    """The squared length of every row, (rows, d) -> (rows,); summed as ``row_products`` sums."""
    total = np.zeros(len(rows))
    for at in range(0, rows.shape[1], COLUMNS_OF_BUFFER):
        part = np.ascontiguousarray(rows[:, at : at + COLUMNS_OF_BUFFER])
        total += np.einsum("ij,ij->i", part, part)
    return total


def _nearest_alone(rows: Floats, centroids: Floats) -> Indices:
    """As ``_nearest``, by products in blocks of one shape: equal rows have equal products."""
    nearest = np.empty(len(rows), dtype=np.int64)
    block = np.zeros((ROWS_OF_PRODUCT, rows.shape[1]))
    for at in range(0, len(rows), ROWS_OF_PRODUCT):
        part = rows[at : at + ROWS_OF_PRODUCT]
        block[: len(part)] = part
        nearest[at : at + len(part)] = (block @ centroids.T).argmax(axis=1)[: len(part)]
    return nearest


def digest(array: np.ndarray | None) -> str | None:
    """SHA-256 of an array's bytes."""
    if array is None:
        return None
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
