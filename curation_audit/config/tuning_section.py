"""The section ``curate.protect.tuning``: which settings are tuned, and on what."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, Final

from curation_audit.checks import did_you_mean
from curation_audit.config.sections import Problem, build_dataclass
from curation_audit.dp.tuning import Grid, RandomStopping
from curation_audit.pipelines.protection.base import ScorerMechanism, known_settings
from curation_audit.pipelines.protection.tuning import PaidTuning

METHODS: Final[dict[str, type[Any]]] = {Grid.name: Grid, RandomStopping.name: RandomStopping}


def build_tuning(section: Any, mechanism: ScorerMechanism) -> PaidTuning:
    """How settings are tuned on the private set.

    Raises:
        Problem: for what is missing, unknown or does not fit.
    """
    if not isinstance(section, Mapping):
        raise Problem((), "expected a mapping", "e.g. {method: grid, over: {clip: [0.5, 1.0]}}")
    method = section.get("method")
    if method not in METHODS:
        raise Problem(("method",), f"found {method!r}", did_you_mean(str(method), METHODS))
    kind = METHODS[str(method)]
    own = {f.name for f in fields(kind)}
    for key in section:
        if key not in {"method", "over", "share", *own}:
            hint = did_you_mean(str(key), {"over", "share", *own})
            raise Problem((str(key),), f"unknown setting {key!r} of {method}", hint)
    share = {} if "share" not in section else {"share": section["share"]}
    runs = build_dataclass(kind, {name: section[name] for name in own if name in section})
    over = choices_over(section.get("over"), mechanism)
    if not isinstance(share.get("share", 0.1), int | float):
        raise Problem(("share",), f"found {share['share']!r}", "expected a number in (0, 1)")
    return PaidTuning(over=over, runs=runs, **share)


def choices_over(section: Any, mechanism: ScorerMechanism) -> dict[str, tuple[Any, ...]]:
    """Values by the name of a mechanism's setting, each as the mechanism would take it."""
    if not isinstance(section, Mapping) or not section:
        hint = "expected settings with lists of values, e.g. {clip: [0.5, 1.0]}"
        raise Problem(("over",), f"found {section!r}", hint)
    found = {}
    for name, values in section.items():
        at = ("over", str(name))
        if name not in known_settings(type(mechanism)):
            hint = did_you_mean(str(name), known_settings(type(mechanism)))
            raise Problem(at, f"unknown setting {name!r} of {mechanism.name}", hint)
        if not isinstance(values, list | tuple):
            raise Problem(at, f"found {values!r}", "expected a list of values")
        found[str(name)] = tuple(_as_taken(mechanism, str(name), value, at) for value in values)
    return found


def _as_taken(mechanism: Any, name: str, value: Any, at: tuple[str, ...]) -> Any:
    """A value with the conversions that the mechanism's own setting has."""
    try:
        return getattr(build_dataclass(type(mechanism), asdict(mechanism) | {name: value}), name)
    except Problem as problem:
        raise Problem(at, problem.problem, problem.hint) from None
