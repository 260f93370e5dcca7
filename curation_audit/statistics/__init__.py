"""Pure functions of evidence: no model, no configuration, no files.

Everything starts from ``PairedEvidence``: in a pair of shadows each candidate is in exactly one,
so evidence (S, N) splits into members (P, N) and outsiders (P, N), P = S / 2 pairs.
"""

from curation_audit.statistics.auc import (
    ESTIMANDS,
    NEW_CANDIDATES_TOO,
    THESE_CANDIDATES,
    auc_estimate,
    chance_p_value,
    clustered_auc,
    cross_fitting_inflation,
)
from curation_audit.statistics.candidates import (
    candidate_exposure,
    risk_histogram,
    stability,
    summarise_records,
)
from curation_audit.statistics.metrics import measure
from curation_audit.statistics.paired import CROSS_FITTED, PairedEvidence
from curation_audit.statistics.resampling import PairResamples, roc_curve
from curation_audit.statistics.subgroups import measure_subgroups

__all__ = [
    "CROSS_FITTED",
    "ESTIMANDS",
    "NEW_CANDIDATES_TOO",
    "THESE_CANDIDATES",
    "PairResamples",
    "PairedEvidence",
    "auc_estimate",
    "candidate_exposure",
    "chance_p_value",
    "clustered_auc",
    "cross_fitting_inflation",
    "measure",
    "measure_subgroups",
    "risk_histogram",
    "roc_curve",
    "stability",
    "summarise_records",
]
