"""A private-against-pool classifier by DP-SGD, or by noisy full-batch gradient descent."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.special import expit
from sklearn.covariance import ledoit_wolf

from curation_audit.dp.clipping import clipped, unit_sums
from curation_audit.observations import Linearisation
from curation_audit.pipelines.base import Family, FittedScorers, PrivateRows, Rows
from curation_audit.pipelines.scorers.linear import LinearScorers
from curation_audit.releases.public_maps import PublicMap
from curation_audit.results import Adjacency
from curation_audit.streams import ShadowStreams, Streams
from curation_audit.training.device import resolve_device
from curation_audit.training.dp_sgd import (
    DpSgdSettings,
    PaddedUnits,
    SecretRandomness,
    fit_dp_sgd,
)
from curation_audit.training.mlp import Layer, forward
from curation_audit.types import Features, Floats, Inclusion, Labels, Scores

ROWS_PER_BLOCK = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateClassifier:
    """Logistic regression, or a perceptron, of private rows (1) against pool rows (0).

    Only private units are sampled, clipped and noised; the pool's gradient at the private weights
    is free. Shadows mask units and keep the public constants of ``settings``. Rows pass a public
    ``map`` first, so that few steps suffice. The score is the logit.
    """

    settings: DpSgdSettings
    adjacency_of_claim: Adjacency
    map: PublicMap
    device: str = "auto"

    @property
    def name(self) -> str:
        """By how units are sampled."""
        return "dp_gd" if self.settings.sampling_rate == 1 else "dp_sgd"

    @property
    def family(self) -> Family:
        """Linear without hidden layers."""
        return "other" if self.settings.hidden else "linear"

    @property
    def adjacency(self) -> Adjacency:
        """The game that a coin plays: public constants make it zero-out."""
        return "add_remove" if self.adjacency_of_claim == "add_remove" else "zero_out"

    def describe(self) -> dict[str, Any]:
        """What results are told apart by."""
        device = resolve_device(self.device).type
        claimed = {"adjacency": self.adjacency_of_claim, "map": self.map.describe()}
        return {**claimed, "device": device, **asdict(self.settings)}

    def embed(self, features: Features, labels: Labels | None = None) -> Features:
        """The mapped features and a column of ones."""
        mapped = self.map.query(features)
        return np.concatenate([mapped, np.ones_like(mapped[:, :1])], axis=1)

    def fit(
        self, private: PrivateRows, inclusion: Inclusion, pool: Rows, *, streams: ShadowStreams
    ) -> FittedScorers:
        """All S networks at once."""
        held = private.unit_inclusion(inclusion)
        return self.fit_units(private, held, pool, streams=streams)

    def fit_units(
        self,
        private: PrivateRows,
        held: Inclusion,
        pool: Rows,
        *,
        streams: ShadowStreams,
        secret: SecretRandomness | None = None,
    ) -> "LinearScorers | NetworkScorers":
        """The same by units, held bool (S, U); a release brings its own ``secret`` randomness."""
        layers = fit_dp_sgd(
            PaddedUnits.of_rows(self.embed(private.features), private.owners, private.n_units),
            held,
            self.embed(pool.features),
            self.settings,
            streams=streams,
            device=resolve_device(self.device),
            secret=secret,
        )
        if self.settings.hidden:
            return NetworkScorers(layers, self.embed)
        weights: Features = layers[0].weight[:, :, 0].cpu().numpy()
        return LinearScorers(weights, self.embed)

    def linearise(self, private: PrivateRows, pool: Rows) -> Linearisation | None:
        """Gradient descent linearised at the weights that units at half weight lead to.

        There, with Hessian H of the objective and learning rate r, a gradient g that enters each
        of T steps moves the weights by ``-(1 - (1 - r H)^T) H^-1 g``, and noise of variance v in
        each step adds ``r^2 v sum_t (1 - r H)^2t``. Momentum, averaging and the noise of sampling
        are left out: this serves attacks, and proves nothing.
        """
        if self.settings.hidden:
            return None
        reference = self._noise_free(private, pool)
        curvature, axes = self._curvature(private, pool, reference)
        rate, powers = self.settings.learning_rate, np.arange(self.settings.steps)
        shrink = (1 - rate * curvature)[:, None] ** powers  # (p, T)
        influence = -self._gradients(private, reference) @ (axes * (rate * shrink.sum(1)) @ axes.T)
        settings = self.settings
        sigma = settings.noise_multiplier * settings.clip / settings.expected_units
        noise = (axes * ((rate * sigma) ** 2 * (shrink**2).sum(axis=1))) @ axes.T
        second_moment = ledoit_wolf(influence, assume_centered=True)[0]
        p = len(reference)
        return Linearisation(
            reference=reference,
            influence=influence,
            covariance=len(influence) / 4 * second_moment + noise,
            slopes=np.arange(p) < p - 1,
            noise=noise if sigma > 0 else None,
        )

    def _n_units(self) -> float:
        """What sums of all units are divided by."""
        return self.settings.expected_units / self.settings.sampling_rate

    def _noise_free(self, private: PrivateRows, pool: Rows) -> Floats:
        """The weights (p,) of full batches without noise, with every unit at half weight."""
        quiet = replace(
            self.settings,
            noise_multiplier=0.0,
            sampling_rate=1.0,
            expected_units=2 * self._n_units(),
        )
        calm = replace(self, settings=quiet)
        everyone = np.ones((1, private.n_units), dtype=bool)
        streams = Streams(0).for_shadows("linearise", (0,))  # of public batches, if there are any
        fitted = calm.fit_units(private, everyone, pool, streams=streams)
        if not isinstance(fitted, LinearScorers):
            raise TypeError("only a linear scorer has weights.")
        return np.asarray(fitted.weights[0], dtype=np.float64)

    def _curvature(
        self, private: PrivateRows, pool: Rows, weights: Floats
    ) -> tuple[Floats, Floats]:
        """Eigenvalues (p,) and eigenvectors (p, p) of the objective's Hessian.

        A clipped gradient keeps its length, so that only its direction bends: none at all for a
        unit of one row. What is not symmetric in that is left out.
        """
        hessian = self.settings.l2 * np.eye(len(weights))
        own, others = (
            one.astype(np.float64)
            for one in (self.embed(private.features), self.embed(pool.features))
        )
        for rows, bent, weight in (
            (own, self._bent(own, private, weights), 0.5 / self._n_units()),
            (others, others, 1 / len(pool)),
        ):
            likely = expit(rows @ weights)
            hessian += weight * (bent.T * (likely * (1 - likely))) @ bent
        return np.linalg.eigh(hessian)

    def _bent(self, rows: Floats, private: PrivateRows, weights: Floats) -> Floats:
        """Rows (rows, p), of clipped units only what lies across the clipped gradient, shrunk."""
        sums = self._unit_gradients(rows, private, weights)
        length = np.linalg.norm(sums, axis=1)
        shrunk = np.minimum(1, self.settings.clip / np.maximum(length, np.finfo(np.float64).tiny))
        along = sums / np.where(length > 0, length, 1)[:, None]
        across = rows - (rows * along[private.owners]).sum(axis=1)[:, None] * along[private.owners]
        is_clipped = (shrunk < 1)[private.owners, None]
        bent: Floats = np.where(is_clipped, across * np.sqrt(shrunk)[private.owners, None], rows)
        return bent

    def _unit_gradients(self, rows: Floats, private: PrivateRows, weights: Floats) -> Floats:
        """The sum over each unit's rows, before it is clipped, (units, p)."""
        of_rows = (expit(rows @ weights) - 1)[:, None] * rows
        return unit_sums(of_rows, private.owners, private.n_units)

    def _gradients(self, private: PrivateRows, weights: Floats) -> Floats:
        """What each candidate's clipped gradient adds to a step's mean, (N, p)."""
        rows = self.embed(private.features).astype(np.float64)
        sums = self._unit_gradients(rows, private, weights)[private.candidate_units]
        return clipped(sums, self.settings.clip) / self._n_units()


@dataclass(frozen=True, slots=True)
class NetworkScorers:
    """S networks with one logit."""

    layers: list[Layer]
    embed: Callable[[Features, Labels | None], Features]

    def score(self, features: Features, labels: Labels | None = None) -> Scores:
        """(rows, d) -> (S, rows)."""
        like = self.layers[0].weight
        rows = torch.as_tensor(self.embed(features, labels), dtype=like.dtype, device=like.device)
        blocks = [
            forward(self.layers, rows[start : start + ROWS_PER_BLOCK])[-1][:, :, 0]
            for start in range(0, len(rows), ROWS_PER_BLOCK)
        ]
        scores: Scores = torch.cat(blocks, dim=1).cpu().numpy()
        return scores
