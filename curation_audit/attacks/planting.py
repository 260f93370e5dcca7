"""Rows to plant in the public pool so that a pick tells whether a candidate was in.

A planted row is of use where it is picked when its target is in and left when it is not. Rows are
designed in the scorer's embedding, all targets at once. What the curation does with them is
measured, and their margins to the threshold are corrected, by whoever can run it.
"""

import numpy as np

from curation_audit.observations import RELATIVE_RANK, Linearisation
from curation_audit.types import Features, Floats, Indices, Labels, Mask

N_TRIED = 4
# of the smooth maximum over the other candidates: from all of them to the nearest, so that the
# first steps do not end in the nearest hollow
SHARPNESS = np.geomspace(4, 100, 50)
N_NEIGHBOURS = 15


def between(
    targets: Features, others: Features, is_target: Mask, lowest: float, highest: float
) -> Floats:
    """Unit rows that clear a threshold by their target, and miss it by everyone else.

    Of rows at several cosines to their target (``near_one``) the one with the larger of the
    smaller margins: its own cosine above ``highest``, and all others' below ``lowest``, between
    which the threshold moves.

    Args:
        targets: unit rows (T, p).
        others: unit rows of all candidates (R, p).
        is_target: bool (T, R), the rows that belong to each target.
        lowest: a cosine.
        highest: a cosine, at least ``lowest``.

    Returns:
        Float64 (T, p).
    """
    tried = highest + np.linspace(0, 1, N_TRIED, endpoint=False) * max(1 - highest, 0)
    rows = np.stack([near_one(targets, others, is_target, one) for one in tried])  # (L, T, p)
    nearest = np.where(is_target, -np.inf, rows @ others.T.astype(np.float64)).max(axis=2)
    margin = np.minimum(tried[:, None] - highest, lowest - nearest)
    best: Floats = rows[margin.argmax(axis=0), np.arange(len(targets))]
    return best


def near_one(targets: Features, others: Features, is_target: Mask, similarity: float) -> Floats:
    """Unit rows at a given cosine to their target, and as far as possible from all others.

    Minimises the largest cosine to another candidate by gradient steps on the circle of rows at
    that cosine to the target: the objective ``alpha s(f, t) + (1 - alpha)(1 - max s(f, t'))`` of
    Wahdany et al. 2026 (arXiv:2603.00811) for a given ``s(f, t)``. In one dimension there is no
    such circle, and the rows are the targets. Arguments as in ``between``.
    """
    wanted: Floats = targets.astype(np.float64)
    others = others.astype(np.float64)
    across = np.sqrt(max(1 - similarity**2, 0))

    def pressure(rows: Floats, sharpness: float) -> Floats:
        """The direction in which the smooth maximum over the others grows, on the circle."""
        cosines = np.where(is_target, -np.inf, rows @ others.T)
        weights = np.exp(sharpness * (cosines - cosines.max(axis=1, keepdims=True)))
        return _unit(_orthogonal(weights @ others, wanted))

    direction = -pressure(wanted, SHARPNESS[0])
    for step, sharpness in enumerate(SHARPNESS):
        push = pressure(similarity * wanted + across * direction, sharpness)
        direction = _unit(_orthogonal(direction - push / np.sqrt(step + 4), wanted))
    return _unit(similarity * wanted + across * direction)


def along_influence(
    linearised: Linearisation, targets: Indices, centre: Floats, margin: Floats, radius: float
) -> Floats:
    """Rows whose score has the largest signal-to-noise ratio in the coin of their target.

    With a linear score, ``(row - centre) @ w_s`` says by how much shadow s clears the threshold,
    where ``centre`` is the mean of the pool rows that stand at it. Of all rows of which it is
    ``margin`` on average, the deviations ``Sigma^-1 (alpha a_t + beta w)`` move most with the
    target's coin, measured by what all coins move (the signal-to-noise choice of Wahdany et al.
    2026, in closed form). The longest such row within ``radius`` is taken, as the ratio does not
    depend on the length and what a model makes of a row does.

    Args:
        linearised: the scorer; only its slopes are moved.
        targets: int64 (T,), candidates.
        centre: float64 (p,).
        margin: float64 (T,), in units of the score.
        radius: the largest length of a row over the slopes.

    Returns:
        Float64 (T, p).
    """
    slopes = linearised.slopes
    weights, start = linearised.reference[slopes], centre[slopes]
    precision = np.linalg.pinv(
        linearised.covariance[np.ix_(slopes, slopes)], rcond=RELATIVE_RANK, hermitian=True
    )
    influence = linearised.influence[np.ix_(targets, slopes)]
    moved, shifted = influence @ precision, precision @ weights
    a = np.einsum("tp,tp->t", moved, influence)
    b, c = moved @ weights, shifted @ weights
    determinant = np.maximum(a * c - b**2, np.finfo(np.float64).tiny)
    telling = (c * moved - np.outer(b, shifted)) / determinant[:, None]
    raising = (np.outer(a, shifted) - b[:, None] * moved) / determinant[:, None]
    at_margin = start + margin[:, None] * raising
    rows = np.tile(centre, (len(targets), 1))
    rows[:, slopes] = at_margin + _reach(at_margin, telling, radius)[:, None] * telling
    return rows


def _reach(start: Floats, direction: Floats, radius: float) -> Floats:
    """The largest step from ``start`` along ``direction`` that stays within ``radius``, or 0."""
    a = np.einsum("tp,tp->t", direction, direction)
    b = np.einsum("tp,tp->t", start, direction)
    c = np.einsum("tp,tp->t", start, start) - radius**2
    root = np.sqrt(np.maximum(b**2 - a * c, 0))
    step: Floats = np.where(a > 0, (root - b) / np.where(a > 0, a, 1), 0)
    return np.maximum(step, 0)


def absurd_labels(
    rows: Features, pool: Features, labels: Labels, pick_rate: Floats, n_classes: int
) -> Labels:
    """For each row the class that is least at home there, int64 (rows,).

    The least common class among the nearest 15 pool rows that are picked more often than not (of
    all, where fewer are); of equally rare ones the least common in the pool.

    Args:
        rows: (rows, d).
        pool: (m, d).
        labels: of the pool, int64 (m,).
        pick_rate: how often each pool row is picked, (m,).
        n_classes: C.
    """
    often = np.flatnonzero(pick_rate > 0.5)
    known = often if len(often) >= N_NEIGHBOURS else np.arange(len(pool))
    near = pool[known].astype(np.float64)
    distance = (near**2).sum(axis=1) - 2 * rows.astype(np.float64) @ near.T
    n = min(N_NEIGHBOURS, len(known))
    neighbours = known[np.argpartition(distance, n - 1, axis=1)[:, :n]]
    votes = (labels[neighbours][:, :, None] == np.arange(n_classes)).sum(axis=1)
    commonness = np.bincount(labels, minlength=n_classes) / len(labels)
    rarest: Labels = (votes + commonness / 2).argmin(axis=1)
    return rarest


def _orthogonal(rows: Floats, to: Floats) -> Floats:
    """Rows less their part along unit rows ``to``."""
    less: Floats = rows - np.einsum("tp,tp->t", rows, to)[:, None] * to
    return less


def _unit(rows: Floats) -> Floats:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Floats = rows / np.where(length > 0, length, 1)
    return unit
