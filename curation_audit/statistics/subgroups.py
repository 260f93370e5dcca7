"""One attack's evidence by groups of candidates."""

from collections.abc import Callable, Sequence

import numpy as np

from curation_audit.results import Slice, Subgroups
from curation_audit.statistics.auc import Estimand, auc_estimate
from curation_audit.statistics.metrics import operating_points
from curation_audit.statistics.paired import PairedEvidence
from curation_audit.statistics.resampling import PairResamples
from curation_audit.types import Indices

MIN_CANDIDATES = 10
SMALL_GROUPS = "small groups"


def measure_subgroups(
    paired: PairedEvidence,
    attributes: Sequence[tuple[str, Sequence[str]]],
    *,
    fpr: float | None,
    confidence: float,
    inflation: float,
    resamples: PairResamples,
    estimand: Estimand,
) -> Subgroups | None:
    """AUC, and TPR at ``fpr`` with the group's own thresholds, for every group of candidates.

    Groups of fewer than 10 candidates are pooled, and have no numbers where they are fewer than
    10 together. No interval is corrected for the number of groups.

    Args:
        paired: evidence of P pairs on N candidates.
        attributes: names, each with the N candidates' values.
        fpr: the false-positive rate, in (0, 1), or ``None`` for the AUC alone.
        confidence: as for ``measure``.
        inflation: as for ``measure``.
        resamples: as for ``measure``.
        estimand: as for ``measure``.

    Returns:
        ``None`` without attributes.
    """
    if not attributes:
        return None

    def sliced(attribute: str, group: str, n_groups: int, who: Indices) -> Slice:
        if who.size < MIN_CANDIDATES:
            return Slice(attribute, group, n_groups, who.size, None, None)
        here = PairedEvidence(paired.members[:, who], paired.outsiders[:, who])
        auc = auc_estimate(here, confidence=confidence, inflation=inflation, estimand=estimand)
        rates = () if fpr is None else (fpr,)
        points = operating_points(here, rates, resamples, confidence, inflation)
        return Slice(attribute, group, n_groups, who.size, auc, points[0] if points else None)

    slices = [one for name, values in attributes for one in _attribute(name, values, sliced)]
    shown = [(one.auc.value, one) for one in slices if one.auc is not None]
    worst = max(shown, key=lambda pair: pair[0])[1] if shown else None
    return Subgroups(MIN_CANDIDATES, tuple(slices), worst)


def _attribute(
    name: str, values: Sequence[str], sliced: Callable[[str, str, int, Indices], Slice]
) -> list[Slice]:
    """The groups of one attribute by name, then the small ones together."""
    groups, of_candidate, sizes = np.unique(
        np.array(values, dtype=object).astype(str), return_inverse=True, return_counts=True
    )
    large = np.flatnonzero(sizes >= MIN_CANDIDATES)
    found = [sliced(name, str(groups[g]), 1, np.flatnonzero(of_candidate == g)) for g in large]
    small = np.flatnonzero(sizes < MIN_CANDIDATES)
    if small.size:
        who = np.flatnonzero(np.isin(of_candidate, small))
        found.append(sliced(name, SMALL_GROUPS, int(small.size), who))
    return found
