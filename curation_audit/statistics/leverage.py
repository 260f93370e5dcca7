"""What a matched filter reaches on something that moves linearly with the coins.

What is seen is ``x = x0 + sum_n (b_n - 1/2) a_n + noise``, with a fair coin ``b_n`` for every
record n and Gaussian noise. The log-likelihood ratio of one record, all others unknown, is then
normal with mean ``+- mu^2 / 2`` and variance ``mu^2``: ``mu`` is in the units of Gaussian
differential privacy (Dong, Roth & Su 2022), and it alone says what can be told of that record.
"""

import numpy as np
from scipy import special

from curation_audit.types import Floats

MOST_LEVERAGE = 1 - 1e-12
ROWS_PER_BLOCK = 1024


def leverages(shifts: Floats, noise: Floats | None = None, *, rank: float = 1e-10) -> Floats:
    """``h_n = a_n' Sigma^-1 a_n / 4``, from 0 (nothing can be told) to 1 (the coin can be read).

    ``Sigma = 1/4 sum_n a_n a_n' + noise``, with ``noise`` (r, r) if there is any. Their sum is the
    number of directions in which coins show: the rank of the shifts without noise, fewer with it.

    Args:
        shifts: what each record moves, (N, r).
        noise: covariance of what is added, (r, r).
        rank: directions with less variance than this times the largest count as none.
    """
    covariance = shifts.T @ shifts / 4
    if noise is not None:
        covariance = covariance + noise
    values, axes = np.linalg.eigh(covariance)
    there = values > rank * values.max(initial=0)
    along = shifts @ axes[:, there]
    found: Floats = (along**2 / (4 * values[there])).sum(axis=1)
    return np.clip(found, 0, 1)


def mu_of_auditor(leverage: Floats) -> Floats:
    """What someone reaches who knows all records but no coin: ``sqrt(4 h / (1 - h))``, (N,).

    The record's own coin is taken out of the covariance (Sherman & Morrison). Infinite where h is
    one up to rounding.
    """
    whole = leverage > MOST_LEVERAGE
    left = np.where(whole, 1.0, 1 - leverage)
    return np.where(whole, np.inf, np.sqrt(4 * leverage / left))


def mu_of_known_others(shifts: Floats, noise: Floats, *, rank: float = 1e-10) -> Floats:
    """What someone reaches who knows every other coin: ``sqrt(a_n' noise^-1 a_n)``, (N,).

    The adversary of the definition of differential privacy: a Gaussian mechanism keeps this below
    its mu. Infinite where a record moves what has no noise.
    """
    values, axes = np.linalg.eigh(noise)
    there = values > rank * values.max(initial=0)
    along = shifts @ axes
    seen: Floats = (along[:, there] ** 2 / values[there]).sum(axis=1)
    bare = (along[:, ~there] ** 2).sum(axis=1) > rank * np.maximum((along**2).sum(axis=1), 1e-300)
    return np.where(bare, np.inf, np.sqrt(seen))


def auc_of_mu(mu: Floats) -> Floats:
    """The AUC of every record by itself: ``Phi(mu / sqrt 2)``."""
    found: Floats = special.ndtr(mu / np.sqrt(2))
    return found


def pooled_auc(mu: Floats) -> float:
    """The AUC where the ratios of all records are ranked together.

    A member's ratio N(mu_i^2 / 2, mu_i^2) exceeds an outsider's N(-mu_j^2 / 2, mu_j^2) with
    probability ``Phi(sqrt(mu_i^2 + mu_j^2) / 2)``; the mean over i and j. It is above the mean of
    the records' own.
    """
    squares = np.asarray(mu, dtype=np.float64) ** 2
    total = 0.0
    for start in range(0, len(squares), ROWS_PER_BLOCK):
        both = squares[start : start + ROWS_PER_BLOCK, None] + squares[None, :]
        total += float(special.ndtr(np.sqrt(both) / 2).sum())
    return total / len(squares) ** 2


def pooled_tpr(mu: Floats, fpr: Floats) -> Floats:
    """True-positive rates of all records ranked together, at some false-positive rates.

    The threshold is found by bisection; records with infinite ``mu`` are told without error.
    """
    squares = np.minimum(np.asarray(mu, dtype=np.float64), 1e6) ** 2
    root = np.maximum(np.sqrt(squares), 1e-12)

    def rate(thresholds: Floats, sign: float) -> Floats:
        z = (sign * squares[None, :] / 2 - thresholds[:, None]) / root[None, :]
        shares: Floats = special.ndtr(z).mean(axis=1)
        return shares

    wanted = np.asarray(fpr, dtype=np.float64)
    low, high = np.full(wanted.shape, -squares.max() / 2 - 40 * root.max()), np.zeros(wanted.shape)
    high += 40 * root.max() + 1
    for _ in range(200):
        middle = (low + high) / 2
        above = rate(middle, -1.0) > wanted
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return rate(high, 1.0)


def effective_dimension(leverage: Floats) -> float:
    """The sum of the leverages: in how many directions coins show beside the noise."""
    return float(leverage.sum())


def mean_mu_squared(n_held: float, dimension: float) -> float:
    """``(2 d / n) / (1 - d / 2n)``: the law of leakage for n held of 2n records, d directions."""
    if dimension >= 2 * n_held:
        return float("inf")
    return (2 * dimension / n_held) / (1 - dimension / (2 * n_held))
