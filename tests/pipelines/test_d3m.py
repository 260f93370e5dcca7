"""D3M: hand-worked numbers, and what of it is private."""

import math

import numpy as np
import pytest

from curation_audit.pipelines.base import PrivateRows, Rows
from curation_audit.pipelines.scorers import trak_map
from curation_audit.pipelines.scorers.d3m import D3m
from curation_audit.pipelines.scorers.trak import Trak
from curation_audit.streams import Streams

STREAMS = Streams(0).for_shadows("test", range(3))
POOL = Rows(("a", "b"), np.array([[1.0], [-1.0]]), np.array([1, 1]))


def private_rows(features, labels) -> PrivateRows:
    names = tuple(map(str, range(len(features))))
    rows = np.array(features, dtype=np.float64)[:, None]
    return PrivateRows(names, rows, np.arange(len(names)), names, np.array(labels))


def scorer_of(bias, monkeypatch, kind=D3m):
    """One feature, two classes, a model of biases only; a ridge of half the mean eigenvalue."""
    network = [(np.zeros((1, 2)), np.array(bias))]
    monkeypatch.setattr(trak_map, "fit_models", lambda *_: network)
    return kind(models=1, damping=0.5).bind(POOL)


def test_by_hand(monkeypatch):
    """Class 1 has the odds 3 to 1, so losses are log(4/3) in group 1 and log 4 in group 0.

    With two classes the gradient of the log-odds is s (x u + v) whatever the model is, so that
    phi(x)' K^-1 phi(t) = s_x s_t (x t + 1) 2 / 5 as in ``test_trak``; 1 - p is 1/4 for a pool row
    of class 1 and 3/4 for one of class 0.
    """
    scorer = scorer_of([0.0, math.log(3)], monkeypatch)
    private = private_rows([3.0, 1.0, 2.0], [1, 1, 0])
    coins = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0], [0, 0, 1], [0, 0, 0]], dtype=bool)
    asked, labels = np.array([[1.0], [2.0]]), np.array([1, 0])
    found = scorer.fit(private, coins, POOL, streams=STREAMS).score(asked, labels)
    likely, unlikely = math.log(4 / 3), math.log(4)
    # tau of the first asked row with the private rows is (4, 2, -3) / 10, of the second
    # (-7, -3, 5) * 3 / 10
    both = [(likely * 0.3 - unlikely * 0.3) / 2, (likely * -1.5 + unlikely * 1.5) / 2]
    first = [(likely * 0.4 - unlikely * 0.3) / 2, (likely * -2.1 + unlikely * 1.5) / 2]
    wanted = [
        both,
        first,
        [likely * 0.3, likely * -1.5],
        [-unlikely * 0.3, unlikely * 1.5],
        [0.0, 0.0],
    ]
    np.testing.assert_allclose(found, wanted, atol=1e-14)


def test_with_one_group_of_equal_losses_it_is_trak_times_the_loss(monkeypatch):
    coins = np.array([[1, 1, 0], [1, 0, 1]], dtype=bool)
    private = private_rows([3.0, 1.0, -2.0], [0, 0, 0])
    mine = scorer_of([0.0, 0.0], monkeypatch).fit(private, coins, POOL, streams=STREAMS)
    plain = scorer_of([0.0, 0.0], monkeypatch, Trak).fit(private, coins, POOL, streams=STREAMS)
    asked, labels = np.array([[1.0], [-4.0]]), np.array([0, 1])
    np.testing.assert_allclose(
        mine.score(asked, labels), math.log(2) * plain.score(asked, labels), atol=1e-14
    )


@pytest.mark.parametrize("model", [{}, {"hidden": (4,), "epochs": 3}])
def test_the_groups_and_their_losses_are_the_shadows_own(model):
    """A shadow's scores are those of a private set of its rows alone: no count of others enters."""
    draws = np.random.default_rng(0)
    features = draws.normal(size=(40, 3))
    labels = (features[:, 0] > 0).astype(np.int64) + (features[:, 1] > 0.3)
    pool = Rows(tuple(map(str, range(40))), features, labels)
    scorer = D3m(models=2, projection=7, **model).bind(pool)
    mine = draws.normal(size=(10, 3))
    codes = np.array([0, 0, 1, 1, 1, 2, 2, 2, 2, 2])
    names = tuple(map(str, range(10)))
    private = PrivateRows(names, mine, np.arange(10), names, codes)
    held = np.array([1, 1, 1, 0, 1, 0, 0, 0, 0, 0], dtype=bool)  # nobody of group 2
    found = scorer.fit(private, held[None], pool, streams=STREAMS).score(features, labels)
    alone = PrivateRows(names[:4], mine[held], np.arange(4), names[:4], codes[held])
    everyone = np.ones((1, 4), dtype=bool)
    wanted = scorer.fit(alone, everyone, pool, streams=STREAMS).score(features, labels)
    np.testing.assert_allclose(found, wanted, atol=1e-14)


def test_losses_are_the_mean_cross_entropy_of_the_models():
    draws = np.random.default_rng(1)
    features, labels = draws.normal(size=(30, 2)), draws.integers(0, 3, 30)
    scorer = D3m(models=3).bind(Rows(tuple(map(str, range(30))), features, labels))
    wanted = np.zeros(30)
    for weight, bias in scorer.map.models:
        odds = np.exp(features @ weight + bias)
        wanted -= np.log((odds / odds.sum(axis=1, keepdims=True))[np.arange(30), labels]) / 3
    np.testing.assert_allclose(scorer.map.losses(features, labels), wanted, atol=1e-13)
