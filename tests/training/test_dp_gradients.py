"""Clipped gradient sums against plain loops, torch.func and Opacus; and what one unit can change.

Measured against the loop over units: 2e-15 in float64, 5e-7 in float32, of the largest entry.
"""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from curation_audit.training.dp_gradients import (
    UnitBatch,
    accumulate,
    clipped_sum,
    negatives_flow,
)
from curation_audit.training.mlp import Layer

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}
MARGIN = 1e-6  # what Opacus adds to norms
S, B, U, P = 3, 9, 4, 5
CLIP = 0.7
NETWORKS = {"linear": (P, 1), "softmax": (P, 4), "mlp": (P, 7, 1), "deep": (P, 7, 6, 4)}


def network(widths, dtype=torch.float64, seed=0, n_shadows=S) -> list[Layer]:
    rng = np.random.default_rng(seed)
    layers = []
    for i, o in itertools.pairwise(widths):
        weight = torch.as_tensor(rng.normal(size=(n_shadows, i, o)) / np.sqrt(i), dtype=dtype)
        bias = torch.as_tensor(rng.normal(size=(n_shadows, 1, o)), dtype=dtype)
        layers.append(Layer(weight, bias if len(widths) > 2 else torch.zeros_like(bias)))
    return layers


def batch(widths, per_unit, dtype=torch.float64, shared=False, seed=1) -> UnitBatch:
    rng = np.random.default_rng(seed)
    lead = 1 if shared else S
    rows = torch.as_tensor(rng.normal(size=(lead, B, per_unit, P)), dtype=dtype)
    counted = torch.as_tensor(rng.random((S, B, per_unit)) < 0.7)
    labels = torch.as_tensor(rng.integers(0, widths[-1], (lead, B, per_unit)))
    return UnitBatch(rows, counted, labels if widths[-1] > 1 else None)


def one_shadow(layers: list[Layer], s: int) -> list[torch.Tensor]:
    """Its parameters, as a network of one layer has no bias of its own."""
    parts = [part[s] for layer in layers for part in (layer.weight, layer.bias)]
    return parts if len(layers) > 1 else parts[:1]


def loss(parameters, row, label):
    """Cross-entropy of one row, in plain torch."""
    biased = len(parameters) > 1
    hidden = row
    for i in range(0, len(parameters), 2):
        hidden = hidden @ parameters[i] + (parameters[i + 1][0] if biased else 0)
        if i + 2 < len(parameters):
            hidden = torch.relu(hidden)
    if label is None:
        return torch.nn.functional.softplus(-hidden[0])
    return torch.nn.functional.cross_entropy(hidden[None], label[None])


def loop(layers, batch, clip=CLIP):
    """Shadow after shadow, unit after unit, by autograd: flat clipped sums (S, P)."""
    found = []
    for s in range(batch.counted.shape[0]):
        parameters = [part.clone().requires_grad_(True) for part in one_shadow(layers, s)]
        total = torch.zeros(sum(part.numel() for part in parameters), dtype=batch.rows.dtype)
        place = s if batch.rows.shape[0] > 1 else 0
        for b in range(batch.counted.shape[1]):
            losses = [
                loss(
                    parameters,
                    batch.rows[place, b, u],
                    None if batch.labels is None else batch.labels[place, b, u],
                )
                for u in range(batch.counted.shape[2])
                if batch.counted[s, b, u]
            ]
            if not losses:
                continue
            parts = torch.autograd.grad(sum(losses), parameters)
            gradient = torch.cat([part.flatten() for part in parts])
            total += gradient * min(1.0, clip / (float(gradient.norm()) + MARGIN))
        found.append(total)
    return torch.stack(found)


def flat(layers: list[Layer]) -> torch.Tensor:
    """(S, P), in the order of ``one_shadow``."""
    return torch.stack(
        [
            torch.cat([part.flatten() for part in one_shadow(layers, s)])
            for s in range(len(layers[0].weight))
        ]
    )


def assert_close(found, wanted, dtype):
    scale = float(wanted.abs().max())
    torch.testing.assert_close(found, wanted, rtol=0, atol=TOLERANCE[dtype] * scale)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("shared", [False, True], ids=["own rows", "shared rows"])
@pytest.mark.parametrize("per_unit", [1, U])
@pytest.mark.parametrize("widths", NETWORKS.values(), ids=NETWORKS)
def test_a_clipped_sum_equals_the_loop_over_units(widths, per_unit, shared, dtype):
    layers, units = network(widths, dtype), batch(widths, per_unit, dtype, shared)
    wanted = loop(layers, units)
    assert_close(flat(clipped_sum(layers, units, CLIP)), wanted, dtype)
    unclipped = loop(layers, units, 1e9)
    assert float((wanted - unclipped).abs().max()) > 0.1  # clipping matters here
    assert_close(flat(clipped_sum(layers, units, 1e9)), unclipped, dtype)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("widths", NETWORKS.values(), ids=NETWORKS)
def test_a_clipped_sum_equals_torch_func(widths, dtype):
    layers, units = network(widths, dtype), batch(widths, 1, dtype)
    found = flat(clipped_sum(layers, units, CLIP))
    for s in range(S):
        parameters = tuple(one_shadow(layers, s))
        rows, counted = units.rows[s, :, 0], units.counted[s, :, 0]
        if units.labels is None:
            each = torch.func.vmap(
                torch.func.grad(lambda p, x: loss(p, x, None)), in_dims=(None, 0)
            )(parameters, rows)
        else:
            each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(
                parameters, rows, units.labels[s, :, 0]
            )
        gradients = torch.cat([part.flatten(1) for part in each], dim=1)[counted]
        norms = gradients.norm(dim=1, keepdim=True)
        wanted = (gradients * (CLIP / (norms + MARGIN)).clamp(max=1)).sum(dim=0)
        assert_close(found[s], wanted, dtype)


def opacus_sum(layers, s, rows, labels) -> torch.Tensor:
    """The clipped sum by Opacus' hooks, flat; rows (b, P)."""
    pytest.importorskip("opacus")
    from opacus import GradSampleModule
    from opacus.optimizers import DPOptimizer

    module = torch.nn.Sequential()
    for layer in layers:
        dense = torch.nn.Linear(
            *layer.weight.shape[1:], bias=len(layers) > 1, dtype=layer.weight.dtype
        )
        dense.weight.data.copy_(layer.weight[s].T)
        if dense.bias is not None:
            dense.bias.data.copy_(layer.bias[s, 0])
        module.extend([dense, torch.nn.ReLU()])
    module = GradSampleModule(module[:-1], loss_reduction="sum")
    optimiser = DPOptimizer(
        torch.optim.SGD(module.parameters(), lr=1.0),
        noise_multiplier=0.0,
        max_grad_norm=CLIP,
        expected_batch_size=1,
        loss_reduction="sum",
    )
    logits = module(rows)
    if labels is None:
        ones = torch.ones_like(logits)
        losses = torch.nn.functional.binary_cross_entropy_with_logits(logits, ones, reduction="sum")
    else:
        losses = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
    losses.backward()
    optimiser.clip_and_accumulate()
    sums = [parameter.summed_grad for parameter in module.parameters()]
    return torch.cat([part.T.flatten() for part in sums])


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("widths", NETWORKS.values(), ids=NETWORKS)
def test_a_clipped_sum_equals_opacus(widths, dtype):
    layers, units = network(widths, dtype), batch(widths, 1, dtype)
    found = flat(clipped_sum(layers, units, CLIP))
    for s in range(S):
        counted = units.counted[s, :, 0]
        labels = None if units.labels is None else units.labels[s, counted, 0]
        wanted = opacus_sum(layers, s, units.rows[s, counted, 0], labels)
        assert_close(found[s], wanted, dtype)


@pytest.mark.parametrize("widths", NETWORKS.values(), ids=NETWORKS)
def test_public_rows_count_with_target_zero_and_unclipped(widths):
    layers, rows = network(widths), 30 * batch(widths, 1, shared=True).rows[0, :, 0]
    found = [Layer(torch.ones_like(one.weight), torch.ones_like(one.bias)) for one in layers]
    accumulate(found, negatives_flow(layers, rows), 0.5)
    for s in range(S):
        parameters = [part.clone().requires_grad_(True) for part in one_shadow(layers, s)]
        if widths[-1] > 1:
            losses = [loss(parameters, row, torch.tensor(0)) for row in rows]
        else:  # target 0 is target 1 of the opposite logit
            parameters[-2:] = [-part.detach() for part in parameters[-2:]]
            parameters = [part.detach().requires_grad_(True) for part in parameters]
            losses = [loss(parameters, row, None) for row in rows]
        parts = list(torch.autograd.grad(0.5 * sum(losses), parameters))
        if widths[-1] == 1:
            parts[-2:] = [-part for part in parts[-2:]]
        wanted = 1 + torch.cat([part.flatten() for part in parts])
        assert_close(flat(found)[s], wanted, torch.float64)


@pytest.mark.parametrize("shared", [False, True], ids=["own rows", "shared rows"])
@pytest.mark.parametrize("per_unit", [1, U])
def test_order_does_not_matter_and_arguments_stay_as_they_were(per_unit, shared):
    layers, units = network(NETWORKS["deep"]), batch(NETWORKS["deep"], per_unit, shared=shared)
    parts = [units.rows, units.counted, units.labels]
    parts += [part for layer in layers for part in (layer.weight, layer.bias)]
    before = [part.clone() for part in parts]
    found = flat(clipped_sum(layers, units, CLIP))
    assert all(torch.equal(a, b) for a, b in zip(before, parts, strict=True))
    order = torch.randperm(B, generator=torch.Generator().manual_seed(0))
    turned = UnitBatch(units.rows[:, order], units.counted[:, order], units.labels[:, order])
    again = flat(clipped_sum(layers, turned, CLIP))
    torch.testing.assert_close(again, found, rtol=0, atol=1e-13)


def test_nobody_sums_to_zero():
    for widths in NETWORKS.values():
        units = batch(widths, 2)
        empty = UnitBatch(
            units.rows[:, :0],
            units.counted[:, :0],
            None if units.labels is None else units.labels[:, :0],
        )
        nobody = UnitBatch(units.rows, torch.zeros_like(units.counted), units.labels)
        for case in (empty, nobody):
            assert not flat(clipped_sum(network(widths), case, CLIP)).any()


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shared", [False, True], ids=["own rows", "shared rows"])
@pytest.mark.parametrize("per_unit", [1, U])
@pytest.mark.parametrize("widths", NETWORKS.values(), ids=NETWORKS)
def test_a_unit_that_is_not_finite_counts_as_zero(widths, per_unit, shared, poison):
    layers, units = network(widths), batch(widths, per_unit, shared=shared)
    counted = units.counted.clone()
    counted[:, 4] = False
    wanted = flat(clipped_sum(layers, UnitBatch(units.rows, counted, units.labels), CLIP))
    rows = units.rows.clone()
    rows[:, 4, 0, 2] = poison
    counted[:, 4] = True
    found = flat(clipped_sum(layers, UnitBatch(rows, counted, units.labels), CLIP))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-14)


ROWS = {
    "usual": lambda rng: rng.normal(size=P),
    "zero": lambda rng: np.zeros(P),
    "large": lambda rng: 1e4 * rng.normal(size=P),
    "huge": lambda rng: 1e30 * rng.normal(size=P),
    "edge of float32 squares": lambda rng: 1.7e19 * np.sign(rng.normal(size=P)),
    "tiny": lambda rng: 1e-30 * rng.normal(size=P),
    "mixed": lambda rng: 10.0 ** rng.uniform(-38, 38, P),
    "nan": lambda rng: np.full(P, np.nan),
    "inf": lambda rng: np.append(rng.normal(size=P - 1), -np.inf),
}


@given(
    kinds=st.lists(st.sampled_from(sorted(ROWS)), min_size=U, max_size=U),
    opposed=st.booleans(),
    scale=st.sampled_from([1e-12, 1.0, 1e6]),
    clip=st.sampled_from([1e-5, 0.7, 1e3]),
    widths=st.sampled_from([*NETWORKS.values()]),
    per_unit=st.sampled_from([1, U]),
    dtype=st.sampled_from([*TOLERANCE]),
    seed=st.integers(0, 99),
)
def test_no_unit_moves_the_sum_by_more_than_the_clip(
    kinds, opposed, scale, clip, widths, per_unit, dtype, seed
):
    """Under zero-out and add/remove, whatever its rows are, beside any others."""
    layers = [Layer(one.weight * scale, one.bias) for one in network(widths, dtype, seed)]
    units = batch(widths, per_unit, dtype, seed=seed)
    rng = np.random.default_rng(seed)
    rows = np.array([ROWS[kind](rng) for kind in kinds])
    if opposed:  # gradients that nearly cancel
        rows[1::2] = -rows[::2] * (1 + 1e-6)
    units.rows[:, 0] = torch.as_tensor(rows[:per_unit], dtype=dtype)
    units.rows[:, 1] = units.rows[:, 0]  # a duplicate
    counted = units.counted.clone()
    counted[:, :2] = True
    without, alone = counted.clone(), torch.zeros_like(counted)
    without[:, 0] = False
    alone[:, 0] = True
    sums = [
        flat(clipped_sum(layers, UnitBatch(units.rows, mask, units.labels), clip)).double()
        for mask in (counted, without, alone)
    ]
    assert all(one.isfinite().all() for one in sums)
    rounding = 8 * torch.finfo(dtype).eps
    assert float((sums[0] - sums[1]).norm(dim=1).max()) <= clip * (1 + rounding * B * np.sqrt(P))
    assert float(sums[2].norm(dim=1).max()) <= clip * (1 + rounding)


def longest(layers: list[Layer], units: UnitBatch, clip: float) -> float:
    """The largest norm of a shadow's sum."""
    return float(flat(clipped_sum(layers, units, clip)).double().norm(dim=1).max())


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_rows_that_cancel_are_still_clipped(dtype):
    """The norm of the sum drowns in the rounding of its rows; in float32 so does the sum."""
    rng, clip, many = np.random.default_rng(0), 1e-3, 1000
    a, b = 1e6 * rng.normal(size=(2, many, P))
    rest = -(a + b) + 10 ** rng.uniform(-2, 1, (many, 1)) * rng.normal(size=(many, P))
    rows = torch.as_tensor(np.stack([a, b, rest], axis=1)[:, None], dtype=dtype)
    units = UnitBatch(rows, torch.ones(rows.shape[:3], dtype=torch.bool))
    zero = torch.zeros((many, P, 1), dtype=dtype)  # so that all deltas are -1/2
    assert longest([Layer(zero, zero[:, :1])], units, clip) <= clip


def test_a_slope_whose_square_is_lost_is_still_clipped():
    large, clip = 1.5e19, 1e-5
    rows = torch.tensor([[[[large]]]])
    weight = torch.tensor([[[52 / large, 0.0]]])  # the wrong class is e^-52 likely
    units = UnitBatch(
        rows, torch.ones((1, 1, 1), dtype=torch.bool), torch.zeros((1, 1, 1), dtype=int)
    )
    layers = [Layer(weight, torch.zeros((1, 1, 2)))]
    assert longest(layers, units, 1e3) > 10 * clip
    assert longest(layers, units, clip) <= clip
