"""Ridge regression on what a model shows, with each pair of shadows left out, in closed form.

For the inverse C of the kernel system with an intercept, the prediction of a pair B from all
others is ``- C_BB^-1 C_B,others targets``, and the system without B is ``C - C_B' C_BB^-1 C_B``:
one inverse serves all pairs (Cawley & Talbot 2007, section 3, for single rows).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from curation_audit.attacks.base import OtherPairs
from curation_audit.types import Features, Floats, Indices, Mask

RIDGES: Final = tuple(4.0**k for k in range(-10, 4))


@dataclass(frozen=True, slots=True)
class _System:
    """The regression of one ridge on R known shadows, and what leaving pair j out changes.

    ``inverse`` (R, R); ``border``, ``solved`` (P, 2, R): C_B and C_BB^-1 C_B, 0 where pair j is
    not among the known; ``weights`` (S, R): predictions are ``weights @ targets``.
    """

    inverse: Floats
    border: Floats
    solved: Floats
    weights: Floats


def kernel_of(shown: Features) -> Floats:
    """The mean product of centred columns, (S, S); shown (S, ...)."""
    columns = np.asarray(shown, dtype=np.float64).reshape(shown.shape[0], -1)
    columns = columns - columns.mean(axis=0)
    kernel: Floats = columns @ columns.T / columns.shape[1]
    return kernel


def smoothed(
    kernel: Floats, targets: Floats | Mask, others: OtherPairs, own: Floats | None = None
) -> Floats:
    """Each shadow's targets (S, T), predicted from what it shows by the other pairs, (S, T).

    ``kernel`` (S, S) compares what shadows show. Each pair's ridge is that of least leave-one-out
    error among its other pairs. ``own`` (S, T), if given, is one more regressor of each target,
    of as much weight in the prior as all that the kernel holds. Targets of the pair itself, and
    what its other shadow shows, are not used.
    """
    known = np.flatnonzero(others.known_shadows)
    learnt = np.asarray(targets, dtype=np.float64)[known]
    systems = [_system(kernel, known, others, ridge) for ridge in RIDGES]
    gram = learnt @ learnt.T
    errors = np.stack([_error(system, gram) for system in systems])
    chosen = np.repeat(errors.argmin(axis=0), 2)
    predicted = np.empty(targets.shape)
    for ridge in np.unique(chosen):
        rows, system = chosen == ridge, systems[ridge]
        found = system.weights @ learnt
        if own is not None:
            found += _own_part(system, learnt, own, known, others)
        predicted[rows] = found[rows]
    return predicted


def _system(kernel: Floats, known: Indices, others: OtherPairs, ridge: float) -> _System:
    n_known, n_pairs = len(known), len(others.known)
    inverse = np.linalg.inv(kernel[np.ix_(known, known)] + ridge * np.eye(n_known))
    ones = inverse.sum(axis=1)
    bordered = inverse - np.outer(ones, ones) / ones.sum()
    weights = kernel[:, known] @ bordered + ones / ones.sum()
    border, solved = np.zeros((2, n_pairs, 2, n_known))
    pairs = bordered.reshape(-1, 2, n_known)
    own = np.arange(n_known).reshape(-1, 1, 2)
    blocks = np.take_along_axis(pairs, np.broadcast_to(own, (len(pairs), 2, 2)), axis=2)
    border[others.known] = pairs
    solved[others.known] = np.linalg.solve(blocks, pairs)
    left_out = -solved[others.known]
    np.put_along_axis(left_out, np.broadcast_to(own, (len(pairs), 2, 2)), 0.0, axis=2)
    weights[known] = left_out.reshape(n_known, n_known)
    return _System(bordered, border, solved, weights)


def _error(system: _System, gram: Floats) -> Floats:
    """The sum of squared leave-one-out errors among each pair's other pairs, (P,)."""
    inverse, border, solved = system.inverse, system.border, system.solved
    product = gram @ inverse
    square = np.einsum("rt,tr->r", inverse, product)
    crossed = solved @ product
    inner = np.einsum("pbr,rt,pct->pbc", solved, gram, solved, optimize=True)
    squares = square - 2 * np.einsum("pbr,pbr->pr", border, crossed)
    squares += np.einsum("pbr,pcr,pbc->pr", border, border, inner, optimize=True)
    leverage = np.diag(inverse) - np.einsum("pbr,pbr->pr", border, solved)
    others = leverage > 1e-9 * np.diag(inverse)  # the pair itself is left with nothing
    error = np.where(others, squares, 0.0) / np.where(others, leverage, 1.0) ** 2
    total: Floats = error.sum(axis=1)
    return total


def _own_part(
    system: _System, learnt: Floats, own: Floats, known: Indices, others: OtherPairs
) -> Floats:
    """What the target's own regressor adds to the prediction, (S, T)."""
    mine = own[known] - own[known].mean(axis=0)
    on_target, on_mine = system.inverse @ learnt, system.inverse @ mine
    from_pair = system.border @ mine  # (P, 2, T)
    product = (mine * on_target).sum(axis=0) - (from_pair * (system.solved @ learnt)).sum(axis=1)
    square = (mine * on_mine).sum(axis=0) - (from_pair * (system.solved @ mine)).sum(axis=1)
    pairs = (own - own[known].mean(axis=0)).reshape(-1, 2, own.shape[1])
    variance = others.means((pairs**2).mean(axis=1)) - others.means(pairs.mean(axis=1)) ** 2
    typical = np.maximum(variance.mean(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    slope = product / np.maximum(square + variance / typical, np.finfo(np.float64).tiny)
    rest = own - system.weights @ own[known]
    added: Floats = np.repeat(slope, 2, axis=0) * rest
    return added
