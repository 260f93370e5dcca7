"""The area under the pooled ROC curve, with an interval clustered by pairs of shadows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Protocol

import numpy as np
from scipy import special, stats

from curation_audit import checks, results
from curation_audit.results import Estimate
from curation_audit.statistics.paired import CROSS_FITTED, PairedEvidence, degenerate_interval
from curation_audit.types import Floats, Indices


def wins(paired: PairedEvidence) -> tuple[Indices, Indices]:
    """Outsiders below each member, and members above each outsider, int64 (P, N) each.

    Both are counted twice, so that a tie counts one and sums stay exact.
    """
    shape, n_cells = paired.members.shape, paired.members.size
    of_members, of_outsiders = np.empty(n_cells, np.int64), np.empty(n_cells, np.int64)
    member_order = np.argsort(paired.members, axis=None)
    outsider_order = np.argsort(paired.outsiders, axis=None)
    members = paired.members.ravel()[member_order]
    outsiders = paired.outsiders.ravel()[outsider_order]
    # looked up in rising order, which keeps to the cache, and put back in their places
    of_members[member_order] = _twice_below(outsiders, members)
    of_outsiders[outsider_order] = 2 * n_cells - _twice_below(members, outsiders)
    return of_members.reshape(shape), of_outsiders.reshape(shape)


def _twice_below(rising: Floats, asked: Floats) -> Indices:
    """How many lie below each value asked about, and how many at or below it, together."""
    below: Indices = np.searchsorted(rising, asked, side="left")
    return below + np.searchsorted(rising, asked, side="right")


@dataclass(frozen=True, slots=True)
class ClusteredAuc:
    """The pooled AUC, and its variance with pairs, candidates and single cells as clusters.

    A cell is what one pair of P shows of one candidate of N: a member and an outsider.
    """

    auc: float
    variance_by_pair: float
    variance_by_candidate: float
    variance_by_cell: float
    n_pairs: int
    n_candidates: int


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
    clusters = (deviations.sum(axis=1), deviations.sum(axis=0), deviations.ravel())
    by_pair, by_candidate, by_cell = (
        float(((each / (2 * n_cells**3)) ** 2).sum() * each.size / max(each.size - 1, 1))
        for each in clusters
    )
    return ClusteredAuc(
        total / (2 * n_cells**2), by_pair, by_candidate, by_cell, *paired.members.shape
    )


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


class Estimand(Protocol):
    """What an interval is about, and so which of its causes may vary."""

    name: ClassVar[results.Estimand]

    def variance(self, found: ClusteredAuc, inflation: float) -> float:
        """The variance of the AUC; ``inflation`` is the factor on errors of pairs."""
        ...

    def n_clusters(self, found: ClusteredAuc) -> int:
        """How many clusters that rests on."""
        ...


@dataclass(frozen=True, slots=True)
class TheseCandidates:
    """The same candidates in new shadows: pairs of shadows vary."""

    name: ClassVar[results.Estimand] = "these candidates"

    def variance(self, found: ClusteredAuc, inflation: float) -> float:
        """That of pairs."""
        return inflation**2 * found.variance_by_pair

    def n_clusters(self, found: ClusteredAuc) -> int:
        """P."""
        return found.n_pairs


@dataclass(frozen=True, slots=True)
class NewCandidatesToo:
    """New candidates of the same kind in new shadows: both vary.

    The variances of both kinds of clusters, less what they count twice, and no less than either
    (two-way clusters: Cameron, Gelbach & Miller 2011).
    """

    name: ClassVar[results.Estimand] = "new candidates too"

    def variance(self, found: ClusteredAuc, inflation: float) -> float:
        """The largest of V_pair, V_cand and V_pair + V_cand - V_cell."""
        if found.n_candidates < 2:
            raise ValueError("one candidate says nothing about others.")
        pairs, candidates = inflation**2 * found.variance_by_pair, found.variance_by_candidate
        return max(pairs, candidates, pairs + candidates - found.variance_by_cell)

    def n_clusters(self, found: ClusteredAuc) -> int:
        """The fewer of P and N."""
        return min(found.n_pairs, found.n_candidates)


THESE_CANDIDATES: Final = TheseCandidates()
NEW_CANDIDATES_TOO: Final = NewCandidatesToo()
ESTIMANDS: Final[Mapping[results.Estimand, Estimand]] = {
    one.name: one for one in (THESE_CANDIDATES, NEW_CANDIDATES_TOO)
}


def auc_estimate(
    paired: PairedEvidence,
    *,
    confidence: float,
    inflation: float,
    estimand: Estimand = THESE_CANDIDATES,
) -> Estimate:
    """The AUC with a t interval on the logit, one degree of freedom less than clusters.

    Args:
        paired: evidence of P pairs.
        confidence: two-sided coverage, in (0, 1).
        inflation: factor on the standard error, from ``cross_fitting_inflation`` for
            leave-one-pair-out evidence, 1 for independent pairs.
        estimand: what the interval is about.
    """
    checks.in_open_unit(confidence=confidence)
    checks.positive(inflation=inflation)
    found = clustered_auc(paired)
    auc, n_clusters = found.auc, estimand.n_clusters(found)
    error = float(np.sqrt(estimand.variance(found, inflation)))
    if error == 0:
        low, high = degenerate_interval(auc, n_clusters, confidence)
        return Estimate(auc, low, high, confidence)
    half = float(stats.t.ppf((1 + confidence) / 2, n_clusters - 1)) * error / (auc * (1 - auc))
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
