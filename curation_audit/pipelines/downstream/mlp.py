"""A multilayer perceptron on the picked rows."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from curation_audit import checks
from curation_audit.observations import Selection
from curation_audit.pipelines.base import FittedModels, Rows
from curation_audit.pipelines.downstream.logistic import softmax
from curation_audit.pipelines.downstream.stacked import stack_picked
from curation_audit.streams import ShadowStreams
from curation_audit.training.mlp import (
    Layer,
    SgdSettings,
    forward,
    initial_layers,
    row_orders,
    train,
)
from curation_audit.types import Features, Probabilities


@dataclass(frozen=True, slots=True, kw_only=True)
class Mlp:
    """ReLU network trained by momentum SGD on the mean cross-entropy of each batch."""

    name: ClassVar[str] = "mlp"
    hidden: tuple[int, ...] = (128,)
    epochs: int = 30
    batch_size: int = 64
    learning_rate: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 1e-4
    device: str = "auto"

    def __post_init__(self) -> None:
        """Check the settings."""
        checks.positive(
            epochs=self.epochs, batch_size=self.batch_size, learning_rate=self.learning_rate
        )
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), got {self.momentum}.")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay must be 0 or more, got {self.weight_decay}.")
        for width in self.hidden:
            checks.positive(hidden=width)

    def fit(
        self, pool: Rows, selection: Selection, n_classes: int, *, streams: ShadowStreams
    ) -> FittedModels:
        """All S networks in step."""
        picked = stack_picked(pool, selection, n_classes, self.device)
        widths = (pool.features.shape[1], *self.hidden, n_classes)
        layers = train(
            initial_layers(widths, streams.generators("initial weights"), picked.features),
            picked.features,
            picked.targets,
            picked.real,
            row_orders(picked.real, self.epochs, streams.generators("row order")),
            SgdSettings(
                self.epochs, self.batch_size, self.learning_rate, self.momentum, self.weight_decay
            ),
        )
        return MlpModels(layers)


@dataclass(frozen=True, slots=True)
class MlpModels:
    """S networks."""

    layers: list[Layer]

    def predict_proba(self, features: Features) -> Probabilities:
        """(rows, d) -> float32 (S, rows, C)."""
        rows = torch.as_tensor(
            features, dtype=self.layers[0].weight.dtype, device=self.layers[0].weight.device
        )
        return softmax(forward(self.layers, rows)[-1].cpu().numpy())
