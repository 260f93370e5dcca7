"""What a pipeline's training is tried on at several widths: rows of the public pool, and no other.

A model learns the pool's labels. A scorer tells private rows from the pool's; its public stand-in
tells two halves of the pool apart. Rates that are chosen so cost no budget. On the private rows
they would, however narrow the network.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from curation_audit.checks import SettingError
from curation_audit.pipelines.base import Rows
from curation_audit.pipelines.downstream.mlp import Mlp
from curation_audit.pipelines.rules.cut import tie_order
from curation_audit.pipelines.scorers.mlp_classifier import MlpClassifier
from curation_audit.training.mlp import WidthRule
from curation_audit.training.recipe import Recipe
from curation_audit.training.widths import PublicTask, Trial, halves_of

NEEDED = {
    "model": ("train", "train: {model: mlp, ...}, or --part scorer"),
    "scorer": ("curate.scorer", "scorer: {method: mlp_classifier, ...}, or --part model"),
}


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

    def described(self) -> dict[str, Any]:
        """What a result says of it."""
        return {
            "parametrization": self.rule.parametrization,
            "base_width": self.rule.base_width,
            "optimiser": self.recipe.optimiser,
            "learning_rate": self.recipe.learning_rate,
            "n_rows": len(self.task.features),
            "rows": "public pool only",
        }


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
