"""TRAK: hand-worked numbers, closed forms, its authors' package, and the seam to the pool."""

import tempfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from curation_audit.checks import SettingError
from curation_audit.pipelines.scorers import trak_map
from curation_audit.pipelines.scorers.trak import Trak
from curation_audit.training.gradients import log_odds, on_device, per_example_gradients
from curation_audit.training.public_model import one_hot
from tests.pipelines.gradient_cases import (
    N_CLASSES as C,
)
from tests.pipelines.gradient_cases import (
    SCORERS,
    D,
    drawn,
    fitted,
    labels_of,
    pool_rows,
    private_rows,
    trak_parts,
    trak_scores,
)


def test_by_hand(monkeypatch):
    """One feature, two classes, a model that knows nothing: all weights 0, so every p is 1/2.

    With s = +-1 the sign of the label, the gradient is s (-x, x, -1, 1) = s (x u + v) with
    u = (-1, 1, 0, 0) and v = (0, 0, -1, 1). The pool x = 1 and x = -1 has the second moment
    2 u u' + 2 v v', with eigenvalues 4, 4, 0, 0 and mean 2; half of it is the ridge 1. So the
    inverse divides u and v by 5, and phi(x)' K^-1 phi(t) = s_x s_t (x t + 1) 2 / 5, times 1/2.
    """
    nothing = [(np.zeros((1, 2)), np.zeros(2))]
    monkeypatch.setattr(trak_map, "fit_models", lambda *_: nothing)
    pool = pool_rows([[1.0], [-1.0]], [1, 1])
    scorer = Trak(models=1, damping=0.5).bind(pool)
    asked, labels = np.array([[1.0], [2.0], [1.0], [0.0]]), np.array([1, 1, 0, 1])
    alone = fitted(scorer, private_rows([[3.0]], [1]), pool, [[True]])
    wanted = [0.5 * 0.4 * 4, 0.5 * 0.4 * 7, -0.5 * 0.4 * 4, 0.5 * 0.4 * 1]
    np.testing.assert_allclose(alone.score(asked, labels), [wanted], atol=1e-14)
    both = fitted(
        scorer, private_rows([[3.0], [1.0]], [1, 0]), pool, [[1, 1], [0, 1], [0, 0], [1, 0]]
    )
    second = [-0.5 * 0.4 * 2, -0.5 * 0.4 * 3, 0.5 * 0.4 * 2, -0.5 * 0.4 * 1]
    mean = (np.array(wanted) + second) / 2
    np.testing.assert_allclose(
        both.score(asked, labels), [mean, second, np.zeros(4), wanted], atol=1e-14
    )


def test_a_regression_in_closed_form():
    """Whitened products are ``Phi_t (Phi' Phi + lambda I)^-1 Phi_t'`` with Phi known exactly."""
    pool, private = pool_rows(*drawn(60)), private_rows(*drawn(9, seed=1))
    scorer = Trak(models=1, damping=0.2).bind(pool)
    ((weight, bias),) = scorer.map.models

    def phi(features, labels):
        odds = np.exp(features @ weight + bias)
        at_logits = -odds / (odds.sum(axis=1) - odds[np.arange(len(odds)), labels])[:, None]
        at_logits[np.arange(len(odds)), labels] = 1
        outer = np.einsum("rd,rc->rdc", features, at_logits).reshape(len(odds), -1)
        return np.concatenate([outer, at_logits], axis=1)

    of_pool, mine = phi(pool.features, pool.labels), phi(private.features, private.labels)
    kernel = of_pool.T @ of_pool
    kernel += 0.2 * np.trace(kernel) / len(kernel) * np.eye(len(kernel))
    contribution = scorer.map.contribution(private.features, private.labels)
    wanted = mine @ np.linalg.solve(kernel, mine.T)
    np.testing.assert_allclose(contribution @ contribution.T, wanted, atol=1e-12)


def test_a_candidates_query_points_the_way_of_its_contribution():
    pool = pool_rows(*drawn(60))
    scorer = Trak(models=2, projection=9).bind(pool)
    features, labels = drawn(5, seed=1)
    query = scorer.map.query(features, labels)
    contribution = scorer.map.contribution(features, labels)
    scale = query[:, :1] / contribution[:, :1]
    np.testing.assert_allclose(query, scale * contribution, atol=1e-14)
    assert (scale > 0).all()


def test_perceptrons_equal_the_reference():
    """Two of them with a hidden layer, gradients of 43 parameters projected to 12."""
    features, _ = drawn(40)
    pool = pool_rows(features, labels_of(features))
    scorer = Trak(models=2, hidden=(5,), epochs=5, projection=12).bind(pool)
    mine = drawn(6, seed=1)[0]
    private = private_rows(mine, labels_of(mine))
    found = fitted(scorer, private, pool, [[1, 1, 1, 0, 0, 0]]).score(features, pool.labels)
    wanted = trak_scores(trak_parts(scorer, features), mine[:3], features)
    np.testing.assert_allclose(found, [wanted], atol=1e-10)


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")  # the package's and its dependencies' own
def test_the_authors_package_says_the_same():
    """traker 0.3.2, in float32, on the same model without a projection.

    It scales its inverse by the mean of its entries, so the scores agree up to one factor.
    """
    trak = pytest.importorskip("trak")
    (features, labels), (mine, codes) = drawn(80), drawn(11, seed=1)
    pool = pool_rows(features, labels)
    scorer = Trak(models=1, damping=0.2).bind(pool)
    ((weight, bias),) = scorer.map.models
    model = torch.nn.Linear(D, C)
    model.weight.data = torch.tensor(weight.T, dtype=torch.float32).contiguous()
    model.bias.data = torch.tensor(bias, dtype=torch.float32)
    n = D * C + C
    phi = scorer_moment(scorer, features, labels) / n
    with tempfile.TemporaryDirectory() as folder:
        theirs = trak.TRAKer(
            model=model,
            task="image_classification",
            train_set_size=80,
            save_dir=folder,
            device="cpu",
            projector=trak.projectors.NoOpProjector(proj_dim=n, grad_dim=n, device="cpu"),
            proj_dim=n,
            use_half_precision=False,
            lambda_reg=0.2 * float(np.trace(phi)) / n,
            logging_level=50,
        )
        state = model.state_dict()
        theirs.load_checkpoint(state, model_id=0)
        theirs.featurize(
            batch=(torch.tensor(features, dtype=torch.float32), torch.tensor(labels)),
            num_samples=80,
        )
        theirs.finalize_features()
        theirs.start_scoring_checkpoint("t", checkpoint=state, model_id=0, num_targets=11)
        theirs.score(
            batch=(torch.tensor(mine, dtype=torch.float32), torch.tensor(codes)), num_samples=11
        )
        wanted = np.asarray(theirs.finalize_scores("t")).mean(axis=1)
    private = private_rows(mine, codes)
    found = fitted(scorer, private, pool, [[True] * 11]).score(features, labels)[0]
    factor = (found @ wanted) / (found @ found)
    assert factor > 0
    np.testing.assert_allclose(found * factor, wanted, atol=1e-4 * np.abs(wanted).max())


def scorer_moment(scorer, features, labels):
    """``Phi' Phi`` by our own gradients, for the package's ridge."""
    rows = torch.tensor(features)
    network = on_device(scorer.map.models[0], rows)
    phi = per_example_gradients(log_odds, network, rows, one_hot(labels, C, rows))
    return (phi.T @ phi).numpy()


@given(seed=st.integers(0, 2**20), copies=st.integers(2, 4))
@settings(max_examples=20, deadline=None)
def test_a_mean_does_not_see_how_often_everybody_is_there(seed, copies):
    pool = pool_rows(*drawn(30))
    scorer = Trak(models=1, projection=6).bind(pool)
    features, labels = drawn(5, seed)
    once = fitted(scorer, private_rows(features, labels), pool, [[True] * 5])
    many = private_rows(np.tile(features, (copies, 1)), np.tile(labels, copies))
    often = fitted(scorer, many, pool, [[True] * 5 * copies])
    asked = pool.features
    np.testing.assert_allclose(often.score(asked, pool.labels), once.score(asked, pool.labels))


def test_a_row_without_a_label_has_the_models():
    pool = pool_rows(*drawn(60))
    features, _ = drawn(7, seed=1)
    for settings_ in SCORERS:
        scorer = settings_.bind(pool)
        own = scorer.map.own_labels(features)
        assert set(own.tolist()) <= set(range(C))
        without = fitted(scorer, private_rows(features), pool, [[True] * 7])
        with_own = fitted(scorer, private_rows(features, own), pool, [[True] * 7])
        asked = pool.features
        np.testing.assert_array_equal(
            without.score(asked), with_own.score(asked, scorer.map.own_labels(asked))
        )
        np.testing.assert_array_equal(scorer.embed(features), scorer.embed(features, own))


def test_training_that_diverges_is_told(monkeypatch):
    broken = [(np.full((D, C), np.nan), np.zeros(C))]
    monkeypatch.setattr(trak_map, "fit_models", lambda *_: broken)
    with pytest.raises(SettingError, match="did not converge"):
        Trak(models=1).bind(pool_rows(*drawn(20)))


@pytest.mark.parametrize(
    "wrong", [{"models": 0}, {"projection": 0}, {"damping": 0}, {"hidden": (0,)}, {"epochs": -1}]
)
def test_settings_are_checked(wrong):
    with pytest.raises(ValueError, match="must be positive"):
        Trak(**wrong)
