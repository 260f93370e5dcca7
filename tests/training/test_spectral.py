"""The rules of the spectral parametrisation, by hand; in the engine, against plain loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from curation_audit.checks import SettingError
from curation_audit.streams import Streams
from curation_audit.training.in_step import Examples, train_in_step
from curation_audit.training.mlp import (
    Layer,
    Perceptrons,
    WidthRule,
    as_parameters,
    row_orders,
    train,
)
from curation_audit.training.optimisers import polar, start
from curation_audit.training.recipe import OPTIMISERS, Recipe
from curation_audit.training.spectral import (
    Depth,
    LayerShape,
    Scale,
    base_widths,
    coordinate_scale_of,
    dense_shapes,
    dp_rate,
    initial_sd,
    layer_scales,
    multipliers,
    scale_of,
    step_size,
)

S, M, D, C = 3, 40, 6, 3
SPECTRAL = WidthRule(parametrization="spectral", base_width=4)
widths = st.integers(1, 4096)


@pytest.mark.parametrize(
    ("optimiser", "expected"), [("sgd", 4.0), ("adamw", 1 / 16), ("muon", 2.0)]
)
def test_the_rate_of_each_optimiser_for_16_inputs_and_64_outputs(optimiser, expected):
    assert step_size(optimiser, LayerShape(16, 64)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("optimiser", "expected"),
    [
        # weight and bias of input, hidden and readout, from 64 to 256 units
        ("sgd", (4, 4, 1, 4, 1 / 4, 1)),
        ("adamw", (1, 1, 1 / 4, 1, 1 / 4, 1)),
        ("muon", (2, 2, 1, 2, 1 / 2, 1)),
    ],
)
def test_rates_beside_the_base_network(optimiser, expected):
    found = layer_scales(optimiser, dense_shapes((10, 256, 256, 5)), dense_shapes((10, 64, 64, 5)))
    assert [one.rate for one in found] == pytest.approx(list(expected))
    # entries of gradients fall as one over the outputs
    epsilon = (1 / 4, 1 / 4, 1 / 4, 1 / 4, 1, 1)
    assert [one.epsilon for one in found] == pytest.approx(list(epsilon))


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_at_the_base_shape_nothing_is_scaled(optimiser):
    shapes = dense_shapes((10, 64, 64, 5))
    assert set(layer_scales(optimiser, shapes, shapes)) == {Scale()}
    assert base_widths((10, 256, 128, 5), 64) == (10, 64, 64, 5)


@given(widths, widths, widths, st.sampled_from(OPTIMISERS))
def test_weights_decay_alike_at_every_width(inputs, outputs, base, optimiser):
    found = scale_of(optimiser, LayerShape(inputs, outputs), LayerShape(base, base))
    assert found.rate * found.decay == pytest.approx(1.0)


@given(widths, widths)
def test_sgd_on_v_is_the_rule_of_sgd_on_w(inputs, outputs):
    """``W = s V``: a step of V at rate one moves W by ``s^2`` times its own gradient."""
    by_weight, by_bias = multipliers((inputs, outputs))
    assert by_weight**2 == pytest.approx(step_size("sgd", LayerShape(inputs, outputs)))
    assert by_bias**2 == pytest.approx(outputs)


@pytest.mark.parametrize(
    ("optimiser", "rate"), [("sgd", 1.0), ("adamw", 1 / math.sqrt(4 * 16)), ("muon", 1.0)]
)
def test_scales_at_v_by_hand(optimiser, rate):
    """From 1 by 1 to 4 inputs and 16 outputs, where s is 2."""
    found = coordinate_scale_of(optimiser, LayerShape(4, 16), LayerShape(1, 1))
    assert (found.rate, found.epsilon) == pytest.approx((rate, 2 / 16))


@given(widths, widths, widths, widths, st.sampled_from(OPTIMISERS))
def test_a_step_of_v_moves_w_as_its_own_rule_does(inputs, outputs, i, o, optimiser):
    """Rate times what the gradient's size adds at V (SGD) times s is the rate at W."""
    shape, base = LayerShape(inputs, outputs), LayerShape(i, o)
    at_v, at_w = (one(optimiser, shape, base) for one in (coordinate_scale_of, scale_of))
    s = math.sqrt(shape.aspect / base.aspect)
    moved = at_v.rate * s * (s if optimiser == "sgd" else 1)
    assert moved == pytest.approx(at_w.rate)
    assert at_v.rate * at_v.decay == pytest.approx(1.0)
    # AdamW's spread at V is s times that at W
    assert at_v.epsilon == pytest.approx(s * at_w.epsilon)


def test_the_readout_starts_at_zero_and_nothing_else_does():
    _, layers, _, _ = problem()
    assert [bool(one.weight.any()) for one in layers] == [True, True, False]
    _, standard, _, _ = problem(rule=WidthRule())
    assert all(bool(one.weight.any()) for one in standard)


def test_initial_weights_by_hand():
    assert initial_sd(64, 256) == pytest.approx(math.sqrt(2 / 64))  # He, where it widens
    assert initial_sd(256, 4) == pytest.approx(math.sqrt(2) * math.sqrt(4) / 256)


@pytest.mark.parametrize("width", [64, 1024])
def test_initial_weights_have_singular_values_of_the_order_of_the_condition(width):
    rng = np.random.default_rng(0)
    for i, o in [(width, width), (64, width), (width, 10)]:
        largest = np.linalg.norm(rng.standard_normal((i, o)) * initial_sd(i, o), 2)
        # sqrt(i) + sqrt(o) is the largest of a Gaussian matrix, so at most 2 sqrt(2) of the goal
        assert 1 < largest / math.sqrt(o / i) < 2.1 * math.sqrt(2)


@pytest.mark.parametrize(
    ("matrices", "branch", "rates"),
    [
        (2, 1 / 4, {"sgd": 4, "adamw": 1, "muon": 1}),
        (1, 1 / 2, {"sgd": 1, "adamw": 1 / 2, "muon": 1 / 2}),
    ],
)
def test_depth_from_two_blocks_to_eight(matrices, branch, rates):
    depth = Depth(blocks=8, base_blocks=2, matrices=matrices)
    assert depth.branch == pytest.approx(branch)
    for optimiser, rate in rates.items():
        found = depth.scale(optimiser)
        assert (found.rate, found.decay) == pytest.approx((rate, 1 / rate))
        assert found.epsilon == pytest.approx(branch)


def test_noise_lowers_the_rate_by_a_quarter_power():
    assert dp_rate(2.0, 1024, 64) == pytest.approx(1.0)
    assert dp_rate(2.0, 1024, 64, exponent=0.0) == 2.0


@pytest.mark.parametrize("name", ["inputs", "outputs"])
def test_a_layer_without_width_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be positive"):
        LayerShape(**({"inputs": 2, "outputs": 2} | {name: 0}))


def test_a_parametrisation_that_nobody_knows_is_refused():
    with pytest.raises(SettingError, match=r"train\.parametrization: found 'mup'"):
        WidthRule(parametrization="mup")


# ---- in the engine


def problem(hidden=(8, 12), rule=SPECTRAL):
    """S networks of halves of M rows."""
    rng = np.random.default_rng(0)
    rows = torch.as_tensor(rng.normal(size=(M, D)))
    targets = torch.as_tensor(np.eye(C)[rng.integers(0, C, M)])
    index = torch.as_tensor(np.stack([rng.permutation(M)[: M // 2] for _ in range(S)]))
    real = np.ones(index.shape, dtype=bool)
    streams = Streams(5).for_shadows("test", range(S))
    all_widths = (D, *hidden, C)
    layers = rule.dense(all_widths, streams.generators("weights"), rows)
    orders = row_orders(real, 4, streams.generators("order"))
    return all_widths, layers, Examples(rows, targets, index, real), orders


def recipe_of(optimiser):
    rate = {"sgd": 0.05, "adamw": 0.01, "muon": 0.05}[optimiser]
    return Recipe(
        epochs=4,
        batch_size=7,
        learning_rate=rate,
        weight_decay=0.1,
        optimiser=optimiser,
        schedule="cosine",
    )


def flat(layers: list[Layer]) -> list[torch.Tensor]:
    return [part for one in layers for part in (one.weight, one.bias)]


def torch_optimiser(name, parameters, scales, recipe):
    """Torch's own, with a group for every parameter."""
    groups = [
        {
            "params": [one],
            "lr": recipe.learning_rate * scale.rate,
            "weight_decay": recipe.weight_decay * scale.decay,
        }
        | ({"eps": recipe.epsilon * scale.epsilon} if name == "adamw" else {"momentum": 0.9})
        for one, scale in zip(parameters, scales, strict=True)
    ]
    return {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}[name](groups, lr=1.0)


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_training_equals_torch_with_parameter_groups(optimiser):
    all_widths, layers, examples, orders = problem()
    recipe = recipe_of(optimiser)
    scales = SPECTRAL.dense_scales(recipe, all_widths)
    found = flat(train(layers, examples, orders, recipe, scales))
    for s in range(S):
        own = [part[s].clone().requires_grad_(True) for part in flat(layers)]
        torch_own = torch_optimiser(optimiser, own, scales, recipe)
        for epoch in range(recipe.epochs):
            for group, scale in zip(torch_own.param_groups, scales, strict=True):
                group["lr"] = recipe.rate(epoch) * scale.rate
            for begin in range(0, M // 2, recipe.batch_size):
                at = examples.index[s, orders[epoch, s, begin : begin + recipe.batch_size]]
                hidden = examples.rows[at]
                for i in range(0, len(own), 2):
                    hidden = hidden @ own[i] + own[i + 1]
                    hidden = torch.relu(hidden) if i + 2 < len(own) else hidden
                torch_own.zero_grad()
                torch.nn.functional.cross_entropy(hidden, examples.targets[at]).backward()
                torch_own.step()
        for part, wanted, before in zip(found, own, flat(layers), strict=True):
            torch.testing.assert_close(part[s], wanted.detach(), rtol=0, atol=1e-10)
            assert float((part[s] - before[s]).abs().max()) > 1e-4  # it learns something


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_a_graphics_card_trains_as_the_cache_does(optimiser):
    all_widths, layers, examples, orders = problem()
    recipe = recipe_of(optimiser)
    scales = SPECTRAL.dense_scales(recipe, all_widths)
    found = flat(train(layers, examples, orders, recipe, scales))
    in_step = train_in_step(
        Perceptrons(), as_parameters(layers), examples, orders, recipe, scales=scales
    )
    for one, other in zip(found, in_step.parameters, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_at_the_base_width_training_is_the_standard_one_to_the_bit(optimiser):
    _, layers, examples, orders = problem((4, 4))
    recipe = recipe_of(optimiser)
    scales = SPECTRAL.dense_scales(recipe, (D, 4, 4, C))
    scaled = flat(train(layers, examples, orders, recipe, scales))
    plain = flat(train(layers, examples, orders, recipe))
    assert all(torch.equal(one, other) for one, other in zip(scaled, plain, strict=True))
    # and at another width it is not
    wide, layers, examples, orders = problem((8, 8))
    scaled = flat(train(layers, examples, orders, recipe, SPECTRAL.dense_scales(recipe, wide)))
    plain = flat(train(layers, examples, orders, recipe))
    assert not torch.equal(scaled[0], plain[0])


def test_the_standard_rule_scales_nothing():
    assert WidthRule().dense_scales(Recipe(), (D, 8, C)) is None


# ---- Muon


@pytest.mark.parametrize("shape", [(30, 30), (20, 50), (50, 20), (1, 9)])
def test_orthogonalised_matrices_equal_those_of_the_singular_value_decomposition(shape):
    rng = np.random.default_rng(1)
    given_matrices = rng.normal(size=(S, *shape)) * np.array([1e-4, 1.0, 1e4])[:, None, None]
    u, size, v = np.linalg.svd(given_matrices, full_matrices=False)
    assert (size.min(axis=1) > 1e-3 * np.linalg.norm(size, axis=1)).all()
    found = polar(torch.as_tensor(given_matrices)).numpy()
    inside = u.transpose(0, 2, 1) @ found @ v.transpose(0, 2, 1)
    np.testing.assert_allclose(inside, np.eye(min(shape))[None].repeat(S, 0), atol=0.05)


def test_a_gradient_of_zero_stays_zero():
    assert not polar(torch.zeros(2, 4, 3)).any()


def test_muon_moves_a_matrix_by_a_step_of_its_rate():
    """Without decay the first step has singular values of rate times scale, a bias that length."""
    all_widths, layers, examples, _ = problem((8, 8), WidthRule())  # readout not zero
    rate = 0.05
    recipe = Recipe(epochs=1, batch_size=M, learning_rate=rate, weight_decay=0.0, optimiser="muon")
    scales = SPECTRAL.dense_scales(recipe, all_widths)
    orders = np.tile(np.arange(M // 2), (1, S, 1))
    after = flat(train(layers, examples, orders, recipe, scales))
    for one, before, scale in zip(after, flat(layers), scales, strict=True):
        largest = torch.linalg.matrix_norm(one - before, 2)
        np.testing.assert_allclose(largest.numpy(), rate * scale.rate, rtol=0.06)


def test_muon_moves_kernels_and_vectors_of_any_network():
    """A convolution's kernels are one matrix of outputs by the rest."""
    rng = np.random.default_rng(2)
    shapes = [(16, 1, 3, 3), (4, 8, 3, 3), (7,), (5, 3)]
    parameters = tuple(torch.as_tensor(rng.normal(size=(S, *one))) for one in shapes)
    gradients = tuple(torch.as_tensor(rng.normal(size=(S, *one))) for one in shapes)
    recipe = Recipe(learning_rate=0.1, weight_decay=0.0, optimiser="muon")
    awake = torch.tensor([True, False, True])
    moved = start(recipe, parameters).step(parameters, gradients, awake, 0.1)
    for one, before in zip(moved, parameters, strict=True):
        step = (one - before).flatten(2) if one.ndim > 2 else (one - before)[:, None]
        largest = torch.linalg.matrix_norm(step, 2)
        np.testing.assert_allclose(largest.numpy(), [0.1, 0.0, 0.1], rtol=0.06)
