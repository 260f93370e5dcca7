"""Half-spaces recovered from masks."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from curation_audit.training import halfspaces
from curation_audit.training.halfspaces import Whitening, fit_half_spaces


def skewed_pool(rng, m, p):
    """Rows that discriminant analysis misreads: lopsided, correlated, off centre."""
    return rng.exponential(size=(m, p)) @ rng.standard_normal((p, p)) + 5.0


def cut(pool, weights, share):
    scores = pool @ weights.T
    return (scores >= np.quantile(scores, 1 - share, axis=0)).T


def angle_error(found, true):
    """The share of squared length that does not lie along the true vectors."""
    cosine = (found * true).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(true, axis=1)
    return 1 - cosine**2


def test_a_whitened_pool_has_unit_covariance():
    rng = np.random.default_rng(0)
    # a constant column and a copy are no directions of their own
    pool = skewed_pool(rng, 500, 4)
    pool = np.column_stack([pool, np.full(500, 7.0), pool[:, 0]])
    rows = Whitening.of(pool).apply(pool)
    assert rows.shape == (500, 4)
    np.testing.assert_allclose(rows.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(rows.T @ rows / 500, np.eye(4), atol=1e-8)


def test_a_pool_of_identical_rows_has_no_directions():
    found = fit_half_spaces(np.ones((30, 3)), np.zeros((2, 30), dtype=bool), steps=5)
    assert found.slopes.shape == (2, 0)
    assert np.isfinite(found.logits(np.zeros((4, 3)))).all()


def test_many_steps_reach_the_minimum_where_there_is_one():
    rng = np.random.default_rng(1)
    pool = skewed_pool(rng, 400, 3)
    noisy = rng.standard_normal((400, 2)) + 1.5 * Whitening.of(pool).apply(pool)[:, :2]
    mask = (noisy > 0.8).T
    found = fit_half_spaces(pool, mask, steps=600).logits(pool)
    for s in range(2):
        model = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000).fit(pool, mask[s])
        np.testing.assert_allclose(found[s], model.decision_function(pool), atol=1e-3)


@pytest.mark.parametrize(("steps", "most"), [(16, 0.02), (60, 0.006)])
def test_a_cut_is_recovered_from_a_lopsided_pool(steps, most):
    rng = np.random.default_rng(2)
    pool, weights = skewed_pool(rng, 5000, 10), rng.standard_normal((6, 10))
    found = fit_half_spaces(pool, cut(pool, weights, 0.1), steps)
    slopes = found.slopes @ found.whitening.root.T
    root = np.linalg.cholesky(np.cov(pool.T))
    error = angle_error(slopes @ root, weights @ root)
    assert error.max() < most
    # discriminant analysis, to which one step comes down, stays away from it
    first = fit_half_spaces(pool, cut(pool, weights, 0.1), 1)
    assert angle_error(first.slopes @ first.whitening.root.T @ root, weights @ root).min() > most


def test_neither_blocks_nor_the_other_masks_change_a_result(monkeypatch):
    rng = np.random.default_rng(3)
    pool = skewed_pool(rng, 700, 6)
    mask = cut(pool, rng.standard_normal((9, 6)), 0.2)
    whole = fit_half_spaces(pool, mask, steps=16)
    alone = fit_half_spaces(pool, mask[4:5], steps=16)
    np.testing.assert_allclose(alone.slopes[0], whole.slopes[4], rtol=0, atol=1e-12)
    monkeypatch.setattr(halfspaces, "BYTES_PER_BLOCK", 8 * 700 * 2)
    blocks = fit_half_spaces(pool, mask, steps=16)
    np.testing.assert_allclose(blocks.slopes, whole.slopes, rtol=0, atol=1e-12)
    np.testing.assert_allclose(blocks.offsets, whole.offsets, rtol=0, atol=1e-12)


def test_picks_of_nothing_and_of_everything_are_finite():
    rng = np.random.default_rng(4)
    pool = rng.standard_normal((50, 3))
    mask = np.repeat([[False], [True]], 50, axis=1)
    found = fit_half_spaces(pool, mask, steps=16).logits(pool)
    assert np.isfinite(found).all()
    assert found[0].max() < 0 < found[1].min()
