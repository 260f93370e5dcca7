"""Classifiers of scikit-learn and of users: what they say, what seeds them, how they fail."""

import copy
import functools
import multiprocessing
from importlib import metadata

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from curation_audit.auditing.chunks import describe
from curation_audit.checks import InputError, SettingError
from curation_audit.config.sections import Problem, build_downstream
from curation_audit.observations import Selection
from curation_audit.pipelines import of_users
from curation_audit.pipelines.base import Rows
from curation_audit.pipelines.downstream.estimator import Estimator
from curation_audit.streams import Streams

S, M, D, C = 4, 60, 3, 3
STREAMS = Streams(3).for_shadows("test", range(S))
VALUE = 91735.53125
DRAWN = np.random.default_rng(0)
FEATURES = DRAWN.normal(size=(M, D)) * [1, 10, 100]
POOL = Rows(
    tuple(map(str, range(M))),
    FEATURES,
    (FEATURES[:, 0] > 0) + DRAWN.integers(0, 2, M).astype(np.int64),
)
MASK = DRAWN.random((S, M)) < 0.5
ASKED = DRAWN.normal(size=(11, D)) * [1, 10, 100]


def said(estimator, mask=MASK, n_classes=C, asked=ASKED, pool=POOL, **settings):
    model = Estimator(estimator=estimator, **settings)
    fitted = model.fit(pool, Selection.from_mask(mask), n_classes, streams=STREAMS)
    found = fitted.predict_proba(asked)
    assert found.dtype == np.float32
    assert found.shape == (len(mask), len(asked), n_classes)
    return found


def test_everything_in_a_pipeline_is_fitted_on_the_picked_rows_only():
    chain = make_pipeline(StandardScaler(), LogisticRegression(C=0.3))
    found = said(chain)
    for s, mask in enumerate(MASK):
        rows = FEATURES[mask]
        scaled = (rows - rows.mean(axis=0)) / rows.std(axis=0)
        alone = LogisticRegression(C=0.3).fit(scaled, POOL.labels[mask])
        wanted = alone.predict_proba((ASKED - rows.mean(axis=0)) / rows.std(axis=0))
        np.testing.assert_allclose(found[s], wanted, atol=1e-5)
    assert not hasattr(chain, "n_features_in_")  # the user's own stays as it was


def test_the_number_of_workers_changes_nothing():
    forest = RandomForestClassifier(n_estimators=4)
    one, two = (said(forest, workers=n) for n in (1, 2))
    np.testing.assert_array_equal(one, two)
    assert len({shadow.tobytes() for shadow in one}) == S


def test_seeds_come_from_the_streams_down_to_the_parts():
    """The same rows in every shadow: only the seeds differ, of the forest or of what is bagged."""
    everywhere = np.tile(MASK[0], (S, 1))
    for estimator in (
        RandomForestClassifier(n_estimators=3, random_state=0),
        BaggingClassifier(DecisionTreeClassifier(max_features=1), n_estimators=2),
    ):
        found = said(estimator, mask=everywhere)
        assert len({shadow.tobytes() for shadow in found}) == S
        np.testing.assert_array_equal(found, said(estimator, mask=everywhere))
    assert len({one.tobytes() for one in said(GaussianNB(), mask=everywhere)}) == 1


def test_without_probabilities_it_is_the_softmax_of_what_decides():
    found = said(RidgeClassifier())
    for s, mask in enumerate(MASK):
        alone = RidgeClassifier().fit(FEATURES[mask], POOL.labels[mask])
        odds = np.exp(alone.decision_function(ASKED))
        np.testing.assert_allclose(found[s], odds / odds.sum(axis=1, keepdims=True), atol=1e-6)
    two = Rows(POOL.ids, FEATURES, POOL.labels.clip(max=1))
    found = said(LinearSVC(), pool=two, n_classes=2)
    for s in range(S):
        state = Estimator(estimator=LinearSVC()).fit(
            two, Selection.from_mask(MASK), 2, streams=STREAMS
        )
        margin = state.estimators[s].decision_function(ASKED)
        np.testing.assert_allclose(found[s, :, 1], 1 / (1 + np.exp(-margin)), atol=1e-6)


class Nearest(ClassifierMixin, BaseEstimator):
    """A user's classifier that gives classes only."""

    def fit(self, rows, labels):
        self.classes_ = np.unique(labels)
        self.rows, self.labels = rows, labels
        return self

    def predict(self, rows):
        return self.labels[np.abs(rows[:, None] - self.rows).sum(axis=2).argmin(axis=1)]


def test_without_either_the_predicted_class_gets_1():
    found = said(Nearest())
    assert set(np.unique(found)) == {0.0, 1.0}
    for s, mask in enumerate(MASK):
        alone = Nearest().fit(FEATURES[mask], POOL.labels[mask])
        np.testing.assert_array_equal(found[s].argmax(axis=1), alone.predict(ASKED))


def test_classes_never_seen_one_class_and_no_row():
    mask = np.zeros((4, M), bool)
    mask[0, POOL.labels < 2] = True
    mask[1, POOL.labels == 1] = True
    mask[3] = True
    found = said(LogisticRegression(max_iter=5000), mask=mask)
    assert (found[0, :, 2] == 0).all()
    np.testing.assert_allclose(found[0].sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(found[1], np.tile([0, 1, 0], (11, 1)))
    np.testing.assert_allclose(found[2], 1 / 3)
    assert (found[3] > 0).all()
    assert said(GaussianNB(), asked=ASKED[:0]).shape == (S, 0, C)


class Quotes(Nearest):
    """Tells a row in its exception, in a method of choice."""

    def __init__(self, where="fit"):
        self.where = where

    def fit(self, rows, labels):
        if self.where == "fit":
            raise RuntimeError(f"bad row {rows[0]} {VALUE}")
        return super().fit(rows, labels)

    def predict(self, rows):
        if self.where == "shape":
            return np.zeros((len(rows), 2, 2))
        raise KeyError(f"bad row {rows[0]} {VALUE}")


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (
            "fit",
            r"^train estimator Quotes: fit raised RuntimeError for \d+ rows; call it by itself",
        ),
        ("predict", r"^train estimator Quotes: predict raised KeyError for 11 rows; call it"),
        ("shape", r"^train estimator Quotes: predict gave an array of shape \(11, 2, 2\)"),
    ],
)
def test_a_failure_is_one_line_without_values(where, message):
    with pytest.raises(InputError, match=message) as error:
        said(Quotes(where))
    assert str(VALUE) not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_failure_in_a_worker_is_that_line():
    with pytest.raises(InputError, match=r"^train estimator Quotes: fit raised") as error:
        said(Quotes("fit"), workers=2)
    assert str(VALUE) not in str(error.value)


def test_a_factory_and_settings():
    wanted = said(LogisticRegression(C=0.2, max_iter=5000))
    for source, settings in (
        (LogisticRegression, {"C": 0.2, "max_iter": 5000}),
        (functools.partial(LogisticRegression, C=0.2), {"max_iter": 5000}),
        (lambda: LogisticRegression(C=0.2, max_iter=5000), {}),
        (LogisticRegression(max_iter=5000), {"C": 0.2}),
        ("LogisticRegression", {"C": 0.2, "max_iter": 5000}),
    ):
        np.testing.assert_array_equal(said(source, settings=settings), wanted)


class Offered:
    """An installed package's entry point."""

    name = "gaussian"

    def load(self):
        return GaussianNB


def offer(monkeypatch, *entries):
    found = metadata.entry_points

    def entry_points(**chosen):
        return list(entries) if chosen["group"] == "curation_audit.estimators" else found(**chosen)

    monkeypatch.setattr(metadata, "entry_points", entry_points)


def test_in_a_file(monkeypatch):
    offer(monkeypatch, Offered())
    section = {"model": "estimator", "estimator": "RandomForestClassifier", "workers": 2}
    section["settings"] = {"n_estimators": 7}
    model = build_downstream(section, "cpu")
    assert model.workers == 2
    assert isinstance(model.make(), RandomForestClassifier)
    assert model.make().n_estimators == 7
    assert isinstance(
        build_downstream({"model": "estimator", "estimator": "gaussian"}, "cpu").make(), GaussianNB
    )


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"estimator": "RandomForestClasifier"}, "did you mean 'RandomForestClassifier'?"),
        ({"estimator": "os.system"}, "'os.system' is no entry point of"),
        ({"estimator": "sklearn.svm.SVC"}, "is no entry point of"),
        ({"estimator": "LinearRegression"}, "is no entry point of"),
        ({"estimator": "GaussianNB", "settings": {"prior": 1}}, "did you mean 'priors'?"),
        ({"estimator": "GaussianNB", "workers": 0}, "workers must be positive"),
        ({"estimator": 3}, "found int; expected a classifier"),
        ({"estimator": "VotingClassifier"}, "making the estimator raised TypeError"),
        ({}, "'estimator' is missing"),
    ],
)
def test_a_file_that_names_something_else(section, message):
    with pytest.raises((SettingError, Problem)) as error:
        build_downstream({"model": "estimator", **section}, "cpu")
    told = error.value
    assert message in f"{told.problem}; {told.hint}"


def test_a_regressor_and_what_is_no_estimator():
    for wrong in (LinearRegression(), lambda: object()):
        with pytest.raises(SettingError, match="expected a scikit-learn classifier"):
            Estimator(estimator=wrong)


def test_descriptions_tell_settings_apart_but_not_workers():
    chain = make_pipeline(StandardScaler(), LogisticRegression(C=0.3))
    base = describe(Estimator(estimator=chain))
    assert base["name"] == "estimator"
    assert base["parameters"]["logisticregression__C"] == "0.3"
    assert describe(Estimator(estimator=copy.deepcopy(chain), workers=2)) == base
    other = make_pipeline(StandardScaler(), LogisticRegression(C=0.4))
    assert describe(Estimator(estimator=other)) != base
    assert describe(Estimator(estimator=make_pipeline(StandardScaler(), Nearest()))) != base
    assert describe(Estimator(estimator=Nearest()))["defined"].endswith("test_estimator.Nearest")
    assert "source" in describe(Estimator(estimator=Nearest()))
    of_name = describe(Estimator(estimator="GaussianNB", settings={"var_smoothing": 1e-8}))
    assert of_name["estimator"] == "GaussianNB"
    assert of_name["settings"] == {"var_smoothing": 1e-8}


def test_what_draws_nothing_is_deterministic():
    assert Estimator(estimator=GaussianNB()).deterministic
    assert not Estimator(estimator=DummyClassifier()).deterministic


def test_a_worker_starts_no_workers(monkeypatch):
    """Those of ``run.workers`` and of an estimator would wait for each other at their end."""
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: object())
    monkeypatch.setattr(of_users, "Parallel", None)
    said(GaussianNB(), workers=2)
