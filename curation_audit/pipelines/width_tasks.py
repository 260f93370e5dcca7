"""What a pipeline's training is tried on at several widths: rows of the public pool, and no other.

A model learns the pool's labels. A scorer tells private rows from the pool's; its public stand-in
tells two halves of the pool apart. Rates that are chosen so cost no budget. On the private rows
they would, however narrow the network.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from curation_audit.checks import SettingError
from curation_audit.observations import Selection
from curation_audit.pipelines.base import Rows
from curation_audit.pipelines.downstream.cnn import Cnn
from curation_audit.pipelines.downstream.mlp import Mlp
from curation_audit.pipelines.downstream.module import Module
from curation_audit.pipelines.rules.cut import tie_order
from curation_audit.pipelines.scorers.mlp_classifier import MlpClassifier
from curation_audit.streams import Streams
from curation_audit.training.mlp import WidthRule
from curation_audit.training.recipe import Recipe
from curation_audit.training.widths import (
    PublicTask,
    Transfer,
    Trial,
    halves_of,
    lr_transfer_check,
    transfer_of,
)
from curation_audit.types import Floats

NEEDED = {
    "model": ("train", "train: {model: mlp, ...}, or --part scorer"),
    "scorer": ("curate.scorer", "scorer: {method: mlp_classifier, ...}, or --part model"),
}
SMALLEST = np.finfo(np.float32).tiny  # of probabilities whose logarithm is taken


@dataclass(frozen=True, slots=True, kw_only=True)
class WidthProbe:
    """A public task, and how the pipeline trains its network."""

    task: PublicTask
    recipe: Recipe
    rule: WidthRule
    hidden: int
    seed: int

    def trial(self, networks: int) -> Trial:
        """Trained as the recipe says, but for early stopping."""
        return Trial(
            recipe=self.recipe,
            rule=self.rule,
            hidden=self.hidden,
            networks=networks,
            seed=self.seed,
        )

    def few_steps(self, steps: int, networks: int) -> Trial:
        """Some steps on all rows at the recipe's rate."""
        recipe = replace(
            self.recipe,
            epochs=steps,
            batch_size=len(self.task.features),
            schedule="constant",
            warmup=0,
        )
        return replace(self.trial(networks), recipe=recipe)

    def transfer(self, widths: Sequence[int], rates: Sequence[float], networks: int) -> Transfer:
        """Losses at every width and rate.

        Raises:
            ValueError: as ``transfer_of``.
        """
        return lr_transfer_check(self.task, widths, rates, self.trial(networks))

    def described(self) -> dict[str, Any]:
        """What a result says of it."""
        return _described(self.rule, self.recipe, len(self.task.features))


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelProbe:
    """A model that is no perceptron, on labelled public rows: its losses are all that is known."""

    model: Cnn | Module
    pool: Rows
    n_classes: int
    seed: int

    @property
    def recipe(self) -> Recipe:
        """How the model is trained."""
        return self.model

    def transfer(self, widths: Sequence[int], rates: Sequence[float], networks: int) -> Transfer:
        """Losses at every width (a module's, or channels after every convolution) and rate.

        Raises:
            ValueError: as ``transfer_of``.
        """
        return transfer_of(lambda width, rate: self._loss(width, rate, networks), widths, rates)

    def described(self) -> dict[str, Any]:
        """What a result says of it."""
        rule = WidthRule(
            parametrization=self.model.parametrization, base_width=self.model.base_width
        )
        return _described(rule, self.model, len(self.pool))

    def _loss(self, width: int, rate: float, networks: int) -> Floats:
        """Mean cross-entropy of every network after training, (networks,)."""
        model = replace(_of_width(self.model, width), learning_rate=rate)
        everything = Selection.from_mask(np.ones((networks, len(self.pool)), dtype=bool))
        streams = Streams(self.seed).for_shadows("width check", range(networks))
        fitted = model.fit(self.pool, everything, self.n_classes, streams=streams)
        said = fitted.predict_proba(self.pool.features).astype(np.float64)
        own = (said * np.eye(self.n_classes)[self.pool.labels]).sum(axis=2)
        loss: Floats = -np.log(np.maximum(own, SMALLEST)).mean(axis=1)
        return np.where(np.isfinite(loss), loss, np.inf)


def _of_width(model: Cnn | Module, width: int) -> Cnn | Module:
    if isinstance(model, Cnn):
        return replace(model, channels=(width,) * len(model.channels))
    return replace(model, width=width)


def _described(rule: WidthRule, recipe: Recipe, n_rows: int) -> dict[str, Any]:
    return {
        "parametrization": rule.parametrization,
        "base_width": rule.base_width,
        "optimiser": recipe.optimiser,
        "learning_rate": recipe.learning_rate,
        "n_rows": n_rows,
        "rows": "public pool only",
    }


def transfer_probe_of(
    trained: object, pool: Rows, part: str, most_rows: int, seed: int
) -> WidthProbe | ModelProbe:
    """Of a perceptron as ``probe_of``, and of a ``Cnn``, or of a ``Module`` that has a width.

    Raises:
        SettingError: as ``probe_of``.
    """
    if not isinstance(trained, Cnn | Module) or pool.labels is None:
        return probe_of(trained, pool, part, most_rows, seed)
    if isinstance(trained, Module) and trained.width is None:
        raise SettingError("train.width", "is missing", "a module is tried at several: give one")
    chosen = np.flatnonzero(tie_order(pool.ids, seed) < most_rows)
    rows = Rows(tuple(pool.ids[i] for i in chosen), pool.features[chosen], pool.labels[chosen])
    return ModelProbe(
        model=replace(trained, stop=None),
        pool=rows,
        n_classes=int(pool.labels.max()) + 1,
        seed=seed,
    )


def probe_of(trained: object, pool: Rows, part: str, most_rows: int, seed: int) -> WidthProbe:
    """Of a perceptron, as a model (``Mlp``) or as a scorer (``MlpClassifier``).

    Args:
        trained: the pipeline's model or scorer.
        pool: the public rows; some of them are taken by a keyed hash of their ids.
        part: ``model`` or ``scorer``, for what is said of it.
        most_rows: how many rows to take at most.
        seed: of the pipeline.

    Raises:
        SettingError: for any other model or scorer, or one without hidden layers.
    """
    chosen = np.flatnonzero(tie_order(pool.ids, seed) < most_rows)
    if isinstance(trained, Mlp) and trained.hidden and pool.labels is not None:
        labels = pool.labels[chosen]
        n_classes = int(pool.labels.max()) + 1
        task = PublicTask(features=pool.features[chosen], labels=labels, n_classes=n_classes)
        own = {one.name: getattr(trained, one.name) for one in fields(Recipe)}
        recipe = Recipe(**own | {"stop": None})
    elif isinstance(trained, MlpClassifier) and trained.hidden:
        task, recipe = halves_of(pool.features[chosen]), trained.recipe()
    else:
        place, wanted = NEEDED[part]
        raise SettingError(place, "has no perceptron with hidden layers", f"expected {wanted}")
    return WidthProbe(
        task=task, recipe=recipe, rule=trained.rule(), hidden=len(trained.hidden), seed=seed
    )
