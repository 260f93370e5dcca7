"""Thresholds that other pairs set, against loops over every cut."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation_audit.statistics import PairedEvidence
from curation_audit.statistics.thresholds import thresholds_at_best_advantage, thresholds_at_fpr
from tests.statistics.evidence import paired

RATES = st.sampled_from([0.001, 0.1, 0.25, 1 / 3, 0.5, 0.75, 0.9])
NEIGHBOURS = st.sampled_from([1.0, np.nextafter(1.0, 2), np.nextafter(1.0, 0), 5e-324, 0.0])


def other_pairs(one, j):
    keep = np.arange(one.n_pairs) != j
    return one.members[keep].ravel(), one.outsiders[keep].ravel()


def other_half(one, j):
    keep = [i for i in range(one.n_pairs) if (i - j) % 2]
    return one.members[keep].ravel(), one.outsiders[keep].ravel()


@given(paired(), RATES)
def test_threshold_at_fpr_is_the_lowest_allowed(one, rate):
    for j, threshold in enumerate(thresholds_at_fpr(one, rate)):
        outsiders = other_pairs(one, j)[1]
        cuts = [cut for cut in outsiders if (outsiders > cut).sum() <= rate * outsiders.size + 1e-9]
        assert threshold == min(cuts)


def looped_thresholds(one, fpr):
    """Every pair's threshold by a mask of its own over one sort."""
    order = np.argsort(-one.outsiders, axis=None, kind="stable")
    values, pairs = one.outsiders.ravel()[order], order // one.n_candidates
    allowed = int(fpr * (one.n_pairs - 1) * one.n_candidates + 1e-9)
    return np.array([values[pairs != j][allowed] for j in range(one.n_pairs)])


@pytest.mark.parametrize("decimals", [9, 1, 0], ids=["distinct", "some ties", "ties"])
@pytest.mark.parametrize("spread", [0.0, 2.0], ids=["alike", "pairs apart"])
def test_thresholds_of_many_pairs_equal_the_loop(decimals, spread):
    rng = np.random.default_rng(7)
    outsiders = rng.standard_normal((40, 50)) + spread * rng.standard_normal((40, 1))
    one = PairedEvidence(np.zeros((40, 50)), outsiders.round(decimals))
    for rate in (0.0004, 0.01, 0.1, 0.5, 0.975, 0.999):
        np.testing.assert_array_equal(thresholds_at_fpr(one, rate), looped_thresholds(one, rate))


@given(paired(), RATES)
def test_realised_fpr_on_the_setting_pairs_is_at_most_nominal(one, rate):
    for j, threshold in enumerate(thresholds_at_fpr(one, rate)):
        assert (other_pairs(one, j)[1] > threshold).mean() <= rate + 1e-9


def test_a_rate_that_rounds_down_loses_no_false_positive():
    # 0.57 * 100 is 56.99999999999999
    one = PairedEvidence(np.zeros((11, 10)), np.random.default_rng(0).standard_normal((11, 10)))
    for j, threshold in enumerate(thresholds_at_fpr(one, 0.57)):
        assert (other_pairs(one, j)[1] > threshold).sum() == 57


def best_cut(members, outsiders):
    """The largest gain, and the fewest named that reach it, over every possible cut."""
    cells = np.concatenate([members, outsiders])
    tried = []
    for cut in [np.inf, *sorted(set(cells), reverse=True), -np.inf]:
        gain = int((members > cut).sum()) - int((outsiders > cut).sum())
        tried.append((gain, -int((cells > cut).sum())))
    return max(tried)


@given(paired() | paired(values=NEIGHBOURS))
def test_best_threshold_wins_over_every_other_cut(one):
    for j, threshold in enumerate(thresholds_at_best_advantage(one)):
        members, outsiders = other_half(one, j)
        gain, named = best_cut(members, outsiders)
        assert (members > threshold).sum() - (outsiders > threshold).sum() == gain
        assert (members > threshold).sum() + (outsiders > threshold).sum() == -named


@given(paired(values=st.floats(-3, 3)), RATES)
def test_decisions_follow_the_order_alone(one, rate):
    ranks = np.unique(np.concatenate([one.members, one.outsiders]), return_inverse=True)[1]
    members, outsiders = ranks.reshape(2, *one.members.shape)
    # ranks to the fifth power: the same order at quite other distances
    changed = PairedEvidence(members.astype(float) ** 5, outsiders.astype(float) ** 5)
    for find in (thresholds_at_best_advantage, lambda e: thresholds_at_fpr(e, rate)):
        for before, after in ((one.members, changed.members), (one.outsiders, changed.outsiders)):
            np.testing.assert_array_equal(
                before > find(one)[:, None], after > find(changed)[:, None]
            )


def test_a_pair_does_not_set_its_own_threshold():
    rng = np.random.default_rng(0)
    members, outsiders = rng.standard_normal((6, 5)) + 1, rng.standard_normal((6, 5))
    before = PairedEvidence(members, outsiders)
    members, outsiders = members.copy(), outsiders.copy()
    members[2], outsiders[2] = -50.0, 70.0
    after = PairedEvidence(members, outsiders)
    for find in (thresholds_at_best_advantage, lambda e: thresholds_at_fpr(e, 0.2)):
        assert find(before)[2] == find(after)[2]
        assert (find(before) != find(after)).any()


@pytest.mark.parametrize(
    ("member", "outsider", "expected"), [(1.0, 0.0, 0.0), (0.0, 1.0, np.inf), (0.0, 0.0, np.inf)]
)
def test_nobody_is_named_where_naming_does_not_help(member, outsider, expected):
    one = PairedEvidence(np.full((3, 2), member), np.full((3, 2), outsider))
    assert thresholds_at_best_advantage(one).tolist() == [expected] * 3
