"""A small leaky world: a mean scorer on Gaussian rows, and a model that favours its members."""

from dataclasses import dataclass

import numpy as np

from curation_audit.observations import Candidates, Knowledge, Observation, Selection
from curation_audit.pipelines.base import PrivateRows, Rows
from curation_audit.pipelines.rules import TopFraction
from curation_audit.pipelines.scorers import Mean
from curation_audit.streams import ShadowStreams, Streams
from tests.statistics.evidence import random_coins

SCORER = Mean(metric="inner_product")
RULE = TopFraction(fraction=0.2)


@dataclass(frozen=True)
class World:
    observation: Observation
    inclusion: np.ndarray
    knowledge: Knowledge
    streams: ShadowStreams


def private_rows(features, unit=None, labels=None):
    unit = np.arange(len(features)) if unit is None else unit
    names = tuple(map(str, range(len(features))))
    return PrivateRows(names, features, unit, tuple(map(str, range(unit.max() + 1))), labels)


def public_rows(features):
    return Rows(tuple(map(str, range(len(features)))), features)


def leaky_probabilities(rng, labels, held, strength=2.0):
    """A logistic model of two classes that is surer of the labels of rows it holds."""
    margin = rng.standard_normal(held.shape) + strength * held
    of_label = 1 / (1 + np.exp(-margin))
    second = np.where(labels == 1, of_label, 1 - of_label)
    return np.stack([1 - second, second], axis=2).astype(np.float32)


def make_world(seed=0, n_pairs=12, n_candidates=20, d=8, n_pool=300):
    """Candidates of one row each, but for the last three, who have two rows."""
    rng = np.random.default_rng(seed)
    unit = np.append(np.arange(n_candidates), np.arange(n_candidates)[-3:])
    labels = rng.integers(0, 2, len(unit))
    private = private_rows(rng.standard_normal((len(unit), d)), unit, labels)
    pool = public_rows(rng.standard_normal((n_pool, d)))
    inclusion = random_coins(rng, n_pairs, n_candidates)
    streams = Streams(seed).for_shadows("test", range(2 * n_pairs))
    scores = SCORER.fit(private, inclusion, pool, streams=streams).score(pool.features)
    observation = Observation(
        scores,
        RULE.select(scores, np.arange(n_pool)),
        leaky_probabilities(rng, labels, inclusion[:, unit]),
    )
    knowledge = Knowledge(
        pool.features,
        Candidates(private.features, unit, n_candidates, labels),
        SCORER.linearise(private, pool),
    )
    return World(observation, inclusion, knowledge, streams)


def shadows_in_order(observation, order):
    """The same shadows in another order."""
    return Observation(
        observation.scores[order],
        Selection.from_mask(observation.selection.mask()[order]),
        observation.probabilities[order],
    )


def with_shadow(observation, s, other):
    """Shadow s replaced by what another observation shows there."""
    scores, probabilities = observation.scores.copy(), observation.probabilities.copy()
    mask = observation.selection.mask()
    scores[s], probabilities[s] = other.scores[s], other.probabilities[s]
    mask[s] = other.selection.mask()[s]
    return Observation(scores, Selection.from_mask(mask), probabilities)


def frozen(world):
    """The same world in which nothing can be written to."""
    for array in (
        world.inclusion,
        world.observation.scores,
        world.observation.probabilities,
        world.observation.selection.indices,
        world.observation.selection.offsets,
        world.knowledge.pool,
        world.knowledge.candidates.features,
        world.knowledge.candidates.unit,
        world.knowledge.candidates.labels,
        world.knowledge.linearisation.reference,
        world.knowledge.linearisation.influence,
        world.knowledge.linearisation.covariance,
    ):
        array.setflags(write=False)
    return world
