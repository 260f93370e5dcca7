"""Public maps whose sums estimate densities: random Fourier features, and kernels at centres.

Both are made of the pool and of a public seed: the width of the kernel is the median distance
between pool rows, centres are pool rows. Taken from private rows, as is usual, either would leak.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from curation_audit.releases.public_maps import ROWS_OF_PRODUCT, digest, row_products, row_squares
from curation_audit.types import Features, Floats, Labels

ROWS_OF_MEDIAN = 1000


@dataclass(frozen=True, slots=True, eq=False)
class FourierMap:
    """Random Fourier features of a Gaussian kernel (Rahimi & Recht 2007), of length one.

    ``phi(x) = (cos(x F), sin(x F)) / sqrt(q)`` with ``frequencies`` F (d, q): products of two rows
    have the kernel for their mean, so that a row reads the density of the private set off the sum.
    """

    name: ClassVar[str] = "rff_density"
    nonnegative: ClassVar[bool] = False
    frequencies: Floats

    @classmethod
    def of_pool(
        cls, pool: Features, n_frequencies: int, bandwidth: float | None, seed: int
    ) -> "FourierMap":
        """Draw frequencies by a public seed; a bandwidth that is not given is the pool's median."""
        width = median_distance(pool, seed) if bandwidth is None else bandwidth
        rng = np.random.default_rng(seed)
        return cls(rng.standard_normal((pool.shape[1], n_frequencies)) / width)

    def contribution(self, features: Features, labels: Labels | None = None) -> Floats:
        """(rows, d) -> float64 (rows, 2 q), of length one."""
        return self._mapped(features.astype(np.float64))

    def query(self, features: Features, labels: Labels | None = None) -> Features:
        """The same, in the features' dtype."""
        mapped: Features = self._mapped(features.astype(np.float64)).astype(features.dtype)
        return mapped

    def scores(self, rows: Floats, weights: Floats) -> Floats:
        """Blocks of one shape: equal rows have equal products."""
        return scored_in_blocks(rows, weights, self._mapped)

    def describe(self) -> dict[str, Any]:
        """A digest of the frequencies."""
        return {"frequencies": digest(self.frequencies)}

    def _mapped(self, rows: Floats) -> Floats:
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite counts as zero
            phases = rows @ self.frequencies
            waves = np.concatenate([np.cos(phases), np.sin(phases)], axis=1)
        found: Floats = waves / np.sqrt(self.frequencies.shape[1])
        return found


@dataclass(frozen=True, slots=True, eq=False)
class RatioMap:
    """Kernels at public centres, read through the pool's second moment: a density ratio.

    The least-squares importance (uLSIF, Kanamori, Hido & Sugiyama 2009): ``phi(x)' (H + r I)^-1 h``
    with ``phi`` Gaussian kernels of ``width`` at ``centers`` (c, d), H their second moment over the
    pool, h their mean over the private set. ``inverse`` (c, c) is public; only h is released.
    """

    name: ClassVar[str] = "ulsif"
    nonnegative: ClassVar[bool] = True
    centers: Floats
    inverse: Floats
    width: float

    @classmethod
    def of_pool(
        cls, pool: Features, n_centers: int, bandwidth: float | None, ridge: float, seed: int
    ) -> "RatioMap":
        """Centres are pool rows, drawn by a public seed; the ridge is in units of H's mean."""
        width = median_distance(pool, seed) if bandwidth is None else bandwidth
        centers = some_rows(pool, n_centers, seed)
        kernels = kernels_at(pool.astype(np.float64), centers, width)
        moment = kernels.T @ kernels / len(kernels)
        scale = max(float(np.trace(moment)) / len(moment), float(np.finfo(np.float64).tiny))
        inverse = np.linalg.inv(moment + ridge * scale * np.eye(len(moment)))
        return cls(centers, (inverse + inverse.T) / 2, float(width))

    def contribution(self, features: Features, labels: Labels | None = None) -> Floats:
        """Kernels, (rows, d) -> float64 (rows, c)."""
        return kernels_at(features.astype(np.float64), self.centers, self.width)

    def query(self, features: Features, labels: Labels | None = None) -> Features:
        """Kernels through the inverse, in the features' dtype."""
        read: Features = self._read(features.astype(np.float64)).astype(features.dtype)
        return read

    def scores(self, rows: Floats, weights: Floats) -> Floats:
        """Blocks of one shape: equal rows have equal products."""
        return scored_in_blocks(rows, weights, self._read)

    def describe(self) -> dict[str, Any]:
        """Digests of the public arrays, and the width."""
        return {
            "centers": digest(self.centers),
            "inverse": digest(self.inverse),
            "width": self.width,
        }

    def _read(self, rows: Floats) -> Floats:
        return kernels_at(rows, self.centers, self.width) @ self.inverse


def kernels_at(rows: Floats, centers: Floats, width: float) -> Floats:
    """Gaussian kernels ``exp(-|x - c|^2 / (2 width^2))``, (rows, d), (c, d) -> (rows, c)."""
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite counts as zero
        squares = row_squares(rows)[:, None] + (centers**2).sum(axis=1) - 2 * rows @ centers.T
        kernels: Floats = np.exp(-np.maximum(squares, 0) / (2 * width**2))
    return kernels


def scored_in_blocks(rows: Floats, weights: Floats, mapped: Callable[[Floats], Floats]) -> Floats:
    """``mapped(rows) @ weights``, to the last bit whatever rows stand beside, (rows,)."""
    scores = np.empty(len(rows))
    block = np.zeros((ROWS_OF_PRODUCT, rows.shape[1]))
    for at in range(0, len(rows), ROWS_OF_PRODUCT):
        part = rows[at : at + ROWS_OF_PRODUCT]
        block[: len(part)] = part
        scores[at : at + len(part)] = row_products(mapped(block), weights)[: len(part)]
    return scores


def some_rows(pool: Features, n_rows: int, seed: int) -> Floats:
    """Rows drawn by a public seed and their content, whatever their order, float64 (n, d)."""
    by_content = np.lexsort(pool.T)
    chosen = np.random.default_rng(seed).permutation(len(pool))[:n_rows]
    return pool[by_content[chosen]].astype(np.float64)


def median_distance(pool: Features, seed: int) -> float:
    """Between pairs of pool rows, of some of many by a public seed; 1 where all rows are alike."""
    rows = some_rows(pool, ROWS_OF_MEDIAN, seed)
    half = len(rows) // 2
    distances = np.linalg.norm(rows[:half] - rows[half : 2 * half], axis=1)
    median = float(np.median(distances)) if half else 0.0
    return median if median > 0 and np.isfinite(median) else 1.0
