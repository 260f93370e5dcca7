"""Attacks that a user brings: by entry points in a pipeline file, as objects from Python.

The audit treats them as its own: the same shadows and knowledge, both controls, the same
statistics. One that reads the coins it is judged by gives itself away in the permuted control, and
the audit is invalid.
"""

from collections.abc import Sequence
from typing import Final, get_args

from curation_audit.attacks import ATTACKS
from curation_audit.attacks.base import Attack
from curation_audit.checks import SettingError, did_you_mean
from curation_audit.observations import KNOWABLE, Stage
from curation_audit.pipelines.of_users import load_offered

GROUP: Final = "curation_audit.attacks"
PATH: Final = "attack.own"
WORDS: Final = ("name", "title", "source", "cost")


def load_own(names: Sequence[str]) -> tuple[Attack, ...]:
    """The attacks that installed packages offer under these names: objects, or what makes them.

    Raises:
        SettingError: for a name that nobody offers, or what is no attack.
    """
    found = []
    for name in names:
        offered = load_offered(GROUP, name, PATH)
        attack = offered if hasattr(offered, "evidence") and not isinstance(offered, type) else None
        found.append(offered() if attack is None and callable(offered) else offered)
    return tuple(found)


def check_own(attacks: Sequence[Attack]) -> None:
    """Raise ``SettingError`` for what is no attack, or takes another's name."""
    taken = set(ATTACKS)
    for attack in attacks:
        missing = [word for word in WORDS if not isinstance(getattr(attack, word, None), str)]
        if missing or not callable(getattr(attack, "evidence", None)):
            lacks = missing[0] if missing else "evidence"
            told = f"found a value of type {type(attack).__name__} without {lacks}"
            hint = f"an attack has {', '.join(WORDS)} (words), stage, needs and evidence()"
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
