"""Lengths and products of records' gradients in one network; no gradient is ever written out.

Of one row the gradient in a dense layer is the outer product of the layer's input ``a`` and of
what comes back, ``delta``, so that those of two rows have the product
``(a . a' + 1) (delta . delta')`` (the 1 is the bias). The gradient of a record is the sum of those
of its rows. A network of one layer has no bias of its own: its rows carry a one.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from curation_audit.training.dp_batches import UNITS_PER_PIECE, PaddedUnits, UnitTable
from curation_audit.training.dp_gradients import Multipliers, unit_norms
from curation_audit.training.mlp import Layer, forward
from curation_audit.types import Features, Floats, Indices


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
    exact = [Layer(one.weight.double(), one.bias.double()) for one in network]
    inputs = forward(exact, torch.as_tensor(rows).double())
    delta = _slopes(inputs.pop())
    gram = torch.zeros((len(rows), len(rows)), dtype=torch.float64)
    has_bias = float(len(exact) > 1)
    for i in range(len(exact) - 1, -1, -1):
        of_weight, of_bias = (1.0, 1.0) if by is None else by[i]
        own = of_weight**2 * inputs[i] @ inputs[i].T + has_bias * of_bias**2
        gram += own * (delta @ delta.T)
        if i:
            delta = (delta @ exact[i].weight.T) * (inputs[i] > 0)
    return _by_record(gram, torch.as_tensor(owners)).numpy()


def record_lengths(
    network: Sequence[Layer], units: PaddedUnits, by: Multipliers | None = None
) -> Floats:
    """The length of every unit's gradient, float64 (U,), by the code that clips; see above."""
    stacked = [Layer(one.weight[None].double(), one.bias[None].double()) for one in network]
    table = UnitTable.of_units(units, torch.device("cpu"))
    everyone = np.ones((1, len(units.features)), dtype=bool)
    batches = table.everyone(everyone, UNITS_PER_PIECE)
    lengths: Floats = torch.cat([unit_norms(stacked, one, by)[0] for one in batches]).numpy()
    return lengths


def clipped_gram(gram: Floats, clip: float) -> Floats:
    """The products (U, U) of the same gradients, each scaled down to at most that length."""
    factors = clip_factors(np.sqrt(np.maximum(gram.diagonal(), 0)), clip)
    shrunk: Floats = factors[:, None] * gram * factors
    return shrunk


def clip_factors(lengths: Floats, clip: float) -> Floats:
    """By what clipping multiplies gradients of these lengths, (U,)."""
    factors: Floats = clip / np.maximum(lengths, clip)
    return factors


def _slopes(logits: Tensor) -> Tensor:
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
