"""How far a name that an attack names can be believed, where few of those asked are members."""

from typing import Final

import numpy as np

from curation_audit.results import Estimate, Precision
from curation_audit.statistics.resampling import ReplicatedRates

PRIORS: Final = (0.001, 0.01, 0.1, 0.5)
ROUNDING = 1e-12


def predictive_value(prior: float, tpr: float, fpr: float) -> float:
    """The share of members among those named (Jayaraman et al. 2021), where ``prior`` are.

    >>> round(predictive_value(0.01, 0.5, 0.01), 4)
    0.3356
    """
    return prior * tpr / (prior * tpr + (1 - prior) * fpr)


def precision_at_priors(
    tpr: Estimate, fpr: float, rates: ReplicatedRates, *, inflation: float
) -> tuple[Precision, ...]:
    """The predictive value at every prior, with intervals of the bootstrap over pairs.

    TPR / FPR carries all the doubt, alike for every prior: the percentiles of its log around that
    of all pairs, stretched by ``inflation``.

    Args:
        tpr: the true-positive rate with thresholds from other pairs.
        fpr: the realised false-positive rate of the same decisions.
        rates: the same two at one level of FPR, for all pairs and every replicate.
        inflation: as for ``auc_estimate``.

    Returns:
        One for each of ``PRIORS``; without a value where nobody was named wrongly, by these
        decisions, in all pairs or in some replicate.
    """
    if fpr == 0 or rates.fpr[0] == 0 or (rates.fprs == 0).any():
        return tuple(Precision(prior, None) for prior in PRIORS)
    low, high = _ratio_ends(tpr, fpr, rates, inflation)
    return tuple(_at_prior(prior, tpr, fpr, low, high) for prior in PRIORS)


def _ratio_ends(
    tpr: Estimate, fpr: float, rates: ReplicatedRates, inflation: float
) -> tuple[float, float]:
    """Both ends of an interval for TPR / FPR."""
    tails = [(1 - tpr.confidence) / 2, (1 + tpr.confidence) / 2]
    ends = np.quantile(rates.tprs[:, 0] / rates.fprs[:, 0], tails)
    if tpr.value == 0 or rates.tpr[0] == 0 or np.ptp(ends) <= ROUNDING * ends[1]:
        # no spread to stretch: the doubt is that of the TPR
        return tpr.low / fpr, tpr.high / fpr
    low, high = tpr.value / fpr * (ends * rates.fpr[0] / rates.tpr[0]) ** inflation
    return float(low), float(high)


def _at_prior(prior: float, tpr: Estimate, fpr: float, low: float, high: float) -> Precision:
    value = predictive_value(prior, tpr.value, fpr)
    below, above = (predictive_value(prior, ratio, 1.0) for ratio in (low, high))
    return Precision(prior, Estimate(value, min(value, below), max(value, above), tpr.confidence))
