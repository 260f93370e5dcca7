"""How exposed each single candidate is."""

import numpy as np

from curation_audit.results import RiskHistogram
from curation_audit.statistics.paired import PairedEvidence
from curation_audit.types import Floats

N_BINS = 40


def candidate_exposure(paired: PairedEvidence) -> Floats:
    """In which share of the pairs the shadow that holds a candidate shows more evidence, (N,).

    Ties count one half. Both shadows of a pair are judged by the same other pairs, so without a
    leak the share is one half on average, and binomial. (Ranking a candidate's evidence across
    pairs instead is biased low: a shadow that is left out pulls the others the other way.)
    """
    wins = (paired.members > paired.outsiders) + 0.5 * (paired.members == paired.outsiders)
    shares: Floats = wins.mean(axis=0)
    return shares


def risk_histogram(paired: PairedEvidence) -> RiskHistogram:
    """How the candidates' exposures are spread, with the largest and the mean."""
    exposure = candidate_exposure(paired)
    counts, edges = np.histogram(exposure, bins=np.linspace(0.0, 1.0, N_BINS + 1))
    return RiskHistogram(
        edges, counts.astype(np.float64), float(exposure.max()), float(exposure.mean())
    )
