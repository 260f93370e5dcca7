"""What scorers with linear scores share: fitted weights, and their linearisation."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.covariance import ledoit_wolf

from curation_audit.observations import Linearisation
from curation_audit.pipelines.base import ALWAYS_IN, PrivateRows
from curation_audit.types import Features, Floats, Labels, Mask, Scores


@dataclass(frozen=True, slots=True)
class LinearScorers:
    """S weight vectors (S, p) on embedded rows; scoring a pool is one matrix product."""

    weights: Features
    embed: Callable[[Features, Labels | None], Features]

    def score(self, features: Features, labels: Labels | None = None) -> Scores:
        """(rows, d) -> (S, rows); see ``FittedScorers.score``."""
        scores: Scores = self.weights @ self.embed(features, labels).T
        return scores


def half_weights(private: PrivateRows) -> Floats:
    """The expected inclusion of every private row: one half, or one where it is always in."""
    return np.where(private.unit == ALWAYS_IN, 1.0, 0.5)


def linearisation(
    private: PrivateRows,
    reference: Floats,
    gradients: Floats,
    hessian: Floats,
    slopes: Mask,
    *,
    exact: bool = False,
) -> Linearisation:
    """Linearise an M-estimator at ``reference``.

    Args:
        private: the private rows, for the grouping into units.
        reference: the minimiser with candidates at half weight, (p,).
        gradients: of each private row's loss at ``reference``, (rows, p).
        hessian: of the whole objective at ``reference``, (p, p).
        slopes: which coordinates a ranking shows, bool (p,).
        exact: the objective is quadratic.

    The released vector moves by ``-H^-1 g_n`` for candidate n, so over fair coins it has the
    covariance ``H^-1 (sum_n g_n g_n' / 4) H^-1``. The second moment of the gradients is shrunk
    (Ledoit & Wolf 2004), as there may be fewer candidates than coordinates.
    """
    per_unit = np.zeros((private.n_candidates, gradients.shape[1]))
    at_stake = private.unit != ALWAYS_IN
    np.add.at(per_unit, private.unit[at_stake], gradients[at_stake])
    second_moment = ledoit_wolf(per_unit, assume_centered=True)[0]
    inverse = np.linalg.pinv(hessian, hermitian=True)
    return Linearisation(
        reference=reference,
        influence=-per_unit @ inverse,
        covariance=inverse @ (private.n_candidates / 4 * second_moment) @ inverse,
        slopes=slopes,
        exact=exact,
    )
