"""A multilayer perceptron on the picked rows."""

from dataclasses import dataclass
from typing import ClassVar

from curation_audit import checks
from curation_audit.observations import Selection
from curation_audit.pipelines.base import FittedModels, Rows
from curation_audit.pipelines.downstream.networks import fit_networks, task_of
from curation_audit.streams import ShadowStreams
from curation_audit.training.mlp import (
    Perceptrons,
    as_parameters,
    initial_layers,
    train_perceptrons,
)
from curation_audit.training.recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Mlp(Recipe):
    """ReLU network of dense layers, trained by the recipe's settings."""

    name: ClassVar[str] = "mlp"
    hidden: tuple[int, ...] = (128,)
    device: str = "auto"

    def __post_init__(self) -> None:
        """Check the settings."""
        Recipe.__post_init__(self)
        for width in self.hidden:
            checks.positive(hidden=width)

    def fit(
        self, pool: Rows, selection: Selection, n_classes: int, *, streams: ShadowStreams
    ) -> FittedModels:
        """All S networks at once."""
        task = task_of(pool, selection, n_classes, self, self.device)
        widths = (pool.features.shape[1], *self.hidden, n_classes)
        layers = initial_layers(widths, streams.generators("initial weights"), task.examples.rows)
        start = as_parameters(layers)
        return fit_networks(Perceptrons(), start, task, self, streams, train_perceptrons)
