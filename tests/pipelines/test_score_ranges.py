"""How far one unit moves differences of scores, by the worst vectors that a mechanism lets through.

For two pool rows with queries p and q, a vector v of length C moves the difference of their scores
by (p - q).v: at most C times the length of p - q, or of its positive part where v has no negative
coordinate. No draw of private rows comes near that; these vectors do.
"""

from typing import get_args

import numpy as np
import pytest

from curation_audit.dp.top_k_budget import range_distance
from curation_audit.pipelines.protection.noisy_top_k import NoisySelection
from curation_audit.pipelines.scorers.noisy_sum import NoisySum
from curation_audit.results import Adjacency
from tests.pipelines.protected import CASES, pool_rows, private_rows, protected, site_of

SUMS = [name for name, of in CASES.items() if isinstance(protected(of).scorer, NoisySum)]
POOL = pool_rows()


def scorer_of(name: str, adjacency: str) -> NoisySum:
    return protected(CASES[name], private_rows(), POOL, adjacency=adjacency).scorer


def worst_range(scorer: NoisySum, adjacency: str) -> float:
    """Over all pairs of pool rows."""
    queries = scorer.embed(POOL.features, POOL.labels).astype(np.float64)
    apart = queries[:, None] - queries[None]
    signed = apart if not scorer.mechanism.nonnegative else np.maximum(apart, 0)
    enters = np.linalg.norm(signed, axis=2)
    moved = enters + enters.T if adjacency == "replace_one" else enters
    return float(moved.max()) * scorer.mechanism.clip / scorer.mechanism.denominator


def claimed(name: str, adjacency: str) -> tuple[float, bool]:
    site = site_of(CASES[name], private_rows(), POOL, adjacency)
    found = NoisySelection().bounded(site, scorer_of(name, adjacency))
    return range_distance(found.delta_inf, monotone=found.monotone), found.monotone


@pytest.mark.parametrize("adjacency", get_args(Adjacency))
@pytest.mark.parametrize("name", SUMS)
def test_no_vector_moves_differences_of_scores_further_than_stated(name, adjacency):
    stated, _ = claimed(name, adjacency)
    assert worst_range(scorer_of(name, adjacency), adjacency) <= stated * (1 + 1e-9)


def test_signed_queries_make_no_monotone_scores():
    """uLSIF adds kernels, none negative, and reads them by coefficients of either sign."""
    stated, monotone = claimed("ulsif", "zero_out")
    assert not monotone
    assert worst_range(scorer_of("ulsif", "zero_out"), "zero_out") > stated / 2  # of monotone ones


def test_votes_are_monotone_still():
    assert claimed("centroid_votes", "zero_out")[1]
    assert not claimed("centroid_votes", "replace_one")[1]
