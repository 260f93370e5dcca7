"""Who joins a step: independent coins, and a test that tells them from batches of one size.

Chi-square tests with fixed seeds, each at a false-alarm rate of 1e-3.
"""

import numpy as np
import pytest
from scipy import stats

from curation_audit.streams import Streams
from curation_audit.training.poisson import DRAWS_PER_BLOCK, poisson_batches, successes

ALPHA = 1e-3


def generators(n_shadows: int, seed: int = 0) -> list[np.random.Generator]:
    return Streams(seed).for_shadows("test", range(n_shadows)).generators("sampling")


def inclusion(batches, n_units: int) -> np.ndarray:
    """Batches as bool (steps, S, N); nobody may be in one twice."""
    joined = []
    for units, real in batches:
        counts = np.zeros((len(units), n_units), int)
        np.add.at(counts, (np.nonzero(real)[0], units[real]), 1)
        assert counts.max(initial=0) <= 1
        joined.append(counts.astype(bool))
    return np.array(joined)


def poisson(rate: float, steps: int, n_units: int) -> np.ndarray:
    """(steps, N) of one shadow that holds everyone."""
    held = np.ones((1, n_units), bool)
    return inclusion(poisson_batches(held, rate, steps, generators(1)), n_units)[:, 0]


def fixed_size(rate: float, steps: int, n_units: int) -> np.ndarray:
    """What is often taken for it: batches of one size, without replacement."""
    ranks = np.random.default_rng(0).random((steps, n_units)).argsort(axis=1)
    return ranks < round(rate * n_units)


def shuffled(rate: float, steps: int, n_units: int) -> np.ndarray:
    """The other one: epochs of a shuffled data set, cut into batches."""
    rng, n_batches = np.random.default_rng(0), round(1 / rate)
    epochs = [rng.permutation(n_units) * n_batches // n_units for _ in range(steps // n_batches)]
    return np.concatenate([np.arange(n_batches)[:, None] == epoch for epoch in epochs])


def binomial_fit(counts: np.ndarray, n: int, rate: float) -> float:
    """The p-value of counts being Binomial(n, rate): chi-square over cells expecting >= 10."""
    expected = stats.binom.pmf(np.arange(n + 1), n, rate) * len(counts)
    observed = np.bincount(counts, minlength=n + 1)
    cell = (np.cumsum(expected) // 10).astype(int)
    cell[cell == cell[-1]] = max(cell[-1] - 1, 0)  # the last may be short: add it to its neighbour
    expected, observed = np.bincount(cell, expected), np.bincount(cell, observed)
    kept = expected > 0
    return stats.chisquare(observed[kept], expected[kept]).pvalue


def pair_fit(joined: np.ndarray, other: np.ndarray, rate: float) -> float:
    """The p-value of two coins being independent, both of the rate: a 2 by 2 table."""
    cell = 2 * joined + other
    q = np.array([1 - rate, rate])
    return stats.chisquare(
        np.bincount(cell.ravel(), minlength=4), np.outer(q, q).ravel() * cell.size
    ).pvalue


def p_values(joined: np.ndarray, rate: float) -> dict[str, float]:
    """By unit over steps, by step over units, and pairs of neighbours either way."""
    steps, n_units = joined.shape
    return {
        "a unit's steps": binomial_fit(joined.sum(axis=0), steps, rate),
        "a step's units": binomial_fit(joined.sum(axis=1), n_units, rate),
        "two steps": pair_fit(joined[1:], joined[:-1], rate),
        "two units": pair_fit(joined[:, 1:], joined[:, :-1], rate),
    }


RATES = [0.01, 0.05, 0.2, 0.6, 0.97]


@pytest.mark.parametrize("rate", RATES)
def test_every_unit_joins_every_step_by_its_own_coin(rate):
    found = p_values(poisson(rate, 1000, 500), rate)
    assert min(found.values()) > ALPHA / (len(found) * len(RATES)), found


@pytest.mark.parametrize(
    ("wrong", "caught"), [(fixed_size, "a step's units"), (shuffled, "a unit's steps")]
)
def test_other_samplers_are_caught(wrong, caught):
    assert p_values(wrong(0.05, 1000, 500), 0.05)[caught] < 1e-6


def test_a_rate_a_little_off_is_caught():
    assert p_values(poisson(0.05, 1000, 500), 0.052)["two steps"] < 1e-6


def test_only_held_units_join_and_others_keep_their_coins():
    held = np.random.default_rng(0).random((3, 80)) < 0.5
    everyone = np.ones_like(held)
    some = inclusion(poisson_batches(held, 0.3, 40, generators(3)), 80)
    whole = inclusion(poisson_batches(everyone, 0.3, 40, generators(3)), 80)
    np.testing.assert_array_equal(some, whole & held)


def test_shadows_have_coins_of_their_own_whatever_is_beside_them():
    held = np.ones((4, 300), bool)
    together = inclusion(poisson_batches(held, 0.1, 400, generators(4)), 300)
    for s, generator in enumerate(generators(4)):
        alone = inclusion(poisson_batches(held[:1], 0.1, 400, [generator]), 300)
        np.testing.assert_array_equal(alone[:, 0], together[:, s])
    a, b = together[:, 0], together[:, 1]
    assert pair_fit(a, b, 0.1) > ALPHA


def test_blocks_of_steps_join_without_a_seam():
    n_units, rate = 2 * DRAWS_PER_BLOCK, 0.25  # two steps a block
    joined = poisson(rate, 7, n_units)
    assert joined.shape == (7, n_units)
    assert binomial_fit(joined.sum(axis=0), 7, rate) > ALPHA
    assert pair_fit(joined[1:], joined[:-1], rate) > ALPHA


def test_steps_without_anybody_are_steps():
    batches = list(poisson_batches(np.ones((2, 3), bool), 1e-9, 5, generators(2)))
    assert [units.shape for units, _ in batches] == [(2, 0)] * 5
    nobody = poisson_batches(np.zeros((2, 3), bool), 0.5, 5, generators(2))
    assert all(not real.any() for _, real in nobody)


class Given:
    """Uniform numbers that a test chose, over and over."""

    def __init__(self, *values: float) -> None:
        self.values = values

    def random(self, size):
        return np.resize(self.values, size)


def test_gaps_come_from_uniform_numbers_by_inversion():
    # a failure is left behind for each factor 1/2 of 1 - u: u = .5 is on the edge, one failure
    np.testing.assert_array_equal(successes(10, 0.5, Given(0.0)), range(10))
    np.testing.assert_array_equal(successes(10, 0.5, Given(0.49, 0.51)), [0, 2, 3, 5, 6, 8, 9])
    np.testing.assert_array_equal(successes(10, 0.5, Given(0.8)), [2, 5, 8])
    assert successes(10, 1e-300, Given(1 - 2**-53)).size == 0
