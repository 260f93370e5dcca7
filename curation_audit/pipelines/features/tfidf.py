"""Texts as TF-IDF weights of n-grams, with the pool's vocabulary."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from curation_audit import checks
from curation_audit.checks import InputError
from curation_audit.pipelines.data_sets import ReadSet
from curation_audit.pipelines.features.base import FeatureMap, with_features
from curation_audit.pipelines.features.texts import texts_of
from curation_audit.pipelines.features.tokens import first_words


@dataclass(frozen=True, slots=True, kw_only=True)
class Tfidf:
    """Counts of the 1- to ``n``-grams of words times their idf in the pool; rows of length one.

    scikit-learn's ``TfidfVectorizer``: the idf is ``1 + log((1 + m) / (1 + rows with it))``. The
    vocabulary is the ``most_features`` commonest n-grams of the pool, in alphabetical order; what
    the pool lacks counts nothing, in private texts as well. ``length``: tokens kept of a text.
    """

    name: ClassVar[str] = "tfidf"
    n: int = 1
    most_features: int = 2048
    length: int = 256

    def __post_init__(self) -> None:
        """Check the settings."""
        checks.positive(n=self.n, most_features=self.most_features, length=self.length)

    def fit(self, pool: ReadSet) -> FeatureMap:
        """Vocabulary and idf of the pool.

        Raises:
            InputError: where the pool has no texts, or no word in them.
        """
        vectoriser = TfidfVectorizer(
            tokenizer=self._words,
            token_pattern=None,
            lowercase=False,
            ngram_range=(1, self.n),
            max_features=self.most_features,
            dtype=np.float32,
        )
        texts = texts_of(pool)
        if not any(self._words(text) for text in texts):
            raise InputError(pool.where, "no text has a word", "name another column in columns")
        vectoriser.fit(texts)

        def mapped(data: ReadSet) -> ReadSet:
            return with_features(data, vectoriser.transform(texts_of(data)).toarray(), self.name)

        return mapped

    def _words(self, text: str) -> list[str]:
        return first_words(text, self.length)
