"""Models of dense layers: what fine-tuning starts from, and what it gives."""

from dataclasses import dataclass

import numpy as np
import torch

from curation_audit.pipelines.base import Downstream, FittedModels
from curation_audit.pipelines.downstream.logistic import Logistic, LogisticModels, softmax
from curation_audit.pipelines.downstream.mlp import Mlp
from curation_audit.pipelines.downstream.networks import NetworkModels
from curation_audit.training.mlp import Layer, Perceptrons, as_layers, forward
from curation_audit.types import Features, Probabilities

ROWS_PER_BLOCK = 8192


@dataclass(frozen=True, slots=True)
class DenseModels:
    """S networks of dense layers; one layer alone takes rows with a column of ones."""

    layers: list[Layer]

    def predict_proba(self, features: Features) -> Probabilities:
        """(rows, d) -> float32 (S, rows, C)."""
        like = self.layers[0].weight
        asked = with_ones(features) if len(self.layers) == 1 else features
        rows = torch.as_tensor(asked, dtype=like.dtype, device=like.device)
        starts = range(0, max(1, len(rows)), ROWS_PER_BLOCK)
        blocks = [forward(self.layers, rows[at : at + ROWS_PER_BLOCK])[-1] for at in starts]
        return softmax(torch.cat(blocks, dim=1).cpu().numpy())


def hidden_widths(model: Downstream) -> tuple[int, ...] | None:
    """The widths of a model's hidden layers; ``None`` for a model that is not of dense layers."""
    if isinstance(model, Logistic):
        return ()
    return model.hidden if isinstance(model, Mlp) else None


def dense_models(models: FittedModels) -> DenseModels:
    """The same models as layers with one logit a class.

    Raises:
        TypeError: for models that are not of dense layers.
    """
    if isinstance(models, DenseModels):
        return models
    if isinstance(models, LogisticModels):
        weight = torch.from_numpy(models.coefficients)
        if weight.shape[2] == 1:  # the logit of the second class: both move by half of it
            weight = torch.cat([-weight / 2, weight / 2], dim=2)
        return DenseModels([_one_layer(weight)])
    if isinstance(models, NetworkModels) and isinstance(models.networks, Perceptrons):
        layers = as_layers(models.parameters)
        if len(layers) > 1:
            return DenseModels(layers)
        return DenseModels([_one_layer(torch.cat([layers[0].weight, layers[0].bias], dim=1))])
    raise TypeError(f"{type(models).__name__} are not models of dense layers.")


def with_ones(features: Features) -> Features:
    """The rows and a column of ones, whose weight is the bias."""
    return np.concatenate([features, np.ones_like(features[:, :1])], axis=1)


def _one_layer(weight: torch.Tensor) -> Layer:
    return Layer(weight, weight.new_zeros((len(weight), 1, weight.shape[2])))
