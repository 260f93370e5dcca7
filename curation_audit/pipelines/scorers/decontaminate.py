"""Removal of pool rows that a private list holds: the opposite of curation, and as leaky."""

from dataclasses import dataclass
from typing import ClassVar, Final, Literal

import numpy as np
from scipy import sparse

from curation_audit import checks
from curation_audit.pipelines.base import Family, FittedScorers, PrivateRows, Rows
from curation_audit.pipelines.features.tokens import ngram_hashes, token_codes
from curation_audit.pipelines.scorers.nearest import Nearest
from curation_audit.pipelines.scorers.token_rows import (
    Grams,
    count_profiles,
)
from curation_audit.releases.public_maps import unit_rows
from curation_audit.results import Adjacency
from curation_audit.streams import ShadowStreams
from curation_audit.types import Features, Inclusion, Labels, Mask, Scores

BYTES_PER_BLOCK: Final = 2**25
EMBEDDED_NGRAMS: Final = 2
EMBEDDED_BUCKETS: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Decontaminate:
    """0 for a row that shares nothing with the private ones, below 0 the more it shares.

    ``by: ngrams``, on rows of tokens: minus the share of the row's ``n``-grams that stand in a
    private text; shorter texts have none (GPT-3, datatrove and lm-evaluation-harness drop a row
    for a single shared 13-gram or 12-gram). ``by: cosine``, on vectors: minus the largest cosine
    with a private row where that is at least ``1 - eps``, else 0. A threshold of 0 keeps exactly
    what is clean; the top rows are clean ones as long as there are any.

    No private form is faithful: whether one row's text is on the list decides alone what is
    dropped, and noise enough to hide that would let it through. That a public text is missing from
    the picks tells that somebody has it, and reasons for drops that are logged tell which part.
    """

    name: ClassVar[str] = "decontaminate"
    family: ClassVar[Family] = "other"
    adjacency: ClassVar[Adjacency] = "add_remove"
    by: Literal["ngrams", "cosine"] = "ngrams"
    n: int = 12
    eps: float = 0.05

    def __post_init__(self) -> None:
        """Check the settings."""
        checks.one_of("curate.scorer.by", self.by, ("ngrams", "cosine"))
        checks.positive(n=self.n)
        checks.in_open_unit(eps=self.eps)

    def embed(self, features: Features, labels: Labels | None = None) -> Features:
        """Rows of length one: the vectors, or hashed counts of words and pairs of words."""
        if self.by == "cosine":
            return unit_rows(features)
        codes = token_codes(features, self.name)
        return unit_rows(count_profiles(codes, EMBEDDED_NGRAMS, EMBEDDED_BUCKETS))

    def fit(
        self, private: PrivateRows, inclusion: Inclusion, pool: Rows, *, streams: ShadowStreams
    ) -> FittedScorers:
        """Keep what private rows hold, and who holds them; the search happens on scoring."""
        if self.by == "cosine":
            nearest = Nearest().fit(private, inclusion, pool, streams=streams)
            return CosineOverlap(nearest, 1 - self.eps)
        hashes, whole = ngram_hashes(token_codes(private.features, self.name), self.n)
        grams = Grams.of(hashes, whole, np.arange(len(private)), len(private))
        return NgramOverlap(grams, private.row_inclusion(inclusion), self.n)

    def linearise(self, private: PrivateRows, pool: Rows) -> None:
        """Whether anybody has an n-gram is not linear in the coins."""
        return


@dataclass(frozen=True, slots=True)
class CosineOverlap:
    """S lists of vectors; ``least`` is the cosine from which on a row is dropped."""

    nearest: FittedScorers
    least: float

    def score(self, features: Features, labels: Labels | None = None) -> Scores:
        """(rows, d) -> (S, rows)."""
        similarity = self.nearest.score(features)
        scores: Scores = np.where(similarity >= self.least, -similarity, 0).astype(features.dtype)
        return scores


@dataclass(frozen=True, slots=True)
class NgramOverlap:
    """S lists of n-grams: those of all private rows, and which rows (S, rows) each list holds."""

    grams: Grams
    held: Mask
    n: int

    def score(self, features: Features, labels: Labels | None = None) -> Scores:
        """(rows, L) -> (S, rows)."""
        scores = np.empty((len(self.held), len(features)), dtype=features.dtype)
        holders = self.held.T.astype(np.float64)
        length = max(1, features.shape[1])
        block = max(1, BYTES_PER_BLOCK // (8 * len(self.held) * length))
        for at in range(0, len(features), block):
            rows = slice(at, at + block)
            scores[:, rows] = 0 - self._shared(features[rows], holders).T
        return scores

    def _shared(self, features: Features, holders: Features) -> Features:
        """The share of every row's n-grams that stand on each list, (rows, S)."""
        hashes, whole = ngram_hashes(token_codes(features, Decontaminate.name), self.n)
        found = np.where(whole, self.grams.find(hashes), -1)
        row, place = np.nonzero(found >= 0)
        some, which = np.unique(found[row, place], return_inverse=True)
        on_list = (self.grams.counts[some] @ holders > 0).astype(np.float64)
        times = sparse.csr_array(
            (np.ones(len(row)), (row, which)), shape=(len(features), len(some))
        )
        shared: Features = times @ on_list / np.maximum(whole.sum(axis=1), 1)[:, None]
        return shared
