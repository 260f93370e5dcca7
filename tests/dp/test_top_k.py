"""Noisy top-k against exact enumeration, and slightly wrong variants that it must reject."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from curation_audit.dp import top_k
from curation_audit.dp.lazy_top_k import lazy_gumbel_top_k
from curation_audit.streams import Streams
from tests.dp.plackett_luce import ALARM, SCORES, p_value, plackett_luce

ONE_SHADOW = {
    "gumbel": top_k.gumbel_top_k,
    "lazy": lazy_gumbel_top_k,
    "gaussian": top_k.gaussian_top_k,
    "exponential": top_k.exponential_top_k,
    "permute_and_flip": top_k.permute_and_flip_top_k,
}
BATCHED = {
    "gumbel": (top_k.gumbel_top_k_batch, top_k.gumbel_top_k),
    "gaussian": (top_k.gaussian_top_k_batch, top_k.gaussian_top_k),
}


@pytest.fixture(params=ONE_SHADOW.values(), ids=ONE_SHADOW)
def mechanism(request):
    return request.param


def generators(n: int, seed: int = 0) -> list[np.random.Generator]:
    return Streams(seed).for_shadows("test", range(n)).generators("noise")


def many(mechanism, scores, k, scale, n, rng):
    return [mechanism(scores, k, scale, rng) for _ in range(n)]


def permute_and_flip(scores, scale, k):
    """By definition: rows in random order, each accepted with its probability; then k rounds."""
    if k == 0:
        return {(): 1.0}
    accepted = np.zeros(len(scores))
    for order in permutations(range(len(scores))):
        going = 1.0
        for row in order:
            chance = np.exp((scores[row] - scores.max()) / scale)
            accepted[row] += going * chance
            going *= 1 - chance
    first = accepted / accepted.sum()
    outcomes = {}
    for row in range(len(scores)):
        rest = np.delete(np.arange(len(scores)), row)
        for later, probability in permute_and_flip(scores[rest], scale, k - 1).items():
            outcomes[row, *(int(rest[i]) for i in later)] = first[row] * probability
    return outcomes


def test_enumeration_has_the_known_answers():
    expected = plackett_luce(SCORES, 1.0, 2)
    assert expected[3, 2] == pytest.approx(0.2933830867670302, rel=1e-12)
    assert expected[3, 2] + expected[2, 3] == pytest.approx(0.45024928113825025, rel=1e-12)
    two = np.array([0.0, 2.0])  # OpenDP 0.16: exponential mechanism, permute-and-flip
    assert plackett_luce(two, 1.0, 1)[1,] == pytest.approx(0.8808, abs=5e-5)
    assert permute_and_flip(two, 1.0, 1)[1,] == pytest.approx(0.9323, abs=5e-5)


def test_one_shot_gumbel_is_plackett_luce(rng):
    draws = top_k.gumbel_top_k_batch(np.tile(SCORES, (60_000, 1)), 2, 1.0, [rng] * 60_000)
    assert p_value(draws, plackett_luce(SCORES, 1.0, 2)) > ALARM
    # of another scale, and of Gaussian noise with the same standard deviation, it is not
    assert p_value(draws, plackett_luce(SCORES, 1.1, 2)) < ALARM
    sigma = np.pi / np.sqrt(6)
    normal = top_k.gaussian_top_k_batch(np.tile(SCORES, (60_000, 1)), 2, sigma, [rng] * 60_000)
    assert p_value(normal, plackett_luce(SCORES, 1.0, 2)) < ALARM


def test_rounds_of_the_exponential_mechanism_are_plackett_luce(rng):
    draws = many(top_k.exponential_top_k, SCORES, 2, 1.0, 30_000, rng)
    assert p_value(draws, plackett_luce(SCORES, 1.0, 2)) > ALARM
    assert p_value(draws, permute_and_flip(SCORES, 1.0, 2)) < ALARM


def test_exponential_noise_is_permute_and_flip(rng):
    draws = many(top_k.permute_and_flip_top_k, SCORES, 2, 1.0, 30_000, rng)
    assert p_value(draws, permute_and_flip(SCORES, 1.0, 2)) > ALARM
    assert p_value(draws, plackett_luce(SCORES, 1.0, 2)) < ALARM
    # noise that is drawn once for both rounds is another mechanism
    once = top_k.largest(SCORES + rng.standard_exponential((30_000, 4)), 2)
    assert p_value(once, permute_and_flip(SCORES, 1.0, 2)) < ALARM


def test_noise_has_the_claimed_distribution(rng):
    zeros = np.zeros((1, 100_000))
    for noisy, claimed in [
        (top_k.gumbel_scores(zeros, 3.0, [rng]), stats.gumbel_r),
        (top_k.gaussian_scores(zeros, 3.0, [rng]), stats.norm),
    ]:
        assert stats.kstest(noisy[0], claimed(scale=3.0).cdf).pvalue > ALARM
        for wrong in (2.9, 3.1):
            assert stats.kstest(noisy[0], claimed(scale=wrong).cdf).pvalue < ALARM


def test_a_shadow_among_many_equals_one_alone(rng):
    scores = rng.standard_normal((5, 200))
    for batched, alone in BATCHED.values():
        together = batched(scores, 7, 0.5, generators(5))
        assert together.dtype == np.int64
        for s, generator in enumerate(generators(5)):
            np.testing.assert_array_equal(together[s], alone(scores[s], 7, 0.5, generator))


def test_the_order_drawn_is_that_of_the_noisy_scores(rng):
    scores = rng.standard_normal((4, 50))
    noisy = top_k.gumbel_scores(scores, 1.0, generators(4))
    picked = top_k.gumbel_top_k_batch(scores, 50, 1.0, generators(4))
    np.testing.assert_array_equal(picked, np.argsort(-noisy, axis=1))


@given(
    data=st.data(),
    dtype=st.sampled_from([np.float32, np.float64]),
    m=st.integers(1, 12),
    scale=st.floats(1e-3, 1e3),
)
def test_picks_are_k_different_rows_and_scores_stay_as_they_were(data, dtype, m, scale):
    scores = data.draw(arrays(dtype, m, elements=st.floats(-1e3, 1e3, width=32)))
    k = data.draw(st.integers(1, m))
    before = scores.copy()
    scores.setflags(write=False)
    for mechanism in ONE_SHADOW.values():
        picked = mechanism(scores, k, scale, np.random.default_rng(0))
        assert picked.dtype == np.int64
        assert picked.shape == (k,)
        assert len(set(picked.tolist())) == k
        assert 0 <= picked.min() <= picked.max() < m
        # float32 scores become float64 before the noise is added
        exact = mechanism(scores.astype(np.float64), k, scale, np.random.default_rng(0))
        np.testing.assert_array_equal(picked, exact)
    np.testing.assert_array_equal(scores, before)


def test_noise_far_below_the_gaps_changes_nothing(mechanism, rng):
    scores = rng.permutation(500) / 10
    best = np.argsort(-scores)
    for k in (1, 20, 500):
        np.testing.assert_array_equal(mechanism(scores, k, 1e-4, rng), best[:k])


def test_float32_scores_get_float64_noise(rng):
    scores = np.zeros((1, 10_000), dtype=np.float32)
    for noisy in (top_k.gumbel_scores(scores, 1.0, [rng]), top_k.gaussian_scores(scores, 1, [rng])):
        assert noisy.dtype == np.float64
        assert (noisy.astype(np.float32) != noisy).mean() > 0.99


class Fixed:
    """A generator whose exponential draws are 1, and ``first`` for the first row."""

    def __init__(self, first: float) -> None:
        self.first = first

    def standard_exponential(self, out):
        out[:] = 1.0
        out[0] = self.first


def test_a_row_far_below_can_still_be_picked():
    # 30 scales below: a float32 Gumbel, which ends near 16, would never reach
    scores = np.array([0, 30, 30], dtype=np.float32)
    assert top_k.gumbel_top_k(scores, 1, 1.0, Fixed(1e-14)).tolist() == [0]
    noisy = top_k.gumbel_scores(scores[None], 1.0, [Fixed(0.0)])  # whose logarithm is -inf
    assert 36.7 < noisy[0, 0] < 37.5


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_must_be_finite(mechanism, bad, rng):
    with pytest.raises(ValueError, match=r"scores: found 1 of 4 that are not finite, expected"):
        mechanism(np.array([0, bad, 1, 2]), 2, 1.0, rng)


@pytest.mark.parametrize("k", [-1, 0, 5])
def test_k_must_be_one_to_m(mechanism, k, rng):
    with pytest.raises(ValueError, match=rf"found k = {k}, expected 1 to 4"):
        mechanism(SCORES, k, 1.0, rng)


@pytest.mark.parametrize("scale", [0.0, -1.0, np.inf, np.nan])
def test_noise_must_be_there(mechanism, scale, rng):
    with pytest.raises(ValueError, match=r"(scale|sigma) must be (positive|finite), got"):
        mechanism(SCORES, 2, scale, rng)


def test_shapes_must_fit(mechanism, rng):
    with pytest.raises(ValueError, match=r"found scores \(1, 4\), expected \(m,\)"):
        mechanism(SCORES[None], 2, 1.0, rng)
    for batched, _ in BATCHED.values():
        with pytest.raises(ValueError, match=r"found scores \(2, 4\) and 1 generators"):
            batched(np.tile(SCORES, (2, 1)), 2, 1.0, [rng])
