"""A scorer of the user's own: any function of private and pool rows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np

from curation_audit.checks import InputError
from curation_audit.pipelines.base import Family, FittedScorers, PrivateRows, Rows
from curation_audit.results import Adjacency
from curation_audit.streams import ShadowStreams
from curation_audit.types import Features, Inclusion, Labels, Mask, Scores

ScoringFunction: TypeAlias = Callable[[Features, Features], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallableScorer:
    """``function(private rows (n, d), rows (m, d)) -> scores (m,)``, called once per shadow.

    A function has no shadow axis, so this adapter loops. ``version`` stands for what the
    function computes: stored results are reused only for the same name and version.
    """

    name: ClassVar[str] = "callable"
    family: ClassVar[Family] = "other"
    adjacency: ClassVar[Adjacency] = "add_remove"
    function: ScoringFunction
    version: str | None = None

    def describe(self) -> dict[str, Any]:
        """What stored results are told apart by."""
        # a partial or an object with __call__ has no name of its own: its class stands for it
        named = self.function if hasattr(self.function, "__qualname__") else type(self.function)
        where = f"{named.__module__}.{named.__qualname__}"
        return {"function": where, "version": self.version}

    def embed(self, features: Features, labels: Labels | None = None) -> Features:
        """The features and a column of ones: what a linear surrogate of the function sees."""
        return np.concatenate([features, np.ones_like(features[:, :1])], axis=1)

    def unembed(self, embedded: Features, length: float) -> Features:
        """All columns but the ones."""
        return embedded[:, :-1]

    def fit(
        self, private: PrivateRows, inclusion: Inclusion, pool: Rows, *, streams: ShadowStreams
    ) -> FittedScorers:
        """Keep what each shadow holds; the function is called when rows are scored."""
        return CallableScorers(self.function, private.features, private.row_inclusion(inclusion))

    def linearise(self, private: PrivateRows, pool: Rows) -> None:
        """Nothing is known about the function."""
        return


@dataclass(frozen=True, slots=True)
class CallableScorers:
    """One function, and the rows that each of S shadows holds."""

    function: ScoringFunction
    private: Features
    held: Mask

    def score(self, features: Features, labels: Labels | None = None) -> Scores:
        """(rows, d) -> (S, rows)."""
        return np.stack([self._score(self.private[held], features) for held in self.held])

    def _score(self, private: Features, features: Features) -> Scores:
        try:
            scores = np.asarray(self.function(private, features), dtype=features.dtype)
        except Exception as error:
            # the text of a stranger's exception may quote private values
            raise InputError(
                "curate.scorer callable",
                f"raised {type(error).__name__} for a shadow of {len(private)} private rows",
                "call it by itself to see why",
            ) from None
        if scores.shape != features.shape[:1]:
            raise InputError(
                "curate.scorer callable",
                f"gave an array of shape {scores.shape}",
                f"expected one score for each of {features.shape[0]} rows",
            )
        return scores
