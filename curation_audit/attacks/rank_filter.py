"""The matched filter on the scorer's direction, recovered from the order of the scores."""

from dataclasses import dataclass
from typing import ClassVar

from curation_audit import checks
from curation_audit.attacks.base import OtherPairs, known_linearisation, known_pool
from curation_audit.attacks.mask_filter import Moves, filtered, of_length_one
from curation_audit.observations import Knowledge, Observation, Stage
from curation_audit.streams import ShadowStreams
from curation_audit.training.halfspaces import Whitening
from curation_audit.training.partial_scores import slopes_of_ranks
from curation_audit.types import Evidence, Inclusion


@dataclass(frozen=True, slots=True, kw_only=True)
class RankFilter:
    """As ``mask_filter``, with a direction that all ranks tell, not the picks alone.

    The order of many rows fixes the direction of a linear scorer nearly as well as their scores;
    only its length is lost. ``steps`` of alternating least squares recover it.
    """

    name: ClassVar[str] = "rank_filter"
    title: ClassVar[str] = "Matched filter on the direction of the ranks"
    stage: ClassVar[Stage] = "scores"
    needs: ClassVar[frozenset[str]] = frozenset(
        {"algorithm", "candidates", "linear scorer", "other candidates", "pool", "score ranks"}
    )
    source: ClassVar[str] = "this project; influence after Koh & Liang 2017"
    cost: ClassVar[str] = "20 S m (p + log m) + S p N + m p^2"

    steps: int = 10

    def __post_init__(self) -> None:
        """Check the number of steps."""
        checks.positive(steps=self.steps)

    def evidence(
        self,
        observation: Observation,
        inclusion: Inclusion,
        knowledge: Knowledge,
        *,
        streams: ShadowStreams,
    ) -> Evidence:
        """Float64 (S, N)."""
        pool = known_pool(knowledge)
        whitening = observation.derived("whitening", (pool,), lambda: Whitening.of(pool))
        slopes = observation.derived(
            f"slopes of ranks, {self.steps} steps",
            (pool,),
            lambda: slopes_of_ranks(whitening.apply(pool), observation.scores, self.steps),
        )
        moves = Moves.of(known_linearisation(knowledge), whitening)
        others = OtherPairs.of(knowledge, inclusion)
        return filtered(of_length_one(slopes), inclusion, moves, others)
