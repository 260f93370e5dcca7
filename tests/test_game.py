"""Coins come in complementary pairs, and the control hands them to other pairs."""

import numpy as np
import pytest
from scipy import stats

from curation_audit.game import check_pairs, paired_inclusion, permute_pairs
from curation_audit.streams import Streams

STREAMS = Streams(7)
SIZES = pytest.mark.parametrize(("n_shadows", "n_candidates"), [(4, 1), (6, 5), (64, 200)])


@SIZES
def test_every_candidate_is_in_exactly_one_row_of_each_pair(n_shadows, n_candidates):
    inclusion = paired_inclusion(n_shadows, n_candidates, STREAMS)
    assert inclusion.shape == (n_shadows, n_candidates)
    assert inclusion.dtype == np.bool_
    for j in range(n_shadows // 2):
        assert (inclusion[2 * j].astype(int) + inclusion[2 * j + 1] == 1).all()


@SIZES
def test_every_candidate_is_in_half_of_the_shadows(n_shadows, n_candidates):
    inclusion = paired_inclusion(n_shadows, n_candidates, STREAMS)
    assert (inclusion.sum(axis=0) == n_shadows // 2).all()


ALARM = 1e-6


def fairness_p_value(coins):
    return stats.binomtest(int(coins.sum()), coins.size, 0.5).pvalue


def test_coins_are_fair():
    coins = paired_inclusion(200, 1000, STREAMS)[0::2]
    assert fairness_p_value(coins) > ALARM
    assert fairness_p_value(coins & paired_inclusion(200, 1000, Streams(8))[0::2]) < ALARM


def test_coins_of_different_pairs_and_candidates_are_independent():
    coins = np.where(paired_inclusion(400, 100, STREAMS)[0::2], 1.0, -1.0)  # 200 pairs
    for one in (coins, coins.T):
        products = (one @ one.T)[np.triu_indices(len(one), 1)]
        # of n fair signs the sum has variance n, and sums of different pairs are uncorrelated
        z = (products**2 / one.shape[1]).mean() - 1
        assert abs(z) < 5 * np.sqrt(2 / products.size)


def test_more_shadows_keep_the_pairs_that_are_there():
    few, many = paired_inclusion(8, 30, STREAMS), paired_inclusion(40, 30, STREAMS)
    np.testing.assert_array_equal(many[:8], few)


def test_another_seed_gives_other_coins():
    coins = paired_inclusion(8, 30, STREAMS), paired_inclusion(8, 30, Streams(8))
    assert (coins[0] != coins[1]).any(axis=1).all()


@pytest.mark.parametrize("n_shadows", [0, 2, 5, 7])
def test_odd_or_too_few_shadows_are_refused(n_shadows):
    with pytest.raises(ValueError, match="even and at least 4"):
        paired_inclusion(n_shadows, 3, STREAMS)


@pytest.mark.parametrize(
    "wrong",
    [
        np.ones((4, 2), dtype=bool),
        np.array([[True], [False], [True]]),
        np.array([[1.0], [0.0]]),
        np.array([True, False]),
    ],
    ids=["not complements", "odd", "no bool", "one axis"],
)
def test_inclusion_without_pairs_is_refused(wrong):
    with pytest.raises(ValueError, match="inclusion"):
        check_pairs(wrong)


@pytest.mark.parametrize("n_pairs", [3, 4, 5, 6, 32])
def test_permuted_inclusion_shifts_whole_pairs_but_never_by_none_nor_half(n_pairs):
    inclusion = paired_inclusion(2 * n_pairs, 40, STREAMS)  # 40 coins: all pairs differ
    shifts = set()
    for seed in range(40):
        permuted = permute_pairs(inclusion, Streams(seed))
        check_pairs(permuted)
        firsts = [row.tolist() for row in inclusion[0::2]]
        source = np.array([firsts.index(row.tolist()) for row in permuted[0::2]])
        shift = (np.arange(n_pairs) - source) % n_pairs
        assert (shift == shift[0]).all()
        shifts.add(int(shift[0]))
        # nobody keeps its coins, and no two pairs swap theirs
        assert (source != np.arange(n_pairs)).all()
        assert (source[source] != np.arange(n_pairs)).all()
    possible = {s for s in range(1, n_pairs) if 2 * s != n_pairs}
    assert shifts <= possible
    assert len(shifts) > 1


def test_permuted_inclusion_needs_three_pairs():
    with pytest.raises(ValueError, match="at least 3 pairs"):
        permute_pairs(paired_inclusion(4, 10, STREAMS), STREAMS)


def test_permuted_inclusion_leaves_its_input_alone():
    inclusion = paired_inclusion(8, 10, STREAMS)
    before = inclusion.copy()
    inclusion.setflags(write=False)
    permute_pairs(inclusion, STREAMS)
    np.testing.assert_array_equal(inclusion, before)
