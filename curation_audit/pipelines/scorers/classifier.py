"""A private-against-pool classifier: the quality filters of DCLM, GPT-3 and many others."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from curation_audit import checks
from curation_audit.observations import Linearisation
from curation_audit.pipelines.base import Family, FittedScorers, PrivateRows, Rows
from curation_audit.pipelines.scorers.linear import LinearScorers, half_weights, linearisation
from curation_audit.results import Adjacency
from curation_audit.streams import ShadowStreams
from curation_audit.training.device import resolve_device, torch_dtype
from curation_audit.training.logistic import LogisticProblems, fit_logistic
from curation_audit.types import Features, Floats, Inclusion, Labels


@dataclass(frozen=True, slots=True, kw_only=True)
class Classifier:
    """Logistic regression of private rows (1) against all pool rows (0); the score is the logit.

    ``l2`` is the weight of ``|w|^2 / 2`` beside the summed cross-entropy (scikit-learn's
    ``1 / C``). The intercept is a column of ones and is penalised like the rest, so that the
    problem stays strictly convex; it shifts all scores alike.
    """

    name: ClassVar[str] = "classifier"
    family: ClassVar[Family] = "linear"
    adjacency: ClassVar[Adjacency] = "add_remove"
    l2: float = 1.0
    device: str = "auto"

    def __post_init__(self) -> None:
        """Check the penalty."""
        checks.positive(l2=self.l2)

    def embed(self, features: Features, labels: Labels | None = None) -> Features:
        """The features and a column of ones."""
        return np.concatenate([features, np.ones_like(features[:, :1])], axis=1)

    def unembed(self, embedded: Features, length: float) -> Features:
        """All columns but the ones."""
        return embedded[:, :-1]

    def fit(
        self, private: PrivateRows, inclusion: Inclusion, pool: Rows, *, streams: ShadowStreams
    ) -> FittedScorers:
        """All S regressions on one shared design, with the inclusion as row weights."""
        held = private.row_inclusion(inclusion)
        weights = self._weights(private, held, pool, private.features.dtype)
        return LinearScorers(weights, self.embed)

    def _weights(
        self, private: PrivateRows, held: Floats | Inclusion, pool: Rows, dtype: np.dtype
    ) -> Features:
        """Coefficients (S, p) for weights ``held`` (S, private rows)."""
        rows = np.concatenate([private.features, pool.features]).astype(dtype)
        design = torch.as_tensor(self.embed(rows), device=resolve_device(self.device))
        kind = torch_dtype(rows)

        def tensor(array: np.ndarray) -> torch.Tensor:
            return torch.as_tensor(array, dtype=kind, device=design.device)

        everyone = np.ones((held.shape[0], len(pool)))
        is_private = np.arange(rows.shape[0]) < len(private)
        problems = LogisticProblems(
            design=design,
            targets=tensor(is_private)[None, :, None],
            weights=tensor(np.concatenate([held, everyone], axis=1)),
            penalty=tensor(np.full(design.shape[1], self.l2)),
        )
        weights: Features = fit_logistic(problems)[:, :, 0].cpu().numpy()
        return weights

    def linearise(self, private: PrivateRows, pool: Rows) -> Linearisation:
        """The regression linearised at its solution with candidates at half weight."""
        weight = half_weights(private)
        float64 = np.dtype(np.float64)
        reference = self._weights(private, weight[None, :], pool, float64)[0].astype(float64)
        embedded = self.embed(np.concatenate([private.features, pool.features]).astype(float64))
        probability = 1 / (1 + np.exp(-embedded @ reference))
        curvature = np.append(weight, np.ones(len(pool))) * probability * (1 - probability)
        n_coefficients = embedded.shape[1]
        return linearisation(
            private,
            reference,
            gradients=(probability[: len(private), None] - 1) * embedded[: len(private)],
            hessian=(embedded.T * curvature) @ embedded + self.l2 * np.eye(n_coefficients),
            slopes=np.arange(n_coefficients) < n_coefficients - 1,
        )
