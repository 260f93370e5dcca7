"""A trained network to first order: random features whose products stand for its tangent kernel.

Of a perceptron the gradient by a layer's weights is the product of the layer's input and of the
slope at its output, so that no gradient is ever written out; of any other torch module
``torch.func`` gives the gradients, some rows at a time.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from curation_audit.training.mlp import Layer, forward
from curation_audit.types import Features, Floats

WIDTH = 512
"""Random features of a layer, or of a module."""
MOST_NUMBERS: Final = 2**24

# rows (n, d) -> features (n, q), whose products are the kernel on average, and logits (n,)
Tangent: TypeAlias = Callable[[Features], tuple[Floats, Floats]]


def tangent_of_layers(network: list[Layer], rng: np.random.Generator) -> Tangent:
    """Of a ReLU perceptron of two classes; its logit is the second's less the first's."""
    projections = [_projections(one, rng) for one in network]

    def tangent(rows: Features) -> tuple[Floats, Floats]:
        inputs = forward(network, torch.tensor(rows, dtype=network[0].weight.dtype))
        logits: Floats = (inputs[-1][:, 1] - inputs[-1][:, 0]).double().numpy()
        slope = torch.tensor([[-1.0, 1.0]], dtype=inputs[0].dtype).expand(len(rows), 2)
        found = []
        for i in range(len(network) - 1, -1, -1):
            of_inputs, of_outputs = projections[i]
            ones = np.ones((len(rows), 1))
            with_bias = np.concatenate([inputs[i].double().numpy(), ones], axis=1)
            found.append((with_bias @ of_inputs) * (slope.double().numpy() @ of_outputs))
            if i:
                slope = (slope @ network[i].weight.T) * (inputs[i] > 0)
        return np.concatenate(found, axis=1), logits

    return tangent


def _projections(layer: Layer, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Of a layer's inputs, with the bias's one, (i + 1, q), and of its outputs, (o, q)."""
    n_in, n_out = layer.weight.shape
    of_outputs = rng.standard_normal((n_out, WIDTH)) / np.sqrt(WIDTH)
    return rng.standard_normal((n_in + 1, WIDTH)), of_outputs


def tangent_of_module(module: nn.Module, rng: np.random.Generator) -> Tangent:
    """Of any torch module from rows (n, d) to one logit each, (n,) or (n, 1).

    It is asked as it stands: put it into evaluation mode. Frozen parameters stay out.
    """
    parameters = {
        name: one.detach() for name, one in module.named_parameters() if one.requires_grad
    }
    like = next(iter(parameters.values()))
    n_parameters = sum(one.numel() for one in parameters.values())
    drawn = rng.standard_normal((n_parameters, WIDTH)) / np.sqrt(WIDTH)
    projection = torch.as_tensor(drawn, dtype=like.dtype, device=like.device)

    def logit(own: dict[str, Tensor], row: Tensor) -> Tensor:
        out: Tensor = functional_call(module, own, (row[None],))
        return out.reshape(())

    def tangent(rows: Features) -> tuple[Floats, Floats]:
        step, found, logits = max(1, MOST_NUMBERS // n_parameters), [], []
        for at in range(0, len(rows), step):
            block = torch.as_tensor(rows[at : at + step], dtype=like.dtype, device=like.device)
            slopes, values = vmap(grad_and_value(logit), (None, 0))(parameters, block)
            flat = torch.cat([one.reshape(len(block), -1) for one in slopes.values()], dim=1)
            found.append((flat @ projection).double().cpu().numpy())
            logits.append(values.double().cpu().numpy())
        return np.concatenate(found), np.concatenate(logits)

    return tangent
