"""Scorers that need labels, for the contract test: labels made from features, plain references.

The references take the trained public models as they are, and do everything after them one row
at a time: gradients by autograd, dense projections, linear systems in place of roots.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from curation_audit.pipelines.base import PrivateRows, Rows
from curation_audit.pipelines.scorers.confidence import Confidence
from curation_audit.pipelines.scorers.d3m import D3m
from curation_audit.pipelines.scorers.less import Less
from curation_audit.pipelines.scorers.trak import Trak
from curation_audit.streams import Streams
from curation_audit.training.gradients import Projection
from tests.pipelines import reference

N_CLASSES = 3
D = 4
STREAMS = Streams(0).for_shadows("test", range(2))
SCORERS = [Trak(models=2, projection=9), D3m(models=2, projection=9), Less(epochs=2, projection=9)]


def labels_of(features: np.ndarray) -> np.ndarray:
    """0, 1 or 2 by two columns."""
    return (features[:, 0] > 0).astype(np.int64) + (features[:, 1] > 0.5)


def labelled(rows: Any) -> Any:
    return replace(rows, labels=labels_of(rows.features))


@dataclass(frozen=True)
class Labelled:
    """A scorer that finds ``labels_of`` wherever it looks, bound to one pool."""

    scorer: Any

    @property
    def name(self) -> str:
        return self.scorer.name

    @property
    def family(self) -> str:
        return self.scorer.family

    def embed(self, features, labels=None):
        return self.scorer.embed(features, labels_of(features))

    def fit(self, private: PrivateRows, inclusion, pool: Rows, *, streams):
        fitted = self.scorer.fit(labelled(private), inclusion, labelled(pool), streams=streams)
        return LabelledScores(fitted)

    def linearise(self, private: PrivateRows, pool: Rows):
        return self.scorer.linearise(labelled(private), labelled(pool))


@dataclass(frozen=True)
class LabelledScores:
    fitted: Any

    def score(self, features, labels=None):
        return self.fitted.score(features, labels_of(features))


def logits_of(network, row: torch.Tensor) -> torch.Tensor:
    *hidden, last = [network[i : i + 2] for i in range(0, len(network), 2)]
    for weight, bias in hidden:
        row = torch.clamp(row @ weight + bias, min=0)
    return row @ last[0] + last[1]


def gradient(network, row: np.ndarray, label: int, output) -> np.ndarray:
    """By autograd, flat; ``output(probabilities, label)``."""
    leaves = [torch.tensor(np.asarray(p, np.float64), requires_grad=True) for p in network]
    odds = torch.exp(logits_of(leaves, torch.tensor(np.asarray(row, np.float64))))
    value = output(odds / odds.sum(), label)
    return np.concatenate([g.numpy().ravel() for g in torch.autograd.grad(value, leaves)])


def log_odds(p: torch.Tensor, label: int) -> torch.Tensor:
    return torch.log(p[label]) - torch.log(sum(p[k] for k in range(len(p)) if k != label))


def loss(p: torch.Tensor, label: int) -> torch.Tensor:
    return -torch.log(p[label])


def probability(network, row: np.ndarray, label: int) -> float:
    wide = torch.tensor(np.asarray(row, np.float64))
    odds = np.exp(logits_of([torch.tensor(p) for p in network], wide).numpy())
    return float(odds[label] / odds.sum())


def dense(n_parameters: int, size: int, index: int) -> np.ndarray:
    """The matrix of a projection."""
    eye = torch.eye(n_parameters, dtype=torch.float64)
    return Projection(n_parameters, size, index).apply(eye).numpy()


def trak_parts(scorer, fitted_pool: np.ndarray):
    """Per model: the network, its projection and ``Phi' Phi + lambda I``."""
    parts = []
    for m, network in enumerate(scorer.map.models):
        n = sum(p.size for p in network)
        project = dense(n, scorer.settings.projection, m)
        phi = np.array(
            [
                gradient(network, x, y, log_odds) @ project
                for x, y in zip(fitted_pool, labels_of(fitted_pool), strict=True)
            ]
        )
        kernel = phi.T @ phi
        ridge = scorer.settings.damping * np.trace(kernel) / len(kernel)
        parts.append((network, project, kernel + ridge * np.eye(len(kernel))))
    return parts


def influences(parts, private: np.ndarray, pool: np.ndarray) -> np.ndarray:
    """``tau(x, t)``, (pool rows, private rows)."""
    found = np.zeros((len(pool), len(private)))
    out_to_loss = np.zeros(len(pool))
    of_pool, of_private = labels_of(pool), labels_of(private)
    for network, project, kernel in parts:
        phi_t = [
            gradient(network, t, y, log_odds) @ project
            for t, y in zip(private, of_private, strict=True)
        ]
        for i, (x, y) in enumerate(zip(pool, of_pool, strict=True)):
            solved = np.linalg.solve(kernel, gradient(network, x, y, log_odds) @ project)
            found[i] += np.array([solved @ phi for phi in phi_t]).reshape(-1) / len(parts)
            out_to_loss[i] += (1 - probability(network, x, y)) / len(parts)
    return found * out_to_loss[:, None]


def trak_scores(parts, private: np.ndarray, pool: np.ndarray) -> list[float]:
    if not len(private):
        return [0.0] * len(pool)
    return influences(parts, private, pool).mean(axis=1).tolist()


def d3m_scores(parts, private: np.ndarray, pool: np.ndarray) -> list[float]:
    groups = labels_of(private)
    tau = influences(parts, private, pool)
    total = np.zeros(len(pool))
    for g in sorted(set(groups.tolist())):
        mine = np.flatnonzero(groups == g)
        losses = [
            np.mean([-np.log(probability(network, private[t], g)) for network, _, _ in parts])
            for t in mine
        ]
        total += np.mean(losses) * tau[:, mine].mean(axis=1) / len(set(groups.tolist()))
    return total.tolist()


def adam_direction(checkpoint, found: np.ndarray) -> np.ndarray:
    step = checkpoint.n_steps + 1
    mean = (0.9 * checkpoint.mean + 0.1 * found) / (1 - 0.9**step)
    square = (0.999 * checkpoint.square + 0.001 * found**2) / (1 - 0.999**step)
    return mean / (np.sqrt(square) + 1e-8)


def less_scores(scorer, private: np.ndarray, pool: np.ndarray) -> list[float]:
    if not len(private):
        return [0.0] * len(pool)
    checkpoints, groups = scorer.map.checkpoints, labels_of(private)
    rates = np.array([one.learning_rate for one in checkpoints])
    found = np.full(len(pool), -np.inf)
    n = len(checkpoints[0].mean)
    project = dense(n, scorer.settings.projection, 0)

    def unit(vector):
        return np.array(reference.unit_length(vector @ project))

    for g in sorted(set(groups.tolist())):
        total = np.zeros(len(pool))
        for one, rate in zip(checkpoints, rates / rates.sum(), strict=True):
            mean = np.mean(
                [unit(gradient(one.network, t, g, loss)) for t in private[groups == g]], axis=0
            )
            for i, (x, y) in enumerate(zip(pool, labels_of(pool), strict=True)):
                step = adam_direction(one, gradient(one.network, x, y, loss))
                total[i] += rate * float(unit(step) @ mean)
        found = np.maximum(found, total)
    return found.tolist()


def confidences(private: np.ndarray, pool: np.ndarray, l2: float) -> list[float]:
    with_one = np.column_stack([private, np.ones(len(private))])
    weights = reference.regression(with_one, labels_of(private), N_CLASSES, l2)
    odds = np.exp(np.column_stack([pool, np.ones(len(pool))]) @ weights)
    return (odds / odds.sum(axis=1, keepdims=True))[np.arange(len(pool)), labels_of(pool)].tolist()


def gradient_cases(pool: Rows) -> dict[str, tuple[Any, Any]]:
    """Scorers on a pool, and what each computes for one shadow's rows and the pool."""
    rows = labelled(pool)
    trak = Trak(models=2, projection=8, damping=0.1, device="cpu").bind(rows)
    d3m = D3m(models=2, projection=8, damping=0.1, device="cpu").bind(rows)
    less = Less(epochs=2, projection=8, device="cpu").bind(rows)
    parts = trak_parts(trak, pool.features)
    return {
        "confidence": (
            Labelled(Confidence(l2=0.7, device="cpu")),
            lambda private, asked: confidences(private, asked, 0.7),
        ),
        "d3m": (Labelled(d3m), lambda private, asked: d3m_scores(parts, private, asked)),
        "less": (Labelled(less), lambda private, asked: less_scores(less, private, asked)),
        "trak": (Labelled(trak), lambda private, asked: trak_scores(parts, private, asked)),
    }


def private_rows(features, labels=None, unit=None) -> PrivateRows:
    features = np.asarray(features, dtype=np.float64)
    units = np.arange(len(features)) if unit is None else np.array(unit)
    names = tuple(map(str, range(units.max() + 1)))
    ids = tuple(map(str, range(len(features))))
    codes = None if labels is None else np.asarray(labels, dtype=np.int64)
    return PrivateRows(ids, features, units, names, codes)


def pool_rows(features, labels=None) -> Rows:
    features = np.asarray(features, dtype=np.float64)
    codes = None if labels is None else np.asarray(labels, dtype=np.int64)
    return Rows(tuple(map(str, range(len(features)))), features, codes)


def drawn(n, seed=0, d=D, n_classes=N_CLASSES):
    draws = np.random.default_rng(seed)
    features = draws.normal(size=(n, d))
    labels = (features[:, :n_classes] + 0.5 * draws.normal(size=(n, n_classes))).argmax(axis=1)
    return features, labels


def fitted(scorer, private, pool, coins):
    return scorer.fit(private, np.array(coins, dtype=bool), pool, streams=STREAMS)
