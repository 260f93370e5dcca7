"""The optimisers of S networks in step; a shadow without a batch rests, its state untouched."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

import torch
from torch import Tensor

from curation_audit.training.recipe import Recipe
from curation_audit.training.spectral import Scale

Parameters: TypeAlias = tuple[Tensor, ...]  # each (S, ...)
# The quintic of Muon (K. Jordan and others, 2024) lifts small singular values fast and ends near
# one; two cubic steps then take them there.
QUINTIC: Final = (3.4445, -4.7750, 2.0315)
N_QUINTIC, N_CUBIC = 5, 2
TINY: Final = 1e-12  # beside the norm of a gradient that is zero


class Optimiser(Protocol):
    """The state of S optimisers."""

    def step(
        self, parameters: Parameters, gradients: Parameters, awake: Tensor, rate: float
    ) -> Parameters:
        """The parameters after one step of the shadows that are ``awake``, bool (S,)."""
        ...


def start(
    recipe: Recipe, parameters: Parameters, scales: Sequence[Scale] | None = None
) -> Optimiser:
    """The optimiser that a recipe asks for, with what multiplies its numbers at each parameter."""
    zeros = tuple(torch.zeros_like(one) for one in parameters)
    scales = tuple(scales or (Scale() for _ in parameters))
    if recipe.optimiser == "sgd":
        return MomentumSgd(recipe, scales, zeros)
    if recipe.optimiser == "muon":
        return Muon(recipe, scales, zeros)
    n_steps = torch.zeros(len(parameters[0]), dtype=torch.int64, device=parameters[0].device)
    return AdamW(recipe, scales, zeros, zeros, n_steps)


@dataclass(slots=True)
class MomentumSgd:
    """``v = m v + g + decay w; w = w - rate v``."""

    recipe: Recipe
    scales: tuple[Scale, ...]
    velocity: Parameters

    def step(
        self, parameters: Parameters, gradients: Parameters, awake: Tensor, rate: float
    ) -> Parameters:
        """As ``Optimiser``."""
        momentum, decay = self.recipe.momentum, self.recipe.weight_decay
        self.velocity = tuple(
            torch.where(_beside(awake, v), momentum * v + g + decay * scale.decay * w, v)
            for v, g, w, scale in zip(
                self.velocity, gradients, parameters, self.scales, strict=True
            )
        )
        return tuple(
            torch.where(_beside(awake, w), w - rate * scale.rate * v, w)
            for w, v, scale in zip(parameters, self.velocity, self.scales, strict=True)
        )


@dataclass(slots=True)
class AdamW:
    """Decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2), as torch computes it.

    ``n_steps`` int64 (S,) counts each shadow's own steps, by which its moments are corrected.
    """

    recipe: Recipe
    scales: tuple[Scale, ...]
    mean: Parameters
    square: Parameters
    n_steps: Tensor

    def step(
        self, parameters: Parameters, gradients: Parameters, awake: Tensor, rate: float
    ) -> Parameters:
        """As ``Optimiser``."""
        beta_1, beta_2 = self.recipe.betas
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
        for w, m, s, scale in zip(parameters, self.mean, self.square, self.scales, strict=True):
            spread = s.sqrt() / _beside(of_square, s) + self.recipe.epsilon * scale.epsilon
            own = rate * scale.rate
            step = own / _beside(of_mean, m) * m / spread
            kept = 1 - own * self.recipe.weight_decay * scale.decay
            moved.append(torch.where(_beside(awake, w), w * kept - step, w))
        return tuple(moved)


@dataclass(slots=True)
class Muon:
    """``v = m v + g; w = w - rate (decay w + polar(m v + g))``; a vector is a matrix of one row.

    ``polar`` sets all singular values to one, so that a bias moves by its normalised momentum.
    """

    recipe: Recipe
    scales: tuple[Scale, ...]
    velocity: Parameters

    def step(
        self, parameters: Parameters, gradients: Parameters, awake: Tensor, rate: float
    ) -> Parameters:
        """As ``Optimiser``."""
        momentum, decay = self.recipe.momentum, self.recipe.weight_decay
        self.velocity = tuple(
            torch.where(_beside(awake, v), momentum * v + g, v)
            for v, g in zip(self.velocity, gradients, strict=True)
        )
        moved = []
        for w, v, g, scale in zip(parameters, self.velocity, gradients, self.scales, strict=True):
            turn = polar((momentum * v + g).reshape(len(w), *_matrix(w))).reshape_as(w)
            step = rate * scale.rate * (decay * scale.decay * w + turn)
            moved.append(torch.where(_beside(awake, w), w - step, w))
        return tuple(moved)


def polar(matrices: Tensor) -> Tensor:
    """``U V'`` of ``U S V'`` by Newton-Schulz steps, (S, i, o); each shadow's by itself.

    Within 5 % for singular values above 1e-3 of the Frobenius norm; zero stays zero.
    """
    wide = matrices.shape[1] <= matrices.shape[2]
    x = matrices if wide else matrices.mT
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + TINY)
    a, b, c = QUINTIC
    for _ in range(N_QUINTIC):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    for _ in range(N_CUBIC):
        x = 1.5 * x - 0.5 * (x @ x.mT) @ x
    turned: Tensor = x if wide else x.mT
    return turned


def _matrix(parameter: Tensor) -> tuple[int, int]:
    """The shape of one shadow's parameter as a matrix; of a vector one row."""
    own = parameter.shape[1:]
    return (own[0], own[1:].numel()) if len(own) > 1 else (1, own.numel())


def _beside(of_shadows: Tensor, parameter: Tensor) -> Tensor:
    """(S,) -> (S, 1, ...), to stand beside a parameter."""
    return of_shadows.view(-1, *(1,) * (parameter.ndim - 1))
