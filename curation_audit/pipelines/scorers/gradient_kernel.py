"""The kernel of scorers that see gradients: ``s(x) = <query(x), mean of contribution(t)>``.

Both sides are public maps, made of models of the labelled pool alone; only which private rows
enter the mean is private. So S shadows are one matrix product with the inclusion.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from sklearn.covariance import ledoit_wolf

from curation_audit.checks import SettingError
from curation_audit.observations import Linearisation
from curation_audit.pipelines.base import ALWAYS_IN, FittedScorers, PrivateRows, Rows, Scorer
from curation_audit.pipelines.scorers.linear import half_weights
from curation_audit.storage import array_digest
from curation_audit.streams import ShadowStreams
from curation_audit.training.public_model import Network
from curation_audit.types import Features, Floats, Inclusion, Indices, Labels, Mask, Scores

MOST_NUMBERS = 2**26  # of queries at a time, and of what is kept of them


class GradientMap(Protocol):
    """Two public maps from rows and labels to vectors; a row without a label gets the model's."""

    def query(self, features: Features, labels: Labels | None) -> Features:
        """How pool rows read a mean, (rows, d) -> (rows, p)."""
        ...

    def contribution(self, features: Features, labels: Labels | None) -> Features:
        """What private rows add to a mean, (rows, d) -> (rows, p)."""
        ...

    def own_labels(self, features: Features) -> Labels:
        """The likeliest class of every row, int64 (rows,)."""
        ...

    def describe(self) -> dict[str, Any]:
        """Digests of the public arrays."""
        ...


class PoolFitted:
    """What settings share whose scorer exists only once a pool is there."""

    __slots__ = ()

    def bind(self, pool: Rows) -> Scorer:
        """The scorer, with its public parts made from the pool."""
        raise NotImplementedError

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
        raise ValueError("gradients need a model of the pool: bind(pool) first.")

    def linearise(self, private: PrivateRows, pool: Rows) -> Linearisation | None:
        """As the bound scorer."""
        return self.bind(pool).linearise(private, pool)


def pool_labels(pool: Rows, name: str) -> Labels:
    """The labels that the public model learns.

    Raises:
        SettingError: where there are none.
    """
    if pool.labels is None:
        raise SettingError(
            "public.columns.label",
            f"is missing, but {name} takes gradients of a model of the pool's labels",
            "name the column of labels",
        )
    return pool.labels


def check_finite(networks: Sequence[Network]) -> None:
    """Raise ``SettingError`` where training diverged."""
    if not all(np.isfinite(part).all() for network in networks for part in network):
        raise SettingError(
            "curate.scorer.learning_rate",
            "the model of the pool did not converge: its weights are not finite",
            "try a smaller one",
        )


class Memo:
    """The last results, by the content of what they were made of, as far as there is room.

    Chunks of shadows score the same pool, whose gradients are the expensive part. It stays behind
    when its owner travels to a worker process.
    """

    def __init__(self) -> None:
        """Keep nothing yet."""
        self._kept: dict[str, Features] = {}

    def __reduce__(self) -> tuple[type["Memo"], tuple[()]]:
        """Travel empty."""
        return Memo, ()

    def get(
        self, of: str, features: Features, labels: Labels, compute: Callable[[], Features]
    ) -> Features:
        """What ``compute()`` gives, once for the same ``of``, features and labels."""
        key = f"{of} {array_digest({'features': features, 'labels': labels})}"
        if key in self._kept:
            return self._kept[key]
        found = compute()
        found.setflags(write=False)
        if found.size <= MOST_NUMBERS:
            self._kept[key] = found
            while sum(one.size for one in self._kept.values()) > MOST_NUMBERS:
                del self._kept[next(iter(self._kept))]
        return found


def group_means(held: Mask, vectors: Features, groups: Indices) -> tuple[Features, Indices]:
    """Means of what each shadow holds, by group.

    Shapes: held (S, n), vectors (n, p), groups int64 (n,) from 0 to G - 1 -> means (S, G, p),
    0 for an empty group, and how many rows they are of, int64 (S, G).
    """
    n_groups = int(groups.max(initial=0)) + 1
    member = groups[:, None] == np.arange(n_groups)
    counts: Indices = held.astype(np.int64) @ member
    means = np.empty((len(held), n_groups, vectors.shape[1]), dtype=vectors.dtype)
    for g in range(n_groups):
        mine = member[:, g]
        sums = held[:, mine].astype(vectors.dtype) @ vectors[mine]
        means[:, g] = sums / np.maximum(counts[:, g, None], 1).astype(vectors.dtype)
    return means, counts


@dataclass(frozen=True, slots=True)
class KernelScorers:
    """S weight vectors (S, p), read by the queries of rows in blocks."""

    weights: Features
    query: Callable[[Features, Labels | None], Features]

    def score(self, features: Features, labels: Labels | None = None) -> Scores:
        """(rows, d) -> (S, rows)."""
        scores = np.empty((len(self.weights), len(features)), dtype=features.dtype)
        for block in blocks_of(len(features), self.weights.shape[1]):
            of_block = None if labels is None else labels[block]
            scores[:, block] = self.weights @ self.query(features[block], of_block).T
        return scores


def blocks_of(n_rows: int, p: int) -> list[slice]:
    """Rows in blocks, so that vectors (rows, p) fit."""
    step = max(1, MOST_NUMBERS // p)
    return [slice(start, start + step) for start in range(0, n_rows, step)]


def linearised(private: PrivateRows, reference: Floats, influence: Floats) -> Linearisation:
    """A released vector, linearised at half weights.

    Args:
        private: the private rows, for the grouping into units.
        reference: the vector there, (p,).
        influence: by how much it moves with the weight of each private row, (rows, p).

    The second moment is shrunk (Ledoit & Wolf 2004), as there may be fewer candidates than
    coordinates.
    """
    per_unit = np.zeros((private.n_candidates, len(reference)))
    at_stake = private.unit != ALWAYS_IN
    np.add.at(per_unit, private.unit[at_stake], influence[at_stake])
    second_moment = ledoit_wolf(per_unit, assume_centered=True)[0]
    return Linearisation(
        reference=reference,
        influence=per_unit,
        covariance=private.n_candidates / 4 * second_moment,
        slopes=np.ones(len(reference), dtype=bool),
    )


def linearised_mean(private: PrivateRows, vectors: Features) -> Linearisation:
    """The mean of the rows' vectors (rows, p), linearised at half weights."""
    weights, rows = half_weights(private), vectors.astype(np.float64)
    reference = weights @ rows / weights.sum()
    first_order = linearised(private, reference, (rows - reference) / weights.sum())
    return replace(first_order, exact=True)


def linearised_means(private: PrivateRows, vectors: Features, belongs: Floats) -> Linearisation:
    """Means of the rows' vectors (rows, p) by group, side by side, linearised at half weights.

    ``belongs`` float64 (rows, G) is 1 where a row is in a group, 0 elsewhere; a group without rows
    has the mean 0.
    """
    weights, rows = half_weights(private), vectors.astype(np.float64)
    total = weights @ belongs
    means = (weights[:, None] * belongs).T @ rows / np.maximum(total, 1e-9)[:, None]
    moved = belongs[:, :, None] * (rows[:, None, :] - means) / np.maximum(total, 1e-9)[:, None]
    found = linearised(private, means.ravel(), moved.reshape(len(rows), -1))
    return replace(found, blocks=means)
