"""How sharply the loss of one trained network bends: the edge of stability (Cohen et al. 2021).

Gradient descent of rate eta settles where ``eta * lambda_max`` of the loss's Hessian is below 2,
with heavy-ball momentum beta below ``2 (1 + beta)``. Above it the weights are no stationary point,
and what linearises there is in doubt. No evidence about privacy.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor
from torch.nn.functional import cross_entropy

from curation_audit.training.mlp import Layer, as_layers, as_parameters, forward
from curation_audit.types import Floats

TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Sharpness:
    """The largest eigenvalue of the Hessian, the gradient's length, and products that it took."""

    largest: float
    gradient_norm: float
    n_products: int


def stability_threshold(momentum: float) -> float:
    """Of ``eta * lambda_max``: ``2 (1 + momentum)``."""
    return 2 * (1 + momentum)


def sharpness(network: list[Layer], rows: Tensor, classes: Tensor, l2: float) -> Sharpness:
    """Of the mean cross-entropy plus ``l2 / 2`` times the squared parameters, by Lanczos.

    Args:
        network: layers of one network, weight (i, o) and bias (1, o).
        rows: all that it was trained on, (n, d).
        classes: of them, int64 (n,).
        l2: on weights and biases.
    """
    weights = [one.detach().double().requires_grad_() for one in as_parameters(network)]
    logits = forward(as_layers(tuple(weights)), rows.double())[-1]
    loss = cross_entropy(logits, classes) + l2 / 2 * sum(one.square().sum() for one in weights)
    slopes = torch.autograd.grad(loss, weights, create_graph=True)
    slope = torch.cat([one.flatten() for one in slopes])
    n_products = 0

    def product(vector: Floats) -> Floats:
        nonlocal n_products
        n_products += 1
        along = slope @ torch.from_numpy(np.ascontiguousarray(vector).ravel())
        found = torch.autograd.grad(along, weights, retain_graph=True)
        bent: Floats = torch.cat([one.flatten() for one in found]).numpy()
        return bent

    size = len(slope)
    operator = LinearOperator((size, size), matvec=product, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(size)
    largest = eigsh(operator, k=1, which="LA", v0=start, tol=TOLERANCE, return_eigenvectors=False)
    return Sharpness(float(largest[0]), float(slope.detach().norm()), n_products)
