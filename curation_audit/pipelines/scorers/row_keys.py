"""Rows as values that can be compared and sorted as a whole."""

import numpy as np

from curation_audit.types import Features


def row_keys(features: Features) -> np.ndarray:
    """One key a row, equal for equal rows (-0.0 is 0.0): (rows, d) -> void (rows,)."""
    rows = np.ascontiguousarray(features + 0)
    width = max(1, rows.dtype.itemsize * rows.shape[1])
    keys: np.ndarray = rows.view(np.dtype((np.void, width)))[:, 0]
    return keys
