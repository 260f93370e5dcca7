"""What becomes of a line of the appetite, given its number and what the policy misses."""

import math
from collections.abc import Sequence
from typing import Any, Final

from curation_audit.gating.measured import NotMeasured, attacks_run, measure
from curation_audit.gating.outcomes import Finding, Number, Outcome
from curation_audit.gating.plain import nats, shown
from curation_audit.gating.policy import EPSILON, MAXIMUM_EXPOSURE, AppetiteLine
from curation_audit.report import words

MOST_SHADOWS: Final = 100_000
LESS_LEAK: Final = (
    "a curation that leaks less, e.g. a private mechanism ('curation-audit sweep' compares them)"
)


def outcome_of(number: Number, line: AppetiteLine) -> Outcome:
    """The outcome of a line that was measured; a limit that equals the appetite is within it.

    An epsilon is a lower bound, which never says how small the true one is: above the appetite it
    rejects, else it speaks neither way. The largest of many noisy exposures overstates itself
    (on average it lies above one half where nothing leaks), so that only its limits count.
    """
    if number.low is not None and number.low > line.at_most:
        return "reject"
    if line.metric == EPSILON:
        return "no objection"
    if line.bound == "lower":
        return "not enough evidence" if number.low is None else "supports release"
    if number.value > line.at_most and line.metric != MAXIMUM_EXPOSURE:
        return "supports rejection"
    if number.high is None or max(number.high, number.value) > line.at_most:
        return "not enough evidence"
    return "supports release"


def judge_line(
    report: dict[str, Any], line: AppetiteLine, missing: Sequence[Finding] = ()
) -> Finding:
    """The finding of a line; ``missing`` are unmet requirements that its release would need."""
    found, attacks = measure(report, line), attacks_run(report, line.stage)
    if isinstance(found, NotMeasured):
        told = f"{found.reason[:1].upper()}{found.reason[1:]}."
        return _finding(line, None, "not enough evidence", told, attacks, found.remedy)
    outcome = outcome_of(found, line)
    if outcome == "supports release" and missing:
        names = words.listed([one.name for one in missing])
        told = f"{_compared(found, line)}, but the policy requires what is not there: {names}."
        remedies = "; ".join(dict.fromkeys(one.remedy for one in missing if one.remedy))
        return _finding(line, found, "not enough evidence", told, attacks, remedies)
    told, remedy = _told(report, found, line, outcome)
    if outcome == "supports release":
        told = f"{told}, against the attacks listed: {', '.join(attacks)}"
    return _finding(line, found, outcome, f"{told}.", attacks, remedy)


def _finding(
    line: AppetiteLine,
    number: Number | None,
    outcome: Outcome,
    sentence: str,
    attacks: tuple[str, ...],
    remedy: str,
) -> Finding:
    what = "lower bound" if line.metric == EPSILON else f"{line.bound} limit"
    return Finding(
        kind="appetite",
        basis="measured",
        name=line.name,
        stage=line.stage,
        rule=f"{what} of {line.metric} at most {line.at_most:g}",
        limit=line.at_most,
        number=number,
        outcome=outcome,
        sentence=sentence,
        attacks=attacks,
        remedy=remedy,
    )


def _told(
    report: dict[str, Any], number: Number, line: AppetiteLine, outcome: Outcome
) -> tuple[str, str]:
    """One sentence without its full stop, and what would change the outcome."""
    if line.metric == EPSILON:
        return _told_of_epsilon(report, number, line, outcome)
    if outcome == "reject":
        low = f"The lower limit {shown(number.low)} lies above the appetite {line.at_most:g}"
        return f"{low}: surely more leaks than is accepted", LESS_LEAK
    if outcome == "supports rejection":
        told = (
            f"The estimate {shown(number.value)} lies above the appetite {line.at_most:g}, its "
            f"lower limit {shown(number.low)} does not"
        )
        return told, f"{LESS_LEAK}, or more shadows to settle it"
    if outcome == "supports release":
        return _compared(number, line), ""
    return _undecided(report, number, line)


def _compared(number: Number, line: AppetiteLine) -> str:
    """How a number keeps to a line."""
    if line.bound == "upper":
        return f"The upper limit {shown(number.high)} is at most the appetite {line.at_most:g}"
    return (
        f"The lower limit {shown(number.low)} is at most the appetite {line.at_most:g}, and this "
        f"line asks for no more (estimate {shown(number.value)}, upper limit {shown(number.high)})"
    )


def _undecided(report: dict[str, Any], number: Number, line: AppetiteLine) -> tuple[str, str]:
    """An upper limit above the appetite; how many shadows might do is a prediction."""
    high = f"The upper limit {shown(number.high)} lies above the appetite {line.at_most:g}"
    if number.value > line.at_most:
        told = (
            f"{high}, and the largest of many measured exposures, {shown(number.value)}, "
            f"overstates the truth: only its limits count"
        )
        return told, "more shadows"
    told = f"{high}, the estimate {shown(number.value)} does not"
    room, width = line.at_most - number.value, (number.high or 1.0) - number.value
    if room <= 0:
        return told, LESS_LEAK
    n_shadows = report["design"]["n_shadows"] * (width / room) ** 2
    if n_shadows > MOST_SHADOWS:
        return told, f"{LESS_LEAK}: more shadows would hardly settle it"
    likely = 2 * math.ceil(round(n_shadows / 2, 6))
    return told, f"about {likely:,} shadows, if the estimate stays (a prediction)"


def _told_of_epsilon(
    report: dict[str, Any], number: Number, line: AppetiteLine, outcome: Outcome
) -> tuple[str, str]:
    bounds = words.bounds_at(report, line.stage)
    one = None if bounds is None else words.declared_bound(bounds)
    if bounds is None or one is None:
        raise ValueError(f"stage {line.stage} has no bound on epsilon.")
    neighbours = words.adjacency(bounds["adjacency"], report["design"]["unit"])
    terms = (
        f"({one['method']}, {one['confidence']:.0%} confidence, delta {words.delta(one['delta'])}, "
        f"{neighbours})"
    )
    if outcome == "reject":
        told = f"Epsilon is at least {nats(number.value)} {terms}, above {line.at_most:g}"
        return told, LESS_LEAK
    told = (
        f"Epsilon is not shown to be above {line.at_most:g}: the bound is {nats(number.value)} "
        f"{terms}, but a lower bound never says how small epsilon is"
    )
    if one["resolution"] <= line.at_most:
        told += (
            f"; with as many counts no attack could have shown more than {nats(one['resolution'])}"
        )
    return told, ""
