"""Clipped gradient sums of S networks without a gradient per example: ghost clipping.

The gradient of one row in a dense layer is the outer product of the layer's input ``a`` and of
what comes back, ``delta``, so its squared norm is ``(|a|^2 + 1) |delta|^2`` (the 1 is the bias),
and the sum of clipped gradients is one matrix product with rescaled deltas (Goodfellow,
arXiv:1510.01799; Li et al., arXiv:2110.05679). A unit with several rows is clipped as a whole: the
norm of its sum comes from the products of its rows, ``sum_ij (a_i.a_j + 1)(delta_i.delta_j)``.

Weights may be multiples ``W = s V`` of what is trained, by a public number for each layer's weight
and bias (``Multipliers``): gradients, their norms and their sums are then those of V, ``s`` times
those of W.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from curation_audit.training.mlp import Layer

Multipliers: TypeAlias = Sequence[tuple[float, float]]  # of weight and bias, layer by layer
# Opacus adds the same to a norm before it divides by it
NORM_MARGIN = 1e-6
# a product with fewer columns is worked out transposed: BLAS is up to 4 times slower otherwise
NARROW = 32


@dataclass(frozen=True, slots=True)
class UnitBatch:
    """Units of a step, the axis of shadows first; its length is 1 where all share their rows.

    Shapes: ``rows`` (S or 1, b, U, p); ``counted`` bool (S or 1, b, U), False for padding and for
    who is left out; ``labels`` int64 (S or 1, b, U) for networks of several outputs, None for one
    logit with target 1; ``products`` is ``unit_products(rows)``, which None asks for.
    """

    rows: Tensor
    counted: Tensor
    labels: Tensor | None = None
    products: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Flow:
    """Inputs of every layer, (S, r, .) or shared (r, .), and the loss's slopes at its outputs."""

    inputs: list[Tensor]
    deltas: list[Tensor]


def unit_products(rows: Tensor) -> Tensor:
    """Inner products between the rows of each unit: (..., U, p) -> float64 (..., U, U)."""
    if rows.shape[-2] == 1:
        return _squares(rows)[..., None]
    wide = rows.double()
    # many tiny outer products are slow as products of matrices
    return wide @ wide.mT if wide.shape[-1] > 1 else wide * wide.mT


def clipped_sum(
    layers: Sequence[Layer], batch: UnitBatch, clip: float, by: Multipliers | None = None
) -> list[Layer]:
    """The sum over units of their gradients, each clipped to norm ``clip`` over all layers.

    A unit whose gradient is not finite counts as zero. Taking a unit out changes the sum by at
    most ``clip``, up to rounding.
    """
    found = [Layer(torch.zeros_like(one.weight), torch.zeros_like(one.bias)) for one in layers]
    accumulate(found, clipped_flow(layers, batch, clip, by), 1.0, by)
    return found


def unit_norms(layers: Sequence[Layer], batch: UnitBatch, by: Multipliers | None = None) -> Tensor:
    """The norm of every unit's gradient over all layers, float64 (S, b)."""
    return _unit_norms(_flow(layers, batch), batch, _squared(by, layers))


def clipped_flow(
    layers: Sequence[Layer], batch: UnitBatch, clip: float, by: Multipliers | None = None
) -> Flow:
    """Inputs and rescaled deltas: ``accumulate`` makes them ``clipped_sum``."""
    flow = _flow(layers, batch)
    norms = _unit_norms(flow, batch, _squared(by, layers))
    scale = _by_row((clip / (norms + NORM_MARGIN)).clamp_(max=1.0), batch, flow)
    if bool(norms.isfinite().all()):
        return Flow(flow.inputs, [delta.mul_(scale) for delta in flow.deltas])
    # zero times infinity is not zero; a scale that is no number is not above zero either
    return Flow(
        [torch.nan_to_num(a, 0.0, 0.0, 0.0) for a in flow.inputs],
        [torch.where(scale > 0, delta * scale, 0.0) for delta in flow.deltas],
    )


def negatives_flow(layers: Sequence[Layer], rows: Tensor) -> Flow:
    """Inputs and deltas of public rows (r, p) of target 0 that all shadows share."""
    inputs = _inputs(layers, rows)
    logits = inputs.pop()
    if logits.shape[2] == 1:
        return _pull_back(layers, inputs, torch.sigmoid(logits))
    delta = _softmax(logits)
    delta[..., 0] -= 1
    return _pull_back(layers, inputs, delta)


def accumulate(
    into: Sequence[Layer], flow: Flow, scale: float, by: Multipliers | None = None
) -> None:
    """Add ``scale`` times the gradients summed over rows, in place.

    A network of one layer has no bias of its own, and its place stays as it is.
    """
    factors = by or [(1.0, 1.0)] * len(into)
    for layer, a, delta, (of_weight, of_bias) in zip(
        into, flow.inputs, flow.deltas, factors, strict=True
    ):
        weight, back = layer.weight.mT, delta.mT
        if a.ndim == 2:
            n_shadows, n_out, n_rows = back.shape
            found = back.reshape(n_shadows * n_out, n_rows) @ a
            weight.add_(found.reshape(weight.shape), alpha=scale * of_weight)
        else:
            weight.baddbmm_(back, a, alpha=scale * of_weight)
        if len(into) > 1:
            layer.bias.add_(delta.sum(dim=1, keepdim=True), alpha=scale * of_bias)


def _flow(layers: Sequence[Layer], batch: UnitBatch) -> Flow:
    """Forward and back; rows that do not count have deltas of zero."""
    rows = batch.rows.flatten(1, 2)
    shared = len(rows) < len(layers[0].weight)
    inputs = _inputs(layers, rows[0] if shared else rows)
    logits = inputs.pop()
    if batch.labels is None:
        delta = torch.sigmoid(logits) - 1
    else:
        labels = batch.labels.flatten(1, 2)[..., None].expand(*logits.shape[:2], 1)
        delta = _softmax(logits)
        delta.scatter_add_(2, labels, delta.new_full((), -1).expand(labels.shape))
    counted = batch.counted.flatten(1, 2)[..., None]
    return _pull_back(layers, inputs, torch.where(counted, delta, 0.0))


def _inputs(layers: Sequence[Layer], rows: Tensor) -> list[Tensor]:
    """Inputs of every layer and the logits: rows (S, r, p) or shared (r, p)."""
    inputs = [rows]
    for i, layer in enumerate(layers):
        a, weight = inputs[-1], layer.weight
        n_shadows, n_in, n_out = weight.shape
        if a.ndim == 2:
            flat = weight.mT.reshape(n_shadows * n_out, n_in) @ a.T
            out = flat.reshape(n_shadows, n_out, len(a)).mT.add_(layer.bias)
        elif n_out < NARROW:
            out = torch.baddbmm(layer.bias.mT, weight.mT, a.mT).mT
        else:
            out = torch.baddbmm(layer.bias, a, weight)
        inputs.append(out.relu_() if i + 1 < len(layers) else out)
    return inputs


def _softmax(logits: Tensor) -> Tensor:
    """Probabilities (S, r, C), worked out along the long axis, as few classes are slow."""
    return torch.softmax(logits.mT, dim=1).mT


def _pull_back(layers: Sequence[Layer], inputs: list[Tensor], delta: Tensor) -> Flow:
    """The deltas at every layer's outputs, from those at the logits."""
    deltas = [delta]
    for i in range(len(layers) - 1, 0, -1):
        back = torch.empty_like(inputs[i])  # in the same order in memory
        if back.stride(2) == 1:
            torch.bmm(deltas[-1], layers[i].weight.mT, out=back)
        else:
            torch.bmm(layers[i].weight, deltas[-1].mT, out=back.mT)
        deltas.append(back.mul_(inputs[i].sign()))
    return Flow(inputs, deltas[::-1])


def _by_row(factor: Tensor, batch: UnitBatch, flow: Flow) -> Tensor:
    """Factors of units (S, b) as factors of their rows (S, r, 1), in the deltas' precision."""
    per_unit = batch.rows.shape[2]
    rows = factor if per_unit == 1 else factor.repeat_interleave(per_unit, dim=1)
    return rows.to(flow.deltas[0].dtype)[..., None]


def _squared(by: Multipliers | None, layers: Sequence[Layer]) -> list[tuple[float, float]]:
    """Squares of the multipliers; that of a bias is 0 where there is none."""
    biased = float(len(layers) > 1)
    return [(s**2, b**2 * biased) for s, b in by or [(1.0, 1.0)] * len(layers)]


def _unit_norms(flow: Flow, batch: UnitBatch, squared: Multipliers) -> Tensor:
    """The norm of every unit's gradient, float64 (S, b), from above where rounding matters."""
    first = batch.products if batch.products is not None else unit_products(batch.rows)
    if batch.rows.shape[2] > 1:
        return _summed_norms(flow, first, batch, squared)
    (of_weight, of_bias), *others = squared
    squares = (first[..., 0, 0] * of_weight + of_bias) * _squares(flow.deltas[0])
    for a, delta, (of_weight, of_bias) in zip(
        flow.inputs[1:], flow.deltas[1:], others, strict=True
    ):
        squares += (_squares(a) * of_weight + of_bias) * _squares(delta)
    return squares.sqrt_()


def _squares(vectors: Tensor) -> Tensor:
    """|v|^2 of the last axis, float64; an upper bound where squares underflow.

    A large input may meet a delta whose square is lost, and their product is not small.
    """
    lost = vectors.shape[-1] * torch.finfo(vectors.dtype).tiny
    if vectors.stride(-1) != 1:  # vector_norm would be ten times slower
        return vectors.square().sum(dim=-1).double().add_(lost)
    lengths: Tensor = torch.linalg.vector_norm(vectors, dim=-1)
    return lengths.double().square_().add_(lost)


def _summed_norms(flow: Flow, first: Tensor, batch: UnitBatch, squared: Multipliers) -> Tensor:
    """The norm of the sum of each unit's rows, (S, b), plus what rounding may hide of it.

    Rows can cancel, and then neither this norm nor the sum itself is better than the precision
    times the rows' own norms.
    """
    n_units, per_unit = batch.rows.shape[1:3]

    def by_unit(rows: Tensor) -> Tensor:
        return rows.reshape(*rows.shape[:-2], n_units, per_unit, rows.shape[-1])

    products = torch.zeros((), dtype=torch.float64, device=first.device)
    for i, (a, delta, (of_weight, of_bias)) in enumerate(
        zip(flow.inputs, flow.deltas, squared, strict=True)
    ):
        own = unit_products(by_unit(a)) if i else first
        products = products + (own * of_weight + of_bias) * unit_products(by_unit(delta))
    lengths = products.diagonal(dim1=-2, dim2=-1).sqrt().sum(dim=-1)
    hidden = 64 * torch.finfo(torch.float64).eps * lengths.square()
    lost = 8 * torch.finfo(flow.deltas[0].dtype).eps * lengths
    return (products.sum(dim=(-2, -1)).clamp(min=0) + hidden).sqrt() + lost
