"""A torch module of the user's own, one per shadow."""

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from typing import Any, ClassVar, Final, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from curation_audit import checks
from curation_audit.checks import InputError, SettingError
from curation_audit.observations import Selection
from curation_audit.pipelines.base import FittedModels, Rows
from curation_audit.pipelines.downstream.logistic import softmax
from curation_audit.pipelines.downstream.networks import Task, fit_networks, task_of
from curation_audit.pipelines.of_users import each, load_offered, origin_of
from curation_audit.streams import ShadowStreams
from curation_audit.training.device import resolve_device
from curation_audit.training.in_step import ROWS_PER_PIECE, Examples, train_in_step
from curation_audit.training.mlp import row_orders
from curation_audit.training.modules import (
    ModulesInStep,
    OneModule,
    seeded,
    stacked,
    trainable,
    works_in_step,
)
from curation_audit.training.recipe import Recipe
from curation_audit.training.spectral import BASE_WIDTH, PARAMETRIZATIONS, Parametrization, Scale
from curation_audit.training.spectral_modules import module_scales
from curation_audit.types import Features, Indices, Probabilities

T = TypeVar("T")
GROUP: Final = "curation_audit.networks"
ROWS_OF_TRIAL: Final = 8
# a factory, see training.modules.ModuleFactory, or the name of an entry point that gives one
ModuleSource: TypeAlias = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Module(Recipe):
    """A torch module of logits, trained by the recipe's settings.

    ``module`` is in a file the name of an entry point of ``curation_audit.networks``, in Python a
    factory ``(number of features, number of classes) -> nn.Module``; it is called once per shadow
    under a seed from that shadow's stream. Modules that ``torch.func.vmap`` takes are trained in
    step. Those with buffers (batch normalisation), dropout, frozen parameters or other things
    that it does not take are trained one by one, by ``workers`` processes, whose number changes
    no result. A module learns in training mode and is asked in evaluation mode; where it
    normalises over batches, a batch of one row is left out.

    With ``width`` the factory is called with ``width=`` beside the two numbers. ``parametrization:
    spectral`` wants it: ``learning_rate`` is then that of the module of ``base_width``, and from
    the shapes of both follows what each parameter gets. Initial weights are the module's own.
    """

    name: ClassVar[str] = "module"
    module: ModuleSource
    width: int | None = None
    parametrization: Parametrization = "standard"
    base_width: int = BASE_WIDTH
    workers: int = 1
    device: str = "auto"

    def __post_init__(self) -> None:
        """Check the settings, and that there is such a factory."""
        Recipe.__post_init__(self)
        checks.positive(workers=self.workers)
        if not callable(self.factory()):
            found = f"found {type(self.module).__name__}"
            raise SettingError("train.module", found, "expected a factory of modules")
        checks.positive(base_width=self.base_width, width=1 if self.width is None else self.width)
        checks.one_of("train.parametrization", self.parametrization, PARAMETRIZATIONS)
        if self.parametrization == "spectral" and self.width is None:
            raise SettingError(
                "train.width",
                "is missing, and parametrization: spectral compares it with base_width",
                "give it: the factory is called as (n_features, n_classes, width=...)",
            )

    def factory(self) -> Callable[..., Any]:
        """What makes modules, as the user gave it."""
        named = isinstance(self.module, str)
        made: Callable[..., Any] = (
            load_offered(GROUP, self.module, "train.module") if named else self.module
        )
        return made

    def factory_of(self, width: int | None) -> Callable[..., Any]:
        """What makes modules of a width, of two numbers."""
        return self.factory() if width is None else partial(self.factory(), width=width)

    def scales(self, module: nn.Module, like: Tensor, n_classes: int) -> tuple[Scale, ...] | None:
        """What multiplies the recipe's numbers at each parameter; ``None`` for nothing.

        Raises:
            SettingError: where a parameter has no rule.
        """
        if self.parametrization == "standard":
            return None
        with seeded(0, like.device):
            base = make(self.factory_of(self.base_width), like, n_classes)
        try:
            return module_scales(module, base, self.optimiser)
        except ValueError as error:
            raise SettingError(
                "train.module", str(error), "leave parametrization out, or use other layers"
            ) from None

    def describe(self) -> dict[str, Any]:
        """What stored results are told apart by; the number of workers changes none."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "workers"}
        values["stop"] = None if self.stop is None else asdict(self.stop)
        values["device"] = resolve_device(self.device).type
        origin = origin_of(self.factory())
        return {**values, "module": self.module if isinstance(self.module, str) else None, **origin}

    def check(self, pool: Rows) -> None:
        """Raise ``InputError`` unless a module can be made that gives two rows their logits."""
        rows = torch.as_tensor(pool.features[:2], device=resolve_device(self.device))
        n_classes = 2 if pool.labels is None else int(pool.labels.max()) + 1
        module = self._made(0, rows, n_classes)
        _try(module, rows, n_classes)
        self.scales(module, rows, n_classes)

    def fit(
        self, pool: Rows, selection: Selection, n_classes: int, *, streams: ShadowStreams
    ) -> FittedModels:
        """All S modules in step, or one after the other."""
        task = task_of(pool, selection, n_classes, self, self.device)
        seeds = [int(rng.integers(2**63)) for rng in streams.generators("initial weights")]
        rows = task.examples.rows
        modules = [self._made(seed, rows, n_classes) for seed in seeds]
        _try(modules[0], rows[:2], n_classes)
        scales = self.scales(modules[0], rows, n_classes)
        if not works_in_step(modules, rows[:ROWS_OF_TRIAL]):
            return self._one_by_one(task, seeds, n_classes, streams, scales)
        train = partial(train_in_step, scales=scales)
        return fit_networks(ModulesInStep(modules[0]), stacked(modules), task, self, streams, train)

    def _made(self, seed: int, like: Tensor, n_classes: int) -> nn.Module:
        with seeded(seed, like.device):
            return make(self.factory_of(self.width), like, n_classes)

    def _one_by_one(
        self,
        task: Task,
        seeds: list[int],
        n_classes: int,
        streams: ShadowStreams,
        scales: tuple[Scale, ...] | None,
    ) -> "LoopedModules":
        real = task.examples.real
        orders = row_orders(real, self.epochs, streams.generators("row order"))
        calls = [
            (self, alone(task, s, size), orders[:, s : s + 1, :size], seed, n_classes, scales)
            for s, (size, seed) in enumerate(zip(real.sum(axis=1), seeds, strict=True))
        ]
        return LoopedModules(each(train_one, calls, self.workers), n_classes)


def _try(module: nn.Module, rows: Tensor, n_classes: int) -> None:
    """Raise ``InputError`` unless the module gives these rows logits."""
    with seeded(0, rows.device):
        logits_of(module.eval(), rows, n_classes)


@dataclass(frozen=True, slots=True)
class LoopedModules:
    """S trained modules, asked one after the other."""

    modules: list[nn.Module]
    n_classes: int

    def predict_proba(self, features: Features) -> Probabilities:
        """(rows, d) -> float32 (S, rows, C)."""
        like = next(self.modules[0].parameters())
        rows = torch.tensor(features, dtype=like.dtype, device=like.device)
        return np.stack([self._of_one(module, rows) for module in self.modules])

    def _of_one(self, module: nn.Module, rows: Tensor) -> Probabilities:
        pieces = [
            logits_of(module, one, self.n_classes) for one in torch.split(rows, ROWS_PER_PIECE)
        ]
        return softmax(torch.cat(pieces).cpu().numpy())


def alone(task: Task, shadow: int, size: int) -> Task:
    """The task of one shadow, with its own rows only."""
    every = task.examples
    index = every.index[shadow, :size]
    places = torch.arange(size, device=index.device)[None]
    own = Examples(every.rows[index], every.targets[index], places, every.real[None, shadow, :size])
    return replace(task, examples=own)


def train_one(
    settings: Module,
    task: Task,
    order: Indices,
    seed: int,
    n_classes: int,
    scales: tuple[Scale, ...] | None,
) -> nn.Module:
    """Make and train one module; all that it draws comes from one seed.

    Raises:
        InputError: if it fails, without its text, which may quote rows.
    """
    rows = task.examples.rows
    with seeded(seed, rows.device):
        module = make(settings.factory_of(settings.width), rows, n_classes)
        network = OneModule(module)
        if len(rows) < network.smallest_batch:
            return module.eval()
        start, by = stacked([module]), task.validation
        return told(
            f"training on {len(rows)} rows",
            lambda: network.become(
                train_in_step(network, start, task.examples, order, settings, by, scales)
            ),
        )


def make(factory: Callable[..., Any], like: Tensor, n_classes: int) -> nn.Module:
    """A module of a factory, in the dtype and on the device of the rows.

    Raises:
        InputError: if there is none, or it has nothing to train.
    """
    made = told("making it", lambda: factory(like.shape[1], n_classes))
    if not isinstance(made, nn.Module):
        raise SettingError(
            "train.module", f"its factory gave {type(made).__name__}", "expected an nn.Module"
        )
    if not trainable(made):
        raise SettingError("train.module", f"{type(made).__name__} has no parameter to train")
    # a factory may give one module again and again, which training must not change
    return copy.deepcopy(made).to(dtype=like.dtype, device=like.device)


def told(doing: str, attempt: Callable[[], T]) -> T:
    """The result, or one line without the text of a stranger's exception."""
    try:
        return attempt()
    except Exception as error:
        raise InputError(
            "train module", f"{doing} raised {type(error).__name__}", "call it by itself to see why"
        ) from None


def logits_of(module: nn.Module, rows: Tensor, n_classes: int) -> Tensor:
    """What a module says of rows, (b, d) -> (b, C).

    Raises:
        InputError: if it fails or gives anything else.
    """
    with torch.no_grad():
        logits = told("asking it", lambda: module(rows))
    shape = tuple(getattr(logits, "shape", ()))
    if shape != (len(rows), n_classes):
        raise InputError(
            "train module", f"gave logits of shape {shape}", f"expected {(len(rows), n_classes)}"
        )
    found: Tensor = logits
    return found
