"""What all networks do alike: rows to learn from, rows to stop by, probabilities."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from curation_audit.checks import SettingError
from curation_audit.observations import Selection
from curation_audit.pipelines.base import Rows
from curation_audit.pipelines.downstream.logistic import softmax
from curation_audit.pipelines.rules.cut import tie_hashes
from curation_audit.streams import ShadowStreams
from curation_audit.training.device import resolve_device, torch_dtype
from curation_audit.training.in_step import (
    Examples,
    Networks,
    Trained,
    Validation,
    all_logits,
    train_in_step,
)
from curation_audit.training.mlp import row_orders
from curation_audit.training.optimisers import Parameters
from curation_audit.training.recipe import EarlyStopping, Recipe
from curation_audit.types import Features, Indices, Mask, Probabilities

HASHES = 2.0**64
N = TypeVar("N", bound=Networks)


@dataclass(frozen=True, slots=True)
class Task:
    """What S networks learn from, and what they stop by."""

    examples: Examples
    validation: Validation | None


def task_of(pool: Rows, selection: Selection, n_classes: int, recipe: Recipe, device: str) -> Task:
    """The picked rows of every shadow as places in the pool; none of them is copied.

    Raises:
        ValueError: if the pool has no labels.
        SettingError: if no row of the pool falls into the share to stop by.
    """
    if pool.labels is None:
        raise ValueError("a downstream model needs labels of the pool.")
    place = resolve_device(device)
    rows = torch.as_tensor(pool.features, device=place)
    labels = torch.as_tensor(pool.labels, device=place)
    targets = torch.nn.functional.one_hot(labels, n_classes).to(torch_dtype(pool.features))
    validation = None
    if recipe.stop is not None:
        apart = set_apart(pool, recipe.stop)
        selection = Selection.from_mask(selection.mask() & ~apart)
        held = torch.as_tensor(apart, device=place)
        validation = Validation(rows[held], targets[held], recipe.stop.patience)
    indices, real = selection.padded()
    index = torch.as_tensor(indices, device=place)
    return Task(Examples(rows, targets, index, real), validation)


def set_apart(pool: Rows, stop: EarlyStopping) -> Mask:
    """The pool rows that nobody trains on, bool (m,): whether a row is one depends on its id only.

    Raises:
        SettingError: if there is none.
    """
    apart: Mask = tie_hashes(pool.ids, "early stopping") < stop.share * HASHES
    if not apart.any():
        raise SettingError(
            "train.stop.share",
            f"found {stop.share}, by which none of the {len(pool)} pool rows is set apart",
            "use a larger share, or no early stopping",
        )
    return apart


def fit_networks(
    networks: N,
    parameters: Parameters,
    task: Task,
    recipe: Recipe,
    streams: ShadowStreams,
    train: Callable[
        [N, Parameters, Examples, Indices, Recipe, Validation | None], Trained
    ] = train_in_step,
) -> "NetworkModels":
    """Train S networks at once; each shadow's order of rows comes from its own stream."""
    orders = row_orders(task.examples.real, recipe.epochs, streams.generators("row order"))
    trained = train(networks, parameters, task.examples, orders, recipe, task.validation)
    return NetworkModels(networks, trained.parameters)


@dataclass(frozen=True, slots=True)
class NetworkModels:
    """S networks of one kind."""

    networks: Networks
    parameters: Parameters

    def predict_proba(self, features: Features) -> Probabilities:
        """(rows, d) -> float32 (S, rows, C)."""
        like = self.parameters[0]
        rows = torch.tensor(features, dtype=like.dtype, device=like.device)
        with torch.no_grad():
            return softmax(all_logits(self.networks, self.parameters, rows).cpu().numpy())
