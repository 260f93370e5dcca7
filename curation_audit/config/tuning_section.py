"""The section ``curate.protect.tuning``: which settings are tuned, and on what."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from curation_audit.checks import SettingError, did_you_mean
from curation_audit.config.sections import (
    GroupedColumnsSection,
    Problem,
    Section,
    build_dataclass,
    problem_of,
)
from curation_audit.dp.tuning import Grid, RandomStopping
from curation_audit.pipelines.protection.base import ScorerMechanism, known_settings
from curation_audit.pipelines.protection.protect import ProtectSettings
from curation_audit.pipelines.protection.tuning import SHARE, TUNING, PaidTuning, PublicTuning

PUBLIC: Final = "public"
PAID: Final[dict[str, type[Any]]] = {Grid.name: Grid, RandomStopping.name: RandomStopping}


class ProxySection(Section):
    """A public stand-in for the private set: a source of its own, or rows of the pool.

    ``pool``: values of one or more columns; rows that have one of them in each are the stand-in,
    and leave the pool meanwhile.
    """

    source: dict[str, Any] | None = None
    columns: GroupedColumnsSection = GroupedColumnsSection()
    unit: str | None = None
    pool: dict[str, list[Any]] | None = None


def build_tuning(section: Any, mechanism: ScorerMechanism) -> PaidTuning | PublicTuning:
    """How settings are tuned.

    Raises:
        Problem: for what is missing, unknown or does not fit.
    """
    if not isinstance(section, Mapping):
        raise Problem((), "expected a mapping", "e.g. {method: grid, over: {clip: [0.5, 1.0]}}")
    method = section.get("method")
    if method not in PAID and method != PUBLIC:
        hint = did_you_mean(str(method), [*PAID, PUBLIC])
        raise Problem(("method",), f"found {method!r}", hint)
    over = choices_over(section.get("over"), mechanism)
    own = {key: value for key, value in section.items() if key not in ("method", "over")}
    if method == PUBLIC:
        build_proxy(section)
        return build_dataclass(
            PublicTuning, {k: v for k, v in own.items() if k != "proxy"} | {"over": over}
        )
    of_runs = [f.name for f in fields(PAID[str(method)])]
    for key in own:
        if key != "share" and key not in of_runs:
            hint = did_you_mean(str(key), ["over", "share", *of_runs])
            raise Problem((str(key),), f"unknown setting {key!r} of {method}", hint)
    runs = build_dataclass(PAID[str(method)], {k: v for k, v in own.items() if k in of_runs})
    share = own.get("share", SHARE)
    if isinstance(share, bool) or not isinstance(share, int | float):
        raise Problem(("share",), f"found {share!r}", "expected a number in (0, 1)")
    return PaidTuning(over=over, runs=runs, share=share)


def build_proxy(section: Mapping[str, Any]) -> ProxySection:
    """The public stand-in that a section names.

    Raises:
        Problem: unless it is a source, or rows of the pool.
    """
    hint = "name a public source with its columns, or rows of the pool: {pool: {COLUMN: [VALUE]}}"
    if "proxy" not in section:
        raise Problem(("proxy",), "is missing", hint)
    try:
        proxy = ProxySection.model_validate(section["proxy"])
    except ValidationError as error:
        found = problem_of(error)
        raise Problem(("proxy", *found.path), found.problem, found.hint) from None
    if (proxy.source is None) == (not proxy.pool):
        raise Problem(("proxy",), "found both or neither of source and pool", hint)
    return proxy


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


def check_result(settings: ProtectSettings, base: Path) -> None:
    """Refuse a result of ``tune`` that is another file, or chose other settings.

    Raises:
        SettingError: where the file is not there, was changed, or does not fit.
    """
    tuning = settings.tuning
    if not isinstance(tuning, PublicTuning) or tuning.result is None:
        return
    path = f"{TUNING}.result"
    try:
        content = (base / tuning.result).read_bytes()
    except OSError as error:
        raise SettingError(path, f"cannot be read: {error.strerror}", "name its file") from None
    if hashlib.sha256(content).hexdigest() != tuning.sha256:
        hint = "paste the lines that 'tune' printed, or run it again"
        raise SettingError(f"{TUNING}.sha256", f"is not that of {tuning.result}", hint)
    best = _best_of(content, path, settings, tuning)
    for name, value in best.items():
        found = getattr(settings.scorer, name, None)
        if json.loads(json.dumps(found)) != value:
            problem = f"found {found!r}, but {tuning.result} chose {value!r}"
            hint = "take the settings that were chosen, or leave the result out"
            raise SettingError(f"curate.protect.{name}", problem, hint)


def _best_of(
    content: bytes, path: str, settings: ProtectSettings, tuning: PublicTuning
) -> dict[str, Any]:
    """The settings that a result of ``tune`` chose, of the same mechanism and over the same."""
    try:
        tree = json.loads(content)
        best, told = tree["best"], tree["protection"]["mechanism"]
        checked = [str(one) for one in tree["stand_in"]["checked"]]
        chosen = [one["settings"] for one in tree["choices"]]
    except (ValueError, LookupError, TypeError):
        best, told, checked, chosen = None, None, [], []
    if not isinstance(best, dict) or best not in chosen or not checked:
        raise SettingError(path, "is no result of 'curation-audit tune'", "name the file it wrote")
    if told != settings.mechanism or set(best) != set(tuning.over):
        problem = f"chose {', '.join(best)} of {told}, not {', '.join(tuning.over)} of "
        hint = "run 'curation-audit tune' again"
        raise SettingError(path, f"{problem}{settings.mechanism}", hint)
    return best
