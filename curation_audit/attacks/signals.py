"""Signals of a classifier's output at rows with known labels."""

import numpy as np

from curation_audit.attacks.base import known_candidates
from curation_audit.observations import Knowledge, Observation
from curation_audit.types import Floats, Labels, Probabilities

TINY = np.finfo(np.float32).tiny


def logit_margin(probabilities: Probabilities, labels: Labels) -> Floats:
    """``log p_y - log sum of the other p`` (Carlini et al. 2022, section V), (S, rows).

    The others are summed rather than taken as ``1 - p_y``, which rounds to 0 near certainty.
    """
    rows = np.arange(labels.shape[0])
    others = probabilities.astype(np.float64)
    of_label = others[:, rows, labels]
    others[:, rows, labels] = 0.0
    margin: Floats = np.log(np.maximum(of_label, TINY)) - np.log(
        np.maximum(others.sum(axis=2), TINY)
    )
    return margin


def log_likelihood(probabilities: Probabilities, labels: Labels) -> Floats:
    """``log p_y``, the negative loss in nats, (S, rows)."""
    of_label = probabilities[:, np.arange(labels.shape[0]), labels].astype(np.float64)
    return np.log(np.maximum(of_label, TINY))


def known_labels(knowledge: Knowledge) -> Labels:
    """The candidates' labels; an attack that names them in ``needs`` always has them."""
    labels = known_candidates(knowledge).labels
    if labels is None:
        raise ValueError("this attack needs the candidates' labels.")
    return labels


def margin_per_candidate(observation: Observation, knowledge: Knowledge) -> Floats:
    """The logit margin at each candidate, averaged over its rows, (S, N)."""
    margin = logit_margin(observation.probabilities, known_labels(knowledge))
    return known_candidates(knowledge).mean_per_unit(margin)
