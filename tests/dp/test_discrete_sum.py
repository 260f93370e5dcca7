"""The Gaussian sum in whole numbers: what rounding does to neighbours, and the exact noise."""

import builtins
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from curation_audit.checks import InputError
from curation_audit.dp.discrete_sum import DiscreteSum, discrete_gaussian
from curation_audit.dp.events import Zcdp
from curation_audit.dp.gaussian_sum import GaussianSum
from curation_audit.dp.ledger import guarantee_of
from curation_audit.statistics.zcdp import rho_of_epsilon
from curation_audit.streams import Streams

FALSE_ALARM = 1e-6
"""How often one test of noise that no seed repeats fails by chance."""
ADJACENCIES = ("add_remove", "zero_out", "replace_one")
C = 1.5
RHOS = {0.5: 0.006642, 1: 0.024356, 2: 0.088153, 4: 0.311065, 8: 1.052358}
"""By epsilon at delta 1e-6: reference page dp.md, section 5."""


def mechanism(**changes) -> DiscreteSum:
    basic = {"clip": C, "mu": 0.5, "adjacency": "zero_out", "denominator": 1.0}
    return DiscreteSum(bounds=GaussianSum(**{**basic, **changes}))


def whole(of: DiscreteSum, contributions: np.ndarray) -> list[int]:
    """The sum as Python's own integers, which know no rounding."""
    return [int(value / of.grid) for value in of.vectors(contributions).sum(axis=0)]


units = arrays(np.float64, (2, 4), elements=st.floats(-1e3, 1e3))


@given(
    pair=units,
    adjacency=st.sampled_from(ADJACENCIES),
    nonnegative=st.booleans(),
    mu=st.sampled_from([1e-3, 0.3, 1.0, 20.0]),
)
def test_no_neighbour_moves_the_whole_numbers_further(pair, adjacency, nonnegative, mu):
    of = mechanism(adjacency=adjacency, nonnegative=nonnegative, mu=mu)
    one, other = np.abs(pair) if nonnegative else pair
    if adjacency != "replace_one":
        other = np.zeros(4)
    moved = [a - b for a, b in zip(whole(of, one[None]), whole(of, other[None]), strict=True)]
    squared = sum(step * step for step in moved)
    assert squared * of.grid**2 <= of.sum_sensitivity**2 * (1 + 1e-13)


@given(vector=arrays(np.float64, (3, 5), elements=st.floats(-1e6, 1e6)))
def test_rounding_goes_towards_zero_by_less_than_a_step(vector):
    of = mechanism()
    before, after = of.bounds.vectors(vector), of.vectors(vector)
    assert (np.abs(after) <= np.abs(before)).all()
    assert (np.abs(before - after) < of.grid).all()
    assert (after * before >= 0).all()
    np.testing.assert_array_equal(after / of.grid, np.round(after / of.grid))


def test_rounding_to_the_nearest_would_break_the_bound():
    """The same check refutes it: a vector of length C just below a step grows."""
    of = mechanism(clip=1.0, mu=1.0)
    vector = np.full(4, 0.5)  # of length one
    of = mechanism(clip=1.0 - 0.4 * of.grid, mu=1.0)
    clipped = of.bounds.vectors(vector[None])
    nearest = np.round(clipped / of.grid) * of.grid
    assert np.linalg.norm(nearest) > of.clip * (1 + 1e-9)
    assert np.linalg.norm(of.vectors(vector[None])) <= of.clip


def test_the_grid_is_a_power_of_two_far_finer_than_the_noise():
    for mu in (1e-4, 0.37, 1.0, 25.0):
        of = mechanism(mu=mu)
        assert math.frexp(of.grid)[0] == 0.5
        assert 2**20 <= of.sigma / of.grid < 2**21


@pytest.mark.parametrize("epsilon", RHOS)
def test_the_rho_of_an_epsilon_is_what_one_release_spends(epsilon):
    rho = rho_of_epsilon(epsilon, 1e-6)
    assert rho == pytest.approx(RHOS[epsilon], abs=5e-7)
    of = mechanism(mu=math.sqrt(2 * rho) * (1 - 1e-9))
    spent = of.event("scorer")
    assert isinstance(spent, Zcdp)
    assert spent.rho == pytest.approx(of.sum_sensitivity**2 / (2 * of.sigma**2), rel=1e-11)
    assert spent.rho <= rho
    claim = guarantee_of([spent], "zero_out")
    assert claim.epsilon_at(1e-6) == pytest.approx(epsilon, rel=2e-3)


@pytest.mark.parametrize("adjacency", ADJACENCIES)
def test_opendp_agrees_with_what_is_spent(adjacency):
    """Its map has the last word: less noise than the rho pays for is refused."""
    of = mechanism(adjacency=adjacency, mu=0.9)
    zeros = np.zeros(3, dtype=np.int64)
    words = {"scale": of.sigma / of.grid, "sensitivity": of.sum_sensitivity / of.grid}
    assert discrete_gaussian(zeros, **words, rho=of.event("x").rho).dtype == np.int64
    with pytest.raises(ValueError, match="too small"):
        discrete_gaussian(zeros, **words, rho=of.event("x").rho * (1 - 1e-9))


def pmf(scale: float, reach: int) -> np.ndarray:
    """The discrete Gaussian on -reach..reach: weights ``exp(-x^2 / (2 scale^2))``."""
    weights = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * scale**2))
    return weights / weights.sum()


def p_value(drawn: np.ndarray, expected: np.ndarray) -> float:
    reach = len(expected) // 2
    found = np.bincount(np.clip(drawn, -reach, reach) + reach, minlength=len(expected))
    return float(stats.chisquare(found, expected * len(drawn)).pvalue)


def test_the_sampler_has_the_distribution_of_the_theorem():
    scale, reach, n = 1.3, 5, 20_000
    drawn = discrete_gaussian(np.zeros(n, dtype=np.int64), scale=scale, sensitivity=1, rho=1)
    far = pmf(scale, 40)
    ends = far[: 40 - reach + 1].sum(), far[40 + reach :].sum()
    expected = np.concatenate([[ends[0]], far[41 - reach : 40 + reach], [ends[1]]])
    assert p_value(drawn, expected) > FALSE_ALARM
    wrong = pmf(scale * 1.1, reach)
    assert p_value(drawn, wrong) < FALSE_ALARM


def test_a_release_is_on_the_grid_about_the_sum_and_never_the_same(rng):
    of = mechanism(adjacency="add_remove", mu=2.0)
    vectors = of.vectors(rng.standard_normal((30, 5000)))
    one, other = of.draw(vectors), of.draw(vectors)
    np.testing.assert_array_equal(one / of.grid, np.round(one / of.grid))
    assert (one != other).any()
    off = (one - vectors.sum(axis=0)) / of.sigma
    assert stats.kstest(off, stats.norm.cdf).pvalue > FALSE_ALARM
    assert stats.kstest(off, stats.norm(scale=1.3).cdf).pvalue < FALSE_ALARM


def test_the_denominator_comes_after_the_noise(rng):
    of = mechanism(denominator=8.0)
    drawn = of.draw(of.vectors(rng.standard_normal((8, 20)))) * 8 / of.grid
    np.testing.assert_array_equal(drawn, np.round(drawn))
    assert of.noise == of.sigma / 8


def test_the_exact_sum_needs_no_order(rng):
    of = mechanism()
    vectors = of.vectors(1e-3 * rng.standard_normal((500, 7)))
    expected = [sum(int(v / of.grid) for v in column) for column in vectors.T]
    assert of.counts(vectors).tolist() == expected
    assert of.counts(vectors[rng.permutation(500)]).tolist() == expected


def test_audits_draw_seeded_noise_on_the_rounded_sums(rng):
    of = mechanism()
    vectors, held = of.vectors(rng.standard_normal((6, 3))), np.ones((2, 6), dtype=bool)
    drawn = [
        of.release(vectors, held, Streams(3).for_shadows("t", range(2)).generators("noise"))
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*drawn)
    assert np.std(drawn[0] - vectors.sum(axis=0)) < 5 * of.sigma


def test_what_would_leave_64_bits_is_refused():
    of = mechanism(mu=1e12)
    with pytest.raises(InputError, match="too large for an exact sum"):
        of.counts(np.zeros((40, 2)))


@pytest.mark.parametrize("changes", [{"mu": math.inf}, {"clip": 1e-300}])
def test_where_there_is_no_grid(changes):
    with pytest.raises(ValueError, match=r"finite mu|out of range"):
        mechanism(**changes)


def test_without_opendp_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def missing(name, *rest, **words):
        if name.startswith("opendp"):
            raise ModuleNotFoundError(name)
        return real(name, *rest, **words)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(InputError, match=r"opendp: is not installed; pip install .*\[secure\]"):
        mechanism().draw(np.zeros((2, 2)))


def test_the_argument_tells_of_the_rounding():
    of = mechanism()
    assert "towards zero" in of.argument
    assert of.describe() == of.bounds.describe() | {"grid": of.grid}
