"""Pairs of rows and candidates that are near, and thresholds read off the picks."""

import dataclasses
import itertools

import numpy as np
import pytest

from curation_audit.attacks import near_pairs
from curation_audit.attacks.base import OtherPairs
from curation_audit.attacks.mask_thresholds import (
    OtherCurations,
    curations_of_others,
    explained_picks,
    found_thresholds,
    kth_largest,
)
from curation_audit.attacks.near_pairs import NearPairs, similarities
from curation_audit.observations import (
    Candidates,
)
from curation_audit.pipelines.scorers import Nearest
from tests.attacks.picks import clustered, curated


def small_pairs(least=0.2, most=24):
    rng = np.random.default_rng(0)
    unit = np.array([0, 1, 2, 3, 4, 5, 1, 4])
    rows = rng.standard_normal((8, 3))
    candidates = Candidates(rows / np.linalg.norm(rows, axis=1, keepdims=True), unit, 6)
    pool = rng.standard_normal((30, 3))
    pool /= np.linalg.norm(pool, axis=1, keepdims=True)
    return pool, candidates, NearPairs.above(pool, candidates, least, most)


@pytest.mark.parametrize(("block", "most"), [(1024, 24), (7, 24), (1024, 2), (7, 1)])
def test_near_pairs_equal_the_loop(monkeypatch, block, most):
    monkeypatch.setattr(near_pairs, "ROWS_PER_BLOCK", block)
    pool, candidates, pairs = small_pairs(most=most)
    expected = []
    for x, row in enumerate(pool):
        alike = [
            max(row @ candidates.features[i] for i in np.flatnonzero(candidates.unit == t))
            for t in range(6)
        ]
        first = sorted(range(6), key=lambda t: -alike[t])[:most]
        expected += [(x, t, alike[t]) for t in range(6) if t in first and alike[t] >= 0.2]
    assert [(x, t) for x, t, _ in expected] == list(
        zip(pairs.row.tolist(), pairs.candidate.tolist(), strict=True)
    )
    np.testing.assert_allclose(pairs.similarity, [one[2] for one in expected])


def test_sums_over_near_pairs_equal_the_loop():
    _, _, pairs = small_pairs()
    values = np.random.default_rng(1).standard_normal((3, len(pairs.row)))
    per_row, per_candidate = pairs.per_row(values), pairs.per_candidate(values)
    assert pairs.rows.tolist() == sorted(set(pairs.row.tolist()))
    for s in range(3):
        for r, x in enumerate(pairs.rows):
            assert per_row[s, r] == pytest.approx(values[s, pairs.row == x].sum())
            assert (pairs.any_of_row(values > 1)[s, r]) == (values[s, pairs.row == x] > 1).any()
        for t in range(6):
            total = values[s, pairs.candidate == t].sum()
            assert per_candidate[s, t] == pytest.approx(total)
    eligible = values > 0
    nearest = pairs.nearest(eligible, 0.0)
    for s, x in itertools.product(range(3), pairs.rows):
        mine = np.flatnonzero((pairs.row == x) & eligible[s])
        best = [] if not len(mine) else [mine[pairs.similarity[mine].argmax()]]
        assert np.flatnonzero(nearest[s] & (pairs.row == x)).tolist() == best


def test_no_pair_is_near():
    pool, candidates, pairs = small_pairs(least=2.0)
    assert similarities(pool, candidates).shape == (30, 6)
    assert pairs.rows.tolist() == []
    assert pairs.per_candidate(np.zeros((2, 0))).tolist() == [[0.0] * 6] * 2
    assert pairs.any_of_row(np.zeros((2, 0), dtype=bool)).shape == (2, 0)


# --- thresholds -------------------------------------------------------------------------------


def test_the_kth_largest():
    scores = np.random.default_rng(0).standard_normal((5, 9)).astype(np.float32)
    for s, (found, k) in enumerate(
        zip(kth_largest(scores, np.array([1, 3, 9, 0, 2])), [1, 3, 9, 1, 2], strict=True)
    ):
        assert found == np.sort(scores[s])[-k]


def test_picks_explained_equal_the_loop():
    pool, candidates, pairs = small_pairs()
    rng = np.random.default_rng(2)
    alike = similarities(pool, candidates)
    mask = rng.random((6, 30)) < 0.6
    value = rng.uniform(0.4, 0.9, 6)
    found = explained_picks(value, mask, pairs)
    assert found.max() > 0
    for s in range(6):
        allowed = [t for t in range(6) if alike[~mask[s], t].max() < value[s]]
        reasons = [[t for t in allowed if alike[x, t] >= value[s]] for x in np.flatnonzero(mask[s])]
        assert found[s] == sum(bool(reason) for reason in reasons)


def test_others_teach_their_thresholds_and_their_slips():
    rng = np.random.default_rng(3)
    scores = rng.standard_normal((10, 200))
    mask = scores >= np.sort(scores, axis=1)[:, [-20]]
    # three picks of shadow 4 go to rows just below
    order = np.argsort(-scores[4])
    mask[4, order[[1, 5, 7]]], mask[4, order[[25, 30, 40]]] = False, True
    known = np.array([True, True, True, True, False])
    learnt = OtherCurations.of(scores, mask, OtherPairs(known), 0.0)
    value = np.sort(scores, axis=1)[:, -20]
    for j in range(5):
        rest = [s for s in range(8) if s // 2 != j]
        slips = 3 if 4 in rest else 0
        assert learnt.mean[j] == pytest.approx(value[rest].mean())
        assert learnt.spread[j] == pytest.approx(value[rest].std())
        assert learnt.missed[j] == pytest.approx((slips + 0.5) / (19 * len(rest) + 1))
        assert learnt.stray[j] == pytest.approx((slips + 0.5) / (180 * len(rest) + 1))


def test_the_picks_give_their_threshold_away():
    rng = np.random.default_rng(4)
    world = curated(*clustered(rng, 100, 4000, 16), Nearest(), 0.1, rng, 12)
    observation, inclusion, knowledge, _ = world
    hidden = dataclasses.replace(observation, thresholds=None)
    learnt = curations_of_others(hidden, inclusion, knowledge)
    found = found_thresholds(hidden, knowledge, learnt, most=24)
    spread = observation.thresholds.std()
    error = np.abs(found.value - observation.thresholds)
    assert np.sqrt((error**2).mean()) < 0.15 * spread
    assert (error < found.slack).mean() > 0.9
