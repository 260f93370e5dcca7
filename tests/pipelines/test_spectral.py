"""Pipelines under the spectral parametrisation: models, scorers, attacks, private scorers."""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from curation_audit.analytic.cavity import at_references, has_references
from curation_audit.auditing.adversary import knowledge_of
from curation_audit.checks import SettingError
from curation_audit.config import load_plan
from curation_audit.observations import Selection
from curation_audit.pipelines.base import PrivateRows, Rows
from curation_audit.pipelines.downstream.cnn import Cnn
from curation_audit.pipelines.downstream.dense import dense_models
from curation_audit.pipelines.downstream.mlp import Mlp
from curation_audit.pipelines.scorers.mlp_classifier import MlpClassifier
from curation_audit.streams import Streams
from curation_audit.training.dp_gradients import UnitBatch, unit_norms
from curation_audit.training.spectral import multipliers
from tests.config.test_bad_input import assert_one_line

S, N, M, D = 4, 30, 50, 5
NETWORK = {"method": "mlp_classifier", "hidden": [6], "epochs": 2, "parametrization": "spectral"}
PRIVATE = {
    "mechanism": "dp_sgd",
    "adjacency": "zero_out",
    "epsilon": 2,
    "delta": 1e-5,
    "steps": 2,
    "sampling_rate": 1,
    "hidden": [1024],
    "learning_rate": 0.5,
}


def streams(shadows=range(S)):
    return Streams(1).for_shadows("test", list(shadows))


@pytest.fixture
def pool(rng) -> Rows:
    features = rng.normal(size=(M, D))
    labels = (features[:, 0] > 0).astype(np.int64)
    return Rows(tuple(f"p{i}" for i in range(M)), features, labels)


@pytest.fixture
def private(rng) -> PrivateRows:
    ids = tuple(f"u{i}" for i in range(N))
    return PrivateRows(ids, rng.normal(size=(N, D)) + 1, np.arange(N), ids)


@pytest.mark.parametrize("optimiser", ["sgd", "adamw", "muon"])
def test_a_spectral_model_learns_alone_as_beside_others(pool, rng, optimiser):
    rate = {"sgd": 0.1, "adamw": 0.02, "muon": 0.05}[optimiser]
    model = Mlp(
        hidden=(32,),
        base_width=8,
        parametrization="spectral",
        optimiser=optimiser,
        learning_rate=rate,
        device="cpu",
    )
    selection = Selection.from_mask(rng.random((S, M)) < 0.7)
    every = model.fit(pool, selection, 2, streams=streams()).predict_proba(pool.features)
    assert (every.argmax(axis=2) == pool.labels).mean() > 0.9
    one = Selection.from_mask(selection.mask()[2:3])
    alone = model.fit(pool, one, 2, streams=streams([2])).predict_proba(pool.features)
    np.testing.assert_allclose(alone[0], every[2], atol=1e-6)
    plain = dataclasses.replace(model, parametrization="standard")
    other = plain.fit(pool, selection, 2, streams=streams()).predict_proba(pool.features)
    assert np.abs(other - every).max() > 1e-3


def test_a_spectral_scorer_scores_alone_as_beside_others(private, pool, rng):
    scorer = MlpClassifier(hidden=(32,), base_width=8, parametrization="spectral", device="cpu")
    coins = rng.random((S, N)) < 0.5
    every = scorer.fit(private, coins, pool, streams=streams()).score(pool.features)
    alone = scorer.fit(private, coins[1:2], pool, streams=streams([1])).score(pool.features)
    np.testing.assert_allclose(alone[0], every[1], atol=1e-10)
    inside = scorer.fit(private, coins, pool, streams=streams()).score(private.features)
    assert inside.mean() > every.mean() + 0.5


def test_first_order_is_refused_where_layers_have_rates_of_their_own(small):
    def edit(tree):
        tree["curate"]["scorer"] = NETWORK

    spectral = load_plan(small(edit))
    standard = load_plan(small(edit), ["curate.scorer.parametrization=standard"])
    assert "trained references" not in knowledge_of(spectral).granted
    assert "trained references" in knowledge_of(standard).granted
    assert has_references(standard.scorer)
    with pytest.raises(SettingError, match=r"curate\.scorer\.parametrization: found spectral"):
        at_references(spectral.scorer, spectral.data, Streams(0))


def test_an_audit_and_a_forecast_of_a_spectral_scorer(small, command):
    def edit(tree):
        tree["curate"]["scorer"] = NETWORK
        tree["train"] = {"model": "mlp", "hidden": [8], "epochs": 2, "parametrization": "spectral"}

    path = small(edit)
    code, _, err = command("attack", "--pipeline", path, "--quiet")
    assert code == 0, err
    found = command("forecast", "--pipeline", path, "--shadows", 0)
    assert_one_line(*found, ["found spectral", "first order is not worked out"])


def test_a_spectral_convolution_learns_alone_as_beside_others(pool, rng):
    settings = {"shape": (1, D), "channels": (8,), "parametrization": "spectral"}
    with pytest.raises(SettingError, match=r"train\.channels"):
        Cnn(**settings)  # one row of pixels cannot be halved
    images = dataclasses.replace(pool, features=rng.normal(size=(M, 16)))
    images.features[:, 5] += 3 * pool.labels
    model = Cnn(**settings | {"shape": (4, 4)}, learning_rate=0.1, base_width=4, device="cpu")
    selection = Selection.from_mask(rng.random((S, M)) < 0.7)
    every = model.fit(images, selection, 2, streams=streams()).predict_proba(images.features)
    assert (every.argmax(axis=2) == pool.labels).mean() > 0.85
    one = Selection.from_mask(selection.mask()[2:3])
    alone = model.fit(images, one, 2, streams=streams([2])).predict_proba(images.features)
    np.testing.assert_allclose(alone[0], every[2], atol=1e-6)


def mean_norm(width: int, parametrization: str) -> float:
    """Of the gradients, at what fine-tuning trains, of rows that a model of digits never saw."""
    digits = load_digits()
    rows = ((digits.data - digits.data.mean(axis=0)) / (digits.data.std(axis=0) + 1e-6)).astype("f")
    pool = Rows(tuple(map(str, range(600))), rows[:600], digits.target[:600])
    model = Mlp(
        hidden=(width, width),
        epochs=2,
        optimiser="adamw",
        learning_rate=0.01,
        parametrization=parametrization,
        device="cpu",
    )
    everything = Selection.from_mask(np.ones((2, 600), dtype=bool))
    start = dense_models(model.fit(pool, everything, 10, streams=streams(range(2)))).layers
    others = torch.as_tensor(rows[600:1000])[None, :, None].expand(2, -1, -1, -1)
    labels = torch.as_tensor(digits.target[600:1000])[None, :, None].expand(2, -1, -1)
    flat = multipliers((64, width, width, 10))
    by = list(zip(flat[::2], flat[1::2], strict=True)) if parametrization == "spectral" else None
    return float(unit_norms(start, UnitBatch(others, labels >= 0, labels), by).mean())


def test_fine_tuning_meets_gradients_of_one_size_at_every_width():
    """Measured, 1,024 beside 64 units: .94, and 2.6 under the standard parametrisation."""
    ratios = {one: mean_norm(1024, one) / mean_norm(64, one) for one in ("spectral", "standard")}
    assert 0.8 < ratios["spectral"] < 1.25
    assert ratios["standard"] > 1.6


def test_full_batches_are_those_of_dp_sgd_at_a_sampling_rate_of_one(small):
    same = {"parametrization": "spectral", "momentum": 0.0, "average": False}
    by_sgd = load_plan(protected(small, **same)).scorer
    by_gd = load_plan(protected(small, **same, mechanism="dp_gd", sampling_rate=None)).scorer
    assert by_gd.settings == by_sgd.settings
    assert by_gd.settings.parametrization == "spectral"


def protected(small, **changes):
    def edit(tree):
        tree["curate"]["scorer"] = {"method": "classifier"}
        tree["curate"]["protect"] = {k: v for k, v in (PRIVATE | changes).items() if v is not None}

    return small(edit)


def test_a_private_scorer_spends_what_it_spent_at_a_rate_for_its_width(small):
    standard = load_plan(protected(small))
    spectral = load_plan(protected(small, parametrization="spectral"))
    assert spectral.events == standard.events
    assert repr(spectral.claim) == repr(standard.claim)
    settings = (standard.scorer.settings, spectral.scorer.settings)
    assert settings[0].noise_multiplier == settings[1].noise_multiplier
    # a width 16 times the base: 16 ** -1/4 is one half
    assert [one.learning_rate for one in settings] == pytest.approx([0.5, 0.25])
    assert "s is a public number of its shape" in repr(spectral.protection)
    refitted = load_plan(protected(small, parametrization="spectral", width_exponent=0.0))
    assert refitted.scorer.settings.learning_rate == 0.5


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"learning_rate": None}, ["learning_rate", "tune it on public rows"]),
        ({"hidden": []}, ["needs hidden layers"]),
        (
            {"mechanism": "dp_gd", "sampling_rate": None, "hidden": None},
            ["needs hidden layers"],
        ),
        ({"parametrization": "mup"}, ["parametrization"]),
        ({"base_width": 0}, ["base_width"]),
    ],
)
def test_private_settings_that_do_not_fit_are_refused(small, command, changes, expected):
    path = protected(small, **{"parametrization": "spectral"} | changes)
    assert_one_line(*command("validate", "--pipeline", path), expected)


@pytest.mark.parametrize("place", ["train", "curate.scorer"])
def test_a_word_that_nobody_knows_is_refused_at_its_place(small, command, place):
    def edit(tree):
        tree["curate"]["scorer"] = {"method": "mlp_classifier"}
        tree["train"] = {"model": "mlp"}

    wrong = f"{place}.parametrization=mup"
    found = command("validate", "--pipeline", small(edit), "--set", wrong)
    assert_one_line(*found, [f"{place}.parametrization", "expected one of spectral, standard"])
