"""Batched logistic regression against scikit-learn, Newton's method and the optimality condition.

Measured on such cases: at most 1.3e-12 from scikit-learn in float64, 4e-5 in float32.
"""

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression

from curation_audit.training.logistic import LogisticProblems, fit_logistic
from curation_audit.training.near_average import MOST_COEFFICIENTS_OF_FULL_HESSIAN

EXACT, SINGLE = 1e-10, 1e-4
N, D, S = 90, 5, 6


def fitted(design, targets, weights, l2, dtype=torch.float64) -> np.ndarray:
    """Coefficients (S, p, C) of the batched solver, as float64."""

    def tensor(array):
        return torch.as_tensor(np.asarray(array), dtype=dtype)

    penalty = np.broadcast_to(l2, np.shape(design)[-1:]).copy()
    problems = LogisticProblems(tensor(design), tensor(targets), tensor(weights), tensor(penalty))
    return fit_logistic(problems).double().numpy()


def by_scikit_learn(design, labels, weights, l2) -> np.ndarray:
    """Coefficients (p, C) of one problem, of the rows that count."""
    model = LogisticRegression(
        C=1 / l2, fit_intercept=False, solver="newton-cholesky", tol=1e-14, max_iter=1000
    )
    held = weights > 0
    return model.fit(design[held], labels[held], sample_weight=weights[held]).coef_.T


def newton(design, target, weights, l2) -> np.ndarray:
    """Damped Newton's method for one binary problem, where scikit-learn does not go: (p,)."""
    w = np.zeros(design.shape[1])

    def objective(w):
        logits = design @ w
        fit = weights @ (np.logaddexp(0, logits) - target * logits)
        return fit + l2 / 2 * w @ w

    for _ in range(200):
        p = expit(design @ w)
        gradient = design.T @ (weights * (p - target)) + l2 * w
        hessian = (design.T * (weights * p * (1 - p))) @ design + l2 * np.eye(len(w))
        step, length = np.linalg.solve(hessian, gradient), 1.0
        while length > 1e-9 and objective(w - length * step) > objective(w):
            length /= 2
        w = w - length * step
    return w


def off(found, expected) -> float:
    """The largest difference relative to the coefficients, the measure of the tolerances."""
    return float(np.abs(found - expected).max() / (1 + np.abs(expected).max()))


def with_ones(rows: np.ndarray) -> np.ndarray:
    return np.concatenate([rows, np.ones_like(rows[..., :1])], axis=-1)


@pytest.fixture
def design(rng) -> np.ndarray:
    return with_ones(rng.normal(size=(N, D)))


@pytest.fixture
def labels(rng, design) -> np.ndarray:
    return (design[:, 0] + rng.normal(size=N) > 0).astype(np.int64)


@pytest.fixture
def stacked(rng) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Designs (S, N, D + 1), labels of three classes (S, N), and weights with padding at the end.

    The padding holds large rows: whatever looks at them goes wrong.
    """
    rows = with_ones(rng.normal(size=(S, N, D)))
    classes = rng.integers(0, 3, (S, N))
    real = np.arange(N) < np.array([N, 60, 41, 80, N - 1, 33])[:, None]
    rows[~real] = 1e3
    return rows, classes, real.astype(float)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, EXACT), (torch.float32, SINGLE)])
@pytest.mark.parametrize("kind", ["in or out", "fractional"])
@pytest.mark.parametrize("l2", [1.0, 1e-3, 30.0])
def test_a_shared_design_equals_scikit_learn(rng, design, labels, kind, l2, dtype, tolerance):
    held = rng.integers(0, 2, (S, N)).astype(float)
    weights = held if kind == "in or out" else rng.random((S, N)) * held
    found = fitted(design, labels[None, :, None], weights, l2, dtype)
    for s in range(S):
        assert off(found[s], by_scikit_learn(design, labels, weights[s], l2)) < tolerance


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, EXACT), (torch.float32, SINGLE)])
@pytest.mark.parametrize("l2", [1.0, 1e-2])
def test_stacked_designs_equal_scikit_learn_and_padding_never_counts(stacked, l2, dtype, tolerance):
    rows, classes, weights = stacked
    binary = fitted(rows, (classes == 1)[..., None], weights, l2, dtype)
    several = fitted(rows, np.eye(3)[classes], weights, l2, dtype)
    for s in range(S):
        one = by_scikit_learn(rows[s], (classes[s] == 1).astype(int), weights[s], l2)
        assert off(binary[s], one) < tolerance
        assert off(several[s], by_scikit_learn(rows[s], classes[s], weights[s], l2)) < tolerance


def test_ten_classes_on_separable_rows_are_solved_too(rng):
    # the blocks of single classes alone say little here; it takes the whole Hessian
    rows, classes = with_ones(rng.normal(size=(2, 40, D))), rng.integers(0, 10, (2, 40))
    classes[:, :10] = np.arange(10)
    found = fitted(rows, np.eye(10)[classes], np.ones((2, 40)), 1e-3)
    for s in range(2):
        residuals = softmax(rows[s] @ found[s], axis=1) - np.eye(10)[classes[s]]
        np.testing.assert_allclose(rows[s].T @ residuals + 1e-3 * found[s], 0, atol=1e-10)


def test_soft_targets_are_a_mixture_of_hard_ones(rng, design):
    targets = rng.random(N)
    found = fitted(design, targets[None, :, None], np.ones((1, N)), 1.0)
    twice = np.concatenate([design, design])
    labels = np.repeat([1, 0], N)
    weights = np.concatenate([targets, 1 - targets])
    assert off(found[0], by_scikit_learn(twice, labels, weights, 1.0)) < EXACT


def test_a_penalty_per_coefficient_is_a_change_of_units(rng, design, labels):
    penalty = np.array([0.1, 1, 10, 3, 0.5, 2])
    found = fitted(design, labels[None, :, None], np.ones((1, N)), penalty)
    scaled = by_scikit_learn(design / np.sqrt(penalty), labels, np.ones(N), 1.0)
    assert off(found[0, :, 0], scaled[:, 0] / np.sqrt(penalty)) < EXACT


@pytest.mark.parametrize("l2", [1.0, 1e-2, 1e-4])
def test_separable_data_end_where_the_penalty_holds_them(design, l2):
    target = (design[:, 0] > 0).astype(float)
    found = fitted(design, target[None, :, None], np.ones((1, N)), l2)
    assert off(found[0, :, 0], newton(design, target, np.ones(N), l2)) < EXACT


@pytest.mark.parametrize("target", [0.0, 1.0])
def test_one_class_only_has_a_solution(design, target):
    found = fitted(design, np.full((1, N, 1), target), np.ones((1, N)), 1.0)
    assert off(found[0, :, 0], newton(design, np.full(N, target), np.ones(N), 1.0)) < EXACT
    three = fitted(design[None], np.eye(3)[np.zeros((1, N), int)], np.ones((1, N)), 1.0)
    np.testing.assert_allclose(three[0, :, 1], three[0, :, 2], atol=1e-12)
    np.testing.assert_allclose(three.sum(axis=2), 0, atol=1e-12)


def test_a_shadow_without_rows_stays_at_zero_and_disturbs_nobody(rng, design, labels):
    weights = rng.integers(0, 2, (3, N)).astype(float)
    weights[1] = 0
    found = fitted(design, labels[None, :, None], weights, 1.0)
    np.testing.assert_array_equal(found[1], 0)
    assert off(found[2], by_scikit_learn(design, labels, weights[2], 1.0)) < EXACT
    softmaxed = fitted(design[None].repeat(3, 0), np.eye(2)[labels][None], weights, 1.0)
    np.testing.assert_array_equal(softmaxed[1], 0)


@pytest.mark.parametrize("n_classes", [1, 3])
def test_one_shadow_alone_equals_the_same_among_many(stacked, rng, design, n_classes):
    rows, classes, weights = stacked
    targets = (classes == 1)[..., None] if n_classes == 1 else np.eye(3)[classes]
    together = fitted(rows, targets, weights, 1.0)
    alone = fitted(rows[2:3], targets[2:3], weights[2:3], 1.0)
    assert off(alone, together[2:3]) < 1e-12
    held = rng.integers(0, 2, (S, N))
    shared = fitted(design, targets[:1], held, 1.0)
    assert off(fitted(design, targets[:1], held[3:4], 1.0), shared[3:4]) < 3e-12


@pytest.mark.parametrize("n_classes", [1, 3])
@pytest.mark.parametrize("shared", [True, False])
def test_badly_scaled_features_converge(stacked, n_classes, shared):
    rows, classes, weights = stacked
    factors = np.append(np.full(D - 1, 1e3), [1e-2, 1.0])
    rows = (rows[0] if shared else rows) * factors
    targets = (classes == 1)[..., None] if n_classes == 1 else np.eye(3)[classes]
    found = fitted(rows, targets[:1] if shared else targets, weights, 1.0)
    for s in range(S):
        here, wanted = (rows, targets[0]) if shared else (rows[s], targets[s])
        logits = here @ found[s]
        p = expit(logits) if n_classes == 1 else softmax(logits, axis=1)
        gradient = here.T @ (weights[s, :, None] * (p - wanted)) + found[s]
        # each coordinate in units of its own features
        np.testing.assert_allclose(gradient / factors[:, None], 0, atol=1e-8)


@pytest.mark.parametrize("n_classes", [1, 3])
@pytest.mark.parametrize("shared", [True, False])
def test_float32_survives_singular_hessians(rng, shared, n_classes):
    """Equal columns of large numbers: in float32 the penalty drowns, and the rows fit perfectly."""
    rows = rng.normal(size=(4, 12, 4)) * 1e4
    design = with_ones(np.concatenate([rows, rows], axis=2))
    labels = rng.integers(0, 3, (4, 12))
    labels[:, :3] = [0, 1, 2]
    targets = (labels == 1)[..., None] if n_classes == 1 else np.eye(3)[labels]
    design, targets = (design[0], targets[:1]) if shared else (design, targets)
    found = fitted(design, targets, np.ones((4, 12)), 1.0, torch.float32)
    exact = fitted(design, targets, np.ones((4, 12)), 1.0)
    squashed = expit if n_classes == 1 else lambda logits: softmax(logits, axis=-1)
    np.testing.assert_allclose(squashed(design @ found), squashed(design @ exact), atol=0.02)


@pytest.mark.parametrize(("dtype", "claimed"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_the_stated_accuracy_is_reached(rng, design, labels, dtype, claimed):
    """One exact Newton step from the result is as small as the docstring says."""
    weights = rng.integers(0, 2, (S, N)).astype(float)
    found = fitted(design, labels[None, :, None], weights, 1.0, dtype)[:, :, 0]
    for s in range(S):
        p = expit(design @ found[s])
        gradient = design.T @ (weights[s] * (p - labels)) + found[s]
        hessian = (design.T * (weights[s] * p * (1 - p))) @ design + np.eye(D + 1)
        assert off(np.linalg.solve(hessian, gradient) + found[s], found[s]) < 2 * claimed


def separable(n_classes, n=300, p=8):
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(n, p))
    labels = (rows @ rng.normal(size=(p, n_classes))).argmax(axis=1)
    return rows, labels, (rng.random((40, n)) < 0.5).astype(float)


def off_by(found, expected):
    """The largest difference relative to the largest coefficient, of each problem."""
    sizes = 1 + np.abs(expected).max(axis=(1, 2))
    return np.abs(found - expected).max(axis=(1, 2)) / sizes


@pytest.mark.parametrize("l2", [1e-4, 1e-3, 1e-2, 1.0])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_many_problems_with_little_to_hold_them_are_solved_as_one_by_one(n_classes, l2):
    """Float32 from the average problem, against each alone in float64 on a design of its own."""
    rows, labels, held = separable(n_classes)
    targets = labels[:, None] if n_classes == 2 else np.eye(n_classes)[labels]
    found = fitted(rows, targets[None], held, l2, torch.float32)
    alone = np.concatenate([fitted(rows[None], targets[None], one[None], l2) for one in held[:10]])
    assert off_by(found[:10], alone).max() < 3e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_shadow_that_holds_far_less_than_others_is_not_taken_for_one_of_them(dtype):
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(3000, 11))
    labels = (rows[:, 0] + rng.normal(size=3000) > 0).astype(float)
    held = (rng.random((8, 3000)) < 0.5).astype(float)
    held[3], held[4] = 0, np.arange(3000) < 3
    found = fitted(rows, labels[None, :, None], held, 0.01, dtype)
    np.testing.assert_allclose(found[3], 0, atol=1e-12)
    alone = fitted(rows[None], labels[None, :, None], held[4:5], 0.01)
    assert off_by(found[4:5], alone).max() < 1e-4


@pytest.mark.parametrize("l2", [0.1, 1.0])
def test_more_coefficients_than_a_whole_hessian_is_made_for(l2):
    rng = np.random.default_rng(2)
    rows, classes = rng.normal(size=(120, 110)), rng.integers(0, 10, 120)
    held, targets = (rng.random((6, 120)) < 0.5).astype(float), np.eye(10)[classes]
    assert MOST_COEFFICIENTS_OF_FULL_HESSIAN < 110 * 10
    found = fitted(rows, targets[None], held, l2)
    for s in (0, 5):
        classifier = LogisticRegression(
            C=1 / l2, fit_intercept=False, solver="newton-cholesky", tol=1e-10, max_iter=200
        ).fit(rows[held[s] > 0], classes[held[s] > 0])
        expected = np.zeros((110, 10))
        expected[:, classifier.classes_] = classifier.coef_.T
        mine = found[s] - found[s].mean(axis=1, keepdims=True)
        assert np.abs(mine - (expected - expected.mean(axis=1, keepdims=True))).max() < 1e-5


def test_one_of_many_in_float32_is_what_it_is_alone():
    rows, labels, held = separable(3)
    targets = np.eye(3)[labels][None]
    together = fitted(rows, targets, held, 1e-2, torch.float32)
    alone = fitted(rows, targets, held[:1], 1e-2, torch.float32)
    assert off_by(alone, together[:1]).max() < 2e-4
