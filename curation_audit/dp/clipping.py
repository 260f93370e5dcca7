"""One vector per unit, clipped: what bounds the influence of a person on a sum."""

import numpy as np

from curation_audit import checks
from curation_audit.types import Features, Floats, Indices


def unit_sums(rows: Features, owner: Indices, n_units: int) -> Floats:
    """The sum of every unit's rows, float64: (rows, p), owner (rows,) -> (U, p).

    A row that is not finite counts as zero: it would show in every output, clipped or not.
    """
    finite = np.isfinite(rows).all(axis=1, keepdims=True)
    clean = np.where(finite, rows, 0).astype(np.float64)
    if n_units == len(clean) and np.array_equal(owner, np.arange(n_units)):
        return clean
    order = np.argsort(owner, kind="stable")
    there, starts = np.unique(owner[order], return_index=True)
    sums = np.zeros((n_units, clean.shape[1]))
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is clipped to nothing
        sums[there] = np.add.reduceat(clean[order], starts, axis=0)
    return sums


def clipped(vectors: Floats, norm: float) -> Floats:
    """Vectors (U, p) scaled down to length ``norm`` where they are longer, float64.

    What is not finite becomes zero first: clipping lets NaN through. The
    result is never longer than ``norm``, not by rounding either.
    """
    checks.positive(norm=norm)
    finite = np.isfinite(vectors).all(axis=1, keepdims=True)
    clean = np.where(finite, vectors, 0).astype(np.float64)
    # lengths of scaled vectors: the square of a large number would overflow
    largest = np.abs(clean).max(axis=1, initial=0, keepdims=True)
    scaled = clean / np.where(largest > 0, largest, 1)
    length = np.linalg.norm(scaled, axis=1, keepdims=True)  # at least 1 unless all is zero
    rounding = (vectors.shape[1] + 8) * np.finfo(np.float64).eps
    with np.errstate(over="ignore"):
        too_long = largest * length > norm * (1 - rounding)
    exact = np.count_nonzero(clean, axis=1, keepdims=True) == 1  # the length is the one number
    too_long = np.where(exact, largest > norm, too_long)
    direction = scaled / np.where(length > 0, length, 1)
    short = np.nextafter(norm * (1 - 2 * rounding), 0)
    result: Floats = np.where(too_long, direction * short, clean)
    return result
