"""Evidence sorted by pairs, and intervals where nothing varies."""

import doctest

import numpy as np
import pytest
from scipy import stats

from curation_audit.statistics import PairedEvidence
from curation_audit.statistics import paired as module
from curation_audit.statistics.paired import degenerate_interval
from tests.statistics.evidence import random_coins


def test_split_sorts_by_coin():
    rng = np.random.default_rng(0)
    inclusion, evidence = random_coins(rng, 6, 9), rng.standard_normal((12, 9))
    paired = PairedEvidence.split(evidence, inclusion)
    for j in range(6):
        for n in range(9):
            first, second = evidence[2 * j, n], evidence[2 * j + 1, n]
            expected = (first, second) if inclusion[2 * j, n] else (second, first)
            assert (paired.members[j, n], paired.outsiders[j, n]) == expected
    assert (paired.n_pairs, paired.n_candidates) == (6, 9)
    np.testing.assert_array_equal(paired.pairs(slice(2, 5)).members, paired.members[2:5])


def test_split_refuses_other_shapes_and_unpaired_coins():
    inclusion = random_coins(np.random.default_rng(0), 3, 4)
    with pytest.raises(ValueError, match="must match"):
        PairedEvidence.split(np.zeros((6, 5)), inclusion)
    with pytest.raises(ValueError, match="complements"):
        PairedEvidence.split(np.zeros((6, 4)), np.roll(inclusion, 1, axis=0))


@pytest.mark.parametrize(
    ("members", "outsiders", "message"),
    [
        (np.zeros((3, 2)), np.zeros((2, 3)), "of one shape"),
        (np.zeros(3), np.zeros(3), "of one shape"),
        (np.zeros((1, 2)), np.zeros((1, 2)), "at least 2 pairs"),
        (np.zeros((2, 0)), np.zeros((2, 0)), "1 candidate"),
        (np.array([[0.0], [np.nan]]), np.zeros((2, 1)), "finite"),
        (np.zeros((2, 1)), np.array([[0.0], [np.inf]]), "finite"),
    ],
)
def test_unfit_evidence_is_refused(members, outsiders, message):
    with pytest.raises(ValueError, match=message):
        PairedEvidence(members, outsiders)


@pytest.mark.parametrize("n_pairs", [2, 7, 64])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.999])
def test_degenerate_interval_at_the_ends_is_the_exact_binomial_one(n_pairs, confidence):
    for value, successes in ((0.0, 0), (1.0, n_pairs)):
        exact = stats.binomtest(successes, n_pairs).proportion_ci(confidence, method="exact")
        found = degenerate_interval(value, n_pairs, confidence)
        assert found == pytest.approx((exact.low, exact.high), abs=1e-11)


@pytest.mark.parametrize(("value", "n_pairs"), [(0.5, 8), (0.9, 64), (0.1, 20)])
def test_degenerate_interval_inside_is_that_of_hoeffding(value, n_pairs):
    def tail(mean):
        """Hoeffding's bound on how likely a mean that far from ``mean`` is, as he wrote it."""
        v = value
        return ((mean / v) ** v * ((1 - mean) / (1 - v)) ** (1 - v)) ** n_pairs

    low, high = degenerate_interval(value, n_pairs, 0.95)
    assert low < value < high
    assert [tail(low), tail(high)] == pytest.approx([0.025, 0.025])
    # wider than a binomial's exact interval would be by a factor, never narrower
    if value * n_pairs == int(value * n_pairs):
        exact = stats.binomtest(int(value * n_pairs), n_pairs).proportion_ci(0.95, "exact")
        assert low <= exact.low + 1e-12
        assert high >= exact.high - 1e-12


def test_docstrings_are_right():
    assert doctest.testmod(module).failed == 0
