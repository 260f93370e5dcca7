"""Texts as rows of token codes: what text scorers and text models read."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar, Final

import numpy as np
from scipy import sparse

from curation_audit import checks
from curation_audit.checks import SettingError
from curation_audit.pipelines.data_sets import ReadSet
from curation_audit.pipelines.features.base import FeatureMap, with_features
from curation_audit.pipelines.features.texts import texts_of
from curation_audit.types import Features, Mask

WORD: Final = re.compile(r"\w+|[^\w\s]+")
CODES: Final = 1 << 24
"""float32 holds every whole number up to here, so that codes survive it."""
PADDING: Final = 0
ROWS_PER_BLOCK: Final = 1024


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
            seen: dict[str, int] = {}  # most words come again: hashed once each
            for row, text in zip(rows, texts_of(data), strict=True):
                words = first_words(text, self.length)
                for word in words:
                    if word not in seen:
                        seen[word] = token_code(word)
                row[: len(words)] = [seen[word] for word in words]
            return with_features(data, rows, self.name)

        return mapped


def first_words(text: str, length: int) -> list[str]:
    """Words and runs of signs, lower-cased, ``length`` of them at most.

    >>> first_words("Don't stop!", 4)
    ['don', "'", 't', 'stop']
    """
    return [found.group() for found in islice(WORD.finditer(text.lower()), length)]


def token_code(word: str) -> int:
    """A word's code, 1 to 2^24 - 1."""
    digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % (CODES - 1) + 1


def token_codes(features: Features, reader: str) -> Features:
    """The features, which must be rows of token codes, as ``reader`` needs them.

    Raises:
        SettingError: for any other numbers.
    """
    codes = np.asarray(features)
    if codes.size and (codes.min() < 0 or codes.max() >= CODES or (codes % 1).any()):
        raise SettingError(
            "features",
            f"{reader} reads token codes, but these are other numbers",
            "name columns.text, and set features: {steps: [{kind: tokens}], standardise: none}",
        )
    return codes


def ngram_hashes(tokens: np.ndarray, n: int) -> tuple[np.ndarray, Mask]:
    """A hash of the n-gram that begins at every place, uint64 (rows, L), and which are whole.

    A polynomial of the codes modulo 2^64 that is mixed at the end (SplitMix64), the same for
    every row, set and machine. An n-gram with padding in it, or that runs over the end, is none.
    """
    codes = np.asarray(tokens).astype(np.uint64)
    there = codes != PADDING
    value, whole = np.zeros_like(codes), np.ones_like(there)
    for back in range(n):
        shifted, present = np.zeros_like(codes), np.zeros_like(there)
        end = codes.shape[1] - back
        if end > 0:
            shifted[:, :end], present[:, :end] = codes[:, back:], there[:, back:]
        value = value * np.uint64(0x9E3779B97F4A7C15) + shifted
        whole &= present
    return mixed(value + np.uint64(n)), whole


def mixed(values: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser, uint64 to uint64 (Steele, Lea & Flood 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    last: np.ndarray = values ^ (values >> np.uint64(31))
    return last


def ngram_buckets(tokens: Features, sizes: Iterable[int], buckets: int) -> np.ndarray:
    """The buckets of all n-grams of token rows, int64 (rows, L * number of sizes); -1 for none."""
    found = []
    for n in sizes:
        hashes, whole = ngram_hashes(tokens, n)
        bucket = (hashes % np.uint64(buckets)).astype(np.int64)
        found.append(np.where(whole, bucket, -1))
    return np.concatenate(found, axis=1)


def ngram_counts(tokens: Features, n: int, buckets: int) -> sparse.csr_array:
    """How often every bucket of the 1- to n-grams stands in a row: float64 (rows, ``buckets``)."""
    parts = [
        _bucket_counts(ngram_buckets(tokens[at : at + ROWS_PER_BLOCK], range(1, n + 1), buckets))
        for at in range(0, len(tokens), ROWS_PER_BLOCK)
    ]
    columns = np.concatenate([part[0] for part in parts]) if parts else np.zeros(0, np.int64)
    sizes = np.concatenate([[0], *(part[1] for part in parts)])
    shape = (len(tokens), buckets)
    counts = sparse.csr_array((np.ones(len(columns)), columns, np.cumsum(sizes)), shape=shape)
    counts.sum_duplicates()
    return counts


def _bucket_counts(found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The buckets of all rows one after another, and how many each row has."""
    there = found >= 0
    return found[there], there.sum(axis=1)
