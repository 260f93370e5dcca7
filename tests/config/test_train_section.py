"""``train.fine_tune`` in a pipeline file: what works, and what is refused in one line."""

from typing import Any

import pytest

from curation_audit.config import load_plan
from curation_audit.pipelines.downstream.logistic import Logistic
from curation_audit.pipelines.downstream.mlp import Mlp
from tests.config.test_bad_input import assert_one_line

PRIVATE = {"mechanism": "dp_gd", "epsilon": 0.5, "delta": 1e-5, "adjacency": "zero_out"}
GOOD = {"epsilon": 3, "delta": 1e-5, "adjacency": "zero_out", "sampling_rate": 1.0, "steps": 10}


def tuned(
    changes: dict[str, Any] | None = None,
    model: dict[str, Any] | None = None,
    protect: dict[str, Any] | None = PRIVATE,
):
    """Edit the small pipeline; a change to ``None`` leaves the key out."""
    section = {k: v for k, v in {**GOOD, **(changes or {})}.items() if v is not None}

    def edit(tree: dict[str, Any]) -> None:
        tree["train"] = {**(model or {"model": "logistic"}), "fine_tune": section}
        if protect is not None:
            tree["curate"]["protect"] = protect

    return edit


def test_curation_and_fine_tuning_are_one_claim(small):
    plan = load_plan(small(tuned()))
    assert isinstance(plan.downstream, Logistic)
    told = plan.fine_tuned.told
    assert told.unit == plan.protection.unit == "Pat.Nr"
    assert told.curation_epsilon < told.epsilon < told.joint_epsilon
    assert plan.claim_at("scores").epsilon_at(1e-5) == told.curation_epsilon
    assert plan.claim_at("selection") is plan.claim_at("scores")
    assert plan.claim_at("model").epsilon_at(1e-5) == told.joint_epsilon
    assert plan.claim_at("joint") is plan.claim_at("model") is plan.claim
    assert plan.adjacency == "zero_out"
    assert plan.configuration["train"]["fine_tune"]["epsilon"] == 3


def test_what_is_seen_without_the_model_is_held_to_the_curations_claim(small):
    plan = load_plan(small(tuned()), ["threat.observes=[scores, selection]"])
    assert plan.claim_at("joint") is plan.claim_at("scores")


def test_a_perceptron_and_a_joint_epsilon(small):
    model = {"model": "mlp", "hidden": [4], "epochs": 2}
    changes = {"epsilon": None, "joint_epsilon": 2.0, "learning_rate": 0.1}
    plan = load_plan(small(tuned(changes, model)))
    assert isinstance(plan.downstream, Mlp)
    assert plan.fine_tuned.model.settings.hidden == (4,)
    assert plan.claim.epsilon_at(1e-5) == pytest.approx(2.0, rel=1e-4)


def test_without_protection_nothing_is_claimed(small):
    """The scorer is a function of the rows held, and fine-tuning has public constants."""
    plan = load_plan(small(tuned(protect=None)))
    assert plan.claim is None
    assert plan.protection is None
    assert plan.scorer.adjacency == "add_remove"
    assert plan.adjacency == "zero_out"
    assert all(plan.claim_at(stage) is None for stage in plan.stages)


def test_infinity_is_a_word_in_the_configuration(small):
    plan = load_plan(small(tuned({"epsilon": float("inf")})))
    assert plan.configuration["train"]["fine_tune"]["epsilon"] == "inf"
    assert plan.fine_tuned.told.noise_multiplier == 0
    again = load_plan(small(tuned({"epsilon": "inf"})))
    assert again.fine_tuned.told == plan.fine_tuned.told


REFUSED = {
    "no adjacency": (tuned({"adjacency": None}), "train.fine_tune", "'adjacency' is missing"),
    "no delta": (tuned({"delta": None}), "train.fine_tune", "'delta' is missing"),
    "a misspelt key": (tuned({"clipp": 1}), "train.fine_tune.clipp", "did you mean 'clip'"),
    "a word for a number": (tuned({"steps": "many"}), "train.fine_tune.steps", "many"),
    "another delta": (tuned({"delta": 1e-6}), "train.fine_tune.delta", "must agree"),
    "another adjacency": (
        tuned({"adjacency": "add_remove", "expected_units": 3}),
        "train.fine_tune.adjacency",
        "must agree",
    ),
    "a seed": (tuned({"seed": 1}), "train.fine_tune.seed", "voids the guarantee"),
    "early stopping": (tuned({"patience": 1}), "train.fine_tune.patience", "voids the guarantee"),
    "repeats": (
        tuned(model={"model": "mlp", "repeats": 2}),
        "train.repeats",
        "spend on the private rows again",
    ),
    "another model": (tuned(model={"model": "knn"}), "train.fine_tune", "logistic or mlp"),
    "no settings": (
        lambda tree: tree["train"].update(fine_tune=3),
        "train.fine_tune",
        "expected settings",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_void_the_guarantee_is_refused(case, small, command):
    edit, where, told = REFUSED[case]
    assert_one_line(*command("validate", "--pipeline", small(edit)), [where, told])


def test_a_stated_claim_and_analytic_surrogates_are_refused(small, command):
    def claimed(tree: dict[str, Any]) -> None:
        tuned()(tree)
        tree["curate"].pop("protect")
        tree["report"] = {"claim": {"kind": "gaussian", "mu": 1.0, "adjacency": "zero_out"}}

    code, _, err = command("validate", "--pipeline", small(claimed))
    assert code == 2
    assert "train.fine_tune" in err
    assert not load_plan(small(tuned())).analytic_models
    asked = ["--set", "attack.analytic_models=true"]
    told = ["attack.analytic_models", "private rows"]
    assert_one_line(*command("validate", "--pipeline", small(tuned()), *asked), told)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("sweep",), "does not share its budget with private training"),
        (("curate", "--out", "picked"), "trains no model"),
    ],
)
def test_other_commands_do_not_train_privately(
    arguments, told, small, command, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)

    def edit(tree: dict[str, Any]) -> None:
        tuned(protect=None if arguments[0] == "sweep" else PRIVATE)(tree)
        tree["private"]["ledger"] = "a.ledger"
        tree["sweep"] = {"adjacency": "zero_out", "delta": 1e-5}

    code, _, err = command(*arguments, "--pipeline", small(edit))
    assert code == 2
    assert told in err
