"""The matched filter's figures against hand-worked numbers, simulation, and the closed-form law."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from curation_audit.statistics.leverage import (
    auc_of_mu,
    effective_dimension,
    leverages,
    mean_mu_squared,
    mu_of_auditor,
    mu_of_known_others,
    pooled_auc,
    pooled_tpr,
)


def test_leverages_add_up_to_the_rank():
    rng = np.random.default_rng(0)
    shifts = rng.normal(size=(40, 6)) @ rng.normal(size=(6, 9))  # nine coordinates, rank six
    found = leverages(shifts)
    assert effective_dimension(found) == pytest.approx(6, abs=1e-8)
    # whatever turns and stretches the coordinates plays no part
    np.testing.assert_allclose(leverages(shifts @ rng.normal(size=(9, 9))), found, atol=1e-8)


def test_one_direction_by_hand():
    """Two records that move one number by 1 and 2, with noise of variance 1."""
    shifts, noise = np.array([[1.0], [2.0]]), np.array([[1.0]])
    np.testing.assert_allclose(leverages(shifts, noise), [1 / 9, 4 / 9])  # a^2 / (4 (5/4 + 1))
    # the other coin adds a^2 / 4 to the noise
    mu = mu_of_auditor(leverages(shifts, noise))
    np.testing.assert_allclose(mu**2, [1 / (1 + 1), 4 / (1 / 4 + 1)])
    np.testing.assert_allclose(mu_of_known_others(shifts, noise), [1, 2])
    assert auc_of_mu(np.array([0.0, math.sqrt(2)])).tolist() == [0.5, stats.norm.cdf(1)]


def test_as_many_directions_as_records_tell_every_coin():
    shifts = np.random.default_rng(1).normal(size=(5, 8))
    assert (mu_of_auditor(leverages(shifts)) == np.inf).all()
    assert pooled_auc(np.full(5, np.inf)) == 1
    assert mu_of_known_others(shifts, np.zeros((8, 8))).tolist() == [np.inf] * 5
    assert mean_mu_squared(n_held=4, dimension=8) == math.inf


def test_a_record_that_moves_nothing_cannot_be_told():
    shifts, noise = np.zeros((3, 2)), np.eye(2)
    for mu in (mu_of_auditor(leverages(shifts, noise)), mu_of_known_others(shifts, noise)):
        assert mu.tolist() == [0, 0, 0]
    assert pooled_auc(np.zeros(3)) == 0.5
    np.testing.assert_allclose(pooled_tpr(np.zeros(3), np.array([0.01, 0.5])), [0.01, 0.5])


def test_pooled_figures_are_those_of_simulated_ratios():
    """20,000 draws each of six unlike records; four standard errors are .006 and .003."""
    mu = np.array([0.0, 0.2, 0.7, 1.0, 2.0, 4.0])
    rng = np.random.default_rng(2)
    inside = mu**2 / 2 + mu * rng.normal(size=(20_000, 6))
    outside = -(mu**2) / 2 + mu * rng.normal(size=(20_000, 6))
    ratios = np.concatenate([inside.ravel(), outside.ravel()])
    truth = np.arange(len(ratios)) < inside.size
    assert pooled_auc(mu) == pytest.approx(roc_auc_score(truth, ratios), abs=0.006)
    for fpr, atol in ((0.001, 0.01), (0.1, 0.01)):
        cut = np.quantile(outside, 1 - fpr)
        assert pooled_tpr(mu, np.array([fpr]))[0] == pytest.approx((inside > cut).mean(), abs=atol)
    assert pooled_auc(mu) > auc_of_mu(mu).mean()


def test_the_law_is_the_mean_of_many_random_records():
    """2n = 800 records in d = 64 directions: h is 64 / 800 on average, and nearly for each."""
    shifts = np.random.default_rng(3).normal(size=(800, 64))
    found = (mu_of_auditor(leverages(shifts)) ** 2).mean()
    assert found == pytest.approx(mean_mu_squared(n_held=400, dimension=64), rel=0.03)
