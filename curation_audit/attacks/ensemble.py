"""Ensembles: the attacks on one stage, or on everything that is released, as one."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from curation_audit.attacks.base import Attack
from curation_audit.attacks.bavaria import Bavaria
from curation_audit.attacks.bottleneck import Bottleneck
from curation_audit.attacks.extract import Extract
from curation_audit.attacks.gibbs import Gibbs
from curation_audit.attacks.jaccard import Jaccard
from curation_audit.attacks.lira import Lira
from curation_audit.attacks.mask_extract import MaskExtract
from curation_audit.attacks.mask_filter import MaskFilter
from curation_audit.attacks.matched_filter import MatchedFilter
from curation_audit.attacks.nearest_pool import NearestPool
from curation_audit.attacks.score_match import ScoreMatch
from curation_audit.attacks.shadow_filter import ShadowFilter
from curation_audit.attacks.stacking import stacked_evidence
from curation_audit.attacks.through_mask import ThroughMask
from curation_audit.attacks.trace import Trace
from curation_audit.observations import Knowledge, Observation, Stage
from curation_audit.streams import ShadowStreams
from curation_audit.types import Evidence, Inclusion

# the strong ones of every kind, and none that costs far more than it adds
ON_SCORES: Final[tuple[Attack, ...]] = (
    Trace(),
    Extract(),
    MatchedFilter(),
    ShadowFilter(),
    ScoreMatch(),
)
ON_SELECTION: Final[tuple[Attack, ...]] = (MaskExtract(), MaskFilter(), Jaccard(), Gibbs())
ON_MODEL: Final[tuple[Attack, ...]] = (
    Lira(),
    Bavaria(),
    NearestPool(),
    ThroughMask(),
    Bottleneck(),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ensemble:
    """Attacks whose evidence is stacked, with weights fitted on other pairs of shadows.

    Of ``members`` those take part whose stage is observed and whose needs are granted; ``needs``
    are such that there is one.
    """

    source: ClassVar[str] = "this project; stacking after Wolpert 1992"
    cost: ClassVar[str] = "4 times its members, less what does not depend on coins"

    name: str
    title: str = field(repr=False)
    stage: Stage = field(repr=False)
    needs: frozenset[str] = field(repr=False)
    members: tuple[Attack, ...] = field(repr=False)

    def describe(self) -> dict[str, Any]:
        """What stored evidence is told apart by; the members' settings are code."""
        return {"members": [repr(member) for member in self.members]}

    def able(self, knowledge: Knowledge) -> tuple[Attack, ...]:
        """The members that take part.

        Raises:
            ValueError: if there is none.
        """
        granted = knowledge.granted
        able = [one for one in self.members if one.stage in granted and one.needs <= granted]
        if not able:
            raise ValueError(f"no member of {self.name} is applicable.")
        return tuple(able)

    def evidence(
        self,
        observation: Observation,
        inclusion: Inclusion,
        knowledge: Knowledge,
        *,
        streams: ShadowStreams,
    ) -> Evidence:
        """Float64 (S, N)."""
        members = self.able(knowledge)
        return stacked_evidence(members, observation, inclusion, knowledge, streams=streams)
