"""What a check of the self-test is, and how checks are run."""

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from threadpoolctl import threadpool_limits

from curation_audit.auditing.progress import Progress

Group: TypeAlias = Literal[
    "known answers", "null calibration", "planted violations", "this machine"
]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was expected and what was found, in words, and whether that will do."""

    expected: str
    found: str
    passed: bool


@dataclass(frozen=True, slots=True)
class Check:
    """One named question; ``run`` takes no argument, draws from fixed seeds and writes nothing."""

    group: Group
    name: str
    run: Callable[[], Outcome]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The outcome of a check, and how long it took."""

    group: Group
    name: str
    expected: str
    found: str
    passed: bool
    seconds: float


def run_checks(checks: Sequence[Check], progress: Progress) -> tuple[CheckResult, ...]:
    """Run every check, each group a phase, on one thread so that sums do not depend on cores."""
    results = []
    with threadpool_limits(1):
        for group, members in itertools.groupby(checks, key=lambda check: check.group):
            of_group = list(members)
            with progress.phase(group, len(of_group)) as advance:
                for check in of_group:
                    results.append(perform(check))
                    advance(1)
    return tuple(results)


def perform(check: Check) -> CheckResult:
    """Run one check; one that raises has failed, and the others still run."""
    started = time.perf_counter()
    try:
        found = check.run()
    except Exception as error:  # no private value can be in its text: checks make their own data
        found = Outcome("an answer", f"{type(error).__name__}: {error}", False)
    seconds = time.perf_counter() - started
    return CheckResult(check.group, check.name, found.expected, found.found, found.passed, seconds)


def agrees(expected: Sequence[float], found: Sequence[float], tolerance: float) -> Outcome:
    """Whether numbers are as expected, each to within ``tolerance``."""
    passed = len(expected) == len(found) and all(
        abs(one - other) <= tolerance for one, other in zip(expected, found, strict=True)
    )
    return Outcome(_numbers(expected), _numbers(found), passed)


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.6g}" for value in values)
