"""Torch modules in spectral coordinates, and parameter groups, against the rules."""

import numpy as np
import pytest
import torch
from torch import nn

from curation_audit import SpectralLinear, spectral_param_groups
from curation_audit.training.recipe import OPTIMISERS
from curation_audit.training.spectral import LayerShape, Scale, multiplier, step_size
from curation_audit.training.spectral_modules import module_scales, spectral_mlp


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
    groups = spectral_param_groups(model, mlp(16), "adamw", learning_rate=0.02, weight_decay=0.1)
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
    groups = spectral_param_groups(mlp(64), mlp(16), "adamw", learning_rate=0.02, weight_decay=0.1)
    rates = [0.02, 0.02, 0.005, 0.02, 0.005, 0.02]
    assert [one["lr"] for one in groups] == pytest.approx(rates)
    assert [one["lr"] * one["weight_decay"] for one in groups] == pytest.approx([0.002] * 6)
    assert groups[0]["eps"] == pytest.approx(2.5e-9)


def test_frozen_parameters_have_no_group():
    model = mlp(64)
    model[0].requires_grad_(False)
    base = mlp(16)
    base[0].requires_grad_(False)
    groups = spectral_param_groups(model, base, "sgd", learning_rate=0.02)
    assert [one["params"][0] for one in groups] == [*model.parameters()][2:]
    assert "eps" not in groups[0]


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_a_step_on_v_has_the_size_that_the_condition_asks_for(optimiser):
    """``|dW|_* / sqrt(o / i)`` of one step by groups is that of 32 units at 512, too.

    The gradient at W is the outer product of what comes in and of what goes back, with entries of
    the order of one over the outputs.
    """

    def size(width: int, layer: int) -> float:
        model, base = (spectral_mlp((6, w, w, 3)).double() for w in (width, 32))
        groups = spectral_param_groups(model, base, optimiser, learning_rate=0.1)
        linear = [one for one in model if isinstance(one, SpectralLinear)][layer]
        o, i = linear.weight.shape
        rng = np.random.default_rng(0)
        back = rng.choice([-1.0, 1.0], (o, 1)) / o
        at_w = torch.as_tensor(back @ rng.choice([-1.0, 1.0], (1, i)))
        before, linear.weight.grad = linear.weight.detach().clone(), multiplier(i, o) * at_w
        group = next(one for one in groups if one["params"][0] is linear.weight)
        if optimiser == "muon":  # a gradient of rank one has this polar factor
            step = group["lr"] * linear.weight.grad / torch.linalg.matrix_norm(linear.weight.grad)
        else:
            {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}[optimiser]([group]).step()
            step = before - linear.weight.detach()
        return float(
            torch.linalg.matrix_norm(step, 2)
        )  # of W: times s, over sqrt(o / i), which is s

    for layer in range(3):
        assert size(512, layer) == pytest.approx(size(32, layer), rel=1e-6)


def odd(width):
    return nn.ModuleDict(
        {
            "embedding": nn.Embedding(11, width),
            "attention": nn.MultiheadAttention(width, 2),
            "norm": nn.LayerNorm(width),
            "convolution": nn.Conv2d(3, width, 5),
            "recurrent": nn.GRU(width, width),
        }
    )


def test_every_kind_of_layer_by_its_rule():
    """From 16 to 64: vectors and embeddings as biases, all others by their two widths."""
    scales = dict(
        zip(
            (name for name, _ in odd(16).named_parameters()),
            module_scales(odd(64), odd(16), "sgd"),
            strict=True,
        )
    )
    as_bias = {"embedding.weight", "norm.weight", "norm.bias", "attention.in_proj_bias"}
    assert {scales[name] for name in as_bias} == {Scale(rate=4, decay=1 / 4, epsilon=1 / 4)}
    assert scales["convolution.weight"].rate == 4  # three channels come in at any width
    for name in ("attention.in_proj_weight", "attention.out_proj.weight", "recurrent.weight_ih_l0"):
        assert scales[name] == Scale(epsilon=1 / 4)
    adamw = dict(zip(scales, module_scales(odd(64), odd(16), "adamw"), strict=True))
    assert adamw["embedding.weight"].rate == adamw["convolution.weight"].rate == 1
    assert adamw["recurrent.weight_hh_l0"].rate == 1 / 4


def test_private_groups_have_one_rate_that_falls_with_the_width():
    """16 times the base, to the power of -1/4, is one half."""
    model, base = spectral_mlp((6, 256, 256, 3)), spectral_mlp((6, 16, 16, 3))
    groups = spectral_param_groups(model, base, "dp_sgd", learning_rate=0.4)
    assert [one["lr"] for one in groups] == pytest.approx([0.2] * 6)
    kept = spectral_param_groups(model, base, "dp_sgd", learning_rate=0.4, width_exponent=0.0)
    assert [one["lr"] for one in kept] == pytest.approx([0.4] * 6)


class Adapted(nn.Linear):
    """A dense layer with a matrix of its own beside its weights, the other way round."""

    def __init__(self, width):
        super().__init__(6, width)
        self.down = nn.Parameter(torch.zeros(6, 2))


def tied(width):
    """Words go in and come out by one table."""
    model = nn.ModuleDict({"words": nn.Embedding(11, width), "out": nn.Linear(width, 11)})
    model["out"].weight = model["words"].weight
    return model


def shared(width):
    """Two layers of one kind with the same weights."""
    model = nn.Sequential(nn.Linear(width, width), nn.Linear(width, width))
    model[1].weight = model[0].weight
    return model


def test_layers_of_one_kind_may_share_their_weights():
    found = module_scales(shared(64), shared(16), "adamw")
    assert [one.rate for one in found] == [1 / 4, 1, 1]  # one matrix, two biases


class Bare(nn.Module):
    def __init__(self, *shape):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(shape))


@pytest.mark.parametrize(
    ("model", "base", "optimiser", "expected"),
    [
        (mlp(8), nn.Linear(6, 3), "sgd", "same names"),
        (nn.ConvTranspose1d(2, 3, 2), nn.ConvTranspose1d(2, 3, 2), "sgd", "has no rule"),
        (Bare(4, 8), Bare(4, 2), "adamw", r"table \(4, 8\) of Bare has no rule"),
        (Bare(), Bare(), "adamw", "has no rule"),
        (Adapted(8), Adapted(4), "sgd", r"down \(6, 2\) of Adapted has no rule"),
        (
            nn.MultiheadAttention(8, 2, add_bias_kv=True),
            nn.MultiheadAttention(4, 2, add_bias_kv=True),
            "sgd",
            r"bias_k \(1, 1, 8\) of MultiheadAttention has no rule",
        ),
        (tied(64), tied(16), "adamw", r"words\.weight is tied to out\.weight"),
        (mlp(8), mlp(4), "dp_sgd", "0.weight is no SpectralLinear's"),
    ],
)
def test_what_has_no_rule_is_refused(model, base, optimiser, expected):
    with pytest.raises(ValueError, match=expected):
        spectral_param_groups(model, base, optimiser, learning_rate=0.1)
