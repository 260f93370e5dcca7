"""Networks: the cavity by hand, by refits of scikit-learn, and on real trainings."""

import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from curation_audit.analytic.affine import likelihood_ratios
from curation_audit.analytic.cavity import (
    cavity_residuals,
    ridge_of,
    toggled,
)
from curation_audit.analytic.tangents import tangent_of_layers, tangent_of_module
from curation_audit.forecasting.outlook import outlook
from curation_audit.forecasting.prediction import exact_shadows, first_order_of
from curation_audit.pipelines.scorers.mlp_classifier import MlpClassifier
from curation_audit.training.mlp import Layer
from tests.analytic.worlds import M, plan

MLP = MlpClassifier(hidden=(16,), epochs=30, weight_decay=1e-2, device="cpu")


def test_residuals_by_hand():
    """A row that was out at logit 1 with share 2: z + 2 (sigmoid(z) - 1) = 1 at z = 1.4463."""
    residual, factor = cavity_residuals(
        np.array([1.0, 1.0]), np.array([2.0, 2.0]), np.array([False, True])
    )
    inside = 1 - 2 * residual[0]
    assert inside + 2 * (expit(inside) - 1) == pytest.approx(1.0)
    assert inside > 1
    assert residual[1] == pytest.approx(expit(1) - 1)
    curvature = expit(1) * (1 - expit(1))
    assert factor.tolist() == pytest.approx([1.0, 1 / (1 - 2 * curvature)])


def module_of(weights, rng):
    """A module of torch with these weights, the last of them the bias."""
    module = torch.nn.Linear(len(weights) - 1, 1).double()
    with torch.no_grad():
        module.weight.copy_(torch.tensor(weights[None, :-1]))
        module.bias.copy_(torch.tensor(weights[-1:]))
    return tangent_of_module(module, rng)


@pytest.mark.parametrize("kind", ["layers", "module"])
def test_without_hidden_layers_it_is_leaving_one_out_of_logistic_regression(monkeypatch, kind):
    """Against scikit-learn, refitted with a row out: within 8 %, for random features' sake."""
    monkeypatch.setattr("curation_audit.analytic.tangents.WIDTH", 2000)
    of = plan(MlpClassifier(hidden=(), weight_decay=0.05, epochs=10**9, device="cpu"), n=30)
    rows = np.concatenate([of.data.private.features, of.data.pool.features])
    n, target = len(rows), np.arange(len(rows)) < 30

    def fitted(weights):
        # the decay acts on both outputs of the network, so that a difference of logits has half
        with_one = np.concatenate([rows, np.ones((n, 1))], axis=1)
        penalty = 0.05 / 2 * weights.sum()
        found = LogisticRegression(C=1 / penalty, fit_intercept=False, tol=1e-12, max_iter=10**4)
        return found.fit(with_one, target, sample_weight=weights).coef_[0]

    whole = fitted(np.ones(n))
    halves = np.stack([-whole / 2, whole / 2], axis=1)
    layer = Layer(torch.tensor(halves[:-1]), torch.tensor(halves[-1:]))
    held = np.ones(30, dtype=bool)
    rng, features = np.random.default_rng(0), of.data.private.features
    tangent = module_of(whole, rng) if kind == "module" else tangent_of_layers([layer], rng)
    # a module has one output, and the decay of a difference of two is half of each one's
    ridge = 0.05 / (2 if kind == "module" else 1)
    moved = toggled(tangent, features, held, of.data.pool.features, of.data.pool.features, ridge)
    for i in (0, 7):
        without = fitted((np.arange(n) != i).astype(float))
        change = np.concatenate([of.data.pool.features, np.ones((M, 1))], axis=1) @ (
            whole - without
        )
        assert np.linalg.norm(moved[i] - change) < 0.08 * np.linalg.norm(change)


def test_early_stopping_is_a_ridge():
    # 5 epochs of 4 batches at rate .1 / (1 - .5): 1 / (.2 * 20) beside the decay
    scorer = MlpClassifier(epochs=5, batch_size=64, learning_rate=0.1, momentum=0.5)
    assert ridge_of(scorer, 200) == pytest.approx(1e-4 + 1 / 4)


@pytest.fixture(scope="module")
def found():
    of = plan(MLP, n=160, d=10)
    return of, first_order_of(of), exact_shadows(of, 40)


def test_sixteen_networks_tell_who_was_in(found):
    """40 x 160 coins: the standard error of the AUC is .007."""
    _, first_order, (inclusion, scores) = found
    evidence = likelihood_ratios(first_order.affine(), first_order.seen(scores))
    assert roc_auc_score(inclusion.ravel(), evidence.ravel()) > 0.6
    coins = np.random.default_rng(5).random(inclusion.shape) < 0.5
    assert roc_auc_score(coins.ravel(), evidence.ravel()) == pytest.approx(0.5, abs=0.03)


def test_a_network_has_no_closed_form(found):
    told = outlook(found[0], 40)
    assert (told.prediction.told, told.laws, told.fall) == ((), (), None)
    assert told.prediction.check.predicted is None
    assert 0.3 < told.prediction.check.linearity < 1
