"""S multilayer perceptrons at once: stacked weights, hand-written gradients.

A shadow's initial weights and the order of its rows come from its own stream, so that it ends
up the same whatever else is trained beside it.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from curation_audit import checks
from curation_audit.training.in_step import Examples, Trained, Validation, train_in_step
from curation_audit.training.mlp_in_cache import Dense, SharedRows, train_in_cache
from curation_audit.training.optimisers import Parameters
from curation_audit.training.recipe import Recipe
from curation_audit.training.spectral import (
    BASE_WIDTH,
    PARAMETRIZATIONS,
    LayerShape,
    Parametrization,
    Scale,
    base_widths,
    dense_shapes,
    initial_sd,
    layer_scales,
)
from curation_audit.types import Indices, Mask


@dataclass(frozen=True, slots=True)
class Layer:
    """One dense layer of S networks: weight (S, i, o) and bias (S, 1, o)."""

    weight: Tensor
    bias: Tensor


def he_sd(inputs: int) -> float:
    """The standard deviation of He-normal weights."""
    return float(np.sqrt(2 / inputs))


def initial_layers(
    widths: tuple[int, ...],
    generators: list[np.random.Generator],
    like: Tensor,
    sds: Sequence[float] | None = None,
) -> list[Layer]:
    """Normal weights and zero biases for layers ``widths[0] -> widths[1] -> ...``.

    ``sds`` are the standard deviations of each layer's weights; He's by default.
    """
    shapes = list(itertools.pairwise(widths))
    sds = sds or [he_sd(i) for i, _ in shapes]
    per_shadow = [
        [rng.standard_normal(shape) * sd for shape, sd in zip(shapes, sds, strict=True)]
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


@dataclass(frozen=True, slots=True)
class Perceptrons:
    """S networks as ``train_in_step`` wants them: weights and biases of the layers in turn."""

    smallest_batch: int = 1

    def logits(self, parameters: Parameters, rows: Tensor) -> Tensor:
        """As ``Networks``."""
        return forward(as_layers(parameters), rows)[-1]

    def gradients(
        self, parameters: Parameters, rows: Tensor, targets: Tensor, share: Tensor
    ) -> Parameters:
        """As ``Networks``."""
        return as_parameters(gradients(as_layers(parameters), rows, targets, share))

    def state(self) -> Parameters:
        """Nothing else changes."""
        return ()


def as_parameters(layers: list[Layer]) -> Parameters:
    """Weights and biases in turn."""
    return tuple(part for layer in layers for part in (layer.weight, layer.bias))


def as_layers(parameters: Parameters) -> list[Layer]:
    """The inverse of ``as_parameters``."""
    return [Layer(*pair) for pair in zip(parameters[::2], parameters[1::2], strict=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class WidthRule:
    """How initial weights and rates follow from widths: of ``standard`` they do not but by He.

    ``spectral``: the recipe's rate is that of a network whose hidden layers are ``base_width``
    wide, and holds at every width; see ``training.spectral``. Its readout starts at zero: the
    chance of initial logits, which narrow networks have more of, counts for much at small rates.
    """

    parametrization: Parametrization = "standard"
    base_width: int = BASE_WIDTH

    def __post_init__(self) -> None:
        """Check the word and the number."""
        checks.one_of("train.parametrization", self.parametrization, PARAMETRIZATIONS)
        checks.positive(base_width=self.base_width)

    def sds(self, shapes: Sequence[LayerShape]) -> list[float]:
        """The standard deviations of initial weights, layer by layer, the readout last."""
        if self.parametrization == "standard":
            return [he_sd(one.inputs) for one in shapes]
        return [*(initial_sd(one.inputs, one.outputs) for one in shapes[:-1]), 0.0]

    def scales(
        self, recipe: Recipe, shapes: Sequence[LayerShape], bases: Sequence[LayerShape]
    ) -> tuple[Scale, ...] | None:
        """Of weights and biases in turn; ``None`` where nothing is scaled.

        Args:
            recipe: what trains them.
            shapes: of the layers.
            bases: of the same layers at the base width.
        """
        if self.parametrization == "standard":
            return None
        return layer_scales(recipe.optimiser, shapes, bases)

    def dense(
        self, widths: tuple[int, ...], generators: list[np.random.Generator], like: Tensor
    ) -> list[Layer]:
        """Initial layers ``widths[0] -> widths[1] -> ...``, as ``initial_layers``."""
        return initial_layers(widths, generators, like, self.sds(dense_shapes(widths)))

    def dense_scales(self, recipe: Recipe, widths: tuple[int, ...]) -> tuple[Scale, ...] | None:
        """As ``scales``, for such layers; those of the base have hidden ones of its width."""
        bases = base_widths(widths, self.base_width)
        return self.scales(recipe, dense_shapes(widths), dense_shapes(bases))


def train(
    layers: list[Layer],
    examples: Examples,
    orders: Indices,
    recipe: Recipe,
    scales: Sequence[Scale] | None = None,
) -> list[Layer]:
    """Train all shadows.

    Args:
        layers: initial weights.
        examples: every shadow's rows; padding never counts.
        orders: int64 (epochs, S, k_max): each shadow's own rows come first in it, in fresh order.
        recipe: batches, optimiser and learning rates.
        scales: as ``train_in_step``.
    """
    trained = train_perceptrons(
        Perceptrons(), as_parameters(layers), examples, orders, recipe, scales=scales
    )
    return as_layers(trained.parameters)


def train_perceptrons(
    networks: Perceptrons,
    parameters: Parameters,
    examples: Examples,
    orders: Indices,
    recipe: Recipe,
    validation: Validation | None = None,
    scales: Sequence[Scale] | None = None,
) -> Trained:
    """As ``train_in_step``, and to its result: on a CPU some networks at a time, in its cache.

    There each network's real rows have to come first in its orders. Muon knows no cache.
    """
    in_cache = examples.rows.device.type == "cpu" and recipe.optimiser != "muon"
    if validation is not None or not in_cache:
        return train_in_step(networks, parameters, examples, orders, recipe, validation, scales)
    found = train_in_cache(
        [Dense(one.weight.numpy(), one.bias.numpy()) for one in as_layers(parameters)],
        SharedRows(
            examples.rows.numpy(),
            examples.targets.numpy(),
            examples.index.numpy(),
            examples.real.sum(axis=1),
        ),
        orders,
        recipe,
        scales,
    )
    parts = (torch.from_numpy(part) for one in found for part in (one.weight, one.bias))
    return Trained(tuple(parts), networks.state())
