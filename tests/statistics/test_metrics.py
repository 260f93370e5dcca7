"""All metrics of one attack: closed forms, counts that add up, and what cannot be resolved."""

import numpy as np
import pytest
from hypothesis import example, given
from scipy import stats

from curation_audit.statistics import PairedEvidence, PairResamples, measure
from curation_audit.statistics.metrics import advantage_estimate
from tests.statistics.evidence import gaussian_quantiles, paired


def measured(one, *, fprs=(0.01, 0.1), inflation=1.0, confidence=0.95, seed=0):
    resamples = PairResamples.draw(200, one.n_pairs, np.random.default_rng(seed))
    return measure(one, fprs=fprs, confidence=confidence, inflation=inflation, resamples=resamples)


@pytest.mark.parametrize("mu", [0.5, 1.5])
def test_exact_normal_quantiles_have_closed_forms(mu):
    found = measured(gaussian_quantiles(mu, (50, 80)), fprs=(0.01, 0.1))
    assert found.auc.value == pytest.approx(stats.norm.cdf(mu / np.sqrt(2)), abs=1e-3)
    best = 2 * stats.norm.cdf(mu / 2) - 1  # where the densities cross
    assert found.advantage.value == pytest.approx(best, abs=0.02)
    for point in found.tpr_at_fpr:
        expected = stats.norm.cdf(mu - stats.norm.ppf(1 - point.fpr))
        assert point.tpr.value == pytest.approx(expected, abs=0.01)
        assert point.realised_fpr == pytest.approx(point.fpr, rel=0.06)
        assert point.tpr.low <= point.tpr.value <= point.tpr.high


def test_counts_add_up():
    one = gaussian_quantiles(0.7, (30, 40), seed=4)
    found = measured(one, fprs=(0.05, 0.2))
    assert (found.n_pairs, found.n_members, found.n_nonmembers) == (30, 1200, 1200)
    for point in found.tpr_at_fpr:
        assert point.status == "resolved"
        assert point.reason is None
        assert point.expected_false_positives == pytest.approx(point.fpr * 1200)
        assert point.true_positives == pytest.approx(point.tpr.value * found.n_members)
        assert point.false_positives == pytest.approx(point.realised_fpr * found.n_nonmembers)
        assert 5 <= point.distinct_false_positive_candidates <= min(40, point.false_positives)


@pytest.mark.parametrize("decimals", [9, 0], ids=["distinct", "ties"])
def test_operating_point_equals_a_loop(decimals):
    one, rate = gaussian_quantiles(0.7, (12, 15), seed=5), 0.1
    one = PairedEvidence(one.members.round(decimals), one.outsiders.round(decimals))
    true_positives, false_positives, who = 0, 0, set()
    for j in range(12):
        rest = np.sort(np.delete(one.outsiders, j, axis=0), axis=None)[::-1]
        threshold = rest[int(rate * rest.size)]
        true_positives += int((one.members[j] > threshold).sum())
        false_positives += int((one.outsiders[j] > threshold).sum())
        who |= set(np.flatnonzero(one.outsiders[j] > threshold))
    (point,) = measured(one, fprs=(rate,)).tpr_at_fpr
    assert (point.true_positives, point.false_positives) == (true_positives, false_positives)
    assert point.distinct_false_positive_candidates == len(who)


@pytest.mark.parametrize(("confidence", "inflation"), [(0.95, 1.0), (0.8, 1.4)])
def test_tpr_interval_equals_a_loop(confidence, inflation):
    one, rate = gaussian_quantiles(0.7, (10, 20), seed=8), 0.1  # 200 outsiders: an exact grid
    resamples = PairResamples.draw(200, 10, np.random.default_rng(0))

    def tpr(pairs):
        rest = np.sort(one.outsiders[pairs], axis=None)[::-1]
        return (one.members[pairs] > rest[int(rate * rest.size)]).mean()

    drawn = [np.repeat(np.arange(10), weights.astype(int)) for weights in resamples.weights]
    reach = np.array([tpr(pairs) for pairs in drawn]) - tpr(np.arange(10))
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(reach, [tail, 100 - tail]) * inflation
    found = measure(
        one, fprs=(rate,), confidence=confidence, inflation=inflation, resamples=resamples
    ).tpr_at_fpr[0]
    assert found.tpr.low == pytest.approx(found.tpr.value + low)
    assert found.tpr.high == pytest.approx(found.tpr.value + high)


def looped_advantages(one):
    """TPR - FPR of each pair at the best cut of the other half, fewest named first."""
    gains = []
    for j in range(one.n_pairs):
        others = [i for i in range(one.n_pairs) if (i - j) % 2]
        members, outsiders = one.members[others], one.outsiders[others]
        cuts = [np.inf, *sorted({*members.ravel(), *outsiders.ravel()}, reverse=True), -np.inf]
        best = max(cuts, key=lambda cut: (members > cut).sum() - (outsiders > cut).sum())
        gains.append((one.members[j] > best).mean() - (one.outsiders[j] > best).mean())
    return np.array(gains)


@given(paired())
@example(PairedEvidence(np.zeros((4, 3)), np.tile([0.0, 0.0, -1.0], (4, 1))))
def test_advantage_and_balanced_accuracy_equal_a_loop(one):
    found = measured(one, fprs=(0.5,))
    assert found.advantage.value == pytest.approx(looped_advantages(one).mean())
    for part in ("value", "low", "high"):
        accuracy = getattr(found.balanced_accuracy, part)
        assert accuracy == pytest.approx((1 + getattr(found.advantage, part)) / 2)
    for estimate in (found.advantage, found.balanced_accuracy, found.auc):
        assert estimate.low <= estimate.value <= estimate.high


@pytest.mark.parametrize("n_pairs", [3, 4, 6, 7])
def test_pairs_that_are_all_alike_still_leave_doubt(n_pairs):
    # one of three candidates is told for sure in every pair
    one = PairedEvidence(np.zeros((n_pairs, 3)), np.tile([0.0, 0.0, -1.0], (n_pairs, 1)))
    found = measured(one, fprs=(0.5,))
    assert found.advantage.value == pytest.approx(1 / 3)
    for estimate in (found.balanced_accuracy, found.auc):
        assert estimate.value == pytest.approx(2 / 3)
        for end in (estimate.low, estimate.high):
            # Hoeffding's bound for a mean of numbers in [0, 1]
            tail = ((end * 3 / 2) ** (2 / 3) * ((1 - end) * 3) ** (1 / 3)) ** n_pairs
            assert tail == pytest.approx(0.025)


def test_advantage_has_a_t_interval_over_pairs():
    one = gaussian_quantiles(0.7, (12, 15), seed=5)
    gains = looped_advantages(one)
    for inflation in (1.0, np.sqrt(2)):
        width = inflation * stats.sem(gains)
        low, high = stats.t(df=11, loc=gains.mean(), scale=width).interval(0.9)
        found = advantage_estimate(one, confidence=0.9, inflation=inflation)
        assert (found.low, found.high) == pytest.approx((low, high))


def test_advantage_is_negative_where_other_pairs_mislead():
    # named above 0 by the first pair's lights, the second pair's outsiders are; the second
    # pair names nobody
    one = PairedEvidence(np.array([[2.0, 2.0], [0.0, 0.0]]), np.array([[0.0, 0.0], [2.0, 2.0]]))
    assert measured(one).advantage.value == -0.5
    assert measured(one).balanced_accuracy.value == 0.25


@pytest.mark.parametrize(("sign", "ends"), [(1, (1.0, 1.0)), (-1, (0.0, 0.0))])
def test_full_or_no_advantage_gets_an_exact_interval(sign, ends):
    one = PairedEvidence(np.full((20, 6), float(sign)), np.zeros((20, 6)))
    found = measured(one, fprs=(0.1,))
    exact = stats.binomtest(20, 20).proportion_ci(0.95, method="exact")
    assert found.advantage.value == ends[0]
    if sign == 1:
        assert found.tpr_at_fpr[0].tpr.value == ends[1]
        assert found.advantage.low == pytest.approx(2 * exact.low - 1)
        assert found.tpr_at_fpr[0].tpr.low == pytest.approx(exact.low)
        assert found.advantage.high == found.tpr_at_fpr[0].tpr.high == 1.0
    else:
        # nobody can be named at one in ten: the outsiders lie on one value, above all members
        assert found.tpr_at_fpr[0].status == "not resolvable"
        assert "tied evidence" in found.tpr_at_fpr[0].reason


def test_fewer_than_ten_expected_false_positives_are_not_resolvable():
    one = gaussian_quantiles(0.5, (10, 20))  # 200 outsiders
    resolved, unresolved = measured(one, fprs=(0.05, 0.0499)).tpr_at_fpr
    assert resolved.status == "resolved"
    assert unresolved.status == "not resolvable"
    assert "10.0 false positives expected, 10 needed" in unresolved.reason
    assert unresolved.expected_false_positives == pytest.approx(9.98)
    empty = ("tpr", "realised_fpr", "true_positives", "false_positives")
    assert [getattr(unresolved, name) for name in empty] == [None] * 4
    assert unresolved.distinct_false_positive_candidates is None


@pytest.mark.parametrize(("n_loud", "status"), [(4, "not resolvable"), (5, "resolved")])
def test_a_threshold_that_rests_on_few_candidates_is_not_resolvable(n_loud, status):
    rng = np.random.default_rng(0)
    outsiders, members = rng.standard_normal((40, 30)), rng.standard_normal((40, 30))
    outsiders[:, :n_loud] += 100  # 160 or 200 cells of 1,200; 60 false positives at 5 %
    (point,) = measured(PairedEvidence(members, outsiders), fprs=(0.05,)).tpr_at_fpr
    assert point.status == status
    if status == "not resolvable":
        assert "rests on 4 candidates, 5 needed" in point.reason
        assert point.tpr is None


def test_resamples_must_draw_the_pairs_that_there_are():
    resamples = PairResamples.draw(10, 5, np.random.default_rng(0))
    with pytest.raises(ValueError, match="draw 5 pairs, evidence has 6"):
        measure(
            gaussian_quantiles(0.5, (6, 5)),
            fprs=(0.1,),
            confidence=0.95,
            inflation=1.0,
            resamples=resamples,
        )


def plain(metrics):
    estimates = [metrics.auc, metrics.advantage, metrics.balanced_accuracy]
    estimates += [point.tpr for point in metrics.tpr_at_fpr if point.tpr is not None]
    assert len(estimates) == 4
    return np.array([[one.value, one.low, one.high] for one in estimates])


MONOTONE = {"cubic": lambda x: x**3 + x, "exponential": np.exp, "scaled": lambda x: 9 * x - 4}


@pytest.mark.parametrize("change", MONOTONE.values(), ids=list(MONOTONE))
def test_only_the_order_of_evidence_counts(change):
    one = gaussian_quantiles(0.7, (20, 15), seed=6)
    changed = PairedEvidence(change(one.members), change(one.outsiders))
    np.testing.assert_allclose(plain(measured(changed)), plain(measured(one)), rtol=1e-12)


def test_order_of_candidates_does_not_count():
    one = gaussian_quantiles(0.7, (20, 15), seed=6)
    order = np.random.default_rng(0).permutation(15)
    turned = PairedEvidence(one.members[:, order], one.outsiders[:, order])
    np.testing.assert_allclose(plain(measured(turned)), plain(measured(one)), rtol=1e-12)


def test_inflation_widens_every_interval_alike():
    one = gaussian_quantiles(0.3, (30, 30), seed=7)
    narrow, wide = measured(one, fprs=(0.1,)), measured(one, fprs=(0.1,), inflation=1.4)
    for get in (lambda m: m.advantage, lambda m: m.tpr_at_fpr[0].tpr):
        for side in ("low", "high"):
            reach = [getattr(get(m), side) - get(m).value for m in (narrow, wide)]
            assert reach[1] == pytest.approx(1.4 * reach[0])
