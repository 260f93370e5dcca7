"""A sweep from end to end: what it finds, what it passes on, and how it ends."""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curation_audit.auditing.plan import AttackSettings, Threat
from curation_audit.dp.claims import GaussianClaim
from curation_audit.dp.gaussian_sum import GaussianSum
from curation_audit.pipelines.rules.threshold import Threshold
from curation_audit.pipelines.scorers.mean import Mean
from curation_audit.report import validate_report
from curation_audit.report.sweep_page import validate_sweep
from curation_audit.results import to_plain
from curation_audit.statistics.gdp import mu_of_epsilon
from curation_audit.sweeping.plan import SweepPlan
from curation_audit.sweeping.run import run_sweep, sweep_tree
from tests.sweeping.world import (
    DELTA,
    FOLDERS,
    RELEASED,
    K,
    M,
    N,
    planned,
    point,
)

pytestmark = pytest.mark.usefixtures("_quickened")
KEYED = r"(?<![\w.])[0-9a-f]{16}\b"  # as report.json names candidates; no digits of a number


# what is found


def test_it_ends_well_and_its_json_is_valid(finished):
    out, outcome, tree = finished
    assert outcome.exit_code == 0
    assert outcome.page == out / "release" / "sweep.html"
    validate_sweep(tree)
    assert tree == json.loads(json.dumps(sweep_tree(planned(out), outcome.result)))
    assert tree["design"] == {
        "n_shadows": 8,
        "n_candidates": N,
        "n_pool": M,
        "n_test": 200,
        "scorer": "mean",
        "rule": "top_k",
        "downstream": "logistic",
        "repeats": 3,
    }
    assert [one["epsilon"] for one in tree["points"]] == [1.0, 8.0, None]
    assert {one["mechanism"] for one in tree["points"]} == {"gaussian_mean"}
    assert (tree["n_claims"], tree["delta"], tree["adjacency"]) == (2, DELTA, "zero_out")
    assert tree["sentence"] == outcome.result.sentence
    assert any("Selection not accounted" in line for line in tree["warnings"])


def test_every_point_has_a_report_of_its_own(finished):
    out, _, tree = finished
    assert [one["folder"] for one in (tree["unprotected"], *tree["points"])] == [
        f"points/{name}" for name in FOLDERS
    ]
    for name in FOLDERS:
        report = json.loads((out / "points" / name / "release" / "report.json").read_text())
        validate_report(report)
        assert (report["claim"] is None) == (name in ("unprotected", "gaussian_mean-inf"))
        assert (report["protection"] is None) == (name == "unprotected")


def test_numbers_of_a_point_are_those_of_its_report(finished):
    out, _, tree = finished
    for one in (tree["unprotected"], *tree["points"]):
        report = json.loads((out / one["folder"] / "release" / "report.json").read_text())
        headlines = {s["stage"]: s["headline"] for s in report["stages"] if s["headline"]}
        assert {s["stage"] for s in one["stages"]} == headlines.keys()
        bounds = {b["stage"]: b["results"] for b in report["bounds"]}
        for stage in one["stages"]:
            assert stage["attack"] == headlines[stage["stage"]]["attack"]
            assert stage["auc"] == headlines[stage["stage"]]["metrics"]["auc"]
            proven = {b["method"]: b["epsilon"] for b in bounds[stage["stage"]]}
            assert stage["bounds"] == {k: v for k, v in proven.items() if k != "joint beta"}
            assert stage["declared"] in ("one run", "pair mean")
        assert one["verdict"] == report["verdict"]["status"]
        assert one["events"] == ([] if not report["protection"] else report["protection"]["events"])


@pytest.mark.parametrize(("number", "epsilon"), [(0, 1.0), (1, 8.0)])
def test_ceilings_are_those_of_the_claim(finished, number, epsilon):
    """Known answers: Phi(mu / sqrt 2) and 2 Phi(mu / 2) - 1 at the mu of epsilon and delta."""
    claim = GaussianClaim(mu=mu_of_epsilon(epsilon, DELTA), adjacency="zero_out")
    found = finished[2]["points"][number]["ceilings"]
    assert found["epsilon"] == pytest.approx(epsilon, rel=1e-6)
    assert found["auc"] == pytest.approx(claim.auc(), rel=1e-6)
    assert found["advantage"] == pytest.approx(claim.advantage(), rel=1e-6)
    assert found["tpr_at_one_percent"] == pytest.approx(claim.tpr(np.array([0.01]))[0], rel=1e-6)
    assert finished[2]["points"][2]["ceilings"] is None  # without noise nothing is claimed


def test_what_points_are_worth_is_in_order(finished):
    _, _, tree = finished
    unprotected = tree["unprotected"]["usefulness"]
    assert unprotected["overlap"]["value"] == 1
    assert unprotected["rank_correlation"]["value"] == pytest.approx(1)
    noisy = [one["usefulness"] for one in tree["points"]]
    assert noisy[0]["overlap"]["value"] < noisy[1]["overlap"]["value"] <= 1
    assert [one["n_repeats"] for one in noisy] == [3, 3, 1]
    assert noisy[0]["overlap"]["low"] < noisy[0]["overlap"]["high"]
    assert tree["random"]["n_repeats"] == 3
    assert tree["random"]["n_picked"] == K
    assert tree["random"]["rank_correlation"] is None
    assert tree["public_only"]["n_picked"] == M
    assert unprotected["accuracy"]["value"] > tree["random"]["accuracy"]["value"]


def test_in_memory_nothing_is_written_and_the_numbers_are_the_same(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = run_sweep(planned())
    assert outcome.page is None
    assert not list(tmp_path.rglob("*"))
    expected = to_plain(finished[1].result)
    for one in (expected["unprotected"], *expected["points"]):
        one["folder"] = None
    assert to_plain(outcome.result) == expected


def test_nothing_private_is_in_what_is_passed_on(finished, tmp_path):
    """Ids, exact values, and the keyed ids of the points' reports."""
    names = {
        "private": [f"Marie-{n}" for n in range(N)],
        "public": [f"p{n}" for n in range(M)],
        "test": [f"t{n}" for n in range(200)],
    }
    plan = planned(tmp_path, of={"ids": names}, epsilons=(1.0,))
    run_sweep(plan)
    texts = [(tmp_path / name).read_text() for name in RELEASED]
    texts.append((tmp_path / "points" / "gaussian_mean-1" / "point.json").read_text())
    values = [f"{abs(value):.6g}" for value in plan.base.data.private.features.ravel()]
    for text in texts:
        assert "Marie" not in text
        assert not [value for value in values if value in text]
    assert not [one for text in texts[:2] for one in re.findall(KEYED, text)]
    assert plan.base.data.private.ids[0] == "Marie-0"


@pytest.mark.parametrize("minimum", [0.9999, -2.0])
def test_a_threshold_may_pick_nothing_or_everything(minimum):
    result = run_sweep(planned(of={"select": Threshold(minimum=minimum)}, epsilons=(1.0,))).result
    n_picked = 0 if minimum > 0 else M
    assert result.random.n_picked == result.unprotected.usefulness.n_picked == n_picked
    assert (result.random.overlap is None) == (n_picked == 0)
    assert result.sentence.startswith("No point of this sweep is recommended")


# how it ends


def loud(out: Path | None = None) -> SweepPlan:
    """Enough shadows, and a tight claim on scores that lie wide open without noise."""
    rng = np.random.default_rng(0)
    of = {
        "private": rng.standard_normal((N, 24)),
        "public": rng.standard_normal((M, 24)),
        "test": None,
        "labels": None,
        "train": None,
        "scorer": Mean(metric="inner_product"),
        "threat": Threat(observes=("scores",)),
        "attack": AttackSettings(shadows=64, methods={"scores": ("matched_filter",)}),
    }
    return planned(out, of=of, epsilons=(0.1,))


def test_a_refuted_claim_ends_in_exit_1(monkeypatch, out):
    """The noise goes, the claim stays."""

    def exact(self, vectors, held, noise):
        return self.exact(vectors, held) / self.denominator

    assert run_sweep(loud()).exit_code == 0
    monkeypatch.setattr(GaussianSum, "release", exact)
    outcome = run_sweep(loud(out))
    assert outcome.exit_code == 1
    assert outcome.result.points[0].stages[0].refuted
    assert "gaussian_mean at epsilon 0.1 is refuted" in outcome.result.sentence
    page = outcome.page.read_text()
    assert "A guarantee is refuted" in page
    assert "Do not use these results" in page


def test_the_right_noise_is_not_refuted():
    """The claim's ceiling is not below what was measured."""
    one = run_sweep(loud()).result.points[0]
    assert not one.stages[0].refuted
    assert one.stages[0].auc.low <= one.ceilings.auc


def test_a_failed_control_ends_in_exit_5(monkeypatch, out):
    def peeking(features, inclusion, rng):
        return inclusion + 0.1 * rng.standard_normal(inclusion.shape)

    monkeypatch.setattr("curation_audit.auditing.evidence.blind_evidence", peeking)
    outcome = run_sweep(loud(out))
    assert outcome.exit_code == 5
    assert outcome.result.points[0].verdict == "audit invalid"
    assert outcome.result.sentence.startswith("Do not use these results: a control of the audit of")
    page = outcome.page.read_text()
    assert '<p class="status">Audit invalid</p>' in page
    assert run_sweep(loud(out)).exit_code == 5  # a stored point tells it, too


# the schema


def every(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all mappings."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    if isinstance(tree, dict):
        yield path
    for key, value in items:
        if isinstance(value, dict | list):
            yield from every(value, (*path, key))


def test_the_schema_misses_no_key_and_allows_no_other(finished):
    """A key more, or one less, in any mapping that is no table of the user's names."""
    tree = finished[2]
    for path in every(tree):
        if path[-1:] in (("bounds",), ("left_out",)):
            continue
        for broken in (json.loads(json.dumps(tree)) for _ in range(2)):
            place = broken
            for key in path:
                place = place[key]
            place["surplus"] = 1
            with pytest.raises(ValueError, match="surplus"):
                validate_sweep(broken)
            del place["surplus"]
            place.pop(next(iter(place)))
            with pytest.raises(ValueError, match="required"):
                validate_sweep(broken)


BROKEN = {
    "another version": ("schema_version", 2),
    "an adjacency that is none": ("adjacency", "bounded"),
    "no claims": ("n_claims", 0),
    "an interval for a number": ("points", 0, "usefulness", "overlap", 0.5),
    "a bound that is labelled estimate": ("points", 0, "usefulness", "overlap", "label", "bound"),
    "a stage that is none": ("points", 0, "stages", 0, "stage", "picks"),
    "a negative bound": ("points", 0, "stages", 0, "bounds", "one run", -1.0),
    "a verdict that is none": ("points", 0, "verdict", "fine"),
    "an epsilon in words": ("points", 0, "epsilon", "inf"),
    "a refutation in words": ("points", 0, "stages", 0, "refuted", "no"),
    "a reason that is a number": ("left_out", "dp_gd", 3),
    "no repeats": ("random", "n_repeats", 0),
}


@pytest.mark.parametrize("case", BROKEN)
def test_the_schema_rejects(finished, case):
    *path, last, value = BROKEN[case]
    tree = json.loads(json.dumps(finished[2]))
    place = tree
    for key in path:
        place = place[key]
    place[last] = value
    with pytest.raises(ValueError, match=re.escape(str(path[0] if path else last))):
        validate_sweep(tree)


def test_a_number_that_is_not_finite_is_no_result():
    with pytest.raises(ValueError, match="finite"):
        to_plain(point(2.0, math.nan))
