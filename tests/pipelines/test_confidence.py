"""A private classifier's certainty: hand-worked numbers, scikit-learn, and torch's own SGD."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from curation_audit.checks import SettingError
from curation_audit.pipelines.base import ALWAYS_IN, PrivateRows, Rows
from curation_audit.pipelines.scorers import confidence
from curation_audit.pipelines.scorers.confidence import Confidence, certainty_of
from curation_audit.streams import Streams
from tests.pipelines import reference

D, S = 4, 3
STREAMS = Streams(3).for_shadows("test", range(S))


def drawn(n, n_classes, seed=0):
    draws = np.random.default_rng(seed)
    features = draws.normal(size=(n, D))
    noise = draws.normal(size=(n, n_classes))
    return features, (features[:, :n_classes] + noise).argmax(axis=1)


def private_rows(features, labels, unit=None) -> PrivateRows:
    units = np.arange(len(features)) if unit is None else np.array(unit)
    names = tuple(map(str, range(units.max() + 1)))
    return PrivateRows(tuple(map(str, range(len(features)))), features, units, names, labels)


def pool_rows(features, labels) -> Rows:
    return Rows(tuple(map(str, range(len(features)))), features, labels)


def coins(n, seed=7):
    return np.random.default_rng(seed).integers(0, 2, (S, n)).astype(bool)


# of the probabilities .7, .2, .1 with the label 0, then 1, then none
BY_HAND = {
    "confidence": [0.7, 0.2, 0.7],
    "margin": [(0.7 - 0.2 + 1) / 2, (0.2 - 0.7 + 1) / 2, (0.7 - 0.2 + 1) / 2],
    "entropy": [1 - 0.8018185525433373 / math.log(3)] * 3,
}


@pytest.mark.parametrize("certainty", BY_HAND)
def test_by_hand(certainty):
    logits = torch.log(torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)).repeat(1, 2, 1)
    target = torch.tensor([[True, False, False], [False, True, False]])
    found = certainty_of(logits, target, certainty)[0].tolist()
    found.append(float(certainty_of(logits, None, certainty)[0, 0]))
    assert found == pytest.approx(BY_HAND[certainty], abs=1e-14)


@given(
    logits=st.lists(st.floats(-30, 30), min_size=2, max_size=6),
    certainty=st.sampled_from(list(BY_HAND)),
)
def test_certainty_lies_between_0_and_1_and_is_largest_at_the_own_label(logits, certainty):
    row = torch.tensor(logits, dtype=torch.float64)[None, None]
    own = float(certainty_of(row, None, certainty))
    assert -1e-12 <= own <= 1 + 1e-12
    for label in range(len(logits)):
        target = torch.arange(len(logits))[None] == label
        assert -1e-12 <= float(certainty_of(row, target, certainty)) <= own + 1e-12


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("certainty", BY_HAND)
def test_regressions_are_scikit_learns(n_classes, certainty):
    """Units of several rows and rows that are always in; every shadow its own regression."""
    features, labels = drawn(30, n_classes)
    unit = np.array([*range(20), 0, 0, 3, 7, *[ALWAYS_IN] * 6])
    asked, codes = drawn(25, n_classes, seed=1)
    inclusion = coins(20)
    fitted = Confidence(score=certainty, l2=0.5).fit(
        private_rows(features, labels, unit), inclusion, pool_rows(asked, codes), streams=STREAMS
    )
    found = fitted.score(asked, codes)
    assert found.shape == (S, 25)
    with_one = np.column_stack([features, np.ones(30)])
    for s, included in enumerate(inclusion):
        rows = reference.held_rows(included, unit)
        model = LogisticRegression(C=2.0, fit_intercept=False, tol=1e-12, max_iter=10_000)
        model.fit(with_one[rows], labels[rows])
        p = model.predict_proba(np.column_stack([asked, np.ones(25)]))
        assert p.shape[1] == n_classes
        wanted = []
        for row, y in zip(p, codes, strict=True):
            others = max(np.delete(row, y))
            entropy = -sum(q * math.log(q) for q in row)
            wanted.append(
                {
                    "confidence": row[y],
                    "margin": (row[y] - others + 1) / 2,
                    "entropy": 1 - entropy / math.log(n_classes),
                }[certainty]
            )
        np.testing.assert_allclose(found[s], wanted, atol=2e-6)  # lbfgs stops there


def test_networks_are_torchs():
    features, labels = drawn(20, 3)
    asked, codes = drawn(15, 3, seed=1)
    inclusion = coins(20)
    inclusion[2] = False
    settings = {"hidden": (6,), "epochs": 4, "learning_rate": 0.1}
    scorer = Confidence(**settings, device="cpu")
    private, pool = private_rows(features, labels), pool_rows(asked, codes)
    found = scorer.fit(private, inclusion, pool, streams=STREAMS).score(asked, codes)
    first = STREAMS.generators("confidence weights")
    order = STREAMS.generators("confidence row order")
    for s in range(2):
        p = reference.mlp_model(
            features[inclusion[s]],
            labels[inclusion[s]],
            3,
            asked,
            initial=first[s],
            order=order[s],
            batch_size=64,
            momentum=0.9,
            weight_decay=1e-4,
            **settings,
        )
        np.testing.assert_allclose(found[s], p[np.arange(15), codes], atol=1e-12)
    assert np.isfinite(found[2]).all()  # nobody in: the network as it starts
    again = scorer.fit(private, inclusion, pool, streams=STREAMS).score(asked, codes)
    np.testing.assert_array_equal(found, again)


def test_an_empty_private_set_holds_all_classes_alike():
    features, labels = drawn(6, 3)
    pool = pool_rows(*drawn(9, 3, seed=1))
    for certainty, value in (("confidence", 1 / 3), ("margin", 0.5), ("entropy", 0.0)):
        fitted = Confidence(score=certainty).fit(
            private_rows(features, labels), np.zeros((1, 6), dtype=bool), pool, streams=STREAMS
        )
        np.testing.assert_allclose(fitted.score(pool.features, pool.labels), value, atol=1e-15)


def test_a_class_that_no_private_row_has_is_known_from_the_pool():
    features, labels = drawn(6, 2)
    pool = pool_rows(*drawn(30, 4, seed=1))
    fitted = Confidence().fit(
        private_rows(features, labels), np.ones((1, 6), dtype=bool), pool, streams=STREAMS
    )
    whole = sum(fitted.score(pool.features, np.full(30, y, dtype=np.int64)) for y in range(4))
    np.testing.assert_allclose(whole, 1, atol=1e-12)


@pytest.mark.parametrize("settings", [{}, {"hidden": (5,), "epochs": 2}])
def test_blocks_of_rows_do_not_matter(settings, monkeypatch):
    features, labels = drawn(20, 3)
    pool = pool_rows(*drawn(50, 3, seed=1))
    fitted = Confidence(**settings).fit(
        private_rows(features, labels), coins(20), pool, streams=STREAMS
    )
    whole = fitted.score(pool.features, pool.labels), fitted.score(pool.features)
    monkeypatch.setattr(confidence, "NUMBERS_PER_BLOCK", 40)
    few = fitted.score(pool.features, pool.labels), fitted.score(pool.features)
    np.testing.assert_allclose(few, whole, atol=1e-14)
    assert fitted.score(pool.features[:0], pool.labels[:0]).shape == (S, 0)


def test_labels_are_needed_of_both_sets():
    features, labels = drawn(6, 2)
    everyone = np.ones((1, 6), dtype=bool)
    mine, pool = private_rows(features, labels), pool_rows(features, labels)
    with pytest.raises(SettingError, match=r"private\.columns\.label: is missing"):
        Confidence().fit(private_rows(features, None), everyone, pool, streams=STREAMS)
    with pytest.raises(SettingError, match=r"public\.columns\.label: is missing"):
        Confidence().fit(mine, everyone, pool_rows(features, None), streams=STREAMS)


def test_settings_are_checked():
    with pytest.raises(SettingError, match=r"curate\.scorer\.score: found 'sure'"):
        Confidence(score="sure")
    with pytest.raises(ValueError, match="l2 must be positive"):
        Confidence(l2=0.0)
    with pytest.raises(ValueError, match="hidden must be positive"):
        Confidence(hidden=(0,))


def test_rows_can_be_planted_in_its_features():
    features, _ = drawn(5, 2)
    scorer = Confidence()
    np.testing.assert_array_equal(scorer.unembed(scorer.embed(features), 1.0), features)
    assert scorer.linearise(private_rows(features, None), pool_rows(features, None)) is None
