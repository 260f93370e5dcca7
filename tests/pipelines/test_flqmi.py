"""Facility-location mutual information: numbers by hand, optima by enumeration, plain greedy."""

import itertools

import numpy as np
import pytest

from curation_audit.checks import SettingError
from curation_audit.config.sections import build_scorer
from curation_audit.pipelines.base import PrivateRows, Rows
from curation_audit.pipelines.rules.threshold import Threshold
from curation_audit.pipelines.rules.top import Greedy, TopK
from curation_audit.pipelines.scorers import lazy_greedy
from curation_audit.pipelines.scorers.flqmi import Flqmi
from curation_audit.streams import Streams
from tests.pipelines.vector_cases import greedy, mutual_information, ranks_of, similarities

RNG = np.random.default_rng(9)


def private_of(features) -> PrivateRows:
    ids = tuple(map(str, range(len(features))))
    return PrivateRows(ids, np.asarray(features, float), np.arange(len(ids)), ids)


def pool_of(features, dtype=np.float64) -> Rows:
    return Rows(tuple(map(str, range(len(features)))), np.asarray(features, dtype))


def fitted(scorer: Flqmi, private: PrivateRows, coins, pool: Rows):
    streams = Streams(0).for_shadows("shadow", range(len(coins)))
    return scorer.fit(private, np.asarray(coins, dtype=bool), pool, streams=streams)


def scores(scorer: Flqmi, private: PrivateRows, coins, pool: Rows) -> np.ndarray:
    return fitted(scorer, private, coins, pool).score(pool.features)


def angles(*degrees: float) -> np.ndarray:
    at = np.deg2rad(degrees)
    return np.column_stack([np.cos(at), np.sin(at)])


# T at 0 and 90 degrees; cosines of the pool at 0, 90, 45 and 180 degrees with them:
NEAR = np.array([[1, 0], [0, 1], [np.sqrt(0.5), np.sqrt(0.5)], [0, 0]])
BY_HAND = {
    # first the row between the two adds sqrt 2 + eta sqrt .5; then each other one its own rest
    0.0: {2: np.sqrt(2), 0: 1 - np.sqrt(0.5), 1: 1 - np.sqrt(0.5), 3: 0.0},
    # with eta 4 a row on a private one adds 1 + 4, the one between 2.83 + 1.41 = 4.24
    4.0: {0: 5.0, 1: 5.0, 2: 4 * np.sqrt(0.5), 3: 0.0},
}


@pytest.mark.parametrize("eta", BY_HAND)
def test_by_hand(eta):
    private, pool = (
        private_of(angles(0, 90)),
        pool_of(angles(0, 90, 45, 180) * [[3], [1], [2], [1]]),
    )
    found = scores(Flqmi(k=3, eta=eta), private, [[1, 1]], pool)[0]
    wanted = [BY_HAND[eta][row] for row in range(4)]
    np.testing.assert_allclose(found, wanted, atol=1e-14)
    assert len(set(found[:3].tolist())) == 3  # of two that add the same one stands first


@pytest.mark.parametrize("eta", [0.0, 0.5])
@pytest.mark.parametrize("n_private", [1, 4, 9])
def test_greedy_reaches_its_share_of_the_optimum(n_private, eta):
    """Nemhauser, Wolsey & Fisher 1978: at least 1 - 1/e of the best of all sets."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        private, pool = rng.normal(size=(n_private, 3)), rng.normal(size=(9, 3))
        near = similarities(private, pool)
        found = scores(
            Flqmi(k=3, eta=eta), private_of(private), np.ones((1, n_private)), pool_of(pool)
        )
        picks = np.argsort(-found[0])[:3].tolist()
        value = mutual_information(near, picks, eta)
        best = max(
            mutual_information(near, list(chosen), eta)
            for chosen in itertools.combinations(range(9), 3)
        )
        assert (1 - 1 / np.e) * best <= value <= best + 1e-12
        np.testing.assert_allclose(found[0, picks].sum(), value)  # what was added, in all


def worlds():
    """Private rows, pool, k and eta: generic ones, and ones full of ties."""
    rng = np.random.default_rng(4)
    twice = np.repeat(rng.normal(size=(12, 3)), 3, axis=0)
    axes = np.eye(4)[rng.integers(0, 4, 40)]
    return {
        "generic": (rng.normal(size=(15, 4)), rng.normal(size=(60, 4)), 20, 0.5),
        "no relevance": (rng.normal(size=(15, 4)), rng.normal(size=(60, 4)), 20, 0.0),
        "every row three times": (rng.normal(size=(8, 3)), twice, 20, 0.3),
        "axes only": (axes[:9], axes, 12, 1.0),
        "all of the pool": (rng.normal(size=(5, 3)), rng.normal(size=(11, 3)), 11, 1.0),
        "one row": (rng.normal(size=(3, 2)), rng.normal(size=(1, 2)), 1, 1.0),
    }


@pytest.mark.parametrize("world", worlds().values(), ids=worlds())
def test_equals_plain_greedy(monkeypatch, world):
    """Row by row by the definition, all gains anew in every step; and in the smallest parts."""
    private, pool, k, eta = world
    coins = np.concatenate(
        [
            np.random.default_rng(1).random((4, len(private))) < 0.5,
            np.zeros((1, len(private)), bool),
        ]
    )
    found = scores(Flqmi(k=k, eta=eta), private_of(private), coins, pool_of(pool))
    ranks = ranks_of(list(map(str, range(len(pool)))))
    for s, held in enumerate(coins):
        wanted = greedy(similarities(private[held], pool), ranks, k, eta)
        np.testing.assert_allclose(found[s], wanted, atol=1e-11)
    monkeypatch.setattr(lazy_greedy, "MOST_NUMBERS", 1)
    monkeypatch.setattr(lazy_greedy, "LOOKED_AT", 1)
    again = scores(Flqmi(k=k, eta=eta), private_of(private), coins, pool_of(pool))
    np.testing.assert_allclose(again, found, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("world", worlds().values(), ids=worlds())
def test_top_k_picks_the_greedy_set_and_scores_fall_along_it(world, dtype):
    """Whatever the order of ties, as no two picked rows have the same score."""
    private, pool, k, eta = world
    coins = np.stack([np.ones(len(private)), np.zeros(len(private))])
    found = scores(Flqmi(k=k, eta=eta), private_of(private), coins, pool_of(pool, dtype))
    assert found.dtype == dtype
    assert np.isfinite(found).all()
    falling = -np.sort(-found, axis=1)
    assert (np.diff(falling[:, :k]) < 0).all()
    assert (falling[:, k:] < falling[:, k - 1 : k]).all()
    orders = (np.arange(len(pool)), np.arange(len(pool))[::-1])
    picks = [TopK(k=k).select(found, order).indices for order in orders]
    np.testing.assert_array_equal(*picks)


def test_the_order_of_the_pool_does_not_matter():
    """Of rows that add the same, ids choose."""
    _, twice, k, eta = worlds()["every row three times"]
    private, pool = private_of(RNG.normal(size=(8, 3))), pool_of(twice)
    order = RNG.permutation(len(twice))
    moved = Rows(tuple(pool.ids[i] for i in order), pool.features[order])
    found = scores(Flqmi(k=k, eta=eta), private, np.ones((1, 8)), pool)
    again = scores(Flqmi(k=k, eta=eta), private, np.ones((1, 8)), moved)
    np.testing.assert_allclose(again, found[:, order], atol=1e-12)


def test_rows_are_known_by_their_features():
    """Equal rows one by one, and a row that is not of the pool by what it would add."""
    private, pool = private_of(angles(0, 90)), pool_of(angles(0, 45, 45, 180))
    scorer = fitted(Flqmi(k=2, eta=0.0), private, [[1, 1]], pool)
    whole = scorer.score(pool.features)[0]
    picked, other = sorted((1, 2), key=lambda row: -whole[row])
    assert whole[picked] == pytest.approx(np.sqrt(2))
    assert whole[other] == pytest.approx(0)
    np.testing.assert_array_equal(scorer.score(pool.features[2:0:-1])[0], whole[[1, 2]])
    np.testing.assert_array_equal(scorer.score(pool.features[[3, 0]])[0], whole[[3, 0]])
    # 0 and 45 degrees are picked: one at 90 would add the rest of the way, one at 0 nothing
    found = scorer.score(np.concatenate([angles(90) * 2, angles(0) * 2, pool.features[:1]]))[0]
    np.testing.assert_allclose(found, [1 - np.sqrt(0.5), 0, whole[0]], atol=1e-15)
    assert found[0] < whole[0]


def test_lazy_is_lazy(monkeypatch):
    """Far fewer gains are computed than k times m: what the bounds are for."""
    asked = []
    plain = lazy_greedy._gains_of

    def counted(coverage, rows, covered, these):
        asked.append(these.size)
        return plain(coverage, rows, covered, these)

    monkeypatch.setattr(lazy_greedy, "_gains_of", counted)
    private, pool = RNG.normal(size=(50, 8)), RNG.normal(size=(2000, 8))
    coins = RNG.random((4, 50)) < 0.5
    scores(Flqmi(k=100), private_of(private), coins, pool_of(pool))
    assert sum(asked) < 0.1 * 4 * 100 * 2000


def test_a_rule_may_not_pick_more_than_was_taken():
    scorer = Flqmi(k=5)
    for rule in (TopK(k=5), Greedy(k=2), Threshold(minimum=0.5)):
        scorer.check_use(rule, 0)
    for kind in (TopK, Greedy):
        with pytest.raises(SettingError, match=r"curate.select.k: found 6, but flqmi takes 5 rows"):
            scorer.check_use(kind(k=6), 0)


def test_settings():
    assert build_scorer({"method": "flqmi", "k": 5}, "cpu") == Flqmi(k=5, eta=1.0)
    with pytest.raises(ValueError, match="k must be positive"):
        Flqmi(k=0)
    with pytest.raises(ValueError, match="eta must be 0 or more"):
        Flqmi(k=1, eta=-0.1)
    with pytest.raises(SettingError, match=r"curate.scorer.k: found 3, but the pool has 2 rows"):
        scores(Flqmi(k=3), private_of(angles(0)), [[1]], pool_of(angles(0, 1)))
