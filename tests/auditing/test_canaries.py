"""Canaries: what they are made of, that they alone are at stake, and that they leak the most."""

import json
from dataclasses import replace

import numpy as np
import pytest

import curation_audit
from curation_audit.api import Pipeline, audit
from curation_audit.auditing.forecast import forecast
from curation_audit.auditing.plan import AttackSettings, RunSettings
from curation_audit.checks import InputError, SettingError
from curation_audit.config import load_plan
from curation_audit.pipelines.base import ALWAYS_IN
from curation_audit.pipelines.canaries import CanarySettings, canary_features
from curation_audit.pipelines.examples import med
from curation_audit.pipelines.rules.top import TopK
from curation_audit.releases.public_maps import unit_rows

KINDS = ("isolated", "rare_feature", "large_gradient")


@pytest.fixture
def pool(rng) -> np.ndarray:
    return (rng.standard_normal((300, 12)) * np.linspace(0.5, 2, 12)).astype(np.float32)


class TestFeatures:
    @pytest.mark.parametrize("kind", KINDS)
    def test_the_seed_and_the_pool_make_them(self, pool, kind):
        found = canary_features(pool, kind=kind, count=10, seed=4)
        assert (found.shape, found.dtype) == ((10, 12), np.float32)
        np.testing.assert_array_equal(found, canary_features(pool, kind=kind, count=10, seed=4))
        if kind != "isolated":  # of continuous columns all are used alike, so they are drawn
            assert (found != canary_features(pool, kind=kind, count=10, seed=5)).any()

    def test_isolated_rows_are_each_the_farthest_from_those_before(self, pool):
        found = canary_features(pool, kind="isolated", count=12, embed=unit_rows)
        units, chosen = unit_rows(pool), unit_rows(found)
        for i in range(1, 12):
            nearest = np.linalg.norm(units[:, None] - chosen[:i], axis=2).min(axis=1)
            own = np.linalg.norm(chosen[i] - chosen[:i], axis=1).min()
            assert own == pytest.approx(nearest.max(), rel=1e-5)
        assert all((row == pool).all(axis=1).any() for row in found)
        middle = units.mean(axis=0)
        assert np.linalg.norm(chosen[0] - middle) == pytest.approx(
            np.linalg.norm(units - middle, axis=1).max(), rel=1e-5
        )

    def test_isolated_rows_are_all_different(self, rng):
        few = np.repeat(rng.standard_normal((5, 3)), 20, axis=0)
        found = canary_features(few, kind="isolated", count=5)
        assert len(np.unique(found, axis=0)) == 5
        with pytest.raises(SettingError, match="found 6, but the pool has 5 different rows"):
            canary_features(few, kind="isolated", count=6)

    def test_large_gradients_are_as_long_as_the_longest_row_and_orthogonal(self, pool):
        found = canary_features(pool, kind="large_gradient", count=30).astype(np.float64)
        longest = np.linalg.norm(pool, axis=1).max()
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), longest, rtol=1e-5)
        for basis in (found[:12], found[12:24], found[24:]):
            gram = basis @ basis.T / longest**2
            np.testing.assert_allclose(gram, np.eye(len(basis)), atol=1e-5)

    def test_rare_features_light_up_the_least_used_columns(self, rng):
        counts = rng.poisson(np.array([3.0, 0.01, 0.3, 0.02, 0.05]), (2000, 5)).astype(float)
        found = canary_features(counts, kind="rare_feature", count=4)
        median, largest = np.median(counts, axis=0), counts.max(axis=0)
        columns = [int(np.flatnonzero(row != median).item()) for row in found]
        assert columns == [1, 3, 4, 2]
        np.testing.assert_array_equal(found[range(4), columns], largest[columns])
        counts[:, 2] = 7.0  # used by every row alike: nothing to light up
        with pytest.raises(SettingError, match="found 5, but the pool has 4 columns that some row"):
            canary_features(counts, kind="rare_feature", count=5)

    def test_it_is_one_of_the_public_names(self):
        assert curation_audit.canary_features is canary_features
        assert curation_audit.CanarySettings is CanarySettings


@pytest.fixture(scope="module")
def sets():
    """The patients and the registry of ``med``, their labels and ids."""
    tables = {part: med.table(part) for part in ("private", "public")}
    drop = ("patient_id", "record_id", "site", "diagnosis")
    features = {
        part: np.stack([v for k, v in table.items() if k not in drop], axis=1)
        for part, table in tables.items()
    }
    labels = {part: table["diagnosis"] for part, table in tables.items()}
    return features, labels


def pipeline(sets, scorer="mean", canaries=None, targets="all", shadows=16, **settings):
    features, labels = sets
    methods = {
        "scores": ("lira_best_row",),
        "selection": ("mask_trace",) if scorer == "mean" else ("binary_lira",),
        "model": ("lira",),
    }
    attack = AttackSettings(shadows=shadows, methods=methods, targets=targets, canaries=canaries)
    basic = {
        **features,
        "labels": labels,
        "scorer": scorer,
        "select": TopK(k=150),
        "attack": attack,
        "run": RunSettings(device="cpu"),
    }
    return Pipeline(**basic | settings)


@pytest.mark.parametrize(("scorer", "kind"), [("nearest", "isolated"), ("mean", "large_gradient")])
def test_canaries_leak_more_than_real_records(sets, scorer, kind):
    """As many at stake, as many shadows, the same attack on the picks; measured .69 and .997,
    .57 and .65 at 32 shadows."""
    real = audit(pipeline(sets, scorer, targets=30, shadows=64))
    made_up = audit(pipeline(sets, scorer, CanarySettings(count=30), shadows=64))
    assert made_up.report["design"]["canaries"] == {"kind": kind, "count": 30}

    def auc(result):
        (attack,) = result.stages[1].attacks
        return attack.metrics.auc

    assert auc(made_up).low > auc(real).value


class TestAtStake:
    @pytest.mark.parametrize("scorer", ["nearest", "classifier"])
    def test_real_rows_are_in_every_shadow(self, sets, scorer):
        plan = pipeline(sets, scorer, CanarySettings(count=20)).plan()
        clean = pipeline(sets, scorer).plan()
        private, real = plan.data.private, clean.data.private
        assert (plan.unit, plan.data.n_canaries, plan.data.n_real_rows) == ("canary", 20, len(real))
        np.testing.assert_array_equal(private.unit[: len(real)], ALWAYS_IN)
        np.testing.assert_array_equal(private.unit[len(real) :], np.arange(20))
        np.testing.assert_array_equal(private.features[: len(real)], real.features)
        np.testing.assert_array_equal(private.labels[: len(real)], real.labels)
        assert (
            private.unit_ids == private.ids[len(real) :] == tuple(f"canary {i}" for i in range(20))
        )
        held = private.row_inclusion(np.zeros((1, 20), dtype=bool))
        assert held.sum() == len(real)

    def test_the_private_set_has_no_part_in_them(self, sets, rng):
        features, labels = sets
        settings = CanarySettings(count=20)
        here = pipeline(sets, "nearest", settings).plan().data.private
        others = rng.standard_normal((50, 30)) * 9
        elsewhere = pipeline(
            ({**features, "private": others}, {**labels, "private": labels["private"][:50]}),
            "nearest",
            settings,
        )
        there = elsewhere.plan().data.private
        np.testing.assert_array_equal(here.features[-20:], there.features[-20:])
        np.testing.assert_array_equal(here.labels[-20:], there.labels[-20:])

    def test_ids_of_canaries_are_new(self, sets):
        ids = {"private": [f"canary {i}" for i in range(200)]}
        private = pipeline(sets, canaries=CanarySettings(count=5), ids=ids).plan().data.private
        assert private.unit_ids == tuple(f"canary- {i}" for i in range(5))
        assert len(set(private.ids)) == 205

    def test_without_labels_of_the_private_rows_there_are_none(self, sets):
        features, labels = sets
        public = {"public": labels["public"]}
        plan = pipeline((features, public), canaries=CanarySettings(count=5)).plan()
        assert plan.data.private.labels is None

    def test_the_report_says_so(self, sets, tmp_path):
        run = RunSettings(out=tmp_path / "run", device="cpu")
        plan = pipeline(sets, canaries=CanarySettings(count=40), run=run).plan()
        audit(replace(plan, formats=("json",)))
        report = json.loads((tmp_path / "run" / "release" / "report.json").read_text())
        design = report["design"]
        assert design["canaries"] == {"kind": "large_gradient", "count": 40}
        assert (design["n_candidates"], design["unit"]) == (40, "canary")
        assert design["n_private_rows"] == design["n_always_in_rows"] == 200
        assert (design["mean_rows_per_shadow"], design["production_rows"]) == (220, 200)
        assert report["data"]["private"]["n_rows"] == 200
        assert report["warnings"][0].startswith("The candidates are 40 canaries")
        assert "all 200 private rows and half of the 40 canaries" in report["limitations"][0]
        told = forecast(plan)
        line = "40 of kind large_gradient; all private rows are in every shadow"
        assert ("canaries", line) in tuple(told.lines())
        assert report["warnings"][0] in told.warnings

    def test_without_canaries_the_report_says_nothing_of_them(self, sets):
        result = audit(pipeline(sets, targets=10))
        assert result.report["design"]["canaries"] is None
        assert not any("canar" in one for one in result.report["warnings"])

    def test_a_plan_without_the_rows_is_refused(self, sets):
        plan = pipeline(sets).plan()
        with pytest.raises(ValueError, match="asked for and not there"):
            replace(plan, attack=AttackSettings(canaries=CanarySettings()))


BAD = {
    "{kind: isolated, cuont: 9}": r"attack\.canaries\.cuont: .*did you mean 'count'",
    "{kind: lonely}": r"canaries.*'lonely'",
    "{count: 3}": r"canaries\.count: found 3; expected at least 4",
    "{kind: rare_feature, count: 99}": r"found 99, but the pool has 3 columns",
    "seven": r"attack\.canaries",
}


class TestSettings:
    @pytest.mark.parametrize(
        ("kind", "scorer", "expected"),
        [
            ("auto", "nearest", "isolated"),
            ("auto", "mean", "large_gradient"),
            ("auto", "classifier", "large_gradient"),
            ("rare_feature", "mean", "rare_feature"),
        ],
    )
    def test_auto_goes_by_the_scorer(self, sets, kind, scorer, expected):
        settings = CanarySettings(kind=kind, count=10)
        assert settings.kind_for(pipeline(sets, scorer).plan().scorer) == expected

    def test_targets_beside_canaries_are_refused(self):
        with pytest.raises(
            SettingError, match=r"^attack\.targets: found 9 beside attack\.canaries"
        ):
            AttackSettings(targets=9, canaries=CanarySettings())

    @pytest.mark.parametrize("text", BAD)
    def test_mistakes_are_told_with_their_place(self, small, text):
        with pytest.raises(InputError, match=BAD[text]):
            load_plan(small(), [f"attack.canaries={text}"])

    def test_the_pipeline_file_gives_what_python_gives(self, small):
        plan = load_plan(small(), ["attack.canaries={count: 8}"])
        assert plan.attack.canaries == CanarySettings(count=8)
        expected = canary_features(plan.data.pool.features, kind="large_gradient", count=8, seed=5)
        np.testing.assert_array_equal(plan.data.private.features[-8:], expected)
        assert plan.configuration["attack"]["canaries"] == {"kind": "auto", "count": 8}
        assert plan.unit == "canary"
