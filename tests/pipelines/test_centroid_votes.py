"""Votes for clusters of the pool: known answers beside the reference of the contract test."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from curation_audit.checks import SettingError
from curation_audit.config.sections import build_scorer
from curation_audit.pipelines.base import ALWAYS_IN, PrivateRows, Rows
from curation_audit.pipelines.protection import MECHANISMS
from curation_audit.pipelines.protection.protect import NATURAL
from curation_audit.pipelines.rules.threshold import Threshold
from curation_audit.pipelines.scorers import SCORERS, centroid_votes
from curation_audit.pipelines.scorers.centroid_votes import BoundCentroidVotes, CentroidVotes
from curation_audit.releases.public_maps import unit_rows
from curation_audit.streams import Streams

RNG = np.random.default_rng(5)
# three pool rows point to the right, two upwards; of the private rows two and one
RIGHT_AND_UP = Rows(tuple("abcde"), np.array([[9, 0], [9, 1], [9, -1], [0, 2], [0.1, 2]], float))
PRIVATE = PrivateRows(
    tuple("xyz"), np.array([[1, 0.1], [2, 0.3], [-0.1, 5]]), np.arange(3), tuple("xyz")
)
EVERYONE = np.ones((1, 3), dtype=bool)


def scores(scorer, private, coins, pool) -> np.ndarray:
    streams = Streams(0).for_shadows("shadow", range(len(coins)))
    return scorer.fit(private, np.asarray(coins, dtype=bool), pool, streams=streams).score(
        pool.features
    )


def bound(**settings) -> BoundCentroidVotes:
    found = CentroidVotes(clusters=2, **settings).bind(RIGHT_AND_UP)
    assert isinstance(found, BoundCentroidVotes)
    return found


def test_by_hand():
    coins = [[1, 1, 1], [1, 0, 0], [0, 0, 1], [0, 0, 0]]
    votes = scores(bound(), PRIVATE, coins, RIGHT_AND_UP)
    np.testing.assert_array_equal(
        votes, [[2, 2, 2, 1, 1], [1, 1, 1, 0, 0], [0, 0, 0, 1, 1], [0] * 5]
    )
    density = scores(bound(score="density"), PRIVATE, coins[:1], RIGHT_AND_UP)
    np.testing.assert_allclose(density, [[2 / 3, 2 / 3, 2 / 3, 1 / 2, 1 / 2]])
    occupied = Threshold(minimum=1).select(votes, np.arange(5))
    assert occupied.sizes.tolist() == [5, 3, 2, 0]


def test_a_row_that_is_always_in_and_several_of_a_unit_count_each():
    private = PrivateRows(
        tuple("wxyz"),
        np.array([[1, 0], [1, 0.1], [0, 1], [0, 2.0]]),
        np.array([ALWAYS_IN, 0, 0, 1]),
        ("p", "q"),
    )
    found = scores(bound(), private, [[0, 0], [1, 0], [0, 1]], RIGHT_AND_UP)
    np.testing.assert_array_equal(found[:, [0, 3]], [[1, 0], [2, 1], [1, 1]])


def test_equals_a_search_for_the_nearest_centroid(monkeypatch):
    """Of rows of length one the most similar centroid is the nearest: scipy's k-d tree."""
    monkeypatch.setattr(centroid_votes, "ROWS_PER_BLOCK", 64)
    pool = Rows(tuple(map(str, range(500))), RNG.normal(size=(500, 4)).astype(np.float32))
    ids = tuple(map(str, range(200)))
    private = PrivateRows(ids, RNG.normal(0.3, 1, (200, 4)).astype(np.float32), np.arange(200), ids)
    coins = RNG.random((6, 200)) < 0.5
    scorer = CentroidVotes(clusters=20).bind(pool)
    assert isinstance(scorer, BoundCentroidVotes)
    tree = cKDTree(scorer.map.centroids)
    mine, theirs = (tree.query(unit_rows(x))[1] for x in (private.features, pool.features))
    found = scores(scorer, private, coins, pool)
    for s, held in enumerate(coins):
        wanted = np.bincount(mine[held], minlength=20)[theirs]
        np.testing.assert_array_equal(found[s], wanted)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(scorer.map.sizes, np.bincount(theirs, minlength=20))


@pytest.mark.parametrize("score", ["votes", "density"])
def test_the_linearisation_is_exact(score):
    """Scores are ``embed @ w``, and a candidate's coin moves them by ``embed @ influence``."""
    scorer = bound(score=score)
    unit = np.array([0, 1, ALWAYS_IN])
    private = PrivateRows(PRIVATE.ids, PRIVATE.features, unit, ("p", "q"))
    linear = scorer.linearise(private, RIGHT_AND_UP)
    assert linear is not None
    embedded = scorer.embed(RIGHT_AND_UP.features)
    found = scores(scorer, private, [[0, 0], [1, 0], [0, 1], [1, 1]], RIGHT_AND_UP)
    for n in (0, 1):
        np.testing.assert_allclose(found[n + 1] - found[0], embedded @ linear.influence[n])
    np.testing.assert_allclose(found.mean(axis=0), embedded @ linear.reference)


def test_clusters_are_the_pools_alone_and_found_again():
    once, again = bound(), bound()
    assert once.describe() == again.describe()
    assert bound(score="density").describe() != once.describe()
    unbound = CentroidVotes(clusters=2)
    np.testing.assert_array_equal(
        scores(unbound, PRIVATE, EVERYONE, RIGHT_AND_UP),
        scores(once, PRIVATE, EVERYONE, RIGHT_AND_UP),
    )
    assert unbound.linearise(PRIVATE, RIGHT_AND_UP) is not None
    with pytest.raises(ValueError, match="bind"):
        unbound.embed(PRIVATE.features)


def test_settings_and_the_private_form_of_the_same_name():
    built = build_scorer({"method": "centroid_votes", "clusters": 7, "score": "density"}, "cpu")
    assert built == CentroidVotes(clusters=7, score="density")
    with pytest.raises(ValueError, match="clusters must be positive"):
        CentroidVotes(clusters=0)
    with pytest.raises(SettingError, match="found 6, but the pool has 5 rows"):
        CentroidVotes(clusters=6).bind(RIGHT_AND_UP)
    assert SCORERS["centroid_votes"] is CentroidVotes
    assert NATURAL["centroid_votes"] in MECHANISMS
    assert MECHANISMS["centroid_votes"] is not CentroidVotes
