"""How networks are trained: batches, optimiser, learning rates, and when to stop."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from curation_audit import checks

OptimiserName: TypeAlias = Literal["sgd", "adamw", "muon"]
ScheduleName: TypeAlias = Literal["constant", "cosine", "linear", "step"]
OPTIMISERS: tuple[OptimiserName, ...] = ("sgd", "adamw", "muon")
SCHEDULES: tuple[ScheduleName, ...] = ("constant", "cosine", "linear", "step")
MOMENTUM = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlyStopping:
    """Keep the weights of the epoch with the least loss on rows that nobody trains on.

    ``share`` of the pool, by a keyed hash of the ids, is set apart: the same public rows for every
    shadow, whoever picked them, so that what is looked at before stopping says nothing about the
    private set but through the weights themselves. Training ends ``patience`` epochs after the
    best one.
    """

    share: float = 0.1
    patience: int = 5

    def __post_init__(self) -> None:
        """Check the settings."""
        checks.in_open_unit(share=self.share)
        checks.positive(patience=self.patience)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Training by the mean cross-entropy of batches; models add what they are made of.

    ``sgd`` takes ``momentum``, and ``weight_decay`` is added to its gradient; ``adamw`` (Loshchilov
    & Hutter 2019) has torch's betas and epsilon, and weights decay by themselves; ``muon`` moves
    every matrix by its orthogonalised Nesterov ``momentum``, and weights decay by themselves, too.
    The rate is fixed within an epoch: after ``warmup`` epochs of a linear rise it stays
    (``constant``), falls to 0 by half a cosine wave or by a line, or falls to ``step_factor`` of
    itself every ``step_epochs``.
    """

    betas: ClassVar[tuple[float, float]] = (0.9, 0.999)
    epsilon: ClassVar[float] = 1e-8
    epochs: int = 30
    batch_size: int = 64
    learning_rate: float = 0.05
    momentum: float = MOMENTUM
    weight_decay: float = 1e-4
    optimiser: OptimiserName = "sgd"
    schedule: ScheduleName = "constant"
    warmup: int = 0
    step_epochs: int = 10
    step_factor: float = 0.1
    stop: EarlyStopping | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        checks.positive(
            epochs=self.epochs, batch_size=self.batch_size, learning_rate=self.learning_rate
        )
        checks.positive(step_epochs=self.step_epochs, step_factor=self.step_factor)
        checks.one_of("train.optimiser", self.optimiser, OPTIMISERS)
        checks.one_of("train.schedule", self.schedule, SCHEDULES)
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), got {self.momentum}.")
        if self.optimiser == "adamw" and self.momentum != MOMENTUM:
            raise ValueError("momentum is of sgd; adamw has betas of its own.")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay must be 0 or more, got {self.weight_decay}.")
        if not 0 <= self.warmup < self.epochs:
            raise ValueError(f"warmup must be in 0 to {self.epochs - 1} epochs, got {self.warmup}.")

    def rate(self, epoch: int) -> float:
        """The learning rate of an epoch, counted from 0."""
        if epoch < self.warmup:
            return self.learning_rate * (epoch + 1) / (self.warmup + 1)
        passed = epoch - self.warmup
        share = passed / (self.epochs - self.warmup)
        factors = {
            "constant": 1.0,
            "cosine": (1 + math.cos(math.pi * share)) / 2,
            "linear": 1 - share,
            "step": self.step_factor ** (passed // self.step_epochs),
        }
        return self.learning_rate * factors[self.schedule]
