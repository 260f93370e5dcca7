"""Models of the labelled pool alone, whose gradients rank rows.

Nothing private enters, so they are the same for every shadow; their draws come from public streams.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from curation_audit.streams import Streams
from curation_audit.training.in_step import Examples
from curation_audit.training.logistic import LogisticProblems, fit_logistic
from curation_audit.training.mlp import (
    Layer,
    gradients,
    initial_layers,
    row_orders,
    train,
)
from curation_audit.training.recipe import Recipe
from curation_audit.types import Features, Indices, Labels

SHARE_OF_ROWS = 0.5
MOST_ROWS = 50_000
L2 = 1.0
BATCH_SIZE = 64
MOMENTUM, WEIGHT_DECAY = 0.9, 1e-4
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
PUBLIC = Streams(0)

Network: TypeAlias = tuple[Features, ...]  # weights (i, o) and biases (o,) in turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """A network without hidden layers is a logistic regression."""

    hidden: tuple[int, ...]
    epochs: int
    learning_rate: float


def halves(n_rows: int, n_models: int) -> Indices:
    """The rows of each model, half of all or ``MOST_ROWS``, ascending: int64 (M, k)."""
    k = min(MOST_ROWS, max(1, round(SHARE_OF_ROWS * n_rows)))
    draws = [PUBLIC.generator("public rows", m).permutation(n_rows)[:k] for m in range(n_models)]
    return np.sort(np.stack(draws), axis=1)


def fit_models(
    rows: Tensor, labels: Labels, n_classes: int, n_models: int, training: Training
) -> list[Network]:
    """Models on random halves of the rows (m, d), as TRAK's estimator wants them.

    A regression is solved exactly (penalty 1); a network is trained by momentum SGD.
    """
    chosen = halves(len(rows), n_models)
    if not training.hidden:
        return _regressions(rows, labels, n_classes, chosen)
    targets = one_hot(labels, n_classes, rows)
    index = torch.as_tensor(chosen, device=rows.device)
    real = np.ones(chosen.shape, dtype=bool)
    of_models = [PUBLIC.generator("public weights", m) for m in range(n_models)]
    orders = [PUBLIC.generator("public row order", m) for m in range(n_models)]
    layers = train(
        initial_layers((rows.shape[1], *training.hidden, n_classes), of_models, rows),
        Examples(rows, targets, index, real),
        row_orders(real, training.epochs, orders),
        Recipe(
            epochs=training.epochs,
            batch_size=BATCH_SIZE,
            learning_rate=training.learning_rate,
            momentum=MOMENTUM,
            weight_decay=WEIGHT_DECAY,
        ),
    )
    return [_network(layers, m) for m in range(n_models)]


def one_hot(labels: Labels, n_classes: int, like: Tensor) -> Tensor:
    """int64 (rows,) -> (rows, C) of the kind of ``like``."""
    codes = torch.tensor(labels, device=like.device)
    return torch.nn.functional.one_hot(codes, n_classes).to(like.dtype)


def _network(layers: list[Layer], m: int) -> Network:
    """Weights and biases of one of several networks, in turn."""
    parts = [part for one in layers for part in (one.weight[m], one.bias[m, 0])]
    return tuple(part.cpu().numpy() for part in parts)


def _regressions(rows: Tensor, labels: Labels, n_classes: int, chosen: Indices) -> list[Network]:
    weights = np.zeros((len(chosen), len(rows)))
    np.put_along_axis(weights, chosen, 1, axis=1)
    design = torch.cat([rows, torch.ones_like(rows[:, :1])], dim=1)
    targets = one_hot(labels, n_classes, rows)
    found = fit_logistic(
        LogisticProblems(
            design=design,
            targets=(targets[:, 1:] if n_classes == 2 else targets)[None],
            weights=torch.as_tensor(weights, dtype=rows.dtype, device=rows.device),
            penalty=torch.full_like(design[0], L2),
        )
    )
    if n_classes == 2:  # the logit of the first class is 0
        found = torch.cat([torch.zeros_like(found), found], dim=2)
    return [(one[:-1], one[-1]) for one in found.cpu().numpy()]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A network at the end of an epoch, the state of Adam, and the epoch's mean learning rate.

    ``mean`` and ``square`` (P,) are Adam's running moments after ``n_steps``, not yet corrected.
    """

    network: Network
    mean: Features
    square: Features
    n_steps: int
    learning_rate: float

    def direction(self, gradients: Tensor) -> Tensor:
        """Where Adam's next step would go from each gradient, (rows, P) -> (rows, P)."""
        mean, square = (torch.as_tensor(state).to(gradients) for state in (self.mean, self.square))
        mean = BETA_1 * mean + (1 - BETA_1) * gradients
        square = BETA_2 * square + (1 - BETA_2) * gradients.square()
        return _adam(mean, square, self.n_steps + 1)


def _adam(mean: Tensor, square: Tensor, n_steps: int) -> Tensor:
    """The direction of step ``n_steps`` (Kingma & Ba 2015, algorithm 1)."""
    corrected = (square / (1 - BETA_2**n_steps)).sqrt()
    return mean / (1 - BETA_1**n_steps) / (corrected + EPSILON)


def fit_checkpoints(
    rows: Tensor, labels: Labels, n_classes: int, training: Training
) -> list[Checkpoint]:
    """One network on half of the rows by Adam, its rate falling to 0: one checkpoint an epoch."""
    chosen = torch.as_tensor(halves(len(rows), 1)[0], device=rows.device)
    rows, targets = rows[chosen], one_hot(labels, n_classes, rows)[chosen]
    widths = (rows.shape[1], *training.hidden, n_classes)
    layers = initial_layers(widths, [PUBLIC.generator("public weights", 0)], rows)
    weights = _flat(layers)
    mean, square = torch.zeros_like(weights), torch.zeros_like(weights)
    n_batches = -(-len(rows) // BATCH_SIZE)
    n_steps, found = 0, []
    for epoch in range(training.epochs):
        rates = 1 - np.arange(n_steps, n_steps + n_batches) / (training.epochs * n_batches)
        for rate, batch in zip(rates, _batches(len(rows), epoch), strict=True):
            gradient = _batch_gradient(layers, rows[batch], targets[batch])
            n_steps += 1
            mean = BETA_1 * mean + (1 - BETA_1) * gradient
            square = BETA_2 * square + (1 - BETA_2) * gradient.square()
            weights = weights - training.learning_rate * rate * _adam(mean, square, n_steps)
            layers = _unflat(weights, layers)
        rate = training.learning_rate * float(rates.mean())
        state = (mean.cpu().numpy(), square.cpu().numpy())
        found.append(Checkpoint(_network(layers, 0), *state, n_steps, rate))
    return found


def _batches(n_rows: int, epoch: int) -> Iterator[Indices]:
    order = PUBLIC.generator("public row order", 0, epoch).permutation(n_rows)
    for start in range(0, n_rows, BATCH_SIZE):
        yield order[start : start + BATCH_SIZE]


def _batch_gradient(layers: list[Layer], rows: Tensor, targets: Tensor) -> Tensor:
    """Of the mean cross-entropy, flat (P,)."""
    share = torch.full_like(rows[:, 0], 1 / len(rows))
    return _flat(gradients(layers, rows[None], targets[None], share[None]))


def _flat(layers: list[Layer]) -> Tensor:
    return torch.cat([part.flatten() for one in layers for part in (one.weight, one.bias)])


def _unflat(flat: Tensor, like: list[Layer]) -> list[Layer]:
    sizes = [part.numel() for one in like for part in (one.weight, one.bias)]
    parts = iter(torch.split(flat, sizes))
    return [Layer(next(parts).view_as(o.weight), next(parts).view_as(o.bias)) for o in like]
