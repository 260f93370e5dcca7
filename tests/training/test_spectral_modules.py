"""Torch modules in spectral coordinates, and parameter groups, against the rules."""

import pytest
import torch
from torch import nn

from curation_audit.training.recipe import Recipe
from curation_audit.training.spectral import LayerShape, multiplier, step_size
from curation_audit.training.spectral_modules import (
    SpectralLinear,
    parameter_groups,
    spectral_mlp,
)

RECIPE = Recipe(learning_rate=0.02, weight_decay=0.1, optimiser="adamw")


def mlp(width):
    return nn.Sequential(
        nn.Linear(6, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3)
    )


def test_a_step_of_sgd_on_v_is_the_rule_on_w():
    torch.manual_seed(0)
    layer, rows = SpectralLinear(8, 32).double(), torch.randn(5, 8, dtype=torch.float64)
    s, s_bias = multiplier(8, 32), multiplier(1, 32)
    weight = (layer.weight * s).detach().requires_grad_(True)
    bias = (layer.bias * s_bias).detach().requires_grad_(True)
    torch.testing.assert_close(layer(rows), nn.functional.linear(rows, weight, bias))
    nn.functional.linear(rows, weight, bias).square().sum().backward()
    layer(rows).square().sum().backward()
    torch.optim.SGD(layer.parameters(), lr=0.1).step()
    rates = step_size("sgd", LayerShape(8, 32)), step_size("sgd", LayerShape(1, 32))
    for part, by, own, rate in zip(
        layer.parameters(), (s, s_bias), (weight, bias), rates, strict=True
    ):
        torch.testing.assert_close(part * by, own - 0.1 * rate * own.grad)


def test_gradients_at_v_do_not_grow_with_the_width():
    def norm(width):
        torch.manual_seed(1)
        network, rows = spectral_mlp((64, width, width, 10)), torch.randn(64, 64)
        found = []
        for row in rows:
            network.zero_grad()
            nn.functional.cross_entropy(network(row[None]), torch.tensor([3])).backward()
            found.append(torch.cat([p.grad.flatten() for p in network.parameters()]).norm())
        return float(torch.stack(found).median())

    assert 0.8 < norm(1024) / norm(64) < 1.25


def test_groups_at_the_base_shape_are_the_plain_optimiser_to_the_bit():
    torch.manual_seed(2)
    model, rows = mlp(16), torch.randn(9, 6)
    plain = mlp(16)
    plain.load_state_dict(model.state_dict())
    groups = parameter_groups(model, mlp(16), "adamw", RECIPE)
    optimisers = (
        torch.optim.AdamW(groups),
        torch.optim.AdamW(plain.parameters(), lr=0.02, weight_decay=0.1),
    )
    for network, optimiser in zip((model, plain), optimisers, strict=True):
        for _ in range(5):
            optimiser.zero_grad()
            network(rows).square().mean().backward()
            optimiser.step()
    for one, other in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(one, other)


def test_groups_of_a_wider_network():
    groups = parameter_groups(mlp(64), mlp(16), "adamw", RECIPE)
    rates = [0.02, 0.02, 0.005, 0.02, 0.005, 0.02]
    assert [one["lr"] for one in groups] == pytest.approx(rates)
    assert [one["lr"] * one["weight_decay"] for one in groups] == pytest.approx([0.002] * 6)
    assert groups[0]["eps"] == pytest.approx(2.5e-9)


@pytest.mark.parametrize(
    ("model", "base", "expected"),
    [
        (mlp(8), nn.Linear(6, 3), "same names"),
        (spectral_mlp((6, 8, 3)), spectral_mlp((6, 4, 3)), "rule inside"),
        (nn.Conv1d(2, 3, 2), nn.Conv1d(2, 3, 2), "no dense layer's"),
    ],
)
def test_what_has_no_rule_is_refused(model, base, expected):
    with pytest.raises(ValueError, match=expected):
        parameter_groups(model, base, "adamw", RECIPE)
