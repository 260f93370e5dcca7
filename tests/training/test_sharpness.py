"""The largest curvature against the whole Hessian, and the threshold where descent diverges."""

import itertools

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from curation_audit.training.mlp import Layer, as_layers, as_parameters, forward
from curation_audit.training.sharpness import sharpness, stability_threshold


def problem(widths=(3, 4, 2), n=30, seed=0):
    rng = torch.Generator().manual_seed(seed)
    layers = [
        Layer(torch.randn(i, o, generator=rng), torch.randn(1, o, generator=rng))
        for i, o in itertools.pairwise(widths)
    ]
    rows = torch.randn(n, widths[0], generator=rng)
    return layers, rows, (rows[:, 0] > 0).long()


@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_it_is_the_largest_eigenvalue_of_the_whole_hessian(l2):
    layers, rows, classes = problem()
    parameters = [one.double() for one in as_parameters(layers)]
    shapes = [one.shape for one in parameters]
    flat = torch.cat([one.flatten() for one in parameters])

    def loss(vector):
        split = vector.split([shape.numel() for shape in shapes])
        parts = tuple(one.reshape(shape) for one, shape in zip(split, shapes, strict=True))
        logits = forward(as_layers(parts), rows.double())[-1]
        return cross_entropy(logits, classes) + l2 / 2 * vector.square().sum()

    whole = torch.autograd.functional.hessian(loss, flat)
    slope = torch.autograd.functional.jacobian(loss, flat)
    found = sharpness(layers, rows, classes, l2)
    assert found.largest == pytest.approx(float(torch.linalg.eigvalsh(whole)[-1]), rel=1e-3)
    assert found.gradient_norm == pytest.approx(float(slope.norm()), rel=1e-9)
    assert 1 < found.n_products < 200


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


def test_a_ridge_adds_to_it():
    layers, rows, classes = problem(seed=2)
    bare, ridged = (sharpness(layers, rows, classes, l2).largest for l2 in (0.0, 0.5))
    assert ridged - bare == pytest.approx(0.5, rel=1e-3)
    assert np.isfinite(bare)
