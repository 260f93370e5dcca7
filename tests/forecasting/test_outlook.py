"""Predictions and laws against exact shadows, what is refused, and the command line."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from curation_audit.analytic.affine import AffineScores, likelihood_ratios
from curation_audit.attacks.analytic_picks import AnalyticPicks
from curation_audit.auditing.adversary import knowledge_of, seen_by
from curation_audit.auditing.curation import select_and_train
from curation_audit.auditing.plan import AttackSettings, Threat
from curation_audit.checks import SettingError
from curation_audit.forecasting.outlook import Halves, StageOutputs, measured_stages, outlook
from curation_audit.forecasting.prediction import (
    SpotCheck,
    exact_shadows,
    linear_of,
    predict,
    slope_of,
    told_by,
)
from curation_audit.forecasting.words import Asked, sentences, tree
from curation_audit.pipelines.canaries import CanarySettings
from curation_audit.pipelines.protection.base import Budget
from curation_audit.pipelines.protection.gaussian_mean import GaussianMean
from curation_audit.pipelines.protection.protect import ProtectSettings
from curation_audit.pipelines.rules.sampled import GumbelTopK
from curation_audit.pipelines.rules.top import TopK
from curation_audit.pipelines.scorers.centroid_votes import CentroidVotes
from curation_audit.pipelines.scorers.nearest import Nearest
from curation_audit.results import Estimate
from curation_audit.streams import Streams
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
    assert "is more than 0.020 outside" in SpotCheck(32, 0.99, measured, 0.74).failure
    assert "audit it with shadows" in SpotCheck(32, 0.79, measured, 0.7).failure
    # half of what is seen is a mechanism's noise
    assert SpotCheck(32, 0.6, measured, 0.7, attainable=0.5**0.5).failure is None
    # of a weak leak a prediction of none is no confirmation
    weak = Estimate(0.526, 0.514, 0.538, 0.95)
    assert SpotCheck(32, 0.99, weak, 0.515).failure is None
    assert "is more than 0.004 outside" in SpotCheck(32, 0.99, weak, 0.5).failure
    # nor is an AUC that agrees where scores move by far more than was said
    moved = [Estimate(one, one - 0.1, one + 0.1, 0.95) for one in (1.2, 1.5)]
    assert SpotCheck(32, 0.99, measured, 0.7, slope=moved[0]).failure is None
    assert "1.50 times as far" in SpotCheck(32, 0.99, measured, 0.7, slope=moved[1]).failure


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
    assert "private mechanism is in place" in sentences(found, Asked(), ["x"] * N)[-1]


def halves_of(of):
    return Halves.of(of, linear_of(of).affine())


def test_the_variance_of_means_falls_as_one_over_n():
    found = halves_of(plan(MEAN, n=400))
    assert found.fall == pytest.approx(1, abs=0.15)
    assert found.n_directions == 6


def test_the_variance_of_sums_grows_with_n():
    """Votes of clusters are sums, and so are weights beside a large background."""
    assert halves_of(plan(CentroidVotes(clusters=8), n=400)).fall == pytest.approx(-1, abs=0.05)
    few = halves_of(plan(LOGIT, n=30))
    assert few.fall < 0.5


def test_more_records_than_directions_are_known_have_no_law():
    """With 100 features 50 candidates have room for every coin, and 100 still have."""
    found = outlook(plan(MEAN, n=50, d=100))
    assert (found.laws, found.prediction.check.failure) == ((), None)
    assert "more records bring new directions" in found.no_law
    assert f"{found.no_law}." in sentences(found, Asked(), ["x"] * 50)[-1]


def test_records_that_all_do_the_same_have_no_law():
    found = outlook(plan(MEAN, private=np.ones((N, 6))))
    assert "do not move the scores" in found.no_law
    assert found.laws == ()


@pytest.mark.parametrize("scorer", [MEAN, LOGIT], ids=["mean", "classifier"])
def test_the_first_row_of_the_law_is_what_the_auditor_is_predicted_to_tell(scorer):
    found = outlook(plan(scorer))
    auditor = found.prediction.told[0]
    assert found.laws[0].advantage(N).value == pytest.approx(auditor.advantage, rel=1e-6)
    assert found.laws[0].auc(N).value == pytest.approx(auditor.auc, rel=1e-6)


def test_a_slope_is_by_how_much_more_scores_move():
    rng = np.random.default_rng(0)
    expected = rng.standard_normal((200, 3))
    seen = 1.5 * expected + 0.3 * rng.standard_normal((200, 3)) + 7
    found = slope_of(seen, expected)
    assert found.value == pytest.approx(1.5, abs=0.05)
    assert found.low < 1.5 < found.high
    # 600 values with noise of .3: a standard error of .3 / sqrt(600)
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.3 / 600**0.5, rel=0.25)
    assert slope_of(seen, np.zeros_like(expected)) is None


@pytest.mark.parametrize(("mechanism", "epsilon"), [("dp_gd", 2.0), ("dp_gd", 50.0)])
def test_a_clipped_gradient_does_not_bend(mechanism, epsilon):
    """First order of gradient descent moves scores by as much as real ones move, clipped or not."""
    protect = ProtectSettings(
        mechanism=mechanism, adjacency="zero_out", budget=Budget(epsilon=epsilon, delta=1e-5)
    )
    of = plan(LOGIT, protect=protect)
    linear = linear_of(of)
    inclusion, scores = exact_shadows(of, 400)
    affine = linear.affine()
    found = slope_of(linear.seen(scores).coordinates, (inclusion - 0.5) @ affine.shifts)
    assert 0.85 < found.value < 1.15


def test_scores_that_nobody_sees_have_no_forecast():
    protect = ProtectSettings(
        mechanism="noisy_top_k", adjacency="zero_out", budget=Budget(epsilon=2.0, delta=1e-5)
    )
    with pytest.raises(SettingError, match="found noisy_top_k, behind which nobody sees"):
        outlook(plan(MEAN, protect=protect, threat=Threat(observes=("selection",)), train=None))


def test_a_rule_that_draws_is_read_through_noise_of_its_own():
    """Analytic shadows that shared noise with exact ones would promise more than an audit reads.

    The stage tells what an inversion tells whose exact shadows come from elsewhere.
    """
    of = plan(MEAN, select=GumbelTopK(k=60, temperature=1.0))
    inclusion, scores = exact_shadows(of, 100)
    found = measured_stages(of, linear_of(of), ["selection"], inclusion, scores)["selection"]
    stage = StageOutputs.of(of, linear_of(of), "selection")
    shown = [stage(scores[:8], range(at, at + 8)) for at in (0, 256, 2048)]
    assert all((one != other).any() for one, other in itertools.pairwise(shown))
    audited = seen_by(
        of, select_and_train(of, scores, Streams(1).for_shadows("shadow", range(100)))
    )
    evidence = AnalyticPicks().evidence(
        audited, inclusion, knowledge_of(of), streams=Streams(1).for_shadows("attack", range(100))
    )
    assert found.value == pytest.approx(auc(inclusion, evidence), abs=0.03)


def auc(inclusion, evidence) -> float:
    return float(roc_auc_score(inclusion.ravel(), evidence.ravel()))


def test_what_is_not_used_is_said():
    unseen = Threat(observes=("selection",))
    notes = outlook(plan(MEAN, threat=unseen, train=None), model=True).notes
    assert "threat model is not used" in notes[0]
    assert "the pipeline trains none" in notes[1]
    assert outlook(plan(MEAN)).notes == ()


def test_only_noise_on_exact_scores_is_asked_for():
    scores, picks = outlook(plan(LOGIT)).laws
    assert scores.noise_needed(N, 0.05) > 0
    assert picks.noise_needed(N, 0.05) is None


def test_noise_that_is_asked_for_is_just_enough():
    """Added to exact scores: the filter that knows of it tells what was asked."""
    of = plan(MEAN)
    law = outlook(of).laws[0]
    noise = law.law.noise_needed(N / 2, 0.15)
    assert noise <= law.noise_needed(N, 0.15)  # which asks for as much as the range may need
    linear = linear_of(of)
    inclusion, scores = exact_shadows(of, 400)
    noisy = scores + noise * np.random.default_rng(2).standard_normal(scores.shape)
    evidence = likelihood_ratios(linear.affine(), linear.seen(noisy))
    fpr, tpr, _ = roc_curve(inclusion.ravel(), evidence.ravel())
    assert (tpr - fpr).max() == pytest.approx(0.15, abs=0.015)


def test_population_adversary_against_simulation():
    """He estimates mean and covariance from many records; one of them is in or out by a coin."""
    rng, n, d, noise = np.random.default_rng(3), 200, 16, 100.0
    shifts = rng.standard_normal((2 * n, d))
    added = noise * np.eye(d)
    affine = AffineScores(np.zeros(d), shifts, added, 0.0)
    told = {one.adversary: one for one in told_by(affine, (0.01,))}
    # sums over n draws, and the error of a mean of n reference records, times n
    ratios, coins = [], []
    inverse = np.linalg.inv(2 * n * np.eye(d) + added)
    for _ in range(400):
        coin = rng.random(50) < 0.5
        targets = rng.standard_normal((50, d))
        others = np.sqrt(2 * n) * rng.standard_normal((50, d))
        seen = others + (coin - 0.5)[:, None] * targets
        seen += np.sqrt(noise) * rng.standard_normal((50, d))
        ratios.append(((seen @ inverse) * targets).sum(axis=1))
        coins.append(coin)
    expected = roc_auc_score(np.concatenate(coins), np.concatenate(ratios))
    assert told["population"].auc == pytest.approx(expected, abs=0.012)


def test_a_stage_that_always_gives_the_same_is_left_out():
    found = outlook(plan(MEAN, select=TopK(k=300)))
    assert [law.stage for law in found.laws] == ["scores"]


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
        expected = law.auc(600)
        value = measured.measured.value
        assert expected.low - 0.01 <= value <= expected.high + 0.01, law.stage
    assert [law.stage for law in found.laws] == ["scores", "selection"]


def of_falling_variance(n):
    """A mean of n records; 24 features of falling variance, of which few tell most."""
    rng = np.random.default_rng([0, n])
    scale = 1 / np.sqrt(1 + np.arange(24))
    public = (rng.standard_normal((1000, 24)) + 0.4) * scale
    labels = {"private": np.arange(n) % 2, "public": (public[:, 0] > 0.4).astype(int)}
    private = rng.standard_normal((n, 24)) * scale
    return plan(MEAN, private=private, public=public, labels=labels, select=TopK(k=100))


def test_picks_hide_a_share_of_what_coins_move_not_a_fixed_noise():
    """From 160 records to 640, where a fixed noise is off by more than two standard errors."""
    law = outlook(of_falling_variance(160), 64).laws[1]
    large = of_falling_variance(640)
    inclusion, scores = exact_shadows(large, 64)
    truth = measured_stages(large, linear_of(large), ["selection"], inclusion, scores)["selection"]
    forecast, fixed = law.auc(640), replace(law.law, noise_fall=0.0).auc(320)
    assert forecast.value == pytest.approx(truth.value, abs=0.01)
    assert forecast.low < truth.value < forecast.high
    assert fixed < truth.low
    assert forecast.low < fixed  # which the range holds, too


@pytest.mark.parametrize("stage", [0, 1])
def test_the_range_runs_between_the_ends_of_what_was_measured(stage):
    law = outlook(plan(LOGIT)).laws[stage]
    today = law.auc(N)
    assert today.low == pytest.approx(law.measured.low, abs=1e-4)
    assert today.high == pytest.approx(max(law.measured.high, today.value), abs=1e-4)
    assert today.low < today.value < today.high
    needed, further = law.records_needed(0.05), law.auc(10 * N)
    assert needed.low < needed.value < needed.high
    assert further.low < further.value < further.high


def test_more_stages_hide_more_and_need_fewer_records():
    found = outlook(plan(LOGIT), model=True)
    scores, picks, model = found.laws
    values = [one.auc(N).value for one in (scores, picks, model)]
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
    assert sizes == [N, 2 * N, 4 * N, 10 * N, 100 * N, 50_000]
    assert told["told"][2]["largest_mu"] is None  # infinite without noise


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
