"""The Clopper-Pearson bound for one candidate: true and false positives over many curations.

One candidate, chosen on the fit block with its evidence function, threshold and direction. Over
evaluation pairs the rows that hold it are independent of one another, and so are the rows that do
not; the two kinds are dependent inside a pair, so the rates get alpha / 2 each and a union bound.
Number of rows fixed beforehand, fresh randomness of the curation in each. The best of K
candidates, attacks or stages on the same rows costs alpha / K (``bonferroni_confidence``).

Source: Nasr et al. 2021, "Adversary instantiation", section 4; Clopper & Pearson 1934.
"""

import math
from typing import NamedTuple

from scipy import special

from curation_audit import checks
from curation_audit.statistics.bounds.combination import rueger_lower
from curation_audit.statistics.gdp import epsilon_of_mu, mu_of_rates


class Counts(NamedTuple):
    """Decisions "in": ``tp`` of ``n_in`` rows that hold the candidate, ``fp`` of ``n_out``."""

    tp: int
    n_in: int
    fp: int
    n_out: int


class RateLimits(NamedTuple):
    """TPR is at least ``tpr_low`` and FPR at most ``fpr_high``, both at once."""

    tpr_low: float
    fpr_high: float


def rate_limits(tp: int, n_in: int, fp: int, n_out: int, confidence: float) -> RateLimits:
    """One-sided Clopper-Pearson limits on TPR and FPR, at alpha / 2 each, that hold together.

    >>> low, high = rate_limits(256, 256, 0, 256, 0.95)
    >>> round(low, 4), round(high, 4)
    (0.9857, 0.0143)
    """
    checks.in_open_unit(confidence=confidence)
    if not (0 <= tp <= n_in and 0 <= fp <= n_out and n_in >= 1 and n_out >= 1):
        raise ValueError(f"need 0 <= positives <= rows, rows >= 1; got {tp}/{n_in}, {fp}/{n_out}.")
    alpha = 1 - confidence
    low = float(special.betaincinv(tp, n_in - tp + 1, alpha / 2)) if tp > 0 else 0.0
    high = float(special.betaincinv(fp + 1, n_out - fp, 1 - alpha / 2)) if fp < n_out else 1.0
    return RateLimits(low, high)


def clopper_pearson_epsilon(
    tp: int, n_in: int, fp: int, n_out: int, delta: float, confidence: float
) -> float:
    """A lower bound on epsilon at delta, without a hypothesis on the curation; 0 if none is shown.

    The larger of ``ln((TPR - delta) / FPR)`` and ``ln((TNR - delta) / FNR)`` at the limits of the
    rates. Both need the same two statements, TPR at least (FNR at most) and FPR at most (TNR at
    least), so the second direction costs nothing: alpha is paid once, by the union of the two
    limits. The inverted attack (more evidence where the candidate is out) is another matter: its
    direction is set on the fit block.

    >>> round(clopper_pearson_epsilon(256, 256, 0, 256, 0.0, 0.95), 2)
    4.23
    """
    if not 0 <= delta <= 1:
        raise ValueError(f"delta must be in [0, 1], got {delta}.")
    tpr, fpr = rate_limits(tp, n_in, fp, n_out, confidence)
    return max(
        0.0,
        _log_ratio(tpr - delta, fpr),
        _log_ratio(1 - fpr - delta, 1 - tpr),
    )


def clopper_pearson_mu(tp: int, n_in: int, fp: int, n_out: int, confidence: float) -> float:
    """A lower bound on mu, given that the curation is mu-GDP for some mu; 0 if none is shown.

    ``Phi^-1(TPR) - Phi^-1(FPR)`` at the limits of the rates (Nasr et al. 2023, "Tight auditing of
    differentially private machine learning", section 4).
    """
    tpr, fpr = rate_limits(tp, n_in, fp, n_out, confidence)
    return mu_of_rates(tpr, fpr) if tpr > fpr else 0.0


def clopper_pearson_gdp_epsilon(
    tp: int, n_in: int, fp: int, n_out: int, delta: float, confidence: float
) -> float:
    """A lower bound on epsilon at delta, given that the curation is mu-GDP for some mu."""
    return epsilon_of_mu(clopper_pearson_mu(tp, n_in, fp, n_out, confidence), delta)


def multi_split_epsilon(splits: list[Counts], delta: float, confidence: float) -> float:
    """The median over several fit/evaluation splits of the same pairs of bounds at alpha / 2.

    Each split chooses on its own fit block and counts on its own evaluation block; how many, and
    which, is fixed beforehand. The bounds may depend on one another in any way: were half of them
    or more above the truth, so would be the median, which Markov's inequality allows with
    probability at most alpha (Rueger 1978; see ``rueger_lower``). Of an even number the upper of
    the two in the middle.
    """
    rank = (len(splits) + 1) // 2
    each = 1 - (1 - confidence) / 2
    return rueger_lower([clopper_pearson_epsilon(*counts, delta, each) for counts in splits], rank)


def clopper_pearson_epsilon_resolution(
    n_in: int, n_out: int, delta: float, confidence: float
) -> float:
    """The largest epsilon that so many rows can show: every decision right."""
    return clopper_pearson_epsilon(n_in, n_in, 0, n_out, delta, confidence)


def clopper_pearson_gdp_epsilon_resolution(
    n_in: int, n_out: int, delta: float, confidence: float
) -> float:
    """The largest epsilon that so many rows can show under the GDP hypothesis."""
    return clopper_pearson_gdp_epsilon(n_in, n_in, 0, n_out, delta, confidence)


def _log_ratio(numerator: float, denominator: float) -> float:
    return math.log(numerator / denominator) if numerator > 0 else -math.inf
