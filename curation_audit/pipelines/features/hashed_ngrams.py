"""Texts as counts of hashed n-grams."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from curation_audit import checks
from curation_audit.pipelines.data_sets import ReadSet
from curation_audit.pipelines.features.base import FeatureMap, with_features
from curation_audit.pipelines.features.tokens import Tokens, bucket_counts, ngram_buckets

ROWS_PER_BLOCK = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class HashedNgrams:
    """Counts of the 1- to ``n``-grams of words in ``buckets``; no vocabulary is fitted.

    ``scale``: ``length`` divides by the number of n-grams of the text, ``none`` keeps counts.
    ``length``: tokens that are kept of a text.
    """

    name: ClassVar[str] = "hashed_ngrams"
    n: int = 2
    buckets: int = 2048
    length: int = 256
    scale: str = "length"

    def __post_init__(self) -> None:
        """Check the settings."""
        checks.positive(n=self.n, buckets=self.buckets, length=self.length)
        checks.one_of("features.steps.scale", self.scale, ("length", "none"))

    def fit(self, pool: ReadSet) -> FeatureMap:
        """Nothing is fitted; the pool must have texts."""
        tokens = Tokens(length=self.length).fit(pool)

        def mapped(data: ReadSet) -> ReadSet:
            codes = tokens(data).features
            parts = [
                self._counts(codes[at : at + ROWS_PER_BLOCK])
                for at in range(0, len(codes), ROWS_PER_BLOCK)
            ]
            return with_features(data, np.concatenate(parts), self.name)

        return mapped

    def _counts(self, codes: np.ndarray) -> np.ndarray:
        found = ngram_buckets(codes, range(1, self.n + 1), self.buckets)
        counts = bucket_counts(found, self.buckets)
        if self.scale == "length":
            counts /= np.maximum(counts.sum(axis=1, keepdims=True), 1)
        return counts.astype(np.float32)
