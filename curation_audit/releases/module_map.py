"""A released torch module: numbers in the file, and its code by the name of an entry point.

A file of a release holds no code and no path to any. What scores is the function that an
*installed* package offers in the group ``curation_audit.modules`` under the released name, with
the released numbers in the place of its parameters.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias

import numpy as np

from curation_audit.checks import InputError, SettingError, did_you_mean
from curation_audit.types import Features, Floats

if TYPE_CHECKING:
    from torch import nn

MakeModule: TypeAlias = "Callable[[int], nn.Module]"
GROUP: Final = "curation_audit.modules"
PLACE: Final = "curate.protect.module"
PROBED: Final = 8
TOLERANCE: Final = {"float64": 1e-9, "float32": 1e-3}
"""How far another machine's rounding may move a logit, relatively."""


@dataclass(frozen=True, slots=True, eq=False)
class ModuleMap:
    """``module(row)`` with the released parameters; the module is built by ``entry_point``.

    ``expected`` float64 (8,): the logits of public rows, by which a module whose code was changed
    since is told.
    """

    name: ClassVar[str] = "module_sgd"
    entry_point: str
    expected: Floats

    @classmethod
    def of_weights(
        cls, entry_point: str, module: "nn.Module", weights: Floats, d: int
    ) -> "ModuleMap":
        """The map of a fresh module of d features, which gets the parameters (p,)."""
        if not _filled(module.eval(), weights):
            raise ValueError("these are the parameters of another module.")
        return cls(entry_point, logits(module, probe_rows(d)))

    def scores(self, rows: Floats, weights: Floats) -> Floats:
        """Logits, float64 (rows, d), parameters (p,) -> (rows,).

        Raises:
            InputError: where the entry point is not there, or gives another module.
        """
        module = _built(self.entry_point, rows.shape[1], weights.tobytes(), self.expected.tobytes())
        return logits(module, rows)


def maker_of(name: str | None, where: str) -> MakeModule:
    """The function that an installed package offers under a name.

    Raises:
        SettingError: at ``where``, if none does, several do, or it cannot be imported.
    """
    entries = list(metadata.entry_points(group=GROUP))
    found = [entry for entry in entries if entry.name == name]
    if not found:
        names = sorted({entry.name for entry in entries})
        hint = did_you_mean(str(name), names) if names else "install the package that offers it"
        given = "is missing" if name is None else f"{name!r} is not there"
        raise SettingError(where, f"{given}: it is no entry point of {GROUP}", hint)
    if len(found) > 1:
        raise SettingError(
            where, f"{name!r} is offered by several packages", "uninstall the others"
        )
    try:
        make: MakeModule = found[0].load()
    except Exception:  # the code of a package may raise anything, and quote anything
        problem = f"{name!r} cannot be imported"
        raise SettingError(where, problem, "mend the package that offers it") from None
    if not callable(make):
        problem = f"{name!r} is {type(make).__name__}, and no function"
        raise SettingError(where, problem, "expected a function from d to a torch module")
    return make


def fresh(make: MakeModule, d: int) -> "nn.Module":
    """The module with its public first weights: one seed, so that they are the same each time.

    Raises:
        SettingError: where the function fails, or gives no module with parameters.
    """
    import torch

    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        try:
            module = make(d)
        except Exception:  # the user's code may raise anything, and quote anything
            raise SettingError(PLACE, f"its function fails for {d} features") from None
    if not isinstance(module, torch.nn.Module) or next(module.parameters(), None) is None:
        problem = f"its function gives {type(module).__name__} and no module with parameters"
        raise SettingError(PLACE, problem, "expected a torch.nn.Module")
    return module


def numbers_of(module: "nn.Module") -> np.dtype[Any]:
    """The dtype of the rows that a module takes: that of its first parameter."""
    name = str(next(module.parameters()).dtype).removeprefix("torch.")
    return np.dtype(name if name in TOLERANCE else "float32")


def in_float64(module: "nn.Module") -> bool:
    """Whether all parameters, and so all noise on them, have float64's bits."""
    return {str(one.dtype) for one in module.parameters()} == {"torch.float64"}


def flat_parameters(module: "nn.Module") -> Floats:
    """All parameters in order, those that were not trained included, float64 (p,).

    Buffers stay behind: nothing bounds what training left in them.
    """
    parts = [one.detach().cpu().numpy().ravel() for one in module.parameters()]
    flat: Floats = np.concatenate(parts).astype(np.float64)
    return flat


def logits(module: "nn.Module", rows: Features) -> Floats:
    """(rows, d) -> float64 (rows,), each row alone.

    In blocks, even of one shape, torch rounds a row by where in the block it stands (found in a
    fifth of the rows of a perceptron); the score of a release hangs on its row alone.
    """
    import torch

    inputs = torch.as_tensor(rows.astype(numbers_of(module)))
    scores = np.empty(len(rows))
    with torch.inference_mode():
        for at in range(len(rows)):
            scores[at] = module(inputs[at : at + 1]).item()
    return scores


def probe_rows(d: int) -> Floats:
    """Public rows that no data set made, float64 (8, d)."""
    rows: Floats = np.sin(np.arange(1.0, PROBED * d + 1)).reshape(PROBED, d)
    return rows


@lru_cache(maxsize=4)
def _built(entry_point: str, d: int, weights: bytes, expected: bytes) -> "nn.Module":
    """The released module; a release is scored block by block, and built once."""
    where = f"the module {entry_point!r}"
    try:
        module = fresh(maker_of(entry_point, where), d).eval()
    except SettingError as error:
        raise InputError(where, error.problem, error.hint) from None
    if not _filled(module, np.frombuffer(weights)) or not _agrees(module, d, expected):
        raise InputError(
            where,
            "is another one than the release was made with",
            "install the version of its package that was there then",
        )
    return module


def _filled(module: "nn.Module", weights: Floats) -> bool:
    """Put the released numbers into a module; whether they fit."""
    import torch

    parameters = list(module.parameters())
    if sum(one.numel() for one in parameters) != len(weights):
        return False
    at = 0
    with torch.no_grad():
        for one in parameters:
            part = weights[at : at + one.numel()].copy()
            one.copy_(torch.as_tensor(part).reshape(one.shape))
            at += one.numel()
    return True


def _agrees(module: "nn.Module", d: int, expected: bytes) -> bool:
    wanted = np.frombuffer(expected)
    near = TOLERANCE[numbers_of(module).name]
    return bool(np.allclose(logits(module, probe_rows(d)), wanted, rtol=near, atol=near))
