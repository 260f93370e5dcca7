"""What a claimed guarantee lets any attack reach: ROC curve, advantage and area under the curve.

A ceiling binds the *expected* rates of an attack on one candidate in the game of the claim's
adjacency; a measured point above it is no violation yet, a lower bound above the claim is. Use
the claim's GDP parameter or privacy profile where there is one: one (epsilon, delta) pair of the
same mechanism allows far more (advantage .72 instead of .16 for DP-SGD with q .01, sigma 1, 1000
steps).

Sources: Dong, Roth & Su 2022 (trade-off functions, their theorem 2.7 and proposition 2.12 for
profiles); Kairouz, Oh & Viswanath 2015 (advantage under (epsilon, delta)). Profiles and pairs are
taken to hold in both directions, so the curves are symmetric.
"""

import math

import numpy as np
from scipy import special

from curation_audit.types import Floats


def gdp_tpr(fpr: Floats, mu: float) -> Floats:
    """The largest TPR at each FPR (A,) against a mu-GDP curation: ``Phi(Phi^-1(FPR) + mu)``."""
    _check_rates(fpr)
    return np.asarray(special.ndtr(special.ndtri(fpr) + _at_least_zero(mu)), np.float64)


def gdp_advantage(mu: float) -> float:
    """The largest TPR - FPR: ``2 Phi(mu / 2) - 1``."""
    return float(special.erf(_at_least_zero(mu) / math.sqrt(8)))


def gdp_auc(mu: float) -> float:
    """The largest area under the ROC curve: ``Phi(mu / sqrt 2)``.

    >>> round(gdp_auc(0.92493), 3)
    0.743
    """
    return float(special.ndtr(_at_least_zero(mu) / math.sqrt(2)))


def epsilon_delta_tpr(fpr: Floats, epsilon: float, delta: float) -> Floats:
    """The largest TPR at each FPR (A,) under one (epsilon, delta) pair.

    ``min(1, e^epsilon FPR + delta, 1 - e^-epsilon (1 - delta - FPR))``.
    """
    return profile_tpr(fpr, np.array([epsilon]), np.array([delta]))


def epsilon_delta_advantage(epsilon: float, delta: float) -> float:
    """The largest TPR - FPR: ``(e^epsilon - 1 + 2 delta) / (e^epsilon + 1)``."""
    return profile_advantage(np.array([epsilon]), np.array([delta]))


def epsilon_delta_auc(epsilon: float, delta: float) -> float:
    """The largest area under the ROC curve: ``1 - (1 - delta)^2 / (1 + e^epsilon)``.

    The curve runs from (0, delta) straight to the corner ``FPR = (1 - delta) / (1 + e^epsilon)``,
    ``TPR = 1 - FPR``, and on to (1 - delta, 1). What is cut off are two triangles with that corner
    and the upper left one, legs ``1 - delta`` and the corner's FPR.
    """
    _check_profile(np.array([epsilon]), np.array([delta]))
    return 1 - (1 - delta) ** 2 * float(special.expit(-epsilon))


def profile_tpr(fpr: Floats, epsilons: Floats, deltas: Floats) -> Floats:
    """The largest TPR at each FPR under a privacy profile given at some points.

    The least of what its (epsilon, delta) pairs allow; every pair is true, so a coarse grid gives
    a higher ceiling, never a wrong one. About 300 epsilons from 0 to where delta falls below the
    smallest FPR of interest are enough for 1e-4.

    Args:
        fpr: (A,), in [0, 1].
        epsilons: (G,), at least 0, finite; G at least 1.
        deltas: (G,), in [0, 1], e.g. from a privacy loss distribution.

    Returns:
        float64 (A,).
    """
    _check_rates(fpr)
    _check_profile(epsilons, deltas)
    ratios, false = np.exp(epsilons), fpr[:, None]
    steep = false * ratios + deltas
    # e^-epsilon (1 - delta - FPR) may be below 0, where nothing is said
    flat = 1 - (1 - deltas - false) / ratios
    return np.asarray(np.minimum(1.0, np.minimum(steep, flat).min(axis=1)), np.float64)


def profile_advantage(epsilons: Floats, deltas: Floats) -> float:
    """The largest TPR - FPR under a profile: delta(0), where the profile has epsilon 0.

    The least of what its pairs allow; arguments as for ``profile_tpr``.
    """
    _check_profile(epsilons, deltas)
    # tanh(epsilon / 2) (1 - delta) + delta, which no large epsilon overflows
    return float((np.tanh(epsilons / 2) * (1 - deltas) + deltas).min())


def profile_auc(epsilons: Floats, deltas: Floats) -> float:
    """The largest area under the ROC curve under a profile, from above to about 1e-5.

    The midpoint rule, over cells that narrow towards both corners: the curve is concave, so the
    rule never comes out too low. Arguments as for ``profile_tpr``.
    """
    half = np.concatenate([[0.0], np.geomspace(1e-8, 0.5, 1000)])
    edges = np.concatenate([half, 1 - half[-2::-1]])
    curve = profile_tpr((edges[1:] + edges[:-1]) / 2, epsilons, deltas)
    return float(curve @ np.diff(edges))


def _check_rates(fpr: Floats) -> None:
    if not ((fpr >= 0) & (fpr <= 1)).all():
        raise ValueError("false-positive rates must be in [0, 1].")


def _check_profile(epsilons: Floats, deltas: Floats) -> None:
    if epsilons.ndim != 1 or epsilons.shape != deltas.shape or epsilons.size == 0:
        raise ValueError(
            f"a profile must be two (G,) arrays, got {epsilons.shape} and {deltas.shape}."
        )
    if not ((epsilons >= 0) & (epsilons < 700)).all():
        raise ValueError("epsilons must be in [0, 700).")
    if not ((deltas >= 0) & (deltas <= 1)).all():
        raise ValueError("deltas must be in [0, 1].")


def _at_least_zero(mu: float) -> float:
    if not 0 <= mu < math.inf:
        raise ValueError(f"mu must be at least 0 and finite, got {mu}.")
    return mu
