"""The section ``curate.protect``: one budget, one mechanism, and settings of its parts."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, get_args

from curation_audit.checks import did_you_mean
from curation_audit.config.sections import Problem, build_dataclass
from curation_audit.config.tuning_section import build_tuning
from curation_audit.dp.conditions import check_settings
from curation_audit.dp.tiers import ReleaseTier
from curation_audit.pipelines.protection import MECHANISMS
from curation_audit.pipelines.protection.base import Budget
from curation_audit.pipelines.protection.noisy_top_k import NoisySelection
from curation_audit.pipelines.protection.protect import (
    NATURAL,
    ProtectSettings,
    mechanism_settings,
    parts_of,
)
from curation_audit.pipelines.protection.tuning import PaidTuning, PublicTuning
from curation_audit.results import Adjacency


@dataclass(frozen=True, slots=True, kw_only=True)
class _Words:
    """What is said in words."""

    adjacency: Adjacency
    unit: str | None = None
    fitted_on: dict[str, str] = field(default_factory=dict)
    noise_tier: ReleaseTier = "hardened"


OF_BUDGET: Final = tuple(f.name for f in fields(Budget))
OF_WORDS: Final = tuple(f.name for f in fields(_Words))
OF_ALL: Final = ("mechanism", "tuning", *OF_WORDS, *OF_BUDGET)


def build_protect(section: Mapping[str, Any], scorer_method: str) -> ProtectSettings:
    """Protection settings from a section of a pipeline file.

    Raises:
        Problem: for what is missing, unknown or does not fit.
        SettingError: for settings that would void the guarantee.
    """
    check_settings("curate.protect", section)
    for key, why in (
        ("adjacency", f"state which sets are neighbours: one of {', '.join(get_args(Adjacency))}"),
        ("delta", "give it as a number; it is never derived from the size of the private set"),
    ):
        if key not in section:
            raise Problem((), f"{key!r} is missing", why)
    mechanism = str(section.get("mechanism", NATURAL.get(scorer_method, "")))
    if not mechanism:
        raise Problem(
            (), "'mechanism' is missing", f"expected one of {', '.join(sorted(MECHANISMS))}"
        )
    of_scorer, of_selection = mechanism_settings(mechanism, section)
    _check_known(section, {*OF_ALL, *of_scorer, *of_selection}, mechanism)
    name, noisy = parts_of(mechanism)
    budget = {key: section[key] for key in OF_BUDGET if key in section}
    words = build_dataclass(_Words, {k: section[k] for k in OF_WORDS if k in section})
    scorer = build_dataclass(MECHANISMS[name], of_scorer) if name else None
    return ProtectSettings(
        mechanism=mechanism,
        adjacency=words.adjacency,
        unit=words.unit,
        fitted_on=words.fitted_on,
        noise_tier=words.noise_tier,
        budget=build_dataclass(Budget, budget),
        scorer=scorer,
        selection=build_dataclass(NoisySelection, of_selection) if noisy else None,
        tuning=_tuning(section["tuning"], scorer, mechanism) if "tuning" in section else None,
    )


def _tuning(section: Any, scorer: Any, mechanism: str) -> PaidTuning | PublicTuning:
    """How settings of the private scorer are tuned."""
    if scorer is None:
        raise Problem(("tuning",), f"{mechanism} has no private scorer", "name one to tune it")
    try:
        return build_tuning(section, scorer)
    except Problem as problem:
        raise Problem(("tuning", *problem.path), problem.problem, problem.hint) from None


def _check_known(section: Mapping[str, Any], known: set[str], mechanism: str) -> None:
    name, noisy = parts_of(mechanism)
    kinds = [MECHANISMS[name]] if name else []
    kinds += [NoisySelection] if noisy else []
    possible = {*OF_ALL, *(f.name for kind in kinds for f in fields(kind))}
    for key in section:
        if key not in known:
            raise Problem(
                (str(key),),
                f"unknown setting {key!r} of {mechanism}",
                did_you_mean(str(key), possible),
            )
