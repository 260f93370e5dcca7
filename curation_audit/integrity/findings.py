"""What a check found: fine, wrong, or beyond what is there to check with."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from curation_audit.checks import InputError

Status: TypeAlias = Literal["ok", "failed", "not checked"]

RELATIVE, ABSOLUTE = 1e-6, 1e-9
"""How far a recomputed number may be off: sums in another order, never another result."""
RELATIVE_ONLY: Final = frozenset({"delta", "confidence", "fpr", "p_value", "level"})
"""Settings and chances, of which tiny ones differ as much as large ones do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check by name, and what it came to, in a line."""

    check: str
    status: Status
    detail: str


def passed(check: str, detail: str) -> Finding:
    """It is as it should be."""
    return Finding(check=check, status="ok", detail=detail)


def failed(check: str, detail: str) -> Finding:
    """It is not."""
    return Finding(check=check, status="failed", detail=detail)


def unchecked(check: str, detail: str) -> Finding:
    """Nobody can tell from what is there."""
    return Finding(check=check, status="not checked", detail=detail)


def guarded(check: str, run: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """The findings of a check on files of somebody else; whatever breaks it is a failure, too."""
    try:
        yield from list(run())
    except InputError as error:
        yield failed(check, str(error))
    except MemoryError:
        yield failed(check, "needs more memory than there is")
    except Exception as error:  # a hostile file may raise anything, anywhere
        told = f"what is stored cannot be computed with ({type(error).__name__})"
        yield failed(check, told)


def compared(check: str, stored: Any, computed: Any, what: str) -> Finding:
    """Whether two JSON trees say the same, numbers within the tolerance."""
    first = next(differences(stored, computed, ""), None)
    if first is None:
        return passed(check, what)
    return failed(check, f"{what}: {first}")


def differences(stored: Any, computed: Any, place: str) -> Iterator[str]:
    """Where two JSON trees differ, and how."""
    if isinstance(stored, dict) and isinstance(computed, dict):
        for key in sorted(stored.keys() | computed.keys()):
            below = f"{place}.{key}" if place else str(key)
            if key in stored and key in computed:
                yield from differences(stored[key], computed[key], below)
            else:
                yield f"{below} is {'not computed' if key in stored else 'missing'}"
    elif isinstance(stored, list) and isinstance(computed, list):
        if len(stored) != len(computed):
            yield f"{place} has {len(stored)} entries, computed {len(computed)}"
            return
        for i, (one, other) in enumerate(zip(stored, computed, strict=True)):
            yield from differences(one, other, f"{place}[{i}]")
    elif not _same(stored, computed, 0.0 if _named(place) in RELATIVE_ONLY else ABSOLUTE):
        yield f"{place or 'it'} says {short(stored)}, computed {short(computed)}"


def _named(place: str) -> str:
    return place.rpartition(".")[2].partition("[")[0]


def _same(stored: Any, computed: Any, absolute: float) -> bool:
    if _is_number(stored) and _is_number(computed):
        return bool(np.isclose(stored, computed, rtol=RELATIVE, atol=absolute))
    return type(stored) is type(computed) and bool(stored == computed)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def printable(text: str) -> str:
    """Text of somebody else for one line of a terminal: what does not print is escaped."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def short(value: Any) -> str:
    """A JSON value in a few characters."""
    told = f"{value:.7g}" if isinstance(value, float) else repr(value)
    return told if len(told) <= 60 else f"{told[:60]}..."
