"""LESS: hand-worked numbers, subtasks, and its weights. Adam itself: ``test_gradients``."""

import math
from pathlib import Path

import numpy as np
import pytest

from curation_audit.analytic.affine import Linear
from curation_audit.auditing.adversary import knowledge_of
from curation_audit.checks import SettingError
from curation_audit.config import load_plan
from curation_audit.pipelines.base import PrivateRows, Rows
from curation_audit.pipelines.scorers import less
from curation_audit.pipelines.scorers.less import BoundLess, Less, LessMap
from curation_audit.streams import Streams
from curation_audit.training.gradients import Projection
from curation_audit.training.public_model import Checkpoint

GALLERY = Path(__file__).parents[2] / "curation_audit" / "pipelines" / "gallery"
STREAMS = Streams(0).for_shadows("test", range(4))
ROOT_5, ROOT_2 = math.sqrt(5), math.sqrt(2)


def private_rows(features, labels) -> PrivateRows:
    names = tuple(map(str, range(len(features))))
    rows = np.array(features, dtype=np.float64)[:, None]
    return PrivateRows(names, rows, np.arange(len(names)), names, np.array(labels))


def untrained(rate=1.0, bias=(0.0, 0.0)) -> Checkpoint:
    """One feature, two classes, all weights 0, before Adam's first step."""
    return Checkpoint((np.zeros((1, 2)), np.array(bias)), np.zeros(4), np.zeros(4), 0, rate)


def scorer_of(*checkpoints, subtasks="labels") -> BoundLess:
    settings = Less(subtasks=subtasks)
    return BoundLess(settings, LessMap(checkpoints, Projection(4, 256), "cpu"))


def scores(scorer, private, coins, asked, labels):
    coins = np.array(coins, dtype=bool)
    fitted = scorer.fit(private, coins, None, streams=STREAMS)
    return fitted.score(np.array(asked, dtype=np.float64)[:, None], np.array(labels))


def test_by_hand():
    """With p = 1/2 the gradient of the loss at (x, y) is s (x, -x, 1, -1) / 2, s = +-1 by y.

    Adam's first step goes along the signs of a gradient, so that a pool row with x > 0 has the
    query s (1, -1, 1, -1) / 2. A private row t = 3 has s (3, -3, 1, -1) / sqrt(20), one of t = 1
    s (1, -1, 1, -1) / 2, and one of t = -2 s (-2, 2, 1, -1) / sqrt(10).
    """
    private = private_rows([3.0, 1.0, -2.0], [1, 1, 0])
    coins = [[1, 1, 1], [1, 0, 0], [0, 0, 1], [0, 0, 0]]
    found = scores(scorer_of(untrained()), private, coins, [2.0, 2.0, 0.0], [1, 0, 1])
    # products with s = + for all: 2 / sqrt 5, 1, -1 / sqrt 10; a row of 0 has the gradient
    # (0, 0, 1, -1) / 2, and the query (0, 0, 1, -1) / sqrt 2
    high, low = (2 / ROOT_5 + 1) / 2, -1 / math.sqrt(10)
    flat, flat_low = (1 / (ROOT_5 * ROOT_2) + 1 / ROOT_2) / 2, 1 / ROOT_5
    wanted = [
        [max(high, -low), max(-high, low), max(flat, -flat_low)],
        [2 / ROOT_5, -2 / ROOT_5, 1 / (ROOT_5 * ROOT_2)],
        [-low, low, -flat_low],
        [0, 0, 0],
    ]
    np.testing.assert_allclose(found, wanted, atol=1e-7)  # Adam's epsilon


def test_one_subtask_is_one_mean():
    private = private_rows([3.0, 1.0, -2.0], [1, 1, 0])
    scorer = scorer_of(untrained(), subtasks="one")
    found = scores(scorer, private, [[1, 1, 1], [0, 0, 0]], [2.0], [1])
    wanted = (2 / ROOT_5 + 1 + 1 / math.sqrt(10)) / 3
    np.testing.assert_allclose(found, [[wanted], [0]], atol=1e-7)
    assert (Less(subtasks="one").family, Less().family) == ("linear", "other")
    assert (scorer.family, scorer_of(untrained()).family) == ("linear", "other")
    assert scorer.linearise(private, None).blocks is None


def test_checkpoints_are_weighted_by_their_rates():
    """The second checkpoint is sure of class 1, and sees a tilted pair of classes in nothing."""
    one, other = untrained(0.3), untrained(0.1, bias=(0.0, math.log(3)))
    private = private_rows([3.0], [1])
    both = scores(scorer_of(one, other), private, [[1]], [2.0, 5.0], [1, 0])
    first = scores(scorer_of(one), private, [[1]], [2.0, 5.0], [1, 0])
    second = scores(scorer_of(other), private, [[1]], [2.0, 5.0], [1, 0])
    np.testing.assert_allclose(both, 0.75 * first + 0.25 * second, atol=1e-14)
    np.testing.assert_allclose(scorer_of(one, other).map.weights, [0.75, 0.25])


def test_scores_are_cosines_and_a_row_without_a_gradient_has_none():
    draws = np.random.default_rng(0)
    features, labels = draws.normal(size=(60, 4)), draws.integers(0, 3, 60)
    pool = Rows(tuple(map(str, range(60))), features, labels)
    scorer = Less(epochs=3, projection=6, hidden=(5,)).bind(pool)
    lengths = np.linalg.norm(scorer.map.contribution(features, labels).reshape(60, 3, 6), axis=2)
    np.testing.assert_allclose(lengths, 1, atol=1e-12)
    weighted = np.linalg.norm(scorer.map.query(features, labels).reshape(60, 3, 6), axis=2)
    np.testing.assert_allclose(weighted, np.tile(scorer.map.weights, (60, 1)), atol=1e-12)
    np.testing.assert_allclose(scorer.map.weights.sum(), 1)
    assert (np.diff(scorer.map.weights) < 0).all()  # the rate falls
    # a model that is certain leaves a gradient of zeros
    certain = scorer_of(untrained(bias=(0.0, 800.0)))
    assert not certain.map.contribution(np.ones((1, 1)), np.array([1])).any()


def test_training_that_diverges_is_told(monkeypatch):
    broken = Checkpoint((np.full((1, 2), np.inf), np.zeros(2)), np.zeros(4), np.zeros(4), 1, 1.0)
    monkeypatch.setattr(less, "fit_checkpoints", lambda *_: [broken])
    pool = Rows(("a", "b"), np.array([[1.0], [2.0]]), np.array([0, 1]))
    with pytest.raises(SettingError, match="did not converge"):
        Less().bind(pool)


@pytest.mark.parametrize("wrong", [{"projection": 0}, {"epochs": 0}, {"learning_rate": -1.0}])
def test_settings_are_checked(wrong):
    with pytest.raises(ValueError, match="must be positive"):
        Less(**wrong)


def test_attacks_see_each_row_in_the_block_of_the_subtask_that_it_reads():
    """The means move as their derivatives say, and blocks give the maximum back."""
    rng = np.random.default_rng(3)
    features, labels = rng.normal(size=(40, 1)), rng.integers(0, 2, 40)
    names = tuple(map(str, range(40)))
    private = PrivateRows(names, features, np.arange(40), names, labels)
    scorer = scorer_of(untrained(bias=(0.3, -0.2)))
    asked, theirs = rng.normal(size=(30, 1)), rng.integers(0, 2, 30)
    pool = Rows(tuple(map(str, range(30))), asked, theirs)
    found = scorer.linearise(private, pool)
    everyone = scorer.fit(private, np.ones((1, 40), dtype=bool), pool, streams=STREAMS)
    np.testing.assert_allclose(found.blocks, everyone.means[0])  # half of all has the same means
    read = found.read(scorer.embed(asked, theirs))
    assert read.shape == (30, found.reference.size)
    np.testing.assert_allclose(read @ found.reference, everyone.score(asked, theirs)[0])
    coins = np.ones((1, 40), dtype=bool)
    coins[0, 7] = False
    without = scorer.fit(private, coins, pool, streams=STREAMS).means[0].ravel()
    moved = found.reference - without
    # one of some twenty at half weight counts as one of ten
    assert np.dot(moved, found.influence[7]) > 0
    np.testing.assert_allclose(found.influence[7], 2 * moved, rtol=0.15, atol=1e-3)


def test_a_subtask_that_is_not_there_is_read_by_nobody():
    private = private_rows([3.0, 1.0], [1, 1])
    scorer = scorer_of(untrained())
    found = scorer.linearise(private, None)
    assert not found.blocks[0].any()
    queries = scorer.embed(np.array([[2.0], [2.0]]), np.array([0, 1]))
    read = found.read(queries).reshape(2, 2, -1)
    assert not read[:, 0].any()
    np.testing.assert_allclose(read[:, 1], queries)


def test_too_many_numbers_are_not_shown(monkeypatch):
    monkeypatch.setattr(less, "MOST_SHOWN", 7)  # two subtasks of four numbers
    assert scorer_of(untrained()).linearise(private_rows([3.0, 1.0], [1, 0]), None) is None


def test_an_adversary_sees_the_pool_and_candidates_in_blocks():
    plan = load_plan(GALLERY / "less.yaml", ("attack.shadows=16", "run.out=null"))
    knows = knowledge_of(plan)
    found = knows.linearisation
    assert found.blocks.shape == (10, found.reference.size / 10)
    n = plan.data.private.n_candidates
    everyone = np.ones((1, n), dtype=bool)
    fitted = plan.scorer.fit(plan.data.private, everyone, plan.data.pool, streams=STREAMS)
    scores = fitted.score(plan.data.pool.features, plan.data.pool.labels)[0]
    np.testing.assert_allclose(knows.pool @ found.reference, scores, rtol=1e-3, atol=1e-4)
    assert knows.candidates.features.shape == (n, found.reference.size)
    linear = Linear.of(plan.scorer, plan.data)
    np.testing.assert_array_equal(linear.pool, knows.pool)
