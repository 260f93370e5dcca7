"""How sharply the loss of one trained network bends: the edge of stability (Cohen et al. 2021).

Gradient descent of rate eta settles where ``eta * lambda_max`` of the loss's Hessian is below 2,
with heavy-ball momentum beta below ``2 (1 + beta)``. What divides its steps by a diagonal P, as
AdamW does, settles by ``P^-1`` times the Hessian, with a mean of gradients of rate ``1 - beta``
below ``(2 + 2 beta) / (1 - beta)`` (Cohen et al. 2022, arXiv:2207.14484). Above it the weights are
no stationary point, and what linearises there is in doubt. No evidence about privacy.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor
from torch.nn.functional import cross_entropy, softplus

from curation_audit.training.in_step import Networks
from curation_audit.training.mlp import as_layers, forward
from curation_audit.training.optimisers import Parameters
from curation_audit.training.recipe import Recipe
from curation_audit.types import Floats

TOLERANCE = 1e-3
N_LANCZOS = 15
"""Vectors that are kept: as exact as 40, to three digits."""

Loss = Callable[[Parameters], Tensor]


@dataclass(frozen=True, slots=True)
class Sharpness:
    """The largest eigenvalue of the Hessian, the gradient's length, and products that it took."""

    largest: float
    gradient_norm: float
    n_products: int


def stability_threshold(momentum: float) -> float:
    """Of ``eta * lambda_max`` under heavy-ball momentum: ``2 (1 + momentum)``."""
    return 2 * (1 + momentum)


def threshold_of_means(beta: float) -> float:
    """The same where steps follow a running mean of gradients: ``(2 + 2 beta) / (1 - beta)``."""
    if not 0 <= beta < 1:
        raise ValueError(f"beta must be in [0, 1), got {beta}.")
    return (2 + 2 * beta) / (1 - beta)


def sharpness(
    loss: Loss, parameters: Sequence[Tensor], spread: Sequence[Tensor | float] | None = None
) -> Sharpness:
    """Of a loss at some parameters, by Lanczos in float64; NaN where its gradient is not finite.

    Args:
        loss: one number, of tensors like the parameters.
        parameters: where to look.
        spread: a diagonal D as one tensor or number for each parameter; the eigenvalue is then that
            of ``D H D``: D is the root of what multiplies the steps.
    """
    weights = tuple(one.detach().double().requires_grad_() for one in parameters)
    slopes = torch.autograd.grad(loss(weights), weights, create_graph=True)
    slope = torch.cat([one.flatten() for one in slopes])
    scale = _flat(spread or [1.0] * len(weights), weights)
    if not bool((slope * scale).isfinite().all()):
        return Sharpness(math.nan, math.nan, 0)
    n_products = 0

    def product(vector: Floats) -> Floats:
        nonlocal n_products
        n_products += 1
        along = slope @ (scale * torch.from_numpy(np.ascontiguousarray(vector).ravel()))
        found = torch.autograd.grad(along, weights, retain_graph=True)
        bent: Floats = (scale * torch.cat([one.flatten() for one in found])).numpy()
        return bent

    return Sharpness(_largest(product, len(slope)), float(slope.detach().norm()), n_products)


def _flat(spread: Sequence[Tensor | float], like: Sequence[Tensor]) -> Tensor:
    parts = [
        torch.as_tensor(one, dtype=torch.float64).expand(weight.shape).flatten()
        for one, weight in zip(spread, like, strict=True)
    ]
    return torch.cat(parts)


def _largest(product: Callable[[Floats], Floats], size: int) -> float:
    """The largest eigenvalue of a symmetric (size, size) matrix, from its products."""
    if size <= N_LANCZOS:  # as many products as give it whole
        return float(np.linalg.eigvalsh(np.stack([product(one) for one in np.eye(size)]))[-1])
    operator = LinearOperator((size, size), matvec=product, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(size)
    found = eigsh(
        operator,
        k=1,
        which="LA",
        v0=start,
        ncv=N_LANCZOS,
        tol=TOLERANCE,
        return_eigenvectors=False,
    )
    return float(found[0])


def class_loss(rows: Tensor, classes: Tensor, decay: Sequence[float] | float = 0.0) -> Loss:
    """The mean cross-entropy of a perceptron, and ``decay / 2`` times the squared parameters.

    Shapes: rows (n, d), classes int64 (n,); ``decay`` may differ from parameter to parameter.
    """
    exact = rows.double()

    def loss(parameters: Parameters) -> Tensor:
        logits = forward(as_layers(parameters), exact)[-1]
        found: Tensor = cross_entropy(logits, classes) + penalty(parameters, decay)
        return found

    return loss


def logit_loss(
    rows: Tensor, targets: Tensor, shares: Tensor, decay: Sequence[float] | float = 0.0
) -> Loss:
    """The same of one logit: targets 0 or 1 (n,), a row's share of the loss (n,)."""
    exact, sign = rows.double(), 1 - 2 * targets.double()

    def loss(parameters: Parameters) -> Tensor:
        logits = forward(as_layers(parameters), exact)[-1][:, 0]
        found: Tensor = shares @ softplus(sign * logits) + penalty(parameters, decay)
        return found

    return loss


def penalty(parameters: Parameters, decay: Sequence[float] | float) -> Tensor:
    """``decay / 2`` times the squared parameters."""
    each = [decay] * len(parameters) if isinstance(decay, float) else decay
    squares = [rate / 2 * one.square().sum() for rate, one in zip(each, parameters, strict=True)]
    return torch.stack(squares).sum()


@dataclass(slots=True)
class Remembering:
    """One network as ``train_in_step`` wants it, that keeps the second moments of AdamW.

    They are the network's ``state``, so that those of the best epoch are kept where training stops
    early.
    """

    networks: Networks
    recipe: Recipe
    square: Parameters
    n_steps: int = 0

    @classmethod
    def of(cls, networks: Networks, recipe: Recipe, parameters: Parameters) -> "Remembering":
        """Before the first step of one network, parameters each (1, ...)."""
        return cls(networks, recipe, tuple(torch.zeros_like(one) for one in parameters))

    @property
    def smallest_batch(self) -> int:
        """As ``Networks``."""
        return self.networks.smallest_batch

    def logits(self, parameters: Parameters, rows: Tensor) -> Tensor:
        """As ``Networks``."""
        return self.networks.logits(parameters, rows)

    def gradients(
        self, parameters: Parameters, rows: Tensor, targets: Tensor, share: Tensor
    ) -> Parameters:
        """As ``Networks``; every call is a step."""
        found = self.networks.gradients(parameters, rows, targets, share)
        beta = self.recipe.betas[1]
        moments = zip(self.square, found, strict=True)
        self.square = tuple(beta * s + (1 - beta) * g.square() for s, g in moments)
        self.n_steps += 1
        return found

    def state(self) -> Parameters:
        """The corrected second moments by parameter."""
        corrected = 1 - self.recipe.betas[1] ** max(self.n_steps, 1)
        return tuple(one / corrected for one in self.square)
