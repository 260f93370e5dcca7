"""Random features against the tangent kernel that automatic differentiation gives."""

import itertools

import numpy as np
import pytest
import torch

from curation_audit.analytic import tangents
from curation_audit.analytic.tangents import tangent_of_layers, tangent_of_module
from curation_audit.training.mlp import Layer, forward


def network(*widths: int) -> list[Layer]:
    rng = np.random.default_rng(0)
    return [
        Layer(
            torch.tensor(rng.standard_normal((i, o)) / np.sqrt(i)),
            torch.tensor(rng.standard_normal((1, o))),
        )
        for i, o in itertools.pairwise(widths)
    ]


def module_of(layers: list[Layer]) -> torch.nn.Module:
    """The same network, whose one output is the difference of the two logits."""
    parts = []
    for one in layers:
        linear = torch.nn.Linear(*one.weight.shape).double()
        with torch.no_grad():
            linear.weight.copy_(one.weight.T)
            linear.bias.copy_(one.bias[0])
        parts += [linear, torch.nn.ReLU()]
    last = torch.nn.Linear(2, 1, bias=False).double()
    with torch.no_grad():
        last.weight.copy_(torch.tensor([[-1.0, 1.0]]))
    last.requires_grad_(False)
    return torch.nn.Sequential(*parts[:-1], last)


def exact(layers, rows):
    """Kernel (n, n) and logits (n,), one gradient after another."""

    def logit(parameters, row):
        out = forward([Layer(*parameters[i : i + 2]) for i in (0, 2)], row[None])[-1][0]
        return out[1] - out[0]

    parameters = tuple(part for one in layers for part in (one.weight, one.bias))
    slopes = [
        torch.cat([g.ravel() for g in torch.func.grad(logit)(parameters, torch.tensor(row))])
        for row in rows
    ]
    jacobian = torch.stack(slopes).numpy()
    return jacobian @ jacobian.T, [float(logit(parameters, torch.tensor(row))) for row in rows]


@pytest.mark.parametrize("kind", ["layers", "module"])
def test_features_have_the_tangent_kernel_on_average(monkeypatch, kind):
    monkeypatch.setattr(tangents, "WIDTH", 200_000)
    layers, rows = network(3, 5, 2), np.random.default_rng(1).standard_normal((4, 3))
    rng = np.random.default_rng(2)
    if kind == "layers":
        features, logits = tangent_of_layers(layers, rng)(rows)
    else:
        features, logits = tangent_of_module(module_of(layers), rng)(rows)
    kernel, expected = exact(layers, rows)
    np.testing.assert_allclose(features @ features.T, kernel, atol=0.03 * kernel.max())
    np.testing.assert_allclose(logits, expected, atol=1e-12)


def test_rows_may_come_some_at_a_time(monkeypatch):
    module, rows = module_of(network(3, 5, 2)), np.random.default_rng(1).standard_normal((7, 3))
    whole = tangent_of_module(module, np.random.default_rng(0))(rows)
    monkeypatch.setattr(tangents, "MOST_NUMBERS", 70)
    for one, other in zip(
        tangent_of_module(module, np.random.default_rng(0))(rows), whole, strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-12)
