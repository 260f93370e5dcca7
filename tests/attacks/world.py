"""A small leaky world: a mean scorer on Gaussian rows, and a model that favours its members."""

import dataclasses
from dataclasses import dataclass, fields

import numpy as np

from curation_audit.attacks.linear_scores import roots
from curation_audit.observations import (
    KNOWABLE,
    Candidates,
    FirstOrder,
    Knowledge,
    Observation,
    Planted,
    Selection,
)
from curation_audit.pipelines.base import PrivateRows, Rows
from curation_audit.pipelines.rules import TopFraction
from curation_audit.pipelines.scorers import Mean, Nearest
from curation_audit.streams import ShadowStreams, Streams
from tests.statistics.evidence import random_coins

SCORER = Mean(metric="inner_product")
NEAREST = Nearest()
RULE = TopFraction(fraction=0.2)
N_CLASSES = 2
N_QUERIED = 60


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


def planted_rows(seed, inclusion):
    """Two rows aimed at each candidate but three, in no order, and a model that knows them."""
    rng = np.random.default_rng([seed, 1])
    target = rng.permutation(np.repeat(np.arange(inclusion.shape[1] - 3), 2))
    labels = rng.integers(0, N_CLASSES, len(target))
    return Planted(target, labels), leaky_probabilities(rng, labels, inclusion[:, target])


def first_order_of(linearisation, pool):
    """What references would show of a scorer that is linear in the coins."""
    root, inverse = roots(pool)
    return FirstOrder((pool @ inverse).T, linearisation.influence @ root)


def make_world(seed=0, n_pairs=12, n_candidates=20, d=8, n_pool=300, scorer=SCORER):
    """Candidates of one row each, but for the last three, who have two rows."""
    rng = np.random.default_rng(seed)
    unit = np.append(np.arange(n_candidates), np.arange(n_candidates)[-3:])
    labels = rng.integers(0, N_CLASSES, len(unit))
    private = private_rows(rng.standard_normal((len(unit), d)), unit, labels)
    pool = public_rows(rng.standard_normal((n_pool, d)))
    inclusion = random_coins(rng, n_pairs, n_candidates)
    streams = Streams(seed).for_shadows("test", range(2 * n_pairs))

    def score(inclusion):
        return scorer.fit(private, inclusion, pool, streams=streams).score(pool.features)

    def select(scores, trials):
        return RULE.select(scores, np.arange(n_pool))

    def train(scores, rows, trials):
        held = select(scores, trials).mask()[:, rows]
        return leaky_probabilities(np.random.default_rng([seed, 2]), pool_labels[rows], held, 4.0)

    scores = score(inclusion)
    selection = select(scores, range(len(scores)))
    queried = np.arange(min(N_QUERIED, n_pool))
    pool_labels = rng.integers(0, N_CLASSES, n_pool)
    planted, planted_probabilities = planted_rows(seed, inclusion)
    observation = Observation(
        scores,
        selection,
        leaky_probabilities(rng, labels, inclusion[:, unit]),
        leaky_probabilities(rng, pool_labels[queried], selection.mask()[:, queried], 4.0),
        np.where(selection.mask(), scores, np.inf).min(axis=1).astype(np.float64),
        planted_probabilities,
    )
    linearisation, embedded = scorer.linearise(private, pool), scorer.embed(pool.features)
    first_order = None if linearisation is None else first_order_of(linearisation, embedded)
    another = {"nearest scorer"} if linearisation else {"linear scorer", "trained references"}
    knowledge = Knowledge(
        granted=KNOWABLE - another,
        pool=embedded,
        pool_labels=pool_labels,
        candidates=Candidates(scorer.embed(private.features), unit, n_candidates, labels),
        linearisation=linearisation,
        score=score,
        select=select,
        train=train,
        first_order=None if first_order is None else lambda: first_order,
        queried=queried,
        planted=planted,
    )
    return World(observation, inclusion, knowledge, streams)


ARRAYS = ("scores", "probabilities", "at_pool", "thresholds", "planted")


def shadows_in_order(observation, order):
    """The same shadows in another order."""
    return dataclasses.replace(
        observation,
        selection=Selection.from_mask(observation.selection.mask()[order]),
        **{name: getattr(observation, name)[order] for name in ARRAYS},
    )


def with_shadow(observation, s, other):
    """Shadow s replaced by what another observation shows there."""
    return with_shadows(observation, [s], other)


def with_shadows(observation, rows, other):
    """Some shadows replaced by what another observation shows there."""

    def mixed(mine, theirs):
        mine = mine.copy()
        mine[rows] = theirs[rows]
        return mine

    mask = mixed(observation.selection.mask(), other.selection.mask())
    return dataclasses.replace(
        observation,
        selection=Selection.from_mask(mask),
        **{name: mixed(getattr(observation, name), getattr(other, name)) for name in ARRAYS},
    )


def frozen(world):
    """The same world in which nothing can be written to."""
    parts = (world, world.observation, world.observation.selection, world.knowledge)
    parts += (world.knowledge.candidates, world.knowledge.linearisation)
    for part in parts:
        for array in () if part is None else [getattr(part, f.name) for f in fields(part)]:
            if isinstance(array, np.ndarray):
                array.setflags(write=False)
    return world
