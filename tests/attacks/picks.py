"""What shadows show of picks only, and how well an attack does on it."""

import dataclasses

import numpy as np

from curation_audit.observations import KNOWABLE, Candidates, Knowledge, Observation
from curation_audit.pipelines.rules import TopFraction
from curation_audit.statistics import PairedEvidence, clustered_auc
from curation_audit.streams import Streams
from tests.attacks.world import private_rows, public_rows
from tests.statistics.evidence import random_coins


def curated(private, pool, scorer, fraction, rng, n_pairs, told=True):
    """What ``n_pairs`` pairs of shadows show, and what is known of them."""
    private, pool = private_rows(private), public_rows(pool)
    inclusion = random_coins(rng, n_pairs, private.n_candidates)
    streams = Streams(0).for_shadows("test", range(2 * n_pairs))
    rule, order = TopFraction(fraction=fraction), np.arange(len(pool.features))

    def score(inclusion):
        return scorer.fit(private, inclusion, pool, streams=streams).score(pool.features)

    scores = score(inclusion)
    selection = rule.select(scores, order)
    lowest = np.where(selection.mask(), scores, np.inf).min(axis=1).astype(np.float64)
    empty = np.zeros((2 * n_pairs, 0, 2), dtype=np.float32)
    observation = Observation(scores, selection, empty, thresholds=lowest if told else None)
    knowledge = Knowledge(
        granted=KNOWABLE,
        pool=scorer.embed(pool.features),
        candidates=Candidates(scorer.embed(private.features), private.unit, private.n_candidates),
        linearisation=scorer.linearise(private, pool),
        score=score,
    )
    return observation, inclusion, knowledge, streams


def run(attack, world):
    observation, inclusion, knowledge, streams = world
    # what attacks on the picks must not need
    blind = np.full_like(observation.scores, np.nan)
    observation = dataclasses.replace(observation, scores=blind)
    return attack.evidence(observation, inclusion, knowledge, streams=streams)


def auc(attack, world):
    return clustered_auc(PairedEvidence.split(run(attack, world), world[1])).auc


def at_one_percent(attack, world):
    """True-positive rate at a false-positive rate of 1 %, all cells pooled."""
    found, inclusion = run(attack, world), world[1]
    return (found[inclusion] > np.quantile(found[~inclusion], 0.99)).mean()


def clustered(rng, n, n_pool, d, n_clusters=50, spread=0.5):
    centres = rng.standard_normal((n_clusters, d))

    def draw(k):
        cluster = rng.integers(0, n_clusters, k)
        return (centres[cluster] + spread * rng.standard_normal((k, d))).astype(np.float32)

    return draw(n), draw(n_pool)
