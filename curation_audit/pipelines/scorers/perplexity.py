"""How well a language model of the private texts predicts a row (CCNet; Moore & Lewis 2010)."""

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from curation_audit.pipelines.base import Family, FittedScorers, PrivateRows, Rows
from curation_audit.pipelines.features.tokens import token_codes
from curation_audit.pipelines.scorers.token_rows import (
    count_profiles,
    shares,
)
from curation_audit.pipelines.scorers.witten_bell import Vocabulary, WittenBell
from curation_audit.results import Adjacency
from curation_audit.streams import ShadowStreams
from curation_audit.types import Features, Inclusion, Labels, Scores

ORDERS: Final = (2, 5)
EMBEDDED_NGRAMS: Final = 2
EMBEDDED_BUCKETS: Final = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Perplexity:
    """``score(x) = -log10 pp``, ``pp = 10^(-sum log10 p(word) / words)``, on rows of tokens.

    ``p`` is the ``order``-gram model of the private texts with Witten-Bell smoothing, see
    ``witten_bell``. CCNet, DCLM and datatrove take KenLM with modified Kneser-Ney; that estimates
    its discounts from counts of counts, of which a small private set has none for many orders, and
    is then not defined. Witten-Bell always is, and has nothing to tune. The vocabulary is the
    pool's, which is public (KenLM's ``--limit_vocab_file``). A shadow without texts gives every
    row ``-log10(V + 1)``.

    ``against_pool``: less the same of a model of the pool, each row included (Moore & Lewis 2010,
    who take a sample of the pool).
    """

    name: ClassVar[str] = "perplexity"
    family: ClassVar[Family] = "other"
    adjacency: ClassVar[Adjacency] = "add_remove"
    order: int = 3
    against_pool: bool = False

    def __post_init__(self) -> None:
        """Check the order."""
        if not ORDERS[0] <= self.order <= ORDERS[1]:
            raise ValueError(f"order must be {ORDERS[0]} to {ORDERS[1]}, got {self.order}.")

    def embed(self, features: Features, labels: Labels | None = None) -> Features:
        """Shares of hashed words and pairs of words: a surrogate in them is linear."""
        codes = token_codes(features, self.name)
        return shares(count_profiles(codes, EMBEDDED_NGRAMS, EMBEDDED_BUCKETS))

    def fit(
        self, private: PrivateRows, inclusion: Inclusion, pool: Rows, *, streams: ShadowStreams
    ) -> FittedScorers:
        """Count n-grams once for all shadows; which of them a shadow has is worked out later."""
        of_pool = token_codes(pool.features, self.name)
        vocabulary = Vocabulary.of(of_pool)
        held = private.row_inclusion(inclusion)
        mine = token_codes(private.features, self.name)
        models = WittenBell.of(mine, np.arange(len(mine)), held, self.order, vocabulary)
        if not self.against_pool:
            return PerplexityScorers(models, None)
        alike = np.zeros(len(pool), dtype=np.int64)  # all rows in one column, which is held
        everyone = np.ones((1, 1), dtype=bool)
        background = WittenBell.of(of_pool, alike, everyone, self.order, vocabulary)
        return PerplexityScorers(models, background)

    def linearise(self, private: PrivateRows, pool: Rows) -> None:
        """A mean of logarithms of interpolated shares is not linear."""
        return


@dataclass(frozen=True, slots=True)
class PerplexityScorers:
    """S language models, and the pool's where it is compared with."""

    models: WittenBell
    background: WittenBell | None

    def score(self, features: Features, labels: Labels | None = None) -> Scores:
        """(rows, L) -> (S, rows)."""
        codes = token_codes(features, Perplexity.name)
        scores = self.models.mean_log10(codes)
        if self.background is not None:
            scores = scores - self.background.mean_log10(codes)
        return scores.astype(features.dtype)
