"""Ranks by their exact names: known answers, invariances, and their order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation_audit.statistics.leverage import leverages
from curation_audit.statistics.spectra import Spectrum

RANKS = ("numerical_rank", "hard_rank", "soft_rank", "stable_rank")


def ranks(spectrum):
    return [getattr(spectrum, name) for name in RANKS]


@pytest.mark.parametrize("n", [1, 5])
def test_equal_eigenvalues_have_every_rank_alike(n):
    np.testing.assert_allclose(ranks(Spectrum.of_gradients(3 * np.eye(n, 7))), [n] * 4)


def test_two_eigenvalues_by_hand():
    """Of 3 and 1: 16 / 10; 4 / 3^(3/4); 4 / 3; the names are those of Jha & Reagen."""
    found = Spectrum(np.array([3.0, 1.0]))
    assert found.numerical_rank == 2
    assert found.hard_rank == pytest.approx(1.6)
    assert found.soft_rank == pytest.approx(4 / 3**0.75)
    assert found.stable_rank == pytest.approx(4 / 3)
    assert found.effective_dimension(1.0) == pytest.approx(3 / 4 + 1 / 2)


def test_nothing_has_no_rank():
    assert ranks(Spectrum.of_gradients(np.zeros((4, 3)))) == [0, 0, 0, 0]
    assert ranks(Spectrum(np.array([]))) == [0, 0, 0, 0]
    assert Spectrum(np.zeros(3)).effective_dimension(0.1) == 0


def test_directions_below_a_millionth_are_none():
    assert Spectrum(np.array([1.0, 2e-6, 0.9e-6])).numerical_rank == 2


@given(seed=st.integers(0, 10**6), scale=st.floats(1e-3, 1e3), wide=st.booleans())
@settings(max_examples=50, deadline=None)
def test_neither_order_nor_rotation_nor_size_matters(seed, scale, wide):
    rng = np.random.default_rng(seed)
    gradients = rng.standard_normal((5, 9) if wide else (9, 5)) * rng.random(9 if wide else 5)
    kept = gradients.copy()
    turned = np.linalg.qr(rng.standard_normal((gradients.shape[1],) * 2))[0]
    found = Spectrum.of_gradients(gradients)
    other = Spectrum.of_gradients(scale * rng.permutation(gradients) @ turned)
    np.testing.assert_allclose(ranks(other)[1:], ranks(found)[1:], rtol=1e-6)
    np.testing.assert_array_equal(gradients, kept)
    assert found.stable_rank <= found.hard_rank * (1 + 1e-9)
    assert found.hard_rank <= found.soft_rank * (1 + 1e-9)
    assert found.soft_rank <= min(gradients.shape) * (1 + 1e-9)


def test_the_gram_matrix_of_either_side_gives_the_same():
    gradients = np.random.default_rng(0).standard_normal((4, 11))
    wide, tall = Spectrum.of_gradients(gradients), Spectrum.of_gradients(gradients.T)
    np.testing.assert_allclose(wide.eigenvalues, tall.eigenvalues)
    singular = np.linalg.svd(gradients, compute_uv=False)
    np.testing.assert_allclose(wide.eigenvalues, singular**2)


def test_products_are_as_good_as_gradients():
    gradients = np.random.default_rng(3).standard_normal((5, 8))
    found, expected = Spectrum.of_gram(gradients @ gradients.T), Spectrum.of_gradients(gradients)
    np.testing.assert_allclose(found.eigenvalues, expected.eigenvalues)
    assert found.largest == pytest.approx(np.linalg.norm(gradients, 2) ** 2)
    assert Spectrum(np.array([])).largest == 0
    with pytest.raises(ValueError, match="finite matrix"):
        Spectrum.of_gram(np.full((2, 2), np.nan))


def test_the_effective_dimension_is_the_sum_of_leverages():
    """With shifts for gradients and noise on every direction: what enters the law of leakage."""
    shifts = np.random.default_rng(1).standard_normal((40, 6)) * np.array([9, 5, 3, 1, 0.3, 0.1])
    noise = 2.0
    expected = leverages(shifts, noise * np.eye(6)).sum()
    assert Spectrum.of_gradients(shifts).effective_dimension(4 * noise) == pytest.approx(expected)
    # ... and the participation ratio is not it
    assert abs(Spectrum.of_gradients(shifts).hard_rank - expected) > 1


@pytest.mark.parametrize("wrong", [np.array([[1.0, np.nan]]), np.ones(3)])
def test_what_is_no_matrix(wrong):
    with pytest.raises(ValueError, match="finite matrix"):
        Spectrum.of_gradients(wrong)


@pytest.mark.parametrize("ridge", [0.0, -1.0, np.inf])
def test_a_ridge_is_a_positive_number(ridge):
    with pytest.raises(ValueError, match="ridge"):
        Spectrum(np.ones(2)).effective_dimension(ridge)
