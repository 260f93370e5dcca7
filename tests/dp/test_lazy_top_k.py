"""Lazy Gumbel top-k has the distribution of the full draw, whatever the threshold."""

import numpy as np
import pytest
from scipy import stats

from curation_audit.dp import lazy_top_k
from curation_audit.dp.lazy_top_k import Threshold, lazy_gumbel_top_k
from tests.dp.plackett_luce import ALARM, SCORES, p_value, plackett_luce

N = 10_000
EXPECTED = plackett_luce(SCORES, 1.0, 2)
THRESHOLDS = {  # (tau, cut)
    "too high, all thinned": (5.0, 2.0),
    "too high, the best apart": (5.0, 1.0),
    "middling, half thinned": (2.0, 0.7),
    "middling, the cut above tau": (0.4, 1.5),
    "low, all thinned": (-1.0, 2.0),
    "too high, none thinned": (4.0, -1.0),
}


def threshold(tau: float, cut: float, share: float = 1.0) -> Threshold:
    """With the smallest chance that is allowed, times ``share``."""
    return Threshold(tau, cut, share * float(lazy_top_k._chance(np.array(cut), tau, 1.0)))


def race(limit: Threshold, rng: np.random.Generator) -> np.ndarray:
    return lazy_top_k._race(SCORES, 2, 1.0, limit, rng)


def afresh(limit: Threshold, rng: np.random.Generator) -> np.ndarray:
    """The wrong retry: everything once more until two rows exceed."""
    while True:
        first = lazy_top_k._exceeders(SCORES, 1.0, limit, rng)
        if first.size >= 2:
            return first[:2]


@pytest.mark.parametrize("case", THRESHOLDS.values(), ids=THRESHOLDS)
def test_the_threshold_does_not_change_the_distribution(case, rng):
    draws = [race(threshold(*case), rng) for _ in range(N)]
    assert p_value(draws, EXPECTED) > ALARM


def test_a_chance_above_the_smallest_does_not_either(rng):
    draws = [race(Threshold(2.0, 0.7, 0.6), rng) for _ in range(N)]
    assert p_value(draws, EXPECTED) > ALARM


def test_the_retry_is_taken_and_keeps_who_came_first(rng):
    limit = threshold(*THRESHOLDS["too high, all thinned"])
    sizes = [lazy_top_k._exceeders(SCORES, 1.0, limit, rng).size for _ in range(2000)]
    few = np.mean(np.array(sizes) < 2)
    assert few > 0.95  # the rest comes from the retry
    for seed in range(200):
        first = lazy_top_k._exceeders(SCORES, 1.0, limit, np.random.default_rng(seed))
        picked = race(limit, np.random.default_rng(seed))
        np.testing.assert_array_equal(picked[: first.size], first[:2])


def test_wrong_variants_are_rejected(rng):
    started_afresh = [afresh(threshold(2.0, 2.0), rng) for _ in range(N // 2)]
    assert p_value(started_afresh, EXPECTED) < ALARM
    chance_too_small = [race(threshold(0.0, 2.0, share=0.8), rng) for _ in range(N)]
    assert p_value(chance_too_small, EXPECTED) < ALARM


def test_exceeders_are_those_of_a_full_draw(rng):
    """How many exceed, and how often each row does: its own chance, for every row."""
    limit, n = threshold(1.5, 0.7), N
    found = np.zeros((n, SCORES.size), dtype=bool)
    for one in found:
        one[lazy_top_k._exceeders(SCORES, 1.0, limit, rng)] = True
    chances = -np.expm1(-np.exp(SCORES - 1.5))
    for row, chance in enumerate(chances):
        assert stats.binomtest(int(found[:, row].sum()), n, chance).pvalue > ALARM
    counts = np.bincount(found.sum(axis=1), minlength=5)
    expected = [1.0]
    for chance in chances:
        expected = np.convolve(expected, [1 - chance, chance])
    assert stats.chisquare(counts, n * np.array(expected)).pvalue > ALARM


@pytest.mark.parametrize("scale", [0.7, 3.0])
def test_a_large_pool_is_plackett_luce_step_by_step(scale, rng):
    """Picks minus their exact chances, given the picks before, add up to nothing."""
    n_best, n_good, n_pool, k, n = 20, 200, 70_000, 40, 300
    scores = np.zeros(n_pool)
    scores[:n_best], scores[n_best : n_best + n_good] = 8 * scale, 5 * scale
    assert lazy_top_k._pilot(scores, k, scale, rng) is not None
    group = np.digitize(np.arange(n_pool), [n_best, n_best + n_good])
    picked = np.array([lazy_gumbel_top_k(scores, k, scale, rng) for _ in range(n)])
    before = np.cumsum(np.eye(3)[group[picked]], axis=1) - np.eye(3)[group[picked]]
    left = np.bincount(group) - before  # (n, k, 3)
    weights = left * np.exp([8, 5, 0])
    chances = weights / weights.sum(axis=2, keepdims=True)
    for g in range(3):
        surplus = (group[picked] == g) - chances[:, :, g]
        spread = np.sqrt((chances[:, :, g] * (1 - chances[:, :, g])).sum())
        assert 2 * stats.norm.sf(abs(surplus.sum()) / spread) > ALARM
        # a scale that is wrong by a tenth shows
        wrong = left * np.exp(np.array([8, 5, 0]) * 1.1)
        wrong = (wrong / wrong.sum(axis=2, keepdims=True))[:, :, g]
        off = ((group[picked] == g) - wrong).sum() / np.sqrt((wrong * (1 - wrong)).sum())
        assert g == 1 or 2 * stats.norm.sf(abs(off)) < ALARM
    # among equals every row is as likely, and so is every place in the order
    low = picked[group[picked] == 2]
    assert (
        stats.kstest(low / n_pool, stats.uniform(loc=220 / n_pool, scale=1 - 220 / n_pool).cdf)[1]
        > ALARM
    )


def test_pools_of_every_kind_give_k_different_rows(rng):
    m = 70_000
    pools = {
        "equal": np.zeros(m),
        "normal": rng.standard_normal(m),
        "one far above": np.r_[1e9, np.zeros(m - 1)],
        "sorted": np.arange(m) / m,
        "counts": rng.poisson(0.01, m).astype(np.float32),
    }
    for name, scores in pools.items():
        for k in (1, 300, m - 1, m):
            for scale in (1e-12, 1.0, 1e12):
                picked = lazy_gumbel_top_k(scores, k, scale, rng)
                assert picked.dtype == np.int64, name
                assert np.unique(picked).size == k, name
                if name == "one far above" and scale < 1e3:
                    assert picked[0] == 0
                if name == "normal" and scale < 1e-3:
                    np.testing.assert_array_equal(picked, np.argsort(-scores)[:k])


def test_work_is_saved_where_it_can_be(rng):
    scores = rng.standard_normal(300_000)
    limit = lazy_top_k._pilot(scores, 300, 1.0, rng)
    assert limit is not None
    assert limit.chance >= lazy_top_k._chance(np.array(limit.cut), limit.tau, 1.0)
    assert (scores > limit.cut).mean() + limit.chance < lazy_top_k.LARGEST_SHARE
    assert lazy_top_k._exceeders(scores, 1.0, limit, rng).size >= 300
    assert lazy_top_k._pilot(scores, 290_000, 1.0, rng) is None  # a full draw is no slower
