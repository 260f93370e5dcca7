"""From ``train.fine_tune`` to claims: what is calibrated, composed, told and refused."""

import dataclasses
import math

import numpy as np
import pytest

from curation_audit.checks import SettingError
from curation_audit.dp.events import PoissonGaussian
from curation_audit.dp.ledger import guarantee_of
from curation_audit.pipelines.base import Downstream
from curation_audit.pipelines.downstream.knn import Knn
from curation_audit.pipelines.downstream.logistic import Logistic
from curation_audit.pipelines.downstream.mlp import Mlp
from curation_audit.pipelines.protection.base import Budget, Site
from curation_audit.pipelines.protection.dp_sgd import DpGd
from curation_audit.pipelines.protection.fine_tuning import (
    FineTuned,
    FineTuneSettings,
    describe_fine_tuning,
    fine_tune,
)
from curation_audit.pipelines.protection.noisy_top_k import NoisySelection
from curation_audit.pipelines.protection.protect import Protected, ProtectSettings, protect
from curation_audit.pipelines.rules.top import TopK
from curation_audit.pipelines.scorers.mean import Mean
from tests.pipelines.protected import DELTA, D, K, N, pool_rows, private_rows

LOGIT = Logistic(device="cpu")
GOOD = {"delta": DELTA, "adjacency": "zero_out", "epsilon": 2.0, "steps": 20}


def labelled(adjacency="zero_out") -> Site:
    private = private_rows()
    return Site(
        private=dataclasses.replace(private, labels=np.arange(len(private)) % 3),
        pool=pool_rows(),
        scorer=Mean(),
        adjacency=adjacency,
        seed=3,
        device="cpu",
    )


def curation(epsilon: float = 0.5, adjacency="zero_out", mechanism="dp_gd") -> Protected:
    asked = ProtectSettings(
        mechanism=mechanism,
        adjacency=adjacency,
        budget=Budget(epsilon=epsilon, delta=DELTA),
        scorer=DpGd(steps=3, expected_units=11.0) if mechanism == "dp_gd" else None,
        selection=NoisySelection() if mechanism == "noisy_top_k" else None,
    )
    return protect(asked, labelled(adjacency), TopK(k=K), "patient")


def made(
    protected: Protected | None,
    downstream: Downstream = LOGIT,
    adjacency="zero_out",
    **changes,
) -> FineTuned:
    chosen = {**GOOD, "adjacency": adjacency, **changes}
    own = FineTuneSettings(**{name: one for name, one in chosen.items() if one is not None})
    return fine_tune(own, labelled(own.adjacency), downstream, 3, protected, "patient")


# --- what is claimed


def test_each_stage_has_its_epsilon_and_the_model_has_the_joint_one():
    first = curation(0.5)
    found = made(first)
    told, settings = found.told, found.model.settings
    event = PoissonGaussian(settings.noise_multiplier, 0.1, 20, "again")
    assert told.curation_epsilon == pytest.approx(0.5, abs=1e-6)
    assert 2.0 - 2e-3 < told.epsilon <= 2.0
    assert told.epsilon == guarantee_of((event,), "zero_out").epsilon_at(DELTA)
    joint = guarantee_of((*first.events, event), "zero_out").epsilon_at(DELTA)
    assert told.joint_epsilon == joint == found.claim.epsilon_at(DELTA)
    assert max(told.epsilon, told.curation_epsilon) < joint < 2.5
    assert found.curation_claim is first.claim
    assert found.protection.epsilon == joint
    assert found.protection.covers == ("scores", "selection", "model")
    assert "the curation spends epsilon 0.5, which covers scores and selection" in told.summary
    assert told.summary in found.protection.notes
    assert any("model (fine-tuning): DP-SGD" in line for line in found.protection.events)
    assert any(
        line.startswith("fine-tuning: a step's sum") for line in found.protection.sensitivities
    )


def test_a_joint_epsilon_is_what_both_spend_together():
    found = made(curation(0.5), epsilon=None, joint_epsilon=2.0)
    assert 2.0 - 2e-3 < found.told.joint_epsilon <= 2.0
    assert found.told.epsilon < found.told.joint_epsilon
    alone = made(curation(0.5), epsilon=2.0)
    assert found.told.noise_multiplier > alone.told.noise_multiplier


def test_full_batches_are_gaussian_and_compose_in_closed_form():
    found = made(curation(0.5), sampling_rate=1.0)
    assert found.claim.kind == "gaussian"
    assert found.claim.mu == pytest.approx(
        math.hypot(found.curation_claim.mu, math.sqrt(20) / found.told.noise_multiplier)
    )


def test_noise_on_the_selection_alone_composes_too():
    """Weights that come from noisy picks are post-processing of these, whatever the scorer was."""
    found = made(curation(1.0, mechanism="noisy_top_k"))
    assert found.protection.covers == ("selection", "model")
    assert found.told.curation_epsilon <= 1.0 + 1e-9
    assert found.told.joint_epsilon > found.told.epsilon
    assert ", which covers selection; fine-tuning spends" in found.told.summary


@pytest.mark.parametrize(
    ("protected", "changes", "why"),
    [
        (None, {}, "the curation is not private"),
        (math.inf, {}, "the curation ran without noise"),
        (0.5, {"epsilon": math.inf}, "Fine-tuning ran without noise"),
    ],
)
def test_without_a_guarantee_of_both_no_epsilon_is_told_of_the_model(protected, changes, why):
    found = made(None if protected is None else curation(protected), **changes)
    told = found.told
    assert found.claim is None
    assert (told.epsilon, told.curation_epsilon, told.joint_epsilon) == (None, None, None)
    assert why in told.summary
    assert found.protection is None or found.protection.epsilon is None
    assert found.protection is None or "no limit on what it tells" in found.protection.events[-1]
    assert (told.noise_multiplier == 0) == ("epsilon" in changes)


def test_the_constants_are_public():
    """The divisor is the rate times all units; the step size is the pool's."""
    one = made(None)
    assert one.model.settings.expected_units == pytest.approx(0.1 * N)
    assert one.model.settings.outputs == 3
    rows = np.concatenate([labelled().pool.features, np.ones((len(labelled().pool), 1))], axis=1)
    largest = np.linalg.eigvalsh(rows.T @ rows / len(rows))[-1]
    assert one.model.settings.learning_rate == pytest.approx(2 / largest, rel=1e-5)
    assert len(rows.T) == D + 1
    hidden = made(None, Mlp(hidden=(7,), device="cpu"), learning_rate=0.3)
    assert hidden.model.settings.hidden == (7,)


def test_the_game_is_that_of_the_adjacency():
    assert made(None).model.adjacency == "zero_out"
    assert made(None, adjacency="add_remove", expected_units=2.0).model.adjacency == "add_remove"


def test_replaced_units_count_twice():
    """Of full batches exactly: two clipped vectors may be opposite."""
    blanked = made(curation(), sampling_rate=1.0)
    replaced = made(curation(adjacency="replace_one"), adjacency="replace_one", sampling_rate=1.0)
    assert replaced.told.noise_multiplier == pytest.approx(2 * blanked.told.noise_multiplier)


WIDE = Mlp(hidden=(1024, 64), parametrization="spectral", device="cpu")


def test_spectral_coordinates_change_rate_and_words_and_nothing_of_the_claim():
    """A width 16 times the base: 16 ** -1/4 is one half."""
    plain = made(curation(), WIDE, learning_rate=0.4)
    spectral = made(curation(), WIDE, learning_rate=0.4, parametrization="spectral")
    own, other = spectral.model.settings, plain.model.settings
    assert (own.parametrization, other.parametrization) == ("spectral", "standard")
    assert own.learning_rate == pytest.approx(0.2)
    rates = {"parametrization": "standard", "learning_rate": other.learning_rate}
    assert dataclasses.replace(own, **rates) == other
    assert spectral.claim.epsilon_at(DELTA) == plain.claim.epsilon_at(DELTA)
    assert spectral.protection.coded_events == plain.protection.coded_events
    assert "s is a public number of its shape" in spectral.told.sensitivity
    assert spectral.told.sensitivity.startswith(plain.told.sensitivity)
    kept = made(
        None, WIDE, learning_rate=0.4, parametrization="spectral", width_exponent=0.0
    ).model.settings
    assert kept.learning_rate == 0.4


def test_settings_as_json_hold_no_infinity():
    told = describe_fine_tuning(FineTuneSettings(**{**GOOD, "epsilon": math.inf}))
    assert told["epsilon"] == "inf"
    assert "joint_epsilon" not in told


# --- what is refused

SPECTRAL = {"parametrization": "spectral", "learning_rate": 0.1}
REFUSED = {
    "a regression in spectral coordinates": (
        SPECTRAL,
        None,
        LOGIT,
        "train.fine_tune.parametrization",
        "hidden layers and parametrization: spectral",
    ),
    "spectral coordinates of a model that is not": (
        SPECTRAL,
        None,
        Mlp(hidden=(7,), device="cpu"),
        "train.fine_tune.parametrization",
        "where the start weights do",
    ),
    "spectral coordinates without a rate": (
        {"parametrization": "spectral"},
        None,
        WIDE,
        "train.fine_tune.learning_rate",
        "is missing",
    ),
    "a parametrisation that nobody knows": (
        {"parametrization": "mup"},
        None,
        LOGIT,
        "train.fine_tune.parametrization",
        "found 'mup'",
    ),
    "both epsilons": ({"joint_epsilon": 2.0}, 0.5, LOGIT, "train.fine_tune", "epsilon and joint"),
    "no epsilon": ({"epsilon": None}, 0.5, LOGIT, "train.fine_tune", "neither"),
    "an epsilon of 0": ({"epsilon": 0.0}, 0.5, LOGIT, "train.fine_tune.epsilon", "found 0"),
    "an epsilon that is none": (
        {"epsilon": math.nan},
        0.5,
        LOGIT,
        "train.fine_tune.epsilon",
        "found nan",
    ),
    "a joint epsilon of nothing": (
        {"epsilon": None, "joint_epsilon": 2.0},
        None,
        LOGIT,
        "train.fine_tune.joint_epsilon",
        "no guarantee to share",
    ),
    "a joint epsilon without noise before": (
        {"epsilon": None, "joint_epsilon": 2.0},
        math.inf,
        LOGIT,
        "train.fine_tune.joint_epsilon",
        "no guarantee to share",
    ),
    "a joint epsilon that is spent": (
        {"epsilon": None, "joint_epsilon": 0.4},
        0.5,
        LOGIT,
        "train.fine_tune",
        "spends the whole target",
    ),
    "another delta": ({"delta": 1e-6}, 0.5, LOGIT, "train.fine_tune.delta", "1e-05"),
    "a delta above one over N": ({"delta": 0.2}, None, LOGIT, "train.fine_tune.delta", "0.2"),
    "another adjacency": (
        {"adjacency": "add_remove", "expected_units": 2.0},
        0.5,
        LOGIT,
        "train.fine_tune.adjacency",
        "zero_out",
    ),
    "an adjacency that is none": (
        {"adjacency": "both"},
        None,
        LOGIT,
        "train.fine_tune.adjacency",
        "both",
    ),
    "a secret number of units": (
        {"adjacency": "add_remove"},
        None,
        LOGIT,
        "train.fine_tune.expected_units",
        "secret",
    ),
    "a sampling rate above 1": ({"sampling_rate": 1.5}, None, LOGIT, "train.fine_tune", "rate"),
    "a momentum of 1": ({"momentum": 1.0}, None, LOGIT, "train.fine_tune", "momentum"),
    "no steps": ({"steps": 0}, None, LOGIT, "train.fine_tune", "steps"),
    "a perceptron without a rate": (
        {},
        0.5,
        Mlp(device="cpu"),
        "train.fine_tune.learning_rate",
        "missing",
    ),
    "another model": ({}, 0.5, Knn(), "train.fine_tune", "knn"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_proved_is_refused(case):
    changes, epsilon, downstream, where, told = REFUSED[case]
    adjacency = changes.get("adjacency", "zero_out")
    rest = {name: value for name, value in changes.items() if name != "adjacency"}
    with pytest.raises(SettingError) as refused:
        made(None if epsilon is None else curation(epsilon), downstream, adjacency, **rest)
    assert refused.value.where == where
    assert told in f"{refused.value.problem} {refused.value.hint}"


def test_private_rows_without_labels_are_refused():
    bare = dataclasses.replace(labelled(), private=private_rows())
    with pytest.raises(SettingError, match="labels"):
        fine_tune(FineTuneSettings(**GOOD), bare, LOGIT, 3, None, "patient")
