"""Gradients of a torch model row by row, and their random projection.

A model is a tuple of parameters and a function ``output(parameters, row, target)`` of one row,
(d,), and its one-hot label, (C,). Gradients of many rows come in blocks, so that an array of
rows by parameters never exists at once.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from curation_audit.streams import Streams
from curation_audit.types import Features

NUMBERS_PER_BLOCK = 2**22
PARAMETERS_PER_BLOCK = 4096

Parameters: TypeAlias = tuple[Tensor, ...]
Output: TypeAlias = Callable[[Parameters, Tensor, Tensor], Tensor]


def logits(parameters: Parameters, rows: Tensor) -> Tensor:
    """A ReLU network: weights (i, o) and biases (o,) in turn; rows (..., d) -> (..., C)."""
    for i in range(0, len(parameters), 2):
        rows = (torch.relu(rows) if i else rows) @ parameters[i] + parameters[i + 1]
    return rows


def log_odds(parameters: Parameters, row: Tensor, target: Tensor) -> Tensor:
    """``log(p_y / (1 - p_y))``, the model output of TRAK (Park et al. 2023, section 3.3)."""
    found = logits(parameters, row)
    others = torch.logsumexp(found.masked_fill(target > 0, -torch.inf), dim=-1)
    return (found * target).sum(dim=-1) - others


def cross_entropy(parameters: Parameters, row: Tensor, target: Tensor) -> Tensor:
    """``-log p_y``."""
    found = logits(parameters, row)
    return torch.logsumexp(found, dim=-1) - (found * target).sum(dim=-1)


def per_example_gradients(
    output: Output, parameters: Parameters, rows: Tensor, targets: Tensor
) -> Tensor:
    """The gradient of each row's output by all parameters, flat and in their order.

    Shapes: rows (r, d), targets (r, C) -> (r, P).
    """
    of_one = torch.func.grad(output)
    found = torch.func.vmap(of_one, in_dims=(None, 0, 0))(parameters, rows, targets)
    return torch.cat([part.flatten(start_dim=1) for part in found], dim=1)


@dataclass(frozen=True, slots=True)
class Projection:
    """Random signs P (parameters, size) over the root of the number of parameters.

    It keeps inner products up to the factor ``size / n_parameters`` on average. A gradient that
    is no longer than ``size`` stays as it is. The signs are public: they follow from ``index``,
    and are drawn anew, block by block, wherever they are needed.
    """

    n_parameters: int
    size: int
    index: int = 0

    @property
    def n_outputs(self) -> int:
        """How long a projected gradient is."""
        return min(self.size, self.n_parameters)

    def apply(self, gradients: Tensor) -> Tensor:
        """(rows, parameters) -> (rows, n_outputs)."""
        if self.n_parameters <= self.size:
            return gradients
        found = gradients.new_zeros((len(gradients), self.size))
        for i, start in enumerate(range(0, self.n_parameters, PARAMETERS_PER_BLOCK)):
            block = gradients[:, start : start + PARAMETERS_PER_BLOCK]
            found += block @ self._signs(i, block.shape[1]).to(block)
        return found / math.sqrt(self.n_parameters)

    def _signs(self, block: int, n_rows: int) -> Tensor:
        """int8 (n_rows, size) of one block of parameters."""
        n_signs = n_rows * self.size
        stream = Streams(0).generator("gradient projection", self.index, block)
        drawn = np.frombuffer(stream.bytes(-(-n_signs // 8)), dtype=np.uint8)
        bits = np.unpackbits(drawn, count=n_signs)
        return torch.as_tensor(2 * bits.astype(np.int8) - 1).reshape(n_rows, self.size)


def projected_gradients(
    output: Output,
    parameters: Parameters,
    rows: Tensor,
    targets: Tensor,
    projection: Projection,
    direction: Callable[[Tensor], Tensor] | None = None,
) -> Iterator[Tensor]:
    """The projected gradients of all rows, in order, in blocks (r, n_outputs).

    ``direction`` makes another vector of every gradient before it is projected.
    """
    step = max(1, NUMBERS_PER_BLOCK // projection.n_parameters)
    for start in range(0, len(rows), step):
        block = slice(start, start + step)
        found = per_example_gradients(output, parameters, rows[block], targets[block])
        yield projection.apply(found if direction is None else direction(found))


def n_parameters(parameters: Parameters) -> int:
    """P."""
    return sum(part.numel() for part in parameters)


def on_device(network: tuple[Features, ...], like: Tensor) -> Parameters:
    """The parameters as tensors of the kind of ``like``."""
    return tuple(torch.as_tensor(part).to(like) for part in network)
