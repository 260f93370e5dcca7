"""Private-against-pool classifiers: known answers beside the reference of the contract test."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from curation_audit.checks import SettingError
from curation_audit.config.sections import Problem, build_scorer
from curation_audit.pipelines.base import ALWAYS_IN, PrivateRows, Rows
from curation_audit.pipelines.rules.cut import tie_hashes
from curation_audit.pipelines.rules.top import TopK
from curation_audit.pipelines.scorers import mlp_classifier
from curation_audit.pipelines.scorers.classifier import Classifier, unit_hashes
from curation_audit.pipelines.scorers.mlp_classifier import MlpClassifier, orders_among
from curation_audit.streams import Streams
from curation_audit.training.logistic import LogisticProblems, fit_logistic

RNG = np.random.default_rng(11)
N, M, D, S = 14, 60, 4, 5
UNIT = np.array([0, 0, 1, 2, 3, ALWAYS_IN, 4, 5, 6, 7, 8, 9, 9, ALWAYS_IN])
PRIVATE = PrivateRows(
    tuple(f"t{i}" for i in range(N)), RNG.normal(0.5, 1, (N, D)), UNIT, tuple("abcdefghij")
)
POOL = Rows(tuple(f"x{i}" for i in range(M)), RNG.normal(size=(M, D)))
COINS = RNG.random((S, 10)) < 0.5


def scores(scorer, private=PRIVATE, coins=COINS, pool=POOL) -> np.ndarray:
    streams = Streams(0).for_shadows("shadow", range(len(coins)))
    return scorer.fit(private, coins, pool, streams=streams).score(pool.features)


def one_dimension(private, pool) -> tuple[PrivateRows, Rows]:
    rows = [np.array(one, dtype=np.float64)[:, None] for one in (private, pool)]
    ids = tuple(map(str, range(len(private))))
    return (
        PrivateRows(ids, rows[0], np.arange(len(ids)), ids),
        Rows(tuple(map(str, range(len(pool)))), rows[1]),
    )


# --- logistic regression ----------------------------------------------------------------------


def test_by_hand():
    """Private 1 against pool -1: the slope a solves ``l2 a = 2 / (1 + e^a)``, without intercept."""
    private, pool = one_dimension([1], [-1])
    scorer = Classifier(l2=2 / (1 + math.e), device="cpu")
    np.testing.assert_allclose(scores(scorer, private, np.ones((1, 1), bool), pool), [[-1]])


def test_balanced_classes_by_hand():
    """Three pool rows weigh 4/6 each and the private one 4/2: ``l2 a = 4 / (1 + e^a)``."""
    private, pool = one_dimension([1], [-1, -1, -1])
    scorer = Classifier(l2=4 / (1 + math.e), balance="classes", device="cpu")
    found = scores(scorer, private, np.ones((1, 1), bool), pool)
    np.testing.assert_allclose(found, [[-1, -1, -1]])
    one_sided = Classifier(l2=4 / (1 + math.e), device="cpu")
    assert (scores(one_sided, private, np.ones((1, 1), bool), pool) < -1.05).all()


@pytest.mark.parametrize("balance", ["none", "classes"])
def test_equals_scikit_learn(balance):
    scorer = Classifier(l2=0.3, balance=balance, device="cpu")
    found = scores(scorer)
    for s, held in enumerate(PRIVATE.row_inclusion(COINS)):
        rows = np.concatenate([PRIVATE.features[held], POOL.features])
        model = LogisticRegression(
            C=1 / 0.3,
            class_weight="balanced" if balance == "classes" else None,
            fit_intercept=False,
            solver="newton-cholesky",
            tol=1e-14,
        )
        with_one = np.column_stack([rows, np.ones(len(rows))])
        model.fit(with_one, np.arange(len(rows)) < held.sum())
        logits = with_one[-M:] @ model.coef_[0]
        np.testing.assert_allclose(found[s], logits, atol=1e-10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_defaults_give_the_bits_of_the_plain_problem(dtype):
    """What shadows of before are: every row weighs 1 or 0, against the pool in its order."""
    private = dataclasses.replace(PRIVATE, features=PRIVATE.features.astype(dtype))
    pool = dataclasses.replace(POOL, features=POOL.features.astype(dtype))
    rows = np.concatenate([private.features, pool.features])
    held = private.row_inclusion(COINS)
    kind = torch.as_tensor(rows).dtype
    weights = torch.as_tensor(np.concatenate([held, np.ones((S, M))], axis=1), dtype=kind)
    targets = torch.as_tensor(np.arange(N + M) < N, dtype=kind)[None, :, None]
    design = torch.as_tensor(np.column_stack([rows, np.ones(N + M, dtype)]))
    found = fit_logistic(LogisticProblems(design, targets, weights, torch.ones(D + 1, dtype=kind)))
    wanted = found[:, :, 0].numpy() @ design[N:].numpy().T
    np.testing.assert_array_equal(scores(Classifier(device="cpu"), private, pool=pool), wanted)


def test_probabilities_are_logistic_and_pick_the_same_rows():
    logits = scores(Classifier(device="cpu"))
    scorer = Classifier(score="probability", device="cpu")
    found = scores(scorer)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-logits)), rtol=1e-12)
    ranks = np.arange(M)
    for k in (1, 20):
        picks = [TopK(k=k).select(one, ranks).indices for one in (logits, found)]
        np.testing.assert_array_equal(*picks)
    assert (scorer.family, Classifier().family) == ("other", "linear")
    assert scorer.linearise(PRIVATE, POOL) is None


@pytest.mark.parametrize("balance", ["none", "classes"])
@pytest.mark.parametrize("background", ["all", 25])
def test_the_linearisation_is_the_derivative_at_half_weights(balance, background):
    """By finite differences of fits to weights; a half-weight fit is public in ``_weights``."""
    scorer = Classifier(balance=balance, background=background, l2=0.5, device="cpu")
    found = scorer.linearise(PRIVATE, POOL)
    assert found is not None
    kept = POOL.features if background == "all" else background_of(25)

    def fitted(coins: np.ndarray) -> np.ndarray:
        held = np.where(UNIT == ALWAYS_IN, 1.0, coins[UNIT])
        n, m = held.sum(), len(kept)
        by_class = (n + m) / 2 / np.array([n, m]) if balance == "classes" else np.ones(2)
        rows = np.concatenate([PRIVATE.features, kept])
        with_one = np.column_stack([rows, np.ones(len(rows))])
        model = LogisticRegression(C=2, fit_intercept=False, solver="newton-cholesky", tol=1e-14)
        weights = np.append(held * by_class[0], np.full(m, by_class[1]))
        return model.fit(with_one, np.arange(len(rows)) < N, sample_weight=weights).coef_[0]

    np.testing.assert_allclose(found.reference, fitted(np.full(10, 0.5)), atol=1e-9)
    for n in range(10):
        step = np.where(np.arange(10) == n, 1e-4, 0)
        slope = (fitted(0.5 + step) - fitted(0.5 - step)) / 2e-4
        np.testing.assert_allclose(found.influence[n], slope, atol=1e-6)


def background_of(count: int) -> np.ndarray:
    """The rows that a classifier with so many of them sees, found by leaving rows out one by one.

    A pool row is in the background where the scores of another row change without it.
    """
    scorer = Classifier(background=count, device="cpu", l2=0.5)
    design = scorer.fit(
        PRIVATE, COINS[:1], POOL, streams=Streams(0).for_shadows("shadow", [0])
    ).score(np.eye(D))
    seen = []
    for row in range(M):
        moved = POOL.features.copy()
        moved[row] += 1
        pool = dataclasses.replace(POOL, features=moved)
        streams = Streams(0).for_shadows("shadow", [0])
        found = scorer.fit(PRIVATE, COINS[:1], pool, streams=streams).score(np.eye(D))
        if not np.array_equal(found, design):
            seen.append(row)
    assert len(seen) == count
    return POOL.features[seen]


def test_a_background_is_the_same_rows_wherever_they_stand_and_for_every_shadow():
    scorer = Classifier(background=25, device="cpu")
    found = scores(scorer)
    order = RNG.permutation(M)
    moved = Rows(tuple(POOL.ids[i] for i in order), POOL.features[order])
    np.testing.assert_allclose(scores(scorer, pool=moved), found[:, order], atol=1e-11)
    kept = background_of(25)
    alone = Rows(tuple(map(str, range(25))), kept)
    same = Classifier(device="cpu").fit(
        PRIVATE, COINS, alone, streams=Streams(0).for_shadows("shadow", range(S))
    )
    np.testing.assert_allclose(same.score(POOL.features), found, atol=1e-11)


@pytest.mark.parametrize("kind", [Classifier, MlpClassifier])
def test_settings(kind):
    method = kind.name
    assert build_scorer({"method": method, "background": 9}, "cpu").background == 9
    assert build_scorer({"method": method}, "cpu").background == "all"
    with pytest.raises(Problem):
        build_scorer({"method": method, "background": "some"}, "cpu")
    with pytest.raises(ValueError, match="background must be positive"):
        kind(background=0)
    with pytest.raises(SettingError, match=r"background: found 61, but the pool has 60 rows"):
        scores(kind(background=M + 1, device="cpu"))


@pytest.mark.parametrize("balance", ["none", "classes"])
def test_nobody_has_finite_scores(balance):
    private = dataclasses.replace(PRIVATE, unit=np.arange(N), unit_ids=PRIVATE.ids)
    nobody = np.zeros((1, N), dtype=bool)
    for scorer in (Classifier(balance=balance, device="cpu"), MlpClassifier(device="cpu")):
        found = scores(scorer, private, nobody)
        assert np.isfinite(found).all()
        assert found.mean() < 0  # all that is there is not private


# --- calibrated -------------------------------------------------------------------------------

CALIBRATED = Classifier(l2=0.3, score="calibrated", folds=3, device="cpu")


def folds_of(private: PrivateRows, pool: Rows, n_folds: int) -> list[int]:
    """The fold of every row, private ones first, by dictionaries; the hash is the package's."""
    least: dict[int, int] = {}
    hashes = tie_hashes(private.ids, "folds").tolist()
    units = [u if u != ALWAYS_IN else -2 - i for i, u in enumerate(private.unit.tolist())]
    for unit, one in zip(units, hashes, strict=True):
        least[unit] = min(one, least.get(unit, one))
    of_private = [least[unit] for unit in units]
    return [one % n_folds for one in of_private + tie_hashes(pool.ids, "folds").tolist()]


def row_weights(n_held: int, n_pool: int, balance: str) -> np.ndarray:
    by_class = [1.0, 1.0]
    if balance == "classes":
        by_class = [(n_held + n_pool) / (2 * max(n, 1)) for n in (n_held, n_pool)]
    return np.repeat(by_class, [n_held, n_pool])


def logistic(rows, is_private, weights, l2) -> np.ndarray:
    """Coefficients by Newton's method on one problem; the intercept is penalised, too."""
    found = np.zeros(rows.shape[1])
    for _ in range(60):
        p = 1 / (1 + np.exp(-rows @ found))
        gradient = rows.T @ (weights * (p - is_private)) + l2 * found
        hessian = (rows.T * (weights * p * (1 - p))) @ rows + l2 * np.eye(rows.shape[1])
        found = found - np.linalg.solve(hessian, gradient)
    return found


def platt(logits, is_private, weights) -> np.ndarray:
    """Slope and intercept by scipy, of Platt's smoothed targets."""
    n_private, n_pool = weights[is_private].sum(), weights[~is_private].sum()
    target = np.where(is_private, (n_private + 1) / (n_private + 2), 1 / (n_pool + 2))

    def objective(line):
        z = line[0] * logits + line[1]
        pull = weights * (1 / (1 + np.exp(-z)) - target)
        value = weights @ (np.logaddexp(0, z) - target * z)
        return value, np.array([pull @ logits, pull.sum()])

    def curvature(line):
        p = 1 / (1 + np.exp(-line[0] * logits - line[1]))
        columns = np.stack([logits, np.ones_like(logits)])
        return columns * (weights * p * (1 - p)) @ columns.T

    line = minimize(objective, np.zeros(2), jac=True, hess=curvature, method="trust-exact").x
    for _ in range(3):
        line = line - np.linalg.solve(curvature(line), objective(line)[1])
    return line


def one_calibrated(private, pool, held, kept, balance, n_folds=3, l2=0.3) -> np.ndarray:
    """The scores of one shadow, a fold at a time."""
    fold = np.array(folds_of(private, pool, n_folds))[np.append(held, kept)]
    rows = np.concatenate([private.features[held], pool.features[kept]])
    rows = np.column_stack([rows, np.ones(len(rows))])
    is_private = np.arange(len(rows)) < held.sum()
    weights = row_weights(held.sum(), len(rows) - held.sum(), balance)
    logits = np.empty(len(rows))
    for k in range(n_folds):
        others = fold != k
        found = logistic(rows[others], is_private[others], weights[others], l2)
        logits[~others] = rows[~others] @ found
    slope, intercept = platt(logits, is_private, weights)
    asked = np.column_stack([pool.features, np.ones(len(pool))])
    z = slope * (asked @ logistic(rows, is_private, weights, l2)) + intercept
    return 1 / (1 + np.exp(-z))


@pytest.mark.parametrize("balance", ["none", "classes"])
@pytest.mark.parametrize("background", ["all", 25])
def test_calibrated_scores_equal_one_shadow_and_one_fold_at_a_time(balance, background):
    scorer = dataclasses.replace(CALIBRATED, balance=balance, background=background)
    kept = np.ones(M, dtype=bool)
    if background != "all":
        kept = (POOL.features[:, None] == background_of(25)).all(axis=2).any(axis=1)
    found = scores(scorer)
    for s, held in enumerate(PRIVATE.row_inclusion(COINS)):
        wanted = one_calibrated(PRIVATE, POOL, held, kept, balance)
        np.testing.assert_allclose(found[s], wanted, rtol=0, atol=1e-10)
    single = [
        dataclasses.replace(one, features=one.features.astype(np.float32))
        for one in (PRIVATE, POOL)
    ]
    narrow = scores(scorer, single[0], pool=single[1])
    assert narrow.dtype == np.float32
    np.testing.assert_allclose(narrow, found, atol=2e-5)


@pytest.mark.parametrize("balance", ["none", "classes"])
def test_calibrated_scores_are_scikit_learns(balance):
    """``CalibratedClassifierCV`` with the same folds, and with the same weights everywhere."""
    found = scores(dataclasses.replace(CALIBRATED, balance=balance))
    for s, held in enumerate(PRIVATE.row_inclusion(COINS)):
        fold = np.array(folds_of(PRIVATE, POOL, 3))[np.append(held, np.ones(M, dtype=bool))]
        rows = np.concatenate([PRIVATE.features[held], POOL.features])
        rows = np.column_stack([rows, np.ones(len(rows))])
        splits = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(3)]
        model = LogisticRegression(
            C=1 / 0.3, fit_intercept=False, solver="newton-cholesky", tol=1e-14
        )
        theirs = CalibratedClassifierCV(model, method="sigmoid", ensemble=False, cv=splits)
        weights = row_weights(held.sum(), M, balance)
        theirs.fit(rows, np.arange(len(rows)) < held.sum(), sample_weight=weights)
        wanted = theirs.predict_proba(rows[-M:])[:, 1]
        np.testing.assert_allclose(found[s], wanted, atol=1e-5)


def test_folds_hang_on_ids_alone_and_a_unit_is_in_one_of_them():
    hashes = unit_hashes(PRIVATE)
    for unit in range(10):
        assert len(set(hashes[unit == UNIT].tolist())) == 1
    assert len(set(hashes.tolist())) == 12  # ten units, and two rows that are always in
    order = RNG.permutation(N)
    moved = dataclasses.replace(
        PRIVATE,
        ids=tuple(PRIVATE.ids[i] for i in order),
        features=PRIVATE.features[order],
        unit=UNIT[order],
    )
    np.testing.assert_array_equal(unit_hashes(moved), hashes[order])
    np.testing.assert_allclose(scores(CALIBRATED, moved), scores(CALIBRATED), atol=1e-11)
    shuffled = RNG.permutation(M)
    pool = Rows(tuple(POOL.ids[i] for i in shuffled), POOL.features[shuffled])
    found = scores(CALIBRATED, pool=pool)
    np.testing.assert_allclose(found, scores(CALIBRATED)[:, shuffled], atol=1e-11)


def test_a_calibration_is_fitted_again_for_each_shadow():
    together = scores(CALIBRATED)
    np.testing.assert_array_equal(scores(CALIBRATED), together)
    for s in range(S):
        alone = scores(CALIBRATED, coins=COINS[s : s + 1])
        np.testing.assert_allclose(alone, together[s : s + 1], rtol=0, atol=1e-11)


@pytest.mark.parametrize("balance", ["none", "classes"])
def test_nobody_is_calibrated_to_what_platt_gives_the_pool_alone(balance):
    """All targets are 1 / (weight of the pool + 2), which a slope of 0 meets exactly."""
    private = dataclasses.replace(PRIVATE, unit=np.arange(N), unit_ids=PRIVATE.ids)
    scorer = dataclasses.replace(CALIBRATED, balance=balance)
    found = scores(scorer, private, np.zeros((1, N), dtype=bool))
    weight = M if balance == "none" else M / 2
    np.testing.assert_allclose(found, 1 / (weight + 2), rtol=1e-6)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_calibrated_probabilities_come_true_where_plain_ones_are_too_sure(seed):
    """Fresh rows in ten bins by score: the largest gap to the share of a bin that is private.

    200 rows of a class, 80 numbers of which one tells, next to no penalty. Over 20 seeds the gap
    was .19 to .29 of the plain probability and .04 to .16 of the calibrated one.
    """
    n, d = 200, 80
    rng = np.random.default_rng(seed)
    shift = np.where(np.arange(d) == 0, 1.0, 0.0)
    ids = tuple(f"t{i}" for i in range(n))
    private = PrivateRows(ids, rng.normal(size=(n, d)) + shift, np.arange(n), ids)
    pool = Rows(tuple(f"x{i}" for i in range(n)), rng.normal(size=(n, d)))
    fresh = np.concatenate([rng.normal(size=(2_000, d)) + shift, rng.normal(size=(2_000, d))])
    truth = np.arange(4_000) < 2_000

    def gap(kind: str) -> float:
        scorer = Classifier(l2=1e-3, score=kind, device="cpu")
        streams = Streams(0).for_shadows("shadow", [0])
        fitted = scorer.fit(private, np.ones((1, n), bool), pool, streams=streams)
        found = fitted.score(fresh)[0]
        bins = np.array_split(np.argsort(found), 10)
        return max(abs(truth[one].mean() - found[one].mean()) for one in bins)

    assert gap("calibrated") < 0.17 < gap("probability")


def test_settings_of_a_calibration():
    built = build_scorer({"method": "classifier", "score": "calibrated", "folds": 4}, "cpu")
    assert (built.folds, built.family, built.linearise(PRIVATE, POOL)) == (4, "other", None)
    with pytest.raises(ValueError, match="folds must be at least 2, got 1"):
        Classifier(folds=1)
    with pytest.raises(Problem, match="found 'calibrate'"):
        build_scorer({"method": "classifier", "score": "calibrate"}, "cpu")


# --- perceptrons ------------------------------------------------------------------------------


def test_a_perceptron_learns_what_no_line_tells_apart():
    """Exclusive or: as well as scikit-learn's network does, and a regression does not at all."""
    rng = np.random.default_rng(2)
    corners = rng.choice([-1.0, 1.0], (600, 2))
    rows = corners + rng.normal(0, 0.25, (600, 2))
    same = corners[:, 0] == corners[:, 1]
    ids = tuple(map(str, range(same.sum())))
    private = PrivateRows(ids, rows[same], np.arange(len(ids)), ids)
    pool = Rows(tuple(map(str, range((~same).sum()))), rows[~same])
    everyone = np.ones((1, len(ids)), dtype=bool)
    fresh = rng.choice([-1.0, 1.0], (400, 2))
    truth = fresh[:, 0] == fresh[:, 1]
    fresh = fresh + rng.normal(0, 0.25, (400, 2))
    streams = Streams(1).for_shadows("shadow", [0])

    def accuracy(scorer) -> float:
        found = scorer.fit(private, everyone, pool, streams=streams).score(fresh)[0]
        return float(((found > 0) == truth).mean())

    theirs = MLPClassifier((16,), random_state=0, max_iter=300, tol=0, n_iter_no_change=400)
    with pytest.warns(match="Maximum iterations"):
        theirs.fit(rows, same)
    assert theirs.score(fresh, truth) > 0.99
    assert accuracy(MlpClassifier(hidden=(16,), epochs=30, device="cpu")) > 0.99
    assert accuracy(Classifier(device="cpu")) < 0.75  # no line does better on corners


def test_shadows_have_streams_of_their_own_and_chunks_do_not_matter(monkeypatch):
    scorer = MlpClassifier(hidden=(3,), epochs=2, device="cpu")
    same_coins = np.repeat(COINS[:1], 3, axis=0)
    together = scores(scorer, coins=same_coins)
    assert (together[0] != together[1]).any()
    monkeypatch.setattr(mlp_classifier, "MOST_NUMBERS", 2 * (N + M) * 2)  # two at a time
    np.testing.assert_allclose(scores(scorer, coins=same_coins), together, atol=1e-13)


def test_a_network_sees_each_of_its_rows_once_an_epoch():
    real = RNG.random((3, 20)) < 0.5
    orders = orders_among(real, 4, [np.random.default_rng(s) for s in range(3)])
    for order in orders:
        for s in range(3):
            own = order[s, : real[s].sum()]
            assert sorted(own) == np.flatnonzero(real[s]).tolist()
            assert sorted(order[s]) == list(range(20))
    assert (orders[0] != orders[1]).any()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"epochs": 0}, "epochs"),
        ({"momentum": 1.0}, "momentum"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"hidden": (0,)}, "hidden"),
    ],
)
def test_settings_of_a_network_are_checked(wrong, words):
    with pytest.raises(ValueError, match=words):
        MlpClassifier(**wrong)
