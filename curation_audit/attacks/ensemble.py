"""Ensembles: the attacks on one stage, or on everything that is released, as one."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from curation_audit.attacks.analytic_model import AnalyticModel
from curation_audit.attacks.analytic_picks import AnalyticPicks
from curation_audit.attacks.base import Attack
from curation_audit.attacks.bavaria import Bavaria
from curation_audit.attacks.bottleneck import Bottleneck
from curation_audit.attacks.cavity_filter import CavityFilter
from curation_audit.attacks.extract import Extract
from curation_audit.attacks.gibbs import Gibbs
from curation_audit.attacks.jaccard import Jaccard
from curation_audit.attacks.known_others import KnownOthers
from curation_audit.attacks.lira import Lira
from curation_audit.attacks.mask_extract import MaskExtract
from curation_audit.attacks.mask_filter import MaskFilter
from curation_audit.attacks.matched_filter import MatchedFilter
from curation_audit.attacks.nearest_pool import NearestPool
from curation_audit.attacks.rank_filter import RankFilter
from curation_audit.attacks.score_match import ScoreMatch
from curation_audit.attacks.shadow_filter import ShadowFilter
from curation_audit.attacks.stacking import stacked_evidence
from curation_audit.attacks.through_mask import ThroughMask
from curation_audit.attacks.top_filter import TopFilter
from curation_audit.attacks.trace import Trace
from curation_audit.observations import Knowledge, Observation, Stage
from curation_audit.streams import ShadowStreams
from curation_audit.types import Evidence, Inclusion

# the strong ones of every kind, and none that costs far more than it adds
ON_SCORES: Final[tuple[Attack, ...]] = (
    Trace(),
    Extract(),
    MatchedFilter(),
    RankFilter(),
    TopFilter(),
    ShadowFilter(),
    CavityFilter(),
    ScoreMatch(),
    KnownOthers(),
)
ON_SELECTION: Final[tuple[Attack, ...]] = (
    MaskExtract(),
    MaskFilter(),
    AnalyticPicks(),
    Jaccard(),
    Gibbs(),
)
ON_MODEL: Final[tuple[Attack, ...]] = (
    Lira(),
    Bavaria(),
    NearestPool(),
    ThroughMask(),
    Bottleneck(),
    AnalyticModel(),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ensemble:
    """Attacks whose evidence is stacked, with weights fitted on other pairs of shadows.

    Of ``members`` those take part whose stage is seen and whose needs are granted; ``needs`` are
    such that there is one. Attacks on the picks also attack scores that show them. Where the
    budget of queries does not reach for the candidates and all pool rows that members ask about,
    those members stay that ask about pool rows.
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
        seen = granted if self.stage == "joint" else frozenset({self.stage})
        if "scores" in seen and "picks in scores" in granted:
            seen |= {"selection"}
        able = [one for one in self.members if one.stage in seen and one.needs <= granted]
        if not able:
            raise ValueError(f"no member of {self.name} is applicable.")
        at_pool = [one for one in able if "queries at the candidates" not in one.needs]
        too_many = knowledge.beside is not None and not knowledge.beside.all()
        return tuple(at_pool if too_many and at_pool else able)

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
