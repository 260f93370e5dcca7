"""How sure a classifier of the private rows is of a pool row (cleanlab-style filtering)."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor

from curation_audit import checks
from curation_audit.checks import SettingError
from curation_audit.observations import Selection
from curation_audit.pipelines.base import Family, FittedScorers, PrivateRows, Rows
from curation_audit.results import Adjacency
from curation_audit.streams import ShadowStreams
from curation_audit.training.device import resolve_device
from curation_audit.training.in_step import Examples
from curation_audit.training.logistic import LogisticProblems, fit_logistic
from curation_audit.training.mlp import (
    Layer,
    forward,
    initial_layers,
    row_orders,
    train,
)
from curation_audit.training.recipe import Recipe
from curation_audit.types import Features, Inclusion, Labels, Mask, Scores

Certainty: TypeAlias = Literal["confidence", "margin", "entropy"]
NUMBERS_PER_BLOCK = 2**24
BATCH_SIZE, MOMENTUM, WEIGHT_DECAY = 64, 0.9, 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Confidence:
    """What a classifier that is trained on the private rows alone says of a row and its label y.

    ``score``: ``confidence`` is ``p_y``, ``margin`` ``(p_y - largest other p + 1) / 2``, and
    ``entropy`` one less the entropy of p over ``log C``, whatever y is (Northcutt et al. 2021).
    Without ``hidden`` layers the classifier is a multinomial regression, penalised by
    ``l2 |w|^2 / 2`` with its intercept, so that an empty private set makes all classes alike; with
    them it is trained by momentum SGD for ``epochs`` at ``learning_rate``. C counts the pool's
    labels.
    """

    name: ClassVar[str] = "confidence"
    family: ClassVar[Family] = "other"
    adjacency: ClassVar[Adjacency] = "add_remove"
    score: Certainty = "confidence"
    hidden: tuple[int, ...] = ()
    l2: float = 1.0
    epochs: int = 20
    learning_rate: float = 0.05
    device: str = "auto"

    def __post_init__(self) -> None:
        """Check the words and the numbers."""
        checks.one_of("curate.scorer.score", self.score, get_args(Certainty))
        checks.positive(l2=self.l2, epochs=self.epochs, learning_rate=self.learning_rate)
        for width in self.hidden:
            checks.positive(hidden=width)

    def embed(self, features: Features, labels: Labels | None = None) -> Features:
        """The features and a column of ones: what a linear surrogate sees."""
        return np.concatenate([features, np.ones_like(features[:, :1])], axis=1)

    def unembed(self, embedded: Features, length: float) -> Features:
        """All columns but the ones."""
        return embedded[:, :-1]

    def fit(
        self, private: PrivateRows, inclusion: Inclusion, pool: Rows, *, streams: ShadowStreams
    ) -> FittedScorers:
        """All S classifiers at once.

        Raises:
            SettingError: without labels of the private rows or of the pool.
        """
        labels = _needed("private.columns.label", private.labels)
        n_classes = int(_needed("public.columns.label", pool.labels).max()) + 1
        rows = torch.tensor(private.features, device=resolve_device(self.device))
        codes = torch.tensor(labels, device=rows.device)
        targets = torch.nn.functional.one_hot(codes, n_classes).to(rows.dtype)
        held = private.row_inclusion(inclusion)
        if self.hidden:
            layers = self._networks(rows, targets, held, streams)
        else:
            layers = self._regressions(rows, targets, held)
        return ConfidenceScorers(layers, self.score)

    def linearise(self, private: PrivateRows, pool: Rows) -> None:
        """Probabilities are not linear in the coins."""
        return

    def _regressions(self, rows: Tensor, targets: Tensor, held: Mask) -> list[Layer]:
        """On one shared design, with the inclusion as row weights."""
        n_classes = targets.shape[1]
        design = torch.cat([rows, torch.ones_like(rows[:, :1])], dim=1)
        found = fit_logistic(
            LogisticProblems(
                design=design,
                targets=(targets[:, 1:] if n_classes == 2 else targets)[None],
                weights=torch.as_tensor(held, dtype=rows.dtype, device=rows.device),
                penalty=torch.full_like(design[0], self.l2),
            )
        )
        if n_classes == 2:  # the logit of the first class is 0
            found = torch.cat([torch.zeros_like(found), found], dim=2)
        return [Layer(found[:, :-1], found[:, -1:])]

    def _networks(
        self, rows: Tensor, targets: Tensor, held: Mask, streams: ShadowStreams
    ) -> list[Layer]:
        """On what each shadow holds."""
        indices, real = Selection.from_mask(held).padded()
        widths = (rows.shape[1], *self.hidden, targets.shape[1])
        return train(
            initial_layers(widths, streams.generators("confidence weights"), rows),
            Examples(rows, targets, torch.as_tensor(indices, device=rows.device), real),
            row_orders(real, self.epochs, streams.generators("confidence row order")),
            Recipe(
                epochs=self.epochs,
                batch_size=BATCH_SIZE,
                learning_rate=self.learning_rate,
                momentum=MOMENTUM,
                weight_decay=WEIGHT_DECAY,
            ),
        )


def _needed(path: str, labels: Labels | None) -> Labels:
    if labels is None:
        hint = "name the column of labels"
        raise SettingError(path, "is missing, but confidence learns labels", hint)
    return labels


@dataclass(frozen=True, slots=True)
class ConfidenceScorers:
    """S classifiers, a regression being a network of one layer."""

    layers: list[Layer]
    certainty: Certainty

    def score(self, features: Features, labels: Labels | None = None) -> Scores:
        """(rows, d) -> (S, rows); without labels a row has each classifier's own."""
        like = self.layers[-1].bias
        rows = torch.tensor(features, dtype=like.dtype, device=like.device)
        n_shadows, _, n_classes = like.shape
        width = max(one.bias.shape[2] for one in self.layers)
        step = max(1, NUMBERS_PER_BLOCK // (n_shadows * width))
        scores = np.empty((n_shadows, len(features)), dtype=features.dtype)
        for start in range(0, len(features), step):
            block = slice(start, start + step)
            logits = forward(self.layers, rows[block])[-1]
            known = None if labels is None else torch.tensor(labels[block], device=like.device)
            if known is not None:
                known = torch.nn.functional.one_hot(known, n_classes).bool()
            scores[:, block] = certainty_of(logits, known, self.certainty).cpu().numpy()
        return scores


def certainty_of(logits: Tensor, target: Tensor | None, certainty: Certainty) -> Tensor:
    """(S, rows, C) -> (S, rows); ``target`` bool (rows, C), or the likeliest class without."""
    if certainty == "entropy":
        log_p = torch.log_softmax(logits, dim=2)
        return 1 + (log_p.exp() * log_p).sum(dim=2) / math.log(logits.shape[2])
    p = torch.softmax(logits, dim=2)
    if target is None:
        target = torch.nn.functional.one_hot(p.argmax(dim=2), p.shape[2]).bool()
    own = (p * target).sum(dim=2)
    if certainty == "confidence":
        return own
    return (own - p.masked_fill(target, 0).amax(dim=2) + 1) / 2
