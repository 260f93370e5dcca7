"""Attacks that a user brings: by entry points in a pipeline file, as objects from Python.

The audit treats them as its own: the same shadows and knowledge, both controls, the same
statistics. One that reads the coins it is judged by shows in the permuted control, and the audit is
invalid. That its bound reads no coin beside the fit block is tried before (``check_fitted``): no
control would tell. These find mistakes; code that means to deceive can.
"""

from collections.abc import Callable, Sequence
from dataclasses import is_dataclass
from typing import Any, Final, get_args

import numpy as np

from curation_audit.attacks import ATTACKS
from curation_audit.attacks.base import Attack
from curation_audit.checks import SettingError, did_you_mean
from curation_audit.observations import KNOWABLE, Stage
from curation_audit.pipelines.of_users import load_offered
from curation_audit.types import Evidence, Inclusion, Mask

GROUP: Final = "curation_audit.attacks"
PATH: Final = "attack.own"
WORDS: Final = ("name", "title", "source", "cost")


def load_own(names: Sequence[str]) -> tuple[Attack, ...]:
    """The attacks that installed packages offer under these names: objects, or what makes them.

    Raises:
        SettingError: for a name that nobody offers, or what is no attack.
    """
    return tuple(_made(load_offered(GROUP, name, PATH), name) for name in names)


def _made(offered: Any, name: str) -> Any:
    """An attack, or what its class or a function without arguments makes."""
    if not callable(offered) or (hasattr(offered, "evidence") and not isinstance(offered, type)):
        return offered
    try:
        return offered()
    except Exception as error:  # a stranger's code may raise anything, and quote anything
        problem = f"{name!r} cannot be made without arguments ({type(error).__name__})"
        raise SettingError(PATH, problem, "give its fields defaults, or offer an object") from None


def check_own(attacks: Sequence[Attack]) -> None:
    """Raise ``SettingError`` for what is no attack, or takes another's name."""
    taken = set(ATTACKS)
    for attack in attacks:
        lacks = _lacks(attack)
        if lacks is not None:
            told = f"found a value of type {type(attack).__name__} without {lacks}"
            hint = (
                f"an attack has {', '.join(WORDS)} (words), stage, needs (a frozenset of words), "
                "evidence(), and is a frozen dataclass or has describe()"
            )
            raise SettingError(PATH, told, hint)
        if attack.name in taken:
            raise SettingError(PATH, f"found {attack.name!r} twice", "give it a name of its own")
        if attack.stage not in get_args(Stage):
            problem = f"{attack.name} attacks {attack.stage!r}, which is no stage"
            raise SettingError(PATH, problem, did_you_mean(str(attack.stage), get_args(Stage)))
        unknown = sorted(set(attack.needs) - KNOWABLE)
        if unknown:
            problem = f"{attack.name} needs {unknown[0]!r}, which no adversary is granted"
            raise SettingError(PATH, problem, did_you_mean(unknown[0], sorted(KNOWABLE)))
        taken.add(attack.name)


def _lacks(attack: Any) -> str | None:
    """What makes a value no attack."""
    for word in (*WORDS, "stage"):
        if not isinstance(getattr(attack, word, None), str):
            return word
    needs = getattr(attack, "needs", None)
    if not isinstance(needs, set | frozenset) or not all(isinstance(one, str) for one in needs):
        return "needs"
    if not callable(getattr(attack, "evidence", None)):
        return "evidence"
    told_apart = is_dataclass(attack) or callable(getattr(attack, "describe", None))
    return None if told_apart and not isinstance(attack, type) else "describe"


def check_evidence(attack: Attack, found: Any, inclusion: Inclusion) -> None:
    """Raise ``SettingError`` for what is no evidence: finite numbers (S, N)."""
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "iuf":
        kind = found.dtype if isinstance(found, np.ndarray) else type(found).__name__
        problem = f"{attack.name} gives {kind}"
    elif found.shape != inclusion.shape:
        problem = f"{attack.name} gives an array {found.shape}"
    elif not np.isfinite(found).all():
        problem = f"{attack.name} gives NaN or infinite evidence"
    else:
        return
    raise SettingError(PATH, problem, f"expected finite float64 {inclusion.shape}")


def check_fitted(
    attack: Attack,
    fitted: Evidence,
    coins: tuple[Inclusion, Inclusion],
    fit_pairs: Mask,
    evidence: Callable[[Inclusion], Evidence],
) -> None:
    """Refuse an attack whose evidence under ``known_pairs`` changes with coins of other pairs.

    Bounds are measured on these pairs and hold only where no coin of them was read. An attack that
    needs memberships may read the other coins of a row: then one pair keeps its own, and is judged.

    Args:
        attack: one's own.
        fitted: what it gave, (S, N).
        coins: those of the game, and others (S, N).
        fit_pairs: which pairs are known, bool (P,).
        evidence: what it gives for other coins.

    Raises:
        SettingError: for such an attack, or one that differs from call to call.
    """
    replaced, judged = np.repeat(~fit_pairs, 2), np.ones(len(fitted), dtype=bool)
    if "memberships" in attack.needs:
        judged[: 2 * np.flatnonzero(~fit_pairs)[-1]] = False
        replaced &= ~judged
    again = evidence(np.where(replaced[:, None], coins[1], coins[0]))
    check_evidence(attack, again, coins[0])
    before, after = fitted[judged], again[judged]
    if not np.allclose(after, before, rtol=1e-6, atol=1e-9 * np.abs(before).max()):
        raise SettingError(
            PATH,
            f"{attack.name} reads coins of pairs that Knowledge.known_pairs leaves out, or differs "
            "from call to call, so that no bound would hold",
            "learn by attacks.base.OtherPairs.of(knowledge, inclusion), and draw from streams",
        )
