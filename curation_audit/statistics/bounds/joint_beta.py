"""The joint-beta *estimate* of epsilon: a posterior quantile, not a bound.

Zanella-Beguelin et al. 2023, "Bayesian estimation of differential privacy" (arXiv:2206.05199):
the rates of an attack get independent Beta posteriors with Jeffreys' prior, and epsilon that of
the larger of its two log ratios. Credible, not frequentist, and the prior treats rates of paired
rows as independent: report it as an estimate, never as a bound. It lies above Clopper-Pearson.
"""

import math

import numpy as np
from scipy import optimize, special

from curation_audit import checks

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(1000)


def joint_beta_probability(
    tp: int, n_in: int, fp: int, n_out: int, delta: float, epsilon: float
) -> float:
    """The posterior probability that the attack's rates obey (epsilon, delta)-DP.

    That is ``1 - delta - FPR <= e^epsilon FNR`` and ``1 - delta - FNR <= e^epsilon FPR`` with
    ``FPR ~ Beta(1/2 + fp, 1/2 + n_out - fp)`` and ``FNR ~ Beta(1/2 + n_in - tp, 1/2 + tp)``.
    The integral over FPR runs over its quantiles, by Gauss-Legendre with 1000 nodes.
    """
    if not (0 <= tp <= n_in and 0 <= fp <= n_out and n_in >= 1 and n_out >= 1):
        raise ValueError(f"need 0 <= positives <= rows, rows >= 1; got {tp}/{n_in}, {fp}/{n_out}.")
    fpr = special.betaincinv(0.5 + fp, 0.5 + n_out - fp, (1 + _NODES) / 2)
    least_fnr = np.maximum(
        (1 - delta - fpr) * math.exp(-epsilon), 1 - delta - fpr * math.exp(epsilon)
    )
    inside = special.betaincc(0.5 + n_in - tp, 0.5 + tp, np.clip(least_fnr, 0, 1))
    return float(inside @ _WEIGHTS / 2)


def joint_beta_estimate(
    tp: int, n_in: int, fp: int, n_out: int, delta: float, confidence: float
) -> float:
    """The epsilon that the posterior exceeds with probability ``confidence``; 0 if none. Estimate.

    Args:
        tp: right decisions "in" of ``n_in`` rows that hold the candidate.
        n_in: at least 1.
        fp: wrong decisions "in" of ``n_out`` rows that do not.
        n_out: at least 1.
        delta: in [0, 1).
        confidence: posterior probability above the answer, in (0, 1).

    >>> round(joint_beta_estimate(700, 1000, 300, 1000, 1e-5, 0.95), 3)
    0.78
    """
    checks.in_open_unit(confidence=confidence)
    if not 0 <= delta < 1:
        raise ValueError(f"delta must be in [0, 1), got {delta}.")

    def excess(epsilon: float) -> float:
        return joint_beta_probability(tp, n_in, fp, n_out, delta, epsilon) - (1 - confidence)

    if excess(0.0) >= 0:
        return 0.0
    high = 1.0
    while excess(high) < 0:
        high *= 2
    return float(optimize.brentq(excess, 0.0, high, xtol=1e-10))
