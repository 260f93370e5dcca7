"""A policy file: what is accepted of an audit, and what is required of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from curation_audit.attacks import ATTACKS
from curation_audit.checks import InputError, SettingError, did_you_mean
from curation_audit.config.reading import built, placed
from curation_audit.config.sections import Problem, build_dataclass
from curation_audit.config.tree import read_tree
from curation_audit.gating import (
    AppetiteLine,
    ClaimRequirement,
    Policy,
    PowerRequirement,
    Requirements,
)
from curation_audit.observations import STAGES, Stage
from curation_audit.results import Control

T = TypeVar("T")
LONGEST_NAME = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    version: Literal[1]
    name: str
    appetite: list[dict[str, Any]]
    requires: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Requires:
    controls: list[Any] = field(default_factory=list)
    attacks: dict[str, Any] = field(default_factory=dict)
    power: dict[str, Any] = field(default_factory=dict)
    claim: dict[str, Any] | None = None


def load_policy(path: Path | str) -> Policy:
    """Read a policy file.

    Raises:
        InputError: in one line, with the place in the file where there is one.
    """
    file = Path(path)
    if not file.exists():
        raise InputError(str(file), "no such file", "check --policy")
    tree = read_tree(file)
    with placed(tree):
        return build_policy_file(tree.root)


def build_policy_file(root: Mapping[str, Any]) -> Policy:
    """A policy from the mapping of its file.

    Raises:
        Problem: for what is missing, unknown or does not fit.
    """
    top = build_dataclass(_File, root)
    if not 0 < len(top.name) <= LONGEST_NAME:
        raise Problem(
            ("name",), f"found {len(top.name)} characters", f"expected 1 to {LONGEST_NAME}"
        )
    lines = tuple(
        built(("appetite", i), _fields, AppetiteLine, line) for i, line in enumerate(top.appetite)
    )
    requires = built(("requires",), _requires, top.requires)
    return _stated(lambda: Policy(name=top.name, appetite=lines, requires=requires))


def _requires(section: Mapping[str, Any]) -> Requirements:
    own = build_dataclass(_Requires, section)
    claim = None
    if own.claim is not None:
        claim = built(("claim",), _fields, ClaimRequirement, own.claim)
    return Requirements(
        controls=built(("controls",), _controls, own.controls),
        attacks=built(("attacks",), _attacks, own.attacks),
        power=built(("power",), _fields, PowerRequirement, own.power),
        claim=claim,
    )


def _fields(kind: type[T], section: Mapping[str, Any]) -> T:
    """A dataclass from a mapping; truth values are no numbers, and no number is one."""
    for key, value in section.items():
        if isinstance(value, bool):
            raise Problem((str(key),), f"found {value}", "expected a number or a word")
    return _stated(lambda: build_dataclass(kind, section))


def _stated(make: Callable[[], T]) -> T:
    """What the policy's own checks find, with the field that they name as the place."""
    try:
        return make()
    except SettingError as error:
        path = tuple(int(part) if part.isdigit() else part for part in error.where.split("."))
        raise Problem(path, error.problem, error.hint) from None


def _controls(names: list[Any]) -> tuple[Control, ...]:
    known: tuple[Control, ...] = get_args(Control)
    for i, name in enumerate(names):
        if name not in known:
            raise Problem((i,), f"found {name!r}", did_you_mean(str(name), known))
    return tuple(control for control in known if control in names)


def _attacks(section: Mapping[str, Any]) -> dict[Stage, tuple[str, ...]]:
    """Attacks by stage; an attack of another stage would never run at this one."""
    for stage, names in section.items():
        if stage not in STAGES:
            raise Problem((stage,), f"found {stage!r}", did_you_mean(stage, STAGES))
        if not isinstance(names, list):
            raise Problem((stage,), f"found {names!r}", "expected a list of attacks")
        known = [name for name, attack in ATTACKS.items() if attack.stage == stage]
        for i, name in enumerate(names):
            if name not in known:
                problem = f"found {name!r}, which is no attack on {stage}"
                raise Problem((stage, i), problem, did_you_mean(str(name), known))
    return {stage: tuple(dict.fromkeys(section[stage])) for stage in STAGES if section.get(stage)}
