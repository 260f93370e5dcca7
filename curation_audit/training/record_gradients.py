"""Lengths and products of records' gradients in one network; no gradient is ever written out.

Of one row the gradient in a dense layer is the outer product of the layer's input ``a`` and of
what comes back, ``delta``, so that those of two rows have the product
``(a . a' + 1) (delta . delta')`` (the 1 is the bias). The gradient of a record is the sum of those
of its rows. A network of one layer has no bias of its own: its rows carry a one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from curation_audit.training.dp_gradients import Multipliers
from curation_audit.training.mlp import Layer, forward
from curation_audit.types import Features, Floats, Indices


@dataclass(frozen=True, slots=True)
class _Slopes:
    """Of n rows at one layer: inputs (n, i), deltas (n, o), squares of what multiplies both."""

    inputs: Tensor
    deltas: Tensor
    of_weight: float
    of_bias: float


def record_gram(
    network: Sequence[Layer], rows: Features, owners: Indices, by: Multipliers | None = None
) -> Floats:
    """Inner products of records' gradients of their own loss, float64 (U, U).

    Args:
        network: layers, weight (i, o) and bias (1, o); one logit, or one for each class.
        rows: of the class 1, the last one; (n, d).
        owners: the record of every row, 0 to U - 1, int64 (n,).
        by: the numbers s of ``W = s V``, of weight and bias by layer; gradients are those of V.
            Ones by default.
    """
    gram = torch.zeros((len(rows), len(rows)), dtype=torch.float64)
    for at in _slopes(network, rows, by):
        own = at.of_weight * at.inputs @ at.inputs.T + at.of_bias
        gram += own * (at.deltas @ at.deltas.T)
    return _by_record(gram, torch.as_tensor(owners)).numpy()


def record_lengths(
    network: Sequence[Layer], rows: Features, owners: Indices, by: Multipliers | None = None
) -> Floats:
    """The length of every record's gradient, float64 (U,); as ``record_gram``, for any number."""
    sizes = np.bincount(owners)
    alone = torch.as_tensor(sizes[owners] == 1)
    at_once = torch.as_tensor(owners)[alone]
    rows_of = np.split(np.argsort(owners, kind="stable"), np.cumsum(sizes)[:-1])
    together = [(one, torch.as_tensor(rows_of[one])) for one in np.flatnonzero(sizes > 1)]
    squares = torch.zeros(len(sizes), dtype=torch.float64)
    for at in _slopes(network, rows, by):
        inputs, deltas = (one[alone].square().sum(dim=1) for one in (at.inputs, at.deltas))
        squares[at_once] += (at.of_weight * inputs + at.of_bias) * deltas
        for one, own in together:
            weight, bias = at.inputs[own].T @ at.deltas[own], at.deltas[own].sum(dim=0)
            squares[one] += at.of_weight * weight.square().sum()
            squares[one] += at.of_bias * bias.square().sum()
    lengths: Floats = squares.sqrt().numpy()
    return lengths


def _slopes(network: Sequence[Layer], rows: Features, by: Multipliers | None) -> Iterator[_Slopes]:
    """Layer by layer, the last one first."""
    exact = [Layer(one.weight.double(), one.bias.double()) for one in network]
    inputs = forward(exact, torch.as_tensor(rows).double())
    delta, has_bias = _of_loss(inputs.pop()), float(len(exact) > 1)
    for i in range(len(exact) - 1, -1, -1):
        of_weight, of_bias = (1.0, 1.0) if by is None else by[i]
        yield _Slopes(inputs[i], delta, of_weight**2, has_bias * of_bias**2)
        if i:
            delta = (delta @ exact[i].weight.T) * (inputs[i] > 0)


def clipped_gram(gram: Floats, clip: float) -> Floats:
    """The products (U, U) of the same gradients, each scaled down to at most that length."""
    factors = clip_factors(np.sqrt(np.maximum(gram.diagonal(), 0)), clip)
    shrunk: Floats = factors[:, None] * gram * factors
    return shrunk


def clip_factors(lengths: Floats, clip: float) -> Floats:
    """By what clipping multiplies gradients of these lengths, (U,)."""
    factors: Floats = clip / np.maximum(lengths, clip)
    return factors


def _of_loss(logits: Tensor) -> Tensor:
    """Of the cross-entropy of the last class, or of a sigmoid's class 1, (n, o)."""
    if logits.shape[1] == 1:
        return torch.sigmoid(logits) - 1
    slopes = torch.softmax(logits, dim=1)
    slopes[:, -1] -= 1
    return slopes


def _by_record(gram: Tensor, owners: Tensor) -> Tensor:
    """Sums over the rows of each record: (n, n) -> (U, U)."""
    size = int(owners.max()) + 1
    half = gram.new_zeros((size, len(gram))).index_add_(0, owners, gram)
    return gram.new_zeros((size, size)).index_add_(1, owners, half)
