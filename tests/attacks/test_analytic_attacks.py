"""Attacks by drawn scorers: the law that is drawn from, and what is read through all of it."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import curation_audit
from curation_audit import load_pipeline
from curation_audit.attacks import ATTACKS
from curation_audit.attacks.analytic_model import AnalyticModel
from curation_audit.attacks.analytic_picks import AnalyticPicks
from curation_audit.attacks.analytic_shadows import MOST_OUTPUTS, drawn_inversion, telling
from curation_audit.auditing.adversary import knowledge_of, seen_by
from curation_audit.auditing.curation import score_shadows, select_and_train
from curation_audit.auditing.plan import AttackSettings
from curation_audit.game import paired_inclusion
from curation_audit.pipelines.downstream.logistic import Logistic
from curation_audit.pipelines.downstream.mlp import Mlp
from curation_audit.streams import Streams
from tests.analytic.worlds import LOGIT, MEAN, plan
from tests.attacks.world import make_world

MED = Path(curation_audit.__file__).parent / "pipelines" / "med.yaml"


def shown(of, n_shadows):
    """Coins, what the adversary sees, and his streams."""
    streams = Streams(of.seed)
    inclusion = paired_inclusion(n_shadows, of.data.private.n_candidates, streams)
    shadows = streams.for_shadows("shadow", range(n_shadows))
    curated = select_and_train(of, score_shadows(of, inclusion, shadows), shadows)
    return inclusion, seen_by(of, curated), shadows


def auc(of, attack, n_shadows=60):
    inclusion, seen, streams = shown(of, n_shadows)
    found = attack.evidence(seen, inclusion, knowledge_of(of), streams=streams)
    return roc_auc_score(inclusion.ravel(), found.ravel())


def test_drawn_scorers_have_the_law_of_the_coins():
    """Mean and covariance of 20,000 drawn scores, against those of coins to first order."""
    world, seen = make_world(), []
    linear, pool = world.knowledge.linearisation, world.knowledge.pool

    def keep(scores, trials):
        seen.append(scores)
        return scores

    drawn_inversion(world.knowledge, keep, 20_000, np.random.default_rng(0))
    scores = np.concatenate(seen)
    np.testing.assert_allclose(
        scores.mean(axis=0), pool @ linear.reference, atol=0.05 * scores.std()
    )
    moved = linear.influence @ pool.T
    expected = moved.T @ moved / 4
    np.testing.assert_allclose(np.cov(scores.T), expected, atol=0.05 * np.abs(expected).max())


def test_noise_of_a_mechanism_is_drawn_too():
    world, seen = make_world(), []
    linear = world.knowledge.linearisation
    noisy = dataclasses.replace(linear, noise=100 * np.eye(len(linear.reference)))
    knowledge = dataclasses.replace(world.knowledge, linearisation=noisy)
    drawn_inversion(knowledge, lambda s, _: seen.append(s) or s, 2000, np.random.default_rng(0))
    squares = (world.knowledge.pool**2).sum(axis=1)
    np.testing.assert_allclose(np.concatenate(seen).var(axis=0), 100 * squares, rtol=0.2)


def test_outputs_that_never_change_are_left_out():
    rng = np.random.default_rng(0)
    outputs = rng.standard_normal((10, 6)) * [1, 0, 2, 1e-5, 1, 1]
    assert telling(outputs).tolist() == [0, 2, 4, 5]
    assert telling(np.ones((5, 3))).tolist() == []
    many = rng.standard_normal((4, MOST_OUTPUTS + 50))
    many[:, 7] *= 100
    kept = telling(many)
    assert len(kept) == MOST_OUTPUTS
    assert 7 in kept
    assert (np.diff(kept) > 0).all()


@pytest.mark.parametrize("scorer", [MEAN, LOGIT], ids=["mean", "classifier"])
def test_picks_tell_as_much_as_by_a_filter_that_knows_the_rule(scorer):
    """60 x 80 coins: the standard error of an AUC is .008."""
    of = plan(scorer)
    found = auc(of, AnalyticPicks())
    assert found > 0.57
    assert found > auc(of, ATTACKS["mask_filter"]) - 0.01


def test_a_rule_without_one_cut_is_run_not_modelled():
    of = load_pipeline(MED, "curate.select={rule: per_group, by: site, k: 19}")
    assert auc(of, AnalyticPicks()) > auc(of, ATTACKS["mask_filter"])


def test_a_model_tells_more_by_drawn_scorers_than_by_few_shadows():
    of = plan(LOGIT, train=Logistic(l2=0.1), attack=AttackSettings(shadows=16))
    found = auc(of, AnalyticModel(), 40)
    assert found > 0.54
    assert found > auc(of, ATTACKS["bottleneck"], 40)


@pytest.mark.parametrize(
    ("train", "asked", "granted"),
    [
        (Logistic(), None, True),
        (Logistic(), False, False),
        (Mlp(epochs=1), None, False),
        (Mlp(epochs=1), True, True),
        (None, True, False),
    ],
)
def test_models_are_trained_for_it_where_that_is_cheap_or_asked_for(train, asked, granted):
    of = plan(LOGIT, train=train, attack=AttackSettings(shadows=16, analytic_models=asked))
    knowledge = knowledge_of(of)
    assert ("analytic models" in knowledge.granted) == granted
    assert (knowledge.train is not None) == granted
    if granted:
        scores = np.random.default_rng(0).standard_normal((3, len(of.data.pool)))
        answers = knowledge.train(scores, np.array([4, 2]), range(3))
        assert answers.shape == (3, 2, 2)
        np.testing.assert_allclose(answers.sum(axis=2), 1, rtol=1e-5)
        assert len(np.unique(answers[:, 0, 0])) == 3  # each on its own picks


@pytest.mark.parametrize("attack", [AnalyticPicks, AnalyticModel])
def test_a_regression_needs_shadows(attack):
    with pytest.raises(ValueError, match="shadows must be at least 4, got 3"):
        attack(shadows=3)


def test_it_is_learnt_once_for_all_who_ask():
    world, calls = make_world(), []
    select = world.knowledge.select
    knowledge = dataclasses.replace(
        world.knowledge,
        select=lambda scores, trials: calls.append(trials) or select(scores, trials),
    )
    fit = dataclasses.replace(knowledge, known_pairs=np.arange(12) < 7)
    other = make_world(seed=5).observation
    for observation, known in ((world.observation, knowledge), (other, fit)):
        AnalyticPicks().evidence(observation, world.inclusion, known, streams=world.streams)
    # and every drawn scorer is a trial of its own
    assert [trial for trials in calls for trial in trials] == list(range(AnalyticPicks().shadows))
