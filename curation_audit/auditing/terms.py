"""What judging evidence needs of a plan: settings and words, neither data nor a scorer that runs.

An ``AuditPlan`` is all of it. Whoever recomputes a finished audit has the settings only.
"""

from typing import Protocol

from curation_audit.auditing.plan import AttackSettings, PolicyRule, Threat
from curation_audit.dp.claims import Claim
from curation_audit.observations import Stage
from curation_audit.pipelines.base import CurationData
from curation_audit.results import Adjacency


class Plays(Protocol):
    """A scorer, by the game that its shadows play."""

    @property
    def adjacency(self) -> Adjacency:
        """Which private sets are neighbours."""
        ...


class Terms(Protocol):
    """See ``AuditPlan``; ``data`` is ``None`` where it is not at hand, and groups are unknown."""

    @property
    def seed(self) -> int: ...  # noqa: D102

    @property
    def attack(self) -> AttackSettings: ...  # noqa: D102

    @property
    def threat(self) -> Threat: ...  # noqa: D102

    @property
    def stages(self) -> tuple[Stage, ...]: ...  # noqa: D102

    @property
    def policy(self) -> tuple[PolicyRule, ...]: ...  # noqa: D102

    @property
    def claim(self) -> Claim | None: ...  # noqa: D102

    def claim_at(self, stage: Stage) -> Claim | None: ...  # noqa: D102

    @property
    def adjacency(self) -> Adjacency: ...  # noqa: D102

    @property
    def n_claims(self) -> int: ...  # noqa: D102

    @property
    def scorer(self) -> Plays: ...  # noqa: D102

    @property
    def data(self) -> CurationData | None: ...  # noqa: D102
