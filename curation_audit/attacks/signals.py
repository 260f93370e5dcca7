"""Signals of a classifier's output; all of them are higher where the model is surer."""

import dataclasses
from typing import Literal, TypeAlias

import numpy as np

from curation_audit.attacks.base import known_candidates, known_pool
from curation_audit.observations import Candidates, Knowledge, Observation
from curation_audit.types import Features, Floats, Indices, Labels, Probabilities

Signal: TypeAlias = Literal["margin", "loss", "entropy"]
TINY = np.finfo(np.float32).tiny


def logit_margin(probabilities: Probabilities, labels: Labels) -> Floats:
    """``log p_y - log sum of the other p`` (Carlini et al. 2022, section V), (S, rows).

    The others are summed rather than taken as ``1 - p_y``, which rounds to 0 near certainty. The
    sum is float32, as its terms are: all are positive, so it is good to their own rounding.
    """
    not_label = (labels[:, None] != np.arange(probabilities.shape[2])).astype(np.float32)
    others = np.einsum("src,rc->sr", probabilities, not_label).astype(np.float64)
    np.log(np.maximum(others, TINY, out=others), out=others)
    margin: Floats = log_likelihood(probabilities, labels)
    margin -= others
    return margin


def log_likelihood(probabilities: Probabilities, labels: Labels) -> Floats:
    """``log p_y``, the negative loss in nats, (S, rows)."""
    of_label = probabilities[:, np.arange(labels.shape[0]), labels].astype(np.float64)
    likelihood: Floats = np.log(np.maximum(of_label, TINY, out=of_label), out=of_label)
    return likelihood


def negative_entropy(probabilities: Probabilities) -> Floats:
    """``sum of p log p`` in nats, (S, rows); it needs no label."""
    certain = np.maximum(probabilities, TINY)
    negative: Floats = np.einsum("src,src->sr", probabilities, np.log(certain)).astype(np.float64)
    return negative


def log_odds(probabilities: Probabilities) -> Floats:
    """Centred log probabilities of all classes, float64 (S, rows, C); it needs no label."""
    logs = np.log(np.maximum(probabilities, TINY).astype(np.float64))
    centred: Floats = logs - logs.mean(axis=2, keepdims=True)
    return centred


def signals(probabilities: Probabilities, labels: Labels | None, kind: Signal) -> Floats:
    """The signal of a name, (S, rows); labels are needed for all but the entropy."""
    if kind == "entropy":
        return negative_entropy(probabilities)
    if labels is None:
        raise ValueError(f"the {kind} needs labels.")
    signal = {"margin": logit_margin, "loss": log_likelihood}[kind]
    return signal(probabilities, labels)


def known_labels(knowledge: Knowledge) -> Labels:
    """The candidates' labels; an attack that names them in ``needs`` always has them."""
    labels = known_candidates(knowledge).labels
    if labels is None:
        raise ValueError("this attack needs the candidates' labels.")
    return labels


def per_candidate(values: Floats, candidates: Candidates) -> Floats:
    """Average (S, rows) over the rows of every candidate, (S, N)."""
    if np.array_equal(candidates.unit, np.arange(candidates.n_candidates)):
        return values
    return candidates.mean_per_unit(values)


def signal_per_candidate(
    observation: Observation, knowledge: Knowledge, kind: Signal = "margin"
) -> Floats:
    """A signal at each candidate, averaged over its rows, (S, N)."""
    candidates = known_candidates(knowledge)
    return per_candidate(signals(observation.probabilities, candidates.labels, kind), candidates)


def known_at_pool(observation: Observation, knowledge: Knowledge) -> tuple[Probabilities, Indices]:
    """The model's outputs (S, Q, C) at the queried pool rows, and those rows (Q,)."""
    if observation.at_pool is None or knowledge.queried is None:
        raise ValueError("this attack needs queries at pool rows.")
    return observation.at_pool, knowledge.queried


def beside_candidates(
    observation: Observation, knowledge: Knowledge
) -> tuple[Observation, Knowledge]:
    """The same, with the pool rows that can be asked about beside all candidates."""
    beside = knowledge.beside
    if beside is None or beside.all() or knowledge.queried is None or observation.at_pool is None:
        return observation, knowledge
    fewer = dataclasses.replace(observation, at_pool=observation.at_pool[:, beside])
    return fewer, dataclasses.replace(knowledge, queried=knowledge.queried[beside], beside=None)


def signals_at_pool(
    observation: Observation, knowledge: Knowledge, kind: Signal = "margin"
) -> Floats:
    """A signal at each queried pool row, (S, Q): of its label, or of entropy where it has none."""
    outputs, queried = known_at_pool(observation, knowledge)
    if knowledge.pool_labels is None:
        return negative_entropy(outputs)
    return signals(outputs, knowledge.pool_labels[queried], kind)


def nearest_queried(knowledge: Knowledge, n_rows: int) -> Indices:
    """For each candidate the positions in ``queried`` of its nearest rows, (N, at most n_rows).

    Euclidean distance in the granted embedding from the nearest row of the candidate; nearest
    first, ties by position.
    """
    candidates, pool = known_candidates(knowledge), known_pool(knowledge)
    queried = np.arange(pool.shape[0]) if knowledge.queried is None else knowledge.queried
    rows = np.asarray(pool[queried], dtype=np.float64)
    n_rows = min(n_rows, rows.shape[0])
    order = np.argsort(candidates.unit, kind="stable")
    starts = np.searchsorted(candidates.unit[order], np.arange(candidates.n_candidates + 1))
    width = max(1, 2**22 // rows.shape[0])  # a block of distances of 32 MiB
    nearest = [
        _nearest(
            np.asarray(candidates.features[order[starts[n] : starts[last]]], dtype=np.float64),
            starts[n:last] - starts[n],
            rows,
            n_rows,
        )
        for n in range(0, candidates.n_candidates, width)
        for last in (min(n + width, candidates.n_candidates),)
    ]
    return np.concatenate(nearest)


def _nearest(features: Features, starts: Indices, rows: Features, n_rows: int) -> Indices:
    """The nearest rows of a block of candidates, whose own rows begin at ``starts``."""
    square = (features**2).sum(axis=1)[:, None] + (rows**2).sum(axis=1) - 2 * features @ rows.T
    distance = np.minimum.reduceat(square, starts, axis=0)
    # rounding apart, duplicates in the pool are equally near: their order is then the pool's
    unit = 2.0**-36 * max(float(np.abs(square).max(initial=0)), float(TINY))
    key = np.rint(distance / unit).astype(np.int64) * len(rows) + np.arange(len(rows))
    if n_rows < len(rows):
        key = np.partition(key, n_rows, axis=1)[:, :n_rows]
    positions: Indices = np.sort(key, axis=1) % len(rows)
    return positions
