"""The mean similarity to the nearest private rows: known answers, short lists, the same bits."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from curation_audit.checks import SettingError
from curation_audit.config.sections import Problem, build_scorer
from curation_audit.pipelines.base import ALWAYS_IN, PrivateRows, Rows
from curation_audit.pipelines.protection.base import Site
from curation_audit.pipelines.protection.noisy_top_k import NoisySelection
from curation_audit.pipelines.scorers import nearest
from curation_audit.pipelines.scorers.nearest import Nearest, largest_columns
from curation_audit.streams import Streams

RNG = np.random.default_rng(3)
METRICS = ("cosine", "inner_product", "l2")


def private_of(features, unit=None) -> PrivateRows:
    rows = np.asarray(features)
    units = np.arange(len(rows)) if unit is None else np.asarray(unit)
    ids = tuple(map(str, range(len(rows))))
    return PrivateRows(ids, rows, units, tuple(map(str, range(units.max() + 1))))


def pool_of(features) -> Rows:
    return Rows(tuple(map(str, range(len(features)))), np.asarray(features))


def scores(scorer: Nearest, private: PrivateRows, inclusion, pool: Rows) -> np.ndarray:
    coins = np.asarray(inclusion, dtype=bool)
    streams = Streams(0).for_shadows("shadow", range(len(coins)))
    return scorer.fit(private, coins, pool, streams=streams).score(pool.features)


def by_sorting(scorer: Nearest, private, held, pool) -> np.ndarray:
    """One shadow at a time, all rows sorted."""
    found = np.empty((len(held), len(pool)))
    for s, mask in enumerate(held):
        t = private[mask].astype(np.float64)
        for i, x in enumerate(pool.astype(np.float64)):
            if scorer.metric == "l2":
                near = [-math.dist(x, one) for one in t]
            else:
                near = [math.fsum(x * one) for one in t]
            if scorer.metric == "cosine":
                lengths = [math.hypot(*x) * math.hypot(*one) for one in t]
                near = [a / b if b else 0.0 for a, b in zip(near, lengths, strict=True)]
            found[s, i] = np.mean(sorted(near)[-scorer.j :])
    return found


T = [[3.0, 4.0], [0.0, 2.0], [-1.0, 0.0]]
BY_HAND = {
    # x = (2, 0): cosines .6, 0, -1; products 6, 0, -2; distances sqrt 17, sqrt 8, 3
    ("cosine", 1): 0.6,
    ("cosine", 2): 0.3,
    ("cosine", 3): -0.4 / 3,
    ("inner_product", 1): 6.0,
    ("inner_product", 2): 3.0,
    ("l2", 1): -math.sqrt(8),
    ("l2", 2): -(math.sqrt(8) + 3) / 2,
    ("l2", 7): -(math.sqrt(8) + 3 + math.sqrt(17)) / 3,  # there are three
}


@pytest.mark.parametrize(("metric", "j"), BY_HAND)
def test_by_hand(metric, j):
    found = scores(Nearest(metric=metric, j=j), private_of(T), [[1, 1, 1]], pool_of([[2.0, 0.0]]))
    np.testing.assert_allclose(found, [[BY_HAND[metric, j]]], atol=1e-15)


@pytest.mark.parametrize(("metric", "score"), [("cosine", -1), ("inner_product", -25), ("l2", -10)])
def test_nobody_scores_the_lowest_that_rows_like_the_pools_can(metric, score):
    """The longest pool row has length 5: products from -25, distances up to 10."""
    pool = pool_of([[3.0, 4.0], [0.0, 1.0]])
    found = scores(Nearest(metric=metric, j=2), private_of(T), [[0, 0, 0], [1, 0, 0]], pool)
    np.testing.assert_array_equal(found[0], [score, score])
    assert (found[1] > score).all()


@pytest.mark.parametrize("j", [1, 4, 30])
@pytest.mark.parametrize(("metric", "theirs"), [("cosine", "cosine"), ("l2", "euclidean")])
def test_equals_scikit_learns_neighbours(metric, theirs, j):
    private, pool = RNG.normal(size=(300, 6)), RNG.normal(size=(500, 6))
    coins = RNG.random((5, 300)) < 0.5
    found = scores(Nearest(metric=metric, j=j), private_of(private), coins, pool_of(pool))
    for s, held in enumerate(coins):
        model = NearestNeighbors(n_neighbors=j, metric=theirs, algorithm="brute")
        distance = model.fit(private[held]).kneighbors(pool)[0].mean(axis=1)
        wanted = 1 - distance if metric == "cosine" else -distance
        np.testing.assert_allclose(found[s], wanted, atol=1e-7)  # theirs loses half of the digits


def short_lists():
    """Private rows (n, d), unit of each, and coins of which lists hold too few."""
    n = 400
    rows = RNG.normal(size=(n, 3))
    rows[200:] = rows[0] + 0.01 * RNG.normal(size=(200, 3))  # one patient of 200 rows
    patient = np.append(np.arange(200), np.zeros(200, dtype=np.int64))
    few, half = np.zeros((4, 200), dtype=bool), RNG.random((4, 200)) < 0.5
    few[[0, 1, 1, 2], [5, 6, 7, 199]] = True  # and a shadow that holds nothing
    half[:2, 0] = False
    always = np.where(np.arange(n) == 30, ALWAYS_IN, patient)
    return {
        "a patient of 200 rows": (rows, patient, half),
        "shadows of one row": (rows, patient, few[:3]),
        "a row that is always in": (rows, always, few),
    }


@pytest.mark.parametrize("case", short_lists().values(), ids=short_lists())
@pytest.mark.parametrize("j", [1, 3])
@pytest.mark.parametrize("metric", METRICS)
def test_where_lists_hold_too_few(metric, j, case):
    rows, unit, coins = case
    private, pool = private_of(rows, unit), RNG.normal(size=(40, 3))
    scorer = Nearest(metric=metric, j=j)
    found = scores(scorer, private, coins, pool_of(pool))
    wanted = by_sorting(scorer, rows, private.row_inclusion(coins), pool)
    np.testing.assert_allclose(found, wanted, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("metric", METRICS)
def test_the_bits_depend_on_neither_blocks_nor_order_nor_threads(monkeypatch, metric, dtype):
    """BLAS alone would not do: its sums hang on where in a product a row stands."""
    private, pool = RNG.normal(size=(399, 30)).astype(dtype), RNG.normal(size=(600, 30))
    pool[300:400] = pool[:100]
    pool = pool.astype(dtype)
    coins = RNG.random((8, 399)) < 0.5
    scorer, order = Nearest(metric=metric, j=2), RNG.permutation(600)
    with threadpool_limits(1):
        found = scores(scorer, private_of(private), coins, pool_of(pool))
        moved = scores(scorer, private_of(private), coins, pool_of(pool[order]))
    np.testing.assert_array_equal(moved, found[:, order])
    np.testing.assert_array_equal(found[:, 300:400], found[:, :100])
    others = RNG.permutation(399)
    with threadpool_limits(2):
        moved = scores(scorer, private_of(private[others]), coins[:, others], pool_of(pool))
    np.testing.assert_array_equal(moved, found)
    for rows_per_block, numbers in ((7, 2**23), (256, 5000)):
        monkeypatch.setattr(nearest, "ROWS_PER_BLOCK", rows_per_block)
        monkeypatch.setattr(nearest, "MOST_NUMBERS", numbers)
        again = scores(scorer, private_of(private), coins, pool_of(pool))
        np.testing.assert_array_equal(again, found)


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 3),
    st.integers(1, 900),
    st.integers(1, 30),
    st.integers(1, 40),
)
def test_the_largest_columns_are_those_that_sorting_finds(seed, n_rows, n_columns, n, n_values):
    n = min(n, n_columns)
    values = np.random.default_rng(seed).integers(0, n_values, (n_rows, n_columns)).astype(float)
    columns = largest_columns(values, n)
    assert all(len(set(row)) == n for row in columns.tolist())
    found = np.sort(np.take_along_axis(values, columns, 1), axis=1)
    np.testing.assert_array_equal(found, np.sort(values, axis=1)[:, n_columns - n :])


def test_families_are_what_attacks_may_assume():
    """``nearest``: the score is the largest product of embedded rows."""
    for metric in METRICS:
        for j in (1, 2):
            scorer = Nearest(metric=metric, j=j)
            private, pool = private_of(RNG.normal(size=(9, 4))), pool_of(RNG.normal(size=(7, 4)))
            products = scorer.embed(pool.features) @ scorer.embed(private.features).T
            found = scores(scorer, private, np.ones((1, 9)), pool)[0]
            is_maximum = np.allclose(found, products.max(axis=1), atol=1e-12)
            assert is_maximum == (scorer.family == "nearest")
            assert scorer.linearise(private, pool) is None
            again = scorer.unembed(scorer.embed(pool.features), 2.0)
            np.testing.assert_allclose(scorer.embed(again), scorer.embed(pool.features), atol=1e-15)
    assert Nearest().family == "nearest"


def test_settings():
    built = build_scorer({"method": "nearest", "metric": "l2", "j": 5}, "cpu")
    assert built == Nearest(metric="l2", j=5)
    with pytest.raises(Problem, match="manhattan"):
        build_scorer({"method": "nearest", "metric": "manhattan"}, "cpu")
    with pytest.raises(ValueError, match="j must be positive"):
        Nearest(j=0)


@pytest.mark.parametrize(
    "scorer", [Nearest(metric="l2"), Nearest(metric="inner_product"), Nearest(j=2)]
)
def test_noise_on_the_picks_is_not_even_forced_where_no_range_is_known(scorer):
    """Cosines lie within 2; products and distances have no such end, means of j no direction."""
    site = Site(
        private=private_of(T),
        pool=pool_of(np.array(T)),
        scorer=scorer,
        adjacency="add_remove",
        seed=0,
        device="cpu",
    )
    assert NoisySelection(force=True).bounded(site, Nearest()).delta_inf == 2
    with pytest.raises(SettingError, match="cannot bound"):
        NoisySelection(force=True).bounded(site, scorer)
    with pytest.raises(SettingError, match="cannot protect nearest"):
        NoisySelection().bounded(site, scorer)


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")  # the library's own
@pytest.mark.parametrize("metric", ["cosine", "inner_product", "l2"])
@pytest.mark.parametrize("j", [1, 5])
def test_a_flat_index_of_faiss_says_the_same(metric, j):
    """faiss 1.15.1 over the rows that each shadow holds; it sums in another order (float32)."""
    faiss = pytest.importorskip("faiss")
    rng = np.random.default_rng(7)
    private, pool = (rng.normal(size=(n, 16)).astype(np.float32) for n in (300, 500))
    inclusion = rng.random((6, 300)) < 0.5
    scorer = Nearest(metric=metric, j=j)
    rows = PrivateRows(
        tuple(map(str, range(300))), private, np.arange(300), tuple(map(str, range(300)))
    )
    found = scorer.fit(
        rows,
        inclusion,
        Rows(tuple(map(str, range(500))), pool),
        streams=Streams(0).for_shadows("x", range(6)),
    ).score(pool)
    for held, scores in zip(inclusion, found, strict=True):
        index = faiss.IndexFlatL2(16) if metric == "l2" else faiss.IndexFlatIP(16)
        index.add(scorer.embed(private[held]))
        near, _ = index.search(scorer.embed(pool), j)
        wanted = -np.sqrt(near) if metric == "l2" else near
        np.testing.assert_allclose(scores, wanted.mean(axis=1), rtol=1e-5, atol=1e-5)
