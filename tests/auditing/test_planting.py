"""Planted rows from end to end: who gets one, what curations do with it, what models give away."""

from dataclasses import replace

import numpy as np
import pytest

from curation_audit.api import Pipeline, audit
from curation_audit.attacks.fingerprint import Fingerprint
from curation_audit.auditing import chunks
from curation_audit.auditing.adversary import knowledge_of, seen_by
from curation_audit.auditing.chunks import Task, run_curations, run_task
from curation_audit.auditing.evidence import draw_game
from curation_audit.auditing.forecast import forecast
from curation_audit.auditing.plan import AttackSettings, RunSettings, Threat
from curation_audit.auditing.planting import (
    Planting,
    plant,
    planting_gap,
    planting_warnings,
    rehearse,
    with_planted,
)
from curation_audit.auditing.progress import Silence
from curation_audit.game import paired_inclusion
from curation_audit.observations import Planted
from curation_audit.pipelines.base import ALWAYS_IN
from curation_audit.pipelines.downstream.logistic import Logistic
from curation_audit.pipelines.rules.cut import tie_order
from curation_audit.pipelines.rules.threshold import Threshold
from curation_audit.pipelines.rules.top import TopK
from curation_audit.statistics import PairedEvidence, chance_p_value, clustered_auc
from curation_audit.storage import ChunkStore
from curation_audit.streams import Streams

N, M, D = 24, 200, 12
RNG = np.random.default_rng(5)
PRIVATE = RNG.standard_normal((N, D)) + 0.5
POOL = RNG.standard_normal((M, D))
LABELS = {
    "private": (PRIVATE[:, 0] > 0).astype(int),
    "public": (POOL[:, 0] > 0).astype(int),
}
METHODS = {
    "scores": ("lira_best_row",),
    "selection": ("binary_lira",),
    "model": ("lira", "fingerprint"),
}


def similar_to_members(private, rows):
    """A scorer of the user's own: a kernel density of the private rows, so not linear."""
    squared = ((rows[:, None] - private[None]) ** 2).sum(axis=2)
    return np.exp(-squared / D).mean(axis=1)


def pipeline(scorer="nearest", may_insert=N, shadows=32, methods=METHODS, **settings) -> Pipeline:
    threat = settings.pop("threat", Threat(may_insert=may_insert))
    basic = {
        "private": PRIVATE,
        "public": POOL,
        "labels": LABELS,
        "scorer": scorer,
        "select": TopK(k=40),
        "train": Logistic(l2=0.1, device="cpu"),
        "attack": AttackSettings(shadows=shadows, methods=methods),
        "run": RunSettings(device="cpu"),
        "threat": threat,
        "seed": 3,
    }
    return Pipeline(**basic | settings)


def measured(evidence, inclusion):
    """AUC, its standard error, and the p-value of chance."""
    paired = PairedEvidence.split(evidence, inclusion)
    found = clustered_auc(paired)
    return found.auc, np.sqrt(2 * found.variance_by_pair), chance_p_value(paired)


# the scorer, least share of right picks, least AUC at the model over the candidates aimed at
LEAKY = {
    "nearest": ("nearest", 0.95, 0.8),
    "mean": ("mean", 0.65, 0.6),
    "classifier": ("classifier", 0.6, 0.58),
    "callable": (similar_to_members, 0.52, 0.52),
}


@pytest.mark.parametrize("case", LEAKY.values(), ids=LEAKY)
def test_models_tell_who_was_in_and_controls_find_nothing(case):
    scorer, least_right, least_auc = case
    plan = pipeline(scorer, may_insert=10, shadows=64).plan()
    found = chunks.plant_once(plan, ChunkStore(None))
    targets = found.planted.target
    assert len(targets) == len(set(targets.tolist())) == 10
    curations = run_curations(plan, ChunkStore(None), Silence(), found)
    game = draw_game(plan)

    # picked where the target is in, left where it is not: measured, not taken for granted
    is_in = game.inclusion[:, targets]
    assert (curations.planted.observation.selection.mask() == is_in).mean() > least_right
    null_picks = curations.planted_null.observation.selection.mask()
    assert abs((null_picks == is_in).mean() - 0.5) < 0.1

    knowledge = replace(knowledge_of(plan), planted=found.planted)
    streams = Streams(3).for_shadows("test", range(64))

    def evidence(seen, coins):
        return Fingerprint().evidence(seen, coins, knowledge, streams=streams)

    shadows, null = curations.shadows.observation, curations.null.observation
    auc, error, _ = measured(evidence(shadows, game.inclusion)[:, targets], is_in)
    assert auc > max(least_auc, 0.5 + 3 * error)
    for seen, coins in ((null, game.inclusion), (shadows, game.permuted)):
        auc, error, p_value = measured(evidence(seen, coins)[:, targets], coins[:, targets])
        assert abs(auc - 0.5) < 4 * error
        assert p_value > 1e-3


def test_an_audit_reports_fingerprints():
    plan = pipeline(may_insert=10).plan()
    result = audit(plan)
    (there,) = (one for one in result.stages[2].attacks if one.attack == "fingerprint")
    assert there.metrics.auc.low > 0.5
    of_nobody = np.delete(result.evidence["fingerprint"], plant(plan).planted.target, axis=1)
    assert of_nobody.shape[1] == N - 10
    np.testing.assert_array_equal(of_nobody, 0)
    controls = [one for one in result.controls if one.attack == "fingerprint"]
    assert {one.control for one in controls} == {"random curation", "permuted inclusion"}
    assert all(one.passed for one in controls)
    assert result.report["design"]["planted"] == {"rows": 10, "targets": 10}


def test_every_planted_curation_equals_a_curation_of_its_own():
    """One shadow at a time on a pool that was grown by hand."""
    plan = pipeline("classifier", run=RunSettings(device="cpu", dtype="float64")).plan()
    found = plant(plan)
    n_planted = len(found.features)
    curations = run_curations(plan, ChunkStore(None), Silence(), found)
    pool, data = plan.data.pool, plan.data
    grown = replace(
        pool,
        ids=(*pool.ids, *(f"planted {i}" for i in range(n_planted))),
        features=np.concatenate([pool.features, found.features]),
        labels=np.concatenate([pool.labels, found.planted.labels]),
    )
    inclusion = paired_inclusion(32, N, Streams(3))
    real = curations.real.observation.scores[0]
    for s in (0, 17):
        streams = Streams(3).for_shadows("planted", [s])
        fitted = plan.scorer.fit(data.private, inclusion[[s]], grown, streams=streams)
        scores = fitted.score(grown.features)
        selection = plan.rule.select(scores, tie_order(grown.ids, 3))
        models = plan.downstream.fit(grown, selection, 2, streams=streams)
        seen = curations.planted.observation
        np.testing.assert_allclose(seen.scores[s], scores[0, M:], atol=1e-9)
        np.testing.assert_array_equal(seen.selection.mask()[s], selection.mask()[0, M:])
        wanted = models.predict_proba(found.features)[0]
        np.testing.assert_allclose(curations.shadows.observation.planted[s], wanted, atol=1e-5)
    null = curations.planted_null.observation.scores
    answers = curations.planted_null.observation.probabilities
    np.testing.assert_array_equal(curations.null.observation.planted, answers)
    assert np.isin(null, real).all()  # scores of pool rows, whoever is in
    assert len(np.unique(null)) > n_planted


def test_what_is_released_comes_from_the_clean_pool():
    clean = run_curations(pipeline(may_insert=0).plan(), ChunkStore(None), Silence())
    plan = pipeline().plan()
    found = run_curations(plan, ChunkStore(None), Silence(), plant(plan))
    for mine, theirs in (
        (clean.real, found.real),
        (clean.shadows, found.shadows),
        (clean.null, found.null),
    ):
        for name, array in mine.to_arrays().items():
            np.testing.assert_array_equal(array, theirs.to_arrays()[name])
    assert clean.planted is None
    assert clean.shadows.observation.planted is None


class TestPlanting:
    def test_it_draws_no_coin_of_the_game(self, monkeypatch):
        before = plant(pipeline(shadows=16).plan())
        monkeypatch.setattr(
            "curation_audit.auditing.chunks.paired_inclusion", lambda *_: pytest.fail("coins read")
        )
        again = plant(pipeline(shadows=64).plan())
        for name, array in before.to_arrays().items():
            np.testing.assert_array_equal(array, again.to_arrays()[name])

    @pytest.mark.parametrize("may_insert", [1, 7, N, N + 9])
    def test_no_more_rows_than_allowed_or_candidates(self, may_insert):
        found = plant(pipeline(may_insert=may_insert).plan())
        assert len(found.features) == min(may_insert, N)
        assert len(np.unique(found.planted.target)) == min(may_insert, N)
        assert found.features.dtype == np.float32
        assert np.isfinite(found.features).all()

    def test_queries_count_as_well(self):
        threat = Threat(may_insert=10, queries=4)
        assert len(plant(pipeline(threat=threat).plan()).features) == 4

    @pytest.mark.parametrize("scorer", ["nearest", "mean", "classifier"])
    def test_planted_rows_are_no_longer_than_pool_rows(self, scorer):
        plan = pipeline(scorer).plan()
        lengths = np.linalg.norm(plan.data.pool.features, axis=1)
        planted = np.linalg.norm(plant(plan).features, axis=1)
        assert planted.max() <= np.quantile(lengths, 0.95) * (1 + 1e-5)

    def test_rows_of_a_linear_scorer_stand_at_the_threshold(self):
        plan = pipeline("classifier").plan()
        found = plant(plan)
        coins = np.random.default_rng(1).random((64, N)) < 0.5
        seen = rehearse(plan, coins, found.features)
        spread = (seen.scores - seen.thresholds[:, None]).std(axis=0)
        assert np.median(np.abs(seen.margin) / spread) < 0.5
        # the first draft misses it: planted rows are negatives of the classifier
        assert (seen.scores > seen.thresholds[:, None]).mean() == pytest.approx(0.5, abs=0.1)

    def test_a_unit_of_several_rows_has_one_target(self):
        plan = pipeline(unit=np.repeat(np.arange(N // 2), 2), may_insert=5).plan()
        found = plant(plan)
        assert found.planted.target.max() < N // 2
        assert audit(plan).evidence["fingerprint"].shape == (32, N // 2)

    def test_only_candidates_at_stake_are_aimed_at(self):
        attack = AttackSettings(shadows=16, methods=METHODS, targets=6)
        plan = pipeline(attack=attack).plan()
        assert (plan.data.private.unit == ALWAYS_IN).sum() == N - 6
        assert sorted(plant(plan).planted.target.tolist()) == list(range(6))
        assert planting_warnings(plan) == []

    def test_ids_of_planted_rows_are_new(self):
        ids = {"public": [f"planted {i}" for i in range(M)]}
        plan = pipeline(ids=ids).plan()
        grown = with_planted(plan, plant(plan)).data.pool
        assert len(set(grown.ids)) == M + N

    def test_a_rule_that_picks_nothing_does_not_break_it(self):
        found = plant(pipeline("mean", select=Threshold(minimum=2.0)).plan())
        assert np.isfinite(found.features).all()

    def test_arrays_there_and_back(self):
        found = plant(pipeline(may_insert=3).plan())
        again = type(found).from_arrays(found.to_arrays())
        np.testing.assert_array_equal(again.features, found.features)
        np.testing.assert_array_equal(again.planted.target, found.planted.target)


class Blunt:
    """A scorer that keeps its embedding to itself."""

    name, family, adjacency = "blunt", "other", ()

    def describe(self):
        return {}


GAPS = {
    "no model": ({"train": None}, "the pipeline trains no model"),
    "model unseen": (
        {"threat": Threat(may_insert=5, observes=("scores", "selection"))},
        "the adversary does not see the model",
    ),
    "pool": (
        {"threat": Threat(may_insert=5, knows=("algorithm", "candidates"))},
        "the adversary does not know: pool",
    ),
    "embedding": (
        {"threat": Threat(may_insert=5, embedding="surrogate")},
        "the adversary does not know the scorer's embedding",
    ),
    "scorer": ({"scorer": "blunt"}, "the scorer does not say how its embedding becomes a row"),
    "queries": (
        {"threat": Threat(may_insert=5, queries=0)},
        "threat.may_insert or threat.queries allows too few rows",
    ),
}


@pytest.mark.parametrize("gap", GAPS.values(), ids=GAPS)
def test_why_no_row_is_planted_is_told(gap):
    settings, reason = gap
    methods = {stage: names for stage, names in METHODS.items() if stage != "model"}
    blunt = settings.get("scorer") == "blunt"
    plan = pipeline(methods=methods, **({} if blunt else settings)).plan()
    plan = replace(plan, scorer=Blunt()) if blunt else plan
    assert planting_gap(plan).startswith(reason)
    (warning,) = planting_warnings(plan)
    assert "no row is planted" in warning
    assert reason in warning
    assert chunks.plant_once(plan, ChunkStore(None)) is None
    if not blunt:
        assert "insertions" not in knowledge_of(plan).granted


def test_without_insertions_nothing_is_said_and_nothing_is_planted():
    result = audit(pipeline(may_insert=0))
    (there,) = (one for one in result.stages[2].attacks if one.attack == "fingerprint")
    assert (there.status, there.reason) == ("not applicable", "needs insertions")
    assert result.report["design"]["planted"] is None
    assert not any("planted" in warning for warning in result.report["warnings"])


def test_an_audit_that_does_not_ask_for_fingerprints_plants_nothing():
    plan = pipeline(methods={**METHODS, "model": ("lira",)}).plan()
    assert chunks.plant_once(plan, ChunkStore(None)) is None
    assert forecast(plan).n_planted == 0


def test_the_reader_is_told_for_whom_rows_are_planted():
    plan = pipeline(may_insert=10).plan()
    (warning,) = planting_warnings(plan)
    assert warning.startswith("Rows are planted for 10 of 24 candidates")
    told = forecast(plan)
    assert (told.n_planted, told.n_curations, told.n_chunks) == (10, 4 * 32 + 1, 1 + 4 * 2)
    assert ("planted", "10 public rows") in tuple(told.lines())
    assert warning in told.warnings


def test_an_adversary_who_sees_labels_sees_labels_at_planted_rows():
    plan = pipeline(threat=Threat(may_insert=4, model_as="labels")).plan()
    curations = run_curations(plan, ChunkStore(None), Silence(), plant(plan))
    seen = seen_by(plan, curations.shadows).planted
    assert set(np.unique(seen).tolist()) == {0, 1}
    np.testing.assert_array_equal(seen.sum(axis=2), 1)


def test_planted_shadows_need_planted_rows():
    with pytest.raises(ValueError, match="need planted rows"):
        run_task(pipeline().plan(), Task("planted", 0, 2), None)


class TestResume:
    def counts(self, result):
        last = result.run["history"][-1]
        return last["n_reused"], last["n_chunks"]

    def run(self, out, may_insert=5, workers=1, shadows=8, **settings):
        run = RunSettings(out=out, device="cpu", workers=workers)
        plan = pipeline(may_insert=may_insert, shadows=shadows, run=run, **settings).plan()
        return audit(replace(plan, formats=("json",)))

    def test_planted_chunks_are_found_again(self, tmp_path, monkeypatch):
        first = self.run(tmp_path / "run")
        assert self.counts(first) == (0, 5)
        released = (tmp_path / "run" / "release" / "report.json").read_bytes()
        monkeypatch.setattr(chunks, "run_task", lambda *_: pytest.fail("computed again"))
        monkeypatch.setattr(chunks, "plant", lambda *_: pytest.fail("planted again"))
        again = self.run(tmp_path / "run")
        assert self.counts(again) == (5, 5)
        assert (tmp_path / "run" / "release" / "report.json").read_bytes() == released

    def test_other_planted_rows_get_chunks_of_their_own(self, tmp_path):
        self.run(tmp_path / "run", may_insert=0)
        assert self.counts(self.run(tmp_path / "run")) == (3, 5)  # the clean ones
        other = self.run(tmp_path / "run", may_insert=6)
        assert self.counts(other) == (3, 5)
        fresh = self.run(tmp_path / "fresh", may_insert=6)
        np.testing.assert_array_equal(other.evidence["fingerprint"], fresh.evidence["fingerprint"])

    def test_a_killed_run_continues_in_the_planted_chunks(self, tmp_path, monkeypatch):
        whole = self.run(tmp_path / "whole", shadows=32)
        real, calls = chunks.run_task, []

        def dies(plan, task, *rest):
            calls.append(task)
            if task == Task("planted", 16, 32):
                raise KeyboardInterrupt
            return real(plan, task, *rest)

        monkeypatch.setattr(chunks, "run_task", dies)
        with pytest.raises(KeyboardInterrupt):
            self.run(tmp_path / "killed", shadows=32)
        monkeypatch.setattr(chunks, "run_task", real)
        resumed = self.run(tmp_path / "killed", shadows=32)
        assert self.counts(resumed) == (6, 9)
        for name in whole.evidence:
            np.testing.assert_array_equal(resumed.evidence[name], whole.evidence[name])

    @pytest.mark.slow
    def test_workers_change_nothing(self, tmp_path):
        one, two = self.run(tmp_path / "one"), self.run(tmp_path / "two", workers=2)
        np.testing.assert_array_equal(one.evidence["fingerprint"], two.evidence["fingerprint"])


def test_planted_rows_are_plain_values():
    planted = Planted(np.arange(2), np.zeros(2, dtype=np.int64))
    with pytest.raises(AttributeError):
        planted.target = None


def test_planted_rows_have_group_and_size_of_the_nearest_pool_row():
    plan = pipeline("mean").plan()
    m = len(plan.data.pool)
    groups = {"site": tuple(f"s{i}" for i in range(m))}
    pool = replace(plan.data.pool, groups=groups, sizes=np.arange(m))
    plan = replace(plan, data=replace(plan.data, pool=pool))
    rows = pool.features[[4, 9]] + 1e-3
    grown = with_planted(plan, Planting(rows, Planted(np.arange(2), np.arange(2)))).data.pool
    assert grown.groups["site"][m:] == ("s4", "s9")
    assert grown.sizes[m:].tolist() == [4, 9]
    assert len(grown.groups["site"]) == len(grown.sizes) == m + 2
