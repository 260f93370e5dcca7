"""The filter learnt from shadows against a loop that writes the covariance out."""

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf

from curation_audit.attacks.lira_best_row import LiraBestRow
from curation_audit.attacks.shadow_filter import ShadowFilter
from curation_audit.observations import Knowledge, Observation, Selection
from curation_audit.statistics import PairedEvidence, clustered_auc
from curation_audit.streams import Streams
from tests.attacks.world import make_world
from tests.statistics.evidence import random_coins


def attacked(scores, inclusion, known=None):
    seen = Observation(
        scores, Selection.from_mask(scores > np.inf), np.zeros((*inclusion.shape, 2), "f4")
    )
    streams = Streams(0).for_shadows("t", range(len(scores)))
    return ShadowFilter().evidence(seen, inclusion, Knowledge(known_pairs=known), streams=streams)


def looped(scores, inclusion, known):
    evidence = np.zeros(inclusion.shape)
    change = scores[0::2] - scores[1::2]
    coins = np.where(inclusion[0::2], 1.0, -1.0)
    for s in range(len(scores)):
        rest = [j for j in np.flatnonzero(known) if j != s // 2]
        covariance = ledoit_wolf(change[rest], assume_centered=True)[0]
        moved = change[rest].T @ coins[rest] / len(rest)
        shadows = [t for j in rest for t in (2 * j, 2 * j + 1)]
        deviation = scores[s] - scores[shadows].mean(axis=0)
        evidence[s] = deviation @ np.linalg.solve(covariance, moved)
    return evidence


@pytest.mark.parametrize("known", [range(7), [0, 2, 3, 6]], ids=["all", "a fit block"])
@pytest.mark.parametrize("m", [5, 30])
def test_the_closed_form_equals_the_loop(m, known):
    rng = np.random.default_rng(0)
    inclusion = random_coins(rng, 7, 6)
    scores = 3 + inclusion @ rng.standard_normal((6, m)) + rng.standard_normal((14, m))
    known = np.isin(np.arange(7), known)
    expected = looped(scores, inclusion, known)
    np.testing.assert_allclose(attacked(scores, inclusion, known), expected, rtol=1e-7, atol=1e-9)


def test_scores_that_are_all_equal_tell_nothing():
    inclusion = random_coins(np.random.default_rng(1), 6, 5)
    found = attacked(np.full((12, 20), 0.1, dtype=np.float32), inclusion)
    assert not found.any()


def test_the_whole_vector_tells_more_than_its_best_row_where_many_rows_move():
    world = make_world(seed=2, n_pairs=64, n_candidates=100, d=32, n_pool=400)
    aucs = [
        clustered_auc(
            PairedEvidence.split(
                attack.evidence(
                    world.observation, world.inclusion, world.knowledge, streams=world.streams
                ),
                world.inclusion,
            )
        ).auc
        for attack in (ShadowFilter(), LiraBestRow())
    ]
    assert aucs[0] > aucs[1] + 0.03
