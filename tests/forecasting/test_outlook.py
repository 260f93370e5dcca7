"""Predictions and laws against exact shadows, what is refused, and the command line."""

import dataclasses
import json

import numpy as np
import pytest

from curation_audit.auditing.plan import AttackSettings
from curation_audit.checks import SettingError
from curation_audit.forecasting.outlook import fall_of_variance, outlook
from curation_audit.forecasting.prediction import SpotCheck, predict
from curation_audit.forecasting.words import Asked, sentences, tree
from curation_audit.pipelines.canaries import CanarySettings
from curation_audit.pipelines.protection.base import Budget
from curation_audit.pipelines.protection.gaussian_mean import GaussianMean
from curation_audit.pipelines.protection.protect import ProtectSettings
from curation_audit.pipelines.scorers.nearest import Nearest
from curation_audit.results import Estimate
from tests.analytic.worlds import LOGIT, MEAN, N, plan


@pytest.mark.parametrize("scorer", [MEAN, LOGIT], ids=["mean", "classifier"])
def test_a_prediction_is_confirmed_by_exact_shadows(scorer):
    found = predict(plan(scorer), 60)
    assert found.label == "prediction, checked on exact shadows"
    assert found.check.linearity > 0.97
    assert found.check.measured.value == pytest.approx(found.check.predicted, abs=0.03)
    assert found.n_directions == (6 if scorer is MEAN else 7)
    by = {told.adversary: told for told in found.told}
    assert by["population"].auc < by["auditor"].auc < by["dp"].auc == 1


def test_without_shadows_it_is_a_prediction():
    found = predict(plan(MEAN), 0)
    assert (found.check, found.label) == (None, "prediction, not confirmed")


def test_what_fails_a_check():
    measured = Estimate(0.7, 0.69, 0.71, 0.95)
    assert SpotCheck(32, 0.99, measured, 0.725).failure is None
    assert "is not near the measured" in SpotCheck(32, 0.99, measured, 0.74).failure
    assert "audit it with shadows" in SpotCheck(32, 0.79, measured, 0.7).failure
    # half of what is seen is a mechanism's noise
    assert SpotCheck(32, 0.6, measured, 0.7, attainable=0.5**0.5).failure is None


def test_the_known_others_adversary_reaches_what_the_claim_allows_and_no_more():
    protect = ProtectSettings(
        mechanism="gaussian_mean",
        adjacency="zero_out",
        budget=Budget(epsilon=2.0, delta=1e-5),
        scorer=GaussianMean(),
    )
    of = plan(MEAN, protect=protect)
    found = outlook(of)
    by = {told.adversary: told for told in found.prediction.told}
    assert by["auditor"].auc < by["dp"].auc < 1
    assert by["dp"].mu.max() <= of.claim.mu * (1 + 1e-6)
    assert found.laws == ()
    check = found.prediction.check
    assert check.failure is None
    assert check.linearity == pytest.approx(check.attainable, abs=0.1)
    assert check.attainable < 0.99
    assert "No law of n" in sentences(found, Asked(), ["x"] * N)[-1]


def test_the_variance_of_means_falls_as_one_over_n():
    assert fall_of_variance(plan(MEAN, n=400)) == pytest.approx(1, abs=0.15)


def test_a_law_foretells_a_larger_audit():
    """From 150 candidates to 600: the measured AUC lies in the forecast range, or within .01."""
    rng = np.random.default_rng(4)
    private, public = rng.standard_normal((600, 12)), rng.standard_normal((300, 12)) + 0.3
    labels = {"private": np.arange(600) % 2, "public": np.arange(300) % 2}
    few = {"private": labels["private"][:150], "public": labels["public"]}
    small = plan(MEAN, private=private[:150], public=public, labels=few)
    large = plan(MEAN, private=private, public=public, labels=labels)
    forecast, found = outlook(small), outlook(large)
    for law, measured in zip(forecast.laws, found.laws, strict=True):
        expected = law.auc(300)
        value = measured.measured.value
        assert expected.low - 0.01 <= value <= expected.high + 0.01, law.stage
    assert [law.stage for law in found.laws] == ["scores", "selection"]


def test_more_stages_hide_more_and_need_fewer_records():
    found = outlook(plan(LOGIT), model=True)
    scores, picks, model = found.laws
    values = [one.auc(N / 2).value for one in (scores, picks, model)]
    assert values == sorted(values, reverse=True)
    needed = [one.records_needed(0.05).value for one in (scores, picks, model)]
    assert needed == sorted(needed, reverse=True)
    assert scores.noise_needed(N, 0.05) > 0


def test_what_cannot_be_forecast():
    with pytest.raises(SettingError, match="found nearest, whose scores are not linear"):
        outlook(plan(Nearest()))
    with pytest.raises(SettingError, match="shadows: found 4; expected 0, or an even number"):
        outlook(plan(MEAN), 4)
    some = plan(MEAN, attack=AttackSettings(shadows=32, targets=20))
    with pytest.raises(SettingError, match=r"attack\.targets: found private rows that every"):
        outlook(some)
    canaries = AttackSettings(shadows=32, canaries=CanarySettings(count=8))
    with pytest.raises(SettingError, match=r"attack\.targets"):
        outlook(plan(MEAN, attack=canaries))


def test_trees_are_plain_and_name_no_row():
    of = plan(MEAN)
    found = outlook(of)
    names = [f"k{i}" for i in range(N)]
    told = tree(found, Asked((50_000,), 0.05), names)
    text = json.dumps(told, allow_nan=False)
    assert not any(f'"{unit}"' in text for unit in of.data.private.unit_ids)
    sizes = [one["n_records"] for one in told["stages"][0]["by_records"]]
    assert sizes == [N, 2 * N, 4 * N, 10 * N, 50_000] or sizes == sorted({*sizes})
    assert 50_000 in sizes
    assert told["told"][2]["largest_mu"] is None  # infinite without noise
    assert dataclasses.is_dataclass(found)


def test_the_command(small, command):
    code, out, err = command("forecast", "--pipeline", small(), "--records", "5000", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["label"].startswith("prediction")
    assert [one["stage"] for one in told["stages"]] == ["scores", "selection"]
    code, out, err = command("forecast", "--pipeline", small(), "--shadows", "0")
    assert code == 0, err
    assert "prediction, not confirmed" in out
    code, out, err = command(
        "forecast", "--pipeline", small(), "--set", "curate.scorer={method: nearest}"
    )
    assert code != 0
    assert "whose scores are not linear" in err
