"""The adjoint against the forward recursion and brute force, and what no adversary may be told."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation_audit.statistics.leverage import mu_of_known_others
from curation_audit.statistics.noisy_descent import (
    Around,
    Descent,
    carried,
    carried_along,
    path_of,
)

P, N = 4, 7


class Bowl:
    """``(w - centre)' H (w - centre) / 2``: first order is exact along every path."""

    def __init__(self, seed: int, deviation: float = 1.0) -> None:
        rng = np.random.default_rng(seed)
        root = rng.standard_normal((P, P))
        self.hessian, self.centre = root @ root.T / P, rng.standard_normal(P)
        self.records, self.deviation = rng.standard_normal((N, P)), deviation
        self.sampled = np.cov(rng.standard_normal((P, 20)))

    def gradient(self, weights):
        return self.hessian @ (weights - self.centre)

    def disturbance(self, weights, rng):
        return self.deviation * rng.standard_normal(P)

    def around(self, weights):
        return Around(self.hessian, self.records, self.sampled)


def quiet():
    return np.random.default_rng(0), 0.0


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_without_momentum_it_is_the_forward_recursion(rate):
    """``A' = (1 - r H) A - r g``, ``V' = (1 - r H) V (1 - r H)' + r^2 Q``."""
    bowl, shift, noise, sampled = Bowl(1), np.zeros((P, N)), np.zeros((P, P)), np.zeros((P, P))
    shrink = np.eye(P) - rate * bowl.hessian
    for _ in range(9):
        shift = shrink @ shift - rate * bowl.records.T
        noise = shrink @ noise @ shrink.T + rate**2 * np.eye(P)
        sampled = shrink @ sampled @ shrink.T + rate**2 * bowl.sampled
    found = carried(bowl, np.zeros(P), Descent(steps=9, learning_rate=rate), [quiet()])
    np.testing.assert_allclose(found.records, shift.T, atol=1e-12)
    np.testing.assert_allclose(found.white, noise, atol=1e-12)
    np.testing.assert_allclose(found.sampled, sampled, atol=1e-12)
    np.testing.assert_allclose(found.noise(3.0), 9 * noise + sampled, atol=1e-11)


@pytest.mark.parametrize("averaged", [1, 3, 8])
@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_records_shift_what_is_released_as_if_each_entered_every_step(momentum, averaged):
    bowl = Bowl(2)
    descent = Descent(steps=8, learning_rate=0.3, momentum=momentum, averaged=averaged)
    found = carried(bowl, np.ones(P), descent, [quiet()])

    class With(Bowl):
        def gradient(self, weights):
            return super().gradient(weights) + self.records[3]

    held = path_of(With(2), np.ones(P), descent, quiet())[-averaged:].mean(axis=0)
    np.testing.assert_allclose(held - found.released, found.records[3], atol=1e-12)


def test_the_noise_of_many_paths_has_the_covariance_that_is_said():
    """The largest of 10 z-values: false alarm below 1e-3."""
    bowl = Bowl(3)
    descent = Descent(steps=6, learning_rate=0.4, momentum=0.5, averaged=3)
    rng, n = np.random.default_rng(4), 4000
    ends = [path_of(bowl, np.zeros(P), descent, (rng, 1.0))[-3:].mean(axis=0) for _ in range(n)]
    white = carried(bowl, np.zeros(P), descent, [quiet()]).white
    errors = np.sqrt((np.outer(np.diag(white), np.diag(white)) + white**2) / n)
    z = np.abs(np.cov(np.array(ends).T) - white) / errors
    assert z.max() < 4
    wrong = np.abs(np.cov(np.array(ends).T) - 1.1**2 * white) / errors
    assert wrong.max() > 6


def test_twins_are_where_no_noise_is_on_average():
    bowl, descent = Bowl(5), Descent(steps=5, learning_rate=0.2)
    twins = [(np.random.default_rng(6), sign) for sign in (1.0, -1.0)]
    still, noisy = (
        carried(bowl, np.zeros(P), descent, paths).released for paths in ([quiet()], twins)
    )
    np.testing.assert_allclose(noisy, still, atol=1e-12)
    alone = path_of(bowl, np.zeros(P), descent, (np.random.default_rng(6), 1.0))[-1]
    assert np.abs(alone - still).max() > 0.1


@given(
    seed=st.integers(0, 10**6),
    steps=st.integers(1, 12),
    momentum=st.sampled_from([0.0, 0.9]),
    average=st.booleans(),
    deviation=st.floats(0.1, 10),
)
@settings(max_examples=60, deadline=None)
def test_nobody_is_told_more_than_the_mechanism_allows(seed, steps, momentum, average, deviation):
    """Records of length 1 in every step, noise of deviation s: mu is at most sqrt(steps) / s."""
    bowl = Bowl(seed)
    bowl.records /= np.linalg.norm(bowl.records, axis=1, keepdims=True)
    descent = Descent(
        steps=steps, learning_rate=0.1, momentum=momentum, averaged=steps if average else 1
    )
    found = carried(bowl, np.zeros(P), descent, [quiet()])
    mu = mu_of_known_others(found.records, deviation**2 * found.white, rank=1e-14)
    assert mu.max() <= np.sqrt(steps) / deviation * (1 + 1e-6)
    if steps == 1:
        np.testing.assert_allclose(mu, 1 / deviation, rtol=1e-6)


def test_one_step_reaches_what_the_mechanism_allows():
    bowl, descent = Bowl(7), Descent(steps=1, learning_rate=0.5)
    found = carried_along(bowl, np.zeros((2, P)), descent)
    np.testing.assert_allclose(found.records, -0.5 * bowl.records)
    np.testing.assert_allclose(found.white, 0.25 * np.eye(P))


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"learning_rate": 0.0}, {"momentum": 1.0}, {"averaged": 4}]
)
def test_settings_that_no_run_has(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Descent(**({"steps": 3, "learning_rate": 0.1} | wrong))
