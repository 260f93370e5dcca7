"""No unit adds more than C: by exact arithmetic, and for numbers that break naive clipping."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from curation_audit.dp.clipping import clipped, unit_sums

P = 5
NASTY = [0.0, 5e-324, 1e-310, 1e-162, 1.0, -1.0, 0.1, 1e154, 1e300, -1.7e308, np.inf, np.nan]
numbers = st.one_of(st.sampled_from(NASTY), st.floats(-10, 10))
norms = st.one_of(st.sampled_from([1e-3, 1.0, np.sqrt(2), 1e6]), st.floats(1e-6, 1e6))


def at_most(vector: np.ndarray, norm: float) -> bool:
    """Whether the length is at most the norm, without any rounding."""
    return sum(Fraction(float(x)) ** 2 for x in vector) <= Fraction(norm) ** 2


def naive(vectors: np.ndarray, norm: float) -> np.ndarray:
    """The formula of textbooks, which the tests below must reject."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors * np.minimum(1, norm / np.maximum(length, 1e-300))


@given(vectors=arrays(np.float64, (3, P), elements=numbers), norm=norms)
@example(vectors=np.full((3, P), 1.7e308), norm=1.0)
@example(vectors=np.full((3, P), 5e-324), norm=1.0)
def test_never_longer_than_the_norm_not_by_rounding_either(vectors, norm):
    before = vectors.copy()
    found = clipped(vectors, norm)
    assert found.dtype == np.float64
    assert np.isfinite(found).all()
    assert all(at_most(row, norm) for row in found)
    np.testing.assert_array_equal(vectors, before)
    np.testing.assert_array_equal(clipped(found, norm), found)  # and clipping again is nothing


def test_many_coordinates_do_not_add_up_to_more(rng):
    vectors = rng.standard_normal((200, 3000))
    assert all(at_most(row, 1.0) for row in clipped(vectors, 1.0))
    rounded = naive(vectors, 1.0)
    assert not all(at_most(row, 1.0) for row in rounded)  # the test can fail
    # what is as long as the norm to the last digit is no way around it
    assert all(at_most(row, 1.0) for row in clipped(rounded, 1.0))


@given(vectors=arrays(np.float64, (4, P), elements=st.floats(-3, 3)))
def test_short_vectors_stay_and_long_ones_keep_their_direction(vectors):
    found, length = clipped(vectors, 2.0), np.linalg.norm(vectors, axis=1)
    short = length < 2.0 * (1 - 1e-12)
    np.testing.assert_array_equal(found[short], vectors[short])
    for row, clean in zip(found[~short], vectors[~short], strict=True):
        np.testing.assert_allclose(row, clean * 2 / np.linalg.norm(clean), rtol=1e-12)


def test_known_answers():
    found = clipped(np.array([[3.0, 4.0], [0.3, 0.4], [0, 0], [0, 1], [0, -7]]), 1.0)
    np.testing.assert_allclose(found, [[0.6, 0.8], [0.3, 0.4], [0, 0], [0, 1], [0, -1]], rtol=1e-14)
    np.testing.assert_array_equal(found[3], [0, 1])  # a vote of one row stays a whole vote


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_counts_as_zero(bad):
    vectors = np.array([[bad, 1.0], [0.5, 0.0]])
    np.testing.assert_array_equal(clipped(vectors, 1.0), [[0, 0], [0.5, 0]])
    sums = unit_sums(np.array([[bad, 1.0], [2.0, 3.0]]), np.array([0, 0]), 1)
    np.testing.assert_array_equal(sums, [[2, 3]])
    assert np.isnan(naive(np.array([[np.nan, 1.0]]), 1.0)).any()


def test_huge_vectors_keep_their_direction():
    found = clipped(np.array([[1e300, 1e300], [1.7e308, -1.7e308], [1e200, 0]]), 1.0)
    np.testing.assert_allclose(found, [[0.5**0.5] * 2, [0.5**0.5, -(0.5**0.5)], [1, 0]], rtol=1e-12)


@pytest.mark.parametrize("norm", [0.0, -1.0, np.inf, np.nan])
def test_the_norm_must_be_a_positive_number(norm):
    with pytest.raises(ValueError, match=r"norm must be (positive|finite), got"):
        clipped(np.ones((1, 2)), norm)


# --- sums of a unit's rows


@given(
    rows=arrays(np.float64, (9, 2), elements=st.floats(-3, 3)),
    owner=st.lists(st.integers(0, 5), min_size=9, max_size=9),
)
def test_sums_equal_the_plain_loop(rows, owner):
    found = unit_sums(rows, np.array(owner), 7)
    for unit in range(7):
        wanted = [rows[i] for i in range(9) if owner[i] == unit]
        np.testing.assert_allclose(found[unit], np.sum(wanted or [[0, 0]], axis=0), atol=1e-14)


def test_one_row_each_is_the_rows_themselves_in_float64(rng):
    rows = rng.standard_normal((6, 3)).astype(np.float32)
    found = unit_sums(rows, np.arange(6), 6)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, rows)
    moved = unit_sums(rows, np.arange(6)[::-1], 6)  # as many units as rows, in another order
    np.testing.assert_array_equal(moved, rows[::-1])


def test_a_unit_whose_sum_overflows_is_nothing_and_hurts_nobody():
    rows = np.array([[1.7e308, 0], [1.7e308, 0], [0, 0.5]])
    found = clipped(unit_sums(rows, np.array([0, 0, 1]), 2), 1.0)
    np.testing.assert_array_equal(found, [[0, 0], [0, 0.5]])
