"""One-run bounds: count right guesses about fair coins that went through one curation.

m canaries are each in by an independent fair coin; an attack guesses r of the coins and is right
v times. Conditions: evidence for a row uses what that row's curation shows, public data and the
fit block; no coin of the row, not the number of rows that are in, nothing of the partner row. One
row per pair. Several such rows are one run of the product mechanism: add up m, r and v. r is
fixed beforehand; m counts every declared canary, guessed or not. All epsilons are in nats.
"""

import math
from typing import Final, NamedTuple

import numpy as np
from scipy import optimize, special

from curation_audit import checks
from curation_audit.statistics.gdp import epsilon_of_mu
from curation_audit.types import Evidence, Floats, Inclusion

_LARGEST_MU: Final = 16.0
_WAYS: Final = 32


class Guesses(NamedTuple):
    """How many canaries were declared, how many coins were guessed, and how many rightly."""

    n_canaries: int
    n_guesses: int
    n_right: int


def guesses(
    evidence: Evidence, inclusion: Inclusion, centre: Floats | float, n_per_row: int
) -> Guesses:
    """Guess in each row the coins that the evidence says most about, and count.

    The ``n_per_row`` candidates farthest from ``centre`` are guessed: "in" at or above it, "out"
    below. What is guessed depends on evidence, centre and the order of the candidates only; equal
    distances go to the earlier candidate, so ties take no look at a coin and no random draw.
    Non-finite evidence is refused rather than ranked.

    Args:
        evidence: (E, N), rows of evaluation pairs, one per pair, comparable across candidates
            (scaled on the fit block where candidates differ).
        inclusion: bool (E, N), the coins of the same rows; used for counting only.
        centre: a number or (N,), set on the fit block.
        n_per_row: guesses per row, in [0, N], set on the fit block.
    """
    if evidence.ndim != 2 or evidence.shape != inclusion.shape:
        raise ValueError(
            f"need two (E, N) arrays of one shape, got {evidence.shape} and {inclusion.shape}."
        )
    n_rows, n_candidates = evidence.shape
    if not 0 <= n_per_row <= n_candidates:
        raise ValueError(f"n_per_row must be in [0, {n_candidates}], got {n_per_row}.")
    lead = evidence - centre
    if not np.isfinite(lead).all():
        raise ValueError("evidence and centre must be finite.")
    chosen = np.argsort(-np.abs(lead), axis=1, kind="stable")[:, :n_per_row]
    right = (lead >= 0) == inclusion
    n_right = int(np.take_along_axis(right, chosen, axis=1).sum())
    return Guesses(evidence.size, n_rows * n_per_row, n_right)


def best_n_per_row(
    evidence: Evidence,
    inclusion: Inclusion,
    centre: Floats | float,
    delta: float,
    confidence: float,
) -> int:
    """The number of guesses per row that shows the most on these rows: the *fit* block's.

    Compares about 24 numbers up to N by ``one_run_epsilon``; where none shows anything, the one
    with the smallest p-value at epsilon 0. Arguments as for ``guesses``.
    """
    n_candidates = evidence.shape[1]
    sizes = np.unique(np.geomspace(1, n_candidates, 24).round().astype(np.int64))

    def shown(n_per_row: int) -> tuple[float, float]:
        found = guesses(evidence, inclusion, centre, n_per_row)
        epsilon = one_run_epsilon(*found, delta, confidence)
        return epsilon, -one_run_p_value(*found, 0.0, delta)

    return max((int(size) for size in sizes), key=shown)


def one_run_p_value(m: int, r: int, v: int, epsilon: float, delta: float) -> float:
    """How probable v or more right guesses of r are at most, under (epsilon, delta)-DP.

    Steinke, Nasr & Jagielski 2023, "Privacy auditing with one (1) training run", theorem 5.2 in
    the form of their algorithm: with ``B ~ Bin(r, e^epsilon / (1 + e^epsilon))``

        P[B >= v] + 2 m delta max_{1 <= i <= v} (P[B >= v - i] - P[B >= v]) / i.
    """
    _check_counts(m, r, v)
    if not (0 <= epsilon < math.inf and 0 <= delta <= 1):
        raise ValueError(f"need epsilon >= 0 and delta in [0, 1], got {epsilon} and {delta}.")
    return _p_value(m, r, v, delta, epsilon, _log_binomials(r, v))


def one_run_epsilon(m: int, r: int, v: int, delta: float, confidence: float) -> float:
    """A lower bound on epsilon at delta from v right guesses of r, m canaries; 0 if none is shown.

    The largest epsilon whose p-value is alpha. Should the p-value, as a function of epsilon, cross
    alpha more than once, every crossing is valid: for each epsilon the refuting counts are "v or
    more", and an epsilon-DP curation is epsilon'-DP for all larger epsilon'.

    Args:
        m: canaries declared.
        r: guesses made, at most m.
        v: right guesses, at most r.
        delta: in [0, 1].
        confidence: in (0, 1).

    >>> round(one_run_epsilon(1000, 100, 90, 1e-5, 0.95), 4)
    1.6261
    """
    checks.in_open_unit(confidence=confidence)
    alpha, binomials = 1 - confidence, _log_binomials(r, v)
    if one_run_p_value(m, r, v, 0.0, delta) >= alpha:
        return 0.0

    def excess(epsilon: float) -> float:
        return _p_value(m, r, v, delta, epsilon, binomials) - alpha

    low, high = 0.0, 1.0
    while excess(high) < 0:
        low, high = high, 2 * high
    return float(optimize.brentq(excess, low, high, xtol=1e-10))


def f_dp_one_run_refuted(m: int, r: int, v: int, mu: Floats, confidence: float) -> Floats:
    """By how much v right guesses of r overdraw each mu-GDP claim: refuted where above 0.

    Mahloujifar, Melis & Chaudhuri 2024, "Auditing f-differential privacy in one run"
    (arXiv:2410.22235, the algorithm for audits with abstentions), trade-off curve of ``N(0, 1)``
    against ``N(mu, 1)``. Its recursion runs from v right guesses down to none with two masses,
    those of right and of wrong guesses; the wrong one is at least the inverse blow-up
    ``Phi(Phi^-1(right) - mu)``. A claim is refuted if at the end they exceed r / m together.

    Args:
        m: canaries declared.
        r: guesses made, in [1, m].
        v: right guesses, at most r.
        mu: (G,), the claims.
        confidence: in (0, 1).

    Returns:
        float64 (G,), falling in mu.
    """
    _check_counts(m, r, v)
    checks.in_open_unit(confidence=confidence)
    right = np.full(mu.shape, (1 - confidence) * v / m)
    wrong = np.full(mu.shape, (1 - confidence) * (r - v) / m)
    # each count needs the one above it, so this is a loop; all claims go through it at once
    for i in range(v - 1, -1, -1):
        more = np.maximum(wrong, special.ndtr(special.ndtri(right) - mu))
        right = np.minimum(right + (i / (r - i)) * (more - wrong), 1.0)
        wrong = more
    return np.asarray(right + wrong - r / m, np.float64)


def f_dp_one_run_mu(m: int, r: int, v: int, confidence: float) -> float:
    """A lower bound on mu, given that the curation is mu-GDP for some mu; 0 if none is shown.

    The largest mu that v right guesses of r refute, from below to 1e-6; at most 16. Arguments as
    for ``one_run_epsilon``. The time is proportional to v: about half a second a pass at 100,000.
    """
    _check_counts(m, r, v)
    checks.in_open_unit(confidence=confidence)
    if r == 0:
        return 0.0
    low, high = 0.0, _LARGEST_MU
    while high - low > 1e-6:
        claims = np.linspace(low, high, _WAYS + 1)
        standing = np.flatnonzero(f_dp_one_run_refuted(m, r, v, claims, confidence) <= 0)
        first = int(standing[0]) if standing.size else _WAYS + 1
        if first == 0 or first > _WAYS:
            return float(claims[max(first - 1, 0)])
        low, high = float(claims[first - 1]), float(claims[first])
    return low


def f_dp_one_run_epsilon(m: int, r: int, v: int, delta: float, confidence: float) -> float:
    """A lower bound on epsilon at delta, given that the curation is mu-GDP for some mu."""
    return epsilon_of_mu(f_dp_one_run_mu(m, r, v, confidence), delta)


def one_run_epsilon_resolution(m: int, r: int, delta: float, confidence: float) -> float:
    """The largest epsilon that r guesses about m canaries can show: all of them right."""
    return one_run_epsilon(m, r, r, delta, confidence)


def f_dp_one_run_epsilon_resolution(m: int, r: int, delta: float, confidence: float) -> float:
    """The largest epsilon that they can show under the GDP hypothesis."""
    return f_dp_one_run_epsilon(m, r, r, delta, confidence)


def _p_value(m: int, r: int, v: int, delta: float, epsilon: float, binomials: Floats) -> float:
    at_least = float(special.bdtrc(v - 1, r, special.expit(epsilon))) if v > 0 else 1.0
    if delta == 0 or v == 0:
        return at_least
    counts = np.arange(v)
    log_q, log_not_q = -np.logaddexp(0, -epsilon), -np.logaddexp(0, epsilon)
    mass = np.exp(binomials + counts * log_q + (r - counts) * log_not_q)
    worst = float((np.cumsum(mass[::-1]) / np.arange(1, v + 1)).max())
    return min(1.0, at_least + 2 * m * delta * worst)


def _log_binomials(r: int, v: int) -> Floats:
    """The logarithms of r over 0, ..., r over v - 1."""
    counts = np.arange(v)
    log_of = special.gammaln(r + 1) - special.gammaln(counts + 1) - special.gammaln(r - counts + 1)
    return np.asarray(log_of, np.float64)


def _check_counts(m: int, r: int, v: int) -> None:
    if not 0 <= v <= r <= m:
        raise ValueError(f"need 0 <= v <= r <= m, got v = {v}, r = {r}, m = {m}.")
