"""The matched filter for any scorer: shifts and covariance of the scores from other shadows."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from curation_audit.attacks.base import OtherPairs
from curation_audit.observations import Knowledge, Observation, Stage
from curation_audit.streams import ShadowStreams
from curation_audit.types import Evidence, Floats, Inclusion

LEAST_RIDGE = 1e-12  # of the trace


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowFilter:
    """Linear discriminant of the whole score vector, covariance shrunk towards a multiple of one.

    ``d_n' Sigma^-1 (s - mean)`` with d_n the mean difference of scores with and without
    candidate n and Sigma their covariance, both from within-pair differences of the other pairs,
    where the mean and all that does not depend on the coins cancels. The shrinkage is that of
    Ledoit & Wolf (2004), on the other pairs too.
    """

    name: ClassVar[str] = "shadow_filter"
    title: ClassVar[str] = "Matched filter on the scores, learnt from shadows"
    stage: ClassVar[Stage] = "scores"
    needs: ClassVar[frozenset[str]] = frozenset({"algorithm", "candidates", "pool"})
    source: ClassVar[str] = "this project; covariance after Ledoit & Wolf 2004"
    cost: ClassVar[str] = "S^2 m + S^2 N + S^3"

    def evidence(
        self,
        observation: Observation,
        inclusion: Inclusion,
        knowledge: Knowledge,
        *,
        streams: ShadowStreams,
    ) -> Evidence:
        """Float64 (S, N)."""
        others = OtherPairs.of(knowledge, inclusion)
        scores: Floats = np.asarray(observation.scores, dtype=np.float64)
        differences = (scores[0::2] - scores[1::2])[others.known]
        products = scores @ differences.T
        # how each shadow deviates from the others' mean, along each pair's difference
        products = products - others.means_of_shadows(products)
        coins = np.where(inclusion[0::2], 1.0, -1.0)[others.known]
        return discriminated(differences @ differences.T, products, coins, others, scores.shape[1])


def discriminated(
    gram: Floats, products: Floats, coins: Floats, others: OtherPairs, n_pool: int
) -> Evidence:
    """The discriminant of every shadow without its own pair, in closed form.

    Args:
        gram: products of the known pairs' differences, (K, K).
        products: of each shadow's deviation with each known pair's difference, (S, K).
        coins: of the first shadow of each known pair, 1 or -1, (K, N).
        others: the pairs; its known ones are the rows of ``gram``, in their order.
        n_pool: the dimension in which the covariance is shrunk.

    With ``M = (scale gram + ridge)^-1`` over all known pairs, the same without pair j is
    ``M - M_j M_j' / M_jj``, whose row and column j are nought.
    """
    scale, ridge = (one[:, None] for one in shrinkage(gram, others, n_pool))
    size, axes = np.linalg.eigh(gram)
    inverse = 1 / (scale * np.maximum(size, 0) + ridge)  # (P, K): a scale and ridge for each pair
    own = np.zeros((len(others.known), len(gram)))
    own[others.known] = axes  # a pair that is not learnt from has no row to take out
    per_shadow = (products @ axes) * np.repeat(inverse, 2, axis=0)
    learnt = axes.T @ coins
    at_own = ((own * inverse) @ learnt)[:, None]  # (P, 1, N)
    diagonal = (own**2 * inverse).sum(axis=1)
    share = (per_shadow.reshape(-1, 2, len(gram)) * own[:, None]).sum(axis=2)  # (P, 2)
    share = share / np.where(diagonal > 0, diagonal, 1)[:, None]
    whole = (per_shadow @ learnt).reshape(-1, 2, coins.shape[1])
    left = (whole - share[:, :, None] * at_own) / others.counts[:, None, None]
    evidence: Evidence = left.reshape(-1, coins.shape[1])
    return evidence


def shrinkage(gram: Floats, others: OtherPairs, n_pool: int) -> tuple[Floats, Floats]:
    """For each pair: ``scale`` of the others' sum of squares, and ``ridge``, each (P,).

    ``scale X'X + ridge I`` is the shrunk covariance of the other pairs' differences X (T, m),
    mean zero. The squared norms that Ledoit & Wolf (2004, lemma 3.2 and 3.3) need are sums over
    the products of rows.
    """
    n_pairs, known = len(others.known), others.known
    squares, row = np.zeros(n_pairs), np.zeros(n_pairs)
    squares[known] = np.diag(gram)
    row[known] = (gram**2).sum(axis=1)
    count = others.counts
    trace = (squares.sum() - squares) / count
    frobenius = ((gram**2).sum() - 2 * row + squares**2) / count**2
    fourth = ((squares**2).sum() - squares**2) / count**2
    distance = np.maximum(frobenius - trace**2 / n_pool, 0)
    error = np.minimum(np.maximum(fourth - frobenius / count, 0), distance)
    part = error / np.where(distance > 0, distance, 1)
    tiny = np.finfo(np.float64).tiny
    least = LEAST_RIDGE * trace + tiny
    return (1 - part) / count, np.maximum(part * trace / n_pool, least)
