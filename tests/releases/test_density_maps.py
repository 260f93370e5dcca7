"""Density maps: kernels by hand, known densities and ratios, order of the pool, worst cases."""

import dataclasses

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.neighbors import KernelDensity

from curation_audit.dp.gaussian_sum import GaussianSum
from curation_audit.releases.density_maps import (
    FourierMap,
    RatioMap,
    median_distance,
    scored_in_blocks,
)
from curation_audit.releases.public_maps import VotesMap

RNG = np.random.default_rng(0)
POOL = RNG.normal(size=(300, 3))
PRIVATE = RNG.normal(0.7, 0.8, size=(80, 3))
MAPS = {
    "rff_density": FourierMap.of_pool(POOL, 40, None, 1),
    "ulsif": RatioMap.of_pool(POOL, 30, None, 0.1, 1),
}


def kernel(a, b, width):
    return np.exp(-cdist(a, b, "sqeuclidean") / (2 * width**2))


def test_fourier_features_have_length_one_and_the_kernel_for_their_product():
    """20,000 frequencies: a standard error of .007 at most."""
    of = FourierMap.of_pool(POOL, 20_000, 1.5, 0)
    found = of.contribution(POOL[:20])
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(found @ found.T, kernel(POOL[:20], POOL[:20], 1.5), atol=0.035)


def test_a_noiseless_density_is_that_of_scikit_learn():
    of = FourierMap.of_pool(POOL, 20_000, 1.0, 0)
    mean = of.contribution(PRIVATE).mean(axis=0)
    exact = np.exp(KernelDensity(bandwidth=1.0).fit(PRIVATE).score_samples(POOL))
    height = (2 * np.pi) ** 1.5  # of a kernel in three dimensions, which it is normalised by
    np.testing.assert_allclose(of.scores(POOL, mean), exact * height, atol=0.02)


def test_a_noiseless_ratio_is_the_least_squares_one():
    """Of all combinations of kernels that with the least squared error to the true ratio."""
    of = RatioMap.of_pool(POOL, 30, 1.2, 0.05, 4)
    kernels, mean = kernel(POOL, of.centers, 1.2), kernel(PRIVATE, of.centers, 1.2).mean(axis=0)
    moment = kernels.T @ kernels / len(POOL)
    ridge = 0.05 * np.trace(moment) / 30
    expected = kernels @ np.linalg.solve(moment + ridge * np.eye(30), mean)
    np.testing.assert_allclose(of.scores(POOL, of.contribution(PRIVATE).mean(axis=0)), expected)
    true = np.exp((POOL**2).sum(axis=1) / 2 - ((POOL - 0.7) ** 2).sum(axis=1) / (2 * 0.64))
    assert np.corrcoef(expected, true)[0, 1] > 0.7


@pytest.mark.parametrize("name", MAPS)
def test_a_score_is_the_query_times_the_weights_whatever_stands_beside(name):
    of = MAPS[name]
    weights = RNG.normal(size=of.contribution(POOL[:1]).shape[1])
    found = of.scores(POOL, weights)
    np.testing.assert_allclose(found, of.query(POOL) @ weights, rtol=1e-9, atol=1e-9)
    alone = np.concatenate([of.scores(POOL[i : i + 1], weights) for i in range(40)])
    np.testing.assert_array_equal(alone, found[:40])
    broken = POOL.copy()
    broken[3, 1] = np.nan
    again = of.scores(broken, weights)
    assert np.isnan(again[3])
    np.testing.assert_array_equal(np.delete(again, 3), np.delete(found, 3))


@pytest.mark.parametrize("name", MAPS)
def test_the_order_of_the_pool_changes_nothing_but_rounding(name):
    order = RNG.permutation(len(POOL))
    turned = {
        "rff_density": lambda: FourierMap.of_pool(POOL[order], 40, None, 1),
        "ulsif": lambda: RatioMap.of_pool(POOL[order], 30, None, 0.1, 1),
    }[name]()
    weights = RNG.normal(size=MAPS[name].contribution(POOL[:1]).shape[1])
    np.testing.assert_allclose(
        turned.scores(POOL, weights), MAPS[name].scores(POOL, weights), rtol=1e-8
    )


def test_two_far_rows_use_the_sensitivity_of_kernels_up():
    """Kernels at two far centres: one row in the other's place moves the sum by sqrt(2) C."""
    of = dataclasses.replace(MAPS["ulsif"], width=1e-3)
    vectors = of.contribution(of.centers[[0, 1]])
    mechanism = GaussianSum(clip=1.0, mu=1.0, adjacency="replace_one", nonnegative=True)
    moved = np.linalg.norm(vectors[0] - vectors[1])
    assert moved == pytest.approx(mechanism.sum_sensitivity, rel=1e-9)


def test_opposite_waves_use_the_sensitivity_of_features_up():
    """At one frequency, half a wave apart: 2 C."""
    of = FourierMap(np.array([[1.0]]))
    vectors = of.contribution(np.array([[0.3], [0.3 + np.pi]]))
    mechanism = GaussianSum(clip=1.0, mu=1.0, adjacency="replace_one")
    moved = np.linalg.norm(vectors[0] - vectors[1])
    assert moved == pytest.approx(mechanism.sum_sensitivity, rel=1e-12)


def test_the_width_is_the_median_distance_of_the_pool():
    found = median_distance(POOL, 0)
    assert found == pytest.approx(np.median(cdist(POOL, POOL)[np.triu_indices(300, 1)]), rel=0.1)
    assert median_distance(np.ones((5, 2)), 0) == 1
    assert median_distance(POOL[:1], 0) == 1


def test_a_row_casts_exactly_so_many_different_votes():
    """For the centroids nearest by angle; two rows without a common one are sqrt(2) apart."""
    of = VotesMap.of_pool(POOL, 20, 0, votes=4)
    found = of.contribution(PRIVATE)
    assert ((found > 0).sum(axis=1) == 4).all()
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-12)
    nearest = np.argsort(-PRIVATE @ of.centroids.T, axis=1)[:, :4]
    for row, expected in zip(found, nearest, strict=True):
        assert set(np.flatnonzero(row)) == set(expected)
    opposite = of.contribution(np.array([[5.0, 0, 0], [-5.0, 0, 0]]))
    mechanism = GaussianSum(clip=1.0, mu=1.0, adjacency="replace_one", nonnegative=True)
    moved = np.linalg.norm(opposite[0] - opposite[1])
    assert moved == pytest.approx(mechanism.sum_sensitivity, rel=1e-9)


def test_no_rows_have_no_scores():
    assert scored_in_blocks(POOL[:0], np.ones(3), lambda rows: rows).shape == (0,)
