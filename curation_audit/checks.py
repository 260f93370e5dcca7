"""Argument checks, and the one exception for what a user can put right.

``InputError`` is raised for bad input: a missing file, a wrong column, a setting out of range.
The command line shows its one line and exits with 2. ``ValueError`` stays for mistakes of code
that calls this package.
"""

import difflib
import math
from collections.abc import Iterable, Sequence
from typing import Final

MOST_NAMES: Final = 12


class InputError(Exception):
    """Bad input, told in one line: where, what was found, what was expected, what to do."""

    def __init__(self, where: str, problem: str, hint: str = "") -> None:
        """Keep the three parts; ``where`` names the file and the place in it."""
        self.where, self.problem, self.hint = where, problem, hint
        line = f"{where}: {problem}" if where else problem
        super().__init__(" ".join(f"{line}; {hint}".split()) if hint else " ".join(line.split()))

    def __reduce__(self) -> tuple[type["InputError"], tuple[str, str, str]]:
        """Travel from a worker process as what it is."""
        return type(self), (self.where, self.problem, self.hint)


class SettingError(InputError):
    """Bad input in a setting; ``where`` is its dotted path, e.g. ``attack.shadows``."""


class Unfinished(Exception):
    """Work that machines left undone, told in one line; the same command continues it."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint with the nearest known name, or with all of them where none is near.

    >>> did_you_mean("nearst", ["nearest", "mean"])
    "did you mean 'nearest'?"
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(names)}"


def known_columns(name: str, names: Sequence[str]) -> str:
    """A hint for a column that is not there; at most a dozen of the names that are."""
    hint = did_you_mean(name, names)
    if hint.startswith("did you mean") or len(names) <= MOST_NAMES:
        return hint
    return f"it has {len(names)} columns: {', '.join(names[:MOST_NAMES])}, ..."


def one_of(path: str, value: object, known: Iterable[str]) -> None:
    """Raise ``SettingError`` at ``path`` unless the value is one of the known names."""
    names = tuple(known)
    if value not in names:
        raise SettingError(path, f"found {value!r}", did_you_mean(str(value), names))


def some_of(path: str, values: object, known: Iterable[str]) -> None:
    """Raise ``SettingError`` at ``path`` unless the values are a tuple or list of known names."""
    names = tuple(known)
    if not isinstance(values, (tuple, list)):
        raise SettingError(path, f"found {values!r}", f"expected a list of {', '.join(names)}")
    for value in values:
        one_of(path, value, names)


def in_open_unit(**values: float) -> None:
    """Raise ``ValueError`` unless every named value lies in (0, 1)."""
    for name, value in values.items():
        if not 0 < value < 1:
            raise ValueError(f"{name} must be in (0, 1), got {value}.")


def positive(**values: float) -> None:
    """Raise ``ValueError`` unless every named value is above zero and finite."""
    for name, value in values.items():
        if not 0 < value < math.inf:
            demand = "finite" if value > 0 else "positive"
            raise ValueError(f"{name} must be {demand}, got {value}.")
