"""The half-space that each of S masks cuts out of one pool, all at once.

Every mask of picked rows is explained by a logistic regression in the coordinates in which the
pool has unit covariance. Steps are those of Nesterov's accelerated gradient method, as many for
every mask, from the solution of discriminant analysis for a pool without structure. To stop
early is the penalty: picks of a linear scorer are separable, so the loss alone has no minimum.

There is no common line search, stopping rule or preconditioner made of masks, so a result
depends on its own mask only, but for the rounding of products.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from curation_audit.types import Features, Floats, Mask

RELATIVE_RANK = 1e-10
BYTES_PER_BLOCK = 2**22  # of shadows times rows; a few buffers of this size stay in cache
MOST_CURVATURE = 0.25  # of the mean logistic loss along any direction of unit variance


@dataclass(frozen=True, slots=True)
class Whitening:
    """``(x - center) @ root`` has unit covariance over the pool.

    ``center`` (p,), ``root`` (p, r); r < p where some coordinate does not vary.
    """

    center: Floats
    root: Floats

    @classmethod
    def of(cls, pool: Features) -> "Whitening":
        """Measure the pool (m, p)."""
        rows = np.asarray(pool, dtype=np.float64)
        center = rows.mean(axis=0)
        centred = rows - center
        values, vectors = np.linalg.eigh(centred.T @ centred / rows.shape[0])
        # what rounding leaves of a constant column is no direction
        scale = np.finfo(np.float64).eps * np.abs(rows).max(initial=0)
        kept = values > max(RELATIVE_RANK * values.max(initial=0), scale**2)
        return cls(center, vectors[:, kept] / np.sqrt(values[kept]))

    def apply(self, rows: Features) -> Floats:
        """(rows, p) -> (rows, r), float64."""
        whitened: Floats = (np.asarray(rows, dtype=np.float64) - self.center) @ self.root
        return whitened


@dataclass(frozen=True, slots=True)
class HalfSpaces:
    """Logits of being picked, ``whitening.apply(rows) @ slopes[s] + offsets[s]``.

    ``slopes`` (S, r), ``offsets`` (S,).
    """

    whitening: Whitening
    slopes: Floats
    offsets: Floats

    def logits(self, rows: Features) -> Floats:
        """(rows, p) -> (S, rows)."""
        logits: Floats = self.slopes @ self.whitening.apply(rows).T + self.offsets[:, None]
        return logits


def fit_half_spaces(pool: Features, mask: Mask, steps: int) -> HalfSpaces:
    """Explain masks bool (S, m) of a pool (m, p) by ``steps`` accelerated gradient steps each.

    Shadows come in blocks, so that memory does not grow with S m.
    """
    whitening = Whitening.of(pool)
    rows = whitening.apply(pool)
    design = torch.from_numpy(np.column_stack([rows, np.ones(rows.shape[0])]))
    height = max(1, BYTES_PER_BLOCK // (8 * rows.shape[0]))
    blocks = [
        _accelerated(design, torch.from_numpy(mask[start : start + height].astype(float)), steps)
        for start in range(0, mask.shape[0], height)
    ]
    coefficients = torch.cat(blocks).numpy()
    return HalfSpaces(whitening, coefficients[:, :-1], coefficients[:, -1])


def _accelerated(design: torch.Tensor, picked: torch.Tensor, steps: int) -> torch.Tensor:
    """Coefficients (S, r + 1) for picks (S, m), from a cut that only knows how many were picked."""
    n_rows = design.shape[0]
    rate = (picked.sum(dim=1) + 0.5) / (n_rows + 1)
    reached = design.new_zeros((picked.shape[0], design.shape[1]))
    reached[:, -1] = torch.log(rate) - torch.log1p(-rate)
    ahead, momentum = reached, 1.0
    for _ in range(steps):
        residuals = torch.mm(ahead, design.T).sigmoid_().sub_(picked)
        stepped = ahead - residuals @ design / (n_rows * MOST_CURVATURE)
        following = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead = stepped + (momentum - 1) / following * (stepped - reached)
        reached, momentum = stepped, following
    return reached
