"""Evidence with known answers, slow references, and the bands of statistical tests."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from scipy import stats

from curation_audit.statistics import PairedEvidence


def gaussian_quantiles(mu: float, shape: tuple[int, int], seed: int = 0) -> PairedEvidence:
    """Exact quantiles of N(mu, 1) for members and of N(0, 1) for outsiders, dealt at random."""
    rng = np.random.default_rng(seed)
    n_cells = shape[0] * shape[1]
    quantiles = stats.norm.ppf((np.arange(n_cells) + 0.5) / n_cells)
    members, outsiders = rng.permutation(quantiles) + mu, rng.permutation(quantiles)
    return PairedEvidence(members.reshape(shape), outsiders.reshape(shape))


def random_coins(rng: np.random.Generator, n_pairs: int, n_candidates: int) -> np.ndarray:
    """Complementary pairs without the code's own generator."""
    coins = rng.random((n_pairs, n_candidates)) < 0.5
    return np.stack([coins, ~coins], axis=1).reshape(2 * n_pairs, n_candidates)


INTEGERS = st.integers(-3, 3).map(float)


@st.composite
def paired(draw, *, max_pairs=5, max_candidates=5, values=INTEGERS):
    """Small evidence with many ties."""
    shape = (draw(st.integers(2, max_pairs)), draw(st.integers(1, max_candidates)))
    cells = st_numpy.arrays(np.float64, shape, elements=values)
    return PairedEvidence(draw(cells), draw(cells))


def too_few(hits: int, runs: int, rate: float, alarm: float = 0.001) -> bool:
    """Whether ``hits`` of ``runs`` would be that few with probability below ``alarm``."""
    return bool(stats.binom.cdf(hits, runs, rate) < alarm)


def too_many(hits: int, runs: int, rate: float, alarm: float = 0.001) -> bool:
    """Whether ``hits`` of ``runs`` would be that many with probability below ``alarm``."""
    return bool(stats.binom.sf(hits - 1, runs, rate) < alarm)
