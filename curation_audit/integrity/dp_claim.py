"""A claim of differential privacy against its events, by the accountant."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, get_args

from curation_audit.checks import InputError
from curation_audit.dp.event_codec import decoded
from curation_audit.dp.events import Event, PoissonGaussian, RepeatAndSelect
from curation_audit.dp.ledger import Ledger, guarantee_of, upwards
from curation_audit.integrity.findings import (
    RELATIVE,
    Finding,
    compared,
    failed,
    passed,
    unchecked,
)
from curation_audit.results import Adjacency
from curation_audit.storage import code_digest

MOST_EVENTS: Final = 1000
MOST_SHOWN: Final = 3
MOST_STEPS: Final = 10_000_000
LOOSE: Final = 0.01
"""A claim that much larger than the accountant's, relatively, is told as loose; it still holds."""
TWICE: Final = "it stands in two places that agree, and both are the writer's word"
UNDATED: Final = (
    "there are no events to account with: either a version of before events were kept wrote this, "
    "or somebody took them out; the version's number does not tell the two apart"
)


def events_of(coded: object) -> tuple[Event, ...]:
    """Events from JSON values, few enough for an accountant.

    Raises:
        InputError: for something else.
    """
    if not isinstance(coded, Sequence) or isinstance(coded, str):
        raise InputError("events", "are no list of events")
    try:
        if _count(coded) > MOST_EVENTS:
            raise InputError("events", "are too many", f"expected at most {MOST_EVENTS}")
        events = tuple(decoded(one) for one in coded)
    except (ValueError, RecursionError) as error:
        told = str(error) if isinstance(error, ValueError) else "nested too deep"
        raise InputError("events", told) from None
    for one in events:
        check_steps(_steps(one))
    return events


def _count(coded: Sequence[object]) -> int:
    """How many events there are, with those that others are made of."""
    inner = [one.get("events") for one in coded if isinstance(one, Mapping)]
    return len(coded) + sum(_count(one) for one in inner if isinstance(one, list))


def _steps(event: Event) -> int:
    if isinstance(event, RepeatAndSelect):
        return sum(map(_steps, event.events))
    return event.steps if isinstance(event, PoissonGaussian) else 0


def check_steps(steps: int) -> None:
    """Raise ``InputError`` for more steps than an accountant should be asked for."""
    if steps > MOST_STEPS:
        raise InputError("events", f"have {steps} steps", f"expected at most {MOST_STEPS}")


def check_guarantee(
    events: tuple[Event, ...],
    adjacency: object,
    epsilon: float,
    delta: float,
    slack: float = RELATIVE,
) -> Finding:
    """A printed (epsilon, delta) against what the accountant makes of the events.

    An epsilon that is smaller by more than ``slack``, relatively, is wrong; a larger one is loose,
    and true.
    """
    if adjacency not in get_args(Adjacency):
        return unchecked("epsilon", "no adjacency is stated that the accountant knows")
    known: Adjacency = adjacency  # type: ignore[assignment]  # as just checked
    computed = guarantee_of(events, known).epsilon_at(delta)
    of = "; ".join(one.line() for one in events[:MOST_SHOWN])
    told = f"claimed {epsilon:.6g}, the accountant says {computed:.6g} at delta {delta:g}, {known}"
    told += f" ({of})"
    if not epsilon >= computed * (1 - slack):
        return failed("epsilon", told)
    if epsilon > computed * (1 + LOOSE):
        return passed("epsilon", f"{told}: loose, and true")
    return passed("epsilon", told)


def check_protection(facts: Mapping[str, Any]) -> Iterator[Finding]:
    """What a report or a release's card says of its mechanism, against its events.

    Epsilon, delta, unit and adjacency stand twice: as values, and in the printed ledger. That of a
    report comes as it was read, with the ``tool`` of the report: an older version wrote no
    ``coded_events`` at all, and none wrote null beside an epsilon.
    """
    coded = facts.get("coded_events")
    if facts["epsilon"] is None:
        yield unchecked("epsilon", "something ran without noise: nothing is guaranteed")
        return
    if coded is None:
        yield _without_events(facts)
        yield _printed(facts)
        return
    events = events_of(coded)
    if not events:
        yield failed("epsilon", "a guarantee is claimed, and there is no event behind it")
        return
    epsilon, delta = float(facts["epsilon"]), float(facts["delta"])
    yield check_guarantee(events, facts["adjacency"], epsilon, delta)
    ledger = Ledger(facts["adjacency"], facts["unit"], events)
    printed = list(ledger.lines(delta))
    yield compared("ledger", list(facts["events"]), printed, "unit, adjacency, events as printed")
    yield unchecked("unit", f"that the mechanism protects a whole {facts['unit']!r}: {TWICE}")


def _without_events(facts: Mapping[str, Any]) -> Finding:
    tool = facts.get("tool")
    ours = isinstance(tool, Mapping) and tool.get("code_digest") == code_digest()
    if "coded_events" in facts or ours:
        return failed("epsilon", "a guarantee is claimed, and its events were taken out")
    return unchecked("epsilon", UNDATED)


def _printed(facts: Mapping[str, Any]) -> Finding:
    """Without events the printed ledger must at least say what the values say."""
    epsilon, delta = float(facts["epsilon"]), float(facts["delta"])
    wanted = {
        "adjacency: ": f"{facts['adjacency']}",
        "unit: ": f"{facts['unit']}",
        "epsilon at delta ": f"{delta:.6g}: {upwards(epsilon)}",
    }
    lines = list(facts["events"])
    told = {head: [one.removeprefix(head) for one in lines if one.startswith(head)]
            for head in wanted}  # fmt: skip
    computed = {head: [value] for head, value in wanted.items()}
    return compared("ledger", told, computed, "epsilon, delta, unit, adjacency as printed")
