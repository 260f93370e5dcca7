"""Attacks that a user brings, from a pipeline file and from Python."""

import json
import re
import threading
from dataclasses import dataclass, replace
from importlib import metadata
from typing import ClassVar

import numpy as np
import pytest

from curation_audit.attacks import ATTACKS
from curation_audit.auditing import own_attacks
from curation_audit.auditing.evidence import draw_game
from curation_audit.auditing.plan import AttackSettings
from curation_audit.checks import SettingError
from curation_audit.config import load_plan
from tests.auditing.test_share import quick


@dataclass(frozen=True, slots=True, kw_only=True)
class Renamed:
    """LiRA under another name, so that its figures are known."""

    power: float = 1.0
    name: str = "my_lira"
    title: str = "LiRA of one's own"
    stage: ClassVar[str] = "scores"
    needs: ClassVar[frozenset[str]] = ATTACKS["lira_best_row"].needs
    source: str = "a test"
    cost: str = "S N m"

    def evidence(self, observation, inclusion, knowledge, *, streams):
        theirs = ATTACKS["lira_best_row"]
        return self.power * theirs.evidence(observation, inclusion, knowledge, streams=streams)


OFFERED = {"mine": Renamed(power=2.0), "made": Renamed, "nothing": 7, "theirs": ATTACKS["trace"]}


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    """A package whose entry points are these."""

    @dataclass
    class Entry:
        name: str

        def load(self):
            return OFFERED[self.name]

    monkeypatch.setattr(
        metadata,
        "entry_points",
        lambda group: [Entry(one) for one in OFFERED] if group == own_attacks.GROUP else [],
    )


def with_own(names, methods):
    def edit(tree):
        quick(tree)
        tree["attack"] |= {"own": names, "methods": methods}

    return edit


def report_of(folder):
    return json.loads((folder / "release" / "report.json").read_text())


def test_an_attack_of_ones_own_is_measured_as_any_other(small, command, tmp_path):
    """LiRA under another name has LiRA's figures; twice the evidence changes none of them."""
    methods = {"scores": ["lira_best_row", "my_lira"], "selection": [], "model": [], "joint": []}
    path = small(with_own(["mine"], methods))
    code, _, err = command("attack", "--pipeline", path, "--out", tmp_path / "run", "--quiet")
    assert code == 0, err
    report = report_of(tmp_path / "run")
    (scores,) = [one for one in report["stages"] if one["stage"] == "scores"]
    theirs, mine = scores["attacks"]
    assert (theirs["attack"], mine["attack"]) == ("lira_best_row", "my_lira")
    assert mine["metrics"] == theirs["metrics"]
    assert mine["title"] == "LiRA of one's own"
    (own,) = report["configuration"]["attack"]["own"]
    assert (own["name"], own["power"]) == ("my_lira", 2.0)
    assert own["class"].endswith("test_own_attacks.Renamed")
    covered = {line["attack"]: line["status"] for line in report["coverage"]}
    assert (covered["my_lira"], set(covered)) == ("run", {*ATTACKS, "my_lira"})
    controls = {line["attack"] for line in report["controls"]["results"]}
    assert "my_lira" in controls
    code, out, err = command("verify", tmp_path / "run" / "release")
    assert "this version has no attack my_lira" in out + err


def test_without_a_list_of_methods_ones_own_run_beside_all_others():
    settings = AttackSettings(own=(Renamed(),))
    assert settings.there_are("scores")[-1] == "my_lira"
    assert "my_lira" not in settings.there_are("model")
    assert AttackSettings().there_are("scores") == settings.there_are("scores")[:-1]


def test_what_a_class_offers_is_made():
    assert own_attacks.load_own(["made"]) == (Renamed(),)
    assert own_attacks.load_own(["mine"]) == (Renamed(power=2.0),)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["mines"], "'mines' is no entry point of 'curation_audit.attacks'; did you mean 'mine'?"),
        (
            ["nothing"],
            "found a value of type int without name; an attack has name,",
        ),
        (["mine", "made"], "found 'my_lira' twice; give it a name of its own"),
        (["theirs"], "found 'trace' twice; give it a name of its own"),
        ("mine", "found 'mine'; expected names of entry points of curation_audit.attacks"),
    ],
)
def test_what_is_no_attack_is_told_with_its_place(small, command, names, told):
    code, _, err = command("validate", "--pipeline", small(with_own(names, {})))
    assert (code, len(err.splitlines())) == (2, 1)
    assert "small.yaml:" in err
    assert told in err


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"stage": "picks"}, "my_lira attacks 'picks', which is no stage"),
        ({"needs": frozenset({"candidate"})}, "needs 'candidate', .*did you mean 'candidates'"),
    ],
)
def test_what_does_not_fit_the_game_is_told(monkeypatch, changes, told):
    for key, value in changes.items():
        monkeypatch.setattr(Renamed, key, value)
    with pytest.raises(SettingError, match=told):
        AttackSettings(own=(Renamed(),))


def test_methods_may_name_ones_own_at_its_stage_only():
    settings = AttackSettings(own=(Renamed(),), methods={"scores": ("my_lira",)})
    assert settings.offered["my_lira"] == Renamed()
    with pytest.raises(SettingError, match="'my_lira', which is no attack on model"):
        replace(settings, methods={"model": ("my_lira",)})
    with pytest.raises(SettingError, match="'my_lira', which is no attack on scores"):
        AttackSettings(methods={"scores": ("my_lira",)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrong(Renamed):
    """One that breaks a promise."""

    how: str = ""

    def evidence(self, observation, inclusion, knowledge, *, streams):
        honest = Renamed.evidence(self, observation, inclusion, knowledge, streams=streams)
        if self.how == "all pairs":
            known = replace(knowledge, known_pairs=None)
            return Renamed.evidence(self, observation, inclusion, known, streams=streams)
        if self.how == "other candidates":
            return honest + 0.01 * np.roll(inclusion, 1, axis=1)
        if self.how == "chance":
            return honest + np.random.default_rng().random(honest.shape)
        wrong = {"shape": honest[:, 0], "NaN": honest * np.nan, "list": honest.tolist()}
        return wrong[self.how]


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("all pairs", "my_lira reads coins of pairs that Knowledge.known_pairs leaves out"),
        ("other candidates", "my_lira reads coins of pairs that Knowledge.known_pairs leaves out"),
        ("chance", "or differs from call to call"),
        ("shape", r"my_lira gives an array \(40,\); expected finite float64 \(40, 30\)"),
        ("NaN", "my_lira gives NaN or infinite evidence"),
        ("list", "my_lira gives list"),
    ],
)
def test_evidence_that_no_bound_could_rest_on_is_refused(small, command, monkeypatch, how, told):
    monkeypatch.setitem(OFFERED, "mine", Wrong(how=how))
    methods = {"scores": ["my_lira"], "selection": [], "model": [], "joint": []}
    code, _, err = command("attack", "--pipeline", small(with_own(["mine"], methods)), "--quiet")
    assert (code, len(err.splitlines())) == (2, 1), err
    assert re.search(f"attack.own: .*{told}", err)


def test_coins_cannot_be_written(small):
    game = draw_game(load_plan(small(quick)))
    for coins in (game.inclusion, game.permuted):
        with pytest.raises(ValueError, match="read-only"):
            coins[0] = ~coins[0]


@pytest.mark.parametrize("lacking", ["stage", "needs", "cost", "describe"])
def test_what_an_attack_lacks_is_named(lacking):
    """Whatever it is: a missing attribute, or nothing to tell its versions apart by."""
    words = {"name": "a", "title": "b", "source": "c", "cost": "d", "stage": "scores"}
    content = {**words, "needs": frozenset(), "describe": dict, "evidence": print}
    del content[lacking]
    with pytest.raises(SettingError, match=f"of type Made without {lacking}; an attack has"):
        AttackSettings(own=(type("Made", (), content)(),))


def test_a_class_that_needs_arguments_is_told(monkeypatch):
    monkeypatch.setitem(OFFERED, "made", lambda power: Renamed(power=power))
    with pytest.raises(SettingError, match="'made' cannot be made without arguments"):
        own_attacks.load_own(["made"])


class Locked:
    """One that cannot be copied; it describes itself."""

    name, title, source, cost = "locked", "An attack with a lock", "a test", "S N"
    stage, needs = "scores", frozenset()

    def __init__(self):
        self.lock = threading.Lock()

    def describe(self):
        return {"version": 1}

    def evidence(self, observation, inclusion, knowledge, *, streams):
        return np.zeros(inclusion.shape)


def test_an_attack_that_cannot_be_copied_is_described(small, monkeypatch):
    monkeypatch.setitem(OFFERED, "mine", Locked())
    plan = load_plan(small(with_own(["mine"], {})))
    (told,) = plan.configuration["attack"]["own"]
    assert (told["name"], told["version"]) == ("locked", 1)
