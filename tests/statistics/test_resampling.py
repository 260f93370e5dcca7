"""The bootstrap over pairs against a loop that chooses every threshold again."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.metrics import roc_curve as sklearn_roc_curve

from curation_audit.statistics import PairedEvidence, PairResamples, roc_curve
from curation_audit.statistics.resampling import ReplicatedRates, ThresholdCounts
from tests.statistics.evidence import gaussian_quantiles, paired

LEVELS = np.array([0.001, 0.01, 0.1, 0.3, 1.0])


def looped_tpr(members, outsiders, level):
    """The largest TPR of any cut whose FPR is at most ``level``."""
    cuts = [*outsiders, -np.inf]
    return max((members > c).mean() for c in cuts if (outsiders > c).mean() <= level + 1e-12)


def looped_replicate(one, weights, level):
    drawn = np.repeat(np.arange(one.n_pairs), weights.astype(int))
    return looped_tpr(one.members[drawn].ravel(), one.outsiders[drawn].ravel(), level)


@given(paired(max_pairs=6), st.integers(0, 1000))
def test_replicates_equal_the_loop(one, seed):
    resamples = PairResamples.draw(20, one.n_pairs, np.random.default_rng(seed))
    rates = ReplicatedRates.of(one, LEVELS, resamples)
    pooled, deviations = rates.tpr, rates.tpr_deviations
    for i, level in enumerate(LEVELS):
        whole = looped_tpr(one.members.ravel(), one.outsiders.ravel(), level)
        assert pooled[i] == pytest.approx(whole)
        for weights, deviation in zip(resamples.weights, deviations[:, i], strict=True):
            assert whole + deviation == pytest.approx(looped_replicate(one, weights, level))


def test_coarse_grid_stays_near_the_loop():
    one = gaussian_quantiles(1.0, (20, 60))  # 1,200 outsiders, 256 of them exact
    resamples = PairResamples.draw(20, 20, np.random.default_rng(0))
    levels = np.array([0.005, 0.1, 0.5])
    rates = ReplicatedRates.of(one, levels, resamples)
    pooled, deviations = rates.tpr, rates.tpr_deviations
    for i, level in enumerate(levels):
        for weights, deviation in zip(resamples.weights, deviations[:, i], strict=True):
            exact = looped_replicate(one, weights, level)
            # a grid in steps of 1 % costs at most 1 % of the false positives
            assert exact - 0.01 < pooled[i] + deviation <= exact + 1e-12


def test_counts_above_every_cut_equal_the_loop():
    rng = np.random.default_rng(1)
    one = PairedEvidence(*rng.integers(0, 9, (2, 4, 6)).astype(float))
    counts = ThresholdCounts.of(one)
    cuts = [*sorted(set(one.outsiders.ravel()), reverse=True), -np.inf]
    for cells, found in ((one.members, counts.members), (one.outsiders, counts.outsiders)):
        expected = [[(row > cut).sum() for cut in cuts] for row in cells]
        np.testing.assert_array_equal(found, expected)


def test_resamples_draw_whole_pairs_uniformly():
    weights = PairResamples.draw(4000, 8, np.random.default_rng(2)).weights
    assert weights.shape == (4000, 8)
    assert (weights.sum(axis=1) == 8).all()
    assert (weights == weights.round()).all()
    # multinomial: mean 1, variance 7/8
    assert weights.mean(axis=0) == pytest.approx(np.ones(8), abs=5 * np.sqrt(7 / 8 / 4000))
    assert weights.var(axis=0) == pytest.approx(np.full(8, 7 / 8), rel=0.15)


def test_roc_curve_equals_sklearn_at_its_rates():
    one = gaussian_quantiles(1.0, (8, 25))
    resamples = PairResamples.draw(100, 8, np.random.default_rng(0))
    curve = roc_curve(one, resamples, confidence=0.95, inflation=1.0)
    truth = np.repeat([1, 0], one.members.size)
    cells = np.concatenate([one.members.ravel(), one.outsiders.ravel()])
    fpr, tpr, _ = sklearn_roc_curve(truth, cells, drop_intermediate=False)
    expected = [tpr[fpr <= level + 1e-12].max() for level in curve.fpr]
    np.testing.assert_allclose(curve.tpr, expected)
    assert curve.fpr[0] == pytest.approx(1 / 200)
    assert curve.fpr[-1] == pytest.approx(1.0)
    assert len(curve.fpr) == 60


BIASED = PairedEvidence(  # where most replicates lie above the curve
    np.array([[1.0, -3, -2], [-3, -3, 0], [0, -2, -3], [0, -1, 2], [1, 2, -3]]),
    np.array([[-3.0, 0, -3], [1, -3, 0], [0, -1, -3], [0, 2, 3], [-2, 2, 0]]),
)


@given(paired(max_pairs=6), st.integers(0, 1000), st.sampled_from([1.0, 1.5, 4.0]))
@example(BIASED, 0, 1.0)
def test_band_holds_the_curve_and_both_rise(one, seed, inflation):
    resamples = PairResamples.draw(30, one.n_pairs, np.random.default_rng(seed))
    curve = roc_curve(one, resamples, confidence=0.5, inflation=inflation)
    assert (np.diff(curve.tpr) >= 0).all()
    assert (curve.low >= 0).all()
    assert (curve.low <= curve.tpr).all()
    assert (curve.tpr <= curve.high).all()
    assert (curve.high <= 1).all()


def test_inflation_stretches_the_band():
    one = gaussian_quantiles(0.5, (30, 10), seed=3)
    resamples = PairResamples.draw(200, 30, np.random.default_rng(0))
    narrow = roc_curve(one, resamples, confidence=0.95, inflation=1.0)
    wide = roc_curve(one, resamples, confidence=0.95, inflation=1.5)
    inside = (wide.low > 0) & (wide.high < 1)
    assert inside.any()
    for side in ("low", "high"):
        reach = getattr(wide, side) - wide.tpr
        np.testing.assert_allclose(
            reach[inside], 1.5 * (getattr(narrow, side) - narrow.tpr)[inside], atol=1e-12
        )
