"""Predictive values against closed forms and against a loop over bootstrap replicates."""

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from curation_audit.results import Estimate
from curation_audit.statistics import PairedEvidence, PairResamples, measure
from curation_audit.statistics import precision as module
from curation_audit.statistics.precision import PRIORS, precision_at_priors, predictive_value
from curation_audit.statistics.resampling import ReplicatedRates
from tests.statistics.evidence import gaussian_quantiles, paired


def point_of(one, fpr, *, inflation=1.0, confidence=0.95, seed=0):
    resamples = PairResamples.draw(200, one.n_pairs, np.random.default_rng(seed))
    (point,) = measure(
        one, fprs=(fpr,), confidence=confidence, inflation=inflation, resamples=resamples
    ).tpr_at_fpr
    return point


@pytest.mark.parametrize(
    ("prior", "tpr", "fpr", "expected"),
    [
        (0.01, 0.9, 0.05, 0.009 / 0.0585),  # a good test of a rare thing is mostly wrong
        (0.5, 0.3, 0.3, 0.5),  # chance leaves the prior
        (0.001, 0.1, 0.1, 0.001),
        (0.1, 0.2, 0.0, 1.0),
        (0.1, 0.0, 0.2, 0.0),
    ],
)
def test_predictive_value_by_hand(prior, tpr, fpr, expected):
    assert predictive_value(prior, tpr, fpr) == pytest.approx(expected)


@pytest.mark.parametrize("mu", [0.5, 1.5])
@pytest.mark.parametrize("fpr", [0.01, 0.1])
def test_exact_normal_quantiles_have_a_closed_form(mu, fpr):
    tpr = stats.norm.cdf(mu - stats.norm.ppf(1 - fpr))
    for found in point_of(gaussian_quantiles(mu, (50, 80)), fpr).precision:
        named, wrongly = found.prior * tpr, (1 - found.prior) * fpr
        assert found.ppv.value == pytest.approx(named / (named + wrongly), rel=0.1)
        assert found.ppv.low < found.ppv.value < found.ppv.high


def test_value_is_that_of_the_realised_rates():
    point = point_of(gaussian_quantiles(0.7, (12, 15), seed=5), 0.1)
    assert [one.prior for one in point.precision] == list(PRIORS) == [0.001, 0.01, 0.1, 0.5]
    for one in point.precision:
        named = one.prior * point.true_positives
        wrongly = (1 - one.prior) * point.false_positives
        assert one.ppv.value == pytest.approx(named / (named + wrongly))


@pytest.mark.parametrize(("confidence", "inflation"), [(0.95, 1.0), (0.8, 1.4)])
def test_interval_equals_a_loop(confidence, inflation):
    one, rate = gaussian_quantiles(0.7, (10, 20), seed=8), 0.1  # 200 outsiders: an exact grid

    def ratio(pairs):
        rest = np.sort(one.outsiders[pairs], axis=None)[::-1]
        threshold = rest[int(rate * rest.size)]
        return (one.members[pairs] > threshold).mean() / (one.outsiders[pairs] > threshold).mean()

    drawn = PairResamples.draw(200, 10, np.random.default_rng(0)).weights.astype(int)
    ratios = np.array([ratio(np.repeat(np.arange(10), weights)) for weights in drawn])
    tail = 100 * (1 - confidence) / 2
    ends = np.log(np.percentile(ratios, [tail, 100 - tail])) - np.log(ratio(np.arange(10)))
    point = point_of(one, rate, confidence=confidence, inflation=inflation)
    for found in point.precision:
        odds = found.prior / (1 - found.prior) * point.tpr.value / point.realised_fpr
        low, high = odds * np.exp(inflation * ends)
        assert found.ppv.confidence == confidence
        assert (found.ppv.low, found.ppv.high) == pytest.approx(
            (low / (1 + low), high / (1 + high))
        )


def test_nobody_named_wrongly_is_not_resolvable_and_never_certainty():
    outsiders = np.tile([0.0, 0, 0, 0, 0, 0], (20, 1))
    point = point_of(PairedEvidence(np.ones((20, 6)), outsiders), 0.1)
    assert (point.status, point.false_positives, point.tpr.value) == ("resolved", 0, 1.0)
    assert [one.ppv for one in point.precision] == [None] * 4


@pytest.mark.parametrize("where", ["decisions", "all pairs", "one replicate"])
def test_no_false_positive_anywhere_is_not_resolvable(where):
    rates = ReplicatedRates(
        np.array([0.3]),
        np.array([0.0 if where == "all pairs" else 0.1]),
        np.full((50, 1), 0.3),
        np.full((50, 1), 0.1),
    )
    rates.fprs[7] = 0.0 if where == "one replicate" else 0.1
    found = precision_at_priors(
        Estimate(0.3, 0.2, 0.4, 0.95), 0.0 if where == "decisions" else 0.1, rates, inflation=1.0
    )
    assert [one.ppv for one in found] == [None] * 4


def test_where_nothing_varies_the_doubt_is_that_of_the_tpr():
    rng = np.random.default_rng(0)
    outsiders = np.stack([rng.permutation(40) for _ in range(20)]).astype(float)  # alike pairs
    point = point_of(PairedEvidence(np.full((20, 40), 100.0), outsiders), 0.1)
    assert (point.tpr.value, point.realised_fpr) == (1.0, 0.1)
    exact = stats.binomtest(20, 20).proportion_ci(0.95, method="exact")
    for one in point.precision:
        ends = [predictive_value(one.prior, tpr, 0.1) for tpr in (exact.low, 1.0)]
        assert [one.ppv.low, one.ppv.value] == pytest.approx(ends)
        assert one.ppv.high == pytest.approx(one.ppv.value)


@given(paired(max_pairs=8, max_candidates=8), st.sampled_from([0.3, 0.5]), st.integers(0, 99))
def test_values_keep_to_their_intervals_and_rise_with_the_prior(one, fpr, seed):
    precision = point_of(one, fpr, inflation=1.4, seed=seed).precision
    values = [entry.ppv for entry in precision if entry.ppv is not None]
    assert len(values) in (0, 4)
    for ppv in values:
        assert 0 <= ppv.low <= ppv.value <= ppv.high <= 1
    for end in ("low", "value", "high"):
        ends = [getattr(ppv, end) for ppv in values]
        assert ends == sorted(ends)


def test_docstrings_are_right():
    assert doctest.testmod(module).failed == 0
