"""Training health: halves, who stands out, the edge of stability, and who may see any of it."""

import json
import stat
from pathlib import Path

import numpy as np
import pytest
from scipy import special, stats

from curation_audit.auditing.curation import score_shadows
from curation_audit.checks import InputError
from curation_audit.forecasting.edges import edge_of_scorer
from curation_audit.forecasting.health import _mean_ratio, disjoint, health, stabilities, stability
from curation_audit.forecasting.health_tree import tree
from curation_audit.forecasting.prediction import linear_of
from curation_audit.pipelines.protection.base import Budget
from curation_audit.pipelines.protection.dp_sgd import DpGd
from curation_audit.pipelines.protection.protect import ProtectSettings
from curation_audit.pipelines.rules.cut import tie_order
from curation_audit.pipelines.scorers.mlp_classifier import MlpClassifier
from curation_audit.pipelines.scorers.nearest import Nearest
from curation_audit.report.health import PRIVATE, validate_health
from curation_audit.report.health_section import section
from curation_audit.streams import Streams
from tests.analytic.worlds import LOGIT, MEAN, D, N, plan

ORIGIN = {"pipeline": "0" * 64, "tool": "curation-audit 0"}
NAMES = [f"{i:016x}" for i in range(N)]
MED = Path(__file__).parents[2] / "curation_audit" / "pipelines" / "med.yaml"


def by_descent(**settings):
    scorer = DpGd(**({"steps": 200, "precondition": False, "clip": 100.0} | settings))
    return plan(
        LOGIT,
        protect=ProtectSettings(
            mechanism="dp_gd",
            adjacency="zero_out",
            budget=Budget(epsilon=np.inf, delta=1e-5),
            scorer=scorer,
        ),
    )


def test_halves_are_disjoint_and_of_the_size_asked_for():
    held = disjoint(20, 7, np.random.default_rng(0))
    assert not (held[0::2] & held[1::2]).any()
    assert (held.sum(axis=1) == 7).all()
    assert len({row.tobytes() for row in held}) == len(held)


def test_stability_is_what_each_pair_by_itself_gives():
    of = plan(MEAN)
    found = stability(of, 20)
    held = disjoint(N, 20, Streams(of.seed).generator("health: halves", 20))
    streams = Streams(of.seed).for_shadows("halves of 20", range(len(held)))
    scores = score_shadows(of, held, streams)
    picks = of.rule.select(scores, tie_order(of.data.pool.ids, of.seed)).mask()
    pairs = range(0, len(held), 2)
    expected = [stats.spearmanr(scores[i], scores[i + 1]).statistic for i in pairs]
    assert found.correlation == pytest.approx(np.mean(expected))
    shared = [(picks[i] & picks[i + 1]).sum() / 60 for i in pairs]
    assert found.overlap == pytest.approx(np.mean(shared))
    assert found.by_chance == pytest.approx(0.2)


def test_more_records_curate_more_alike_and_noise_alone_by_chance():
    rows = np.random.default_rng(1).standard_normal((N, D)) + 1
    by_size = list(stabilities(plan(MEAN, private=rows)))
    assert [one.n_records for one in by_size] == [5, 10, 20, 40]
    assert by_size[-1].correlation > by_size[0].correlation + 0.02
    around_nothing = stability(plan(MEAN, n=400), 100)
    assert abs(around_nothing.correlation) < 0.5
    assert around_nothing.overlap < 0.5


def test_the_same_record_many_times_curates_the_same():
    found = stability(plan(MEAN, private=np.ones((N, D))), 20)
    assert found.correlation == pytest.approx(1)
    assert found.overlap == 1


def test_a_linear_scorer_has_a_spectrum_and_predictions():
    of = plan(MEAN)
    found = health(of, 0)
    assert found.prediction.label == "prediction, not confirmed"
    assert found.spectrum.numerical_rank == D == found.prediction.n_directions
    own = found.vulnerability
    shifts = linear_of(of).affine().shifts
    np.testing.assert_allclose(own.length, np.linalg.norm(shifts, axis=1))
    np.testing.assert_allclose(own.tpr, stats.norm.sf(stats.norm.isf(0.01) - own.mu))
    assert (np.diff(own.leverage[own.order]) <= 0).all()
    assert (own.mu[own.order[0]], own.order.size) == (own.mu.max(), N)
    assert found.edges == ()
    assert any("of the scorer eta * lambda_max is not measured" in one for one in found.notes)
    assert found.gradients is None
    assert found.vulnerability.gradient is None
    assert any("gradients are not measured" in one for one in found.notes)


def test_predictions_are_checked_on_exact_shadows():
    found = health(plan(MEAN), 60)
    assert found.prediction.label == "prediction, checked on exact shadows"
    assert tree(found, NAMES, ORIGIN)["linearity_corr"] > 0.97


def test_a_network_has_an_edge_and_no_mu():
    of = plan(MlpClassifier(hidden=(4,), epochs=3, device="cpu"))
    found = health(of, 0)
    assert found.vulnerability.mu is None
    (edge,) = (one for one in found.edges if one.part == "scorer")
    assert 0 < edge.eta_lambda_max < edge.threshold == 3.8
    node = tree(found, NAMES, ORIGIN)
    assert node["vulnerability"][0]["mu"] is None
    assert node["edges_of_stability"][0]["near_threshold"] is False


def test_other_scorers_have_halves_only():
    found = health(plan(Nearest()), 0)
    assert (found.prediction, found.spectrum, found.gradients, found.vulnerability) == (None,) * 4
    assert found.edges == ()
    assert len(found.stability) == 4
    node = tree(found, NAMES, ORIGIN)
    assert (node["spectra"], node["vulnerability"], node["label"]) == ([], None, None)
    assert len(found.notes) == 4  # scores, gradients, and both trainings
    validate_health(node)


def test_a_network_of_spectral_layers_is_ranked_by_gradients_alone():
    of = plan(MlpClassifier(hidden=(8,), epochs=3, parametrization="spectral", device="cpu"))
    found = health(of, 0)
    own = found.vulnerability
    assert (found.prediction, own.leverage, own.length, own.mu, own.tpr) == (None,) * 5
    assert (np.diff(own.gradient[own.order]) <= 0).all()
    assert [one.part for one in found.edges] == ["scorer"]
    node = tree(found, NAMES, ORIGIN)
    validate_health(node)
    assert node["vulnerability"][0]["leverage"] is None
    assert node["vulnerability"][0]["gradient"] == own.gradient.max()


@pytest.mark.parametrize("scorer", [MEAN, LOGIT, Nearest()], ids=lambda one: one.name)
def test_its_tree_keeps_to_the_schema(scorer):
    node = tree(health(plan(scorer), 0), NAMES, ORIGIN)
    validate_health(node)
    assert json.loads(json.dumps(node, allow_nan=False)) == node


def test_what_no_pair_of_halves_has_is_not_measured_rather_than_zero():
    """Constant scores have no correlation, and empty selections no overlap."""
    assert np.isnan(_mean_ratio(np.zeros(3), np.zeros(3)))
    assert _mean_ratio(np.array([1.0, 7.0, 3.0]), np.array([2.0, 0.0, 4.0])) == 0.625


@pytest.mark.parametrize("factor", [0.5, 1.2])
def test_descent_above_the_edge_is_seen(factor):
    """By the rate: at zero weights the loss is most sharply bent, and ends less so."""
    calm = edge_of_scorer(by_descent(learning_rate=0.01))
    rate = factor * 2 / (calm.eta_lambda_max / 0.01)
    found = health(by_descent(learning_rate=rate), 0)
    edge = found.edges[0]
    assert edge.near == (factor > 1)
    if factor == 0.5:
        assert edge.eta_lambda_max < 1.3
        assert edge.gradient_norm < 1e-3
        assert not any("do not trust" in one for one in found.notes)
    if factor == 1.2:
        assert edge.eta_lambda_max > 1.8
        assert any("do not trust" in one for one in found.notes)


def test_all_of_it_says_that_it_is_private():
    found = health(plan(MEAN), 0)
    node = tree(found, NAMES, ORIGIN)
    assert node["private"] is True
    assert "no part of a release" in node["note"]
    assert list(section(node))[1].text == node["note"] == PRIVATE
    assert json.loads(json.dumps(node, allow_nan=False)) == node


def test_the_command_writes_outside_of_the_release_and_for_its_owner_only(tmp_path, command):
    args = ("--pipeline", MED, "--set", f"run.out={tmp_path / 'run'}", "--shadows")
    code, out, err = command("health", *args, 0)
    assert code == 0, err
    assert "no part of a release" in out
    (path,) = [one for one in (tmp_path / "run").rglob("*") if one.is_file()]
    assert path == tmp_path / "run" / "private" / "health.json"
    assert str(path) in err
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    written = json.loads(path.read_text())
    assert len(written["vulnerability"]) == 200
    assert json.loads(command("health", *args, 0, "--json")[1]) == written
    code, _, err = command("health", *args, 8)
    assert code == 2
    assert len(err.splitlines()) == 1


def test_what_a_record_that_stands_out_is_predicted():
    rows = np.random.default_rng(2).standard_normal((N, D))
    rows[17] *= 30
    found = health(plan(MEAN, private=rows), 0).vulnerability
    assert found.order[0] == 17
    assert found.tpr[17] > 0.9 > special.ndtr(np.median(found.mu) + special.ndtri(0.01))


def test_a_scorer_that_diverged_is_told_in_one_line():
    of = plan(MlpClassifier(hidden=(4,), epochs=5, learning_rate=1e30, device="cpu"))
    with pytest.raises(InputError, match="scores that are NaN or infinite"):
        health(of, 0)
