"""``curate.protect.tuning`` in a pipeline file: what is paid for, and what is refused."""

import hashlib
import json
import math

import pytest

from curation_audit.config import load_plan
from curation_audit.dp.claims import GaussianClaim
from curation_audit.dp.tuning import Grid, RandomStopping
from curation_audit.pipelines.protection.protect import UNPAID
from curation_audit.pipelines.scorers.tuned import TunedScorer
from curation_audit.statistics.gdp import mu_of_epsilon
from tests.config.test_bad_input import assert_one_line
from tests.config.test_protect_section import CLASSIFIER, NEAREST, protected

OVER = {"clip": [0.5, 1], "center": [True, False]}
GRID = {"method": "grid", "over": OVER}
RANDOM = {"method": "random_stopping", "over": OVER, "mean": 5}
PUBLIC = {"method": "public", "over": {"clip": [0.5, 1]}, "proxy": {"pool": {"Befund": ["a"]}}}


def tuned(tuning, changes=None, scorer=None):
    return protected({"tuning": tuning} | (changes or {}), scorer)


def test_a_grid_is_put_in_place_and_composed(small):
    plan = load_plan(small(tuned({**GRID, "share": 0.2})))
    assert isinstance(plan.scorer, TunedScorer)
    assert plan.scorer.runs == Grid()
    assert plan.scorer.settings[0] == "clip: 0.5, center: true"
    assert plan.claim == GaussianClaim(mu=plan.claim.mu, adjacency="zero_out")
    assert plan.claim.mu == pytest.approx(mu_of_epsilon(2, 1e-5))
    assert len(plan.events) == 8
    assert plan.scorer.quality.mu == pytest.approx(plan.claim.mu / 2 * math.sqrt(0.2))
    assert plan.protection.tuning.startswith("paid for: clip, center: all 4 runs of a grid")
    assert plan.configuration["curate"]["protect"]["tuning"]["over"] == OVER


def test_random_stopping_is_put_in_place(small):
    plan = load_plan(small(tuned({**RANDOM, "number": "poisson"})))
    assert plan.scorer.runs == RandomStopping(mean=5, number="poisson")
    assert plan.protection.epsilon <= 2 + 1e-9
    assert "secret, poisson number of runs, 5 on average" in plan.protection.tuning


def test_values_become_what_the_mechanism_takes(small):
    over = {"hidden": [[], [4]], "steps": [2, 3]}
    plan = load_plan(small(tuned({"method": "grid", "over": over}, scorer=CLASSIFIER)))
    assert {one.settings.hidden for one in plan.scorer.candidates} == {(), (4,)}


def test_without_noise(small):
    plan = load_plan(small(tuned(GRID, {"epsilon": math.inf})))
    assert plan.claim is None
    assert plan.events == ()


REFUSED = {
    "a word": ("grid", None, None, ["curate.protect.tuning", "expected a mapping"]),
    "no method": ({"over": OVER}, None, None, ["tuning.method", "found None"]),
    "misspelt method": (
        {**GRID, "method": "gird"},
        None,
        None,
        ["tuning.method", "found 'gird'", "did you mean 'grid'?"],
    ),
    "nothing to tune": ({"method": "grid"}, None, None, ["tuning.over", "found None"]),
    "unknown setting": (
        {"method": "grid", "over": {"clipp": [1, 2]}},
        None,
        None,
        ["tuning.over.clipp", "unknown setting 'clipp' of gaussian_mean", "did you mean 'clip'?"],
    ),
    "no list": ({"method": "grid", "over": {"clip": 1}}, None, None, ["tuning.over.clip"]),
    "a word for a number": (
        {"method": "grid", "over": {"clip": [1, "long"]}},
        None,
        None,
        ["tuning.over.clip", "found 'long'"],
    ),
    "a negative clip": (
        {"method": "grid", "over": {"clip": [1, -1]}},
        None,
        None,
        ["tuning.over.clip", "clip must be positive"],
    ),
    "one choice": ({"method": "grid", "over": {"clip": [1]}}, None, None, ["has 1 combinations"]),
    "mean of a grid": ({**GRID, "mean": 5}, None, None, ["tuning.mean", "unknown setting"]),
    "no mean": (
        {"method": "random_stopping", "over": OVER},
        None,
        None,
        ["curate.protect.tuning", "'mean' is missing"],
    ),
    "mean of 1": ({**RANDOM, "mean": 1}, None, None, ["mean must be above 1"]),
    "unknown number": ({**RANDOM, "number": "binomial"}, None, None, ["tuning.number"]),
    "share of 1": ({**GRID, "share": 1}, None, None, ["tuning.share", "(0, 1)"]),
    "share of words": ({**GRID, "share": "half"}, None, None, ["tuning.share", "found 'half'"]),
    "shards": (
        {"method": "grid", "over": {"shards": [2, 3]}},
        {"mechanism": "shard_votes"},
        NEAREST,
        ["found shard_votes, which cannot be tuned", "no private row has a score"],
    ),
    "sampled units": (
        {"method": "grid", "over": {"steps": [1, 2]}},
        {"mechanism": "dp_sgd"},
        CLASSIFIER,
        ["tuning.over", "tunes sampling_rate or steps of dp_sgd", "must spend alike"],
    ),
    "noise on the selection beside it": (
        GRID,
        {"mechanism": "gaussian_mean + noisy_top_k"},
        None,
        ["stands beside noise on the selection"],
    ),
    "noise on the selection alone": (
        GRID,
        {"mechanism": "noisy_top_k"},
        None,
        ["curate.protect.tuning", "noisy_top_k has no private scorer"],
    ),
    "random stopping by mu": (
        RANDOM,
        {"epsilon": None, "mu": 1},
        None,
        ["curate.protect.tuning", "a mu describes Gaussian noise"],
    ),
    "public without a stand-in": (
        {"method": "public", "over": {"clip": [1, 2]}},
        None,
        None,
        ["tuning.proxy", "is missing", "rows of the pool"],
    ),
    "half a stand-in": (
        {**PUBLIC, "proxy": {}},
        None,
        None,
        ["tuning.proxy", "found both or neither of source and pool"],
    ),
    "unknown key of a stand-in": (
        {**PUBLIC, "proxy": {"pol": {}}},
        None,
        None,
        ["tuning.proxy.pol", "unknown setting 'pol'"],
    ),
    "a result without its hash": (
        {**PUBLIC, "result": "tuned.json"},
        None,
        None,
        ["curate.protect.tuning", "result or sha256 alone"],
    ),
    "a result that is not there": (
        {**PUBLIC, "result": "tuned.json", "sha256": "0"},
        None,
        None,
        ["tuning.result", "cannot be read: No such file"],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case, small, command, tmp_path):
    tuning, changes, scorer, expected = REFUSED[case]
    code, out, err = command("attack", "--pipeline", small(tuned(tuning, changes, scorer)))
    assert_one_line(code, out, err, expected)
    assert not (tmp_path / "run").exists()


def test_a_sweep_of_a_paid_tuning_is_refused(small, command):
    code, out, err = command("sweep", "--pipeline", small(tuned(GRID)))
    assert_one_line(code, out, err, ["curate.protect.tuning", "is not swept"])


# --- a result of ``tune``


def written(tmp_path, tree) -> dict[str, str]:
    content = json.dumps(tree).encode()
    (tmp_path / "tuned.json").write_bytes(content)
    return {"result": "tuned.json", "sha256": hashlib.sha256(content).hexdigest()}


def result(**changes):
    """As ``tune`` writes it, with changes."""
    tree = {
        "best": {"clip": 0.5},
        "protection": {"mechanism": "gaussian_mean"},
        "stand_in": {"checked": ["no row has the content of a private row"]},
        "choices": [{"settings": {"clip": 0.5}}, {"settings": {"clip": 1.0}}],
    }
    return tree | changes


def test_a_result_is_named_where_its_settings_are_taken(small, tmp_path):
    told = written(tmp_path, result())
    plan = load_plan(small(tuned({**PUBLIC, **told}, {"clip": 0.5})))
    named = f"(tuned.json, sha256 {told['sha256']})"
    assert plan.protection.tuning == f"stated: tuned on public {named}"
    assert plan.protection.assumptions["tuning"] == f"stated: public {named}"
    assert not isinstance(plan.scorer, TunedScorer)
    assert plan.scorer.mechanism.clip == 0.5
    without = load_plan(small(tuned(PUBLIC, {"clip": 0.5})))
    assert without.protection.tuning == UNPAID


@pytest.mark.parametrize(
    ("tree", "clip", "changed", "expected"),
    [
        (result(), 1.0, False, ["curate.protect.clip", "chose 0.5"]),
        (result(), 0.5, True, ["tuning.sha256", "is not that of tuned.json"]),
        (result(best={}), 0.5, False, ["tuning.result", "no result of 'curation-audit tune'"]),
        (result(choices=[]), 0.5, False, ["tuning.result", "no result of"]),
        (result(stand_in={"checked": []}), 0.5, False, ["tuning.result", "no result of"]),
        (
            result(protection={"mechanism": "dp_gd"}),
            0.5,
            False,
            ["tuning.result", "chose clip of dp_gd, not clip of gaussian_mean"],
        ),
        (
            result(best={"center": True}, choices=[{"settings": {"center": True}}]),
            0.5,
            False,
            ["tuning.result", "chose center of gaussian_mean, not clip of"],
        ),
        ({"worst": {}}, 0.5, False, ["tuning.result", "no result of 'curation-audit tune'"]),
        ([], 0.5, False, ["tuning.result", "no result of 'curation-audit tune'"]),
    ],
)
def test_a_result_that_does_not_fit(tree, clip, changed, expected, small, command, tmp_path):
    told = written(tmp_path, tree)
    if changed:
        (tmp_path / "tuned.json").write_text("{}")
    path = small(tuned({**PUBLIC, **told}, {"clip": clip}))
    assert_one_line(*command("attack", "--pipeline", path), expected)
