"""Exposure of single candidates, whether decisions hold, and the worst records."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from scipy import stats

from curation_audit.attacks.gaussian import gaussian_evidence
from curation_audit.statistics import (
    PairedEvidence,
    candidate_exposure,
    risk_histogram,
    stability,
    summarise_records,
)
from tests.statistics.evidence import paired, random_coins


@given(paired())
def test_exposure_equals_the_loop(one):
    for n in range(one.n_candidates):
        wins = 0.0
        for j in range(one.n_pairs):
            member, outsider = one.members[j, n], one.outsiders[j, n]
            wins += 1.0 if member > outsider else 0.5 if member == outsider else 0.0
        assert candidate_exposure(one)[n] == pytest.approx(wins / one.n_pairs)


@pytest.mark.parametrize("n_pairs", [4, 8, 32])
def test_exposure_without_a_leak_is_one_half_on_average(n_pairs):
    rng = np.random.default_rng(5)
    exposures = []
    for _ in range(200):
        inclusion = random_coins(rng, n_pairs, 20)
        signal = rng.standard_normal((2 * n_pairs, 20)) + rng.standard_normal((2 * n_pairs, 1))
        evidence = PairedEvidence.split(gaussian_evidence(signal, inclusion), inclusion)
        exposures.append(candidate_exposure(evidence).mean())
    error = np.std(exposures) / np.sqrt(len(exposures))
    assert abs(np.mean(exposures) - 0.5) < 4 * error  # two-sided, about 1e-4


def test_histogram_counts_every_candidate_once():
    exposed = PairedEvidence(
        np.array([[1.0, 0.0, 1.0], [1.0, 0.0, 0.0]]), np.array([[0.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    )
    histogram = risk_histogram(exposed)
    assert (histogram.maximum, histogram.mean) == (1.0, 0.5)
    assert histogram.counts.sum() == 3
    assert len(histogram.bin_edges) == len(histogram.counts) + 1
    for value, place in ((0.0, 0), (1.0, -1)):
        assert histogram.bin_edges[place] == value
        assert histogram.counts[place] == 1
    middle = np.searchsorted(histogram.bin_edges, 0.5, side="right") - 1
    assert histogram.counts[middle] == 1


@pytest.mark.parametrize("n_pairs", [4, 5, 16, 63, 64, 100, 1000])
def test_every_bin_holds_as_many_possible_shares_as_the_next(n_pairs):
    """Otherwise the histogram has combs that are no structure."""
    wins = np.arange(n_pairs + 1)
    members = (np.arange(n_pairs)[:, None] < wins[None]).astype(float)
    found = risk_histogram(PairedEvidence(members, 0.5 * np.ones_like(members)))
    edges, counts = np.array(found.bin_edges), np.array(found.counts)
    assert counts.sum() == n_pairs + 1
    assert (edges[0], edges[-1]) == (0.0, 1.0)
    assert (np.diff(edges) > 0).all()
    assert len(set(counts[:-1])) == 1
    assert len(counts) <= 66


# --- do decisions hold? -----------------------------------------------------------------------


def looped_flip_rate(named):
    """Every two in-shadows of every candidate, one after another."""
    rates = [
        np.mean([named[j, n] != named[k, n] for j, k in combinations(range(len(named)), 2)])
        for n in range(named.shape[1])
    ]
    return np.mean(rates)


@given(st_numpy.arrays(bool, st.tuples(st.integers(3, 9), st.integers(2, 5))))
def test_flip_rate_equals_the_loop_and_its_interval_jackknife_and_spread(named):
    found = stability(named, confidence=0.9, inflation=1.3).flip_rate
    assert found.value == pytest.approx(looped_flip_rate(named))
    n_pairs, n_candidates = named.shape
    left_out = [looped_flip_rate(np.delete(named, j, axis=0)) for j in range(n_pairs)]
    rates = [looped_flip_rate(named[:, [n]]) for n in range(n_candidates)]
    error = np.sqrt(1.3**2 * (n_pairs - 1) * np.var(left_out) + stats.sem(rates) ** 2)
    if error > 1e-9:
        degrees = min(n_pairs, n_candidates) - 1
        low, high = stats.t(df=degrees, loc=found.value, scale=error).interval(0.9)
        assert (found.low, found.high) == pytest.approx((max(low, 0), min(high, 1)))
    else:
        assert found.low <= found.value <= found.high
        assert found.low < found.high  # pairs that agree leave doubt


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 1.0])
def test_flip_rate_of_coins_is_2_p_1_minus_p(p):
    named = np.random.default_rng(2).random((40, 5000)) < p
    found = stability(named, confidence=0.95, inflation=1.0)
    error = np.sqrt(p * (1 - p) / named.size)  # of the mean of named, and more than that of 2p(1-p)
    assert found.flip_rate.value == pytest.approx(2 * p * (1 - p), abs=8 * error + 1e-12)


@pytest.mark.parametrize("n_pairs", [6, 12, 33])
def test_coin_flips_are_those_that_a_binomial_test_lets_pass(n_pairs):
    times = np.arange(n_pairs + 1)
    named = np.arange(n_pairs)[:, None] < times[None]
    passes = [stats.binomtest(int(k), n_pairs).pvalue > 0.05 for k in times]
    found = stability(named, confidence=0.95, inflation=1.0)
    assert 0 < np.mean(passes) < 1
    assert found.coin_flips == pytest.approx(np.mean(passes))


def test_coin_flips_need_six_in_shadows():
    # a coin gives five equal answers once in 16 times, six once in 32
    assert stability(np.ones((5, 3), bool), confidence=0.9, inflation=1.0).coin_flips is None
    assert stability(np.ones((6, 3), bool), confidence=0.9, inflation=1.0).coin_flips == 0.0


# --- single records ---------------------------------------------------------------------------


def some_records(n_pairs, n_candidates, *, strength=1.0, seed=3):
    rng = np.random.default_rng(seed)
    members, outsiders = rng.standard_normal((2, n_pairs, n_candidates))
    return PairedEvidence(members + strength * np.linspace(0, 2, n_candidates), outsiders)


def test_worst_records_are_the_most_exposed_with_exact_corrected_intervals():
    one, ids = some_records(20, 30), [f"id {n}" for n in range(30)]
    found = summarise_records(one, ids, confidence=0.9)
    exposure = candidate_exposure(one)
    assert [r.exposure.value for r in found.worst] == sorted(exposure, reverse=True)[:10]
    for record in found.worst:
        n = int(record.id.split()[1])
        assert record.exposure.value == exposure[n]
        wins = round(20 * exposure[n])
        exact = stats.binomtest(wins, 20).proportion_ci(1 - 0.1 / 30, method="exact")
        assert (record.exposure.low, record.exposure.high) == pytest.approx((exact.low, exact.high))
        assert record.exposure.confidence == 0.9


def test_records_are_counted_where_the_corrected_interval_lies_above_one_half():
    one = some_records(20, 30, strength=2.0)
    alpha, above = 0.1 / 30, 0
    for share in candidate_exposure(one):
        wins = round(20 * share)
        above += stats.binomtest(wins, 20).proportion_ci(1 - alpha, method="exact").low > 0.5
    assert 0 < above < 30
    assert summarise_records(one, None, confidence=0.9).n_above_chance == above


def test_ties_count_against_the_exposure_below_and_for_it_above():
    members = np.ones((8, 1))
    outsiders = np.array([[0.0], [0.0], [0.0], [1.0], [1.0], [2.0], [2.0], [2.0]])
    (record,) = summarise_records(PairedEvidence(members, outsiders), None, confidence=0.9).worst
    assert (record.id, record.exposure.value) == (None, 0.5)
    low, high = (stats.binomtest(k, 8).proportion_ci(0.9, method="exact") for k in (3, 5))
    assert (record.exposure.low, record.exposure.high) == pytest.approx((low.low, high.high))


def test_zero_influence_means_the_same_evidence_in_every_pair():
    one = some_records(6, 4)
    members = one.members.copy()
    members[:, 0] = one.outsiders[:, 0]
    members[1:, 1] = one.outsiders[1:, 1]  # differs in one pair
    found = summarise_records(PairedEvidence(members, one.outsiders), None, confidence=0.9)
    assert found.zero_influence == 0.25
    assert found.n_candidates == 4


def test_of_equal_exposures_the_one_with_higher_evidence_comes_first():
    members = np.tile([1.0, 3.0, 2.0], (8, 1))
    found = summarise_records(
        PairedEvidence(members, np.zeros((8, 3))), ["a", "b", "c"], confidence=0.9
    )
    assert [record.id for record in found.worst] == ["b", "c", "a"]
