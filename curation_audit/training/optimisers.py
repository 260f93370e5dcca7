"""The optimisers of S networks in step; a shadow without a batch rests, its state untouched."""

from dataclasses import dataclass
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from curation_audit.training.recipe import Recipe

Parameters: TypeAlias = tuple[Tensor, ...]  # each (S, ...)


class Optimiser(Protocol):
    """The state of S optimisers."""

    def step(
        self, parameters: Parameters, gradients: Parameters, awake: Tensor, rate: float
    ) -> Parameters:
        """The parameters after one step of the shadows that are ``awake``, bool (S,)."""
        ...


def start(recipe: Recipe, parameters: Parameters) -> Optimiser:
    """The optimiser that a recipe asks for."""
    zeros = tuple(torch.zeros_like(one) for one in parameters)
    if recipe.optimiser == "sgd":
        return MomentumSgd(recipe, zeros)
    n_steps = torch.zeros(len(parameters[0]), dtype=torch.int64, device=parameters[0].device)
    return AdamW(recipe, zeros, zeros, n_steps)


@dataclass(slots=True)
class MomentumSgd:
    """``v = m v + g + decay w; w = w - rate v``."""

    recipe: Recipe
    velocity: Parameters

    def step(
        self, parameters: Parameters, gradients: Parameters, awake: Tensor, rate: float
    ) -> Parameters:
        """As ``Optimiser``."""
        momentum, decay = self.recipe.momentum, self.recipe.weight_decay
        self.velocity = tuple(
            torch.where(_beside(awake, v), momentum * v + g + decay * w, v)
            for v, g, w in zip(self.velocity, gradients, parameters, strict=True)
        )
        return tuple(
            torch.where(_beside(awake, w), w - rate * v, w)
            for w, v in zip(parameters, self.velocity, strict=True)
        )


@dataclass(slots=True)
class AdamW:
    """Decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2), as torch computes it.

    ``n_steps`` int64 (S,) counts each shadow's own steps, by which its moments are corrected.
    """

    recipe: Recipe
    mean: Parameters
    square: Parameters
    n_steps: Tensor

    def step(
        self, parameters: Parameters, gradients: Parameters, awake: Tensor, rate: float
    ) -> Parameters:
        """As ``Optimiser``."""
        (beta_1, beta_2), kept = self.recipe.betas, 1 - rate * self.recipe.weight_decay
        self.n_steps = self.n_steps + awake
        self.mean = tuple(
            torch.where(_beside(awake, m), beta_1 * m + (1 - beta_1) * g, m)
            for m, g in zip(self.mean, gradients, strict=True)
        )
        self.square = tuple(
            torch.where(_beside(awake, s), beta_2 * s + (1 - beta_2) * g.square(), s)
            for s, g in zip(self.square, gradients, strict=True)
        )
        n = self.n_steps.clamp(min=1).to(parameters[0].dtype)
        of_mean, of_square = 1 - beta_1**n, (1 - beta_2**n).sqrt()
        moved = []
        for w, m, s in zip(parameters, self.mean, self.square, strict=True):
            spread = s.sqrt() / _beside(of_square, s) + self.recipe.epsilon
            step = rate / _beside(of_mean, m) * m / spread
            moved.append(torch.where(_beside(awake, w), w * kept - step, w))
        return tuple(moved)


def _beside(of_shadows: Tensor, parameter: Tensor) -> Tensor:
    """(S,) -> (S, 1, ...), to stand beside a parameter."""
    return of_shadows.view(-1, *(1,) * (parameter.ndim - 1))
