"""How exposed each single candidate is."""

import numpy as np
from scipy import stats

from curation_audit.results import RiskHistogram
from curation_audit.statistics.paired import PairedEvidence
from curation_audit.types import Floats

BIN_EDGES = np.linspace(0.0, 1.0, 41)


def candidate_aucs(paired: PairedEvidence) -> Floats:
    """Each candidate's own AUC: its P member values against its P outsider values, (N,).

    Ties count one half. The standard error under no leakage is about ``sqrt(1 / (6 P))``.
    """
    n_pairs = paired.n_pairs
    ranks = stats.rankdata(np.concatenate([paired.members, paired.outsiders]), axis=0)
    rank_sums = ranks[:n_pairs].sum(axis=0)
    aucs: Floats = (rank_sums - n_pairs * (n_pairs + 1) / 2) / n_pairs**2
    return aucs


def risk_histogram(paired: PairedEvidence) -> RiskHistogram:
    """How the candidates' own AUCs are spread, with the largest and the mean."""
    aucs = candidate_aucs(paired)
    counts = np.histogram(aucs, bins=BIN_EDGES)[0].astype(np.float64)
    return RiskHistogram(BIN_EDGES, counts, float(aucs.max()), float(aucs.mean()))
