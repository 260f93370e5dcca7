"""Per-example gradients and their projection: closed forms, autograd, and torch's own Adam."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from curation_audit.training import gradients as of
from curation_audit.training import public_model
from curation_audit.training.gradients import (
    PARAMETERS_PER_BLOCK,
    Projection,
    cross_entropy,
    log_odds,
    logits,
    per_example_gradients,
    projected_gradients,
)
from curation_audit.training.public_model import (
    Training,
    fit_checkpoints,
    fit_models,
    halves,
    one_hot,
)

D, C, R = 4, 3, 7


def tensors(seed=0, widths=(D, C)):
    draws = np.random.default_rng(seed)
    network = tuple(
        torch.tensor(draws.normal(size=shape))
        for i, o in itertools.pairwise(widths)
        for shape in ((i, o), (o,))
    )
    labels = draws.integers(0, C, R)
    rows = torch.tensor(draws.normal(size=(R, D)))
    return network, rows, labels, one_hot(labels, C, rows)


def by_outer_products(at_logits: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Flat gradients of ``logits = row @ W + b`` from those of the logits, (R, d C + C)."""
    of_weights = np.einsum("rd,rc->rdc", rows, at_logits).reshape(len(rows), -1)
    return np.concatenate([of_weights, at_logits], axis=1)


def test_the_gradient_of_a_regressions_loss_is_known():
    """``(p - y) x'`` and ``p - y``."""
    network, rows, _, targets = tensors()
    found = per_example_gradients(cross_entropy, network, rows, targets)
    p = torch.softmax(rows @ network[0] + network[1], dim=1)
    wanted = by_outer_products((p - targets).numpy(), rows.numpy())
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-14)


def test_the_gradient_of_the_log_odds_is_known():
    """1 at the label, and at the others less their share of what is not the label's."""
    network, rows, labels, targets = tensors()
    found = per_example_gradients(log_odds, network, rows, targets)
    p = torch.softmax(rows @ network[0] + network[1], dim=1).numpy()
    at_logits = -p / (1 - p[np.arange(R), labels])[:, None]
    at_logits[np.arange(R), labels] = 1
    np.testing.assert_allclose(
        found.numpy(), by_outer_products(at_logits, rows.numpy()), atol=1e-13
    )


def test_two_classes_are_features_times_the_sign_of_the_label():
    network, rows, _, _ = tensors(widths=(D, 2))
    labels = np.arange(R) % 2
    found = per_example_gradients(log_odds, network, rows, one_hot(labels, 2, rows)).numpy()
    sign = 2 * labels - 1
    signed = sign[:, None] * np.stack([-rows.numpy(), rows.numpy()], axis=2).reshape(R, -1)
    np.testing.assert_allclose(found[:, : 2 * D], signed, atol=1e-14)
    np.testing.assert_allclose(found[:, 2 * D :], np.outer(sign, [-1, 1]), atol=1e-14)


def test_the_log_odds_are_those_of_the_softmax():
    network, rows, labels, targets = tensors()
    p = torch.softmax(logits(network, rows), dim=1)[torch.arange(R), torch.tensor(labels)]
    torch.testing.assert_close(log_odds(network, rows, targets), torch.log(p / (1 - p)))
    torch.testing.assert_close(cross_entropy(network, rows, targets), -torch.log(p))


def test_a_network_equals_a_torch_module_under_autograd():
    network, rows, labels, targets = tensors(widths=(D, 5, 6, C))
    linear = [torch.nn.Linear(*one.shape, dtype=torch.float64) for one in network[::2]]
    for layer, weight, bias in zip(linear, network[::2], network[1::2], strict=True):
        layer.weight.data, layer.bias.data = weight.T.clone(), bias.clone()
    relu = torch.nn.ReLU()
    module = torch.nn.Sequential(linear[0], relu, linear[1], relu, linear[2])
    found = per_example_gradients(cross_entropy, network, rows, targets)
    for r in range(R):
        module.zero_grad()
        loss = torch.nn.functional.cross_entropy(module(rows[r]), torch.tensor(labels[r]))
        loss.backward()
        wanted = [part for one in linear for part in (one.weight.grad.T, one.bias.grad)]
        torch.testing.assert_close(found[r], torch.cat([part.flatten() for part in wanted]))


def test_any_function_of_parameters_will_do():
    network, rows, _, targets = tensors()
    found = per_example_gradients(
        lambda parameters, row, target: parameters[0].square().sum() + 0 * row.sum(),
        network,
        rows,
        targets,
    )
    torch.testing.assert_close(found[:, : D * C], 2 * network[0].flatten().expand(R, -1))
    assert not found[:, D * C :].any()


@given(step=st.integers(1, 40))
def test_blocks_of_rows_do_not_matter(step):
    network, rows, _, targets = tensors()
    n = D * C + C
    whole = per_example_gradients(log_odds, network, rows, targets)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(of, "NUMBERS_PER_BLOCK", step)
        parts = list(projected_gradients(log_odds, network, rows, targets, Projection(n, 99)))
    assert len(parts) == -(-R // max(1, step // n))
    torch.testing.assert_close(torch.cat(parts), whole)


def test_no_rows_have_no_blocks():
    network, rows, _, targets = tensors()
    assert not [*projected_gradients(log_odds, network, rows[:0], targets[:0], Projection(15, 4))]


def test_a_projection_is_a_matrix_of_public_signs():
    n, size = PARAMETERS_PER_BLOCK + 500, 7
    project = Projection(n, size, index=3)
    matrix = project.apply(torch.eye(n, dtype=torch.float64)) * np.sqrt(n)
    assert set(matrix.unique().tolist()) == {-1.0, 1.0}
    g = torch.tensor(np.random.default_rng(1).normal(size=(5, n)))
    torch.testing.assert_close(project.apply(g), g @ matrix / np.sqrt(n))
    torch.testing.assert_close(Projection(n, size, index=3).apply(g), project.apply(g))
    assert not torch.equal(Projection(n, size, index=4).apply(g), project.apply(g))
    # 32,172 fair coins, and two blocks that are not the same: 5 standard deviations
    assert abs(matrix.mean()) < 5 / np.sqrt(matrix.numel())
    agree = (matrix[:500] * matrix[PARAMETERS_PER_BLOCK:]).mean()
    assert abs(agree) < 5 / np.sqrt(500 * size)


def test_a_projection_keeps_inner_products_on_average():
    """``n / size`` times the product has mean <a, b>: 400 projections, within 5 standard errors."""
    n, size = 60, 8
    draws = np.random.default_rng(2)
    a, b = torch.tensor(draws.normal(size=(2, n)))
    found = []
    for index in range(400):
        short = Projection(n, size, index=index).apply(torch.stack([a, b]))
        found.append(float(short[0] @ short[1]) * n / size)
    error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found) - float(a @ b)) < 5 * error


def test_a_short_gradient_stays_as_it_is():
    g = torch.ones(2, 6)
    assert Projection(6, 6).apply(g) is g
    assert Projection(6, 6).n_outputs == Projection(6, 9).n_outputs == 6
    assert Projection(9, 6).n_outputs == 6


def rows_and_labels(n=200, n_classes=3, seed=5):
    draws = np.random.default_rng(seed)
    rows = torch.tensor(draws.normal(size=(n, D)))
    labels = (rows.numpy() @ draws.normal(size=(D, n_classes))).argmax(axis=1)
    return rows, labels


NETWORK = Training(hidden=(6,), epochs=30, learning_rate=0.1)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_regressions_are_scikit_learns_on_halves(n_classes):
    rows, labels = rows_and_labels(n_classes=n_classes)
    chosen = halves(200, 2)
    assert chosen.shape == (2, 100)
    assert (np.diff(chosen, axis=1) > 0).all()
    assert not np.array_equal(*chosen)
    found = fit_models(rows, labels, n_classes, 2, Training(hidden=(), epochs=1, learning_rate=1))
    for mine, (weight, bias) in zip(chosen, found, strict=True):
        with_one = np.column_stack([rows.numpy()[mine], np.ones(100)])
        model = LogisticRegression(fit_intercept=False, C=1.0, tol=1e-12, max_iter=5000)
        model.fit(with_one, labels[mine])
        wanted = model.decision_function(with_one)
        mine_logits = rows.numpy()[mine] @ weight + bias
        if n_classes == 2:
            wanted, mine_logits = wanted[:, None], mine_logits[:, 1:] - mine_logits[:, :1]
        np.testing.assert_allclose(mine_logits, wanted, atol=1e-4)


def test_networks_learn_differ_and_repeat():
    rows, labels = rows_and_labels()
    found = fit_models(rows, labels, 3, 2, NETWORK)
    for network in found:
        inner = tuple(torch.tensor(part) for part in network)
        assert (logits(inner, rows).argmax(dim=1).numpy() == labels).mean() > 0.9
    assert not np.allclose(found[0][0], found[1][0])
    again = fit_models(rows, labels, 3, 2, NETWORK)
    for mine, other in zip(found, again, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(mine, other, strict=True))


def test_checkpoints_are_those_of_torchs_adam():
    """Same first weights, same batches, a rate that falls to 0, read at the end of each epoch."""
    rows, labels = rows_and_labels(n=300)
    training = Training(hidden=(6,), epochs=3, learning_rate=0.05)
    found = fit_checkpoints(rows, labels, 3, training)
    first = public_model.initial_layers(
        (D, 6, 3), [public_model.PUBLIC.generator("public weights", 0)], rows
    )
    module = torch.nn.Sequential(
        torch.nn.Linear(D, 6, dtype=torch.float64),
        torch.nn.ReLU(),
        torch.nn.Linear(6, 3, dtype=torch.float64),
    )
    for layer, start in zip((module[0], module[2]), first, strict=True):
        layer.weight.data, layer.bias.data = start.weight[0].T.clone(), start.bias[0, 0].clone()
    mine = halves(300, 1)[0]
    own, codes = rows[mine], torch.tensor(labels[mine])
    adam = torch.optim.Adam(module.parameters(), lr=0.05)
    schedule = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: 1 - step / 9)
    for epoch, checkpoint in enumerate(found):
        rates = []
        for batch in public_model._batches(150, epoch):
            rates.append(schedule.get_last_lr()[0])
            adam.zero_grad()
            torch.nn.functional.cross_entropy(module(own[batch]), codes[batch]).backward()
            adam.step()
            schedule.step()
        assert len(rates) == 3
        assert checkpoint.n_steps == 3 * (epoch + 1)
        assert checkpoint.learning_rate == pytest.approx(np.mean(rates))
        for layer, weight, bias in zip(
            (module[0], module[2]), checkpoint.network[::2], checkpoint.network[1::2], strict=True
        ):
            np.testing.assert_allclose(weight, layer.weight.detach().numpy().T, atol=1e-10)
            np.testing.assert_allclose(bias, layer.bias.detach().numpy(), atol=1e-10)


def test_a_direction_is_where_torchs_adam_would_step():
    """One more step of rate 1 from the stored state, for each of some gradients."""
    rows, labels = rows_and_labels(n=300)
    at = fit_checkpoints(rows, labels, 3, Training(hidden=(), epochs=2, learning_rate=0.05))[-1]
    found = np.random.default_rng(0).normal(size=(4, len(at.mean)))
    directions = at.direction(torch.tensor(found)).numpy()
    for gradient, direction in zip(found, directions, strict=True):
        leaf = torch.zeros(len(gradient), dtype=torch.float64, requires_grad=True)
        adam = torch.optim.Adam([leaf], lr=1.0)
        adam.state[leaf] = {
            "step": torch.tensor(float(at.n_steps)),
            "exp_avg": torch.tensor(at.mean),
            "exp_avg_sq": torch.tensor(at.square),
        }
        leaf.grad = torch.tensor(gradient)
        adam.step()
        np.testing.assert_allclose(-leaf.detach().numpy(), direction, rtol=1e-9, atol=1e-12)


def test_a_large_pool_is_cut():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(public_model, "MOST_ROWS", 7)
        assert halves(100, 2).shape == (2, 7)
    assert halves(1, 1).tolist() == [[0]]
