"""A decision as JUnit XML: one test case a line or requirement, for a CI server.

``reject`` and ``supports rejection`` are failures. ``not enough evidence`` is an error: the test
came to no result, and a skipped test would be shown as green where the gate is shut. The rest
passes, with its sentence as output. Nothing in it differs between two runs of the same gate.
"""

import io
from typing import Final
from xml.etree import ElementTree

from curation_audit.gating.outcomes import Decision, Finding
from curation_audit.gating.plain import one_line

PREFIX: Final = "curation-audit.gate"
FAILURES: Final = ("reject", "supports rejection")
ERRORS: Final = ("not enough evidence",)


def as_junit(decision: Decision) -> str:
    """The XML, with its declaration."""
    counts = {
        "tests": len(decision.findings),
        "failures": sum(one.outcome in FAILURES for one in decision.findings),
        "errors": sum(one.outcome in ERRORS for one in decision.findings),
        "skipped": 0,
    }
    attributes = {"name": one_line(f"policy {decision.policy.name}"), "time": "0"}
    attributes |= {key: str(value) for key, value in counts.items()}
    root = ElementTree.Element("testsuites", attributes)
    suite = ElementTree.SubElement(root, "testsuite", attributes)
    _properties(suite, _of_suite(decision))
    for one in decision.findings:
        _case(suite, one)
    _text(suite, "system-out", decision.sentence)
    ElementTree.indent(root)
    file = io.BytesIO()
    ElementTree.ElementTree(root).write(file, encoding="utf-8", xml_declaration=True)
    return file.getvalue().decode() + "\n"


def _of_suite(decision: Decision) -> dict[str, object]:
    report, risk = decision.report, decision.risk
    return {
        "outcome": decision.outcome,
        "exit_code": decision.exit_code,
        "risk_measured": risk.measured,
        "risk_declared": risk.declared,
        "risk_combined": risk.combined,
        "report_name": report.name,
        "report_seed": report.seed,
        "report_sha256": report.sha256,
        "tool_version": report.tool_version,
    }


def _case(suite: ElementTree.Element, one: Finding) -> None:
    place = f"{PREFIX}.{one.kind}" + (f".{one.stage}" if one.stage else "")
    case = ElementTree.SubElement(
        suite, "testcase", {"classname": place, "name": one_line(one.name), "time": "0"}
    )
    _properties(case, _of_case(one))
    if one.outcome in (*FAILURES, *ERRORS):
        kind = "failure" if one.outcome in FAILURES else "error"
        told = one_line(one.sentence)
        found = ElementTree.SubElement(case, kind, {"type": one.outcome, "message": told})
        found.text = one_line(f"would change it: {one.remedy}") if one.remedy else told
    else:
        _text(case, "system-out", f"{one.outcome}: {one.sentence}")


def _of_case(one: Finding) -> dict[str, object]:
    number = one.number
    measured = {} if number is None else {
        "value": number.value,
        "low": number.low,
        "high": number.high,
        "confidence": number.confidence,
        "sides": number.sides,
        "label": number.label,
    }  # fmt: skip
    attacks = ", ".join(one.attacks) or None
    asked = {"outcome": one.outcome, "basis": one.basis, "rule": one.rule, "limit": one.limit}
    return {**asked, **measured, "attacks": attacks}


def _properties(parent: ElementTree.Element, values: dict[str, object]) -> None:
    """What is not measured has no property."""
    element = ElementTree.SubElement(parent, "properties")
    for name, value in values.items():
        if value is not None:
            told = one_line(str(value))
            ElementTree.SubElement(element, "property", {"name": name, "value": told})


def _text(parent: ElementTree.Element, tag: str, text: str) -> None:
    ElementTree.SubElement(parent, tag).text = one_line(text)
