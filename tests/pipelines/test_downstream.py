"""What every downstream model owes, and the equality of each with the plain reference.

Models give float32 probabilities, so equality is to 1e-6 of a probability whatever the solver
did; the solvers themselves are compared in float64 in tests/training. Measured: 3e-8 on float64
pools, 1.3e-5 on float32 pools.
"""

import math

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier

from curation_audit.observations import Selection
from curation_audit.pipelines.base import Downstream, Rows
from curation_audit.pipelines.downstream import DOWNSTREAM
from curation_audit.pipelines.downstream.cnn import Cnn
from curation_audit.pipelines.downstream.estimator import Estimator
from curation_audit.pipelines.downstream.knn import Knn
from curation_audit.pipelines.downstream.logistic import Logistic, softmax
from curation_audit.pipelines.downstream.mlp import Mlp
from curation_audit.pipelines.downstream.module import Module
from curation_audit.pipelines.downstream.ngram_text import NgramText
from curation_audit.pipelines.rules.threshold import Threshold
from curation_audit.streams import Streams
from curation_audit.training.recipe import EarlyStopping
from tests.pipelines import reference
from tests.pipelines.text_cases import BUCKETS, ModelOnTokens, unit_counts

M, D, S = 60, 4, 5
EXACT, SINGLE = 1e-6, 5e-5
NETWORK = {"epochs": 3, "batch_size": 8, "learning_rate": 0.1, "momentum": 0.9}
NETWORK |= {"weight_decay": 1e-3}


def streams(shadows=range(S)):
    return Streams(4).for_shadows("test", shadows)


def by_logistic(rows, labels, n_classes, asked, shadow):
    return reference.logistic_model(rows, labels, n_classes, 0.5, asked)


def by_mlp(rows, labels, n_classes, asked, shadow):
    generators = {
        "initial": streams().generators("initial weights")[shadow],
        "order": streams().generators("row order")[shadow],
    }
    return reference.mlp_model(
        rows, labels, n_classes, asked, hidden=(6, 5), **generators, **NETWORK
    )


def by_ngrams(rows, labels, n_classes, asked, shadow):
    return reference.logistic_model(unit_counts(rows), labels, n_classes, 0.5, unit_counts(asked))


def by_cnn(rows, labels, n_classes, asked, shadow):
    """A 2 x 2 image: one convolution, one halving, and a head of its three channels."""
    initial = streams().generators("initial weights")[shadow]
    kernels = initial.standard_normal((3, 1, 3, 3)) * math.sqrt(2 / 9)
    head = initial.standard_normal((3, n_classes)) * math.sqrt(2 / 3)
    network = torch.nn.Sequential(
        torch.nn.Unflatten(1, (1, 2, 2)),
        torch.nn.Conv2d(1, 3, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(3, n_classes),
    ).double()
    for layer, weight in ((network[1], kernels), (network[5], head.T)):
        layer.weight.data = torch.as_tensor(weight.copy())
        layer.bias.data.zero_()
    return trained_alone(network, rows, labels, asked, shadow)


def two_layers(n_features, n_classes):
    return torch.nn.Sequential(
        torch.nn.Linear(n_features, 6), torch.nn.Tanh(), torch.nn.Linear(6, n_classes)
    )


def by_module(rows, labels, n_classes, asked, shadow):
    seed = int(streams().generators("initial weights")[shadow].integers(2**63))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = two_layers(D, n_classes).double()
    return trained_alone(network, rows, labels, asked, shadow)


def trained_alone(network, rows, labels, asked, shadow):
    order = streams().generators("row order")[shadow].random((NETWORK["epochs"], len(rows)))
    reference.train_module(
        network,
        rows,
        labels,
        order,
        batch_size=NETWORK["batch_size"],
        optimiser=lambda parameters: torch.optim.SGD(
            parameters,
            lr=NETWORK["learning_rate"],
            momentum=NETWORK["momentum"],
            weight_decay=NETWORK["weight_decay"],
        ),
    )
    return reference.module_says(network, asked)


def by_neighbours(rows, labels, n_classes, asked, shadow):
    if not len(rows):
        return np.full((len(asked), n_classes), 1 / n_classes)
    fitted = KNeighborsClassifier(min(3, len(rows)), algorithm="brute").fit(rows, labels)
    return by_class(fitted, n_classes, asked)


def by_tree(rows, labels, n_classes, asked, shadow):
    seed = int(streams().generators("estimator")[shadow].integers(2**31))
    if len(np.unique(labels)) == 1:
        return np.eye(n_classes)[labels[:1]].repeat(len(asked), axis=0)
    fitted = DecisionTreeClassifier(max_depth=2, random_state=seed).fit(rows, labels)
    return by_class(fitted, n_classes, asked)


def by_class(fitted, n_classes, asked):
    found = np.zeros((len(asked), n_classes))
    found[:, fitted.classes_] = fitted.predict_proba(asked)
    return found


# the model, and the class probabilities of one shadow at the rows asked about
CASES = {
    "cnn": (Cnn(shape=(2, 2), channels=(3,), device="cpu", **NETWORK), by_cnn),
    "estimator": (
        Estimator(estimator=DecisionTreeClassifier(max_depth=2)),
        by_tree,
    ),
    "knn": (Knn(k=3), by_neighbours),
    "logistic": (Logistic(l2=0.5, device="cpu"), by_logistic),
    "mlp": (Mlp(hidden=(6, 5), device="cpu", **NETWORK), by_mlp),
    "module": (Module(module=two_layers, device="cpu", **NETWORK), by_module),
    "ngram_text": (
        ModelOnTokens(NgramText(buckets=BUCKETS, l2=0.5, device="cpu")),
        by_ngrams,
    ),
}


def test_every_model_has_a_row_here():
    assert sorted(CASES) == sorted(DOWNSTREAM)
    assert all(name == case[0].name for name, case in CASES.items())


@pytest.fixture(params=sorted(CASES))
def case(request):
    return CASES[request.param]


def pool_rows(n_classes: int, dtype=np.float64) -> Rows:
    drawn = np.random.default_rng(0)
    features = drawn.normal(size=(M, D)).astype(dtype)
    labels = (features[:, 0] > 0) + drawn.integers(0, n_classes - 1, M)
    return Rows(tuple(map(str, range(M))), features, labels.astype(np.int64))


def ragged() -> Selection:
    """Five shadows: half the pool, a few rows, one row, all rows, and four."""
    scores = np.random.default_rng(5).random((S, M))
    scores[1] -= 0.4
    scores[2] = np.arange(M) == 17
    scores[3] = 1
    scores[4] = np.arange(M) < 4
    return Threshold(minimum=0.5).select(scores, np.arange(M))


ASKED = np.random.default_rng(9).normal(size=(12, D))
ASKED.setflags(write=False)


def probabilities(model: Downstream, pool: Rows, selection: Selection, n_classes: int, shadows):
    fitted = model.fit(pool, selection, n_classes, streams=streams(shadows))
    return fitted.predict_proba(ASKED.astype(pool.features.dtype))


def test_the_pool_is_left_as_it_was(case):
    pool, untouched = pool_rows(3), pool_rows(3)
    probabilities(case[0], pool, ragged(), 3, range(S))
    np.testing.assert_array_equal(pool.features, untouched.features)
    np.testing.assert_array_equal(pool.labels, untouched.labels)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, EXACT), (np.float32, SINGLE)])
@pytest.mark.parametrize("n_classes", [2, 4])
def test_probabilities_equal_the_reference(case, n_classes, dtype, tolerance):
    model, one_shadow = case
    pool, selection = pool_rows(n_classes, dtype), ragged()
    found = probabilities(model, pool, selection, n_classes, range(S))
    assert found.shape == (S, len(ASKED), n_classes)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=2), 1, atol=1e-6)
    assert found.std() > 0.05  # it says something
    for s, mask in enumerate(selection.mask()):
        rows = pool.features[mask].astype(np.float64)
        wanted = one_shadow(rows, pool.labels[mask], n_classes, ASKED, s)
        np.testing.assert_allclose(found[s], wanted, rtol=0, atol=tolerance)


def test_a_shadow_that_picked_nothing_disturbs_nobody(case):
    pool, scores = pool_rows(3), np.zeros((3, M))
    scores[0, :30] = scores[2, 20:] = 1
    selection = Threshold(minimum=0.5).select(scores, np.arange(M))
    assert selection.sizes.tolist() == [30, 0, 40]
    found = probabilities(case[0], pool, selection, 3, range(3))
    np.testing.assert_allclose(found.sum(axis=2), 1, atol=1e-6)
    for s in (0, 2):
        mask = scores[s] > 0
        wanted = case[1](pool.features[mask], pool.labels[mask], 3, ASKED, s)
        np.testing.assert_allclose(found[s], wanted, rtol=0, atol=EXACT)
    if case[0].name in ("logistic", "knn", "estimator"):
        np.testing.assert_allclose(found[1], 1 / 3, atol=1e-7)


def test_nobody_picked_anything(case):
    selection = Threshold(minimum=0.5).select(np.zeros((2, M)), np.arange(M))
    found = probabilities(case[0], pool_rows(2), selection, 2, range(2))
    np.testing.assert_allclose(found.sum(axis=2), 1, atol=1e-6)


def test_one_shadow_alone_equals_its_row_among_many(case):
    pool, mask = pool_rows(3), ragged().mask()
    together = probabilities(case[0], pool, ragged(), 3, range(S))
    for s in (0, 2, 4):
        alone = probabilities(case[0], pool, Selection.from_mask(mask[s : s + 1]), 3, [s])
        np.testing.assert_allclose(alone[0], together[s], rtol=0, atol=1e-7)


def test_the_same_streams_give_the_same_bits(case):
    one, two = (probabilities(case[0], pool_rows(3), ragged(), 3, range(S)) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_a_model_without_labels_is_a_mistake(case):
    pool = Rows(("a",), np.zeros((1, D)))
    with pytest.raises(ValueError, match="needs labels of the pool"):
        case[0].fit(pool, Selection.from_mask(np.ones((1, 1), bool)), 2, streams=streams([0]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Logistic(l2=0), "l2 must be positive, got 0"),
        (lambda: Mlp(epochs=0), "epochs must be positive, got 0"),
        (lambda: Mlp(hidden=(8, 0)), "hidden must be positive, got 0"),
        (lambda: Mlp(momentum=1.0), r"momentum must be in \[0, 1\), got 1.0"),
        (lambda: Mlp(momentum=0.5, optimiser="adamw"), "momentum is of sgd"),
        (lambda: Mlp(weight_decay=-1e-4), "weight_decay must be 0 or more, got -0.0001"),
        (lambda: Mlp(weight_decay=float("inf")), "weight_decay must be 0 or more, got inf"),
        (lambda: Mlp(warmup=30), "warmup must be in 0 to 29 epochs, got 30"),
        (lambda: Mlp(warmup=-1), "warmup must be in 0 to 29 epochs, got -1"),
        (lambda: Mlp(step_factor=0), "step_factor must be positive, got 0"),
        (lambda: EarlyStopping(share=1), r"share must be in \(0, 1\), got 1"),
        (lambda: EarlyStopping(patience=0), "patience must be positive, got 0"),
        (lambda: Cnn(shape=(2, 2), channels=()), "channels must name one convolution or more"),
        (lambda: Cnn(shape=(2, 0)), "shape must be positive, got 0"),
        (lambda: Knn(k=0), "k must be positive, got 0"),
        (lambda: Module(module=two_layers, workers=0), "workers must be positive, got 0"),
    ],
)
def test_settings_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_softmax_of_large_logits_is_exact_and_of_lost_ones_is_nan():
    found = softmax(np.array([[1e4, 1e4, -1e4], [0.0, np.log(3), -np.inf]]))
    np.testing.assert_allclose(found, [[0.5, 0.5, 0], [0.25, 0.75, 0]], atol=1e-7)
    assert np.isnan(softmax(np.array([[np.inf, 0.0]]))).any()
