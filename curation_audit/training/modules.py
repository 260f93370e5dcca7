"""S torch modules of a user's kind: all in step by ``torch.func`` where that works, else alone."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.modules.batchnorm import _BatchNorm

from curation_audit.training.in_step import Trained, weighted_loss
from curation_audit.training.optimisers import Parameters

# (number of features, number of classes) -> a module that maps (b, features) to logits (b, classes)
ModuleFactory: TypeAlias = Callable[[int, int], nn.Module]


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Generators of torch with a seed of their own; afterwards they are as they were."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that the user did not freeze, by name."""
    return {name: one for name, one in module.named_parameters() if one.requires_grad}


def stacked(modules: Sequence[nn.Module]) -> Parameters:
    """The trainable parameters of S modules of one kind, each (S, ...), copied."""
    every = zip(*(trainable(module).values() for module in modules), strict=True)
    return tuple(torch.stack([one.detach() for one in same]) for same in every)


@dataclass(frozen=True, slots=True)
class ModulesInStep:
    """S modules of one kind, their parameters in the order of ``trainable(template)``."""

    template: nn.Module
    smallest_batch: int = 1

    def forward(self, parameters: Parameters, rows: Tensor, shared: bool) -> Tensor:
        """(S, b, d), or (b, d) where ``shared``, -> (S, b, C)."""
        names = trainable(self.template)

        def one(own: Parameters, its_rows: Tensor) -> Tensor:
            logits: Tensor = functional_call(
                self.template, dict(zip(names, own, strict=True)), (its_rows,)
            )
            return logits

        together: Tensor = vmap(one, in_dims=(0, None if shared else 0))(parameters, rows)
        return together

    def logits(self, parameters: Parameters, rows: Tensor) -> Tensor:
        """As ``Networks``."""
        self.template.eval()
        return self.forward(parameters, rows, shared=True)

    def gradients(
        self, parameters: Parameters, rows: Tensor, targets: Tensor, share: Tensor
    ) -> Parameters:
        """As ``Networks``; shadows share nothing, so one backward pass gives all of them."""
        self.template.train()
        leaves = tuple(one.detach().requires_grad_() for one in parameters)
        loss = weighted_loss(self.forward(leaves, rows, shared=False), targets, share)
        return torch.autograd.grad(loss, leaves, materialize_grads=True)

    def state(self) -> Parameters:
        """Modules with buffers are not trained in step."""
        return ()


def works_in_step(modules: Sequence[nn.Module], rows: Tensor) -> bool:
    """Whether S modules without buffers give by ``vmap`` what each gives by itself, row by row.

    Dropout does not: under ``vmap`` shadows could not draw from streams of their own. Nor does
    what mixes the rows of a batch, as batches in step are padded.
    """
    first = modules[0]
    if [*first.buffers()] or len(trainable(first)) < len([*first.parameters()]):
        return False  # frozen parameters may differ, and the template has those of the first only
    for mode in (True, False):
        for module in modules[:2]:
            module.train(mode)
        try:
            with warnings.catch_warnings(), torch.no_grad(), seeded(0, rows.device):
                warnings.simplefilter("error")  # torch warns where it would loop, slowly
                found = _by_row_and_together(modules[:2], rows)
        except Exception:  # a stranger's module may fail in any way, and then it is looped
            return False
        if not all(one.shape == found[0].shape for one in found):
            return False
        if not all(torch.allclose(one, found[0], atol=1e-5) for one in found):
            return False
    return True


def _by_row_and_together(modules: Sequence[nn.Module], rows: Tensor) -> list[Tensor]:
    """Logits (S, b, C): one row and module at a time, of shared rows, and of rows of their own."""
    together, parameters = ModulesInStep(modules[0]), stacked(modules)
    by_row = [torch.cat([module(row) for row in torch.split(rows, 1)]) for module in modules]
    own = rows.expand(len(modules), *rows.shape)
    return [
        torch.stack(by_row),
        together.forward(parameters, rows, shared=True),
        together.forward(parameters, own, shared=False),
    ]


@dataclass(frozen=True, slots=True)
class OneModule:
    """One module as ``Networks`` with S = 1; its buffers change while it trains.

    Normalisation over a batch needs two rows.
    """

    module: nn.Module

    @property
    def smallest_batch(self) -> int:
        """Rows."""
        return 2 if any(isinstance(m, _BatchNorm) for m in self.module.modules()) else 1

    def forward(self, parameters: Parameters, rows: Tensor) -> Tensor:
        """(b, d) -> (1, b, C)."""
        names = trainable(self.module)
        own = {name: one[0] for name, one in zip(names, parameters, strict=True)}
        logits: Tensor = functional_call(self.module, own, (rows,))
        return logits[None]

    def logits(self, parameters: Parameters, rows: Tensor) -> Tensor:
        """As ``Networks``."""
        self.module.eval()
        with torch.no_grad():
            return self.forward(parameters, rows)

    def gradients(
        self, parameters: Parameters, rows: Tensor, targets: Tensor, share: Tensor
    ) -> Parameters:
        """As ``Networks``."""
        self.module.train()
        leaves = tuple(one.detach().requires_grad_() for one in parameters)
        loss = weighted_loss(self.forward(leaves, rows[0]), targets, share)
        return torch.autograd.grad(loss, leaves, materialize_grads=True)

    def state(self) -> Parameters:
        """The buffers."""
        return tuple(one.detach().clone()[None] for one in self.module.buffers())

    def become(self, trained: Trained) -> nn.Module:
        """The module, with these parameters and buffers, to be asked."""
        with torch.no_grad():
            owns = [*trainable(self.module).values(), *self.module.buffers()]
            for own, value in zip(owns, [*trained.parameters, *trained.state], strict=True):
                own.copy_(value[0])
        return self.module.eval()
