"""A multilayer perceptron on the picked rows."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from curation_audit import checks
from curation_audit.observations import Selection
from curation_audit.pipelines.base import FittedModels, Rows
from curation_audit.pipelines.downstream.networks import fit_networks, task_of
from curation_audit.streams import ShadowStreams
from curation_audit.training.mlp import (
    Perceptrons,
    WidthRule,
    as_parameters,
    train_perceptrons,
)
from curation_audit.training.recipe import Recipe
from curation_audit.training.spectral import BASE_WIDTH, Parametrization


@dataclass(frozen=True, slots=True, kw_only=True)
class Mlp(Recipe):
    """ReLU network of dense layers, trained by the recipe's settings.

    ``parametrization: spectral`` makes ``learning_rate`` that of hidden layers ``base_width`` wide,
    which then serves every width.
    """

    name: ClassVar[str] = "mlp"
    hidden: tuple[int, ...] = (128,)
    parametrization: Parametrization = "standard"
    base_width: int = BASE_WIDTH
    device: str = "auto"

    def __post_init__(self) -> None:
        """Check the settings."""
        Recipe.__post_init__(self)
        for width in self.hidden:
            checks.positive(hidden=width)
        self.rule()

    def rule(self) -> WidthRule:
        """How initial weights and rates follow from the widths."""
        return WidthRule(parametrization=self.parametrization, base_width=self.base_width)

    def fit(
        self, pool: Rows, selection: Selection, n_classes: int, *, streams: ShadowStreams
    ) -> FittedModels:
        """All S networks at once."""
        task = task_of(pool, selection, n_classes, self, self.device)
        widths = (pool.features.shape[1], *self.hidden, n_classes)
        rule, generators = self.rule(), streams.generators("initial weights")
        start = as_parameters(rule.dense(widths, generators, task.examples.rows))
        train = partial(train_perceptrons, scales=rule.dense_scales(self, widths))
        return fit_networks(Perceptrons(), start, task, self, streams, train)
