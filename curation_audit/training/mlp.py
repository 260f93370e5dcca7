"""S multilayer perceptrons at once: stacked weights, hand-written gradients, momentum SGD.

A shadow's initial weights and the order of its rows come from its own stream, so that it ends
up the same whatever else is trained beside it.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from curation_audit.types import Indices, Mask


@dataclass(frozen=True, slots=True)
class SgdSettings:
    """Momentum SGD on the mean cross-entropy of a batch; decay is added to the gradient."""

    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float
    weight_decay: float


@dataclass(frozen=True, slots=True)
class Layer:
    """One dense layer of S networks: weight (S, i, o) and bias (S, 1, o)."""

    weight: Tensor
    bias: Tensor


def initial_layers(
    widths: tuple[int, ...], generators: list[np.random.Generator], like: Tensor
) -> list[Layer]:
    """He-normal weights and zero biases for layers ``widths[0] -> widths[1] -> ...``."""
    per_shadow = [
        [rng.standard_normal((i, o)) * np.sqrt(2 / i) for i, o in itertools.pairwise(widths)]
        for rng in generators
    ]
    return [
        Layer(
            torch.as_tensor(np.stack(weights), dtype=like.dtype, device=like.device),
            torch.zeros((len(generators), 1, o), dtype=like.dtype, device=like.device),
        )
        for weights, o in zip(zip(*per_shadow, strict=True), widths[1:], strict=True)
    ]


def row_orders(real: Mask, epochs: int, generators: list[np.random.Generator]) -> Indices:
    """A fresh order of each shadow's own rows for each epoch, int64 (epochs, S, k_max).

    ``real`` bool (S, k_max) marks its rows; padding comes last.
    """
    orders = np.tile(np.arange(real.shape[1]), (epochs, real.shape[0], 1))
    for s, rng in enumerate(generators):
        size = int(real[s].sum())
        orders[:, s, :size] = np.argsort(rng.random((epochs, size)), axis=1)
    return orders


def forward(layers: list[Layer], rows: Tensor) -> list[Tensor]:
    """Inputs of every layer and the logits: (S, b, d) or (b, d) -> L + 1 tensors (S, b, .)."""
    activations = [rows]
    for i, layer in enumerate(layers):
        out = activations[-1] @ layer.weight + layer.bias
        activations.append(torch.relu(out) if i + 1 < len(layers) else out)
    return activations


def gradients(layers: list[Layer], rows: Tensor, targets: Tensor, share: Tensor) -> list[Layer]:
    """Gradients of ``sum_i share[s, i] * cross_entropy_i`` for every shadow.

    Shapes: rows (S, b, d), targets one-hot (S, b, C), share (S, b).
    """
    activations = forward(layers, rows)
    delta = share[..., None] * (torch.softmax(activations[-1], dim=2) - targets)
    found: list[Layer] = []
    for i in range(len(layers) - 1, -1, -1):
        found.append(Layer(activations[i].transpose(1, 2) @ delta, delta.sum(dim=1, keepdim=True)))
        if i:
            delta = (delta @ layers[i].weight.transpose(1, 2)) * (activations[i] > 0)
    return found[::-1]


def train(
    layers: list[Layer],
    rows: Tensor,
    targets: Tensor,
    real: Mask,
    orders: Indices,
    settings: SgdSettings,
) -> list[Layer]:
    """Train all shadows in step.

    Args:
        layers: initial weights.
        rows: (S, k_max, d), the picked rows of each shadow, padded.
        targets: (S, k_max, C) one-hot.
        real: bool (S, k_max); padding never counts.
        orders: int64 (epochs, S, k_max) from ``row_orders``.
        settings: the optimiser.

    A shadow with fewer rows has fewer batches in an epoch and rests in the others.
    """
    velocity = [
        Layer(torch.zeros_like(layer.weight), torch.zeros_like(layer.bias)) for layer in layers
    ]
    shadow = torch.arange(rows.shape[0], device=rows.device)[:, None]
    counts = torch.as_tensor(real, dtype=rows.dtype, device=rows.device)
    for order in torch.as_tensor(orders, device=rows.device):
        for start in range(0, order.shape[1], settings.batch_size):
            batch = order[:, start : start + settings.batch_size]
            present = counts[shadow, batch]
            n_present = present.sum(dim=1, keepdim=True)
            share = present / n_present.clamp(min=1)
            found = gradients(layers, rows[shadow, batch], targets[shadow, batch], share)
            layers, velocity = _momentum_step(
                layers, velocity, found, (n_present > 0)[..., None], settings
            )
    return layers


def _momentum_step(
    layers: list[Layer],
    velocity: list[Layer],
    found: list[Layer],
    awake: Tensor,
    settings: SgdSettings,
) -> tuple[list[Layer], list[Layer]]:
    """One step ``v = m v + g + decay w; w = w - lr v`` of the shadows that had a batch."""

    def speed(v: Tensor, g: Tensor, w: Tensor) -> Tensor:
        return torch.where(awake, settings.momentum * v + g + settings.weight_decay * w, v)

    def move(w: Tensor, v: Tensor) -> Tensor:
        return torch.where(awake, w - settings.learning_rate * v, w)

    velocity = [
        Layer(speed(v.weight, g.weight, w.weight), speed(v.bias, g.bias, w.bias))
        for v, g, w in zip(velocity, found, layers, strict=True)
    ]
    moved = [
        Layer(move(w.weight, v.weight), move(w.bias, v.bias))
        for w, v in zip(layers, velocity, strict=True)
    ]
    return moved, velocity
