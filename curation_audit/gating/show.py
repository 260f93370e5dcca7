"""A decision as plain text: a table, what each line came to, and what would change it."""

import io
from collections.abc import Iterator
from typing import Final

from curation_audit.gating.outcomes import Decision, Finding
from curation_audit.gating.plain import found, one_line, outcome_told

WIDTH: Final = 120
LEAST_WIDTH: Final = 60


def as_text(decision: Decision, width: int = WIDTH) -> str:
    """Plain text without colours; the table is ``width`` characters wide at most."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    title = f"Policy {decision.policy.name!r} held against the audit of {decision.report.name!r}"
    table = Table(title=Text(one_line(title)))
    for heading in ("line or requirement", "rule", "found", "outcome"):
        table.add_column(heading, overflow="fold")
    for one in decision.findings:
        cells = (one.name, one.rule, found(one), outcome_told(one))
        table.add_row(*(Text(one_line(cell)) for cell in cells))
    file = io.StringIO()
    console = Console(
        file=file, width=max(width, LEAST_WIDTH), highlight=False, color_system=None, markup=False
    )
    console.print(table)
    for line in _lines(decision):
        console.print(Text(one_line(line)), soft_wrap=True)
    return file.getvalue()


def _lines(decision: Decision) -> Iterator[str]:
    for one in decision.findings:
        yield f"{one.name}: {one.outcome}. {one.sentence}"
    for change in changes(decision):
        yield f"would change it: {change}"
    for note in decision.notes:
        yield f"note: {note}"
    risk = decision.risk
    yield (
        f"risk: measured: {risk.measured}; declared: {risk.declared or 'nothing asked for'}; "
        f"combined: {risk.combined}"
    )
    yield f"verdict: {decision.sentence}"


def changes(decision: Decision) -> list[str]:
    """What would change the outcome, in the order of the findings; nothing twice."""
    by_remedy: dict[str, list[Finding]] = {}
    for one in decision.findings:
        if one.remedy:
            by_remedy.setdefault(one.remedy, []).append(one)
    return [
        f"{', '.join(one.name for one in findings)}: {remedy}"
        for remedy, findings in by_remedy.items()
    ]
