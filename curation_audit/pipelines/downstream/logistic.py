"""Logistic regression on the picked rows."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from curation_audit import checks
from curation_audit.observations import Selection
from curation_audit.pipelines.base import FittedModels, Rows
from curation_audit.pipelines.downstream.stacked import stack_picked
from curation_audit.streams import ShadowStreams
from curation_audit.training.logistic import LogisticProblems, fit_logistic
from curation_audit.types import Features, Probabilities


@dataclass(frozen=True, slots=True, kw_only=True)
class Logistic:
    """L2-penalised logistic regression, softmax for more than two classes.

    ``l2`` weighs ``|w|^2 / 2`` beside the summed cross-entropy; the intercept is penalised too,
    so that a selection with one class only still has a solution.
    """

    name: ClassVar[str] = "logistic"
    deterministic: ClassVar[bool] = True
    l2: float = 1.0
    device: str = "auto"

    def __post_init__(self) -> None:
        """Check the penalty."""
        checks.positive(l2=self.l2)

    def fit(
        self, pool: Rows, selection: Selection, n_classes: int, *, streams: ShadowStreams
    ) -> FittedModels:
        """All S regressions on stacked designs."""
        picked = stack_picked(pool, selection, n_classes, self.device)
        ones = torch.ones_like(picked.features[..., :1])
        like = picked.features
        problems = LogisticProblems(
            design=torch.cat([picked.features, ones], dim=2),
            targets=picked.targets[..., 1:] if n_classes == 2 else picked.targets,
            weights=torch.as_tensor(picked.real, dtype=like.dtype, device=like.device),
            penalty=torch.full((like.shape[2] + 1,), self.l2, dtype=like.dtype).to(like.device),
        )
        return LogisticModels(fit_logistic(problems).cpu().numpy())


@dataclass(frozen=True, slots=True)
class LogisticModels:
    """S regressions: coefficients (S, d + 1, C), or (S, d + 1, 1) for two classes."""

    coefficients: Features

    def predict_proba(self, features: Features) -> Probabilities:
        """(rows, d) -> float32 (S, rows, C)."""
        logits = features @ self.coefficients[:, :-1] + self.coefficients[:, -1:]
        if logits.shape[2] == 1:
            logits = np.concatenate([np.zeros_like(logits), logits], axis=2)
        return softmax(logits)


def softmax(logits: Features) -> Probabilities:
    """Probabilities along the last axis, float32; NaN where a logit is not finite."""
    with np.errstate(invalid="ignore"):
        odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
        probabilities: Probabilities = (odds / odds.sum(axis=-1, keepdims=True)).astype(np.float32)
    return probabilities
