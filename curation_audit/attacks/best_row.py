"""One pool row per candidate: the one whose value moves most with the candidate's membership."""

from dataclasses import dataclass

import numpy as np

from curation_audit.attacks.base import OtherPairs
from curation_audit.types import Floats, Inclusion, Indices, Scores

BYTES_PER_BLOCK = 2**22  # a few buffers of this size stay in cache


@dataclass(frozen=True, slots=True)
class BestRows:
    """For each pair and candidate the chosen row, and that row's values elsewhere.

    ``column`` int64 (P, N). ``tested`` (P, 2, N): the row's value in the two shadows of the
    pair. ``mean`` and ``square`` (P, 2, N): mean of the value and of its square over the other
    pairs' shadows that hold the candidate (first) and that do not (second).
    """

    column: Indices
    tested: Floats
    mean: Floats
    square: Floats


def best_rows(
    observed: Scores, inclusion: Inclusion, others: OtherPairs, center: Floats | None = None
) -> BestRows:
    """Choose ``argmax_k |mean_in - mean_out|`` over the other pairs, for values (S, m).

    ``center`` (m,) is subtracted first, so that sums of squares do not cancel; without it, sums
    of picks stay whole numbers, so that ties between rows break alike whatever the coins of the
    tested pair were. Candidates come in blocks, so that memory does not grow with N m.
    """
    values: Floats = np.asarray(observed, dtype=np.float64)
    if center is not None:
        values = values - center
    n_candidates = inclusion.shape[1]
    width = max(1, BYTES_PER_BLOCK // (8 * values.shape[1]))
    squared = values**2
    blocks = [
        _best_rows(values, squared, inclusion[:, start : start + width], others)
        for start in range(0, n_candidates, width)
    ]
    return BestRows(
        np.concatenate([block.column for block in blocks], axis=1),
        np.concatenate([block.tested for block in blocks], axis=2),
        np.concatenate([block.mean for block in blocks], axis=2),
        np.concatenate([block.square for block in blocks], axis=2),
    )


def _best_rows(
    values: Floats, squared: Floats, inclusion: Inclusion, others: OtherPairs
) -> BestRows:
    """The choice for one block of candidates."""
    known = np.repeat(others.known, 2)
    held = inclusion[known].astype(np.float64)
    sums = _in_and_out(held, values[known])
    column = _most_telling(sums[0] - sums[1], values, inclusion, others)
    first, second = (np.take_along_axis(values[offset::2], column, axis=1) for offset in (0, 1))
    own_in = np.where(inclusion[0::2], first, second)
    own_out = np.where(inclusion[0::2], second, first)
    own = np.stack([own_in, own_out], axis=1)
    squares = _in_and_out(held, squared[known])
    part = others.known[:, None, None]  # a pair that is not learnt from is in no sum
    counts = others.counts[:, None, None]
    candidate = np.arange(inclusion.shape[1])
    return BestRows(
        column=column,
        tested=np.stack([first, second], axis=1),
        mean=(sums[:, candidate, column].transpose(1, 0, 2) - part * own) / counts,
        square=(squares[:, candidate, column].transpose(1, 0, 2) - part * own**2) / counts,
    )


def _most_telling(
    difference: Floats, values: Floats, inclusion: Inclusion, others: OtherPairs
) -> Indices:
    """For each pair ``argmax_k |difference less the pair's own part|``: (N, m) -> (P, N)."""
    change = values[0::2] - values[1::2]
    sign = np.where(inclusion[0::2], 1.0, -1.0) * others.known[:, None]
    column = np.empty(sign.shape, dtype=np.int64)
    less = np.empty_like(difference)  # one buffer for all pairs: no page is touched twice
    for j in range(sign.shape[0]):
        np.multiply(sign[j][:, None], change[j], out=less)
        np.subtract(difference, less, out=less)
        np.abs(less, out=less)
        less.argmax(axis=1, out=column[j])
    return column


def _in_and_out(held: Floats, values: Floats) -> Floats:
    """Sums of values (S, m) over the shadows with and without each candidate: (2, N, m)."""
    with_candidate = held.T @ values
    return np.stack([with_candidate, values.sum(axis=0) - with_candidate])
