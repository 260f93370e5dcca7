"""What DP-SGD on private units against a public pool descends, on average, around any weights."""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from curation_audit.dp.clipping import clipped, unit_sums
from curation_audit.statistics.noisy_descent import Around
from curation_audit.types import Floats, Indices


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateObjective:
    """The mean of clipped gradients of units (target 1), beside public rows (target 0) and L2.

    ``rows`` float64 (rows, p) belong to units ``owners`` int64 (rows,); ``held`` (U,) is how much
    of each unit a curation holds on average: one half for a coin. ``candidates`` int64 (N,) are
    units. ``n_units`` is what sums of all are divided by, ``sampling_rate`` each unit's
    probability to join a step, ``noise`` the standard deviation of a step's noise. ``told`` (rows,)
    of the public rows stand for all of them in the Hessian, which takes the longest.
    """

    rows: Floats
    owners: Indices
    held: Floats
    candidates: Indices
    public: Floats
    told: Indices
    clip: float
    l2: float
    n_units: float
    sampling_rate: float
    noise: float

    def gradient(self, weights: Floats) -> Floats:
        """(p,)."""
        of_public = expit(self.public @ weights) @ self.public / len(self.public)
        found: Floats = self.held @ self._units(weights) + of_public + self.l2 * weights
        return found

    def disturbance(self, weights: Floats, rng: np.random.Generator) -> Floats:
        """Of a coin's unit the variance is that of one that is held half of the time, (p,)."""
        found: Floats = self.noise * rng.standard_normal(len(weights))
        if self.sampling_rate < 1:
            joins = rng.random(len(self.held)) < self.sampling_rate
            missed = np.sqrt(self.held) * (joins / self.sampling_rate - 1)
            found += missed @ self._units(weights)
        return found

    def around(self, weights: Floats) -> Around:
        """Hessian, what candidates add, and what sampling does at weights (p,).

        A unit joins by a coin of probability q and adds ``g / q`` then, so that its variance is
        ``(1 - q) / q g g'``.
        """
        units = self._units(weights)
        spread = (1 - self.sampling_rate) / self.sampling_rate
        return Around(
            hessian=self._hessian(weights),
            records=units[self.candidates],
            sampled=spread * (units.T * self.held) @ units,
        )

    def _units(self, weights: Floats) -> Floats:
        """What each unit's clipped gradient adds to a step on average, (U, p)."""
        return clipped(self._sums(weights), self.clip) / self.n_units

    def _sums(self, weights: Floats) -> Floats:
        """The sum over each unit's rows, before it is clipped, (U, p)."""
        of_rows = (expit(self.rows @ weights) - 1)[:, None] * self.rows
        return unit_sums(of_rows, self.owners, len(self.held))

    def _hessian(self, weights: Floats) -> Floats:
        """Of a clipped gradient only the direction bends: for a unit of one row nothing does.

        What is not symmetric in that is left out.
        """
        hessian = self.l2 * np.eye(len(weights))
        of_rows = self.held[self.owners] / self.n_units
        public = self.public[self.told]
        of_public = np.full(len(public), 1 / len(public))
        for rows, bent, share in (
            (self.rows, self._bent(weights), of_rows),
            (public, public, of_public),
        ):
            likely = expit(rows @ weights)
            hessian += (bent.T * (share * likely * (1 - likely))) @ bent
        return hessian

    def _bent(self, weights: Floats) -> Floats:
        """Rows (rows, p), of clipped units only what lies across the clipped gradient, shrunk."""
        sums = self._sums(weights)
        length = np.linalg.norm(sums, axis=1)
        shrunk = self.clip / np.maximum(length, self.clip)
        along = (sums / np.where(length > 0, length, 1)[:, None])[self.owners]
        across = self.rows - (self.rows * along).sum(axis=1)[:, None] * along
        is_clipped = (shrunk < 1)[self.owners, None]
        bent: Floats = np.where(is_clipped, across * np.sqrt(shrunk)[self.owners, None], self.rows)
        return bent
