"""Probabilities of logits by a line that other logits taught: S of them at once.

Platt, "Probabilistic outputs for support vector machines and comparisons to regularized likelihood
methods" (1999), section 2.2.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from curation_audit.training.logistic import LogisticProblems, fit_logistic
from curation_audit.types import Floats, Mask

RIDGE: Final = 1e-10
"""Holds the slope where logits or targets do not vary, beside a weight of at least one row."""


@dataclass(frozen=True, slots=True)
class PlattLines:
    """S calibrations ``probability = sigmoid(slope * logit + intercept)``, each float64 (S,)."""

    slope: Floats
    intercept: Floats


def fit_platt(logits: Floats, positive: Mask, weights: Floats) -> PlattLines:
    """The lines of least cross-entropy of logits (S, n), of classes bool (n,), in float64.

    ``weights`` (S, n): 0 leaves a row out. The logits should be those of models which have not seen
    the row. Targets are Platt's: of classes of weight P and N, ``(P + 1) / (P + 2)`` and
    ``1 / (N + 2)`` in place of 1 and 0, so that probabilities stay within, and the slope finite,
    however well the classes are told apart.
    """
    n_positive, n_negative = weights @ positive, weights @ ~positive
    targets = np.where(
        positive,
        (n_positive[:, None] + 1) / (n_positive[:, None] + 2),
        1 / (n_negative[:, None] + 2),
    )
    # of length one, so that one ridge suits all
    scale = np.sqrt((weights * logits**2).sum(axis=1) / weights.sum(axis=1))
    scale = np.where(scale > 0, scale, 1.0)
    design = np.stack([logits / scale[:, None], np.ones_like(logits)], axis=2)
    problems = LogisticProblems(
        design=torch.from_numpy(design),
        targets=torch.from_numpy(targets)[:, :, None],
        weights=torch.from_numpy(weights),
        penalty=torch.full((2,), RIDGE, dtype=torch.float64),
    )
    found = fit_logistic(problems)[:, :, 0].numpy()
    return PlattLines(slope=found[:, 0] / scale, intercept=found[:, 1])
