"""The Gaussian sum: sensitivities that explicit neighbours attain, and noise of known size."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from curation_audit.dp.events import Gaussian
from curation_audit.dp.gaussian_sum import GaussianSum
from curation_audit.dp.noise import SecureNoise
from curation_audit.statistics.gdp import mu_of_epsilon
from curation_audit.streams import Streams

ALARM = 1e-6
"""False alarms of one statistical test. Seeds are fixed, but for releases: they have none."""
ADJACENCIES = ("add_remove", "zero_out", "replace_one")
C = 1.5


def mechanism(**changes) -> GaussianSum:
    basic = {"clip": C, "mu": 0.5, "adjacency": "zero_out", "denominator": 1.0}
    return GaussianSum(**{**basic, **changes})


def moved(of: GaussianSum, before: np.ndarray, after: np.ndarray) -> float:
    """How far the sum moves where one unit's contribution becomes another."""
    one = np.ones((1, 1), dtype=bool)
    sums = [of.exact(of.vectors(unit[None]), one)[0] for unit in (before, after)]
    return float(np.linalg.norm(sums[0] - sums[1]))


NOBODY = np.zeros(2)
ATTAINED = [
    ("add_remove", False, [9.0, 9.0], NOBODY, C),
    ("zero_out", False, [9.0, 9.0], NOBODY, C),
    ("zero_out", True, [0.0, 9.0], NOBODY, C),
    ("replace_one", False, [9.0, 9.0], [-9.0, -9.0], 2 * C),
    ("replace_one", True, [9.0, 0.0], [0.0, 9.0], math.sqrt(2) * C),
]


@pytest.mark.parametrize(("adjacency", "nonnegative", "one", "other", "expected"), ATTAINED)
def test_sensitivities_are_attained(adjacency, nonnegative, one, other, expected):
    of = mechanism(adjacency=adjacency, nonnegative=nonnegative)
    assert of.sum_sensitivity == pytest.approx(expected, rel=1e-15)
    found = moved(of, np.array(one), np.array(other))
    assert found <= of.sum_sensitivity
    assert found == pytest.approx(of.sum_sensitivity, rel=1e-12)


units = arrays(np.float64, (2, 4), elements=st.floats(-1e3, 1e3))


@given(pair=units, adjacency=st.sampled_from(ADJACENCIES), nonnegative=st.booleans())
def test_no_neighbour_moves_the_sum_further(pair, adjacency, nonnegative):
    of = mechanism(adjacency=adjacency, nonnegative=nonnegative)
    one, other = np.abs(pair) if nonnegative else pair
    if adjacency != "replace_one":
        other = np.zeros(4)
    assert moved(of, one, other) <= of.sum_sensitivity * (1 + 1e-12)


def test_signed_vectors_break_the_bound_of_nonnegative_ones():
    of = mechanism(adjacency="replace_one", nonnegative=True)
    assert moved(of, np.array([9.0, 0]), np.array([-9.0, 0])) > of.sum_sensitivity * 1.4


@pytest.mark.parametrize(
    ("adjacency", "expected"), [("zero_out", 0.0037306), ("replace_one", 0.0074613)]
)
def test_the_noise_of_a_mean_of_a_thousand_unit_vectors(adjacency, expected):
    """dp.md section 5: per coordinate, at epsilon 1 and delta 1e-5."""
    of = GaussianSum(clip=1.0, mu=mu_of_epsilon(1, 1e-5), adjacency=adjacency, denominator=1000)
    assert of.noise == pytest.approx(expected, abs=5e-8)
    assert of.sigma == pytest.approx(1000 * expected, abs=5e-5)
    assert of.event("scorer") == Gaussian(mu=of.mu, what="scorer")


@pytest.mark.parametrize("adjacency", ADJACENCIES)
def test_noise_has_the_stated_size_and_the_sum_is_exact(adjacency, rng):
    denominator = 1.0 if adjacency == "add_remove" else 40.0
    of = mechanism(adjacency=adjacency, denominator=denominator)
    vectors = of.vectors(rng.standard_normal((40, 500)))
    held = rng.random((20, 40)) < 0.5
    generators = Streams(3).for_shadows("test", range(20)).generators("noise")
    released = of.release(vectors, held, generators)
    wanted = np.array([vectors[mine].sum(axis=0) for mine in held]) / denominator
    noise = ((released - wanted) / of.noise).ravel()
    assert of.noise == pytest.approx(of.sum_sensitivity / 0.5 / denominator)
    assert stats.kstest(noise, stats.norm.cdf).pvalue > ALARM
    for wrong in (0.85, 1.15):
        assert stats.kstest(noise, stats.norm(scale=wrong).cdf).pvalue < ALARM


def test_every_shadow_draws_from_its_own_source(rng):
    of = mechanism()
    vectors, held = of.vectors(rng.standard_normal((5, 3))), np.ones((4, 5), dtype=bool)
    streams = Streams(3)
    together = of.release(vectors, held, streams.for_shadows("t", range(4)).generators("noise"))
    for s in range(4):
        alone = of.release(vectors, held[:1], streams.for_shadows("t", [s]).generators("noise"))
        np.testing.assert_allclose(alone[0], together[s], rtol=1e-14)
    assert len(np.unique(together.round(12), axis=0)) == 4


def test_without_noise_the_release_is_exact_and_spends_nothing_that_could_be_stated(rng):
    of = mechanism(mu=math.inf)
    vectors, held = of.vectors(rng.standard_normal((5, 3))), np.ones((1, 5), dtype=bool)
    np.testing.assert_array_equal(of.release(vectors, held, []), of.exact(vectors, held))
    assert of.sigma == of.noise == 0
    with pytest.raises(ValueError, match="mu must be finite"):
        of.event("scorer")


def test_a_release_is_never_the_same_again(rng):
    of = mechanism()
    vectors, held = of.vectors(rng.standard_normal((5, 30))), np.ones((1, 5), dtype=bool)
    first, second = (of.release(vectors, held, [SecureNoise()]) for _ in range(2))
    assert (first != second).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"adjacency": "add_remove", "denominator": 40}, "the number of units is secret"),
        ({"clip": 0}, "clip must be positive"),
        ({"clip": math.inf}, "clip must be finite"),
        ({"denominator": 0}, "denominator must be positive"),
        ({"mu": 0}, "mu must be positive"),
        ({"mu": math.nan}, "mu must be positive"),
    ],
)
def test_constants_out_of_range(changes, message):
    with pytest.raises(ValueError, match=message):
        mechanism(**changes)


def test_the_argument_goes_with_the_sensitivity():
    assert "is in the sum, or is not" in mechanism().argument
    assert "2 C" in mechanism(adjacency="replace_one").argument
    assert "2 C^2" in mechanism(adjacency="replace_one", nonnegative=True).argument
