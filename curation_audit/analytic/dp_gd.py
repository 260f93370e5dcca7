"""A bug check of noisy gradient descent: does it add the noise that its claim says?

For ``dp_gd`` and ``dp_sgd`` without hidden layers, against what first order says along noisy paths
(``statistics/noisy_descent.py``). It refutes implementations; no agreement proves privacy.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from curation_audit.observations import Linearisation
from curation_audit.types import Features, Inclusion

FALSE_ALARM = 1e-4
SLACK = 0.05
"""How far first order may be off, relatively, in the noise's standard deviation."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How S released vectors agree with what descent with the noise that is claimed does.

    ``noise``: the standard deviation of what coins do not explain, in units of the claimed one,
    with the ``band`` in which it lies where the noise is as claimed. ``slope``: by how much records
    move the vector, per what is said.
    """

    noise: float
    band: tuple[float, float]
    slope: float

    @property
    def holds(self) -> bool:
        """Whether the noise is as claimed; ``FALSE_ALARM`` of right ones are refused."""
        return self.band[0] <= self.noise <= self.band[1]


def agreement(linear: Linearisation, weights: Features, inclusion: Inclusion) -> Agreement:
    """A bug check of an implementation of ``dp_gd`` or ``dp_sgd``: is its noise as large as said?

    Weights (S, p) and coins bool (S, N). Whitened by the noise that is claimed, what coins leave
    is chi-squared, with ``(S - 1) p`` degrees of freedom beside their own mean. A noise scale
    that is wrong by a factor shows as that factor; ``SLACK`` is what first order may be off.

    Raises:
        ValueError: without noise, or with fewer than two vectors.
    """
    if linear.noise is None or len(weights) < 2:
        raise ValueError("the noise of at least two noisy vectors can be compared.")
    values, axes = np.linalg.eigh(linear.noise)
    whiten = axes / np.sqrt(np.maximum(values, values[-1] * np.finfo(np.float64).eps))
    seen, moved = (
        (one - one.mean(axis=0)) @ whiten
        for one in (weights.astype(np.float64), (inclusion - 0.5) @ linear.influence)
    )
    degrees = (len(weights) - 1) * weights.shape[1]
    ends = stats.chi2.ppf([FALSE_ALARM / 2, 1 - FALSE_ALARM / 2], degrees) / degrees
    low, high = np.sqrt(ends) * np.array([1 - SLACK, 1 + SLACK])
    return Agreement(
        noise=math.sqrt(((seen - moved) ** 2).sum() / degrees),
        band=(float(low), float(high)),
        slope=float((seen * moved).sum() / (moved**2).sum()),
    )
