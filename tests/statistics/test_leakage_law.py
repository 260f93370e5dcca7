"""The law of leakage: hand-worked numbers, inverses, fits that recover what made the points."""

import math
from dataclasses import replace

import numpy as np
import pytest

from curation_audit.statistics.leakage_law import (
    DimensionLaw,
    Measured,
    PowerLaw,
    SpectralLaw,
    advantage_of_mu,
    extrapolated,
    fit_dimension,
    fit_power,
    mu_of_auc,
)
from curation_audit.statistics.leverage import leverages, mean_mu_squared, mu_of_auditor

SHIFTS = np.random.default_rng(0).normal(size=(60, 5)) * np.array([3, 2, 1, 0.5, 0.1])
# two records a direction, of equal size: every leverage is one half at the reference
EQUAL = np.repeat(np.eye(4), 2, axis=0)


def test_mu_and_advantage_by_hand():
    assert mu_of_auc(0.5) == 0
    assert mu_of_auc(0.8413447460685429) == pytest.approx(math.sqrt(2))  # Phi(1)
    # 2 Phi(1) - 1 = .6827, and nothing
    assert advantage_of_mu(np.array([2.0, 0.0])) == pytest.approx(0.6826894921370859 / 2)
    assert advantage_of_mu(np.array([np.inf])) == 1


def test_at_the_reference_the_law_is_the_filter():
    for noise in (0.0, 0.3):
        law = SpectralLaw.of(SHIFTS, fall=1, noise=noise)
        expected = leverages(SHIFTS, noise * np.eye(5))
        np.testing.assert_allclose(law.leverages(30), expected, atol=1e-10)
        np.testing.assert_allclose(law.each_mu(30), mu_of_auditor(expected), atol=1e-8)


def test_without_noise_equal_records_follow_the_law_of_their_dimension():
    law = SpectralLaw.of(EQUAL, fall=1)
    np.testing.assert_allclose(law.leverages(4), 0.5)
    for n in (4, 10, 1000):
        assert law.dimension(n) == pytest.approx(4)
        assert law.mu(n) ** 2 == pytest.approx(mean_mu_squared(n, 4))
    # leverage 4 / 20 of records of ten: 4 h / (1 - h) = 1
    assert law.mu(10) == pytest.approx(1.0)


def test_noise_takes_dimensions_as_records_grow_by_hand():
    """Means of n records: the coins' variance is 1/2 at 4 records and 1/20 at 40."""
    law = SpectralLaw.of(EQUAL, fall=1, noise=0.5)
    assert law.variances == pytest.approx([0.5] * 4)
    assert law.dimension(4) == pytest.approx(4 / 2)
    assert law.dimension(40) == pytest.approx(4 / 11)
    # a sum's variance grows instead
    assert SpectralLaw.of(EQUAL, fall=-1, noise=0.5).dimension(40) == pytest.approx(4 * 10 / 11)


def test_noise_may_fall_along_with_the_coins():
    """Then as many directions show at any number of records; half as fast: 1/2 against 1/20 by
    1/20^.5 of 1/2."""
    law = SpectralLaw.of(EQUAL, fall=1, noise=0.5)
    steady = replace(law, noise_fall=1.0)
    assert steady.dimension(4) == steady.dimension(40) == pytest.approx(2)
    half = replace(law, noise_fall=0.5)
    assert half.dimension(40) == pytest.approx(4 * 0.05 / (0.05 + 0.5 / 10**0.5))
    # noise that is asked for is told as it is where the records are, not at the reference
    for one in (law, steady, half):
        needed = one.noise_needed(40, 0.05)
        there = 0.5 * 10**-one.noise_fall
        told = replace(one, noise=(there + needed**2) * 10**one.noise_fall)
        assert told.advantage(40) == pytest.approx(0.05, rel=1e-4)


def test_the_steps_back_are_inverses():
    law = SpectralLaw.of(SHIFTS, fall=1, noise=0.01)
    noisy = law.brought_to(30, 0.6)
    assert noisy.auc(30) == pytest.approx(0.6, abs=1e-5)
    needed = law.records_needed(0.05)
    assert law.advantage(needed) == pytest.approx(0.05, rel=1e-5)
    more = law.noise_needed(30, 0.05)
    total = SpectralLaw.of(SHIFTS, fall=1, noise=0.01 + more**2)
    assert total.advantage(30) == pytest.approx(0.05, rel=1e-4)


def test_ends():
    law = SpectralLaw.of(SHIFTS, fall=1)
    assert law.brought_to(30, 0.5).auc(30) == 0.5
    more = law.brought_to(30, 0.97)  # the law sees less: there is no noise to take
    assert more.auc(30) == pytest.approx(0.97, abs=1e-4)
    assert (more.noise, more.gain > 1) == (0, True)
    assert law.noise_needed(30, 0.99) == 0
    with pytest.raises(ValueError, match="advantage"):
        law.records_needed(1.5)
    with pytest.raises(ValueError, match="noise"):
        SpectralLaw.of(SHIFTS, fall=1, noise=-1)


def points(law, sizes, error=0.01):
    return [Measured(n, law.mu(n), error) for n in sizes]


def test_fits_find_what_made_the_points():
    assert fit_dimension(points(DimensionLaw(56.5), (100, 200, 400))).dimension == pytest.approx(
        56.5, rel=1e-6
    )
    found = fit_power(points(PowerLaw(10.0, -0.6), (100, 200, 400)))
    assert (found.scale, found.exponent) == pytest.approx((10.0, -0.6))


def test_a_power_law_that_was_fitted_where_the_law_bends_misses_it_further_out():
    law = DimensionLaw(64)
    power = fit_power(points(law, (50, 100, 200)))
    assert power.mu(3200) < 0.85 * law.mu(3200)
    assert fit_dimension(points(law, (50, 100, 200))).mu(3200) == pytest.approx(law.mu(3200))


def test_the_range_covers_the_law_as_often_as_it_says():
    """At least 95 %: of 60 more than nine miss with probability 4e-4."""
    law, rng = DimensionLaw(30.0), np.random.default_rng(1)
    missed = 0
    for _ in range(60):
        noisy = [Measured(n, rng.normal(law.mu(n), 0.02), 0.02) for n in (100, 200, 400)]
        found = extrapolated(noisy, 1600, rng, n_draws=100)
        missed += not found.low <= law.mu(1600) <= found.high
    assert missed <= 9


def test_points_that_are_none():
    with pytest.raises(ValueError, match="points at 2 sizes"):
        fit_power([Measured(10, 1.0, 0.1), Measured(10, 1.1, 0.1)])
    with pytest.raises(ValueError, match="above 0"):
        fit_power([Measured(10, 1.0, 0.1), Measured(20, -0.1, 0.1)])
    with pytest.raises(ValueError, match="errors"):
        fit_dimension([Measured(10, 1.0, 0.0)])
