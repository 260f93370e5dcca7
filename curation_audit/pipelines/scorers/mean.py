"""Mean similarity to the private rows (data-juicer's embedding similarity; TRAK-like)."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from curation_audit.observations import Linearisation
from curation_audit.pipelines.base import Family, FittedScorers, PrivateRows, Rows
from curation_audit.pipelines.scorers.linear import (
    LinearScorers,
    half_weights,
    linearisation,
)
from curation_audit.releases.public_maps import unit_rows
from curation_audit.results import Adjacency
from curation_audit.streams import ShadowStreams
from curation_audit.types import Features, Inclusion, Labels


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """``score(x) = <e(x), mean of e(t) over the private rows t>``; 0 for an empty private set.

    ``metric``: ``cosine`` scales rows to length one first, ``inner_product`` does not.
    """

    name: ClassVar[str] = "mean"
    family: ClassVar[Family] = "linear"
    adjacency: ClassVar[Adjacency] = "add_remove"
    metric: Literal["cosine", "inner_product"] = "cosine"

    def embed(self, features: Features, labels: Labels | None = None) -> Features:
        """Rows as the similarity sees them."""
        return unit_rows(features) if self.metric == "cosine" else features

    def unembed(self, embedded: Features, length: float) -> Features:
        """The rows themselves; of that length where the similarity forgets it."""
        return unit_rows(embedded) * length if self.metric == "cosine" else embedded

    def fit(
        self, private: PrivateRows, inclusion: Inclusion, pool: Rows, *, streams: ShadowStreams
    ) -> FittedScorers:
        """All S means by one matrix product of the inclusion and the embedded rows."""
        held = private.row_inclusion(inclusion).astype(private.features.dtype)
        count = np.maximum(held.sum(axis=1, keepdims=True), 1)
        return LinearScorers(held @ self.embed(private.features) / count, self.embed)

    def linearise(self, private: PrivateRows, pool: Rows) -> Linearisation:
        """The mean as the minimiser of ``sum_t |w - e(t)|^2 / 2``."""
        embedded = self.embed(private.features).astype(np.float64)
        weights = half_weights(private)
        reference = weights @ embedded / weights.sum()
        p = embedded.shape[1]
        return linearisation(
            private,
            reference,
            gradients=reference - embedded,
            hessian=weights.sum() * np.eye(p),
            slopes=np.ones(p, dtype=bool),
            exact=True,
        )
