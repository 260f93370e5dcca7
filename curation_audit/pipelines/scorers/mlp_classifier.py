"""A private-against-pool perceptron: the heads on embeddings of educational-value filters."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch

from curation_audit import checks
from curation_audit.pipelines.base import Family, FittedScorers, PrivateRows, Rows
from curation_audit.pipelines.scorers.classifier import background_rows, check_background
from curation_audit.pipelines.scorers.row_keys import row_keys
from curation_audit.results import Adjacency
from curation_audit.streams import ShadowStreams
from curation_audit.training.device import resolve_device
from curation_audit.training.in_step import Examples
from curation_audit.training.mlp import (
    Layer,
    WidthRule,
    forward,
    row_orders,
    train,
)
from curation_audit.training.recipe import Recipe
from curation_audit.training.spectral import BASE_WIDTH, PARAMETRIZATIONS, Parametrization
from curation_audit.types import Features, Inclusion, Indices, Labels, Mask, Scores

MOST_NUMBERS = 2**25  # of row orders, and of activations, at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class MlpClassifier:
    """ReLU network of private rows (1) against pool rows (0); the score is the logit.

    Trained by momentum SGD on the mean cross-entropy of each batch; initial weights and orders of
    rows come from the curation's own stream. ``background`` as for ``classifier``: SGD sees as
    many pool rows as there are, so that fewer of them make the classes more alike in size.
    ``parametrization: spectral`` makes ``learning_rate`` that of hidden layers ``base_width`` wide,
    which then serves every width.
    """

    name: ClassVar[str] = "mlp_classifier"
    family: ClassVar[Family] = "other"
    adjacency: ClassVar[Adjacency] = "add_remove"
    hidden: tuple[int, ...] = (32,)
    epochs: int = 10
    batch_size: int = 64
    learning_rate: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 1e-4
    background: Literal["all"] | int = "all"
    parametrization: Parametrization = "standard"
    base_width: int = BASE_WIDTH
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
        check_background(self.background)
        checks.one_of("curate.scorer.parametrization", self.parametrization, PARAMETRIZATIONS)
        self.rule()

    def rule(self) -> WidthRule:
        """How initial weights and rates follow from the widths."""
        return WidthRule(parametrization=self.parametrization, base_width=self.base_width)

    def recipe(self) -> Recipe:
        """How it is trained."""
        return Recipe(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
        )

    def embed(self, features: Features, labels: Labels | None = None) -> Features:
        """The features."""
        return features

    def unembed(self, embedded: Features, length: float) -> Features:
        """The rows themselves."""
        return embedded

    def fit(
        self, private: PrivateRows, inclusion: Inclusion, pool: Rows, *, streams: ShadowStreams
    ) -> FittedScorers:
        """All S networks in step, some shadows at a time where orders of rows need much room."""
        # the order in the file does not matter
        by_content = np.argsort(row_keys(private.features), kind="stable")
        background = background_rows(pool, self.background)
        rows = np.concatenate([private.features[by_content], background])
        held = private.row_inclusion(inclusion)[:, by_content]
        real = np.concatenate([held, np.ones((len(held), len(background)), dtype=bool)], axis=1)
        design = torch.as_tensor(rows, device=resolve_device(self.device))
        is_private = torch.arange(len(rows), device=design.device) < len(private)
        targets = torch.stack([~is_private, is_private], dim=1).to(design.dtype)
        rule, recipe, widths = self.rule(), self.recipe(), (rows.shape[1], *self.hidden, 2)
        initial = rule.dense(widths, streams.generators("initial weights"), design)
        generators = streams.generators("row order")
        step = max(1, MOST_NUMBERS // (self.epochs * len(rows)))
        every = torch.arange(len(rows), device=design.device)
        chunks = [
            train(
                [Layer(one.weight[at : at + step], one.bias[at : at + step]) for one in initial],
                Examples(design, targets, every.expand(len(some), -1), some),
                orders_among(some, self.epochs, generators[at : at + step]),
                recipe,
                rule.dense_scales(recipe, widths),
            )
            for at, some in ((at, real[at : at + step]) for at in range(0, len(real), step))
        ]
        return MlpScorers([stacked(layers) for layers in zip(*chunks, strict=True)])

    def linearise(self, private: PrivateRows, pool: Rows) -> None:
        """A network is not linear in the coins."""
        return


@dataclass(frozen=True, slots=True)
class MlpScorers:
    """S networks of two classes."""

    layers: list[Layer]

    def score(self, features: Features, labels: Labels | None = None) -> Scores:
        """The logit of the private class, (rows, d) -> (S, rows)."""
        like = self.layers[0].weight
        n_shadows = like.shape[0]
        scores = np.empty((n_shadows, len(features)), dtype=features.dtype)
        widest = max(one.weight.shape[2] for one in self.layers)
        step = max(1, MOST_NUMBERS // (n_shadows * widest))
        for at in range(0, len(features), step):
            rows = torch.tensor(features[at : at + step], dtype=like.dtype, device=like.device)
            logits = forward(self.layers, rows)[-1]
            scores[:, at : at + step] = (logits[..., 1] - logits[..., 0]).cpu().numpy()
        return scores


def orders_among(real: Mask, epochs: int, generators: list[np.random.Generator]) -> Indices:
    """A fresh order of each shadow's own rows, wherever these stand, int64 (epochs, S, n)."""
    sizes = real.sum(axis=1, keepdims=True)
    at_front = np.arange(real.shape[1]) < sizes
    own_first = np.argsort(~real, axis=1, kind="stable")
    orders = row_orders(at_front, epochs, generators)
    return np.take_along_axis(own_first[None], orders, axis=2)


def stacked(layers: tuple[Layer, ...]) -> Layer:
    """The same layer of several chunks of shadows."""
    return Layer(torch.cat([one.weight for one in layers]), torch.cat([one.bias for one in layers]))
