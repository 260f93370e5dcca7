"""What text scorers share: counts that attacks see, and the distinct n-grams of token rows."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import sparse

from curation_audit.pipelines.features.tokens import ngram_counts
from curation_audit.types import Features, Indices, Mask

MOST_EMBEDDED: Final = 2048
"""Columns of an embedding at most: attacks on linear scores take the cube of it in time."""


def count_profiles(features: Features, n: int, buckets: int) -> Features:
    """Counts of hashed 1- to n-grams, dense, in at most ``MOST_EMBEDDED`` buckets.

    More buckets are folded: bucket b goes to b modulo ``MOST_EMBEDDED``.
    """
    counts = ngram_counts(features, n, buckets)
    width = min(buckets, MOST_EMBEDDED)
    folded = sparse.csr_array(
        (counts.data, counts.indices % width, counts.indptr), shape=(len(features), width)
    )
    folded.sum_duplicates()
    profiles: Features = folded.astype(features.dtype).toarray()
    return profiles


def shares(profiles: Features) -> Features:
    """Counts as shares of their row; 0 for a row of zeros."""
    found: Features = profiles / np.maximum(profiles.sum(axis=1, keepdims=True), 1)
    return found


@dataclass(frozen=True, slots=True)
class Grams:
    """The G distinct n-grams of some rows, and how often each column (a row, or all) has them.

    ``keys`` uint64 (G,) ascending, ``counts`` float64 (G, columns) sparse, ``first`` int64 (G,) a
    place of each in the flat array that they were found in.
    """

    keys: np.ndarray
    counts: sparse.csr_array
    first: Indices

    @classmethod
    def of(cls, hashes: np.ndarray, whole: Mask, columns: Indices, n_columns: int) -> "Grams":
        """From hashes uint64 (rows, L), which of them count, and the column of every row."""
        place = np.flatnonzero(whole)
        keys, first, which = np.unique(
            hashes.ravel()[place], return_index=True, return_inverse=True
        )
        column = columns[place // max(1, whole.shape[1])]
        ones = np.ones(len(place))
        counts = sparse.csr_array((ones, (which, column)), shape=(len(keys), n_columns))
        return cls(keys, counts, place[first])

    def find(self, asked: np.ndarray) -> Indices:
        """Which of the n-grams each hash is, int64; -1 for none."""
        return places_of(self.keys, asked)


def places_of(keys: np.ndarray, asked: np.ndarray) -> Indices:
    """Where each number stands among keys (K,) that ascend, int64; -1 for nowhere."""
    if not len(keys):
        return np.full(asked.shape, -1, dtype=np.int64)
    place = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    return np.where(keys[place] == asked, place, -1)
