"""What a sweep lays out, what it leaves out and why, and what it refuses before anything runs."""

import functools
import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from curation_audit.attacks import ATTACKS
from curation_audit.auditing.bounding import judge_claim
from curation_audit.auditing.plan import AttackSettings, PolicyRule, Threat
from curation_audit.checks import InputError, SettingError
from curation_audit.config import Asked, load_plan, load_sweep
from curation_audit.dp.calibration import noise_multiplier_for
from curation_audit.dp.claims import EpsilonDeltaClaim, GaussianClaim
from curation_audit.dp.ledger import Ledger
from curation_audit.pipelines.protection import MECHANISMS, SELECTION, dp_sgd
from curation_audit.pipelines.protection.centroid_votes import CentroidVotes
from curation_audit.pipelines.protection.gaussian_mean import GaussianMean
from curation_audit.pipelines.protection.noisy_top_k import NoisySelection
from curation_audit.pipelines.protection.protect import NATURAL
from curation_audit.pipelines.rules.threshold import Threshold
from curation_audit.pipelines.scorers.noisy_sum import NoisySum
from curation_audit.results import to_plain
from curation_audit.statistics.gdp import mu_of_epsilon
from curation_audit.sweeping.plan import EPSILONS, PAIR, Point, plan_sweep
from tests.config.test_bad_input import assert_one_line, setting
from tests.sweeping.world import DELTA, INF, N, base, planned, settings

PLUGINS = {"module_sgd", "dsir_histogram"}  # need a module of the user, or texts


@pytest.fixture(autouse=True)
def _calibrated_once(monkeypatch):
    """Accounting takes seconds where units are sampled."""
    monkeypatch.setattr(dp_sgd, "noise_multiplier_for", CALIBRATED)
    monkeypatch.setattr(Ledger, "lines", lambda *_: ("spent",))


CALIBRATED = functools.cache(noise_multiplier_for)


def names(plan) -> list[str]:
    return list(dict.fromkeys(point.mechanism for point in plan.points))


@pytest.mark.parametrize("scorer", [name for name in NATURAL if name != "dsir"])  # no texts here
def test_by_default_the_scorer_is_swept_in_its_private_form(scorer):
    plan = planned(of={"scorer": scorer}, scorers={"centroid_votes": CentroidVotes(clusters=4)})
    assert names(plan) == [NATURAL[scorer]]
    assert [point.epsilon for point in plan.points] == [1.0, 8.0, INF]
    assert settings(epsilons=EPSILONS).epsilons == (0.5, 1, 2, 4, 8, 16, INF)


def test_mechanisms_can_be_named_and_slugs_name_folders():
    wanted = ("centroid_votes", f"gaussian_mean + {SELECTION}", SELECTION)
    plan = planned(mechanisms=wanted, epsilons=(0.5, 16, INF))
    assert names(plan) == list(wanted)
    slugs = [point.slug for point in plan.points]
    assert len(set(slugs)) == len(slugs) == 9
    assert slugs[3:6] == [f"gaussian_mean+noisy_top_k-{e}" for e in ("0.5", "16", "inf")]
    assert all("/" not in slug and " " not in slug for slug in slugs)


def test_all_are_all_mechanisms_the_pipelines_own_first():
    plan = planned(every=True, of={"scorer": "classifier"}, epsilons=(4.0,))
    assert names(plan)[0] == "dp_gd"
    assert {*names(plan)} - PLUGINS == {*MECHANISMS, PAIR, SELECTION} - PLUGINS
    assert {*plan.left_out} <= PLUGINS


LEFT_OUT: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, str]]] = {
    "a rule without a fixed number of picks": (
        {"select": Threshold(minimum=0.0)},
        {},
        {SELECTION: "takes the best k of the whole pool", PAIR: "needs top_k"},
    ),
    "the nearest record": ({"scorer": "nearest"}, {}, {SELECTION: "cannot protect nearest"}),
    "a secret number of units": (
        {},
        {"adjacency": "add_remove"},
        {"dp_gd": "units is secret", "dp_sgd": "units is secret", PAIR: "units is secret"},
    ),
    "more clusters than rows": (
        {},
        {"scorers": {"centroid_votes": CentroidVotes(clusters=81)}},
        {"centroid_votes": "the pool has 80 rows; ask for fewer clusters"},
    ),
    "an adversary who sees scores only": (
        {"threat": Threat(observes=("scores",))},
        {},
        {SELECTION: "found nothing"},
    ),
}


@pytest.mark.parametrize("case", LEFT_OUT)
def test_what_a_pipeline_does_not_allow_is_left_out_with_the_reason(case):
    of, changes, expected = LEFT_OUT[case]
    plan = planned(every=True, of=of, **({"epsilons": (4.0,)} | changes))
    assert {*plan.left_out} - PLUGINS == {*expected}
    for mechanism, reason in expected.items():
        assert reason in plan.left_out[mechanism]
        assert not plan.left_out[mechanism].endswith(("; ", ";"))
        assert mechanism not in names(plan)
    assert {*names(plan), *plan.left_out} == {*MECHANISMS, PAIR, SELECTION}
    assert not {*names(plan)} & {*plan.left_out}
    for mechanism in expected:  # and by its name it is refused
        with pytest.raises(SettingError):
            planned(of=of, **(changes | {"mechanisms": (mechanism,)}))


def test_where_nothing_is_possible_the_sweep_is_refused():
    """Shadows put units in or leave them out: that says nothing of replaced ones."""
    for changes in ({"every": True}, {}, {"mechanisms": ("centroid_votes",)}):
        with pytest.raises(SettingError, match="found replace_one, but the shadows of this"):
            planned(adjacency="replace_one", **changes)


@pytest.mark.parametrize("epsilons", [(8.0, 1.0), (1.0, 8.0, INF)])
def test_an_epsilon_that_cannot_be_met_is_found_before_anything_runs(epsilons, monkeypatch):
    """At 8 it can be met, at 1 not: all points are tried, not only one."""

    def hard(target, *_):
        if target.epsilon < 2:
            raise ValueError("no noise meets the target.")
        return 1.0

    monkeypatch.setattr(dp_sgd, "noise_multiplier_for", hard)
    with pytest.raises(SettingError, match="no noise meets the target"):
        planned(mechanisms=("dp_sgd",), epsilons=epsilons)
    assert planned(mechanisms=("dp_sgd",), epsilons=(8.0, INF)).points


def test_by_force_the_noise_on_nearest_runs_as_an_ablation():
    changes = {"of": {"scorer": "nearest"}, "mechanisms": (SELECTION,)}
    with pytest.raises(SettingError, match="force: true"):
        planned(**changes)
    plan = planned(**changes, selection=NoisySelection(force=True))
    audit = plan.audit(plan.points[0])
    assert audit.protection.ablation
    assert not planned().audit(Point("gaussian_mean", 1.0)).protection.ablation


def test_claims_are_counted_where_epsilon_is_finite():
    assert planned().n_claims == 2
    assert planned(mechanisms=("gaussian_mean", "centroid_votes")).n_claims == 4
    assert planned(epsilons=(INF,)).n_claims == 1
    plan = planned()
    assert {plan.audit(point).n_claims for point in (None, *plan.points)} == {2}


def test_claims_share_the_error(monkeypatch):
    """Two limits at each of three stages for each of two claims: twelve tests within .05."""
    from curation_audit.auditing import bounding

    asked: list[tuple[float, int]] = []

    def noted(confidence, n_tests):
        asked.append((confidence, n_tests))
        return 1 - (1 - confidence) / n_tests

    monkeypatch.setattr(bounding, "bonferroni_confidence", noted)
    plan = planned()
    judge_claim(plan.audit(plan.points[0]), (), None)
    assert asked == [(0.95, 12)]


def test_what_stays_unprotected_is_not_observed():
    plan = planned(mechanisms=("gaussian_mean", SELECTION))
    by_name = {point.mechanism: plan.audit(point) for point in plan.points}
    assert by_name[SELECTION].observed == ("selection", "model")
    assert by_name["gaussian_mean"].observed == ("scores", "selection", "model")
    assert plan.audit(None).observed == ("scores", "selection", "model")
    narrow = planned(mechanisms=(SELECTION,), of={"threat": Threat(observes=("model", "scores"))})
    assert narrow.audit(narrow.points[0]).observed == ("model",)


def test_a_point_is_the_audit_of_the_mechanism():
    plan = planned()
    audit = plan.audit(Point("gaussian_mean", 8.0))
    assert isinstance(audit.scorer, NoisySum)
    assert isinstance(audit.claim, GaussianClaim)
    assert audit.claim.mu == pytest.approx(mu_of_epsilon(8, DELTA), rel=1e-9)
    assert audit.claim.adjacency == "zero_out"
    assert audit.protection.epsilon == pytest.approx(8)
    without_noise = plan.audit(Point("gaussian_mean", INF))
    assert without_noise.claim is None
    assert without_noise.scorer.mechanism.sigma == 0
    bare = plan.audit(None)
    assert bare.scorer == plan.base.scorer
    assert bare.protection is bare.claim is None


def test_claims_and_gates_of_the_pipeline_itself_are_not_the_sweeps():
    """They would end the sweep in exit 1, or name an epsilon that no delta of the sweep has."""
    claim = EpsilonDeltaClaim(epsilon=1.0, delta=1e-2, adjacency="add_remove")
    policy = (PolicyRule(stage="scores", metric="auc", above=0.5),)
    plan = planned(of={"claim": claim, "policy": policy})
    for point in (None, *plan.points):
        assert plan.audit(point).policy == ()
        assert plan.audit(point).claim is not claim


def test_bounds_are_stated_at_the_delta_of_the_claims():
    attack = AttackSettings(shadows=8, delta=1e-3)
    plan = planned(of={"attack": attack}, delta=1e-6)
    assert {plan.audit(point).attack.delta for point in (None, *plan.points)} == {1e-6}


def test_each_point_has_a_folder_of_its_own(tmp_path):
    plan = planned(tmp_path)
    folders = [plan.audit(point).run.out for point in (None, *plan.points)]
    assert len({*folders}) == 4
    assert {folder.parent for folder in folders} == {tmp_path / "points"}
    assert planned().audit(None).run.out is None


REFUSED = {
    "no epsilon": ({"epsilons": ()}, "sweep.epsilon: found none"),
    "epsilon of 0": ({"epsilons": (1.0, 0.0)}, "sweep.epsilon: found 0; expected more than 0"),
    "negative epsilon": ({"epsilons": (-2.0,)}, "sweep.epsilon: found -2"),
    "epsilon that is no number": ({"epsilons": (math.nan,)}, "sweep.epsilon: found nan"),
    "an epsilon twice": ({"epsilons": (1.0, 2.0, 1.0)}, "sweep.epsilon: found 1 twice"),
    "epsilons of one folder": ({"epsilons": (1.0, 1.0000001)}, "sweep.epsilon: found 1 twice"),
    "one repeat": ({"repeats": 1}, "sweep.repeats: found 1; expected 2 or more"),
    "delta of 0": ({"delta": 0.0}, "sweep.delta: found 0.0; expected a number in (0, 1)"),
    "delta of 1 / N": ({"delta": 1 / N}, "sweep.delta: found 0.05, at which a unit could be"),
    "misspelt adjacency": ({"adjacency": "zero-out"}, "sweep.adjacency: found 'zero-out'"),
    "misspelt mechanism": (
        {"mechanisms": ("gausian_mean",)},
        "sweep.mechanisms: found 'gausian_mean'; did you mean 'gaussian_mean'?",
    ),
    "a mechanism twice": (
        {"mechanisms": ("dp_gd + noisy_top_k", "dp_gd+noisy_top_k")},
        "sweep.mechanisms: found dp_gd+noisy_top_k twice",
    ),
    "two scorers": ({"mechanisms": ("dp_gd + dp_sgd",)}, "expected NAME or NAME + noisy_top_k"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_settings_are_refused(case):
    changes, expected = REFUSED[case]
    with pytest.raises(SettingError) as found:
        planned(**changes)
    assert expected in str(found.value)


def test_no_message_tells_a_secret_number_of_units():
    of = {"private": np.ones((137, 4)), "labels": None, "test": None, "train": None}
    with pytest.raises(SettingError) as found:
        planned(of=of, delta=0.5, adjacency="add_remove")
    assert "137" not in str(found.value)
    assert "0.0073" not in str(found.value)


def test_a_scorer_without_a_private_form_needs_a_name():
    of = {"scorer": lambda private, pool: pool[:, 0]}
    with pytest.raises(SettingError, match=r"^sweep\.mechanisms: is missing, and callable has no"):
        planned(of=of)
    assert names(planned(of=of, mechanisms=("gaussian_mean",))) == ["gaussian_mean"]


def test_a_sweep_starts_without_protection():
    plan = planned()
    with pytest.raises(ValueError, match="without protection"):
        plan_sweep(plan.audit(plan.points[0]), settings())


# pipeline files


def swept(path, asked: Asked | None = None, *assignments: str):
    return load_sweep(path, assignments, asked)


def with_sweep(protect: dict[str, Any] | None = None, **section: Any):
    def edit(tree: dict[str, Any]) -> None:
        tree["sweep"] = section
        if protect is not None:
            tree["curate"]["protect"] = protect

    return edit


GOOD = {"adjacency": "zero_out", "delta": 1e-5}


def test_the_section_is_read(small, tmp_path):
    path = small(
        with_sweep(
            **GOOD,
            epsilon=[2, "inf"],
            mechanisms=["centroid_votes", SELECTION],
            repeats=5,
            settings={"centroid_votes": {"clusters": 7}, SELECTION: {"noise": "gaussian"}},
        )
    )
    plan = swept(path)
    assert plan.settings.epsilons == (2.0, INF)
    assert plan.settings.repeats == 5
    assert plan.settings.scorers == {"centroid_votes": CentroidVotes(clusters=7)}
    assert plan.settings.selection == NoisySelection(noise="gaussian")
    assert plan.base.unit == "Pat.Nr"
    assert plan.base.run.out == tmp_path / "run-sweep"  # beside the audit's folder
    assert names(plan) == ["centroid_votes", SELECTION]
    every = swept(small(with_sweep(**GOOD, mechanisms="all", epsilon=[4])))
    assert {*every.left_out} <= PLUGINS


def test_the_command_line_overrides_the_section(small, tmp_path):
    path = small(with_sweep(**GOOD, epsilon=[2], mechanisms=["centroid_votes"]))
    asked = Asked(
        epsilons=(3.0, INF),
        mechanisms=("gaussian_mean",),
        adjacency="add_remove",
        delta=1e-6,
        out=str(tmp_path / "there"),
    )
    plan = swept(path, asked)
    assert plan.settings.epsilons == (3.0, INF)
    assert names(plan) == ["gaussian_mean"]
    assert (plan.settings.adjacency, plan.settings.delta) == ("add_remove", 1e-6)
    assert plan.base.run.out == tmp_path / "there"
    with pytest.raises(InputError, match=r"found 0.0; expected a number in"):
        swept(path, Asked(delta=0.0))  # not taken for "none given"


def test_a_protection_in_the_file_gives_defaults(small):
    protect = {
        "mechanism": "gaussian_mean",
        "epsilon": 1,
        "clip": 0.5,
        "fitted_on": {"k": "public"},
    }
    path = small(with_sweep(protect | GOOD))
    plan = swept(path)
    assert names(plan) == ["gaussian_mean"]
    assert (plan.settings.adjacency, plan.settings.delta) == ("zero_out", 1e-5)
    assert plan.settings.scorers == {"gaussian_mean": GaussianMean(clip=0.5)}
    assert plan.base.protection is None
    audit = plan.audit(Point("gaussian_mean", 1.0))
    assert audit.scorer.mechanism.clip == 0.5
    # the same claim, words and assumptions as an audit of the file
    same = load_plan(path)
    assert audit.claim == same.claim
    assert audit.protection == same.protection
    other = swept(small(with_sweep(protect | GOOD, delta=1e-7, mechanisms=["centroid_votes"])))
    assert (other.settings.delta, names(other)) == (1e-7, ["centroid_votes"])


def test_a_unit_that_rows_are_not_grouped_by_is_refused(small):
    path = small(with_sweep(GOOD | {"epsilon": 1, "unit": "ward"}))
    with pytest.raises(InputError, match=r"curate\.protect\.unit: found 'ward'"):
        swept(path)


def test_the_configuration_holds_the_protection_and_is_a_pipeline_again(small):
    path = small(with_sweep(GOOD | {"epsilon": 1, "clip": 0.5}))
    plan = swept(path)
    found = to_plain(plan.audit(Point("gaussian_mean", 8.0)).configuration)
    told = found["curate"]["protect"]
    assert {key: told[key] for key in ("mechanism", "epsilon", "delta", "adjacency", "clip")} == {
        "mechanism": "gaussian_mean",
        "epsilon": 8.0,
        "delta": 1e-5,
        "adjacency": "zero_out",
        "clip": 0.5,
    }
    assert "protect" not in plan.audit(None).configuration["curate"]
    unlimited = plan.audit(Point("gaussian_mean", INF)).configuration
    assert json.loads(json.dumps(to_plain(unlimited)))["curate"]["protect"]["epsilon"] == "inf"
    pair = swept(path, Asked(mechanisms=(f"gaussian_mean + {SELECTION}",)))
    for one in (plan.audit(Point("gaussian_mean", 8.0)), pair.audit(pair.points[0])):
        tree = to_plain(one.configuration)
        again = load_plan(small(lambda t, tree=tree: (t.clear(), t.update(tree))))
        assert again.claim == one.claim
        assert again.protection == one.protection
        assert again.attack == replace(one.attack, methods={})


BAD_FILES = {
    "no adjacency": (with_sweep(delta=1e-5), ["small.yaml", "'adjacency' is missing", "zero_out"]),
    "no delta": (with_sweep(adjacency="zero_out"), ["small.yaml", "'delta' is missing", "1e-5"]),
    "unknown key": (with_sweep(**GOOD, epsilons=[1]), ["sweep.epsilons", "'epsilon'"]),
    "no list": (with_sweep(**GOOD, epsilon=3), ["sweep.epsilon", "found 3"]),
    "empty list": (with_sweep(**GOOD, epsilon=[]), ["sweep.epsilon", "found none"]),
    "epsilon of 0": (with_sweep(**GOOD, epsilon=[0]), ["small.yaml:", "sweep.epsilon", "found 0"]),
    "one repeat": (with_sweep(**GOOD, repeats=1), ["sweep.repeats", "found 1"]),
    "delta of 1 / N": (with_sweep(**GOOD | {"delta": 0.04}), ["sweep.delta", "found 0.04"]),
    "misspelt mechanism": (
        with_sweep(**GOOD, mechanisms=["dp_sdg"]),
        ["small.yaml:", "sweep.mechanisms", "did you mean 'dp_sgd'?"],
    ),
    "settings of no mechanism": (
        with_sweep(**GOOD, settings={"dp_sdg": {}}),
        ["sweep.settings.dp_sdg", "is no mechanism"],
    ),
    "unknown setting": (
        with_sweep(**GOOD, settings={"dp_gd": {"stepps": 3}}),
        ["sweep.settings.dp_gd.stepps", "did you mean 'steps'?"],
    ),
    "what voids the guarantee": (
        with_sweep(**GOOD, settings={"dp_gd": {"class_weights": [1, 2]}}),
        ["sweep.settings.dp_gd.class_weights", "voids the guarantee"],
    ),
    "broken protection": (
        with_sweep({"epsilon": 1, "adjacency": "zero_out"}, **GOOD),
        ["curate.protect", "'delta' is missing"],
    ),
    "a scorer without a private form": (
        lambda tree: (
            tree.update(sweep=GOOD | {"mechanisms": ["noisy_top_k"]})
            or setting("curate.scorer", {"method": "nearest"})(tree)
        ),
        ["curate.protect.mechanism", "cannot protect nearest"],
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_gives_one_line_and_writes_nothing(case, small, command, tmp_path):
    edit, expected = BAD_FILES[case]
    assert_one_line(*command("sweep", "--pipeline", small(edit), "--quiet"), expected)
    assert not (tmp_path / "run-sweep").exists()


def test_attacks_of_the_pipeline_are_run_on_every_point():
    plan = planned()
    for point in (None, *plan.points):
        assert plan.audit(point).methods("scores") == ("trace",)
    assert "trace" in ATTACKS
    assert base().attack == replace(plan.audit(None).attack, delta=base().attack.delta)
