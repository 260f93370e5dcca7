"""Repeats of any model, and early stopping on rows that nobody trains on."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.tree import DecisionTreeClassifier

from curation_audit.auditing.chunks import describe
from curation_audit.checks import SettingError
from curation_audit.config.sections import Problem, build_downstream
from curation_audit.observations import Selection
from curation_audit.pipelines.base import Rows
from curation_audit.pipelines.downstream.cnn import Cnn
from curation_audit.pipelines.downstream.estimator import Estimator
from curation_audit.pipelines.downstream.knn import Knn
from curation_audit.pipelines.downstream.logistic import Logistic
from curation_audit.pipelines.downstream.mlp import Mlp
from curation_audit.pipelines.downstream.module import Module
from curation_audit.pipelines.downstream.networks import set_apart
from curation_audit.pipelines.downstream.ngram_text import NgramText
from curation_audit.pipelines.downstream.repeated import Repeated
from curation_audit.streams import Streams
from curation_audit.training.recipe import EarlyStopping

S, M, D, C = 3, 200, 4, 3
DRAWN = np.random.default_rng(0)
FEATURES = DRAWN.normal(size=(M, D))
POOL = Rows(tuple(map(str, range(M))), FEATURES, (FEATURES[:, 0] > 0).astype(np.int64))
MASK = DRAWN.random((S, M)) < 0.4
ASKED = DRAWN.normal(size=(9, D))
NETWORK = {"epochs": 4, "batch_size": 16, "device": "cpu"}


def batch_normalised(n_features, n_classes):
    return torch.nn.Sequential(
        torch.nn.BatchNorm1d(n_features), torch.nn.Linear(n_features, n_classes)
    )


def linear(n_features, n_classes):
    return torch.nn.Linear(n_features, n_classes)


STOPPING = [
    Mlp(hidden=(5,), stop=EarlyStopping(share=0.3, patience=2), **NETWORK),
    Cnn(shape=(2, 2), channels=(4,), stop=EarlyStopping(share=0.3, patience=2), **NETWORK),
    Module(module=linear, stop=EarlyStopping(share=0.3, patience=2), **NETWORK),
    Module(module=batch_normalised, stop=EarlyStopping(share=0.3, patience=2), **NETWORK),
]


def said(model, mask=MASK, pool=POOL, seed=3, scope="test"):
    streams = Streams(seed).for_shadows(scope, range(len(mask)))
    return model.fit(pool, Selection.from_mask(mask), C, streams=streams).predict_proba(ASKED)


@pytest.mark.parametrize(
    "model",
    [Mlp(hidden=(5,), **NETWORK), Estimator(estimator=DecisionTreeClassifier(max_features=1))],
    ids=["mlp", "estimator"],
)
def test_repeats_are_the_mean_of_models_from_streams_of_their_own(model):
    found = said(Repeated(model=model, repeats=3))
    assert found.dtype == np.float32
    scopes = ("test", "test/repeat 1", "test/repeat 2")
    apart = [said(model, scope=scope) for scope in scopes]
    assert len({one.tobytes() for one in apart}) == 3
    np.testing.assert_allclose(found, np.mean(apart, axis=0, dtype=np.float64), atol=1e-7)
    np.testing.assert_array_equal(said(Repeated(model=model, repeats=1)), apart[0])
    np.testing.assert_array_equal(found, said(Repeated(model=model, repeats=3)))


def test_chance_averages_out():
    """Ensembles of five from two seeds are nearer to each other than single networks are."""
    one = Mlp(hidden=(5,), **NETWORK)

    def gap(model):
        return float(np.square(said(model, seed=1) - said(model, seed=2)).mean())

    assert gap(Repeated(model=one, repeats=5)) < 0.6 * gap(one)  # about a fifth


@pytest.mark.parametrize(
    "model", [Logistic(), Knn(), NgramText(), Estimator(estimator="GaussianNB")]
)
def test_repeats_of_what_draws_nothing_are_refused(model):
    with pytest.raises(SettingError, match=f"{model.name!r} draws nothing at random; leave it out"):
        Repeated(model=model, repeats=2)
    Repeated(model=model, repeats=1)


def test_in_a_file():
    section = {"model": "mlp", "hidden": [5], "repeats": 3, "stop": {"share": 0.2, "patience": 2}}
    model = build_downstream(section, "cpu")
    stop = EarlyStopping(share=0.2, patience=2)
    assert model == Repeated(model=Mlp(hidden=(5,), stop=stop, device="cpu"), repeats=3)
    assert model.name == "mlp x 3"
    described = describe(model)
    assert (described["name"], described["repeats"]) == ("mlp", 3)
    assert described["stop"] == {"share": 0.2, "patience": 2}
    written = {"model": described.pop("name"), **described}
    written.pop("device")
    assert build_downstream(written, "cpu") == model  # what a report shows can be run again
    assert build_downstream(section | {"repeats": 1}, "cpu") == model.model


@pytest.mark.parametrize(
    ("change", "path", "message"),
    [
        ({"repeats": 0}, "train.repeats", "found 0"),
        ({"repeats": 1.5}, ("repeats",), "found 1.5"),
        ({"repeats": True}, ("repeats",), "found True"),
        ({"stop": {"shares": 0.2}}, ("stop", "shares"), "unknown setting 'shares'"),
        ({"stop": {"share": 2}}, ("stop",), "share must be in (0, 1), got 2"),
        ({"stop": 3}, ("stop",), "found 3"),
        ({"optimiser": "adam"}, ("optimiser",), "found 'adam'"),
        ({"schedule": "cosin"}, ("schedule",), "found 'cosin'"),
        ({"model": "logistic", "repeats": 2}, "train.repeats", "draws nothing"),
        ({"model": "logistic", "stop": {}}, ("stop",), "unknown setting 'stop'"),
        ({"model": "cnn"}, (), "'shape' is missing"),
        ({"model": "cnn", "shape": [4]}, "train.shape", "found [4]"),
        ({"model": "cnn", "shape": [3, 3], "channels": [4, 4]}, "train.channels", "2 halvings"),
    ],
)
def test_a_file_that_says_something_else(change, path, message):
    with pytest.raises((SettingError, Problem)) as error:
        build_downstream({"model": "mlp", **change}, "cpu")
    told = error.value
    assert message in told.problem
    assert (told.where if isinstance(told, SettingError) else told.path) == path


def test_an_image_that_is_none():
    with pytest.raises(SettingError, match=r"found \[2, 3\], which is 6 numbers; .* 4 features"):
        said(Cnn(shape=(2, 3), channels=(4,), **NETWORK))
    with pytest.raises(SettingError, match="4 features"):
        Repeated(model=Cnn(shape=(2, 4), channels=(4,)), repeats=2).check(POOL)
    Cnn(shape=(1, 2, 2), channels=(4,)).check(POOL)


def test_channels_come_first():
    """A pool of two-channel images of which only the second channel tells: so must the network."""
    pool = Rows(POOL.ids, np.concatenate([0 * FEATURES, FEATURES], axis=1), POOL.labels)
    model = Cnn(shape=(2, 2, 2), channels=(8,), **(NETWORK | {"epochs": 40}))
    streams = Streams(0).for_shadows("test", range(S))
    fitted = model.fit(pool, Selection.from_mask(MASK), 2, streams=streams)
    told = fitted.predict_proba(pool.features).argmax(axis=2)
    assert (told == pool.labels).mean() > 0.9
    swapped = np.concatenate([FEATURES, 0 * FEATURES], axis=1)
    assert (fitted.predict_proba(swapped).argmax(axis=2) == pool.labels).mean() < 0.9


# the first is trained in step, the last one by one
@pytest.mark.parametrize("model", STOPPING, ids=["mlp", "cnn", "linear", "batch_normalised"])
def test_rows_set_apart_are_the_same_for_all_and_never_trained_on(model):
    apart = set_apart(POOL, model.stop)
    assert 0.2 < apart.mean() < 0.4  # 200 rows, share .3: the sd is .03
    with_them, without = said(model, mask=MASK | apart), said(model, mask=MASK & ~apart)
    np.testing.assert_array_equal(with_them, without)


def test_whether_a_row_is_set_apart_depends_on_its_id_only():
    stop = EarlyStopping(share=0.2)
    apart = set_apart(POOL, stop)
    back = np.arange(M)[::-1][: M // 2]
    half = Rows(tuple(POOL.ids[i] for i in back), FEATURES[back], POOL.labels[back])
    np.testing.assert_array_equal(set_apart(half, stop), apart[back])
    assert (set_apart(POOL, EarlyStopping(share=0.4)) >= apart).all()


def test_no_row_to_stop_by():
    few = Rows(POOL.ids[:3], FEATURES[:3], POOL.labels[:3])
    model = Mlp(stop=EarlyStopping(share=1e-6), **NETWORK)
    with pytest.raises(SettingError, match="none of the 3 pool rows is set apart; use a larger"):
        said(model, mask=np.ones((1, 3), bool), pool=few)


@pytest.mark.parametrize("model", STOPPING, ids=["mlp", "cnn", "linear", "batch_normalised"])
def test_the_best_epoch_is_kept_with_its_running_means(model):
    """Labels of noise and a large rate: the last of eight epochs is not the best everywhere."""
    noisy = Rows(POOL.ids, FEATURES, np.random.default_rng(1).integers(0, C, M).astype(np.int64))
    apart = set_apart(noisy, model.stop)

    def loss(mask, **changes):
        streams = Streams(3).for_shadows("test", range(S))
        changed = replace(model, learning_rate=0.3, **changes)
        fitted = changed.fit(noisy, Selection.from_mask(mask), C, streams=streams)
        found = fitted.predict_proba(noisy.features[apart]).astype(np.float64)
        return -np.log(found[:, np.arange(apart.sum()), noisy.labels[apart]]).mean(axis=1)

    best = loss(MASK, epochs=8, stop=EarlyStopping(share=0.3, patience=100))
    after = [loss(MASK & ~apart, epochs=n, stop=None) for n in range(1, 9)]
    np.testing.assert_allclose(best, np.min(after, axis=0), rtol=1e-6)
    assert (best < after[-1] - 1e-3).any()
