"""A policy held against the tree of a report: pure, and the same for the same two.

The outcome is the worst finding: reject, supports rejection, not enough evidence, then supports
release. An audit that a control made invalid is evidence of nothing, whatever its numbers.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from curation_audit.gating.appetite import judge_line
from curation_audit.gating.claims import judge_claim
from curation_audit.gating.outcomes import (
    AuditedReport,
    Decision,
    Finding,
    Outcome,
    Risk,
    worst,
)
from curation_audit.gating.policy import Policy
from curation_audit.gating.requirements import judge_requirements, missing_at
from curation_audit.report import words

EXIT_RELEASE, EXIT_GATE, EXIT_INVALID = 0, 1, 5
INVALID: Final = "audit invalid"
NOTHING_SPEAKS: Final = (
    "No measured line supports a release: bounds on epsilon, requirements and claims never do."
)


def decide(report: dict[str, Any], policy: Policy, sha256: str | None = None) -> Decision:
    """Hold a policy against a report that keeps to the schema.

    Args:
        report: the tree of report.json; it stays as it is.
        policy: what is accepted and required.
        sha256: that of the file the report was read from, in hex.
    """
    required = judge_requirements(report, policy)
    claim = judge_claim(report, policy)
    lines = [judge_line(report, one, missing_at(required, one.stage)) for one in policy.appetite]
    # where something is not measured or leaks, that says it all
    if all(one.outcome in ("no objection", "supports release") for one in lines):
        lines += [] if any(_speaks(one) for one in lines) else [_nothing_speaks()]
    findings = [*lines, *required, *(() if claim is None else (claim,))]
    failed = failed_control(report)
    if failed is not None:
        findings = [_void(one, failed) for one in findings]
    risk = _risk(findings)
    return Decision(
        policy=policy,
        report=_audited(report, sha256),
        outcome=risk.combined,
        exit_code=_exit_code(risk.combined, failed),
        sentence=_sentence(risk.combined, findings, failed),
        risk=risk,
        findings=tuple(findings),
        notes=tuple(_notes(report)),
    )


def failed_control(report: dict[str, Any]) -> str | None:
    """What makes an audit invalid, in words; ``None`` for a valid one."""
    controls = report["controls"]
    failed = [one["control"] for one in controls["results"] if not one["passed"]]
    if failed:
        return f"the control {failed[0]!r} failed"
    invalid = not controls["passed"] or report["verdict"]["status"] == INVALID
    return "a control failed" if invalid else None


def _speaks(finding: Finding) -> bool:
    return finding.outcome == "supports release"


def _nothing_speaks() -> Finding:
    return Finding(
        kind="appetite",
        basis="measured",
        name="measured support",
        stage=None,
        rule="a measured line supports release",
        limit=None,
        number=None,
        outcome="not enough evidence",
        sentence=NOTHING_SPEAKS,
        remedy="a line of the appetite about a rate, an AUC or an exposure",
    )


def _void(finding: Finding, failed: str) -> Finding:
    """A finding of an invalid audit: its number is kept, and says nothing."""
    return replace(
        finding,
        outcome="not enough evidence",
        sentence=f"The audit is invalid ({failed}): no number of it counts.",
        remedy="find why the control failed, and audit again",
    )


def _risk(findings: Sequence[Finding]) -> Risk:
    declared = [one.outcome for one in findings if one.basis == "declared"]
    return Risk(
        measured=_overall([one for one in findings if one.basis == "measured"]),
        declared=worst(declared) if declared else None,
        combined=_overall(findings),
    )


def _overall(findings: Sequence[Finding]) -> Outcome:
    """The worst finding that speaks; what objects to nothing is passed over."""
    spoken = [one.outcome for one in findings if one.outcome != "no objection"]
    return worst(spoken)


def _exit_code(outcome: Outcome, failed: str | None) -> int:
    if failed is not None:
        return EXIT_INVALID
    return EXIT_RELEASE if outcome == "supports release" else EXIT_GATE


def _sentence(outcome: Outcome, findings: Sequence[Finding], failed: str | None) -> str:
    """The verdict and what decided it."""
    if failed is not None:
        return f"Not enough evidence: the audit is invalid ({failed})."
    names = [one.name for one in findings if one.outcome == outcome]
    if outcome != "supports release":
        return f"{outcome.capitalize()}: {words.listed(names)}."
    declared = [one.name for one in findings if _speaks(one) and one.basis == "declared"]
    beside = " beside a claim that is declared, not measured" if declared else ""
    return (
        "Supports release against the attacks listed, for the adversary of this audit"
        f"{beside}. A stronger attack may find more."
    )


def _audited(report: dict[str, Any], sha256: str | None) -> AuditedReport:
    return AuditedReport(
        name=report["name"],
        seed=report["seed"],
        tool_version=report["tool"]["version"],
        code_digest=report["tool"]["code_digest"],
        sha256=sha256,
    )


def _notes(report: dict[str, Any]) -> list[str]:
    """What the numbers are about, and how they are to be read together."""
    design = report["design"]
    rows, all_rows = design["mean_rows_per_shadow"], design["production_rows"]
    notes = [
        f"The numbers describe private sets of {words.count(rows)} rows; the real one has "
        f"{words.count(all_rows)}.",
        "Every interval holds on its own, at its own confidence: the more lines, the likelier that "
        "one of them rejects by chance. A release needs all of them.",
    ]
    if design["canaries"] is not None:
        notes.append(
            "Canaries stood at stake, made up to be more exposed than real records: limits from "
            "above are cautious, and a rejection is about canaries."
        )
    return [*notes, *words.deviations(report["threat"])]
