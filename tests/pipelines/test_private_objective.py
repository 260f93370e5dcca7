"""What descent is linearised at: slopes by differences, clipping, and the noise of sampling."""

from dataclasses import replace

import numpy as np
import pytest

from curation_audit.pipelines.scorers.private_objective import PrivateObjective

P, ROWS = 4, 30
RNG = np.random.default_rng(0)
UNITS = np.arange(ROWS)


def objective(**changes) -> PrivateObjective:
    given = {
        "rows": np.random.default_rng(1).standard_normal((ROWS, P)),
        "owners": UNITS,
        "held": np.where(UNITS < 20, 0.5, 1.0),
        "candidates": np.arange(20),
        "public": np.random.default_rng(2).standard_normal((50, P)),
        "told": np.arange(50),
        "clip": 100.0,
        "l2": 0.1,
        "n_units": 25.0,
        "sampling_rate": 1.0,
        "noise": 0.0,
    }
    return PrivateObjective(**(given | changes))


def by_differences(of, weights, step=1e-6):
    moves = step * np.eye(P)
    change = [of.gradient(weights + one) - of.gradient(weights - one) for one in moves]
    return np.array(change) / (2 * step)


@pytest.mark.parametrize("clip", [100.0, 0.3], ids=["nothing is clipped", "some are"])
def test_the_hessian_is_the_slope_of_the_gradient(clip):
    of, weights = objective(clip=clip), RNG.standard_normal(P)
    lengths = np.linalg.norm(of.around(weights).records * of.n_units, axis=1)
    assert clip > 1 or 0 < (lengths < 0.29).sum() < 20  # some are clipped, some are not
    np.testing.assert_allclose(of.around(weights).hessian, by_differences(of, weights), atol=1e-7)


def test_of_units_of_several_rows_the_symmetric_part_is_near():
    """Whose clipped gradients turn: what is not symmetric is left out, and that is little."""
    of, weights = objective(clip=0.8, owners=UNITS // 3, held=np.full(10, 0.5)), np.ones(P)
    of = replace(of, candidates=np.arange(10))
    slope = by_differences(of, weights)
    error = np.linalg.norm(of.around(weights).hessian - slope) / np.linalg.norm(slope)
    assert error < 0.15
    unclipped = replace(of, clip=100.0)
    np.testing.assert_allclose(
        unclipped.around(weights).hessian, by_differences(unclipped, weights), atol=1e-7
    )


def test_a_record_adds_its_clipped_gradient_over_the_number_of_units():
    of, weights = objective(clip=0.4), np.zeros(P)
    rows = of.rows[:20]
    expected = -rows / 2 * np.minimum(1, 0.4 / np.linalg.norm(rows / 2, axis=1))[:, None] / 25
    np.testing.assert_allclose(of.around(weights).records, expected, rtol=1e-12)
    more = replace(of, held=of.held + (np.arange(ROWS) == 4))
    moved = more.gradient(weights) - of.gradient(weights)
    np.testing.assert_allclose(moved, expected[4], atol=1e-15)


@pytest.mark.parametrize(("rate", "noise"), [(1.0, 0.2), (0.3, 0.0), (0.3, 0.2)])
def test_disturbances_have_the_covariance_that_is_said(rate, noise):
    """Largest of 10 z-values over 20,000 draws: false alarm below 1e-3."""
    of, weights = objective(sampling_rate=rate, noise=noise), np.ones(P) / 3
    rng, n = np.random.default_rng(3), 20_000
    drawn = np.array([of.disturbance(weights, rng) for _ in range(n)])
    said = of.around(weights).sampled + noise**2 * np.eye(P)
    errors = np.sqrt((np.outer(np.diag(said), np.diag(said)) + said**2) / n)
    assert (np.abs(np.cov(drawn.T) - said) / errors).max() < 4
    assert np.abs(drawn.mean(axis=0) / np.sqrt(np.diag(said) / n)).max() < 4


def test_some_rows_of_the_pool_stand_for_all_in_the_hessian_alone():
    of = objective()
    few = replace(of, told=np.arange(0, 50, 2))
    weights = np.ones(P)
    np.testing.assert_array_equal(few.gradient(weights), of.gradient(weights))
    assert np.abs(few.around(weights).hessian - of.around(weights).hessian).max() > 1e-4
