"""What a gate comes to: frozen values that say nothing twice and compute nothing."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from curation_audit.gating.policy import Policy
from curation_audit.observations import Stage

Outcome: TypeAlias = Literal[
    "reject", "supports rejection", "not enough evidence", "no objection", "supports release"
]
# from the worst; "no objection" speaks neither for a release nor against it
OUTCOMES: Final[tuple[Outcome, ...]] = (
    "reject",
    "supports rejection",
    "not enough evidence",
    "no objection",
    "supports release",
)
Basis: TypeAlias = Literal["measured", "declared", "audit"]
DECISION_VERSION: Final = 1


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """The first of several in the order of ``OUTCOMES``.

    >>> worst(["supports release", "not enough evidence", "no objection"])
    'not enough evidence'
    """
    return min(outcomes, key=OUTCOMES.index)


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """What a line was judged by; ``None`` is an end that the audit does not have.

    Fractions, nats for an epsilon, or a count. ``confidence`` belongs to this interval on its own
    (for ``maximum_exposure``: to all candidates together). ``one-sided`` limits hold one at a
    time. ``label``: an estimate, a bound (a theorem's), what somebody declared, or a setting of
    the audit's design.
    """

    value: float
    low: float | None = None
    high: float | None = None
    confidence: float | None = None
    sides: Literal["two-sided", "one-sided"] | None = None
    label: Literal["estimate", "bound", "declared", "design"] = "estimate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What became of one line of the appetite, or of one requirement.

    ``basis``: whether it speaks of measured leakage, of what the owner declares, or of the audit
    itself. ``rule`` is what was asked, ``limit`` its number. ``attacks`` are those that ran at the
    stage. ``remedy``: what would change the outcome; empty where nothing needs to.
    """

    kind: Literal["appetite", "requirement"]
    basis: Basis
    name: str
    stage: Stage | None
    rule: str
    limit: float | None
    number: Number | None
    outcome: Outcome
    sentence: str
    attacks: tuple[str, ...] = ()
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Risk:
    """The worst outcome of what was measured, of what is declared, and of everything together.

    ``declared`` is ``None`` where no claim is asked for and none is refuted. ``combined`` holds
    all findings: a claim never makes up for a measurement.
    """

    measured: Outcome
    declared: Outcome | None
    combined: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedReport:
    """Which report was judged; ``sha256`` is that of the file, ``None`` for a tree in memory."""

    name: str
    seed: int
    tool_version: str
    code_digest: str
    sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A policy held against a report.

    ``exit_code``: 0 supports release, 1 anything else, 5 the audit is invalid. ``notes``: what the
    numbers are about, for whoever signs.
    """

    policy: Policy
    report: AuditedReport
    outcome: Outcome
    exit_code: int
    sentence: str
    risk: Risk
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    schema_version: int = DECISION_VERSION
