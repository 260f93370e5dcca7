"""Many n-gram language models at once, with the smoothing of Witten and Bell.

    P(w | h) = (c(hw) + T(h) P(w | h')) / (c(h) + T(h)),     P(w | h) = P(w | h') if c(h) = 0

h are up to ``order - 1`` words before w and h' is h less its first; c(h) counts what follows h and
T(h) how many different words do. Below single words stands the uniform share of a vocabulary of V
words and "unknown". Summed over these V + 1 words every P(. | h) is one (Witten & Bell 1991; Chen &
Goodman 1999, section 2.5, in the interpolated form).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import sparse

from curation_audit.pipelines.features.tokens import CODES, PADDING, ngram_hashes
from curation_audit.pipelines.scorers.token_rows import Grams, places_of
from curation_audit.types import Features, Floats, Indices, Mask

UNKNOWN: Final = CODES  # no token has this code
ROWS_PER_BLOCK: Final = 2048
BYTES_PER_BLOCK: Final = 2**25
BYTES_OF_STATISTICS: Final = 2**28


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The words that are told apart, bool by code; all others are "unknown".

    ``size``: V + 1, how many they are and "unknown".
    """

    known: Mask
    size: int

    @classmethod
    def of(cls, tokens: Features) -> "Vocabulary":
        """All words of token rows."""
        known = np.zeros(CODES, dtype=bool)
        known[np.asarray(tokens).astype(np.int64)] = True
        known[PADDING] = True  # it stays what it is; in the size it makes room for "unknown"
        return cls(known, int(known.sum()))

    def apply(self, tokens: Features) -> np.ndarray:
        """Token rows as int64, with strange words as ``UNKNOWN``."""
        codes = np.asarray(tokens).astype(np.int64)
        return np.where(self.known[codes], codes, UNKNOWN)


@dataclass(frozen=True, slots=True)
class Level:
    """The k-grams of the training texts: their counts, and what each k-gram goes on from.

    ``contexts`` uint64 (H,) are the distinct (k - 1)-grams that are gone on from, ascending, and
    ``of_context`` (H, G) sums k-grams by them.
    """

    grams: Grams
    contexts: np.ndarray
    of_context: sparse.csr_array

    def statistics(self, held: Floats) -> tuple[Floats, Floats, Floats]:
        """c(hw) (G + 1, S), c(h) and T(h) (H, S) of S models; the last c(hw) is 0, for place -1.

        ``held`` float64 (columns, S): which models have which columns of the counts.
        """
        counts = self.grams.counts @ held
        total = self.of_context @ counts
        kinds = self.of_context @ (counts > 0).astype(np.float64)
        return np.concatenate([counts, np.zeros((1, held.shape[1]))]), total, kinds


@dataclass(frozen=True, slots=True)
class WittenBell:
    """S models of one order: k-grams for k = 1 to ``order``, and who holds the texts."""

    vocabulary: Vocabulary
    levels: tuple[Level, ...]
    held: Floats  # (columns, S)

    @classmethod
    def of(
        cls, tokens: Features, columns: Indices, held: Mask, order: int, vocabulary: Vocabulary
    ) -> "WittenBell":
        """Train on token rows (rows, L); ``columns`` maps rows to the columns of ``held`` (S, c).

        No words are added at the ends of a text: its first word goes on from nothing, its second
        from the first, and so on.
        """
        codes = vocabulary.apply(tokens)
        levels = tuple(_level(codes, k, columns, held.shape[1]) for k in range(1, order + 1))
        return cls(vocabulary, levels, held.T.astype(np.float64))

    @property
    def order(self) -> int:
        """How many words the longest n-gram has."""
        return len(self.levels)

    def mean_log10(self, tokens: Features) -> Floats:
        """The mean log10 probability of the words of each text: (rows, L) -> float64 (S, rows).

        That is minus log10 of the perplexity. A text without words counts as one that the models
        know nothing about: minus log10(V + 1).
        """
        found = np.empty((self.held.shape[1], len(tokens)))
        n_numbers = sum(len(one.grams.keys) + 2 * len(one.contexts) for one in self.levels)
        width = max(1, BYTES_OF_STATISTICS // (8 * max(1, n_numbers)))
        for first in range(0, len(found), width):
            models = slice(first, first + width)
            statistics = [one.statistics(self.held[:, models]) for one in self.levels]
            for at in range(0, len(tokens), ROWS_PER_BLOCK):
                rows = slice(at, at + ROWS_PER_BLOCK)
                found[models, rows] = self._of_block(tokens[rows], statistics).T
        return found

    def _of_block(
        self, tokens: Features, statistics: list[tuple[Floats, Floats, Floats]]
    ) -> Floats:
        """As ``mean_log10`` for some rows and models, (rows, models): each n-gram once."""
        codes = self.vocabulary.apply(tokens)
        asked = [_endings(codes, k) for k in range(1, self.order + 1)]
        longest = asked[0][0]
        for hashes, _, whole in asked[1:]:
            longest = np.where(whole, hashes, longest)
        grams = Grams.of(longest, codes != PADDING, np.arange(len(codes)), len(codes))
        found = self._found(asked, grams.first)
        n_models = statistics[0][0].shape[1]
        total = np.zeros((len(codes), n_models))
        width = max(1, BYTES_PER_BLOCK // (8 * n_models))
        for at in range(0, len(grams.keys), width):
            some = slice(at, min(at + width, len(grams.keys)))
            here = [one.between(some.start, some.stop) for one in found]
            probability = np.full((some.stop - at, n_models), 1 / self.vocabulary.size)
            for one, numbers in zip(here, statistics, strict=True):
                one.update(probability, *numbers)
            total += grams.counts[some].T @ np.log10(probability)
        n_words = (codes != PADDING).sum(axis=1)[:, None]
        empty = -np.log10(self.vocabulary.size)
        mean: Floats = np.where(n_words > 0, total / np.maximum(n_words, 1), empty)
        return mean

    def _found(
        self, asked: list[tuple[np.ndarray, np.ndarray, Mask]], first: Indices
    ) -> list["Found"]:
        """What is known of the n-grams that end at the places ``first`` (U,), level by level.

        A context that is gone on from is so without its first word, too: what is unknown on one
        level need not be looked up on the next.
        """
        rows, found = np.arange(len(first)), []
        for one, arrays in zip(self.levels, asked, strict=True):
            hashes, contexts, whole = (array.ravel()[first[rows]] for array in arrays)
            context = places_of(one.contexts, contexts)
            known = whole & (context >= 0)
            rows = rows[known]
            found.append(Found(rows, one.grams.find(hashes[known]), context[known]))
        return found


@dataclass(frozen=True, slots=True)
class Found:
    """Which of U n-grams, ascending, have a context that some training text goes on from.

    ``gram`` and ``context`` say where these stand in a ``Level``, -1 for a gram that does not.
    """

    rows: Indices
    gram: Indices
    context: Indices

    def between(self, start: int, stop: int) -> "Found":
        """Of the n-grams from start to stop, numbered from 0."""
        first, last = np.searchsorted(self.rows, [start, stop])
        part = slice(first, last)
        return Found(self.rows[part] - start, self.gram[part], self.context[part])

    def update(self, probability: Floats, counts: Floats, total: Floats, kinds: Floats) -> None:
        """P(w | h) in place of P(w | h'), float64 (U, S), from ``Level.statistics``."""
        below = probability[self.rows]
        n_kinds = kinds[self.context]
        weight = total[self.context] + n_kinds
        above = counts[self.gram] + n_kinds * below
        probability[self.rows] = np.divide(above, weight, out=below, where=weight > 0)


def _endings(codes: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, Mask]:
    """Hashes of the k-gram that ends at every place, of its first k - 1 words, and if it is whole.

    All (rows, L). A k-gram is told apart from one of another length by its hash.
    """
    hashes, whole = ngram_hashes(codes, k)
    prefixes = ngram_hashes(codes, k - 1)[0]
    moved = [np.zeros_like(array) for array in (hashes, prefixes, whole)]
    end = max(0, codes.shape[1] - k + 1)
    for to, array in zip(moved, (hashes, prefixes, whole), strict=True):
        to[:, k - 1 :] = array[:, :end]
    return moved[0], moved[1], moved[2]


def _level(codes: np.ndarray, k: int, columns: Indices, n_columns: int) -> Level:
    hashes, prefixes, whole = _endings(codes, k)
    grams = Grams.of(hashes, whole, columns, n_columns)
    contexts, which = np.unique(prefixes.ravel()[grams.first], return_inverse=True)
    shape = (len(contexts), len(grams.keys))
    ones = np.ones(len(grams.keys))
    of_context = sparse.csr_array((ones, (which, np.arange(len(grams.keys)))), shape=shape)
    return Level(grams, contexts, of_context)
