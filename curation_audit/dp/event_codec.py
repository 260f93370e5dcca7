"""Events as plain JSON values and back, without loss; anything unknown is refused.

An event holds public constants and the name of a stage: no row, and not how many units there are.
"""

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from curation_audit.dp.events import (
    POISSON,
    EpsilonDelta,
    Event,
    Gaussian,
    PoissonGaussian,
    Pure,
    RepeatAndSelect,
    Zcdp,
)

KINDS: Final[dict[str, type[Event]]] = {
    "gaussian": Gaussian,
    "poisson_gaussian": PoissonGaussian,
    "zcdp": Zcdp,
    "pure": Pure,
    "epsilon_delta": EpsilonDelta,
    "repeat_and_select": RepeatAndSelect,
}
POISSON_SHAPE: Final = "poisson"
"""What stands for the infinite shape, which JSON has no number for."""


def encoded(event: Event) -> dict[str, Any]:
    """The event as JSON values: its kind, and every field under its name.

    Raises:
        ValueError: for a value that JSON cannot hold; what comes out can be read back.
    """
    kind = next((name for name, of in KINDS.items() if of is type(event)), None)
    if kind is None:
        raise ValueError(f"{type(event).__name__} is no known event.")
    return {"kind": kind} | {
        field.name: _encoded(field.name, field.type, getattr(event, field.name))
        for field in fields(event)
    }


def decoded(tree: object) -> Event:
    """The inverse of ``encoded``.

    Raises:
        ValueError: for an unknown kind, a missing or unknown key, a number that is none, or
            constants that the event itself refuses.
    """
    if not isinstance(tree, Mapping):
        raise ValueError("an event must be a mapping.")
    kind = tree.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}.")
    types = {field.name: field.type for field in fields(KINDS[kind])}
    if set(tree) != {"kind", *types}:
        raise ValueError(f"{kind} must have the keys {', '.join(types)} and no others.")
    return KINDS[kind](**{name: _decoded(name, of, tree[name]) for name, of in types.items()})


def _encoded(name: str, of: object, value: Any) -> Any:
    if name == "events":
        return [encoded(one) for one in value]
    if name == "shape" and value == POISSON:
        return POISSON_SHAPE
    if of is str:
        return _text(name, value)
    # numbers of numpy are numbers too, and stay behind here
    return _whole(name, int(value)) if of is int else _finite(name, float(value))


def _decoded(name: str, of: object, value: object) -> Any:
    if name == "events":
        if not isinstance(value, list):
            raise ValueError("events must be a list.")
        return tuple(decoded(one) for one in value)
    if name == "shape" and value == POISSON_SHAPE:
        return POISSON
    if of is str:
        return _text(name, value)
    return _whole(name, value) if of is int else _finite(name, value)


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} must be text.")
    return value


def _whole(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{name} must be a whole number.")
    return value


def _finite(name: str, value: object) -> float:
    """A finite number; a whole one of JSON too, if a float can hold it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} must be a number.")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite.")
    return number
