"""``digits``: a private set of the digits 0 to 4 among a public pool of all ten.

scikit-learn's digits (1,797 images of 8 x 8 pixels). 400 images of the digits 0 to 4 are the
private set of a form reader that only ever sees these five, 150 more of them are the test set;
the pool is everything else, most of it digits the reader has no use for.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from curation_audit.pipelines.examples.files import DataFolder

N_PRIVATE: Final = 400
N_TEST: Final = 150
WANTED: Final = 5  # the digits below this one
SEED: Final = 0


def table(part: str, _folder: DataFolder | None = None) -> dict[str, NDArray[Any]]:
    """The columns ``image_id``, ``pixel_00`` to ``pixel_63`` and ``digit`` of ``part``."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    order = np.random.default_rng(SEED).permutation(len(bunch.data))
    wanted = order[bunch.target[order] < WANTED]
    kept = N_PRIVATE + N_TEST
    rows = {
        "private": wanted[:N_PRIVATE],
        "test": wanted[N_PRIVATE:kept],
        "public": np.setdiff1d(order, wanted[:kept]),
    }[part]
    columns: dict[str, NDArray[Any]] = {"image_id": np.array([f"image-{r:04d}" for r in rows])}
    columns |= {f"pixel_{i:02d}": bunch.data[rows, i] for i in range(bunch.data.shape[1])}
    return columns | {"digit": bunch.target[rows]}
