"""The AUC against scikit-learn, its variance against loops, its interval by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats
from sklearn.metrics import roc_auc_score

from curation_audit.statistics import (
    NEW_CANDIDATES_TOO,
    THESE_CANDIDATES,
    PairedEvidence,
    auc_estimate,
    chance_p_value,
    clustered_auc,
    cross_fitting_inflation,
)
from curation_audit.statistics.auc import wins
from tests.statistics.evidence import gaussian_quantiles, paired


def sklearn_auc(one):
    truth = np.repeat([1, 0], one.members.size)
    return roc_auc_score(truth, np.concatenate([one.members.ravel(), one.outsiders.ravel()]))


def beats(member, outsider):
    return 1.0 if member > outsider else 0.5 if member == outsider else 0.0


def looped_placements(one):
    """Every comparison of every member with every outsider, one after another."""
    of_members, of_outsiders = np.zeros(one.members.shape), np.zeros(one.members.shape)
    for place, member in np.ndenumerate(one.members):
        for other, outsider in np.ndenumerate(one.outsiders):
            of_members[place] += beats(member, outsider) / one.outsiders.size
            of_outsiders[other] += beats(member, outsider) / one.members.size
    return of_members, of_outsiders


def looped_variance(one, axis):
    """DeLong's variance for clusters: n / (n - 1) sum of squared cluster totals."""
    of_members, of_outsiders = looped_placements(one)
    auc, n_clusters, total = of_members.mean(), one.members.shape[axis], 0.0
    for c in range(n_clusters):
        cluster = 0.0
        for m, o in zip(of_members.take(c, axis), of_outsiders.take(c, axis), strict=True):
            cluster += (m - auc) / one.members.size + (o - auc) / one.outsiders.size
        total += cluster**2
    return total * n_clusters / (n_clusters - 1)


def normal_evidence(shape, shift=0.7, seed=0):
    rng = np.random.default_rng(seed)
    members = rng.standard_normal(shape) + rng.standard_normal((shape[0], 1)) + shift
    return PairedEvidence(members, rng.standard_normal(shape))


def test_wins_of_a_handful():
    one = PairedEvidence(np.array([[1.0], [3.0]]), np.array([[2.0], [1.0]]))
    of_members, of_outsiders = wins(one)
    assert of_members.tolist() == [[1], [4]]  # twice: 1 ties with 1 and loses to 2
    assert of_outsiders.tolist() == [[2], [3]]


@given(paired())
def test_wins_equal_the_loop(one):
    for found, expected in zip(wins(one), looped_placements(one), strict=True):
        np.testing.assert_allclose(found / (2 * one.members.size), expected, atol=1e-12)


@given(paired())
def test_auc_equals_sklearn_with_ties(one):
    assert clustered_auc(one).auc == pytest.approx(sklearn_auc(one), abs=1e-12)


@given(paired(max_candidates=4).filter(lambda one: one.n_candidates > 1))
def test_variances_equal_the_loop(one):
    found = clustered_auc(one)
    assert found.variance_by_pair == pytest.approx(looped_variance(one, 0), abs=1e-12)
    assert found.variance_by_candidate == pytest.approx(looped_variance(one, 1), abs=1e-12)
    cells = PairedEvidence(one.members.reshape(-1, 1), one.outsiders.reshape(-1, 1))
    assert found.variance_by_cell == pytest.approx(looped_variance(cells, 0), abs=1e-12)
    assert (found.n_pairs, found.n_candidates) == one.members.shape


@pytest.mark.parametrize("mu", [-1.0, 0.0, 0.5, 2.0])
def test_auc_of_exact_normal_quantiles(mu):
    found = clustered_auc(gaussian_quantiles(mu, (40, 50)))
    assert found.auc == pytest.approx(stats.norm.cdf(mu / np.sqrt(2)), abs=5e-4)


@pytest.mark.parametrize(("confidence", "inflation"), [(0.95, 1.0), (0.9, np.sqrt(2)), (0.99, 3)])
def test_interval_by_hand(confidence, inflation):
    one = normal_evidence((12, 9))
    auc = sklearn_auc(one)
    error = inflation * np.sqrt(looped_variance(one, 0))
    logit, width = np.log(auc / (1 - auc)), error / (auc * (1 - auc))
    low, high = stats.t(df=11, loc=logit, scale=width).interval(confidence)
    found = auc_estimate(one, confidence=confidence, inflation=inflation)
    assert (found.value, found.low, found.high) == pytest.approx(
        (auc, 1 / (1 + np.exp(-low)), 1 / (1 + np.exp(-high)))
    )
    assert (found.confidence, found.label) == (confidence, "estimate")


# evidence in which pairs, candidates, both or neither move cells together
TWO_WAY = {
    "pairs": ((12, 9), 2.0, 0.0, 8),
    "candidates": ((30, 9), 0.0, 2.0, 8),
    "both": ((7, 12), 1.0, 1.0, 6),
    "neither": ((12, 9), 0.0, 0.0, 8),
}


@pytest.mark.parametrize("kind", TWO_WAY)
@pytest.mark.parametrize("inflation", [1.0, 1.5])
def test_interval_for_new_candidates_by_hand(kind, inflation):
    shape, of_pair, of_candidate, degrees = TWO_WAY[kind]
    rng = np.random.default_rng(3)
    common = of_pair * rng.standard_normal((shape[0], 1))
    common = common + of_candidate * rng.standard_normal((1, shape[1]))
    one = PairedEvidence(rng.standard_normal(shape) + common, rng.standard_normal(shape))
    cells = PairedEvidence(one.members.reshape(-1, 1), one.outsiders.reshape(-1, 1))
    pairs, candidates = inflation**2 * looped_variance(one, 0), looped_variance(one, 1)
    variance = max(pairs, candidates, pairs + candidates - looped_variance(cells, 0))
    auc = sklearn_auc(one)
    logit, width = np.log(auc / (1 - auc)), np.sqrt(variance) / (auc * (1 - auc))
    low, high = stats.t(df=degrees, loc=logit, scale=width).interval(0.9)
    found = auc_estimate(one, confidence=0.9, inflation=inflation, estimand=NEW_CANDIDATES_TOO)
    assert (found.low, found.high) == pytest.approx((special.expit(low), special.expit(high)))


@given(paired().filter(lambda one: one.n_candidates > 1), st.sampled_from([1.0, 2.0]))
def test_new_candidates_never_make_it_surer(one, inflation):
    narrow, wide = (
        auc_estimate(one, confidence=0.95, inflation=inflation, estimand=estimand)
        for estimand in (THESE_CANDIDATES, NEW_CANDIDATES_TOO)
    )
    assert wide.value == narrow.value
    if clustered_auc(one).variance_by_pair > 0:
        assert wide.low <= narrow.low + 1e-12
        assert wide.high >= narrow.high - 1e-12


def test_one_candidate_says_nothing_about_others():
    with pytest.raises(ValueError, match="one candidate"):
        auc_estimate(
            normal_evidence((6, 1)), confidence=0.9, inflation=1.0, estimand=NEW_CANDIDATES_TOO
        )


def test_perfect_evidence_for_new_candidates_counts_the_fewer():
    one = PairedEvidence(np.ones((20, 4)), np.zeros((20, 4)))
    exact = stats.binomtest(4, 4).proportion_ci(0.95, method="exact")
    found = auc_estimate(one, confidence=0.95, inflation=1.0, estimand=NEW_CANDIDATES_TOO)
    assert (found.value, found.low, found.high) == pytest.approx((1.0, exact.low, 1.0))


def test_perfect_evidence_gets_an_exact_interval():
    one = PairedEvidence(np.ones((20, 4)), np.zeros((20, 4)))
    exact = stats.binomtest(20, 20).proportion_ci(0.95, method="exact")
    found = auc_estimate(one, confidence=0.95, inflation=1.0)
    assert (found.value, found.low, found.high) == pytest.approx((1.0, exact.low, 1.0))
    turned = auc_estimate(
        PairedEvidence(one.outsiders, one.members), confidence=0.95, inflation=1.0
    )
    assert (turned.value, turned.low, turned.high) == pytest.approx((0.0, 0.0, 1 - exact.low))


@given(paired(max_pairs=12, max_candidates=12, values=st.floats(-3, 3)))
def test_evidence_that_ties_with_its_twin_is_exactly_at_chance(drawn):
    # as from a model that every shadow shares
    one = PairedEvidence(drawn.members, drawn.members.copy())
    found = auc_estimate(one, confidence=0.95, inflation=1.0)
    assert found.value == 0.5
    assert found.low < 0.5 < found.high  # as nothing varied, only the number of pairs tells
    assert chance_p_value(one) == 1.0


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"confidence": 1.0, "inflation": 1.0}, "confidence"),
        ({"confidence": 0.0, "inflation": 1.0}, "confidence"),
        ({"confidence": 0.9, "inflation": 0.0}, "inflation"),
    ],
)
def test_settings_out_of_range_are_refused(settings, name):
    with pytest.raises(ValueError, match=name):
        auc_estimate(normal_evidence((4, 4)), **settings)


MONOTONE = {
    "cubic": lambda x: x**3 + x,
    "logistic": special.expit,
    "scaled": lambda x: 1e6 * x - 3.0,
}


@pytest.mark.parametrize("change", MONOTONE.values(), ids=list(MONOTONE))
def test_only_the_order_of_evidence_counts(change):
    one = normal_evidence((10, 6))
    changed = PairedEvidence(change(one.members), change(one.outsiders))
    assert clustered_auc(changed) == clustered_auc(one)


@given(paired(), st.randoms(use_true_random=False))
def test_order_of_pairs_and_candidates_does_not_count(one, random):
    pairs, candidates = list(range(one.n_pairs)), list(range(one.n_candidates))
    random.shuffle(pairs)
    random.shuffle(candidates)
    place = np.ix_(pairs, candidates)
    turned = clustered_auc(PairedEvidence(one.members[place], one.outsiders[place]))
    found = clustered_auc(one)
    assert turned.auc == pytest.approx(found.auc, abs=1e-12)
    assert turned.variance_by_pair == pytest.approx(found.variance_by_pair, abs=1e-12)
    assert turned.variance_by_candidate == pytest.approx(found.variance_by_candidate, abs=1e-12)


@given(paired())
def test_turning_the_evidence_turns_the_auc(one):
    turned = PairedEvidence(-one.members, -one.outsiders)
    assert clustered_auc(turned).auc == pytest.approx(1 - clustered_auc(one).auc, abs=1e-12)
    assert chance_p_value(turned) == pytest.approx(chance_p_value(one), abs=1e-9)


def test_p_value_by_hand():
    one = normal_evidence((12, 9), shift=0.2)
    variance = looped_variance(one, 1) + 2 * looped_variance(one, 0)
    t = (sklearn_auc(one) - 0.5) / np.sqrt(variance)
    assert chance_p_value(one) == pytest.approx(2 * stats.t(df=8).sf(abs(t)))


@pytest.mark.parametrize(("n_pairs", "n_candidates"), [(4, 1), (4, 2), (8, 1), (64, 200)])
def test_p_value_of_perfect_evidence_is_that_of_so_many_coins(n_pairs, n_candidates):
    # evidence that no coin shaped names all P N members right with probability 2^(-P N)
    ones, zeros = np.ones((n_pairs, n_candidates)), np.zeros((n_pairs, n_candidates))
    coins = 2 * 0.5 ** (n_pairs * n_candidates)
    assert chance_p_value(PairedEvidence(ones, zeros)) == pytest.approx(coins)
    assert chance_p_value(PairedEvidence(zeros, ones)) == pytest.approx(coins)


def test_independent_pairs_need_no_more_than_the_least_inflation():
    rng = np.random.default_rng(1)
    one = PairedEvidence(rng.standard_normal((60, 40)), rng.standard_normal((60, 40)))
    assert cross_fitting_inflation(one) == pytest.approx(np.sqrt(2))


def test_coupled_pairs_need_more():
    rng = np.random.default_rng(1)
    shared = 2 * rng.standard_normal((1, 12))  # every pair errs alike about a candidate
    one = PairedEvidence(rng.standard_normal((30, 12)) + shared, rng.standard_normal((30, 12)))
    expected = np.sqrt(looped_variance(one, 1) / looped_variance(one, 0))
    assert expected > 2
    assert cross_fitting_inflation(one) == pytest.approx(expected)


def test_inflation_of_constant_evidence_is_the_least():
    one = PairedEvidence(np.zeros((4, 3)), np.zeros((4, 3)))
    assert cross_fitting_inflation(one) == pytest.approx(np.sqrt(2))
