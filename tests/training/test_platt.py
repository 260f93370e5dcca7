"""Lines through logits: closed forms, scikit-learn's calibration, and what does not vary."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.calibration import _SigmoidCalibration

from curation_audit.training.platt import fit_platt


def test_logits_of_two_values_by_hand():
    """Two logits, two parameters: each gets the mean target of its rows.

    At 1 stand three positive rows and a negative one, at -1 a positive and two negative ones. Of 4
    and 3 rows the targets are 5/6 and 1/5.
    """
    logits = np.array([[1.0, 1, 1, 1, -1, -1, -1]])
    positive = np.array([True, True, True, False, True, False, False])
    line = fit_platt(logits, positive, np.ones((1, 7)))
    high, low = logit((3 * 5 / 6 + 1 / 5) / 4), logit((5 / 6 + 2 / 5) / 3)
    np.testing.assert_allclose(line.slope, (high - low) / 2, atol=1e-9)
    np.testing.assert_allclose(line.intercept, (high + low) / 2, atol=1e-9)


def test_is_scikit_learns_for_each_of_many(rng):
    logits = rng.normal(size=(5, 80)) * np.array([0.1, 1, 5, 30, 1])[:, None]
    positive = expit(logits[1]) > rng.random(80)
    weights = rng.integers(0, 4, (5, 80)).astype(float)
    found = fit_platt(logits, positive, weights)
    for s in range(5):
        theirs = _SigmoidCalibration().fit(logits[s], positive, sample_weight=weights[s])
        ours = expit(found.slope[s] * logits[s] + found.intercept[s])
        np.testing.assert_allclose(ours, theirs.predict(logits[s]), atol=1e-5)


@given(st.floats(-50, 50), st.booleans(), st.integers(1, 30))
def test_what_does_not_vary_has_a_finite_line_at_the_mean_target(value, positive, n):
    """One logit, one class: the target itself, whatever the slope is."""
    line = fit_platt(np.full((1, n), value), np.full(n, positive), np.ones((1, n)))
    wanted = (n + 1) / (n + 2) if positive else 1 / (n + 2)
    found = expit(line.slope * value + line.intercept)
    assert np.isfinite(line.slope).all()
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_classes_that_are_apart_have_a_finite_slope():
    """Two logits again: their targets are 11/12 and 1/12."""
    logits = np.repeat([[-3.0, 3.0]], 10, axis=1)
    line = fit_platt(logits, logits[0] > 0, np.ones((1, 20)))
    np.testing.assert_allclose(line.slope, logit(11 / 12) / 3, atol=1e-8)
    np.testing.assert_allclose(line.intercept, 0, atol=1e-8)


def test_rows_of_weight_zero_are_not_there(rng):
    logits, positive = rng.normal(size=(1, 30)), rng.random(30) < 0.5
    kept = np.arange(30) < 20
    some = fit_platt(logits[:, kept], positive[kept], np.ones((1, 20)))
    whole = fit_platt(logits, positive, kept[None].astype(float))
    np.testing.assert_allclose(whole.slope, some.slope, atol=1e-10)
    np.testing.assert_allclose(whole.intercept, some.intercept, atol=1e-10)
