"""Zero-concentrated differential privacy: rho, and the epsilon and delta that it implies.

A mechanism is rho-zCDP if its Rényi divergence of every order ``alpha > 1`` between neighbours is
at most ``alpha rho`` (Bun & Steinke 2016). Then it is (epsilon, delta)-DP for

    delta = min over alpha of exp((alpha - 1) (alpha rho - epsilon)) / (alpha - 1)
                              * (1 - 1 / alpha)^alpha

(Canonne, Kamath & Steinke 2020, "The discrete Gaussian for differential privacy", section
2.3). Every alpha gives a valid delta, so an inexact minimum errs on the safe side. Epsilon is in
nats.
"""

import math

import numpy as np
from scipy import optimize

from curation_audit import checks

_SAFETY = 1e-10
"""How much of rho is given away, relatively, so that rounding cannot overspend epsilon."""
_SMALLEST = 1e-290


def log_delta_of_rho(rho: float, epsilon: float) -> float:
    """The logarithm of the smallest delta that rho-zCDP is known to imply at epsilon.

    Args:
        rho: above 0.
        epsilon: at least 0.
    """
    checks.positive(rho=rho)
    _not_negative(epsilon=epsilon)

    # with t = alpha - 1 the logarithm of delta is convex in t, and its derivative 0 where
    # (2 t + 1) rho = epsilon + log(1 + 1/t); logarithms keep that exact for the smallest rho
    def slope(log_t: float) -> float:
        falling = epsilon + float(np.logaddexp(0, -log_t))
        return math.log(rho) + float(np.logaddexp(math.log(2) + log_t, 0)) - math.log(falling)

    # at `low`, t < 1 and log(1 + 1/t) > 3 rho; at `high`, t > 1 and log(1 + 1/t) < 1
    low, high = -3 * rho - 1, math.log((epsilon + 1) / (2 * rho) + 1)
    log_t = float(optimize.brentq(slope, low, high, xtol=1e-14, rtol=1e-14))
    t = math.exp(log_t)
    gain = (t + 1) * rho - epsilon - float(np.logaddexp(0, -log_t))
    return t * gain - math.log1p(t)


def epsilon_of_rho(rho: float, delta: float) -> float:
    """The smallest epsilon that rho-zCDP is known to imply at delta, at least 0.

    Args:
        rho: above 0.
        delta: in (0, 1).

    >>> round(epsilon_of_rho(0.5, 1e-5), 6)
    4.728387
    """
    checks.in_open_unit(delta=delta)
    target = math.log(delta)
    if log_delta_of_rho(rho, 0.0) <= target:
        return 0.0
    high = rho + 2 * math.sqrt(-rho * target)  # Bun & Steinke 2016, proposition 1.3: never smaller
    return float(
        optimize.brentq(
            lambda epsilon: log_delta_of_rho(rho, epsilon) - target,
            0.0,
            high,
            xtol=1e-300,
            rtol=1e-14,
        )
    )


def rho_of_epsilon(epsilon: float, delta: float) -> float:
    """The largest rho for which rho-zCDP is known to imply (epsilon, delta)-DP, less rounding.

    ``epsilon_of_rho`` of the result is at most ``epsilon``. The reverse does not hold: a mechanism
    with that (epsilon, delta) need not be zCDP.

    Args:
        epsilon: at least 0.
        delta: in (0, 1).

    Raises:
        ValueError: for an argument out of range, or where rho would be below the floats.

    >>> round(rho_of_epsilon(1.0, 1e-6), 6)
    0.024356
    """
    checks.in_open_unit(delta=delta)
    _not_negative(epsilon=epsilon)
    target = math.log(delta)
    # epsilon = rho + 2 sqrt(-rho target) is implied; and at epsilon 0, t = sqrt 2 / delta shows
    # that rho = delta^2 / 4 implies a smaller delta
    root = epsilon / (math.sqrt(epsilon - target) + math.sqrt(-target))
    low = max(root**2, delta**2 / 4)
    if low < _SMALLEST:
        raise ValueError(f"no rho above {_SMALLEST:g} implies epsilon {epsilon}, delta {delta}.")
    high = 2 * low
    while log_delta_of_rho(high, epsilon) < target:
        high *= 2
    log_rho = optimize.brentq(
        lambda log_rho: log_delta_of_rho(math.exp(log_rho), epsilon) - target,
        math.log(low),
        math.log(high),
        xtol=1e-14,
        rtol=1e-14,
    )
    return math.exp(float(log_rho)) * (1 - _SAFETY)


def _not_negative(**values: float) -> None:
    for name, value in values.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} must be at least 0 and finite, got {value}.")
