"""Scorers of texts, for the contract test: token rows made from features, plain references.

The references take a text as a list of codes and count with ``collections.Counter``, one text, one
n-gram and one shadow at a time.
"""

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from curation_audit.pipelines.base import PrivateRows, Rows
from curation_audit.pipelines.features.tokens import ngram_buckets
from curation_audit.pipelines.scorers.decontaminate import Decontaminate
from curation_audit.pipelines.scorers.dsir import Dsir
from curation_audit.pipelines.scorers.perplexity import Perplexity

BUCKETS = 8  # fewer than there are n-grams, so that some share one
Text = list[int]


def tokens_of(features: np.ndarray) -> np.ndarray:
    """Token rows of the words 1, 2 and 3, some of them short; a row of zeros has no word."""
    codes = 1 + np.floor(np.abs(features) * 2) % 3
    codes[features[:, 0] < -0.5, 3:] = 0
    codes[~features.any(axis=1)] = 0
    return codes.astype(features.dtype)


def text(row: np.ndarray) -> Text:
    return [int(code) for code in row if code]


def texts_of(features: np.ndarray) -> list[Text]:
    return [text(row) for row in tokens_of(features)]


@dataclass(frozen=True)
class OnTokens:
    """A scorer that finds ``tokens_of`` wherever it looks."""

    scorer: Any

    @property
    def name(self) -> str:
        return self.scorer.name

    @property
    def family(self) -> str:
        return self.scorer.family

    def embed(self, features, labels=None):
        return self.scorer.embed(tokens_of(features))

    def fit(self, private: PrivateRows, inclusion, pool: Rows, *, streams):
        rows = replace(private, features=tokens_of(private.features))
        public = replace(pool, features=tokens_of(pool.features))
        return OnTokensScores(self.scorer.fit(rows, inclusion, public, streams=streams))

    def linearise(self, private: PrivateRows, pool: Rows):
        rows = replace(private, features=tokens_of(private.features))
        return self.scorer.linearise(rows, replace(pool, features=tokens_of(pool.features)))


@dataclass(frozen=True)
class OnTokensScores:
    fitted: Any

    def score(self, features, labels=None):
        return self.fitted.score(tokens_of(features))


def ngrams(words: Text, n: int) -> list[tuple[int, ...]]:
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def bucket(gram: tuple[int, ...]) -> int:
    """Which bucket a single n-gram falls into; the hash itself is the package's."""
    return int(ngram_buckets(np.array([gram]), [len(gram)], BUCKETS)[0, 0])


def log_shares(texts: list[Text], n: int, key: Any, keys: list[Any], smoothing: float) -> dict:
    """``log(share + 1e-8)`` of every key, from the n-grams of texts."""
    counts = Counter(key(g) for t in texts for size in range(1, n + 1) for g in ngrams(t, size))
    total = sum(counts.values()) + smoothing * len(keys)
    return {k: math.log((counts[k] + smoothing) / total + 1e-8 if total else 1e-8) for k in keys}


def dsir_scores(
    private: list[Text], pool: list[Text], n: int, key: Any, keys: list[Any], smoothing: float
) -> list[float]:
    mine = log_shares(private, n, key, keys, smoothing)
    theirs = log_shares(pool, n, key, keys, 0.0)
    return [
        math.fsum(
            mine[key(g)] - theirs[key(g)] for size in range(1, n + 1) for g in ngrams(t, size)
        )
        for t in pool
    ]


def witten_bell(word: int, before: tuple[int, ...], texts: list[Text], size: int) -> float:
    """P(word | before), by its definition."""
    after = Counter(
        gram[-1] for t in texts for gram in ngrams(t, len(before) + 1) if gram[:-1] == before
    )
    below = witten_bell(word, before[1:], texts, size) if before else 1 / size
    total = sum(after.values()) + len(after)
    return (after[word] + len(after) * below) / total if total else below


def perplexities(private: list[Text], pool: list[Text], order: int) -> list[float]:
    """Minus log10 of the perplexity of each pool text; all words are the pool's here."""
    size = len({word for t in pool for word in t}) + 1
    scores = []
    for t in pool:
        logs = [
            math.log10(witten_bell(w, tuple(t[max(0, i - order + 1) : i]), private, size))
            for i, w in enumerate(t)
        ]
        scores.append(math.fsum(logs) / len(logs) if logs else -math.log10(size))
    return scores


def overlaps(private: list[Text], pool: list[Text], n: int) -> list[float]:
    listed = {gram for t in private for gram in ngrams(t, n)}
    shares = [[gram in listed for gram in ngrams(t, n)] for t in pool]
    return [-sum(share) / len(share) if share else 0.0 for share in shares]


def text_cases() -> dict[str, tuple[Any, Any]]:
    """Scorers on token rows, and what each computes for one shadow's rows and the pool."""
    return {
        "dsir": (
            OnTokens(Dsir(buckets=BUCKETS, smoothing=0.5)),
            lambda private, pool: dsir_scores(
                texts_of(private), texts_of(pool), 2, bucket, list(range(BUCKETS)), 0.5
            ),
        ),
        "perplexity": (
            OnTokens(Perplexity(order=3)),
            lambda private, pool: perplexities(texts_of(private), texts_of(pool), 3),
        ),
        "decontaminate": (
            OnTokens(Decontaminate(n=4)),
            lambda private, pool: overlaps(texts_of(private), texts_of(pool), 4),
        ),
    }


@dataclass(frozen=True)
class ModelOnTokens:
    """A downstream model that finds ``tokens_of`` wherever it looks."""

    model: Any

    @property
    def name(self) -> str:
        return self.model.name

    def fit(self, pool: Rows, selection, n_classes: int, *, streams):
        public = replace(pool, features=tokens_of(pool.features))
        return ModelsOnTokens(self.model.fit(public, selection, n_classes, streams=streams))


@dataclass(frozen=True)
class ModelsOnTokens:
    fitted: Any

    def predict_proba(self, features):
        return self.fitted.predict_proba(tokens_of(features))


def unit_counts(features: np.ndarray) -> np.ndarray:
    """Counts of words and pairs of words in buckets, rows of length one."""
    rows = np.zeros((len(features), BUCKETS))
    for row, words in zip(rows, texts_of(features), strict=True):
        for found in [*ngrams(words, 1), *ngrams(words, 2)]:
            row[bucket(found)] += 1
        row /= math.sqrt(math.fsum(row**2)) or 1
    return rows
