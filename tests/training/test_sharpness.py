"""The largest curvature against the whole Hessian, and thresholds where descents diverge."""

import itertools

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, softplus

from curation_audit.training.in_step import Examples, train_in_step
from curation_audit.training.mlp import Layer, Perceptrons, as_layers, as_parameters, forward
from curation_audit.training.optimisers import AdamW
from curation_audit.training.recipe import Recipe
from curation_audit.training.sharpness import (
    N_LANCZOS,
    Remembering,
    class_loss,
    logit_loss,
    sharpness,
    stability_threshold,
    threshold_of_means,
)
from curation_audit.training.spectral import Scale


def problem(widths=(3, 4, 2), n=30, seed=0):
    rng = torch.Generator().manual_seed(seed)
    layers = [
        Layer(torch.randn(i, o, generator=rng), torch.randn(1, o, generator=rng))
        for i, o in itertools.pairwise(widths)
    ]
    rows = torch.randn(n, widths[0], generator=rng)
    return as_parameters(layers), rows, (rows[:, 0] > 0).long()


def whole(loss, parameters):
    """The Hessian and the gradient of a loss by all parameters, flat."""
    shapes = [one.shape for one in parameters]

    def flat(vector):
        split = vector.split([shape.numel() for shape in shapes])
        return loss(tuple(one.reshape(s) for one, s in zip(split, shapes, strict=True)))

    at = torch.cat([one.double().flatten() for one in parameters])
    hessian = torch.autograd.functional.hessian(flat, at)
    return hessian, torch.autograd.functional.jacobian(flat, at)


@pytest.mark.parametrize("widths", [(3, 4, 2), (2, 2)], ids=["by Lanczos", "whole"])
@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_it_is_the_largest_eigenvalue_of_the_whole_hessian(l2, widths):
    parameters, rows, classes = problem(widths)

    def loss(parts):
        logits = forward(as_layers(parts), rows.double())[-1]
        squares = sum(one.square().sum() for one in parts)
        return cross_entropy(logits, classes) + l2 / 2 * squares

    hessian, slope = whole(loss, parameters)
    found = sharpness(class_loss(rows, classes, l2), parameters)
    assert found.largest == pytest.approx(float(torch.linalg.eigvalsh(hessian)[-1]), rel=1e-3)
    assert found.gradient_norm == pytest.approx(float(slope.norm()), rel=1e-9)
    assert 1 < found.n_products < 200


def test_a_diagonal_stands_on_both_sides_of_the_hessian():
    parameters, rows, classes = problem((3, 5, 2))
    spread = [torch.rand(one.shape) + 0.5 for one in parameters[:-1]] + [2.0]
    hessian, _ = whole(class_loss(rows, classes), parameters)
    flat = torch.cat([*(one.double().flatten() for one in spread[:-1]), torch.full((2,), 2.0)])
    expected = torch.linalg.eigvalsh(flat[:, None] * hessian * flat)[-1]
    found = sharpness(class_loss(rows, classes), parameters, spread)
    assert found.largest == pytest.approx(float(expected), rel=1e-3)


def test_a_bowl_has_the_curvature_that_it_was_given():
    bends = torch.linspace(0.1, 7.5, 60, dtype=torch.float64)
    found = sharpness(lambda parts: (bends * parts[0].square()).sum() / 2, [torch.ones(60)])
    assert found.largest == pytest.approx(7.5, rel=1e-3)
    assert found.gradient_norm == pytest.approx(float(bends.norm()))
    assert found.n_products <= 4 * N_LANCZOS


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_descent_on_a_bowl_diverges_just_above_the_threshold(momentum):
    def end(scaled):
        weight, velocity = 1.0, 0.0
        for _ in range(2000):
            velocity = momentum * velocity + scaled * weight
            weight -= velocity
        return abs(weight)

    threshold = stability_threshold(momentum)
    assert end(0.99 * threshold) < 1e-3
    assert not end(1.01 * threshold) < 1e3


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9])
def test_steps_along_a_running_mean_diverge_just_above_their_threshold(beta):
    """Of a fixed preconditioner, which a bowl's curvature is measured in."""

    def end(scaled):
        weight, mean = 1.0, 0.0
        for _ in range(4000):
            mean = beta * mean + (1 - beta) * scaled * weight
            weight -= mean
        return abs(weight)

    threshold = threshold_of_means(beta)
    assert end(0.99 * threshold) < 1e-3
    assert not end(1.01 * threshold) < 1e3


def test_the_threshold_of_means_by_hand():
    """38 at 0.9, as in Cohen et al. 2022; 2, that of plain descent, at 0."""
    assert threshold_of_means(0.9) == pytest.approx(38)
    assert threshold_of_means(0.0) == 2
    with pytest.raises(ValueError, match="beta"):
        threshold_of_means(1.0)


def test_adamw_on_a_bowl_hovers_at_the_threshold_of_its_preconditioned_curvature():
    """Its second moments fall with the gradients, until steps are as large as descent allows; a
    little above, gradients grow, and the moments with them."""
    rate, bends = 0.1, torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)
    recipe = Recipe(optimiser="adamw", learning_rate=rate, weight_decay=0.0)
    weight = (0.1 * torch.ones_like(bends),)
    zero = (torch.zeros_like(bends),)
    optimiser = AdamW(recipe, (Scale(),), zero, zero, torch.zeros(1, dtype=torch.int64))
    awake, found = torch.ones(1, dtype=torch.bool), []
    for step in range(12_000):
        weight = optimiser.step(weight, (bends * weight[0],), awake, rate)
        corrected = optimiser.square[0] / (1 - 0.999 ** (step + 1))
        found.append(float((rate * bends / (corrected.sqrt() + recipe.epsilon)).max()))
    settled = np.array(found[-6000:]) / threshold_of_means(0.9)
    assert np.median(settled) == pytest.approx(1, abs=0.1)
    assert 1 < settled.max() < 1.2


def test_second_moments_are_those_of_the_optimiser(monkeypatch):
    recipe = Recipe(optimiser="adamw", epochs=3, batch_size=8, learning_rate=0.01)
    parameters, rows, classes = problem((3, 4, 2))
    start = tuple(one[None] for one in parameters)
    targets = torch.eye(2)[classes]
    examples = Examples(rows, targets, torch.arange(30)[None], np.ones((1, 30), dtype=bool))
    orders = np.tile(np.arange(30), (3, 1, 1))
    seen, step = [], AdamW.step

    def remember(self, *given):
        moved = step(self, *given)
        seen.append((self.square, self.n_steps))
        return moved

    monkeypatch.setattr(AdamW, "step", remember)
    plain = train_in_step(Perceptrons(), start, examples, orders, recipe)
    square, n_steps = seen[-1]
    kept = Remembering.of(Perceptrons(), recipe, start)
    again = train_in_step(kept, start, examples, orders, recipe)
    for one, other in zip(plain.parameters, again.parameters, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    for one, other in zip(square, again.state, strict=True):
        torch.testing.assert_close(one / (1 - 0.999 ** int(n_steps)), other)


def test_one_logit_by_shares_is_the_sum_by_hand():
    parameters, rows, targets = problem((3, 4, 1))
    shares = torch.rand(30, dtype=torch.float64)
    exact = tuple(one.double() for one in parameters)
    logits = forward(as_layers(exact), rows.double())[-1][:, 0]
    each = torch.where(targets == 1, softplus(-logits), softplus(logits))
    squares = [one.square().sum() for one in exact]
    expected = shares @ each + sum(d / 2 * s for d, s in zip([1, 2, 3, 4], squares, strict=True))
    found = logit_loss(rows, targets, shares, [1.0, 2.0, 3.0, 4.0])(exact)
    torch.testing.assert_close(found, expected)


def test_a_ridge_adds_to_it():
    parameters, rows, classes = problem(seed=2)
    losses = (class_loss(rows, classes, l2) for l2 in (0.0, 0.5))
    bare, ridged = (sharpness(loss, parameters).largest for loss in losses)
    assert ridged - bare == pytest.approx(0.5, rel=1e-3)
    assert np.isfinite(bare)
