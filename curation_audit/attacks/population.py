"""Likelihoods against a population, as RMIA compares them."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from curation_audit.attacks.base import OtherPairs, known_candidates
from curation_audit.attacks.moments import sums_without_own
from curation_audit.attacks.signals import (
    TINY,
    beside_candidates,
    known_labels,
    log_likelihood,
    per_candidate,
)
from curation_audit.observations import Knowledge, Observation
from curation_audit.types import Evidence, Floats

Form: TypeAlias = Literal["share", "information"]
STEPS_PER_NAT = 2.0**23  # about the rounding of a float32 likelihood


@dataclass(frozen=True, slots=True)
class Population:
    """Log likelihoods under every shadow, of the candidates (S, N) and of the population (S, Z).

    ``rows`` is ``None`` where the population is the other candidates.
    """

    candidates: Floats
    rows: Floats | None


def population_of(observation: Observation, knowledge: Knowledge) -> Population:
    """Candidates against the queried pool rows if granted with labels, else one another."""
    observation, knowledge = beside_candidates(observation, knowledge)
    likelihood = log_likelihood(observation.probabilities, known_labels(knowledge))
    candidates = per_candidate(likelihood, known_candidates(knowledge))
    labels, queried, outputs = knowledge.pool_labels, knowledge.queried, observation.at_pool
    granted = not knowledge.missing(frozenset({"pool", "queries at both", "queries at pool rows"}))
    if not granted or labels is None or queried is None or outputs is None or not len(queried):
        return Population(candidates, None)
    return Population(candidates, log_likelihood(outputs, labels[queried]))


def mean_likelihood(log_likelihoods: Floats, others: OtherPairs) -> Floats:
    """The mean likelihood over all shadows of the other pairs: (S, rows) -> (P, rows)."""
    pairs = np.exp(log_likelihoods).reshape(-1, 2, log_likelihoods.shape[1]).sum(axis=1)
    means: Floats = sums_without_own(pairs, others) / (2 * others.counts[:, None])
    return means


def mean_likelihood_out(out_first: Floats, others: OtherPairs) -> Floats:
    """The mean over the other pairs' shadows without the row: log (P, rows) -> (P, rows)."""
    means: Floats = sums_without_own(np.exp(out_first), others) / others.counts[:, None]
    return means


def log_ratios(log_likelihoods: Floats, expected: Floats) -> Floats:
    """``log P(x | model) - log P(x)``, (S, rows), for expected likelihoods (P, rows)."""
    n_rows = log_likelihoods.shape[1]
    pairs = log_likelihoods.reshape(-1, 2, n_rows)
    ratios: Floats = pairs - np.log(np.maximum(expected, TINY))[:, None]
    return ratios.reshape(-1, n_rows)


def compared(candidates: Floats, rows: Floats | None, gamma: float) -> Evidence:
    """The share of the population z with ``ratio_x / ratio_z >= gamma``, (S, N).

    ``candidates`` (S, N) and ``rows`` (S, Z) are log ratios; without rows, the population is the
    other candidates. One sort and one search a shadow, O((N + Z) log Z), in whole steps of
    2^-23 nats: ratios that are equal but for rounding count as equal.
    """
    mine = whole_steps(candidates - np.log(gamma))
    theirs = whole_steps(candidates if rows is None else rows)
    theirs.sort(axis=1)
    # numpy searches one sorted row at a time
    found = [np.searchsorted(z, x, side="right") for z, x in zip(theirs, mine, strict=True)]
    below: Evidence = np.stack(found).astype(np.float64)
    if rows is not None:
        return np.divide(below, theirs.shape[1], out=below)
    below -= gamma <= 1  # itself
    return np.divide(below, max(theirs.shape[1] - 1, 1), out=below)


def whole_steps(log_ratio: Floats) -> NDArray[np.int32]:
    """Log ratios in whole steps; what float32 can hold of a likelihood fits."""
    return np.rint(log_ratio * STEPS_PER_NAT).clip(-(2**31) + 1, 2**31 - 1).astype(np.int32)


def informed(candidates: Floats, rows: Floats | None, expected: Floats) -> Evidence:
    """The log ratio plus the divergence of the population's likelihoods from expected ones, (S, N).

    ``log ratio_x + sum_z P(z) log (P(z) / P(z | model))``, with P(z) made to sum to one; the
    continuous form. ``expected`` (P, Z) are the P(z).
    """
    ratios = candidates if rows is None else rows
    weights = expected / np.maximum(expected.sum(axis=1, keepdims=True), TINY)
    weights = np.repeat(weights, 2, axis=0)
    evidence: Evidence = candidates - np.einsum("sz,sz->s", weights, ratios)[:, None]
    return evidence
