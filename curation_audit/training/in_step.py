"""S networks of one kind, trained in step: the rows, the loop over batches, early stopping."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from curation_audit.training.optimisers import Parameters, start
from curation_audit.training.recipe import Recipe
from curation_audit.training.spectral import Scale
from curation_audit.types import Indices, Mask

ROWS_PER_PIECE = 256


@dataclass(frozen=True, slots=True)
class Examples:
    """The rows of S shadows as places in one set, so that none is copied.

    Shapes: ``rows`` (m, d), ``targets`` one-hot (m, C), ``index`` int64 (S, k_max) and ``real``
    bool (S, k_max); padding is not real and never counts.
    """

    rows: Tensor
    targets: Tensor
    index: Tensor
    real: Mask


@dataclass(frozen=True, slots=True)
class Validation:
    """Public rows (v, d), one-hot targets (v, C), and for how many epochs nothing may improve."""

    rows: Tensor
    targets: Tensor
    patience: int


class Networks(Protocol):
    """S networks of one kind as functions of their parameters.

    ``smallest_batch``: how many rows a step needs at least; shadows with fewer rest. ``state``
    is what else changes while they train, such as running means; each tensor (S, ...).
    """

    @property
    def smallest_batch(self) -> int:
        """Rows."""
        ...

    def logits(self, parameters: Parameters, rows: Tensor) -> Tensor:
        """Predictions for rows that all share: (b, d) -> (S, b, C)."""
        ...

    def gradients(
        self, parameters: Parameters, rows: Tensor, targets: Tensor, share: Tensor
    ) -> Parameters:
        """Of ``sum_i share[s, i] * cross_entropy_i``: (S, b, d), (S, b, C), (S, b)."""
        ...

    def state(self) -> Parameters:
        """A copy of what else changes."""
        ...


@dataclass(frozen=True, slots=True)
class Trained:
    """Parameters and state at the end, or at the best epoch."""

    parameters: Parameters
    state: Parameters


def train_in_step(
    networks: Networks,
    parameters: Parameters,
    examples: Examples,
    orders: Indices,
    recipe: Recipe,
    validation: Validation | None = None,
    scales: Sequence[Scale] | None = None,
) -> Trained:
    """Train all shadows in step.

    Args:
        networks: what they compute.
        parameters: initial ones, each (S, ...).
        examples: every shadow's rows.
        orders: int64 (epochs, S, k_max): each shadow's order of its rows, by epoch.
        recipe: batches, optimiser and learning rates.
        validation: rows to stop early by; a shadow that has stopped rests.
        scales: what multiplies the recipe's numbers at each parameter, if anything does.

    A shadow with fewer rows has fewer batches in an epoch and rests in the others.
    """
    rows, targets, index = examples.rows, examples.targets, examples.index
    shadow = torch.arange(len(index), device=rows.device)[:, None]
    counts = torch.as_tensor(examples.real, dtype=rows.dtype, device=rows.device)
    running = torch.ones(len(index), dtype=torch.bool, device=rows.device)
    optimiser = start(recipe, parameters, scales)
    best = None if validation is None else Best(validation, Trained(parameters, networks.state()))
    for epoch, order in enumerate(torch.as_tensor(orders, device=rows.device)):
        for begin in range(0, order.shape[1], recipe.batch_size):
            batch = order[:, begin : begin + recipe.batch_size]
            present = counts[shadow, batch]
            n_present = present.sum(dim=1)
            awake = running & (n_present >= networks.smallest_batch)
            if not awake.any():
                continue
            share = present / n_present.clamp(min=1)[:, None]
            at = index[shadow, batch]
            found = networks.gradients(parameters, rows[at], targets[at], share)
            parameters = optimiser.step(parameters, found, awake, recipe.rate(epoch))
        if best is not None:
            running = best.seen(networks, parameters)
            if not running.any():
                break
    return Trained(parameters, networks.state()) if best is None else best.trained


class Best:
    """The best epoch of every shadow so far; of equal losses the earlier one."""

    def __init__(self, validation: Validation, initial: Trained) -> None:
        """Nothing seen yet."""
        like = initial.parameters[0]
        self.validation, self.trained, self.epoch = validation, initial, 0
        self.loss = torch.full((len(like),), torch.inf, dtype=like.dtype, device=like.device)
        self.since = torch.zeros(len(like), dtype=torch.int64, device=like.device)

    def seen(self, networks: Networks, parameters: Parameters) -> Tensor:
        """Look at the end of an epoch; which shadows go on, bool (S,)."""
        loss = mean_loss(networks, parameters, self.validation)
        # the first epoch counts whatever its loss, so that one that diverges shows
        better = (loss < self.loss) | (self.epoch == 0)
        self.epoch += 1
        self.loss = torch.where(better, loss, self.loss)
        self.since = torch.where(better, 0, self.since + 1)

        def kept(now: Parameters, before: Parameters) -> Parameters:
            return tuple(
                torch.where(better.view(-1, *(1,) * (new.ndim - 1)), new, old)
                for new, old in zip(now, before, strict=True)
            )

        self.trained = Trained(
            kept(parameters, self.trained.parameters), kept(networks.state(), self.trained.state)
        )
        return self.since < self.validation.patience


def mean_loss(networks: Networks, parameters: Parameters, validation: Validation) -> Tensor:
    """The mean cross-entropy of every shadow at the public rows, (S,)."""
    total = torch.zeros(len(parameters[0]), device=validation.rows.device)
    total = total.to(validation.rows.dtype)
    for begin in range(0, len(validation.rows), ROWS_PER_PIECE):
        piece = slice(begin, begin + ROWS_PER_PIECE)
        logits = networks.logits(parameters, validation.rows[piece])
        likely = torch.log_softmax(logits, dim=2) * validation.targets[piece]
        total = total - likely.sum(dim=(1, 2))
    return total / len(validation.rows)


def all_logits(networks: Networks, parameters: Parameters, rows: Tensor) -> Tensor:
    """Predictions for rows that all share, piece by piece: (rows, d) -> (S, rows, C)."""
    starts = range(0, max(1, len(rows)), ROWS_PER_PIECE)
    pieces = [networks.logits(parameters, rows[at : at + ROWS_PER_PIECE]) for at in starts]
    return torch.cat(pieces, dim=1)


def weighted_loss(logits: Tensor, targets: Tensor, share: Tensor) -> Tensor:
    """The sum over all shadows of ``sum_i share[s, i] * cross_entropy_i``."""
    likely = (torch.log_softmax(logits, dim=2) * targets).sum(dim=2)
    return -(share * likely).sum()
