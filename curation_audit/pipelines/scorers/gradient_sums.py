"""Noisy sums of gradients: the private forms of scorers that see gradients of a public model."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from sklearn.covariance import ledoit_wolf

from curation_audit.dp.discrete_sum import DiscreteSum
from curation_audit.dp.gaussian_sum import GaussianSum
from curation_audit.observations import Linearisation
from curation_audit.pipelines.base import Family, FittedScorers, PrivateRows, Rows
from curation_audit.pipelines.scorers.gradient_kernel import GradientMap
from curation_audit.pipelines.scorers.less import LessScorers
from curation_audit.pipelines.scorers.noisy_sum import NoisySum
from curation_audit.results import Adjacency
from curation_audit.streams import ShadowStreams
from curation_audit.types import Features, Floats, Inclusion, Labels, Mask


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GradientSum:
    """A row's gradients at all public models, side by side, times ``scale``.

    In float64 whatever the features are: how a product is summed hangs on the rows beside it, and
    moves a row's gradient by its last bits only.
    """

    name: str
    map: GradientMap
    scale: float = 1.0
    nonnegative: ClassVar[bool] = False

    def contribution(self, features: Features, labels: Labels | None = None) -> Floats:
        """Gradients, (rows, d) -> float64 (rows, p)."""
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite counts as zero
            found = self.map.contribution(features.astype(np.float64), labels)
        return found.astype(np.float64) * self.scale

    def query(self, features: Features, labels: Labels | None = None) -> Features:
        """How rows read the sum, (rows, p)."""
        return self.map.query(features, labels)

    def describe(self) -> dict[str, Any]:
        """The map's digests, and the scale."""
        return {"gradients": self.map.describe(), "scale": self.scale}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SubtaskSums:
    """A row's gradient in the block of its label, and ``count_weight`` at its label's place.

    ``gradients`` have length one at most, so that a row has length
    ``sqrt(1 + count_weight^2)`` at most. Blocks stand for the ``n_subtasks`` classes of the pool.
    """

    name: str
    gradients: GradientSum
    n_subtasks: int
    count_weight: float
    nonnegative: ClassVar[bool] = False

    def contribution(self, features: Features, labels: Labels | None = None) -> Floats:
        """Blocks of all subtasks, then their counts: (rows, d) -> float64 (rows, J p + J)."""
        known = labels
        if known is None:  # in float64 for the same reason as the gradients
            known = self.gradients.map.own_labels(features.astype(np.float64))
        of_rows = self.gradients.contribution(features, known)
        belongs = known[:, None] == np.arange(self.n_subtasks)
        with np.errstate(invalid="ignore"):  # what is not finite counts as zero
            blocks = belongs[:, :, None] * of_rows[:, None, :]
        return np.concatenate(
            [blocks.reshape(len(of_rows), -1), self.count_weight * belongs], axis=1
        )

    def query(self, features: Features, labels: Labels | None = None) -> Features:
        """How rows read the mean of one subtask, (rows, p)."""
        return self.gradients.query(features, labels)

    def describe(self) -> dict[str, Any]:
        """The gradients' digests and the public constants."""
        constants = {"n_subtasks": self.n_subtasks, "count_weight": self.count_weight}
        return {**self.gradients.describe(), **constants}


@dataclass(frozen=True, slots=True, kw_only=True)
class NoisySubtasks:
    """``score(x) = max_j <query(x), noisy sum_j / noisy count_j>``; the maximum is free.

    Subtasks whose noisy count is below ``least_count`` are left out, as their mean would be noise
    blown up; the largest is never left out. ``shown``: the means have few enough numbers for
    attacks to recover them.
    """

    family: ClassVar[Family] = "other"
    sums: NoisySum
    map: SubtaskSums
    shown: bool

    @property
    def name(self) -> str:
        """The mechanism's."""
        return self.map.name

    @property
    def adjacency(self) -> Adjacency:
        """As the sums."""
        return self.sums.adjacency

    @property
    def mechanism(self) -> GaussianSum | DiscreteSum:
        """What puts noise on the sums."""
        return self.sums.mechanism

    @property
    def least_count(self) -> float:
        """Two standard deviations of the noise on a count, and half a row at least."""
        return max(0.5, 2 * self.mechanism.sigma / self.map.count_weight)

    def describe(self) -> dict[str, Any]:
        """What results are told apart by; all of it is public."""
        return self.sums.describe()

    def embed(self, features: Features, labels: Labels | None = None) -> Features:
        """The queries."""
        return self.map.query(features, labels)

    def fit(
        self, private: PrivateRows, inclusion: Inclusion, pool: Rows, *, streams: ShadowStreams
    ) -> FittedScorers:
        """All S noisy stacks by one matrix product."""
        released = self.sums.released(private, inclusion, streams)
        counts = self._counts(released)
        there = self._there(counts)
        means = self._sums(released) / np.maximum(counts, self.least_count)[:, :, None]
        return LessScorers(
            means.astype(private.features.dtype), there.astype(np.int64), self.map.query
        )

    def linearise(self, private: PrivateRows, pool: Rows) -> Linearisation | None:
        """The means where candidates are in by half, how each moves them, and the noise.

        A ratio is taken by first order; blocks of subtasks that are too small stay as they are.
        """
        if not self.shown:
            return None
        vectors = self.sums.vectors(private)
        moved = vectors[private.candidate_units]
        half = (vectors.sum(axis=0) - moved.sum(axis=0) / 2)[None]
        counts = self._counts(half)[0]
        large = counts >= self.least_count
        divisor = np.maximum(counts, self.least_count)
        means = self._sums(half)[0] / divisor[:, None]
        by_count = self._counts(moved)[:, :, None] * (means * large[:, None])
        influence = ((self._sums(moved) - by_count) / divisor[:, None]).reshape(len(moved), -1)
        second_moment = ledoit_wolf(influence, assume_centered=True)[0]
        noise = self._noise(means, divisor, large)
        return Linearisation(
            reference=means.ravel(),
            influence=influence,
            covariance=len(influence) / 4 * second_moment + noise,
            slopes=np.ones(means.size, dtype=bool),
            noise=noise if self.mechanism.sigma > 0 else None,
            blocks=means * self._there(counts)[:, None],
        )

    def _there(self, counts: Floats) -> Mask:
        """Which subtasks enter the maximum, by counts (..., J)."""
        largest = counts.max(axis=-1, keepdims=True)
        there: Mask = (counts >= self.least_count) | (counts == largest)
        return there

    def _noise(self, means: Floats, divisor: Floats, large: Mask) -> Floats:
        """Covariance of the noise of all means: their own, and that of what divides them."""
        n, p = means.shape
        noise = np.zeros((n, p, n, p))
        for j in range(n):
            of_count = large[j] / self.map.count_weight**2 * np.outer(means[j], means[j])
            noise[j, :, j] = (np.eye(p) + of_count) / divisor[j] ** 2
        found: Floats = self.mechanism.sigma**2 * noise.reshape(n * p, n * p)
        return found

    def _counts(self, stacks: Floats) -> Floats:
        """From stacks (..., J p + J), in rows."""
        counts: Floats = stacks[..., -self.map.n_subtasks :] / self.map.count_weight
        return counts

    def _sums(self, stacks: Floats) -> Floats:
        """From stacks (..., J p + J), by subtask (..., J, p)."""
        n = self.map.n_subtasks
        return stacks[..., :-n].reshape(*stacks.shape[:-1], n, -1)
