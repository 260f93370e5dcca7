"""Votes of private rows for the class that they are labelled with: a histogram of domains."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from curation_audit.releases.public_maps import digest
from curation_audit.types import Features, Floats, Indices, Labels


@dataclass(frozen=True, slots=True, eq=False)
class ClassVotes:
    """A row votes for its label; a pool row reads its label's votes over the pool rows there.

    ``sizes`` int64 (classes,): pool rows of every class. The classes are the pool's.
    """

    name: ClassVar[str] = "domain_votes"
    nonnegative: ClassVar[bool] = True
    sizes: Indices

    def contribution(self, features: Features, labels: Labels | None = None) -> Floats:
        """One-hot, float64 (rows, classes); nothing for rows whose labels are not known."""
        if labels is None:
            return np.zeros((len(features), len(self.sizes)))
        votes: Floats = (labels[:, None] == np.arange(len(self.sizes))).astype(np.float64)
        return votes

    def query(self, features: Features, labels: Labels | None = None) -> Features:
        """One-hot over the class's size, (rows, classes)."""
        votes = self.contribution(features, labels)
        return (votes / np.maximum(self.sizes, 1)).astype(features.dtype)

    def describe(self) -> dict[str, Any]:
        """A digest of the sizes."""
        return {"sizes": digest(self.sizes)}
