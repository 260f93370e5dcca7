"""A linear scorer from the order of its scores, or from the largest of them."""

import numpy as np
import pytest

from curation_audit.training.halfspaces import Whitening
from curation_audit.training.partial_scores import slopes_of_ranks, slopes_of_top

S, M, P = 6, 500, 8


def world(seed=0, n_columns=P):
    """Rows that are far from Gaussian, and scores with an offset."""
    rng = np.random.default_rng(seed)
    pool = rng.exponential(size=(M, n_columns)) @ rng.standard_normal((n_columns, n_columns))
    rows = Whitening.of(pool).apply(pool)
    slopes = rng.standard_normal((S, n_columns))
    return rows, slopes, slopes @ rows.T + rng.standard_normal((S, 1))


def cosine(found, true):
    return (found * true).sum(axis=1) / np.linalg.norm(found, axis=1) / np.linalg.norm(true, axis=1)


def picked_of(scores, k):
    return scores >= np.sort(scores, axis=1)[:, -k, None]


def test_ranks_fix_the_direction():
    rows, slopes, scores = world()
    ranks = scores.argsort(axis=1).argsort(axis=1) / M
    found = slopes_of_ranks(rows, ranks, 60)
    assert cosine(found, slopes).min() > 0.9999
    # and nothing but the order counts
    np.testing.assert_array_equal(found, slopes_of_ranks(rows, np.exp(3 * ranks), 60))


def test_every_step_turns_towards_the_true_direction():
    rows, slopes, scores = world(1)
    reached = [cosine(slopes_of_ranks(rows, scores, n), slopes) for n in (1, 2, 4, 8, 16)]
    assert (np.diff(reached, axis=0) > -1e-12).all()
    assert reached[0].min() < 0.995 < 0.999 < reached[-1].min()


@pytest.mark.parametrize("k", [30, 250, M])
def test_more_picked_rows_than_columns_fix_the_slopes(k):
    rows, slopes, scores = world(2)
    picked = picked_of(scores, k)
    shown = np.where(picked, scores, np.where(picked, scores, np.inf).min(axis=1, keepdims=True))
    np.testing.assert_allclose(slopes_of_top(rows, shown, picked, 8), slopes, atol=1e-4)


def test_with_few_picked_rows_the_others_lying_below_says_more():
    rows, slopes, scores = world(3, n_columns=40)
    picked = picked_of(scores, 15)
    alone = slopes_of_top(rows, scores, picked, 1)  # least squares over the picks
    assert cosine(slopes_of_top(rows, scores, picked, 8), slopes).mean() > (
        cosine(alone, slopes).mean() + 0.05
    )


def test_shadows_do_not_mix_and_one_may_have_picked_nothing():
    rows, _, scores = world(4)
    picked = picked_of(scores, 20)
    picked[2] = False
    every = slopes_of_top(rows, scores, picked, 4)
    assert not every[2].any()
    for s in range(S):
        one = slopes_of_top(rows, scores[s : s + 1], picked[s : s + 1], 4)
        np.testing.assert_allclose(one[0], every[s], atol=1e-9)
        one = slopes_of_ranks(rows, scores[s : s + 1], 4)
        np.testing.assert_allclose(one[0], slopes_of_ranks(rows, scores, 4)[s], atol=1e-9)
