"""First order against exact curations, and the filter against likelihoods of another library."""

import dataclasses

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import cdist
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from curation_audit.analytic.affine import (
    AffineScores,
    Kernel,
    Linear,
    Seen,
    fewer_candidates,
    likelihood_ratios,
    linearity,
)
from curation_audit.attacks import ATTACKS
from curation_audit.auditing.adversary import knowledge_of
from curation_audit.forecasting.prediction import exact_shadows
from curation_audit.observations import Observation
from curation_audit.pipelines.scorers.classifier import Classifier
from curation_audit.pipelines.scorers.nearest import Nearest
from curation_audit.statistics.leverage import leverages
from curation_audit.streams import Streams
from tests.analytic.worlds import LOGIT, MEAN, M, N, linear_plan, plan

RNG = np.random.default_rng(0)


def auc(inclusion, evidence) -> float:
    return float(roc_auc_score(inclusion.ravel(), evidence.ravel()))


def test_the_filter_is_the_likelihood_ratio_of_a_gaussian_model():
    """Of candidate n: the density with its coin up over that with its coin down."""
    n, r = 7, 4
    shifts, noise = RNG.standard_normal((n, r)), np.diag([0.3, 0.5, 1.0, 2.0])
    affine = AffineScores(RNG.standard_normal(r), shifts, noise, left=0.1)
    x = RNG.standard_normal((5, r))
    found = likelihood_ratios(affine, Seen(x, rounding=0.2))
    every = shifts.T @ shifts / 4 + noise + (0.1 + 0.2) * np.eye(r)
    for i, a in enumerate(shifts):
        others = every - np.outer(a, a) / 4
        up, down = (
            stats.multivariate_normal(affine.reference + sign * a / 2, others).logpdf(x)
            for sign in (1, -1)
        )
        np.testing.assert_allclose(found[:, i], up - down, atol=1e-9)


@pytest.mark.parametrize("scorer", [MEAN, LOGIT], ids=["mean", "classifier"])
def test_first_order_is_what_exact_curations_do(scorer):
    of, linear = linear_plan(scorer)
    affine = linear.affine()
    inclusion, scores = exact_shadows(of, 40)
    seen = linear.seen(scores)
    assert np.median(linearity(scores, linear.scores(inclusion))) > 0.97
    assert seen.rounding < 1e-20
    # coordinates are orthonormal: lengths of score vectors are lengths of coordinates
    np.testing.assert_allclose(
        np.linalg.norm(seen.coordinates, axis=1), np.linalg.norm(scores, axis=1), rtol=1e-9
    )
    # analytic shadows have the coordinates that first order says
    analytic = linear.seen(linear.scores(inclusion)).coordinates
    np.testing.assert_allclose(
        analytic, affine.reference + (inclusion - 0.5) @ affine.shifts, atol=1e-9
    )
    assert (affine.left == 0) == (scorer is MEAN)


def test_taking_one_record_in_or_out_moves_scores_as_first_order_says():
    """Where all others are held by half, i.e. on average over their coins."""
    of, linear = linear_plan(LOGIT, n=200)
    inclusion = np.random.default_rng(3).random((400, 200)) < 0.5
    inclusion[200:] = inclusion[:200]
    inclusion[:200, 5], inclusion[200:, 5] = True, False
    streams = Streams(0).for_shadows("toggled", range(400))
    fitted = of.scorer.fit(of.data.private, inclusion, of.data.pool, streams=streams)
    scores = fitted.score(of.data.pool.features)
    exact = (scores[:200] - scores[200:]).mean(axis=0)
    expected = linear.pool @ linear.linearisation.influence[5]
    assert np.linalg.norm(exact - expected) < 0.05 * np.linalg.norm(exact)


def test_without_noise_only_gradients_count_and_not_the_regulariser():
    """The Hessian cancels: leverages are those of the gradients' Gram matrix (theory 2.1)."""
    found = []
    for l2 in (0.5, 5.0):
        of = plan(dataclasses.replace(LOGIT, l2=l2))
        linear = Linear.of(of.scorer, of.data).linearisation
        hessian = RNG.standard_normal((7, 7)) + 3 * np.eye(7)
        shifts = linear.influence
        np.testing.assert_allclose(leverages(shifts @ hessian), leverages(shifts), atol=1e-8)
        found.append(leverages(shifts).sum())
    assert found == pytest.approx([7, 7])


def test_similarities_of_any_kind_give_every_coin_away():
    """As many directions as candidates: AUC 1, and still above .999 where scores are rounded."""
    private, pool = RNG.standard_normal((60, 5)), RNG.standard_normal((400, 5))
    kernel = Kernel(np.exp(-(cdist(private, pool) ** 2) / 4))
    inclusion = RNG.random((50, 60)) < 0.5
    scores = kernel.scores(inclusion)
    affine = kernel.affine()
    assert auc(inclusion, likelihood_ratios(affine, kernel.seen(scores))) > 0.9999
    step = 0.01 * scores.std()
    rounded = kernel.seen(np.round(scores / step) * step)
    assert rounded.rounding == pytest.approx(step**2 / 12, rel=0.2)
    assert auc(inclusion, likelihood_ratios(affine, rounded)) > 0.999


@pytest.mark.parametrize("scorer", [MEAN, LOGIT], ids=["mean", "classifier"])
def test_coins_of_other_runs_cannot_be_told(scorer):
    """400 x 80 fair coins, independent of the scores: the AUC's standard error is .003."""
    of, linear = linear_plan(scorer)
    _, scores = exact_shadows(of, 400)
    evidence = likelihood_ratios(linear.affine(), linear.seen(scores))
    coins = np.random.default_rng(9).random(evidence.shape) < 0.5
    assert auc(coins, evidence) == pytest.approx(0.5, abs=0.0125)


def test_shifts_of_others_tell_nothing():
    of, linear = linear_plan(MEAN)
    inclusion, scores = exact_shadows(of, 400)
    affine, seen = linear.affine(), linear.seen(scores)
    assert auc(inclusion, likelihood_ratios(affine, seen)) > 0.6
    # one wrong order may be right by chance; the mean of twenty is not
    orders = [np.roll(affine.shifts, by, axis=0) for by in range(1, 21)]
    wrong = [likelihood_ratios(dataclasses.replace(affine, shifts=one), seen) for one in orders]
    assert np.mean([auc(inclusion, one) for one in wrong]) == pytest.approx(0.5, abs=0.01)


def test_a_scorer_that_is_not_linear_has_none():
    of = plan(Nearest())
    assert Linear.of(of.scorer, of.data) is None


def test_some_of_the_candidates():
    data = plan(MEAN).data
    fewer = fewer_candidates(data, np.array([0, 3, 79]))
    assert fewer.private.unit_ids == tuple(data.private.unit_ids[i] for i in (0, 3, 79))
    np.testing.assert_array_equal(fewer.private.features, data.private.features[[0, 3, 79]])
    assert fewer.private.unit.tolist() == [0, 1, 2]
    assert (len(fewer.pool), data.private.n_candidates) == (M, N)


def test_on_digits_no_shadow_beats_two_hundred_of_lira():
    """The figures of theory 2.2: .67 to .72, and .05 above LiRA over the pool or more."""
    images, rng = load_digits().data / 16, np.random.default_rng(0)
    order = rng.permutation(len(images))
    near = images[rng.choice(order[400:], 1000, replace=False)]
    far = images[rng.choice(len(images), 1000, replace=False)]
    far = far.reshape(-1, 8, 8).transpose(0, 2, 1).reshape(-1, 64)
    public = np.concatenate([near, far])
    of = plan(LOGIT, private=images[order[:400]], public=public, labels=None, train=None)
    inclusion, scores = exact_shadows(of, 200)
    linear = Linear.of(of.scorer, of.data)
    found = auc(inclusion, likelihood_ratios(linear.affine(), linear.seen(scores)))
    assert 0.67 < found < 0.72
    picks = of.rule.select(scores, np.arange(2000))
    shown = Observation(scores, picks, np.zeros((200, 0, 0), dtype=np.float32))
    streams = Streams(0).for_shadows("shadow", range(200))
    lira = ATTACKS["lira_best_row"].evidence(shown, inclusion, knowledge_of(of), streams=streams)
    assert found > auc(inclusion, lira) + 0.05


def test_what_first_order_leaves_is_neither_forgotten_nor_all():
    """60 candidates along 51 directions: without the variance that is left, or with a tenth of
    the coins' in its place, the filter is worse by more than five standard errors (.007)."""
    for l2, other in ((1.0, 0.0), (0.01, 0.1)):
        of, linear = linear_plan(Classifier(device="cpu", l2=l2), n=60, d=50)
        inclusion, scores = exact_shadows(of, 100)
        affine, seen = linear.affine(), linear.seen(scores)
        largest = (affine.shifts**2).sum(axis=0).max() / 4
        worse = dataclasses.replace(affine, left=other * largest)
        found = auc(inclusion, likelihood_ratios(affine, seen))
        assert found > auc(inclusion, likelihood_ratios(worse, seen)) + 0.04
