"""From outputs of a stage back to coins: where nothing is lost, where much is, where all is."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from curation_audit.analytic.affine import Seen, likelihood_ratios
from curation_audit.analytic.stages import invert_stage
from curation_audit.forecasting.prediction import exact_shadows
from curation_audit.statistics.leverage import leverages
from tests.analytic.worlds import LOGIT, MEAN, linear_plan


def rng():
    return np.random.default_rng(0)


def auc(inclusion, evidence) -> float:
    return float(roc_auc_score(inclusion.ravel(), evidence.ravel()))


def best(scores, trials=None, k=60):
    return (scores >= np.sort(scores, axis=1)[:, [-k]]).astype(float)


def test_a_stage_that_loses_nothing_tells_what_the_scores_tell():
    of, linear = linear_plan(MEAN)
    affine = linear.affine()
    _, scores = exact_shadows(of, 40)

    def coordinates(scores, trials=None):
        return linear.seen(scores).coordinates

    found = invert_stage(affine, linear.scores, coordinates, 400, rng())
    assert found.r2 > 0.999
    direct = likelihood_ratios(affine, Seen(coordinates(scores), 0.0))
    told = found.likelihood_ratios(found.guess(coordinates(scores)))
    assert np.corrcoef(direct.ravel(), told.ravel())[0, 1] > 0.999
    # each candidate on its own scale, too: leverages run from .03 to .21
    sizes = told.std(axis=0) / direct.std(axis=0)
    leverage = leverages(affine.shifts, affine.noise)
    assert leverage.min() < 0.04
    assert leverage.max() > 0.2
    np.testing.assert_allclose(sizes / sizes.mean(), 1, atol=0.05)


@pytest.mark.parametrize("scorer", [MEAN, LOGIT], ids=["mean", "classifier"])
def test_picks_alone_tell_less_than_scores_and_more_than_nothing(scorer):
    of, linear = linear_plan(scorer)
    affine = linear.affine()
    inclusion, scores = exact_shadows(of, 200)
    found = invert_stage(affine, linear.scores, best, 2000, rng())
    from_scores = auc(inclusion, likelihood_ratios(affine, linear.seen(scores)))
    from_picks = auc(inclusion, found.likelihood_ratios(found.guess(best(scores))))
    assert 0.55 < from_picks < from_scores
    # coins of other runs: 200 x 80 of them, standard error .0046
    coins = np.random.default_rng(9).random(inclusion.shape) < 0.5
    assert auc(coins, found.likelihood_ratios(found.guess(best(scores)))) == pytest.approx(
        0.5, abs=0.0185
    )


def test_a_stage_that_tells_nothing_explains_nothing():
    _, linear = linear_plan(MEAN)
    noise = np.random.default_rng(5)
    found = invert_stage(
        linear.affine(), linear.scores, lambda s, _: noise.standard_normal((len(s), 3)), 1000, rng()
    )
    assert abs(found.r2) < 0.02
