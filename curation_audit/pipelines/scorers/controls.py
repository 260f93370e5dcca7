"""Controls: curations that do not look at the private set, so that every attack must fail.

An audit in which one leaks is broken, or told of a leak outside of the curation. Reports show
``control: true`` among the scorer's settings; it cannot be anything else.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from curation_audit.checks import SettingError
from curation_audit.pipelines.base import Family, FittedScorers, PrivateRows, Rows
from curation_audit.pipelines.features.tokens import mixed
from curation_audit.releases.public_maps import unit_rows
from curation_audit.results import Adjacency
from curation_audit.streams import ShadowStreams
from curation_audit.types import Features, Floats, Inclusion, Labels, Scores

ODD = np.uint64(0x9E3779B97F4A7C15)
BITS_BELOW_DOUBLE = np.uint64(11)


class Blind:
    """What controls share: nothing of the private set moves their scores."""

    __slots__ = ()

    def embed(self, features: Features, labels: Labels | None = None) -> Features:
        """Directions of rows, for attacks that compare rows."""
        return unit_rows(features)

    def linearise(self, private: PrivateRows, pool: Rows) -> None:
        """There is nothing that moves with a coin."""
        return


@dataclass(frozen=True, slots=True, kw_only=True)
class Random(Blind):
    """``score(x)``: uniform from 0 to 1, by a hash of the row's features and the curation's seed.

    Every curation picks other rows, and equal rows get equal scores.
    """

    name: ClassVar[str] = "random"
    family: ClassVar[Family] = "other"
    adjacency: ClassVar[Adjacency] = "add_remove"
    control: Literal[True] = True

    def fit(
        self, private: PrivateRows, inclusion: Inclusion, pool: Rows, *, streams: ShadowStreams
    ) -> FittedScorers:
        """One key a shadow."""
        keys = [rng.integers(1 << 63) for rng in streams.generators("random scores")]
        return HashScorers(np.array(keys, dtype=np.uint64))


@dataclass(frozen=True, slots=True)
class HashScorers:
    """Keyed hashes of rows; keys uint64 (S,)."""

    keys: np.ndarray

    def score(self, features: Features, labels: Labels | None = None) -> Scores:
        """(rows, d) -> (S, rows)."""
        hashes = mixed(self.keys[:, None] ^ row_hashes(features)) >> BITS_BELOW_DOUBLE
        return (hashes / float(1 << 53)).astype(features.dtype)


def row_hashes(features: Features) -> np.ndarray:
    """A hash of every row's values, the same in either precision where both hold them, uint64."""
    bits = (features.astype(np.float64) + 0.0).view(np.uint64)  # -0.0 is 0.0
    place = np.arange(1, features.shape[1] + 1, dtype=np.uint64) * ODD
    hashes: np.ndarray = mixed(bits + place).sum(axis=1, dtype=np.uint64)
    return hashes


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicOnly(Blind):
    """``score(x) = -|x - mean of the pool|``: the most typical rows, whoever is private."""

    name: ClassVar[str] = "public_only"
    family: ClassVar[Family] = "other"
    adjacency: ClassVar[Adjacency] = "add_remove"
    control: Literal[True] = True

    def fit(
        self, private: PrivateRows, inclusion: Inclusion, pool: Rows, *, streams: ShadowStreams
    ) -> FittedScorers:
        """The pool's mean."""
        mean = pool.features.mean(axis=0, dtype=np.float64)
        return TypicalScorers(mean, inclusion.shape[0])


@dataclass(frozen=True, slots=True)
class TypicalScorers:
    """One public score for ``n_shadows`` shadows."""

    mean: Floats
    n_shadows: int

    def score(self, features: Features, labels: Labels | None = None) -> Scores:
        """(rows, d) -> (S, rows)."""
        scores = -np.linalg.norm(features - self.mean, axis=1).astype(features.dtype)
        return np.tile(scores, (self.n_shadows, 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicScore(Blind):
    """``score(x)``: a feature of the row, such as the agreement of an image with its text (CLIP).

    ``column``: its number among the features, from 0; it may stand for more than a score.
    """

    name: ClassVar[str] = "public_score"
    family: ClassVar[Family] = "other"
    adjacency: ClassVar[Adjacency] = "add_remove"
    column: int
    control: Literal[True] = True

    def __post_init__(self) -> None:
        """Check the number."""
        if self.column < 0:
            raise ValueError(f"column must be 0 or more, got {self.column}.")

    def fit(
        self, private: PrivateRows, inclusion: Inclusion, pool: Rows, *, streams: ShadowStreams
    ) -> FittedScorers:
        """The column.

        Raises:
            SettingError: where the rows have no such column.
        """
        d = pool.features.shape[1]
        if self.column >= d:
            raise SettingError(
                "curate.scorer.column",
                f"found {self.column}, but rows have {d} features",
                f"expected 0 to {d - 1}",
            )
        return ColumnScorers(self.column, inclusion.shape[0])


@dataclass(frozen=True, slots=True)
class ColumnScorers:
    """One column of the features for ``n_shadows`` shadows."""

    column: int
    n_shadows: int

    def score(self, features: Features, labels: Labels | None = None) -> Scores:
        """(rows, d) -> (S, rows)."""
        return np.tile(features[:, self.column], (self.n_shadows, 1))
