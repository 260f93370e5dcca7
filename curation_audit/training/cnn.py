"""S small convolutional networks at once, as grouped convolutions: one group a shadow."""

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from curation_audit.training.in_step import weighted_loss
from curation_audit.training.mlp import WidthRule
from curation_audit.training.optimisers import Parameters
from curation_audit.training.recipe import Recipe
from curation_audit.training.spectral import LayerShape, Scale

KERNEL = 3


@dataclass(frozen=True, slots=True)
class ConvolutionalNetworks:
    """3 x 3 convolutions with ReLU and 2 x 2 max-pooling, then one linear head.

    ``shape`` is (c, h, w); ``channels`` are those after each convolution. Parameters, in turn:
    for each convolution (S, o, i, 3, 3) and (S, o), for the head (S, features, C) and (S, 1, C).
    To the width ``rule`` a convolution is a layer of 9 i inputs, a patch, and o outputs; its base
    network has ``rule.base_width`` channels after each of them.
    """

    shape: tuple[int, int, int]
    channels: tuple[int, ...]
    n_classes: int
    rule: WidthRule = field(default_factory=WidthRule)
    smallest_batch: int = 1

    @property
    def n_flat(self) -> int:
        """How many features the head sees."""
        _, height, width = self.shape
        halvings = len(self.channels)
        return self.channels[-1] * (height >> halvings) * (width >> halvings)

    def layer_shapes(self) -> list[LayerShape]:
        """Of every convolution and of the head."""
        steps = zip((self.shape[0], *self.channels), self.channels, strict=False)
        kernels = [LayerShape(i * KERNEL * KERNEL, o) for i, o in steps]
        return [*kernels, LayerShape(self.n_flat, self.n_classes)]

    def scales(self, recipe: Recipe) -> tuple[Scale, ...] | None:
        """What multiplies the recipe's numbers at each parameter; ``None`` for nothing."""
        base = replace(self, channels=(self.rule.base_width,) * len(self.channels))
        return self.rule.scales(recipe, self.layer_shapes(), base.layer_shapes())

    def initial(self, generators: list[np.random.Generator], like: Tensor) -> Parameters:
        """Normal weights by the rule, zero biases; each shadow's by its stream, layer by layer."""
        *kernels, head = self.layer_shapes()
        sizes = [
            *((one.outputs, one.inputs // KERNEL**2, KERNEL, KERNEL) for one in kernels),
            (head.inputs, head.outputs),
        ]
        drawn = [[rng.standard_normal(size) for size in sizes] for rng in generators]
        parameters: list[Tensor] = []
        sds = self.rule.sds([*kernels, head])
        for weights, sd in zip(zip(*drawn, strict=True), sds, strict=True):
            weight = torch.as_tensor(np.stack(weights) * sd).to(like)
            is_head = weight.ndim == 3
            shape = (len(generators), 1, self.n_classes) if is_head else weight.shape[:2]
            parameters += [weight, torch.zeros(shape).to(like)]
        return tuple(parameters)

    def forward(self, parameters: Parameters, rows: Tensor) -> Tensor:
        """(S, b, d) -> (S, b, C)."""
        n_shadows, n_rows = rows.shape[:2]
        images = rows.view(n_shadows, n_rows, *self.shape).transpose(0, 1).flatten(1, 2)
        for weight, bias in zip(parameters[:-2:2], parameters[1:-2:2], strict=True):
            images = torch.nn.functional.conv2d(
                images, weight.flatten(0, 1), bias.flatten(), padding=1, groups=n_shadows
            )
            # the larger of four commutes with ReLU, which is then a quarter of the work
            images = torch.relu(torch.nn.functional.max_pool2d(images, 2))
        flat = images.view(n_rows, n_shadows, -1).transpose(0, 1)
        return flat @ parameters[-2] + parameters[-1]

    def logits(self, parameters: Parameters, rows: Tensor) -> Tensor:
        """As ``Networks``."""
        return self.forward(parameters, rows.expand(len(parameters[0]), *rows.shape))

    def gradients(
        self, parameters: Parameters, rows: Tensor, targets: Tensor, share: Tensor
    ) -> Parameters:
        """As ``Networks``; shadows share nothing, so one backward pass gives all of them."""
        leaves = tuple(one.detach().requires_grad_() for one in parameters)
        loss = weighted_loss(self.forward(leaves, rows), targets, share)
        return torch.autograd.grad(loss, leaves)

    def state(self) -> Parameters:
        """Nothing else changes."""
        return ()
