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
        """c(hw), c(h), T(h) of S models, (G + 1 or H + 1, S); the last row is 0, for what is not.

        ``held`` float64 (columns, S): which models have which columns of the counts.
        """
        counts = self.grams.counts @ held
        total = self.of_context @ counts
        kinds = self.of_context @ (counts > 0).astype(np.float64)
        nothing = np.zeros((1, held.shape[1]))
        return (
            np.concatenate([counts, nothing]),
            np.concatenate([total, nothing]),
            np.concatenate([kinds, nothing]),
        )


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
        places = [self._places(k, one, grams.first) for k, one in enumerate(asked)]
        n_models = statistics[0][0].shape[1]
        total = np.zeros((len(codes), n_models))
        width = max(1, BYTES_PER_BLOCK // (8 * n_models))
        for at in range(0, len(grams.keys), width):
            some = slice(at, at + width)
            here = [(gram[some], context[some]) for gram, context in places]
            log10 = np.log10(_interpolated(here, statistics, 1 / self.vocabulary.size))
            total += grams.counts[some].T @ log10
        n_words = (codes != PADDING).sum(axis=1)[:, None]
        empty = -np.log10(self.vocabulary.size)
        mean: Floats = np.where(n_words > 0, total / np.maximum(n_words, 1), empty)
        return mean

    def _places(
        self, level: int, asked: tuple[np.ndarray, np.ndarray, Mask], first: Indices
    ) -> tuple[Indices, Indices]:
        """Which k-gram of the training ends at each place, and which context; -1 for none."""
        hashes, contexts, whole = (array.ravel()[first] for array in asked)
        one = self.levels[level]
        gram, context = one.grams.find(hashes), places_of(one.contexts, contexts)
        return np.where(whole, gram, -1), np.where(whole, context, -1)


def _interpolated(
    places: list[tuple[Indices, Indices]],
    statistics: list[tuple[Floats, Floats, Floats]],
    uniform: float,
) -> Floats:
    """P of n-grams (U,) under S models: float64 (U, S), from single words up."""
    probability = np.full((len(places[0][0]), statistics[0][0].shape[1]), uniform)
    for (gram, context), (counts, total, kinds) in zip(places, statistics, strict=True):
        known = np.flatnonzero(context >= 0)
        some, where = context[known], gram[known]
        below = probability[known]
        weight = total[some] + kinds[some]
        above = counts[where] + kinds[some] * below
        probability[known] = np.divide(above, weight, out=below, where=weight > 0)
    return probability


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
