"""Similarity to the nearest private row (DataComp's image-based filter; every kNN retrieval)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from curation_audit.pipelines.base import Family, FittedScorers, PrivateRows, Rows
from curation_audit.releases.public_maps import unit_rows
from curation_audit.results import Adjacency
from curation_audit.streams import ShadowStreams
from curation_audit.types import Features, Inclusion, Indices, Labels, Mask, Scores

N_NEAREST = 24
ROWS_PER_BLOCK = 1024
EMPTY = -1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearest:
    """``score(x) = max over private rows t of cos(x, t)``; -1 for an empty private set."""

    name: ClassVar[str] = "nearest"
    family: ClassVar[Family] = "nearest"
    adjacency: ClassVar[Adjacency] = "add_remove"

    def embed(self, features: Features, labels: Labels | None = None) -> Features:
        """Rows scaled to length one."""
        return unit_rows(features)

    def unembed(self, embedded: Features, length: float) -> Features:
        """Rows of that length in the same direction."""
        return unit_rows(embedded) * length

    def fit(
        self, private: PrivateRows, inclusion: Inclusion, pool: Rows, *, streams: ShadowStreams
    ) -> FittedScorers:
        """Keep the private rows and who holds them; the search happens when rows are scored."""
        return NearestScorers(self.embed(private.features), private.row_inclusion(inclusion))

    def linearise(self, private: PrivateRows, pool: Rows) -> None:
        """A maximum is not linear in the coins."""
        return


@dataclass(frozen=True, slots=True)
class NearestScorers:
    """S nearest-neighbour scorers that share one search.

    For each row the 24 nearest private rows are kept once; a shadow's score is the first of
    them that it holds. Where a shadow holds none, the full maximum is taken.
    """

    private: Features  # (rows, p), unit length
    held: Mask  # (S, rows)

    def score(self, features: Features, labels: Labels | None = None) -> Scores:
        """(rows, d) -> (S, rows)."""
        embedded = unit_rows(features)
        blocks = [
            self._score_block(embedded[start : start + ROWS_PER_BLOCK])
            for start in range(0, embedded.shape[0], ROWS_PER_BLOCK)
        ]
        return np.concatenate(blocks, axis=1)

    def _score_block(self, embedded: Features) -> Scores:
        similarity = embedded @ self.private.T
        nearest = nearest_columns(similarity, min(N_NEAREST, similarity.shape[1]))
        held = self.held[:, nearest]  # (S, block, 24)
        first = held.argmax(axis=2)
        columns = np.take_along_axis(nearest[None], first[..., None], axis=2)[..., 0]
        scores = np.take_along_axis(similarity[None], columns[..., None], axis=2)[..., 0]
        unheld: Mask = np.logical_not(held.any(axis=2))
        for s in np.flatnonzero(unheld.any(axis=1)):  # only where a list ran out
            among = similarity[np.ix_(unheld[s], self.held[s])]
            scores[s, unheld[s]] = among.max(axis=1, initial=EMPTY)
        return scores


def nearest_columns(similarity: Features, n: int) -> Indices:
    """The columns of the ``n`` largest entries of every row, largest first: int64 (rows, n)."""
    top = np.argpartition(-similarity, n - 1, axis=1)[:, :n]
    order = np.argsort(-np.take_along_axis(similarity, top, axis=1), axis=1, kind="stable")
    return np.take_along_axis(top, order, axis=1)
