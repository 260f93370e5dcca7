"""The matched filter on a scorer that is recovered from the scores of the picked rows."""

from dataclasses import dataclass
from typing import ClassVar

from curation_audit import checks
from curation_audit.attacks.base import OtherPairs, known_linearisation, known_pool
from curation_audit.attacks.mask_filter import Moves, filtered
from curation_audit.observations import Knowledge, Observation, Stage
from curation_audit.streams import ShadowStreams
from curation_audit.training.halfspaces import Whitening
from curation_audit.training.partial_scores import slopes_of_top
from curation_audit.types import Evidence, Inclusion


@dataclass(frozen=True, slots=True, kw_only=True)
class TopFilter:
    """As ``matched_filter``, where only picked rows show their scores.

    With more picked rows than coordinates these scores fix a linear scorer; with fewer, that the
    other rows lie below them says more. ``steps`` of
    Newton's method recover it.
    """

    name: ClassVar[str] = "top_filter"
    title: ClassVar[str] = "Matched filter in the scorer of the picked rows"
    stage: ClassVar[Stage] = "scores"
    needs: ClassVar[frozenset[str]] = frozenset(
        {"algorithm", "candidates", "linear scorer", "other candidates", "pool", "top scores only"}
    )
    source: ClassVar[str] = "this project; censored regression after Tobin 1958"
    cost: ClassVar[str] = "16 S m p + 8 S k p^2 + S p N, k picked"

    steps: int = 8

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
        picked = observation.selection.mask()
        slopes = observation.derived(
            f"slopes of top scores, {self.steps} steps",
            (pool,),
            lambda: slopes_of_top(whitening.apply(pool), observation.scores, picked, self.steps),
        )
        moves = Moves.of(known_linearisation(knowledge), whitening)
        return filtered(slopes, inclusion, moves, OtherPairs.of(knowledge, inclusion))
