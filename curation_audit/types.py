"""Array aliases, one per role. The shadow axis always comes first.

S shadows, N candidates (private units), m pool rows, d features, k picked rows, C classes.
Higher evidence means "more likely in"; a higher score means "keep".
"""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Column: TypeAlias = NDArray[Any]  # (rows,) of any dtype, or (rows, width) for vectors
Features: TypeAlias = NDArray[np.floating]  # (rows, d)
Labels: TypeAlias = NDArray[np.int64]  # (rows,), codes into the pool's label space
Inclusion: TypeAlias = NDArray[np.bool_]  # (S, N), rows 2j and 2j+1 are complements
Scores: TypeAlias = NDArray[np.floating]  # (S, m)
Mask: TypeAlias = NDArray[np.bool_]  # (S, m), True where the row was picked
Probabilities: TypeAlias = NDArray[np.float32]  # (S, rows, C)
Evidence: TypeAlias = NDArray[np.float64]  # (S, N)
Floats: TypeAlias = NDArray[np.float64]  # statistics, any shape
Indices: TypeAlias = NDArray[np.int64]
