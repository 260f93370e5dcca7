"""The pair-mean bound: how often evidence is larger in the row that holds the candidate.

In a pair of shadows each candidate is in exactly one row, by a fair coin. Given everything else
(earlier pairs, the other coins of this pair) evidence that names the right row of candidate n is
a test between ``P x Q`` and ``Q x P``, where P and Q are the curation with and without n. It is
right with probability at most ``(1 + delta_2(0)) / 2``, delta_2 the profile of the curation
composed with itself. So the share A_j of candidates named rightly in pair j has

    E[A_j | earlier pairs] <= (1 + delta_2(0)) / 2        (mu-GDP: = Phi(mu / sqrt 2)),

whatever the dependence inside the pair, also where the attack knows all other coins, and where it
was fitted on earlier pairs. A lower confidence limit on that mean is a lower bound on the claim.

Limit by betting (Waudby-Smith & Ramdas 2024, "Estimating means of bounded random variables by
betting", JRSS B 86): if the mean is at most a, the wealth ``prod_j (1 + lambda_j (A_j - a))``
with ``lambda_j >= 0`` set from A_1..A_{j-1} is a supermartingale that ever reaches 1 / alpha with
probability at most alpha (Ville).
"""

import math
from typing import Final

import numpy as np
from scipy import special

from curation_audit import checks
from curation_audit.statistics.gdp import epsilon_of_mu
from curation_audit.types import Floats

LARGEST_LOSS: Final = 0.75
"""The share of the wealth that one bet may lose: ``lambda_j <= LARGEST_LOSS / a``."""

PRIOR_PAIRS: Final = 0.25
"""The weight, in pairs, of ``a (1 - a)`` in the running variance; validity holds for any."""

_POINTS: Final = special.ndtr(np.linspace(0, 6, 3001))
"""Means to test, fixed beforehand: 1/2 up to Phi(6), .0028 apart in mu."""


def pair_shares(members: Floats, outsiders: Floats) -> Floats:
    """The share of candidates with more evidence where they are in, per pair; ties count half.

    Args:
        members: (E, N), evidence in the row that holds the candidate.
        outsiders: (E, N), evidence for the same candidate in the other row of the pair.

    Returns:
        float64 (E,), each in [0, 1].
    """
    if members.ndim != 2 or members.shape != outsiders.shape or members.shape[1] < 1:
        raise ValueError(
            f"need two (E, N) arrays of one shape, got {members.shape} and {outsiders.shape}."
        )
    if not (np.isfinite(members).all() and np.isfinite(outsiders).all()):
        raise ValueError("evidence must be finite.")
    wins = 2 * (members > outsiders).sum(axis=1) + (members == outsiders).sum(axis=1)
    return np.asarray(wins / (2 * members.shape[1]), np.float64)


def means_rejected(
    shares: Floats, means: Floats, confidence: float, planned_pairs: int | None = None
) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Which hypotheses "E[A_j | past] <= a for all j" the pairs refute.

    Each is refuted wrongly with probability at most ``1 - confidence``, at any stopping time.

    The bet is the hedge of an option that pays 1 / alpha if the sum of ``A_j - a`` ends high
    enough, in a normal world: with wealth W, q = alpha W, and n pairs left of variance v,
    ``lambda = phi(z) / (q sqrt(n v))`` at ``z = Phi^-1(q)``. It aims at the fixed-sample normal
    test (1.64 standard errors at 95 %; a constant bet needs 2.45) and aims anew after each pair,
    as the bets of Voracek & Orabona (2025, "STaR-Bets") do with the square root of a logarithm
    in the place of ``phi(z) / q``. Variance and wealth are those of earlier pairs, so the bet is
    predictable.

    Args:
        shares: (..., E), numbers in [0, 1] in the order of the pairs.
        means: (G,), the values of a, each in (0, 1).
        confidence: in (0, 1).
        planned_pairs: how many pairs were planned when the first was looked at; E where none is
            given. Whoever looks at a bound and then adds pairs names the old plan again; after
            it, a new one of the same length begins.

    Returns:
        bool (..., G).
    """
    checks.in_open_unit(confidence=confidence)
    _check_shares(shares)
    if not ((means > 0) & (means < 1)).all():
        raise ValueError("means must be numbers in (0, 1).")
    n_pairs = shares.shape[-1]
    plan = n_pairs if planned_pairs is None else planned_pairs
    checks.positive(planned_pairs=plan)
    goal = -math.log1p(-confidence)
    at_most = LARGEST_LOSS / means
    log_wealth = np.zeros((*shares.shape[:-1], means.size))
    squares = PRIOR_PAIRS * means * (1 - means) + log_wealth
    refuted = np.zeros(log_wealth.shape, np.bool_)
    for j in range(n_pairs):
        variance_left = squares * ((plan - j % plan) / (PRIOR_PAIRS + j))
        bet = np.minimum(_hedge(log_wealth - goal) / np.sqrt(variance_left), at_most)
        gain = shares[..., j, None] - means
        # a mean once refuted stays so: its wealth stands still, a hair below 1 / alpha
        log_wealth += np.where(refuted, 0.0, np.log1p(bet * gain))
        refuted |= log_wealth >= goal
        np.minimum(log_wealth, goal - 1e-9, out=log_wealth)
        squares += gain**2
    return refuted


def pair_mean_lower(shares: Floats, confidence: float, planned_pairs: int | None = None) -> float:
    """A lower confidence limit A_lo on the mean share; 1/2 where the pairs show nothing.

    Means are refuted from 1/2 upwards over a fixed grid, and the limit is the last before the
    first that stands. So it holds without any property of the set of refuted means: a truth
    between two points is passed only if the point above it, a true hypothesis, is refuted.

    Args:
        shares: (E,), from ``pair_shares``, evaluation pairs only.
        confidence: of the limit, in (0, 1).
        planned_pairs: see ``means_rejected``.

    Returns:
        In [1/2, 1), to within .0028 in mu below the exact limit.
    """
    if shares.ndim != 1 or shares.size == 0:
        raise ValueError(f"shares must be (E,) with E of at least 1, got {shares.shape}.")
    # no bound above the mean itself is sought, which spares most of the grid and is conservative
    points = _POINTS[: max(1, int(np.searchsorted(_POINTS, shares.mean(), side="right")))]
    refuted = means_rejected(shares, points, confidence, planned_pairs)
    n_refuted = points.size if refuted.all() else int(np.argmin(refuted))
    return float(points[n_refuted - 1]) if n_refuted else 0.5


def mu_of_share(share: float) -> float:
    """The mu at which the mean share of a mu-GDP curation is at most ``share``; 0 up to 1/2."""
    return max(0.0, math.sqrt(2) * float(special.ndtri(share)))


def epsilon_of_share(share: float, delta: float) -> float:
    """The epsilon at which the mean share of an (epsilon, delta)-DP curation is at most ``share``.

    Any (epsilon, delta)-DP curation is post-processing of a mechanism that tells the coin with
    probability delta and else answers truly with odds e^epsilon (Kairouz, Oh & Viswanath 2015,
    "The composition theorem for differential privacy", theorem 3.3 and section 4). Two of them,
    one run with the candidate in and one with it out: with probability ``1 - (1 - delta)^2`` at
    least one tells, and the test is right. Else two noisy answers agree or contradict each other.
    Contradiction says nothing; agreement on the truth has probability ``p^2``, on the wrong
    ``(1 - p)^2``, ``p = e^epsilon / (1 + e^epsilon)``, so the total variation is
    ``p^2 - (1 - p)^2 = 2p - 1``: no more than one answer gives. Together

        delta_2(0) = 1 - (1 - delta)^2 (2 - 2p) = 1 - 2 (1 - delta)^2 / (1 + e^epsilon),
        share     <= (1 + delta_2(0)) / 2       = 1 - (1 - delta)^2 / (1 + e^epsilon).

    Solved for epsilon; at delta 0 the logit of the share. No Gaussian hypothesis.

    Args:
        share: in [0, 1).
        delta: in [0, 1).
    """
    if not (0 <= share < 1 and 0 <= delta < 1):
        raise ValueError(f"share and delta must be in [0, 1), got {share} and {delta}.")
    odds = (1 - delta) ** 2 / (1 - share) - 1
    return math.log(odds) if odds > 1 else 0.0


def share_of_epsilon(epsilon: float, delta: float) -> float:
    """The largest mean share under an (epsilon, delta)-DP claim; inverse of ``epsilon_of_share``.

    At least 1/2. For a claim given as a profile use ``(1 + delta_2(0)) / 2`` with delta_2 the
    profile of the claim composed with itself.
    """
    if not (epsilon >= 0 and 0 <= delta <= 1):
        raise ValueError(f"need epsilon >= 0 and delta in [0, 1], got {epsilon} and {delta}.")
    return 1 - (1 - delta) ** 2 * float(special.expit(-epsilon))


def pair_mean_mu(shares: Floats, confidence: float) -> float:
    """A lower bound on mu, given that the curation is mu-GDP for some mu; 0 if none is shown."""
    return mu_of_share(pair_mean_lower(shares, confidence))


def pair_mean_gdp_epsilon(shares: Floats, delta: float, confidence: float) -> float:
    """A lower bound on epsilon at delta, given that the curation is mu-GDP for some mu."""
    return epsilon_of_mu(pair_mean_mu(shares, confidence), delta)


def pair_mean_epsilon(shares: Floats, delta: float, confidence: float) -> float:
    """A lower bound on epsilon at delta, without a hypothesis on the kind of curation."""
    return epsilon_of_share(pair_mean_lower(shares, confidence), delta)


def pair_mean_mu_resolution(n_pairs: int, confidence: float) -> float:
    """The largest mu that ``n_pairs`` evaluation pairs can show, with a perfect attack."""
    return pair_mean_mu(np.ones(n_pairs), confidence)


def pair_mean_gdp_epsilon_resolution(n_pairs: int, delta: float, confidence: float) -> float:
    """The largest epsilon that ``n_pairs`` pairs can show under the GDP hypothesis."""
    return pair_mean_gdp_epsilon(np.ones(n_pairs), delta, confidence)


def pair_mean_epsilon_resolution(n_pairs: int, delta: float, confidence: float) -> float:
    """The largest epsilon that ``n_pairs`` pairs can show without a hypothesis."""
    return pair_mean_epsilon(np.ones(n_pairs), delta, confidence)


def _hedge(log_q: Floats) -> Floats:
    """``phi(z) / q`` at ``z = Phi^-1(q)``, for log q below 0."""
    z = special.ndtri_exp(log_q)
    return np.asarray(np.exp(-0.5 * z**2 - 0.5 * math.log(2 * math.pi) - log_q), np.float64)


def _check_shares(shares: Floats) -> None:
    if not ((shares >= 0) & (shares <= 1)).all():
        raise ValueError("shares must be numbers in [0, 1].")
