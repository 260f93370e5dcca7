"""The area under the pooled ROC curve, with an interval clustered by pairs of shadows."""

import numpy as np
from scipy import special, stats

from curation_audit import checks
from curation_audit.results import Estimate
from curation_audit.statistics.paired import PairedEvidence, degenerate_interval
from curation_audit.types import Floats


def placements(paired: PairedEvidence) -> tuple[Floats, Floats]:
    """The share of outsiders below each member, and of members above each outsider, (P, N) each.

    Ties count one half. The mean of either array is the AUC (DeLong, DeLong & Clarke-Pearson
    1988).
    """
    members, outsiders = np.sort(paired.members, axis=None), np.sort(paired.outsiders, axis=None)
    below = np.searchsorted(outsiders, paired.members, side="left")
    up_to = np.searchsorted(outsiders, paired.members, side="right")
    member_below = np.searchsorted(members, paired.outsiders, side="left")
    member_up_to = np.searchsorted(members, paired.outsiders, side="right")
    n_cells = members.size
    return (below + up_to) / (2 * n_cells), 1 - (member_below + member_up_to) / (2 * n_cells)


def auc_and_error(paired: PairedEvidence) -> tuple[float, float]:
    """The pooled AUC and its standard error with pairs as clusters.

    The error is that of independent pairs; evidence that was cross-fitted needs the factor
    ``CROSS_FITTED`` on it.
    """
    of_members, of_outsiders = placements(paired)
    auc = float(of_members.mean())
    per_pair = (of_members + of_outsiders).mean(axis=1) - 2 * auc
    n_pairs = paired.n_pairs
    return auc, float(np.sqrt((per_pair**2).sum() / (n_pairs * (n_pairs - 1))))


def auc_estimate(paired: PairedEvidence, *, confidence: float, inflation: float) -> Estimate:
    """The AUC with a t interval on the logit, ``P - 1`` degrees of freedom.

    Args:
        paired: evidence of P pairs.
        confidence: two-sided coverage, in (0, 1).
        inflation: factor on the standard error, ``CROSS_FITTED`` for leave-one-pair-out evidence.
    """
    checks.in_open_unit(confidence=confidence)
    checks.positive(inflation=inflation)
    auc, error = auc_and_error(paired)
    if auc in (0.0, 1.0):
        low, high = degenerate_interval(auc, paired.n_pairs, confidence)
        return Estimate(auc, low, high, confidence)
    half = float(stats.t.ppf((1 + confidence) / 2, paired.n_pairs - 1))
    half *= inflation * error / (auc * (1 - auc))
    center = special.logit(auc)
    return Estimate(
        auc, float(special.expit(center - half)), float(special.expit(center + half)), confidence
    )


def chance_p_value(paired: PairedEvidence, *, inflation: float) -> float:
    """Two-sided p-value of "the AUC is one half", t with ``P - 1`` degrees of freedom.

    Evidence that is constant has AUC one half exactly and p-value 1.
    """
    auc, error = auc_and_error(paired)
    if error == 0:
        return 1.0 if auc == 0.5 else 0.0
    return float(2 * stats.t.sf(abs(auc - 0.5) / (inflation * error), paired.n_pairs - 1))
