"""Keyed Gumbel top-k: its distribution, its floats against exact arithmetic, shards and retries."""

import hashlib
import itertools
import math
import secrets
from collections import Counter

import mpmath
import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from curation_audit.checks import InputError, SettingError
from curation_audit.dp.keyed_top_k import (
    DOMAIN,
    OF_NOISE,
    OF_SCORE,
    UNIT,
    Best,
    KeyedTopK,
    hashed_ids,
    keyed_words,
    log_exponential,
)
from curation_audit.dp.top_k_budget import gumbel_rho
from curation_audit.statistics.zcdp import epsilon_of_rho
from tests.dp.plackett_luce import ALARM, SCORES, plackett_luce

M = 400
IDS = [f"row {i}" for i in range(M)]
KEY = bytes(range(32))


def query(k=2, scale=1.0, delta_inf=1.0, **changes) -> KeyedTopK:
    basic = {"monotone": False, "bound": 64.0}
    made = KeyedTopK(k=k, delta_inf=delta_inf, rate=1.0, **(basic | changes))
    return KeyedTopK(k=k, delta_inf=delta_inf, rate=made.step / scale, **(basic | changes))


def words(*values: int) -> np.ndarray:
    return np.array([(v >> 64, v & (2**64 - 1)) for v in values], dtype=np.uint64)


# the noise


def test_the_noise_is_what_it_says():
    hashed = hashed_ids(["a", "ü"])
    cipher = Cipher(algorithms.AES256(KEY), modes.ECB()).encryptor()
    for row, one in zip(keyed_words(hashed, KEY).tolist(), ("a", "ü"), strict=True):
        block = hashlib.sha256(DOMAIN + one.encode()).digest()[:16]
        drawn = int.from_bytes(cipher.update(block))
        assert row == [drawn >> 64, drawn & (2**64 - 1)]


EDGES = (0, 1, 2**40, 2**64 - 1, 2**64, 2**74 + 3, 2**127 - 1, 2**127, 2**128 - 2**30, 2**128 - 1)


@settings(deadline=None, max_examples=300)
@given(
    st.one_of(
        st.integers(0, 2**128 - 1),
        st.sampled_from(EDGES),
        st.integers(0, 127).map(lambda n: (1 << n) + 12345 % (1 << n)),
        st.integers(0, 127).map(lambda n: 2**128 - 1 - ((1 << n) + 999 % (1 << n))),
    )
)
def test_the_logarithm_is_as_exact_as_the_slack_says(w):
    with mpmath.workdps(80):
        share = (mpmath.mpf(w) + mpmath.mpf(1) / 2) / mpmath.mpf(2) ** 128
        exact = mpmath.log(-mpmath.log1p(-share))
        found = float(log_exponential(words(w))[0])
        assert abs(found - exact) <= (OF_NOISE - 90) * mpmath.mpf(UNIT)


def test_the_tail_reaches_beyond_float32_and_float64():
    noise = -log_exponential(words(0, 2**128 - 1))
    assert noise[0] == pytest.approx(129 * math.log(2))
    assert noise[1] == pytest.approx(-math.log(129 * math.log(2)))
    assert noise[0] > 36.8 > 16  # where 53 bits and where float32 end


def test_the_noise_is_gumbel():
    drawn = -log_exponential(keyed_words(hashed_ids(map(str, range(50_000))), KEY))
    assert stats.kstest(drawn, stats.gumbel_r.cdf).pvalue > ALARM
    assert stats.kstest(drawn, stats.gumbel_r(scale=1.05).cdf).pvalue < ALARM


# the picks


def drawn_sets(of: KeyedTopK, n: int) -> Counter:
    """Sets of picks of four rows under n keys of one stream."""
    rng, ids = np.random.default_rng(11), ["a", "b", "c", "d"]
    found: Counter = Counter()
    for _ in range(n):
        picks = of.best(SCORES, ids, rng.bytes(32)).picks()
        found[frozenset(ids.index(one) for one in picks)] += 1
    return found


def expected_sets(scale: float) -> dict[frozenset, float]:
    chances: dict[frozenset, float] = {}
    for order, chance in plackett_luce(SCORES, scale, 2).items():
        chances[frozenset(order)] = chances.get(frozenset(order), 0.0) + chance
    return chances


def test_sets_are_those_of_the_exponential_mechanism():
    """Reference page dp.md, section 10, item 5: P[{2, 3}] = .4502492811 at b = 1."""
    n, right = 8_000, expected_sets(1.0)
    assert right[frozenset({2, 3})] == pytest.approx(0.4502492811, abs=1e-10)
    found = drawn_sets(query(), n)

    def p_value(chances) -> float:
        counts = [found[one] for one in chances]
        return float(stats.chisquare(counts, [n * p for p in chances.values()]).pvalue)

    assert p_value(right) > ALARM
    assert p_value(expected_sets(1.15)) < ALARM


def test_the_first_of_two_is_the_largest_value():
    """P[(3, 2)] = .2933830868 in order: seen by who holds the key, and never released."""
    rng, n, hits = np.random.default_rng(5), 8_000, 0
    for _ in range(n):
        hits += query().best(SCORES, ["a", "b", "c", "d"], rng.bytes(32)).ids == ("d", "c")
    assert stats.binomtest(hits, n, 0.2933830868).pvalue > ALARM


scores_of_pool = np.random.default_rng(3).normal(size=M)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, M - 1), max_size=6), st.integers(1, M))
def test_shards_give_what_the_whole_gives_to_the_last_bit(cuts, k):
    of = query(k=k)
    whole = of.best(scores_of_pool, IDS, KEY)
    edges = [0, *sorted({*cuts}), M]
    parts = [of.best(scores_of_pool[a:b], IDS[a:b], KEY) for a, b in itertools.pairwise(edges)]
    for merged in (of.merged(parts), of.merged([of.merged(parts[:1]), *reversed(parts[1:])])):
        assert merged.ids == whole.ids
        np.testing.assert_array_equal(merged.values, whole.values)
    assert len(whole.picks()) == k


def test_order_and_retries_do_not_matter_and_another_key_does(rng):
    of = query(k=20)
    order = rng.permutation(M)
    one = of.best(scores_of_pool, IDS, KEY)
    other = of.best(scores_of_pool[order], [IDS[i] for i in order], KEY)
    assert one.picks() == other.picks() == of.best(scores_of_pool, IDS, KEY).picks()
    assert of.best(scores_of_pool, IDS, secrets.token_bytes(32)).picks() != one.picks()


def test_picks_are_in_an_order_that_scores_do_not_change():
    of = query(k=M)
    up, down = (of.best(s, IDS, KEY).picks() for s in (scores_of_pool, -scores_of_pool))
    assert up == down


def test_equal_values_go_by_the_hash():
    of, order = query(k=2), words(5, 3, 9)
    parts = [
        Best(ids=(name,), order=order[i : i + 1], values=np.array([1.0]))
        for i, name in enumerate("abc")
    ]
    assert of.merged(parts).picks() == of.merged(parts[::-1]).picks() == ("b", "a")


# sensitivity of the rounded scores


@settings(deadline=None)
@given(
    st.floats(1e-3, 1e3),
    st.lists(st.tuples(st.floats(-60, 60), st.floats(-1, 1)), min_size=2, max_size=6),
    st.booleans(),
)
def test_rounded_scores_stay_within_the_stated_range(delta_inf, rows, monotone):
    of = query(delta_inf=delta_inf, monotone=monotone, bound=1e4)
    before = np.array([a for a, _ in rows])
    moves = np.array([abs(b) if monotone else b for _, b in rows]) * delta_inf
    after = before + moves
    if np.abs(after - before).max() > delta_inf:  # rounded in this test, not by the mechanism
        after = before + 0.999 * moves
    difference = of._steps(after) - of._steps(before)
    assert (difference.max() - difference.min()) * of.step <= of.score_range
    assert of.score_range <= (1 if monotone else 2) * delta_inf * (1 + 2**-10)


def test_what_is_cut_off_moves_no_further():
    of = query(bound=2.0)
    np.testing.assert_array_equal(of._steps(np.array([-9.0, 9.0])) * of.step, [-2, 2])


# the budget


def test_the_noise_keeps_the_budget_with_its_slack():
    asked = {"epsilon": 1.0, "delta": 1e-6, "k": 1000, "n_pool": 10**6, "bound": 10.0}
    of = KeyedTopK.within(**asked, delta_inf=0.01, monotone=True)
    slack = of.slack(1.0, 10**6)
    assert of.scale == pytest.approx(0.01 * 71.64, rel=2e-3)  # dp.md, section 5, monotone
    assert epsilon_of_rho(of.rho, 1e-6 - slack) <= 1.0
    assert of.rho == gumbel_rho(1000, of.score_range, of.scale)
    assert of.score_range == pytest.approx(0.01, rel=1e-3)


def test_the_slack_by_hand():
    of = query(k=10, bound=64.0, scale=2.0)
    error = 2.0**-53 * (OF_NOISE + OF_SCORE * (32 + of.rate))
    by_hand = 10 * math.expm1(2 * error) + 1000 * 2.0**-71 + 1e6 * 2.0**-129
    assert of.mismatch(1000) == pytest.approx(by_hand)
    assert of.slack(2.0, 1000) == pytest.approx((1 + math.e**2) * by_hand)
    everything = query(k=1000).mismatch(1000)
    assert everything == pytest.approx(1000 * 2.0**-71)


def test_gaps_at_the_kth_place_are_as_rare_as_the_proof_says(rng):
    """P(log-gap <= eta) <= k (e^eta - 1), and for equal scores it is not far below."""
    k, eta, n = 5, 0.02, 40_000
    for scores in (np.zeros(40), rng.normal(size=40) * 3):
        times = rng.standard_exponential((n, 40)) * np.exp(-scores)
        first = np.sort(times, axis=1)
        close = int((np.log(first[:, k] / first[:, k - 1]) <= eta).sum())
        bound = k * math.expm1(eta)
        assert stats.binomtest(close, n, bound, alternative="greater").pvalue > ALARM
    # most weight remains after k of many equal rows: the bound is nearly attained
    times = np.sort(rng.standard_exponential((n, 400)), axis=1)
    close = int((np.log(times[:, k] / times[:, k - 1]) <= eta).sum())
    assert close > 0.8 * n * k * math.expm1(eta)


def test_more_than_floats_can_do_is_refused():
    with pytest.raises(SettingError, match="rounding alone"):
        KeyedTopK.within(
            epsilon=8.0, delta=1e-12, k=10**5, n_pool=10**6, delta_inf=1.0, monotone=True, bound=1e6
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"k": 0}, "k must"), ({"delta_inf": -1}, "delta_inf"), ({"bound": 1e30}, "whole numbers")],
)
def test_constants_out_of_range(changes, message):
    with pytest.raises(ValueError, match=message):
        query(**changes)


def test_wrong_input_is_told():
    of = query()
    with pytest.raises(InputError, match="scores: found 1 of 2 that are not finite"):
        of.best(np.array([1.0, math.nan]), ["a", "b"], KEY)
    with pytest.raises(InputError, match="'a' on several rows"):
        of.best(np.zeros(3), ["a", "b", "a"], KEY)
    one = of.best(np.zeros(1), ["a"], KEY)
    with pytest.raises(InputError, match="'a' on several rows"):
        of.merged([one, one])
    with pytest.raises(ValueError, match="2 scores and 1 ids"):
        of.best(np.zeros(2), ["a"], KEY)
    with pytest.raises(ValueError, match="32 bytes"):
        of.best(np.zeros(1), ["a"], b"short")
    with pytest.raises(ValueError, match="nothing to merge"):
        of.merged([])
