"""The area under the pooled ROC curve, with an interval clustered by pairs of shadows."""

from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from curation_audit import checks
from curation_audit.results import Estimate
from curation_audit.statistics.paired import CROSS_FITTED, PairedEvidence, degenerate_interval
from curation_audit.types import Indices


def wins(paired: PairedEvidence) -> tuple[Indices, Indices]:
    """Outsiders below each member, and members above each outsider, int64 (P, N) each.

    Both are counted twice, so that a tie counts one and sums stay exact.
    """
    members, outsiders = np.sort(paired.members, axis=None), np.sort(paired.outsiders, axis=None)
    below = np.searchsorted(outsiders, paired.members, side="left")
    up_to = np.searchsorted(outsiders, paired.members, side="right")
    member_below = np.searchsorted(members, paired.outsiders, side="left")
    member_up_to = np.searchsorted(members, paired.outsiders, side="right")
    return below + up_to, 2 * members.size - (member_below + member_up_to)


@dataclass(frozen=True, slots=True)
class ClusteredAuc:
    """The pooled AUC, and its variance with pairs and with candidates as clusters."""

    auc: float
    variance_by_pair: float
    variance_by_candidate: float


def clustered_auc(paired: PairedEvidence) -> ClusteredAuc:
    """The pooled AUC with DeLong placements summed per pair, and per candidate.

    A placement is the share of the other side that a cell wins against (DeLong, DeLong &
    Clarke-Pearson 1988). Each variance is that of independent clusters of its kind. All is
    counted in whole numbers until the last division: evidence that ties with its twin has
    exactly one half and no variance.
    """
    of_members, of_outsiders = wins(paired)
    n_cells, total = paired.members.size, int(of_members.sum())
    deviations = n_cells * (of_members + of_outsiders) - 2 * total
    by_pair, by_candidate = (
        float(((deviations.sum(axis=axis) / (2 * n_cells**3)) ** 2).sum() * n / max(n - 1, 1))
        for axis, n in ((1, paired.n_pairs), (0, paired.n_candidates))
    )
    return ClusteredAuc(total / (2 * n_cells**2), by_pair, by_candidate)


def cross_fitting_inflation(permuted: PairedEvidence) -> float:
    """The factor on standard errors that an attack's leave-one-pair-out evidence needs.

    All pairs learn from the same shadows, so they vary together. For plain means that is worth
    sqrt(2); an attack that also *chooses* from the other shadows (which row to look at) couples
    its pairs more. The permuted-inclusion control measures it: with no leak, what a candidate's
    pairs have in common is the coupling and nothing else, so the variance with candidates as
    clusters is the true one. Never below sqrt(2).
    """
    found = clustered_auc(permuted)
    if found.variance_by_pair == 0:
        return CROSS_FITTED
    return max(CROSS_FITTED, float(np.sqrt(found.variance_by_candidate / found.variance_by_pair)))


def auc_estimate(paired: PairedEvidence, *, confidence: float, inflation: float) -> Estimate:
    """The AUC with a t interval on the logit, ``P - 1`` degrees of freedom.

    Args:
        paired: evidence of P pairs.
        confidence: two-sided coverage, in (0, 1).
        inflation: factor on the standard error, from ``cross_fitting_inflation`` for
            leave-one-pair-out evidence, 1 for independent pairs.
    """
    checks.in_open_unit(confidence=confidence)
    checks.positive(inflation=inflation)
    found = clustered_auc(paired)
    auc, error = found.auc, float(np.sqrt(found.variance_by_pair))
    if error == 0:
        low, high = degenerate_interval(auc, paired.n_pairs, confidence)
        return Estimate(auc, low, high, confidence)
    half = float(stats.t.ppf((1 + confidence) / 2, paired.n_pairs - 1))
    half *= inflation * error / (auc * (1 - auc))
    center = special.logit(auc)
    return Estimate(
        auc, float(special.expit(center - half)), float(special.expit(center + half)), confidence
    )


def chance_p_value(paired: PairedEvidence) -> float:
    """Two-sided p-value of "the AUC is one half", for evidence of any kind.

    A t test with the variances of both kinds of clusters added, the pairs' doubled for
    cross-fitting, and the degrees of freedom of the fewer clusters: false alarms are rarer than
    the level says. Evidence that is constant has AUC one half exactly and p-value 1; evidence
    that is right (or wrong) about all ``P * N`` coins is so by chance with probability
    ``2 ** -(P * N)``.
    """
    found = clustered_auc(paired)
    variance = found.variance_by_candidate + CROSS_FITTED**2 * found.variance_by_pair
    if variance == 0:
        return 1.0 if found.auc == 0.5 else float(2 * 0.5**paired.members.size)
    degrees = max(min(paired.n_pairs, paired.n_candidates) - 1, 1)
    return float(2 * stats.t.sf(abs(found.auc - 0.5) / np.sqrt(variance), degrees))
