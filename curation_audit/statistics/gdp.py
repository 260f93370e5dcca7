"""Gaussian differential privacy: delta, epsilon and mu, and the rates of one attack.

A mechanism is mu-GDP if no attack tells neighbours apart better than one tells ``N(0, 1)`` from
``N(mu, 1)`` (Dong, Roth & Su 2022, "Gaussian differential privacy", JRSS B 84). Its profile is

    delta(epsilon) = Phi(mu/2 - epsilon/mu) - e^epsilon Phi(-mu/2 - epsilon/mu)

(corollary 1 there; Balle & Wang 2018, theorem 8). Epsilon is in nats; mu has no unit.
"""

import math

import numpy as np
from scipy import optimize, special

from curation_audit import checks

_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)


def log_delta_of_mu(mu: float, epsilon: float) -> float:
    """The logarithm of ``delta_of_mu``, good far below the smallest float; -inf for mu < 1e-300."""
    _not_negative(mu=mu, epsilon=epsilon)
    if mu < 1e-300:
        return -math.inf
    near, far = epsilon / mu - mu / 2, epsilon / mu + mu / 2
    log_density = -0.5 * near * near - _LOG_SQRT_2PI
    # both terms share the density at `near`: e^epsilon Phi(-far) = phi(near) Mills(far)
    if near < -1:
        return math.log(float(special.ndtr(-near)) - math.exp(log_density) * _mills(far))
    if epsilon == 0:
        return math.log(float(special.erf(far / math.sqrt(2))))
    gap = _mills(near) - _mills(far)
    return log_density + math.log(gap) if gap > 0 else -math.inf


def delta_of_mu(mu: float, epsilon: float) -> float:
    """The smallest delta at which a mu-GDP mechanism is (epsilon, delta)-DP.

    Args:
        mu: at least 0.
        epsilon: at least 0.

    >>> round(delta_of_mu(1.0, 0.0), 6)
    0.382925
    """
    return math.exp(log_delta_of_mu(mu, epsilon))


def epsilon_of_mu(mu: float, delta: float) -> float:
    """The smallest epsilon at which a mu-GDP mechanism is (epsilon, delta)-DP, at least 0.

    Args:
        mu: at least 0.
        delta: in (0, 1); no Gaussian mechanism has a finite epsilon at delta 0.

    >>> round(epsilon_of_mu(1.0, 1e-5), 6)
    4.377178
    """
    checks.in_open_unit(delta=delta)
    target = math.log(delta)
    if log_delta_of_mu(mu, 0.0) <= target:
        return 0.0
    # there delta(epsilon) <= Phi(-near) <= exp(-near^2 / 2) = delta, with near = sqrt(-2 target)
    high = mu**2 / 2 + mu * math.sqrt(-2 * target)
    return float(
        optimize.brentq(
            lambda epsilon: log_delta_of_mu(mu, epsilon) - target, 0.0, high, xtol=1e-13
        )
    )


def mu_of_epsilon(epsilon: float, delta: float) -> float:
    """The largest mu for which mu-GDP implies (epsilon, delta)-DP.

    It is *not* implied by (epsilon, delta)-DP: a mechanism with that guarantee need not be GDP.

    Args:
        epsilon: at least 0.
        delta: in (0, 1).

    >>> round(mu_of_epsilon(4.0, 1e-5), 6)
    0.924931
    """
    checks.in_open_unit(delta=delta)
    _not_negative(epsilon=epsilon)
    target = math.log(delta)
    half = math.sqrt(2) * float(special.erfinv(delta))
    if epsilon == 0:
        return 2 * half
    # delta is at most exp(-near^2 / 2) / 2 at `low`, and no more than at epsilon 0. At `high` it
    # is at least Phi(half) - phi(half) Mills(half) = delta, as -near = half and far > half
    near = math.sqrt(max(0.0, -2 * (target + math.log(2))))
    low = max(2 * half, 2 * epsilon / (near + math.sqrt(near**2 + 2 * epsilon)))
    high = half + math.sqrt(half**2 + 2 * epsilon)
    return float(
        optimize.brentq(
            lambda mu: log_delta_of_mu(mu, epsilon) - target, low, high, xtol=1e-300, rtol=1e-14
        )
    )


def mu_of_rates(tpr: float, fpr: float) -> float:
    """The mu of the Gaussian trade-off curve through (FPR, TPR); negative below the diagonal.

    Both rates lie in [0, 1]. Where one of them is 0 or 1 the answer is infinite, and NaN where
    TPR and FPR are both 0 or both 1: put confidence limits in, not counts.
    """
    for name, rate in (("tpr", tpr), ("fpr", fpr)):
        if not 0 <= rate <= 1:
            raise ValueError(f"{name} must be in [0, 1], got {rate}.")
    with np.errstate(invalid="ignore"):
        return float(special.ndtri(tpr) - special.ndtri(fpr))


def _mills(x: float) -> float:
    """The upper tail of the normal distribution over its density."""
    return math.sqrt(math.pi / 2) * float(special.erfcx(x / math.sqrt(2)))


def _not_negative(**values: float) -> None:
    for name, value in values.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} must be at least 0 and finite, got {value}.")
