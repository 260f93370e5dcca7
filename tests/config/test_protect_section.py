"""``curate.protect`` in a pipeline file: what works, and what is refused with nothing spent."""

import math
from typing import Any

import numpy as np
import pytest

from curation_audit.config import load_plan
from curation_audit.dp.claims import GaussianClaim
from curation_audit.dp.conditions import REFUSED_SETTINGS
from curation_audit.pipelines.rules.noisy_top import NoisyTopK
from curation_audit.pipelines.rules.top import TopK
from curation_audit.pipelines.scorers.noisy_sum import NoisySum
from curation_audit.pipelines.scorers.private_classifier import PrivateClassifier
from curation_audit.pipelines.scorers.zero_out import ZeroOut
from curation_audit.statistics.gdp import mu_of_epsilon
from tests.config.test_bad_input import assert_one_line

GOOD = {"adjacency": "zero_out", "epsilon": 2, "delta": 1e-5}
NEAREST = {"method": "nearest"}
CLASSIFIER = {"method": "classifier"}


def protected(changes: dict[str, Any], scorer: dict[str, Any] | None = None, **curate: Any):
    """Edit the small pipeline; a change to ``None`` leaves the key out."""
    section = {k: v for k, v in {**GOOD, **changes}.items() if v is not None}

    def edit(tree: dict[str, Any]) -> None:
        tree["curate"]["protect"] = section
        tree["curate"] |= curate
        if scorer is not None:
            tree["curate"]["scorer"] = scorer

    return edit


PUT_IN_PLACE = {
    "natural of mean": ({}, None, NoisySum, TopK),
    "natural of nearest": ({}, NEAREST, NoisySum, TopK),
    "natural of classifier": ({}, CLASSIFIER, PrivateClassifier, TopK),
    "noise on the selection": ({"mechanism": "noisy_top_k"}, CLASSIFIER, ZeroOut, NoisyTopK),
    "both": ({"mechanism": "dp_gd + noisy_top_k"}, None, PrivateClassifier, NoisyTopK),
    "nearest by force": ({"mechanism": "noisy_top_k", "force": True}, NEAREST, ZeroOut, NoisyTopK),
}


@pytest.mark.parametrize("case", PUT_IN_PLACE)
def test_the_mechanism_is_put_in_place(case, small):
    changes, scorer, kind, rule = PUT_IN_PLACE[case]
    plan = load_plan(small(protected(changes, scorer)), ["threat.observes=['selection', 'model']"])
    assert isinstance(plan.scorer, kind)
    assert isinstance(plan.rule, rule)
    assert plan.claim.adjacency == "zero_out" == plan.scorer.adjacency
    assert plan.protection.epsilon == pytest.approx(plan.claim.epsilon_at(1e-5))
    assert plan.protection.epsilon <= 2 + 1e-9
    assert plan.protection.unit == "Pat.Nr"
    assert plan.protection.ablation == (case == "nearest by force")


def test_patients_are_what_is_clipped_and_counted(small):
    plan = load_plan(small(protected({"clip": 0.5})))
    assert plan.scorer.mechanism.denominator == 30  # patients, not visits
    assert plan.scorer.mechanism.sigma == pytest.approx(0.5 / mu_of_epsilon(2, 1e-5))
    assert np.linalg.norm(plan.scorer.vectors(plan.data.private), axis=1).max() <= 0.5


BUDGETS = {
    "mu": ({"mu": 0.7}, 0.7),
    "advantage": ({"advantage": 0.1}, 1 / 3.9789),
    "tpr at fpr": ({"tpr": 0.05, "fpr": 0.01}, 1 / 1.4674),
    "epsilon": ({"epsilon": 1}, 1 / 3.730632),
}


@pytest.mark.parametrize("case", BUDGETS)
def test_budgets_of_every_kind(case, small):
    """Known answers: reference page dp.md, sections 9 and 10."""
    asked, mu = BUDGETS[case]
    plan = load_plan(small(protected({"epsilon": None} | asked)))
    assert isinstance(plan.claim, GaussianClaim)
    assert plan.claim.mu == pytest.approx(mu, rel=1e-4)


def test_without_noise_nothing_is_claimed(small):
    plan = load_plan(small(protected({"epsilon": math.inf})))
    assert plan.claim is None
    assert plan.protection.epsilon is None
    assert plan.configuration["curate"]["protect"]["epsilon"] == "inf"
    assert load_plan(small(protected({"epsilon": "inf"}))).claim is None


REFUSED = {
    "nothing but epsilon": (
        {"adjacency": None, "delta": None},
        None,
        ["curate.protect", "'adjacency' is missing", "add_remove, zero_out, replace_one"],
    ),
    "no delta": ({"delta": None}, None, ["'delta' is missing", "never derived from the size"]),
    "no budget": ({"epsilon": None}, None, ["found none of them", "tpr with fpr"]),
    "two budgets": ({"mu": 1}, None, ["found epsilon, mu", "expected one of"]),
    "tpr alone": ({"epsilon": None, "tpr": 0.1}, None, ["found tpr or fpr alone"]),
    "epsilon and fpr": ({"fpr": 0.1}, None, ["found tpr or fpr alone"]),
    "tpr below fpr": ({"epsilon": None, "tpr": 0.1, "fpr": 0.2}, None, ["tpr must be above fpr"]),
    "epsilon of 0": ({"epsilon": 0}, None, ["curate.protect.epsilon", "found 0", "more than 0"]),
    "negative epsilon": ({"epsilon": -1}, None, ["curate.protect.epsilon", "found -1"]),
    "epsilon that is no number": ({"epsilon": math.nan}, None, ["curate.protect.epsilon"]),
    "infinite mu": ({"epsilon": None, "mu": math.inf}, None, ["curate.protect.mu", "finite"]),
    "advantage of 1": ({"epsilon": None, "advantage": 1}, None, ["advantage must be in (0, 1)"]),
    "delta of 1 / N": ({"delta": 1 / 30}, None, ["curate.protect.delta", "less than 1 / 30"]),
    "delta of 0": ({"delta": 0}, None, ["curate.protect", "delta", "(0, 1)"]),
    "misspelt adjacency": ({"adjacency": "zero-out"}, None, ["adjacency", "'zero_out'"]),
    "misspelt mechanism": (
        {"mechanism": "gausian_mean"},
        None,
        ["curate.protect.mechanism", "did you mean 'gaussian_mean'?"],
    ),
    "three mechanisms": ({"mechanism": "dp_gd + dp_sgd"}, None, ["expected NAME or NAME + noisy"]),
    "twice the selection": (
        {"mechanism": "noisy_top_k + noisy_top_k"},
        None,
        ["expected NAME or NAME + noisy"],
    ),
    "another mechanism's setting": ({"steps": 9}, None, ["curate.protect.steps", "gaussian_mean"]),
    "misspelt setting": ({"clipp": 9}, None, ["curate.protect.clipp", "did you mean 'clip'?"]),
    "negative clip": ({"clip": -1}, None, ["clip must be positive"]),
    "text for a number": ({"clip": "long"}, None, ["curate.protect.clip", "found 'long'"]),
    "another unit": ({"unit": "Besuch"}, None, ["curate.protect.unit", "'Besuch'", "'Pat.Nr'"]),
    "split of 1": (
        {"mechanism": "gaussian_mean + noisy_top_k", "split": 1},
        None,
        ["split must be in (0, 1), got 1"],
    ),
    "nearest": (
        {"mechanism": "noisy_top_k"},
        NEAREST,
        ["cannot protect nearest", "hangs on one record", "centroid_votes, gaussian_mean or dp_gd"],
    ),
    "gaussian on a classifier": (
        {"mechanism": "noisy_top_k", "noise": "gaussian"},
        CLASSIFIER,
        ["curate.protect.noise", "bound on how far one unit moves all scores", "gumbel"],
    ),
    "unknown noise": ({"mechanism": "noisy_top_k", "noise": "laplace"}, None, ["found 'laplace'"]),
    "noise on the selection by mu": (
        {"mechanism": "noisy_top_k", "epsilon": None, "mu": 1},
        None,
        ["curate.protect", "limits no epsilon"],
    ),
    "DP-SGD by mu": (
        {"mechanism": "dp_sgd", "epsilon": None, "mu": 1},
        None,
        ["curate.protect", "a mu describes Gaussian noise without sampling only"],
    ),
    "DP-GD with secret N": (
        {"mechanism": "dp_gd", "adjacency": "add_remove"},
        None,
        ["curate.protect.expected_units", "secret", "zero_out"],
    ),
    "sampling rate of 2": ({"mechanism": "dp_sgd", "sampling_rate": 2}, None, ["sampling_rate"]),
    "more clusters than rows": (
        {"mechanism": "centroid_votes", "clusters": 301},
        None,
        ["curate.protect.clusters", "300 rows"],
    ),
    "pure noise beside a scorer": (
        {"mechanism": "gaussian_mean + noisy_top_k", "noise": "permute_and_flip"},
        None,
        ["curate.protect", "more than one mechanism within this kind of limit"],
    ),
    "step fitted on private rows": (
        {"fitted_on": {"encoder": "private"}},
        None,
        ["curate.protect.fitted_on.encoder", "condition 2"],
    ),
    "step that nobody knows": (
        {"fitted_on": {"encodr": "public"}},
        None,
        ["curate.protect.fitted_on", "did you mean 'encoder'?"],
    ),
}


def refused(command, path, tmp_path, expected) -> str:
    """One line, exit code 2, and neither a shadow nor a release was written."""
    code, out, err = command("attack", "--pipeline", path, "--quiet")
    assert_one_line(code, out, err, expected)
    assert not (tmp_path / "run").exists()
    return err


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_kept_is_refused(case, small, command, tmp_path):
    changes, scorer, expected = REFUSED[case]
    refused(command, small(protected(changes, scorer)), tmp_path, expected)


@pytest.mark.parametrize("name", REFUSED_SETTINGS)
def test_settings_that_void_the_guarantee_are_refused(name, small, command, tmp_path):
    expected = [f"curate.protect.{name}", "voids the guarantee", REFUSED_SETTINGS[name]]
    refused(command, small(protected({name: True})), tmp_path, expected)


@pytest.mark.parametrize("name", ["class_weight", "calibrate", "early_stopping"])
@pytest.mark.parametrize("part", ["scorer", "select"])
def test_they_are_refused_in_the_other_sections_too(name, part, small, command, tmp_path):
    def edit(tree: dict[str, Any]) -> None:
        protected({})(tree)
        tree["curate"][part] |= {name: True}

    refused(command, small(edit), tmp_path, [f"curate.{part}.{name}"])


def test_a_threshold_is_no_rule_for_noisy_picks(small, command, tmp_path):
    path = small(
        protected({"mechanism": "noisy_top_k"}, select={"rule": "threshold", "minimum": 0.1})
    )
    expected = ["curate.select.rule", "takes the best k of the whole pool", "top_k or top_fraction"]
    refused(command, path, tmp_path, expected)


def test_more_noisy_picks_than_rows(small, command, tmp_path):
    path = small(protected({"mechanism": "noisy_top_k"}, select={"rule": "top_k", "k": 999}))
    refused(command, path, tmp_path, ["curate.select", "999", "300 rows"])


def test_a_claim_of_ones_own_beside_the_mechanism_is_refused(small, command, tmp_path):
    def edit(tree: dict[str, Any]) -> None:
        protected({})(tree)
        claim = {"kind": "gaussian", "mu": 0.1, "adjacency": "zero_out"}
        tree["report"] = {"claim": claim}

    expected = ["report.claim", "is stated beside curate.protect"]
    refused(command, small(edit), tmp_path, expected)


def test_a_replaced_unit_is_no_game_of_coins(small, command, tmp_path):
    path = small(protected({"adjacency": "replace_one"}))
    expected = ["adjacency", "found replace_one", "zero_out game", "replace_one converts to none"]
    refused(command, path, tmp_path, expected)


def test_scores_stay_behind_where_only_the_selection_is_noisy(small, command, tmp_path):
    path = small(protected({"mechanism": "noisy_top_k"}))
    refused(command, path, tmp_path, ["threat.observes", "found scores", "selection, model"])


def test_a_secret_number_of_units_is_told_nowhere(small, command, tmp_path):
    """Under add/remove neither the report's words nor a refusal holds N = 30 or its multiples."""
    plan = load_plan(small(protected({"adjacency": "add_remove"})))
    told = repr(plan.protection) + repr(plan.claim) + repr(plan.configuration["curate"])
    assert "30" not in told.replace("300", "")
    assert plan.scorer.mechanism.denominator == 1
    path = small(protected({"adjacency": "add_remove", "delta": 0.04}))
    err = refused(command, path, tmp_path, ["curate.protect.delta", "found 0.04"])
    assert "30" not in err.replace(str(path), "")
    assert load_plan(small(protected({"adjacency": "add_remove", "delta": 0.03}))).claim


def test_the_lowest_picked_score_stays_behind_where_only_the_selection_is_noisy(
    small, command, tmp_path
):
    def edit(tree: dict[str, Any]) -> None:
        protected({"mechanism": "noisy_top_k"})(tree)
        knows = ["algorithm", "pool", "candidates", "labels", "other candidates", "thresholds"]
        tree["threat"] = {"observes": ["selection"], "knows": knows}

    refused(command, small(edit), tmp_path, ["threat.knows", "found thresholds", "private"])
