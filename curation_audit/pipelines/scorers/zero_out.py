"""A scorer that is a function of the rows held, read in the zero-out game."""

from dataclasses import dataclass
from typing import Any, ClassVar

from curation_audit.observations import Linearisation
from curation_audit.pipelines.base import Family, FittedScorers, PrivateRows, Rows, Scorer
from curation_audit.results import Adjacency
from curation_audit.streams import ShadowStreams
from curation_audit.types import Features, Inclusion, Labels


@dataclass(frozen=True, slots=True, kw_only=True)
class ZeroOut:
    """The same scorer: it keeps no public number of units, so to mask a unit is to leave it out."""

    adjacency: ClassVar[Adjacency] = "zero_out"
    scorer: Scorer

    @property
    def name(self) -> str:
        """The scorer's."""
        return self.scorer.name

    @property
    def family(self) -> Family:
        """The scorer's."""
        return self.scorer.family

    def describe(self) -> dict[str, Any]:
        """What results are told apart by: the same as the scorer's own."""
        return {"zero_out": repr(self.scorer)}

    def embed(self, features: Features, labels: Labels | None = None) -> Features:
        """As the scorer."""
        return self.scorer.embed(features, labels)

    def fit(
        self, private: PrivateRows, inclusion: Inclusion, pool: Rows, *, streams: ShadowStreams
    ) -> FittedScorers:
        """As the scorer."""
        return self.scorer.fit(private, inclusion, pool, streams=streams)

    def linearise(self, private: PrivateRows, pool: Rows) -> Linearisation | None:
        """As the scorer."""
        return self.scorer.linearise(private, pool)
