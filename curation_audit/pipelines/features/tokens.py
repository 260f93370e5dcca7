"""Texts as rows of token codes: what text scorers and text models read."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from curation_audit import checks
from curation_audit.pipelines.data_sets import ReadSet
from curation_audit.pipelines.features.base import FeatureMap, with_features
from curation_audit.pipelines.features.texts import texts_of
from curation_audit.types import Features

WORD: Final = re.compile(r"\w+|[^\w\s]+")
CODES: Final = 1 << 24
"""float32 holds every whole number up to here, so that codes survive it."""
PADDING: Final = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Words and runs of signs, lower-cased, each as a hash from 1 to 2^24 - 1; 0 behind the end.

    ``length``: tokens that are kept of a text, from its beginning. No vocabulary is fitted. Two
    words share a code once in some 16 million pairs.
    """

    name: ClassVar[str] = "tokens"
    length: int = 256

    def __post_init__(self) -> None:
        """Check the length."""
        checks.positive(length=self.length)

    def fit(self, pool: ReadSet) -> FeatureMap:
        """Nothing is fitted; the pool must have texts."""
        texts_of(pool)

        def mapped(data: ReadSet) -> ReadSet:
            rows = np.zeros((len(data), self.length), dtype=np.float32)
            for row, text in zip(rows, texts_of(data), strict=True):
                codes = [token_code(word) for word in words_of(text)[: self.length]]
                row[: len(codes)] = codes
            return with_features(data, rows, self.name)

        return mapped


def words_of(text: str) -> list[str]:
    """Words and runs of signs, lower-cased.

    >>> words_of("Don't stop!")
    ['don', "'", 't', 'stop', '!']
    """
    return WORD.findall(text.lower())


def token_code(word: str) -> int:
    """A word's code, 1 to 2^24 - 1."""
    digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % (CODES - 1) + 1


def ngram_buckets(tokens: Features, sizes: Iterable[int], buckets: int) -> np.ndarray:
    """The buckets of all n-grams of token rows, int64 (rows, L * number of sizes); -1 for none.

    An n-gram of tokens c_1..c_n falls into a bucket by a polynomial hash modulo 2^64 that is mixed
    at the end (SplitMix64), the same for every row, set and machine.
    """
    codes = np.asarray(tokens).astype(np.uint64)
    there = codes != PADDING
    found = []
    for n in sizes:
        value = np.zeros_like(codes)
        whole = np.ones_like(there)
        for back in range(n):
            shifted, present = np.zeros_like(codes), np.zeros_like(there)
            end = codes.shape[1] - back
            if end > 0:
                shifted[:, :end], present[:, :end] = codes[:, back:], there[:, back:]
            value = value * np.uint64(0x9E3779B97F4A7C15) + shifted
            whole &= present
        bucket = (mixed(value + np.uint64(n)) % np.uint64(buckets)).astype(np.int64)
        found.append(np.where(whole, bucket, -1))
    return np.concatenate(found, axis=1)


def mixed(values: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser, uint64 to uint64 (Steele, Lea & Flood 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    last: np.ndarray = values ^ (values >> np.uint64(31))
    return last


def bucket_counts(buckets: np.ndarray, n_buckets: int) -> Features:
    """How often every bucket stands in a row, (rows, n) -> float64 (rows, ``n_buckets``)."""
    rows = np.broadcast_to(np.arange(len(buckets))[:, None], buckets.shape)
    there = buckets >= 0
    flat = rows[there] * n_buckets + buckets[there]
    counts = np.bincount(flat, minlength=len(buckets) * n_buckets)
    return counts.reshape(len(buckets), n_buckets).astype(np.float64)
