"""Similarity to the nearest private rows (DataComp's image-based filter; every kNN retrieval)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from curation_audit import checks
from curation_audit.pipelines.base import Family, FittedScorers, PrivateRows, Rows
from curation_audit.releases.public_maps import COLUMNS_OF_BUFFER, unit_rows
from curation_audit.results import Adjacency
from curation_audit.streams import ShadowStreams
from curation_audit.types import Features, Inclusion, Indices, Labels, Mask, Scores

N_NEAREST = 24
PER_FURTHER = 4  # places on a list for each row beyond the first that a shadow needs
LONGER_LIST = 8
EMPTY = -1.0  # the lowest cosine
ROWS_PER_BLOCK = 256
COLUMNS_PER_GROUP = 16
MOST_NUMBERS = 2**23  # of pairs of rows at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearest:
    """``score(x) = mean of s(x, t) over the j private rows t with the largest s``; all if fewer.

    ``metric``: ``s`` is the cosine, the inner product, or minus the distance (``l2``). For an empty
    private set the score is the lowest that two rows can have which are no longer than the
    longest pool row R: -1, ``-R^2`` or ``-2 R``.
    """

    name: ClassVar[str] = "nearest"
    adjacency: ClassVar[Adjacency] = "add_remove"
    metric: Literal["cosine", "inner_product", "l2"] = "cosine"
    j: int = 1

    def __post_init__(self) -> None:
        """Check j."""
        checks.positive(j=self.j)

    @property
    def family(self) -> Family:
        """A mean of several is no maximum, and minus a distance no inner product."""
        return "nearest" if self.j == 1 and self.metric != "l2" else "other"

    def embed(self, features: Features, labels: Labels | None = None) -> Features:
        """Rows as the similarity sees them: for a cosine scaled to length one."""
        return unit_rows(features) if self.metric == "cosine" else features

    def unembed(self, embedded: Features, length: float) -> Features:
        """The rows themselves; of that length where the similarity forgets it."""
        return unit_rows(embedded) * length if self.metric == "cosine" else embedded

    def fit(
        self, private: PrivateRows, inclusion: Inclusion, pool: Rows, *, streams: ShadowStreams
    ) -> FittedScorers:
        """Keep the private rows and who holds them; the search happens when rows are scored."""
        longest = float(np.linalg.norm(pool.features, axis=1).max(initial=0))
        empty = {"cosine": EMPTY, "inner_product": -(longest**2), "l2": -2 * longest}
        return NearestScorers(
            self.embed(private.features),
            private.row_inclusion(inclusion),
            settings=self,
            empty=empty[self.metric],
        )

    def linearise(self, private: PrivateRows, pool: Rows) -> None:
        """A maximum is not linear in the coins."""
        return

    def order(self, rows: Features, private: Features) -> Features:
        """Grows with the similarity of embedded rows, up to rounding: (b, p), (n, p) -> (b, n)."""
        products: Features = rows @ private.T
        return products - (private**2).sum(axis=1) / 2 if self.metric == "l2" else products

    def of_pairs(self, rows: Features, private: Features) -> Features:
        """The similarity of embedded rows one by one, (n, p), (n, p) -> (n,).

        Every pair is summed in one order. BLAS sums otherwise by where in a product a row stands
        and by how many threads there are; its products say which rows are near, no more.
        """
        if self.metric != "l2":
            return pair_products(rows, private)
        differences = rows - private
        return -np.sqrt(pair_products(differences, differences))


def pair_products(a: Features, b: Features) -> Features:
    """Inner products row by row, (n, p), (n, p) -> (n,), in parts that fit numpy's buffer."""
    total = np.zeros(len(a), dtype=a.dtype)
    for at in range(0, a.shape[1], COLUMNS_OF_BUFFER):
        parts = [np.ascontiguousarray(one[:, at : at + COLUMNS_OF_BUFFER]) for one in (a, b)]
        total += np.einsum("ij,ij->i", *parts)
    return total


@dataclass(frozen=True, slots=True)
class NearestScorers:
    """S nearest-neighbour scorers that share one search.

    For each pool row the nearest private rows are listed once, and a shadow takes the first j
    that it holds; with fair coins a list holds too few of them about once in 2^24. There a longer
    list is made, and where that does not do either, all rows that the shadow holds are compared.
    ``private`` (n, p), embedded; ``held`` bool (S, n).
    """

    private: Features
    held: Mask
    settings: Nearest = Nearest()
    empty: float = EMPTY

    def score(self, features: Features, labels: Labels | None = None) -> Scores:
        """(rows, d) -> (S, rows)."""
        embedded = self.settings.embed(features)
        needed = np.minimum(self.held.sum(axis=1), self.settings.j)
        holders = np.ascontiguousarray(self.held.T)
        scores = np.empty((len(self.held), len(embedded)), dtype=embedded.dtype)
        for at in range(0, len(embedded), ROWS_PER_BLOCK):
            block = slice(at, at + ROWS_PER_BLOCK)
            scores[:, block] = self._totals(embedded[block], holders, needed).T
        scores /= np.maximum(needed, 1).astype(scores.dtype)[:, None]
        scores[needed == 0] = self.empty
        return scores

    def _totals(self, rows: Features, holders: Mask, needed: Indices) -> Features:
        """Sums over the first ``needed`` (S,) rows of every shadow, (b, p) -> (b, S)."""
        order = self.settings.order(rows, self.private)
        totals = np.zeros((len(rows), len(needed)), dtype=rows.dtype)
        missing = np.tile(needed > 0, (len(rows), 1))
        first = N_NEAREST + PER_FURTHER * (self.settings.j - 1)
        for length in (min(first, len(self.private)), min(LONGER_LIST * first, len(self.private))):
            asked = np.flatnonzero(missing.any(axis=1))
            for part in parts(asked, MOST_NUMBERS // (length * rows.shape[1])):
                listed = self._lists(rows[part], order[part], length)
                sums, complete = first_held(*listed, holders, needed)
                totals[part] = np.where(missing[part], sums, totals[part])
                missing[part] &= ~complete
        row, shadow = np.nonzero(missing)
        if len(row):
            totals[row, shadow] = self._compared(rows, order, row, shadow)
        return totals

    def _lists(self, rows: Features, order: Features, length: int) -> tuple[Indices, Features]:
        """The nearest private rows of every row and how near, nearest first, (b, length)."""
        columns = largest_columns(order, length)
        repeated = np.repeat(rows, length, axis=0)
        pairs = self.settings.of_pairs(repeated, self.private[columns.ravel()])
        values = pairs.reshape(columns.shape)
        by_value = np.argsort(-values, axis=1, kind="stable")
        return np.take_along_axis(columns, by_value, 1), np.take_along_axis(values, by_value, 1)

    def _compared(self, rows: Features, order: Features, row: Indices, shadow: Indices) -> Features:
        """Sums for some shadows, each at one row, over the nearest of all that it holds: (e,)."""
        shadows, of = np.unique(shadow, return_inverse=True)
        held = self.held[shadows]
        most = int(held.sum(axis=1).max())
        columns = np.argsort(~held, axis=1, kind="stable")[:, :most]  # what is held comes first
        real = np.take_along_axis(held, columns, 1)
        n = min(self.settings.j, most)
        sums = np.empty(len(row), dtype=rows.dtype)
        for part in parts(np.arange(len(row)), MOST_NUMBERS // max(most, n * rows.shape[1])):
            mine, at = of[part], row[part]
            near = np.where(real[mine], order[at[:, None], columns[mine]], -np.inf)
            best = largest_columns(near, n)
            chosen = np.take_along_axis(columns[mine], best, 1).ravel()
            pairs = self.settings.of_pairs(np.repeat(rows[at], n, axis=0), self.private[chosen])
            there = np.take_along_axis(real[mine], best, 1)
            values = np.sort(np.where(there, pairs.reshape(best.shape), np.inf), axis=1)
            sums[part] = np.where(np.isfinite(values), values, 0).sum(axis=1)
        return sums


def first_held(
    columns: Indices, values: Features, holders: Mask, needed: Indices
) -> tuple[Features, Mask]:
    """Sums of the first ``needed`` (S,) values of every list that a shadow holds.

    Shapes: lists (b, L), holders (n, S) -> sums, and whether the list had that many, (b, S).
    """
    counts = np.zeros((len(columns), len(needed)), dtype=np.int16)
    sums = np.zeros(counts.shape, dtype=values.dtype)
    most = needed.astype(np.int16)
    for column, value in zip(columns.T, values.T, strict=True):  # one rank of all rows and shadows
        taken = holders[column] & (counts < most)
        if taken.any():
            counts += taken
            sums += np.where(taken, value[:, None], 0)
    return sums, counts >= most


def largest_columns(values: Features, n: int) -> Indices:
    """The columns of the ``n`` largest entries of every row, in no order: int64 (rows, n).

    The largest n lie in the n groups of columns with the largest maxima, which are far fewer.
    """
    n_rows, n_columns = values.shape
    n_groups = -(-n_columns // COLUMNS_PER_GROUP)
    if n_groups < 2 * n:
        return np.argpartition(values, n_columns - n, axis=1)[:, n_columns - n :]
    padded = np.full((n_rows, COLUMNS_PER_GROUP, n_groups), -np.inf, dtype=values.dtype)
    padded.reshape(n_rows, -1)[:, :n_columns] = values
    groups = np.argpartition(padded.max(axis=1), n_groups - n, axis=1)[:, n_groups - n :]
    columns = (groups[:, None] + n_groups * np.arange(COLUMNS_PER_GROUP)[:, None]).reshape(
        n_rows, -1
    )
    there = np.take_along_axis(padded.reshape(n_rows, -1), columns, 1)
    best = np.argpartition(there, there.shape[1] - n, axis=1)[:, there.shape[1] - n :]
    found: Indices = np.take_along_axis(columns, best, 1)
    return found


def parts(indices: Indices, length: int) -> Iterator[Indices]:
    """The indices in parts of at most that length, or single."""
    step = max(1, length)
    return (indices[at : at + step] for at in range(0, len(indices), step))
