"""From outputs of a stage back to coins: where nothing is lost, where much is, where all is."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from curation_audit.analytic.affine import Seen, likelihood_ratios
from curation_audit.analytic.inversion import RIDGES, _ridge_slopes, invert_stage
from curation_audit.forecasting.prediction import exact_shadows
from tests.analytic.worlds import LOGIT, MEAN, linear_plan


def rng():
    return np.random.default_rng(0)


def auc(inclusion, evidence) -> float:
    return float(roc_auc_score(inclusion.ravel(), evidence.ravel()))


def best(scores, k=60):
    return (scores >= np.sort(scores, axis=1)[:, [-k]]).astype(float)


def test_a_stage_that_loses_nothing_tells_what_the_scores_tell():
    of, linear = linear_plan(MEAN)
    affine = linear.affine()
    _, scores = exact_shadows(of, 40)

    def coordinates(scores):
        return linear.seen(scores).coordinates

    found = invert_stage(affine, linear.scores, coordinates, 400, rng())
    assert found.r2 > 0.999
    direct = likelihood_ratios(affine, Seen(coordinates(scores), 0.0))
    told = found.likelihood_ratios(coordinates(scores))
    assert np.corrcoef(direct.ravel(), told.ravel())[0, 1] > 0.999


@pytest.mark.parametrize("scorer", [MEAN, LOGIT], ids=["mean", "classifier"])
def test_picks_alone_tell_less_than_scores_and_more_than_nothing(scorer):
    of, linear = linear_plan(scorer)
    affine = linear.affine()
    inclusion, scores = exact_shadows(of, 200)
    found = invert_stage(affine, linear.scores, best, 2000, rng())
    from_scores = auc(inclusion, likelihood_ratios(affine, linear.seen(scores)))
    from_picks = auc(inclusion, found.likelihood_ratios(best(scores)))
    assert 0.55 < from_picks < from_scores
    # coins of other runs: 200 x 80 of them, standard error .0046
    coins = np.random.default_rng(9).random(inclusion.shape) < 0.5
    assert auc(coins, found.likelihood_ratios(best(scores))) == pytest.approx(0.5, abs=0.0185)


def test_a_stage_that_tells_nothing_explains_nothing():
    _, linear = linear_plan(MEAN)
    noise = np.random.default_rng(5)
    found = invert_stage(
        linear.affine(), linear.scores, lambda s: noise.standard_normal((len(s), 3)), 1000, rng()
    )
    assert abs(found.r2) < 0.02


def test_ridge_is_the_same_by_rows_and_by_columns():
    of = np.random.default_rng(2)
    for n, q in ((30, 8), (8, 30)):
        outputs, moved = of.standard_normal((n, q)), of.standard_normal((n, 2))
        for ridge, slopes in zip(RIDGES, _ridge_slopes(outputs, moved, RIDGES), strict=True):
            penalty = ridge * (outputs**2).sum() / min(n, q)
            expected = np.linalg.solve(outputs.T @ outputs + penalty * np.eye(q), outputs.T @ moved)
            np.testing.assert_allclose(slopes, expected, atol=1e-9)


def test_too_few_shadows():
    _, linear = linear_plan(MEAN)
    with pytest.raises(ValueError, match="n_shadows must be at least 4, got 2"):
        invert_stage(linear.affine(), linear.scores, best, 2, rng())
