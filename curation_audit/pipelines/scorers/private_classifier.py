"""A private-against-pool classifier by DP-SGD, or by noisy full-batch gradient descent."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from sklearn.covariance import ledoit_wolf

from curation_audit.observations import Linearisation
from curation_audit.pipelines.base import Family, FittedScorers, PrivateRows, Rows
from curation_audit.pipelines.scorers.linear import LinearScorers
from curation_audit.pipelines.scorers.private_objective import PrivateObjective
from curation_audit.releases.public_maps import PublicMap
from curation_audit.results import Adjacency
from curation_audit.statistics.noisy_descent import Carried, Descent, Draws, carried
from curation_audit.streams import ShadowStreams, Streams
from curation_audit.training.device import resolve_device
from curation_audit.training.dp_sgd import (
    DpSgdSettings,
    PaddedUnits,
    SecretRandomness,
    fit_dp_sgd,
)
from curation_audit.training.mlp import Layer, forward
from curation_audit.types import Features, Inclusion, Labels, Scores

ROWS_PER_BLOCK = 8192
N_TWINS = 2
"""Pairs of noisy paths along which descent is linearised."""
MOST_PUBLIC = 4096
"""Rows of the pool that stand for all of it in a Hessian."""


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
        """Noisy gradient descent linearised along paths of units at half weight.

        The noise of sampling counts as noise of the mechanism. This serves attacks and forecasts,
        and proves nothing.
        """
        found = self.carried(private, pool)
        if found is None:
            return None
        noise = found.noise(self.settings.noise_of_step)
        second_moment = ledoit_wolf(found.records, assume_centered=True)[0]
        p = len(found.released)
        return Linearisation(
            reference=found.released,
            influence=found.records,
            covariance=len(found.records) / 4 * second_moment + noise,
            slopes=np.arange(p) < p - 1,
            noise=noise if noise.any() else None,
        )

    def carried(self, private: PrivateRows, pool: Rows, held: float = 0.5) -> Carried | None:
        """What records and noise do to the weights in closed form; ``None`` for a network.

        ``held`` is how much of each candidate takes part: one half for fair coins. Batches of
        public rows count as the whole pool.
        """
        settings = self.settings
        if settings.hidden:
            return None
        objective = self.objective(private, pool, held)
        descent = Descent(
            steps=settings.steps,
            learning_rate=settings.learning_rate,
            momentum=settings.momentum,
            averaged=settings.n_averaged,
        )
        start = np.zeros(objective.rows.shape[1])
        return carried(objective, start, descent, self._paths())

    def _paths(self) -> list[Draws]:
        """One without noise where nothing is random, else twins."""
        if self.settings.noise_of_step == 0 and self.settings.sampling_rate == 1:
            return [(Streams(0).generator("linearise"), 0.0)]
        return [
            (Streams(0).generator(f"linearise/{n}"), sign)
            for n in range(N_TWINS)
            for sign in (1.0, -1.0)
        ]

    def objective(self, private: PrivateRows, pool: Rows, held: float) -> PrivateObjective:
        """What is descended, with every candidate held in part."""
        of_units = np.ones(private.n_units)
        of_units[private.candidate_units] = held
        settings, n_public = self.settings, len(pool.features)
        told = np.arange(n_public)
        if n_public > MOST_PUBLIC:
            told = Streams(0).generator("public rows").choice(n_public, MOST_PUBLIC, replace=False)
        return PrivateObjective(
            rows=self.embed(private.features).astype(np.float64),
            owners=private.owners,
            held=of_units,
            candidates=private.candidate_units,
            public=self.embed(pool.features).astype(np.float64),
            told=told,
            clip=settings.clip,
            l2=settings.l2,
            n_units=settings.expected_units / settings.sampling_rate,
            sampling_rate=settings.sampling_rate,
            noise=settings.noise_of_step,
        )


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
