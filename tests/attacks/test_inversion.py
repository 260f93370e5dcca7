"""A regression from a stage's outputs to coordinates, and the filter on what it guesses."""

import numpy as np
import pytest

from curation_audit.attacks.inversion import RIDGES, _ridge_slopes, inverted


def made(n_candidates=12, r=3, n=4000, q=9, seed=0):
    """Outputs that lose nothing but r of q directions of noise."""
    rng = np.random.default_rng(seed)
    shifts = rng.standard_normal((n_candidates, r))
    shifts[0] *= 3
    coins = rng.random((n, n_candidates)) < 0.5
    moved = (coins - 0.5) @ shifts
    outputs = moved @ rng.standard_normal((r, q)) + 5
    return shifts, moved, outputs, coins


def test_what_loses_nothing_is_read_exactly():
    shifts, moved, outputs, _ = made()
    found = inverted(shifts, np.zeros((3, 3)), moved, outputs)
    assert found.r2 > 1 - 1e-9
    np.testing.assert_allclose(found.guess(outputs), moved, atol=1e-4)


def test_the_filter_takes_the_candidates_own_part_out():
    """``a' Sigma^-1 u / (1 - h)`` by hand, for a candidate of most of the variance and others."""
    shifts, moved, outputs, _ = made()
    found = inverted(shifts, np.zeros((3, 3)), moved, outputs)
    ratio = found.likelihood_ratios(found.guess(outputs[:50]))
    for n in range(len(shifts)):
        others = np.delete(shifts, n, axis=0)
        expected = moved[:50] @ np.linalg.solve(others.T @ others / 4, shifts[n])
        np.testing.assert_allclose(ratio[:, n], expected, rtol=0.15, atol=0.1)
    own = shifts[0] @ np.linalg.solve(shifts.T @ shifts / 4, shifts[0]) / 4
    assert own > 0.5  # so that without the denominator it would be off by more than half


def test_noise_of_a_mechanism_makes_the_filter_less_sure():
    shifts, moved, outputs, _ = made()
    noise = 4 * np.eye(3)
    guess = moved[:20]
    sure = inverted(shifts, np.zeros((3, 3)), moved, outputs).likelihood_ratios(guess)
    less = inverted(shifts, noise, moved, outputs).likelihood_ratios(guess)
    assert np.abs(less).mean() < 0.7 * np.abs(sure).mean()


def test_ridge_is_the_same_by_rows_and_by_columns():
    of = np.random.default_rng(2)
    for n, q in ((30, 8), (8, 30)):
        outputs, moved = of.standard_normal((n, q)), of.standard_normal((n, 2))
        for ridge, slopes in zip(RIDGES, _ridge_slopes(outputs, moved, RIDGES), strict=True):
            penalty = ridge * (outputs**2).sum() / min(n, q)
            expected = np.linalg.solve(outputs.T @ outputs + penalty * np.eye(q), outputs.T @ moved)
            np.testing.assert_allclose(slopes, expected, atol=1e-9)


def test_too_few_shadows():
    shifts, moved, outputs, _ = made(n=2)
    with pytest.raises(ValueError, match="4 analytic shadows are needed, got 2"):
        inverted(shifts, np.zeros((3, 3)), moved, outputs)
