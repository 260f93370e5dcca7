"""TRAK's features of rows: projected gradients of models of the pool, whitened by the pool."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from curation_audit import checks
from curation_audit.pipelines.base import Rows
from curation_audit.pipelines.scorers.gradient_kernel import Memo, check_finite, pool_labels
from curation_audit.storage import array_digest
from curation_audit.training.device import resolve_device
from curation_audit.training.gradients import (
    Parameters,
    Projection,
    cross_entropy,
    log_odds,
    logits,
    n_parameters,
    on_device,
    projected_gradients,
)
from curation_audit.training.public_model import Network, Training, fit_models, one_hot
from curation_audit.types import Features, Floats, Labels


@dataclass(frozen=True, slots=True, kw_only=True)
class TrakSettings:
    """What shapes the features.

    ``models``: M, each trained on a random half of the pool. ``hidden``: widths of their hidden
    layers; none is a logistic regression, for which ``epochs`` and ``learning_rate`` do not
    matter. ``projection``: the length of a gradient after its random projection. ``damping``:
    lambda, as a share of the mean eigenvalue of ``Phi' Phi``.
    """

    models: int = 2
    hidden: tuple[int, ...] = ()
    epochs: int = 20
    learning_rate: float = 0.05
    projection: int = 128
    damping: float = 0.01
    device: str = "auto"

    def __post_init__(self) -> None:
        """Check the numbers."""
        checks.positive(
            models=self.models,
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            projection=self.projection,
            damping=self.damping,
        )
        for width in self.hidden:
            checks.positive(hidden=width)


@dataclass(frozen=True, slots=True, eq=False)
class TrakMap:
    """TRAK (Park et al. 2023, section 3.2) as an inner product of two public maps.

    With ``phi_m(z) = P' grad f(z; theta_m) / sqrt(p)``, f the log-odds of the label, and
    ``K_m = Phi_m' Phi_m + lambda I`` over the pool, the score of a pool row x for a row t is
    ``mean_m phi_m(x)' K_m^-1 phi_m(t)`` times ``mean_m (1 - p_m(label of x))``. Here both sides
    are multiplied by a root of ``K_m^-1``, so that a query and a contribution of the same row point
    the same way. ``models`` hold weights and biases in turn, ``roots`` (p, p).
    """

    models: tuple[Network, ...]
    roots: tuple[Floats, ...]
    projection: int
    device: str
    memo: Memo = field(default_factory=Memo)

    @classmethod
    def of_pool(cls, settings: TrakSettings, pool: Rows, name: str) -> "TrakMap":
        """Train the models, and take the pool's second moments of gradients."""
        labels = pool_labels(pool, name)
        rows = torch.tensor(pool.features, device=resolve_device(settings.device))
        training = Training(
            hidden=settings.hidden, epochs=settings.epochs, learning_rate=settings.learning_rate
        )
        n_classes = int(labels.max()) + 1
        models = fit_models(rows, labels, n_classes, settings.models, training)
        check_finite(models)
        targets = one_hot(labels, n_classes, rows)
        roots = []
        for m, model in enumerate(models):
            phi = _features(m, on_device(model, rows), rows, targets, settings.projection)
            moment = sum((one.double().T @ one.double()).cpu().numpy() for one in phi)
            roots.append(_root(np.asarray(moment), settings.damping))
        return cls(tuple(models), tuple(roots), settings.projection, settings.device)

    def own_labels(self, features: Features) -> Labels:
        """The likeliest class by the models' mean probability."""
        rows, models = self._on_device(features)
        mean = torch.stack([torch.softmax(logits(one, rows), dim=1) for one in models]).mean(dim=0)
        found: Labels = mean.argmax(dim=1).cpu().numpy()
        return found

    def query(self, features: Features, labels: Labels | None) -> Features:
        """``mean (1 - p_m) / M`` times the whitened gradients of all models, (rows, M p)."""
        known = self.own_labels(features) if labels is None else labels
        return self.memo.get("query", features, known, lambda: self._query(features, known))

    def contribution(self, features: Features, labels: Labels | None) -> Features:
        """The whitened gradients of all models, (rows, M p)."""
        known = self.own_labels(features) if labels is None else labels
        return self.memo.get("rows", features, known, lambda: self._whitened(features, known))

    def losses(self, features: Features, labels: Labels | None) -> Features:
        """The models' mean cross-entropy of every row, (rows,)."""
        known = self.own_labels(features) if labels is None else labels
        found: Features = self._cross_entropies(features, known).mean(dim=0).cpu().numpy()
        return found

    def describe(self) -> dict[str, Any]:
        """Digests of models and roots."""
        parts = {
            f"{m} {i}": part for m, one in enumerate(self.models) for i, part in enumerate(one)
        }
        roots = {str(m): root for m, root in enumerate(self.roots)}
        return {"models": array_digest(parts), "roots": array_digest(roots)}

    def _query(self, features: Features, labels: Labels) -> Features:
        out_to_loss = -torch.expm1(-self._cross_entropies(features, labels)).mean(dim=0)
        scale: Features = out_to_loss.cpu().numpy() / len(self.models)
        return self._whitened(features, labels) * scale[:, None]

    def _cross_entropies(self, features: Features, labels: Labels) -> Tensor:
        """Of every model at every row, (M, rows)."""
        rows, models = self._on_device(features)
        targets = self._targets(labels, rows)
        return torch.stack([cross_entropy(one, rows, targets) for one in models])

    def _whitened(self, features: Features, labels: Labels) -> Features:
        rows, models = self._on_device(features)
        targets = self._targets(labels, rows)
        whitened = np.empty((len(rows), sum(len(root) for root in self.roots)), features.dtype)
        column = 0
        for m, (model, root) in enumerate(zip(models, self.roots, strict=True)):
            whiten = torch.as_tensor(root, dtype=rows.dtype, device=rows.device)
            row = 0
            for phi in _features(m, model, rows, targets, self.projection):
                place = whitened[row : row + len(phi), column : column + len(root)]
                place[:] = (phi @ whiten).cpu().numpy()
                row += len(phi)
            column += len(root)
        return whitened

    def _targets(self, labels: Labels, rows: Tensor) -> Tensor:
        return one_hot(labels, len(self.models[0][-1]), rows)

    def _on_device(self, features: Features) -> tuple[Tensor, list[Parameters]]:
        rows = torch.tensor(features, device=resolve_device(self.device))
        return rows, [on_device(one, rows) for one in self.models]


def _features(
    m: int, model: Parameters, rows: Tensor, targets: Tensor, size: int
) -> Iterator[Tensor]:
    """``phi_m`` of all rows in blocks; each model has a projection of its own."""
    projection = Projection(n_parameters(model), size, index=m)
    return projected_gradients(log_odds, model, rows, targets, projection)


def _root(moment: Floats, damping: float) -> Floats:
    """R (p, p) with ``R R' = (moment + lambda I)^-1``."""
    values, vectors = np.linalg.eigh(moment)
    ridge = damping * values.mean()
    root: Floats = vectors / np.sqrt(np.maximum(values, 0) + (ridge if ridge > 0 else 1))
    return root
