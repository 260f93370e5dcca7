"""How exposed each single candidate is."""

import numpy as np

from curation_audit.results import RiskHistogram
from curation_audit.statistics.paired import PairedEvidence
from curation_audit.types import Floats

MOST_BINS = 32


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
    # edges halfway between the possible shares, the same number of them in every bin
    step = max(1, round(paired.n_pairs / MOST_BINS))
    edges = (np.arange(0, paired.n_pairs + step + 1, step) - 0.5) / paired.n_pairs
    edges = np.clip(edges[: np.searchsorted(edges, 1.0) + 1], 0.0, 1.0)
    counts = np.histogram(exposure, bins=edges)[0]
    return RiskHistogram(
        edges, counts.astype(np.float64), float(exposure.max()), float(exposure.mean())
    )
