"""The seam between a pool and scorers that see its model's gradients; audits with them."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from curation_audit import Pipeline, audit, load_pipeline
from curation_audit.auditing.chunks import (
    Task,
    describe,
    plan_parts,
    run_task,
)
from curation_audit.auditing.plan import AttackSettings
from curation_audit.backends.local import check_it_can_travel
from curation_audit.checks import InputError, SettingError
from curation_audit.pipelines.base import ALWAYS_IN, Bindable, bound
from curation_audit.pipelines.canaries import CanarySettings
from curation_audit.pipelines.protection.protect import NATURAL
from curation_audit.pipelines.rules.top import TopK
from curation_audit.pipelines.scorers import gradient_kernel
from curation_audit.pipelines.scorers.less import Less
from curation_audit.pipelines.scorers.trak import Trak
from curation_audit.sweeping.plan import SweepSettings, plan_sweep
from tests.pipelines.gradient_cases import (
    SCORERS,
    drawn,
    fitted,
    pool_rows,
    private_rows,
)


@pytest.mark.parametrize("settings_", SCORERS, ids=lambda one: one.name)
def test_a_pool_without_labels_is_refused(settings_):
    with pytest.raises(SettingError, match=r"public\.columns\.label: is missing"):
        settings_.bind(pool_rows(drawn(20)[0]))


def test_the_place_in_the_file_is_told(tmp_path):
    text = """
version: 1
name: t
private: {source: {kind: example, name: med, part: private}, columns: {id: patient_id}}
public:
  source: {kind: example, name: med, part: public}
  columns: {id: record_id, features: ["mean_*"]}
curate: {scorer: {method: trak}, select: {rule: top_k, k: 10}}
"""
    text = text.replace(
        "columns: {id: patient_id}", 'columns: {id: patient_id, features: ["mean_*"]}'
    )
    (tmp_path / "t.yaml").write_text(text)
    with pytest.raises(InputError, match=r"t\.yaml.*public.*trak takes gradients"):
        load_pipeline(tmp_path / "t.yaml")


@pytest.mark.parametrize("settings_", SCORERS, ids=lambda one: one.name)
def test_binding(settings_):
    """Settings alone fit by binding; bound twice they are described alike, and travel."""
    pool, private = pool_rows(*drawn(50)), private_rows(*drawn(8, seed=1))
    assert isinstance(settings_, Bindable)
    scorer = bound(settings_, pool)
    assert not isinstance(scorer, Bindable)
    assert bound(scorer, pool) is scorer
    assert (scorer.name, scorer.family) == (settings_.name, settings_.family)
    with pytest.raises(ValueError, match="bind"):
        settings_.embed(pool.features)
    coins = [[1, 0] * 4]
    found = fitted(scorer, private, pool, coins).score(pool.features, pool.labels)
    alone = fitted(settings_, private, pool, coins).score(pool.features, pool.labels)
    np.testing.assert_array_equal(found, alone)
    sent = pickle.loads(pickle.dumps(scorer))
    assert len(scorer.map.memo._kept) > 0
    assert len(sent.map.memo._kept) == 0
    np.testing.assert_array_equal(
        fitted(sent, private, pool, coins).score(pool.features, pool.labels), found
    )
    told = describe(scorer)
    assert told == describe(bound(settings_, pool)) == describe(sent)
    assert told["name"] == settings_.name
    assert told != describe(bound(replace(settings_, projection=8), pool))
    assert told != describe(bound(settings_, pool_rows(*drawn(50, seed=3))))


@pytest.mark.parametrize(
    "settings_", [*SCORERS[:2], Less(epochs=2, projection=9, subtasks="one")], ids=lambda o: o.name
)
@pytest.mark.parametrize("unit", [range(12), [0, 0, 1, ALWAYS_IN, 2, 2, 3, 4, 5, ALWAYS_IN, 6, 7]])
def test_the_linearisation_is_the_derivative_at_half_weights(settings_, unit):
    """A row's weight is set by copies: 1 for half, 2 for always, 1 more or less for the slope."""
    unit = np.array(unit)
    features, labels = drawn(12, seed=1)
    pool = pool_rows(*drawn(50))
    scorer = settings_.bind(pool)
    found = scorer.linearise(private_rows(features, labels, unit), pool)
    many = 2000

    def vector(more):
        """Scores read as a vector by least squares; ``more`` of 2000 for one candidate."""
        copies = np.where(unit == ALWAYS_IN, 2 * many, many)
        copies = copies + np.where(unit == 0, more, 0)
        return weighted(scorer, features, labels, copies)

    np.testing.assert_allclose(found.reference, vector(0), atol=1e-9)
    slope = (vector(2) - vector(-2)) / (4 / (2 * many))
    np.testing.assert_allclose(found.influence[0], slope, atol=1e-5 * np.abs(slope).max())
    assert found.slopes.all()
    assert np.linalg.eigvalsh(found.covariance).min() > 0


def weighted(scorer, features, labels, copies):
    """What the scorer releases of rows that stand there several times, by its own ``fit``."""
    rows = np.repeat(np.arange(len(copies)), copies)
    private = private_rows(features[rows], labels[rows])
    scores = fitted(scorer, private, None, np.ones((1, len(rows)), dtype=bool))
    return scores.weights[0] if hasattr(scores, "weights") else scores.means[0, 0]


def test_what_is_kept_is_bounded(monkeypatch):
    monkeypatch.setattr(gradient_kernel, "MOST_NUMBERS", 20)
    memo, calls = gradient_kernel.Memo(), []
    labels = np.zeros(2, dtype=np.int64)

    def get(value, size):
        def compute():
            calls.append(value)
            return np.full((2, size), value)

        return memo.get("a", np.full((2, 1), value), labels, compute)

    get(1.0, 4), get(1.0, 4), get(2.0, 4)
    assert calls == [1.0, 2.0]
    get(3.0, 4), get(2.0, 4), get(1.0, 4)  # the third had no room beside both
    assert calls == [1.0, 2.0, 3.0, 1.0]
    get(4.0, 11), get(4.0, 11)  # larger than all there is
    assert calls[-2:] == [4.0, 4.0]


def test_blocks_of_rows_do_not_matter(monkeypatch):
    pool, private = pool_rows(*drawn(50)), private_rows(*drawn(8, seed=1))
    for settings_ in SCORERS:
        scorer = settings_.bind(pool)
        scores = fitted(scorer, private, pool, [[1, 0] * 4, [0] * 8])
        whole = scores.score(pool.features, pool.labels)
        with monkeypatch.context() as patch:
            patch.setattr(gradient_kernel, "MOST_NUMBERS", 100)
            np.testing.assert_allclose(scores.score(pool.features, pool.labels), whole, atol=1e-13)
        assert scores.score(pool.features[:0], pool.labels[:0]).shape == (2, 0)


def pipeline(scorer, **others) -> Pipeline:
    """150 private rows and 300 public ones in three classes."""
    (mine, own), (pool, labels) = drawn(150, seed=1), drawn(300)
    return Pipeline(
        private=mine,
        public=pool,
        labels={"private": own, "public": labels},
        scorer=scorer,
        select=TopK(k=30),
        attack=AttackSettings(shadows=16),
        **others,
    )


def test_the_audit_sees_the_embedding_and_the_settings():
    plan = pipeline("trak").plan()
    assert plan.configuration["curate"]["scorer"]["name"] == "trak"
    assert "map" not in plan.configuration["curate"]["scorer"]
    assert plan_parts(plan) == plan_parts(pipeline(Trak()).plan())
    assert plan_parts(plan) != plan_parts(pipeline(Trak(damping=0.5)).plan())
    result = audit(plan)
    scores = next(stage for stage in result.stages if stage.stage == "scores")
    ran = {one.attack for one in scores.attacks if one.status == "run"}
    assert {"trace", "matched_filter", "least_squares"} <= ran  # what is for linear scorers


@pytest.mark.parametrize("settings_", SCORERS, ids=lambda one: one.name)
def test_a_worker_gets_the_same_scores(settings_):
    plan = pipeline(settings_, train=None).plan()
    check_it_can_travel(plan)
    task = Task("shadow", 0, 16)
    here = run_task(plan, task, None).observation.scores
    there = run_task(pickle.loads(pickle.dumps(plan)), task, None).observation.scores
    np.testing.assert_array_equal(here, there)


@pytest.mark.parametrize("settings_", SCORERS, ids=lambda one: one.name)
def test_canaries_and_private_mechanisms_go_with_it(settings_):
    attack = AttackSettings(shadows=16, canaries=CanarySettings(count=20))
    plan = replace(pipeline(settings_), attack=attack).plan()
    assert plan.data.n_canaries == 20
    base = pipeline(settings_).plan()
    sweep = SweepSettings(
        adjacency="zero_out", delta=1e-5, epsilons=(1.0,), mechanisms=("gaussian_mean",)
    )
    made = plan_sweep(base, sweep)
    assert made.audit(made.points[0]).scorer.name == "gaussian_mean"
    assert made.audit(None).scorer is base.scorer
    natural = replace(sweep, mechanisms=())
    if settings_.name in NATURAL:
        made = plan_sweep(base, natural)
        assert made.audit(made.points[0]).scorer.name == NATURAL[settings_.name]
    else:
        with pytest.raises(SettingError, match="no private form"):
            plan_sweep(base, natural)
    with pytest.raises(SettingError, match="cannot bound"):
        plan_sweep(base, replace(sweep, mechanisms=("noisy_top_k",)))
