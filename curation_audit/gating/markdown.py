"""A decision as Markdown, short enough for a pull request."""

import string
from typing import Final

from curation_audit.gating.outcomes import Decision
from curation_audit.gating.plain import found, one_line, outcome_told
from curation_audit.gating.show import changes

# what a character becomes; entities where a backslash would still let HTML or a mention through
_AS: Final = {c: f"\\{c}" for c in string.punctuation if c not in ".,;:%()'/=?-+!"} | {
    "<": "&lt;",
    ">": "&gt;",
    "&": "&amp;",
    '"': "&quot;",
    "@": "@&#8203;",
}
_ESCAPES: Final = str.maketrans(_AS)


def escaped(text: str) -> str:
    r"""A text as Markdown that shows it as it is, in one line, in a table as well.

    >>> escaped("a|b <i> @you")
    'a\\|b &lt;i&gt; @&#8203;you'
    """
    return one_line(text).translate(_ESCAPES)


def as_markdown(decision: Decision) -> str:
    """The verdict, a table, and what would change it."""
    lines = [
        f"### {escaped(f'Curation audit: {decision.outcome}')}",
        "",
        escaped(decision.sentence),
        "",
        "| line or requirement | rule | found | outcome |",
        "|---|---|---|---|",
    ]
    met = [one for one in decision.findings if one.basis == "audit" and not one.remedy]
    for one in decision.findings:
        if one in met:
            continue
        cells = (one.name, one.rule, found(one), outcome_told(one))
        lines.append(f"| {' | '.join(map(escaped, cells))} |")
    if met:
        names = ", ".join(one.name for one in met)
        lines += ["", escaped(f"Requirements met ({len(met)}): {names}.")]
    wanted = changes(decision)
    if wanted:
        lines += ["", "**What would change it**", ""]
        lines += [f"* {escaped(change)}" for change in wanted]
    lines += ["", *_attacks(decision), _footer(decision)]
    return "\n".join(lines) + "\n"


def _attacks(decision: Decision) -> list[str]:
    """The attacks listed, once a stage; a release means nothing without them."""
    by_stage = {one.stage: one.attacks for one in decision.findings if one.kind == "appetite"}
    lines = [
        f"* {escaped(stage)}: {escaped(', '.join(names) or 'none')}"
        for stage, names in by_stage.items()
        if stage is not None
    ]
    return ["**The attacks listed**", "", *lines, ""]


def _footer(decision: Decision) -> str:
    report, risk = decision.report, decision.risk
    said = (
        f"Policy {decision.policy.name!r}, audit {report.name!r}, seed {report.seed}, "
        f"curation-audit {report.tool_version}"
    )
    if report.sha256 is not None:
        said += f", report.json sha256 {report.sha256[:16]}"
    declared = risk.declared or "nothing asked for"
    return escaped(f"{said}. Risk measured: {risk.measured}; declared: {declared}.")
