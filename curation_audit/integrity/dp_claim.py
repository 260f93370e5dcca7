"""A claim of differential privacy against its events, by the accountant."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, get_args

import numpy as np

from curation_audit.checks import InputError
from curation_audit.dp.claims import CLAIMS, Claim
from curation_audit.dp.event_codec import decoded
from curation_audit.dp.events import Event, PoissonGaussian, RepeatAndSelect
from curation_audit.dp.ledger import Ledger, guarantee_of
from curation_audit.integrity.findings import (
    RELATIVE,
    Finding,
    compared,
    failed,
    passed,
    unchecked,
)
from curation_audit.results import Adjacency

MOST_EVENTS: Final = 1000
MOST_SHOWN: Final = 3
MOST_STEPS: Final = 10_000_000
LOOSE: Final = 0.01
"""A claim that much larger than the accountant's, relatively, is told as loose; it still holds."""


def claim_of(report: Mapping[str, Any]) -> Claim | None:
    """The claim that a report states, to be tested again.

    Raises:
        InputError: for a claim of events that the report does not hold.
    """
    stated = report["claim"]
    if stated is None:
        return None
    if stated["kind"] in CLAIMS:
        _check_steps(int(stated["constants"].get("steps", 0)))
        kind: Callable[..., Claim] = CLAIMS[stated["kind"]]
        return kind(**stated["constants"], adjacency=stated["adjacency"])
    coded = (report["protection"] or {}).get("coded_events")
    if not coded:
        raise InputError("claim", "is of events that the report does not hold", "audit it again")
    return guarantee_of(events_of(coded), stated["adjacency"])


def curation_claim_of(report: Mapping[str, Any]) -> Claim | None:
    """What the curation guarantees before a model that is fine-tuned, if the report tells of one.

    The last of the events is fine-tuning's.
    """
    coded = (report["protection"] or {}).get("coded_events")
    if report["fine_tuning"] is None or report["claim"] is None or not coded:
        return None
    return guarantee_of(events_of(coded)[:-1], report["claim"]["adjacency"])


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
        _check_steps(_steps(one))
    return events


def _count(coded: Sequence[object]) -> int:
    """How many events there are, with those that others are made of."""
    inner = [one.get("events") for one in coded if isinstance(one, Mapping)]
    return len(coded) + sum(_count(one) for one in inner if isinstance(one, list))


def _steps(event: Event) -> int:
    if isinstance(event, RepeatAndSelect):
        return sum(map(_steps, event.events))
    return event.steps if isinstance(event, PoissonGaussian) else 0


def _check_steps(steps: int) -> None:
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

    Epsilon, delta, unit and adjacency stand twice: as values, and in the printed ledger.
    """
    coded = facts.get("coded_events")
    if facts["epsilon"] is None:
        yield unchecked("epsilon", "something ran without noise: nothing is guaranteed")
        return
    if coded is None:
        yield unchecked("epsilon", "its events are kept as text only (made by an older version)")
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


def check_stated_claim(report: Mapping[str, Any]) -> Iterator[Finding]:
    """What a report's claim allows (epsilon, AUC, advantage, rates), from its constants."""
    stated, claim = report["claim"], claim_of(report)
    if claim is None:
        return
    own = report["protection"]
    if own is not None and own["adjacency"] != stated["adjacency"]:
        yield failed("claimed ceilings", "the adjacency is not the one of the mechanism")
    epsilon = claim.epsilon_at(stated["delta"])
    computed = {
        "epsilon": epsilon if np.isfinite(epsilon) else None,
        "auc": claim.auc(),
        "advantage": claim.advantage(),
        "pair_share": claim.pair_share(),
        "tpr": claim.tpr(np.array(stated["fpr"])).tolist(),
    }
    told = {name: stated[name] for name in computed}
    what = f"epsilon {epsilon:.6g} at delta {stated['delta']:g} ({stated['adjacency']})"
    yield compared("claimed ceilings", told, computed, what)
