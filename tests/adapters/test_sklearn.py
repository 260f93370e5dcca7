"""``PrivateScorer``: scikit-learn's own checks, real fits that are booked, and seeded ones."""

import pickle
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

from curation_audit import Budget, Curator, InputError, Release, release_store
from curation_audit.adapters.sklearn import PrivateScorer
from curation_audit.dp import budget_ledger
from curation_audit.dp.budget_ledger import BudgetLedger
from curation_audit.pipelines.protection.centroid_votes import CentroidVotes
from curation_audit.pipelines.protection.dp_sgd import DpGd
from curation_audit.pipelines.protection.noisy_top_k import NoisySelection
from tests.adapters import job

N, M, D, DELTA = 80, 200, 3, 1e-5
RNG = np.random.default_rng(8)
X = np.concatenate([RNG.normal(1.0, 1, (N, D)), RNG.normal(size=(M, D))])
Y = np.repeat([1, 0], [N, M])
ORDER = RNG.permutation(N + M)
X, Y = X[ORDER], Y[ORDER]
PRIVATE = Y == 1
SETTINGS: dict[str, Any] = {"epsilon": 1.0, "delta": DELTA, "adjacency": "zero_out"}
MECHANISMS: dict[str, dict[str, Any]] = {
    "dp_gd": {},
    "gaussian_mean": {"scorer": "mean"},
    "whitened": {"mechanism": "gaussian_mean"},
    "votes": {"scorer": "nearest", "mechanism": CentroidVotes(clusters=4)},
}


def seeded(**changes: Any) -> PrivateScorer:
    return PrivateScorer(**(SETTINGS | {"random_state": 0} | changes))


@pytest.fixture
def ledger(tmp_path):
    path = tmp_path / "a.ledger"
    BudgetLedger.create(path, budget_ledger.Budget("row", "zero_out", 3.0, DELTA))
    return path


def real(ledger, **changes: Any) -> PrivateScorer:
    return PrivateScorer(**(SETTINGS | {"ledger": ledger} | changes))


def bookings(ledger) -> int:
    return len(BudgetLedger.open(ledger).bookings())


class Strict(PrivateScorer):
    """Without the tag that lets classifiers be bad."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = False
        return tags


def never(*_: Any, **__: Any) -> None:
    raise AssertionError("a release was drawn.")


# as scikit-learn expects it


@pytest.mark.parametrize("name", ["dp_gd", "gaussian_mean", "whitened"])
def test_scikit_learns_own_checks_pass(name):
    """All but one, which needs a variable of the environment before scipy is imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about what is skipped, which is asserted here
        found = check_estimator(seeded(**MECHANISMS[name]), on_skip=None)
    assert len(found) > 40
    skipped = {one["check_name"] for one in found if one["status"] != "passed"}
    assert skipped <= {"check_array_api_input"}


def test_at_an_epsilon_of_4_the_scores_are_good_enough_for_any_classifier():
    """The tag ``poor_score`` is for smaller ones: it hides nothing else."""
    one = Strict(**(SETTINGS | {"epsilon": 4.0, "random_state": 0}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = check_estimator(one, on_skip=None)
    assert "check_classifiers_train" in {item["check_name"] for item in found}


def test_settings_are_kept_as_they_are_given_and_cloned():
    one = seeded(scorer="mean", mechanism=None, ledger="somewhere")
    expected = {
        "scorer": "mean",
        "epsilon": 1.0,
        "delta": DELTA,
        "adjacency": "zero_out",
        "ledger": "somewhere",
        "mechanism": None,
        "random_state": 0,
    }
    assert one.get_params() == expected
    assert clone(one.fit(X, Y)).get_params() == expected
    assert not hasattr(clone(one), "classes_")
    assert one.set_params(epsilon=2.0).epsilon == 2.0
    defaults = PrivateScorer().get_params()
    assert {name for name, value in defaults.items() if value is not None} == {"scorer"}


def test_tags_say_what_it_is():
    tags = seeded().__sklearn_tags__()
    assert not tags.classifier_tags.multi_class
    assert tags.classifier_tags.poor_score
    assert not tags.non_deterministic
    assert PrivateScorer().__sklearn_tags__().non_deterministic


@pytest.mark.parametrize("name", MECHANISMS)
def test_scores_tell_private_rows_from_background(name):
    """Rows lie 1.7 sd apart, so that the best AUC is .89; noise takes little at epsilon 4."""
    one = seeded(**MECHANISMS[name], epsilon=4.0).fit(X, Y)
    assert one.classes_.tolist() == [0, 1]
    assert (one.n_features_in_, one.decision_function(X).shape) == (D, (N + M,))
    assert one.decision_function(X).dtype == np.float64
    assert roc_auc_score(PRIVATE, one.decision_function(X)) > 0.75
    assert one.score(X, Y) > 0.6
    turned = seeded(**MECHANISMS[name], epsilon=4.0).fit(X, ~PRIVATE)  # True is the second class
    assert roc_auc_score(PRIVATE, turned.decision_function(X)) < 0.5


@pytest.mark.parametrize("name", MECHANISMS)
def test_the_threshold_is_public(name):
    """0 for a classifier; else half of the background is below it, whatever the private rows."""
    one = seeded(**MECHANISMS[name]).fit(X, Y)
    decisions = one.decision_function(X)
    np.testing.assert_array_equal(one.predict(X) == 1, decisions > 0)
    if name == "dp_gd":
        assert one.threshold_ == 0.0
    else:
        assert np.median(decisions[~PRIVATE]) == pytest.approx(0, abs=1e-12)
        assert abs(one.threshold_) > 1e-6


def test_half_of_the_background_stays_below_the_threshold_of_a_mean():
    one = seeded(scorer="mean").fit(X, Y)
    assert (one.predict(X[~PRIVATE]) == 0).sum() == M // 2
    assert (one.predict(X[PRIVATE]) == 1).mean() > 0.6


def test_it_stands_at_the_end_of_a_pipeline():
    steps = make_pipeline(PCA(2, random_state=0), seeded(scorer="mean", epsilon=4.0))
    steps.fit(X, Y)
    assert steps[-1].n_features_in_ == 2
    assert steps.predict(X).shape == (N + M,)
    assert roc_auc_score(PRIVATE, steps.decision_function(X)) > 0.75


def test_names_of_columns_are_kept_and_checked():
    frame = pd.DataFrame(X, columns=["age", "pulse", "weight"])
    one = seeded().fit(frame, Y)
    assert one.feature_names_in_.tolist() == ["age", "pulse", "weight"]
    np.testing.assert_allclose(
        one.decision_function(frame), seeded().fit(X, Y).decision_function(X)
    )
    with pytest.raises(ValueError, match="feature names should match"):
        one.predict(frame[["pulse", "age", "weight"]])


# seeded fits


@pytest.mark.parametrize("name", MECHANISMS)
def test_a_seed_repeats_a_fit_and_another_does_not(name):
    one, again, other = (
        seeded(**MECHANISMS[name], random_state=seed).fit(X, Y).decision_function(X)
        for seed in (0, np.int64(0), 1)
    )
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, other)


def test_a_seeded_fit_is_not_for_release(ledger, monkeypatch):
    monkeypatch.setattr(release_store, "make_release", never)
    one = seeded(ledger=ledger).fit(X, Y)
    assert bookings(ledger) == 0
    assert not ledger.with_name("a.ledger.releases").exists()
    assert not hasattr(one, "release_")
    with pytest.raises(AttributeError, match="this fit is not for release: its noise comes from"):
        _ = one.release_
    assert not any(isinstance(value, Release) for value in vars(one).values())
    assert "not for release" in (PrivateScorer.__doc__ or "")
    kept = pickle.loads(pickle.dumps(one))
    np.testing.assert_array_equal(kept.decision_function(X), one.decision_function(X))


def test_a_seeded_fit_has_the_noise_of_its_budget():
    """Squared errors of the mean over 200 seeds against those the claim needs, within a tenth.

    Their sum over 3 coordinates has a relative sd of .058: false alarm 1e-3 at .2.
    """
    exact = seeded(scorer="mean", epsilon=500.0).fit(X, Y)._fitted.fitted.weights[0]
    sigma = 1 / Budget(epsilon=1.0, delta=DELTA).mu_left(()) / N
    found = [
        seeded(scorer="mean", random_state=seed).fit(X, Y)._fitted.fitted.weights[0]
        for seed in range(200)
    ]
    assert ((np.array(found) - exact) ** 2).mean() / sigma**2 == pytest.approx(1, abs=0.2)


def test_a_grid_search_runs_on_seeded_fits_and_the_docstring_says_what_that_costs():
    grid = {"epsilon": [0.5, 4.0], "mechanism": ["dp_gd", "gaussian_mean"]}
    search = GridSearchCV(seeded(), grid, cv=3).fit(X, Y)
    assert search.best_params_["epsilon"] in (0.5, 4.0)
    assert not hasattr(search.best_estimator_, "release_")
    words = " ".join((PrivateScorer.__doc__ or "").split())
    assert "Tuning is not accounted for" in words
    assert "GridSearchCV" in words


# real fits


@pytest.mark.parametrize("name", MECHANISMS)
def test_a_real_fit_is_booked_once(ledger, monkeypatch, name):
    one = real(ledger, **MECHANISMS[name]).fit(X, Y)
    assert bookings(ledger) == 1
    assert one.release_.card()["epsilon"] == pytest.approx(1.0, abs=1e-3)
    np.testing.assert_array_equal(one.decision_function(X), one.release_.score(X) - one.threshold_)
    monkeypatch.setattr(release_store, "make_release", never)
    again = clone(one).fit(X.copy(), Y.copy())
    assert again.release_.fingerprint == one.release_.fingerprint
    np.testing.assert_array_equal(again.predict(X), one.predict(X))
    assert bookings(ledger) == 1


def test_a_real_fit_is_the_release_of_a_curator(ledger):
    one = real(ledger, scorer="mean").fit(X, Y)
    of = Curator(scorer="mean", adjacency="zero_out", ledger=ledger)
    budget = Budget(epsilon=1.0, delta=DELTA)
    same = of.fit(X[PRIVATE], budget=budget, background=X[~PRIVATE])
    assert same.fingerprint == one.release_.fingerprint
    assert bookings(ledger) == 1


def test_a_changed_private_set_is_meant_by_word(ledger):
    real(ledger, scorer="mean").fit(X, Y)
    changed = np.where(PRIVATE[:, None], X + 0.01, X)
    with pytest.raises(ValueError, match="no booking was of this version of the private set"):
        real(ledger, scorer="mean").fit(changed, Y)
    of = Curator(scorer="mean", adjacency="zero_out", ledger=ledger)
    budget = Budget(epsilon=1.0, delta=DELTA)
    release = of.fit(
        changed[PRIVATE], budget=budget, background=changed[~PRIVATE], new_version=True
    )
    fitted = real(ledger, scorer="mean").fit(changed, Y)
    assert fitted.release_.fingerprint == release.fingerprint
    assert bookings(ledger) == 2


def test_the_release_of_a_frame_scores_tables(ledger):
    frame = pd.DataFrame(X, columns=["age", "pulse", "weight"])
    one = real(ledger).fit(frame, Y)
    assert one.release_.columns == ("age", "pulse", "weight")
    table = pa.table({"weight": X[:, 2], "uid": np.arange(N + M), "age": X[:, 0], "pulse": X[:, 1]})
    np.testing.assert_array_equal(
        one.release_(table)["dp_score"].to_numpy(), one.decision_function(frame)
    )


def test_cross_validation_of_a_real_fit_stops_after_one_fold(ledger):
    """Every fold is another private set."""
    search = GridSearchCV(real(ledger), {"epsilon": [0.5]}, cv=3, error_score="raise")
    with pytest.raises(ValueError, match="no booking was of this version"):
        search.fit(X, Y)
    assert bookings(ledger) == 1


# what is refused

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no epsilon": ({"epsilon": None}, "^epsilon: is missing; say how much"),
    "no delta": ({"delta": None}, "^delta: is missing; give a number below one over"),
    "no adjacency": (
        {"adjacency": None},
        "^adjacency: is missing; state which .* zero_out",
    ),
    "no ledger": ({"ledger": None, "random_state": None}, "^ledger: is missing; name the file"),
    "a ledger that is none": ({"ledger": "no", "random_state": None}, "ledger set-budget no"),
    "words": ({"epsilon": "much"}, "^epsilon: found 'much'; expected a number"),
    "yes": ({"delta": True}, "^delta: found True; expected a number"),
    "zero": ({"epsilon": 0}, "epsilon: found 0; expected more than 0"),
    "much": ({"delta": 0.1}, "delta: found 0.1; expected less than 1 / 80"),
    "scorer": ({"scorer": "means"}, "^scorer: found 'means'; did you mean 'mean'"),
    "adjacency": ({"adjacency": "zero"}, "adjacency: found 'zero'; did you mean 'zero_out'"),
    "mechanism": ({"mechanism": "dp_dg"}, "did you mean 'dp_gd'"),
    "selection": ({"mechanism": "noisy_top_k"}, "scorer must never leave"),
    "its settings": ({"mechanism": NoisySelection()}, "scorer must never leave"),
    "hidden": ({"mechanism": DpGd(hidden=(2,))}, "no scorer that a file could hold"),
    "no mechanism": ({"mechanism": 5}, "mechanism: found 'int'; expected one of"),
    "no noise": ({"epsilon": np.inf}, "epsilon: is infinite; a release needs noise"),
    "generator": ({"random_state": np.random.RandomState(0)}, "^random_state: found RandomState"),
    "fraction": ({"random_state": 0.5}, "^random_state: found 0.5; expected None .* or an integer"),
    "negative": ({"random_state": -1}, "^random_state: found -1"),
    "secret number": ({"adjacency": "add_remove"}, "expected_units: is missing"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_settings_are_checked_when_fitted(case, monkeypatch):
    settings, expected = REFUSED[case]
    monkeypatch.setattr(release_store, "make_release", never)
    one = seeded(**settings)  # nothing is checked before
    for kind in (InputError, ValueError):
        with pytest.raises(kind, match=expected) as found:
            one.fit(X, Y)
        assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        (np.arange(N + M) % 3, "Only binary classification is supported"),
        (np.zeros(N + M), "holds one class"),
        (np.linspace(0, 1, N + M), "Unknown label type"),
        (np.arange(N + M) < N + M - 3, None),
        (np.repeat([1, 0, np.nan], [100, 100, N + M - 200]), "contains NaN"),
        (np.arange(N + M) >= N + M - 3, "too few rows are private .*; expected 4 or more"),
    ],
)
def test_labels_must_be_two(y, expected):
    if expected is None:
        assert seeded().fit(X, y).classes_.tolist() == [False, True]
        return
    with pytest.raises(ValueError, match=expected):
        seeded().fit(X, y)


def test_nothing_is_known_before_a_fit():
    one = seeded()
    for ask in (lambda: one.predict(X), lambda: one.decision_function(X), lambda: one.release_):
        with pytest.raises(NotFittedError):
            ask()
    assert isinstance(one, BaseEstimator)


def test_a_mechanism_of_ones_own_settings():
    one = seeded(mechanism=DpGd(steps=3, expected_units=100.0), adjacency="add_remove").fit(X, Y)
    assert roc_auc_score(PRIVATE, one.decision_function(X)) > 0.6


def test_the_example_picks_the_best_rows_of_a_paid_fit(job_folder):
    """Of private rows around another mean: the best rows lie towards it."""
    ledger = job_folder / "rows.ledger"
    BudgetLedger.create(ledger, budget_ledger.Budget("row", "zero_out", 2.0, DELTA))
    for _ in range(2):  # the second run is for nothing
        job.run_example("with_sklearn.py", job_folder)
    assert bookings(ledger) == 1
    picked = job.picked_ids(job_folder / "picked.parquet")
    assert len(set(picked)) == job.PICKED
    means = np.stack(pq.read_table(job_folder / "picked.parquet")["emb"].to_numpy()).mean(axis=1)
    assert means.mean() > 5 * (1 / 8) / np.sqrt(job.PICKED)  # of all rows it is 0, sd 1/8


@pytest.mark.parametrize("labels", [("private", "public"), ("pool", "ward"), (1, 2), (-1, 1)])
def test_which_side_is_private_never_hangs_on_the_order_of_words(ledger, labels):
    with pytest.raises(InputError, match="expected 1 for private rows and 0 for the background"):
        real(ledger).fit(X, np.where(PRIVATE, *labels))
    assert bookings(ledger) == 0
