"""Linear scorers from a part of what they gave: the order of scores, or the largest of them.

Rows are whitened (``Whitening``), so that a step of least squares over the pool is one product.
All shadows at once; a result depends on its own scores only, but for the rounding of products.
"""

from collections.abc import Iterator

import numpy as np

from curation_audit.observations import Selection
from curation_audit.training.halfspaces import BYTES_PER_BLOCK
from curation_audit.types import Floats, Indices, Mask, Scores

RIDGE = 1e-9  # of the whitened pool's unit variance


def slopes_of_ranks(rows: Floats, ranks: Scores, steps: int) -> Floats:
    """The direction whose scores have an order: rows (m, r), ranks (S, m) -> slopes (S, r).

    Each step hands the fitted scores out anew in the observed order and fits them again. By the
    rearrangement inequality the product with the true slope never falls and the length never
    grows, so every step turns towards it. Ties in the ranks keep the order of the pool.
    """
    blocks = [
        _turned(rows, ranks[start : start + height], steps)
        for height in (_height(rows),)
        for start in range(0, ranks.shape[0], height)
    ]
    return np.concatenate(blocks)


def _turned(rows: Floats, ranks: Scores, steps: int) -> Floats:
    n_rows = rows.shape[0]
    order = np.argsort(ranks, axis=1, kind="stable")
    handed_out: Floats = np.empty(ranks.shape)
    values: Floats = np.broadcast_to(np.arange(n_rows) - (n_rows - 1) / 2, ranks.shape)
    for _ in range(steps):
        np.put_along_axis(handed_out, order, values, axis=1)
        slopes: Floats = handed_out @ rows / n_rows
        values = np.sort(slopes @ rows.T, axis=1)
    return slopes


def slopes_of_top(rows: Floats, scores: Scores, picked: Mask, steps: int) -> Floats:
    """The slopes of scores that are seen of picked rows only, (S, r).

    Picked rows show their score, the others that it is no larger than the lowest of these: a
    censored regression (Tobin 1958) without noise, here by its squared hinge. ``steps`` of
    Newton's method, each a least squares over the picked rows and those fitted too high.
    """
    design = np.column_stack([rows, np.ones(rows.shape[0])])
    slopes = np.zeros((scores.shape[0], rows.shape[1]))
    for part in _parts(picked.sum(axis=1), design.shape[1]):
        seen = scores[part].astype(np.float64)
        slopes[part] = _censored(design, seen, picked[part], steps)[:, :-1]
    return slopes


def _censored(design: Floats, scores: Floats, picked: Mask, steps: int) -> Floats:
    lowest = np.where(picked, scores, np.inf).min(axis=1, keepdims=True, initial=np.inf)
    lowest = np.where(np.isfinite(lowest), lowest, 0)
    above = np.where(picked, scores - lowest, 0)  # a shift of all scores is no slope
    fitted: Floats = np.zeros((scores.shape[0], design.shape[1]))
    for _ in range(steps):
        active = picked | (fitted @ design.T > 0)
        at, real = Selection.from_mask(active).padded()
        held = design[at] * real[:, :, None]  # (S, active, r + 1)
        gram: Floats = held.transpose(0, 2, 1) @ held
        ridge = RIDGE * np.maximum(active.sum(axis=1), 1)
        gram += ridge[:, None, None] * np.eye(gram.shape[1])
        fitted[:] = np.linalg.solve(gram, (above @ design)[:, :, None])[:, :, 0]
    return fitted


def _parts(sizes: Indices, width: int) -> Iterator[slice]:
    """Slices of shadows whose active rows, (S, rows, width), fit in a block."""
    height = max(1, BYTES_PER_BLOCK // (8 * width * max(1, int(sizes.max(initial=1)))))
    for start in range(0, len(sizes), height):
        yield slice(start, start + height)


def _height(rows: Floats) -> int:
    """How many shadows a block holds."""
    return max(1, BYTES_PER_BLOCK // (8 * len(rows)))
