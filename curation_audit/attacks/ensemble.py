"""Ensembles: the attacks on one stage, or on everything that is released, as one."""

from dataclasses import dataclass
from typing import Any, ClassVar

from curation_audit.attacks.base import Attack
from curation_audit.attacks.stacking import stacked_evidence
from curation_audit.observations import Knowledge, Observation, Stage
from curation_audit.streams import ShadowStreams
from curation_audit.types import Evidence, Inclusion


@dataclass(frozen=True, slots=True, kw_only=True)
class Ensemble:
    """Attacks whose evidence is stacked, with weights fitted on other pairs of shadows.

    Of ``members`` those take part whose stage is observed and whose needs are granted; ``needs``
    are such that there is one.
    """

    source: ClassVar[str] = "this project; stacking after Wolpert 1992"
    cost: ClassVar[str] = "4 times its members"

    name: str
    title: str
    stage: Stage
    needs: frozenset[str]
    members: tuple[Attack, ...]

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
