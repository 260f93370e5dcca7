"""What top-k under Gumbel noise must look like, by enumeration; and how draws are held to it."""

from collections import Counter
from collections.abc import Iterable
from itertools import permutations

import numpy as np
from scipy import stats

SCORES = np.array([0.0, 0.5, 1.0, 2.0])
ALARM = 1e-6
"""False alarms of one statistical test. Seeds are fixed: a test that passes keeps passing."""


def plackett_luce(scores: np.ndarray, scale: float, k: int) -> dict[tuple[int, ...], float]:
    """The probability of every ordered outcome of k rounds of the exponential mechanism."""
    weights = np.exp((scores - scores.max()) / scale)
    outcomes = {}
    for order in permutations(range(len(scores)), k):
        left, probability = set(range(len(scores))), 1.0
        for row in order:
            probability *= weights[row] / sum(weights[i] for i in left)
            left.remove(row)
        outcomes[order] = float(probability)
    return outcomes


def p_value(draws: Iterable[Iterable[int]], expected: dict[tuple[int, ...], float]) -> float:
    """Chi-square of ordered picks against their probabilities."""
    found = Counter(tuple(int(row) for row in draw) for draw in draws)
    assert set(found) <= set(expected)
    n = found.total()
    return float(
        stats.chisquare(
            [found[order] for order in expected],
            [n * probability for probability in expected.values()],
        ).pvalue
    )
