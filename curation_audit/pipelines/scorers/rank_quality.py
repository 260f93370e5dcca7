"""How good a scorer is: how far private units rank above public rows, under Gaussian noise."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse, stats

from curation_audit.dp.gaussian_sum import GaussianSum
from curation_audit.dp.noise import NormalSource
from curation_audit.pipelines.base import FittedScorers, PrivateRows, Rows
from curation_audit.pipelines.rules.cut import tie_order
from curation_audit.results import Adjacency
from curation_audit.types import Floats, Mask, Scores

HALF = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class RankQuality:
    """The sum over private units of ``AUC of the unit - 1/2``, plus Gaussian noise.

    A row's AUC is the share of public rows that score below it, ties counted half; a unit's is the
    mean over its rows. The public rows are ``n_public`` of the pool, by a keyed hash of their ids.

    Sensitivity: for a given scorer that scores every row alone, each unit's term lies in
    [-1/2, 1/2] whatever its rows are and whoever else is there, and is 0 for a unit that is left
    out or blanked. So the sum moves by at most 1/2 where a unit comes, goes or is blanked, and by
    at most 1 where it is replaced. The scorer is a release of its own: the two are composed
    adaptively. A release scores rows alone to the last bit (``RowsAlone``); shadows score them in
    one product, where ties may break by rounding, which changes nothing that an audit measures.
    """

    mu: float
    adjacency: Adjacency
    n_public: int
    seed: int

    @property
    def mechanism(self) -> GaussianSum:
        """The sum of one number per unit, which is at most 1/2 long."""
        return GaussianSum(clip=HALF, mu=self.mu, adjacency=self.adjacency)

    def describe(self) -> dict[str, Any]:
        """Public constants."""
        mu = self.mu if np.isfinite(self.mu) else None
        return {"mu": mu, "adjacency": self.adjacency, "n_public": self.n_public, "seed": self.seed}

    def public(self, pool: Rows) -> Rows:
        """The rows to compare with: the same ones in whatever order the pool comes."""
        kept = np.argsort(tie_order(pool.ids, self.seed))[: self.n_public]
        return Rows(tuple(pool.ids[i] for i in kept.tolist()), pool.features[kept])

    def exact(self, fitted: FittedScorers, private: PrivateRows, held: Mask, pool: Rows) -> Floats:
        """The sums without noise of R scorers, each of who holds bool (R, U), (R,)."""
        finite: Mask = np.logical_and.reduce(np.isfinite(private.features), axis=1)
        rows = np.where(finite[:, None], private.features, 0)
        both = np.concatenate([rows, self.public(pool).features])
        with np.errstate(over="ignore", invalid="ignore"):  # what is no number ranks last
            scores = fitted.score(both)
        own, others = scores[:, : len(rows)], scores[:, len(rows) :]
        terms = np.where(finite, auc_of_rows(own, others) - HALF, 0.0)
        totals: Floats = (unit_means(terms, private) * held).sum(axis=1)
        return totals

    def noisy(self, exact: Floats, noise: Sequence[NormalSource]) -> Floats:
        """Under noise, (R,); one source for each."""
        sigma = self.mechanism.sigma
        if sigma == 0:
            return exact
        drawn = np.array([source.standard_normal((1,))[0] for source in noise])
        return np.asarray(exact + sigma * drawn, dtype=np.float64)


def auc_of_rows(own: Scores, others: Scores) -> Floats:
    """The share of ``others`` (R, m) that each of ``own`` (R, n) is above, ties half, (R, n).

    The rank among all less the rank among its own kind is the number of others below: both are
    whole or half numbers, so that no row's share hangs on which other rows of its kind are there.
    """
    own, others = (np.nan_to_num(scores, nan=-np.inf) for scores in (own, others))
    among_all = stats.rankdata(np.concatenate([own, others], axis=1), axis=1)[:, : own.shape[1]]
    shares: Floats = (among_all - stats.rankdata(own, axis=1)) / others.shape[1]
    return shares


def unit_means(terms: Floats, private: PrivateRows) -> Floats:
    """The mean over the rows of every unit, (R, rows) -> (R, U)."""
    n_rows = np.bincount(private.owners, minlength=private.n_units)
    places = (private.owners, np.arange(len(private)))
    mean = sparse.csr_array(
        (1 / n_rows[private.owners], places), shape=(private.n_units, len(private))
    )
    return np.asarray(mean @ terms.T, dtype=np.float64).T
