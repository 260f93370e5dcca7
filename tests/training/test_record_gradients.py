"""Products and lengths of records' gradients against gradients that are written out."""

import itertools

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, softplus

from curation_audit.training.dp_batches import PaddedUnits, UnitTable
from curation_audit.training.dp_gradients import unit_norms
from curation_audit.training.mlp import Layer, as_layers, as_parameters, forward
from curation_audit.training.record_gradients import (
    clip_factors,
    clipped_gram,
    record_gram,
    record_lengths,
)

N_UNITS = 7


def made(widths, seed=0):
    """A network of double precision, rows, and whose each is: units of one to three rows."""
    rng = torch.Generator().manual_seed(seed)
    network = [
        Layer(
            torch.randn(i, o, generator=rng).double(),
            torch.randn(1, o, generator=rng).double() * (len(widths) > 2),
        )
        for i, o in itertools.pairwise(widths)
    ]
    owners = np.array([0, 0, 0, 1, 2, 3, 3, 4, 5, 6, 6])
    rows = torch.randn(len(owners), widths[0], generator=rng).double().numpy()
    return network, rows, owners


def written_out(network, rows, owners, by):
    """Every record's whole gradient by V, where weights are s V, as a row."""
    scales = [s for pair in by for s in pair] if by else [1.0] * 2 * len(network)
    if len(network) == 1:
        scales[1] = 0.0
    weights = [one.clone().requires_grad_() for one in as_parameters(network)]
    found = []
    for unit in range(owners.max() + 1):
        logits = forward(as_layers(tuple(weights)), torch.as_tensor(rows[owners == unit]))[-1]
        last = logits.shape[1] - 1
        loss = (
            softplus(-logits[:, 0]).sum()
            if last == 0
            else cross_entropy(logits, torch.full((len(logits),), last), reduction="sum")
        )
        slopes = torch.autograd.grad(loss, weights)
        flat = [s * one.flatten() for s, one in zip(scales, slopes, strict=True)]
        found.append(torch.cat(flat).numpy())
    return np.stack(found)


CASES = pytest.mark.parametrize(
    ("widths", "by"),
    [
        ((4, 1), None),
        ((4, 5, 2), None),
        ((4, 5, 3, 1), [(0.5, 2.0), (3.0, 0.1), (1.0, 0.7)]),
    ],
    ids=["regression", "two classes", "one logit, in coordinates"],
)


@CASES
def test_products_are_those_of_whole_gradients(widths, by):
    network, rows, owners = made(widths)
    gradients = written_out(network, rows, owners, by)
    np.testing.assert_allclose(record_gram(network, rows, owners, by), gradients @ gradients.T)


@CASES
def test_lengths_are_those_of_whole_gradients(widths, by):
    network, rows, owners = made(widths)
    lengths = np.linalg.norm(written_out(network, rows, owners, by), axis=1)
    np.testing.assert_allclose(record_lengths(network, rows, owners, by), lengths)


def test_they_are_what_clipping_sees():
    network, rows, owners = made((4, 5, 3, 1))
    table = UnitTable.of_units(PaddedUnits.of_rows(rows, owners, N_UNITS), torch.device("cpu"))
    stacked = [Layer(one.weight[None], one.bias[None]) for one in network]
    (batch,) = table.everyone(np.ones((1, N_UNITS), dtype=bool), N_UNITS)
    np.testing.assert_allclose(
        record_lengths(network, rows, owners), unit_norms(stacked, batch)[0], rtol=1e-6
    )


def test_clipped_products_are_those_of_clipped_gradients():
    network, rows, owners = made((4, 5, 2))
    gradients = written_out(network, rows, owners, None)
    lengths = np.linalg.norm(gradients, axis=1)
    clip = float(np.median(lengths))
    shrunk = gradients * np.minimum(1, clip / lengths)[:, None]
    found = clipped_gram(record_gram(network, rows, owners), clip)
    np.testing.assert_allclose(found, shrunk @ shrunk.T)
    assert found.diagonal().max() == pytest.approx(clip**2)


def test_what_is_shorter_than_the_clip_stays():
    np.testing.assert_allclose(clip_factors(np.array([0.0, 0.5, 1.0, 4.0]), 1.0), [1, 1, 1, 0.25])
