"""``curation-audit curate`` with tuned settings: all runs booked, the best one stored."""

import json
import math
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch

from curation_audit.config import load_plan
from curation_audit.curating import _checked
from curation_audit.dp.budget_ledger import BudgetLedger
from curation_audit.dp.events import RepeatAndSelect
from curation_audit.dp.tuning import RandomStopping
from curation_audit.pipelines.protection.releasing import make_release
from curation_audit.pipelines.scorers import private_classifier
from curation_audit.release_store import shaped_by
from curation_audit.releases.release import Release

DP = {"mechanism": "gaussian_mean", "epsilon": 1.0, "delta": 1e-5, "adjacency": "zero_out"}
OVER = {"clip": [0.5, 1.0], "center": [True, False]}
TUNINGS = {
    "grid": {"method": "grid", "over": OVER},
    "random": {"method": "random_stopping", "over": OVER, "mean": 3},
}


@pytest.fixture
def pipeline(small, tmp_path, command):
    """A pipeline that is tuned within its budget, with a ledger of epsilon 2.5."""

    def make(tuning, **protect):
        def edit(tree):
            tree["private"]["ledger"] = "budget.ledger"
            tree["curate"]["protect"] = {**DP, **protect, "tuning": tuning}
            if protect.get("mechanism") == "dp_gd":
                tree["curate"]["scorer"] = {"method": "classifier"}

        path = small(edit)
        if not (tmp_path / "budget.ledger").exists():
            code, _, err = command(
                "ledger", "set-budget", tmp_path / "budget.ledger", "--epsilon", 2.5,
                "--delta", 1e-5, "--unit", "Pat.Nr", "--adjacency", "zero_out",
            )  # fmt: skip
            assert code == 0, err
        return path

    return make


def curated(command, path, tmp_path):
    code, text, err = command("curate", "--pipeline", path, "--out", tmp_path / "picked", "--json")
    assert code == 0, err
    return json.loads(text)


@pytest.mark.parametrize("name", TUNINGS)
def test_a_tuning_is_booked_once_and_its_release_used_again(name, command, pipeline, tmp_path):
    path = pipeline(TUNINGS[name])
    first = curated(command, path, tmp_path)
    assert first["booked"]
    assert first["epsilon_spent"] == pytest.approx(1.0, rel=2e-3)
    release = Release.load(tmp_path / "picked" / "release.npz")
    again = curated(command, path, tmp_path)
    assert not again["booked"]
    assert again["epsilon_spent"] == first["epsilon_spent"]
    stored = Release.load(tmp_path / "picked" / "release.npz")
    np.testing.assert_array_equal(stored.weights, release.weights)
    (booking,) = BudgetLedger.open(tmp_path / "budget.ledger").bookings()
    if name == "grid":
        assert len(booking.events) == 8
    else:
        assert [type(one) for one in booking.events] == [RepeatAndSelect]
    card = release.card()
    assert "; chosen: clip: " in card["tuning"]
    assert card["assumptions"]["tuning"].startswith("by this tool: clip, center: ")


def test_another_choice_to_make_is_another_release(command, pipeline, tmp_path):
    curated(command, pipeline(TUNINGS["grid"]), tmp_path)
    other = {**TUNINGS["grid"], "over": {"clip": [0.5, 1.0]}}
    assert curated(command, pipeline(other), tmp_path)["booked"]


def test_a_classifier_is_tuned_for_real(command, pipeline, tmp_path):
    path = pipeline(
        {"method": "grid", "over": {"steps": [2, 4], "clip": [0.5, 1.0]}}, mechanism="dp_gd"
    )
    assert curated(command, path, tmp_path)["epsilon_spent"] == pytest.approx(1.0, rel=2e-3)
    assert "chosen: steps: " in Release.load(tmp_path / "picked" / "release.npz").card()["tuning"]


def test_hidden_layers_have_no_release(command, pipeline, tmp_path):
    path = pipeline({"method": "grid", "over": {"hidden": [[], [4]]}}, mechanism="dp_gd")
    code, _, err = command("curate", "--pipeline", path, "--out", tmp_path / "picked")
    assert code == 2
    assert "has no scorer that a file could hold" in err
    assert not BudgetLedger.open(tmp_path / "budget.ledger").bookings()


def test_the_noise_of_a_run_is_that_of_its_event(pipeline):
    """The spread of 900 weights is within 12 % (5 standard errors: false alarm 1e-6, no seed)."""
    plan = load_plan(pipeline({"method": "grid", "over": {"clip": [0.5, 0.5000001]}}))
    protected, _ = _checked(plan)
    many = np.stack([make_release(protected, plan.data).weights for _ in range(300)])
    scorer, spread = protected.scorer.candidates[0], many.std(axis=0, ddof=1)
    assert many.size == 900
    assert math.sqrt((spread**2).mean()) == pytest.approx(scorer.mechanism.noise, rel=0.12)
    assert len(np.unique(many[:, 0])) == 300
    assert scorer.mechanism.mu == protected.events[0].mu


def test_no_run_releases_a_constant(pipeline, monkeypatch):
    """A Poisson number of runs may be 0, whatever the private set is."""
    tuning = {**TUNINGS["random"], "number": "poisson"}
    plan = load_plan(pipeline(tuning))
    monkeypatch.setattr(RandomStopping, "drawn", lambda self, n, source: np.empty(0, np.int64))
    release = make_release(_checked(plan)[0], plan.data)
    assert not release.weights.any()
    assert not release.score(np.ones((3, release.width))).any()
    assert "no run was made" in release.card()["tuning"]


def test_the_device_does_not_make_another_request(pipeline):
    """A job that moves to a machine with a GPU books nothing again."""
    over = {"steps": [2, 3]}
    plan = load_plan(pipeline({"method": "grid", "over": over}, mechanism="dp_gd"))
    protected, _ = _checked(plan)
    told = shaped_by(protected, plan.data)
    assert "device" not in json.dumps(told)
    on_gpu = [replace(one, device="cuda") for one in protected.scorer.candidates]
    moved = replace(protected, scorer=replace(protected.scorer, candidates=tuple(on_gpu)))
    with mock.patch.object(private_classifier, "resolve_device", lambda name: torch.device(name)):
        assert shaped_by(moved, plan.data) == told
