"""Numbers as policies have them, and texts that others wrote, made fit for one line."""

import math

from curation_audit.gating.outcomes import Finding, Number
from curation_audit.report import words


def one_line(text: str) -> str:
    r"""A text without control characters, line ends and what turns the direction of writing.

    >>> one_line("a\nb \x1b[31mc")
    'a b [31mc'
    """
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def outcome_told(finding: Finding) -> str:
    """An outcome for a table; a release is never supported against more than what ran."""
    measured = finding.basis == "measured" and finding.outcome == "supports release"
    return f"{finding.outcome}, against the attacks listed" if measured else finding.outcome


def found(finding: Finding) -> str:
    """What a finding is about, for a table; an attack that is required has no number."""
    if finding.number is None and finding.basis == "audit":
        return "-"
    return interval(finding.number)


def interval(number: Number | None) -> str:
    """A number with its interval as a table shows it, in the units of the policy.

    >>> interval(Number(value=0.6, low=0.55, high=0.65, confidence=0.95))
    '0.6000 [0.5500, 0.6500]'
    """
    if number is None:
        return words.NOT_MEASURED
    if number.label == "bound":
        return f"at least {nats(number.value)}"
    if number.label == "declared":
        return f"{number.value:.4g} (declared)"
    if number.label == "design":
        return f"{number.value:g}"
    return f"{number.value:.4f} [{shown(number.low)}, {shown(number.high)}]"


def shown(value: float | None) -> str:
    """A fraction with four decimals, as policies have them.

    >>> shown(0.60049), shown(None)
    ('0.6005', 'not measured')
    """
    return words.NOT_MEASURED if value is None else f"{value:.4f}"


def nats(value: float) -> str:
    """A lower bound on epsilon with four decimals, rounded down.

    >>> nats(2.30009), nats(0.0)
    ('2.3000', '0.0000')
    """
    # a hair above, as 10,000 times 0.6004 lies below 6,004 in floating point
    return f"{math.floor(value * 1e4 + 1e-7) / 1e4:.4f}"
