"""Texts as counts of hashed n-grams."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from curation_audit import checks
from curation_audit.pipelines.data_sets import ReadSet
from curation_audit.pipelines.features.base import FeatureMap, with_features
from curation_audit.pipelines.features.tokens import Tokens, ngram_counts
from curation_audit.types import Features


@dataclass(frozen=True, slots=True, kw_only=True)
class HashedNgrams:
    """Counts of the 1- to ``n``-grams of words in ``buckets``; no vocabulary is fitted.

    ``scale``: ``length`` divides by the number of n-grams of the text, ``unit`` makes rows of
    length one, ``none`` keeps counts. ``length``: tokens that are kept of a text.
    """

    name: ClassVar[str] = "hashed_ngrams"
    n: int = 2
    buckets: int = 2048
    length: int = 256
    scale: Literal["length", "unit", "none"] = "length"

    def __post_init__(self) -> None:
        """Check the settings."""
        checks.positive(n=self.n, buckets=self.buckets, length=self.length)
        checks.one_of("features.steps.scale", self.scale, ("length", "unit", "none"))

    def fit(self, pool: ReadSet) -> FeatureMap:
        """Nothing is fitted; the pool must have texts."""
        tokens = Tokens(length=self.length).fit(pool)

        def mapped(data: ReadSet) -> ReadSet:
            return with_features(data, self.of_tokens(tokens(data).features), self.name)

        return mapped

    def of_tokens(self, tokens: Features) -> Features:
        """The same for token rows (rows, L): float32 (rows, ``buckets``); 0 without a token."""
        counts = ngram_counts(tokens, self.n, self.buckets)
        size = {
            "length": counts.sum(axis=1),
            "unit": np.sqrt((counts**2).sum(axis=1)),
            "none": np.ones(len(tokens)),
        }[self.scale]
        counts.data /= np.repeat(size, np.diff(counts.indptr))
        features: Features = counts.astype(np.float32).toarray()
        return features
