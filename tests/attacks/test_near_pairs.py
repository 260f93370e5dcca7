"""Pairs of rows and candidates that are near, and thresholds read off the picks."""

import dataclasses
import itertools

import numpy as np
import pytest

from curation_audit.attacks import near_pairs, places
from curation_audit.attacks.base import OtherPairs
from curation_audit.attacks.mask_thresholds import (
    OtherCurations,
    Tallies,
    curations_of_others,
    explained_picks,
    found_thresholds,
    kth_largest,
)
from curation_audit.attacks.near_pairs import NearPairs, depths
from curation_audit.attacks.places import N_NEAREST, Neighbours
from curation_audit.observations import (
    Candidates,
)
from curation_audit.pipelines.scorers import Nearest
from tests.attacks.picks import clustered, curated


def best_alike(pool, candidates):
    """The similarity of each row to each candidate's most similar row, by the definition."""
    alike = pool @ candidates.features.T
    columns = [alike[:, candidates.unit == t].max(axis=1) for t in range(candidates.n_candidates)]
    return np.stack(columns, axis=1)


def small_pairs(least=0.2, most=24):
    rng = np.random.default_rng(0)
    unit = np.array([0, 1, 2, 3, 4, 5, 1, 4])
    rows = rng.standard_normal((8, 3))
    candidates = Candidates(rows / np.linalg.norm(rows, axis=1, keepdims=True), unit, 6)
    pool = rng.standard_normal((30, 3))
    pool /= np.linalg.norm(pool, axis=1, keepdims=True)
    nearest = Neighbours.of(pool, candidates, N_NEAREST)
    low = np.atleast_1d(np.asarray(least, dtype=np.float64))
    return pool, candidates, NearPairs.above(nearest, low, most, candidates)


@pytest.mark.parametrize(("block", "most"), [(1024, 24), (7, 24), (1024, 2), (7, 1)])
def test_near_pairs_equal_the_loop(monkeypatch, block, most):
    monkeypatch.setattr(places, "POOL_ROWS_PER_BLOCK", block)
    pool, candidates, pairs = small_pairs(most=most)
    expected = []
    for x, row in enumerate(pool):
        alike = [
            max(row @ candidates.features[i] for i in np.flatnonzero(candidates.unit == t))
            for t in range(6)
        ]
        first = sorted(range(6), key=lambda t: -alike[t])[:most]
        expected += [(x, t, alike[t]) for t in range(6) if t in first and alike[t] >= 0.2]
    # in a row the nearest first
    expected = sorted(expected, key=lambda one: (one[0], -one[2]))
    assert [(x, t) for x, t, _ in expected] == list(
        zip(pairs.row.tolist(), pairs.candidate.tolist(), strict=True)
    )
    assert pairs.depth.tolist() == [min(most, 6)]
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
    _, _, pairs = small_pairs(least=2.0)
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


@pytest.mark.parametrize("depth", [6, 2, 1])
def test_picks_explained_equal_the_loop(depth):
    pool, candidates, pairs = small_pairs()
    rng = np.random.default_rng(2)
    alike = best_alike(pool, candidates)
    mask = rng.random((6, 30)) < 0.6
    grid = np.sort(rng.uniform(0.4, 0.9, (6, 17)), axis=1)
    pairs = dataclasses.replace(pairs, depth=np.full(6, depth))
    found = explained_picks(grid, mask, pairs, pairs.looked_at(slice(0, 6)))
    assert found.max() > 0
    hidden = alike < np.sort(alike, axis=1)[:, [-depth]]
    alike[hidden] = -1
    for s, g in itertools.product(range(6), range(17)):
        value = grid[s, g]
        allowed = [t for t in range(6) if alike[~mask[s], t].max() < value]
        reasons = [[t for t in allowed if alike[x, t] >= value] for x in np.flatnonzero(mask[s])]
        assert found[s, g] == sum(bool(reason) for reason in reasons)


# --- crowded rows -----------------------------------------------------------------------------


def looped_depth(similarity, low):
    """The largest number of ranks whose pairs above ``low`` are few enough, or one."""
    for k in range(similarity.shape[1], 1, -1):
        if (similarity[:, :k] >= low).sum() <= near_pairs.PAIRS_PER_ROW * len(similarity):
            return k
    return 1


def test_depths_equal_the_loop():
    rng = np.random.default_rng(5)
    similarity = -np.sort(-rng.random((50, 24)).astype(np.float32), axis=1)
    low = np.append(rng.random(40), [0.0, 2.0, np.inf, similarity[7, 3]])
    found = depths(similarity, low)
    assert found.tolist() == [looped_depth(similarity, one) for one in low]
    assert found.min() == near_pairs.PAIRS_PER_ROW
    assert found.max() == 24
    # a row that has many is looked at as far as all others leave room
    assert depths(np.ones((50, 24)), np.array([0.5, 1.5])).tolist() == [4, 24]


def test_what_a_shadow_looks_at_hangs_on_its_own_threshold(monkeypatch):
    monkeypatch.setattr(near_pairs, "PAIRS_PER_ROW", 1)
    seen = []
    for other in (-1.0, 0.4, np.inf):  # another shadow, with a low threshold and a high one
        _, _, pairs = small_pairs(least=[0.5, other])
        mine = pairs.looked_at(slice(0, 1))[0] & (pairs.similarity >= 0.5)
        seen.append(sorted(zip(pairs.row[mine], pairs.candidate[mine], strict=True)))
    assert seen[0] == seen[1] == seen[2]
    assert len(seen[0]) > 0


def test_pairs_are_few_however_low_a_threshold_is():
    rng = np.random.default_rng(6)
    nearest = Neighbours(
        rng.integers(0, 99, (500, 32)).astype(np.int32), rng.random((500, 32)), complete=False
    )
    candidates = Candidates(np.zeros((99, 1)), np.arange(99), 99)
    pairs = NearPairs.above(nearest, np.zeros(8), 24, candidates)
    assert len(pairs.row) <= near_pairs.PAIRS_PER_ROW * 500


def test_others_teach_their_thresholds_and_their_slips():
    rng = np.random.default_rng(3)
    scores = rng.standard_normal((10, 200))
    mask = scores >= np.sort(scores, axis=1)[:, [-20]]
    # three picks of shadow 4 go to rows just below
    order = np.argsort(-scores[4])
    mask[4, order[[1, 5, 7]]], mask[4, order[[25, 30, 40]]] = False, True
    known = np.array([True, True, True, True, False])
    learnt = OtherCurations.of(Tallies.of(scores, mask, 0.0), OtherPairs(known))
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
