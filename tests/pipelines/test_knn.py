"""Nearest picked rows against scikit-learn's, which takes one shadow at a time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier

from curation_audit.checks import SettingError
from curation_audit.observations import Selection
from curation_audit.pipelines.base import Rows
from curation_audit.pipelines.downstream import knn
from curation_audit.pipelines.downstream.knn import Knn
from curation_audit.streams import Streams

S, M, D, C = 6, 90, 3, 4
STREAMS = Streams(0).for_shadows("test", range(S))


def pool(features, labels) -> Rows:
    ids = tuple(f"r{i}" for i in range(len(features)))
    return Rows(ids, np.asarray(features), np.asarray(labels, dtype=np.int64))


def asked_of(model, rows, mask, asked, n_classes=C):
    fitted = model.fit(rows, Selection.from_mask(mask), n_classes, streams=STREAMS)
    return fitted.predict_proba(np.asarray(asked))


@pytest.mark.parametrize("weights", ["uniform", "distance"])
@pytest.mark.parametrize(("metric", "theirs"), [("l2", "euclidean"), ("cosine", "cosine")])
@pytest.mark.parametrize("k", [1, 4, 30])
def test_shares_are_those_of_scikit_learn(rng, k, metric, theirs, weights):
    rows = pool(rng.normal(size=(M, D)), rng.integers(0, C, M))
    mask = rng.random((S, M)) < np.array([0.5, 0.9, 0.1, 0.03, 1.0, 0.3])[:, None]
    asked = np.concatenate([rng.normal(size=(20, D)), rows.features[:10]])  # some at distance 0
    found = asked_of(Knn(k=k, metric=metric, weights=weights), rows, mask, asked)
    for s in range(S):
        own = rows.features[mask[s]], rows.labels[mask[s]]
        fitted = KNeighborsClassifier(
            min(k, len(own[0])), algorithm="brute", metric=theirs, weights=weights
        ).fit(*own)
        wanted = np.zeros((len(asked), C))
        if metric == "cosine" and weights == "distance":
            # one minus the cosine of a row with itself is 1e-16 there, or 0
            twins = np.arange(20)
            wanted[:20, fitted.classes_] = fitted.predict_proba(asked[:20])
            np.testing.assert_allclose(found[s, twins], wanted[twins], atol=1e-6)
            continue
        wanted[:, fitted.classes_] = fitted.predict_proba(asked)
        np.testing.assert_allclose(found[s], wanted, atol=1e-6)


def test_numbers_by_hand():
    """Rows at 1, 2 and 4 from the one asked about: weights 1, 1/2 and 1/4."""
    rows = pool([[1.0], [-2.0], [4.0], [9.0]], [0, 1, 1, 2])
    everything = np.ones((1, 4), bool)
    found = asked_of(Knn(k=3), rows, everything, [[0.0]], 3)
    np.testing.assert_allclose(found[0, 0], [1 / 3, 2 / 3, 0], atol=1e-7)
    found = asked_of(Knn(k=3, weights="distance"), rows, everything, [[0.0], [4.0]], 3)
    np.testing.assert_allclose(found[0, 0], [4 / 7, 3 / 7, 0], atol=1e-7)
    np.testing.assert_allclose(found[0, 1], [0, 1, 0], atol=1e-7)


def test_a_row_of_zeros_is_as_far_from_all():
    rows = pool([[1.0, 0], [0, 0], [-1, 0]], [0, 1, 2])
    found = asked_of(Knn(k=2, metric="cosine"), rows, np.ones((1, 3), bool), [[2.0, 0]], 3)
    np.testing.assert_allclose(found[0, 0], [0.5, 0.5, 0])  # at distances 0, 1 and 2


def test_few_rows_and_none(rng):
    rows = pool(rng.normal(size=(5, 2)), [0, 1, 2, 3, 0])
    mask = np.zeros((3, 5), bool)
    mask[1, [1, 4]] = True
    mask[2] = True
    found = asked_of(Knn(k=3), rows, mask, rng.normal(size=(7, 2)))
    np.testing.assert_allclose(found[0], 0.25)
    np.testing.assert_allclose(found[1], np.tile([0.5, 0.5, 0, 0], (7, 1)))
    assert asked_of(Knn(k=3), rows, mask, np.empty((0, 2))).shape == (3, 0, C)


@given(st.permutations(range(12)), st.integers(1, 12))
@settings(deadline=None, max_examples=40)
def test_ties_do_not_depend_on_the_order_of_the_pool(order, k):
    """Twelve copies of one row with twelve labels: those of the lowest hashes vote."""
    at = list(order)
    ids = np.array([f"id {i}" for i in range(12)])
    features, labels = np.full((12, 3), 0.1), np.arange(12)
    everything = np.ones((1, 12), bool)
    asked = [[0.3, 0.2, 0.1]]
    found = []
    for these in (list(range(12)), at):
        rows = Rows(tuple(ids[these]), features[these], labels[these])
        found.append(asked_of(Knn(k=k), rows, everything, asked, 12))
    np.testing.assert_array_equal(*found)
    assert (found[0] > 0).sum() == k


def test_pieces_change_nothing(rng, monkeypatch):
    rows = pool(rng.integers(0, 2, (M, 5)).astype(np.float32), rng.integers(0, C, M))
    mask, asked = rng.random((S, M)) < 0.3, rng.integers(0, 2, (40, 5)).astype(np.float32)
    model = Knn(k=7, weights="distance")
    whole = asked_of(model, rows, mask, asked)
    monkeypatch.setattr(knn, "BYTES_PER_PIECE", 1)
    np.testing.assert_array_equal(asked_of(model, rows, mask, asked), whole)


@pytest.mark.parametrize("wrong", [{"metric": "l1"}, {"weights": "rank"}])
def test_unknown_names(wrong):
    with pytest.raises(SettingError, match="expected one of"):
        Knn(**wrong)


def test_rows_far_from_zero_have_the_same_neighbours(rng):
    """Moved by a million, as a date column is; sums of squares alone would lose the difference."""
    rows = rng.normal(size=(60, 3))
    labels, asked = rng.integers(0, 2, 60), rng.normal(size=(40, 3))
    mask = np.ones((1, 60), dtype=bool)
    near = asked_of(Knn(k=3), pool(rows, labels), mask, asked, 2)
    far = asked_of(Knn(k=3), pool(rows + 1e6, labels), mask, asked + 1e6, 2)
    theirs = KNeighborsClassifier(3).fit(rows, labels).predict_proba(asked)
    np.testing.assert_allclose(near[0], theirs, atol=1e-6)
    assert (np.abs(far - near).max(axis=2) < 1e-6).mean() > 0.95
