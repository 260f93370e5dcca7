"""Tiers of noise, from the command line and from Python: what is asked for, drawn and stamped."""

import builtins
import json
import shutil
from importlib import metadata
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from curation_audit import Budget, Curator, InputError, release_store
from curation_audit.dp import budget_ledger, discrete_sum
from curation_audit.dp.budget_ledger import BudgetLedger
from curation_audit.dp.events import Gaussian, Zcdp
from curation_audit.releases.release import Release

DP = {"mechanism": "gaussian_mean", "epsilon": 1.0, "delta": 1e-5, "adjacency": "zero_out"}


@pytest.fixture
def curate(small, tmp_path, command):
    """Run ``curate`` on a protected pipeline with a ledger of epsilon 8: (code, out, err)."""
    budget = budget_ledger.Budget("Pat.Nr", "zero_out", 8.0, 1e-5)
    BudgetLedger.create(tmp_path / "budget.ledger", budget)

    def run(*more, protect=DP):
        def both(tree):
            tree["private"]["ledger"] = "budget.ledger"
            tree["curate"]["protect"] = dict(protect)

        path = small(both)
        return command("curate", "--pipeline", path, "--out", tmp_path / "picked", "--json", *more)

    return run


@pytest.fixture
def bookings(tmp_path):
    return lambda: BudgetLedger.open(tmp_path / "budget.ledger").bookings()


def never(*_, **__):
    raise AssertionError("a release was drawn.")


def without_opendp(monkeypatch):
    real = builtins.__import__

    def missing(name, *rest, **words):
        if name.startswith("opendp"):
            raise ModuleNotFoundError(name)
        return real(name, *rest, **words)

    monkeypatch.setattr(builtins, "__import__", missing)


def test_strict_picks_for_real(curate, bookings, tmp_path):
    code, out, err = curate("--noise", "strict")
    assert code == 0, err
    told = json.loads(out)
    assert (told["booked"], told["n_picked"]) == (True, 40)
    assert 0.9 < told["epsilon_spent"] <= 1.003
    assert isinstance(bookings()[0].events[0], Zcdp)
    release = Release.load(tmp_path / "picked" / "release.npz")
    assert release.card()["noise_tier"] == "strict"
    card = (tmp_path / "picked" / "card.md").read_text()
    assert "noise of the strict tier" in card
    assert "OpenDP" in card
    assert "towards zero" in card
    picks = pq.read_table(tmp_path / "picked" / "picks.parquet")
    pool = np.array(pq.read_table(tmp_path / "public.parquet")["Vektor"].to_pylist())
    best = np.argsort(-release.score(pool))[:40]
    assert picks["id"].to_pylist() == [str(i) for i in best]
    again = json.loads(curate("--noise", "strict")[1])
    assert (again["booked"], len(bookings())) == (False, 1)


def test_the_tier_in_the_file_is_the_same_request(curate, bookings):
    assert curate(protect=DP | {"noise_tier": "strict"})[0] == 0
    assert not json.loads(curate("--noise", "strict")[1])["booked"]
    assert json.loads(curate()[1])["booked"]  # hardened is another release
    assert [type(one.events[0]) for one in bookings()] == [Zcdp, Gaussian]


def test_hardened_is_the_default_and_says_so(curate, tmp_path):
    assert curate()[0] == 0
    card = Release.load(tmp_path / "picked" / "release.npz").card()
    assert card["noise_tier"] == "hardened"
    assert "noise of the hardened tier" in (tmp_path / "picked" / "card.md").read_text()
    assert not json.loads(curate("--noise", "hardened")[1])["booked"]


REFUSED = {
    "a mu": (DP | {"mu": 0.5}, ("--noise", "strict"), "state epsilon and delta"),
    "DP-GD": (DP | {"mechanism": "dp_gd"}, ("--noise", "strict"), "no exact noise"),
    "research": (DP, ("--noise", "research"), "research"),
    "a word": (DP | {"noise_tier": "exact"}, (), "noise_tier"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_books_nothing(case, curate, bookings, monkeypatch):
    protect, more, expected = REFUSED[case]
    if "mu" in protect:
        protect = {k: v for k, v in protect.items() if k != "epsilon"}
    monkeypatch.setattr(release_store, "make_release", never)
    code, _, err = curate(*more, protect=protect)
    assert code == 2
    assert expected in err
    assert "Traceback" not in err
    assert bookings() == ()


def test_a_sum_too_large_to_be_exact_books_nothing(curate, bookings, monkeypatch):
    monkeypatch.setattr(discrete_sum, "LARGEST_SUM", 10.0)
    code, _, err = curate("--noise", "strict")
    assert code == 2
    assert "too large for an exact sum" in err
    assert bookings() == ()


def test_without_opendp_nothing_is_booked(curate, bookings, monkeypatch):
    without_opendp(monkeypatch)
    code, _, err = curate("--noise", "strict")
    assert code == 2
    assert len(err.splitlines()) == 1
    assert "pip install 'curation-audit[secure]'" in err
    assert bookings() == ()


# a module of the user's

SGD = DP | {"mechanism": "module_sgd", "steps": 2, "sampling_rate": 0.5}


def exact(d):
    return torch.nn.Linear(d, 1).double()


def rounding(d):
    return torch.nn.Linear(d, 1)


@pytest.fixture
def offered(monkeypatch):
    pytest.importorskip("opacus")
    real = metadata.entry_points

    def entry_points(**chosen):
        if chosen.get("group") != "curation_audit.modules":
            return real(**chosen)
        return [
            SimpleNamespace(name=of.__name__, load=lambda of=of: of) for of in (exact, rounding)
        ]

    monkeypatch.setattr(metadata, "entry_points", entry_points)


def test_a_module_in_float64_is_released(offered, curate, bookings, tmp_path):
    code, out, err = curate(protect=SGD | {"module": "exact"})
    assert code == 0, err
    told = json.loads(out)
    assert (told["booked"], told["noise_tier"], told["n_picked"]) == (True, "hardened", 40)
    release = Release.load(tmp_path / "picked" / "release.npz")
    pool = np.array(pq.read_table(tmp_path / "public.parquet")["Vektor"].to_pylist())
    best = np.argsort(-release.score(pool))[:40]
    picks = pq.read_table(tmp_path / "picked" / "picks.parquet")
    assert picks["id"].to_pylist() == [str(i) for i in best]
    again = json.loads(curate(protect=SGD | {"module": "exact"})[1])
    assert (again["booked"], len(bookings())) == (False, 1)


def test_a_module_in_float32_is_refused_or_stamped(offered, curate, bookings, tmp_path):
    protect = SGD | {"module": "rounding"}
    code, _, err = curate(protect=protect)
    assert code == 2
    assert "--allow-research-noise" in err
    assert len(err.splitlines()) == 1
    assert bookings() == ()
    code, out, err = curate("--allow-research-noise", protect=protect)
    assert code == 0, err
    assert json.loads(out)["noise_tier"] == "research"
    card = (tmp_path / "picked" / "card.md").read_text()
    assert "Research: not for release" in card
    assert all("research noise" in event.what for event in bookings()[0].events)
    stored = tmp_path / "research.npz"
    shutil.copy(tmp_path / "picked" / "release.npz", stored)
    code, _, err = curate("--release", stored, protect=protect)
    assert code == 2
    assert "--allow-research-noise" in err
    assert curate("--release", stored, "--allow-research-noise", protect=protect)[0] == 0


def fails(d):
    raise KeyError("a private value")


def no_module(d):
    return d


def load_fails():
    raise AttributeError("a private value")


BAD_ENTRIES = {
    "not there": ({}, "is not there"),
    "twice": ([("bad", lambda: exact), ("bad", lambda: exact)], "several packages"),
    "import fails": ([("bad", load_fails)], "cannot be imported"),
    "no function": ([("bad", lambda: 3)], "no function"),
    "function fails": ([("bad", lambda: fails)], "fails for 3 features"),
    "no module": ([("bad", lambda: no_module)], "gives int"),
    "no parameters": ([("bad", lambda: lambda d: torch.nn.Identity())], "gives Identity"),
}


@pytest.mark.parametrize("case", BAD_ENTRIES)
def test_a_bad_entry_point_is_told_and_books_nothing(case, curate, bookings, monkeypatch):
    pytest.importorskip("opacus")
    entries, expected = BAD_ENTRIES[case]
    real = metadata.entry_points

    def entry_points(**chosen):
        if chosen.get("group") != "curation_audit.modules":
            return real(**chosen)
        return [SimpleNamespace(name=name, load=load) for name, load in entries]

    monkeypatch.setattr(metadata, "entry_points", entry_points)
    code, _, err = curate(protect=SGD | {"module": "bad"})
    assert code == 2
    assert expected in err
    assert "private value" not in err
    assert len(err.splitlines()) == 1
    assert bookings() == ()


# from Python


@pytest.fixture
def ledger(tmp_path):
    path = tmp_path / "a.ledger"
    BudgetLedger.create(path, budget_ledger.Budget("row", "zero_out", 3.0, 1e-5))
    return path


RNG = np.random.default_rng(4)
PRIVATE, POOL = RNG.normal(0.7, 1, (60, 4)), RNG.normal(size=(200, 4))


@pytest.mark.parametrize("scorer", ["mean", "nearest"])
def test_a_curator_is_strict(ledger, scorer):
    of = Curator(scorer=scorer, adjacency="zero_out", ledger=ledger, noise="strict")
    budget = Budget(epsilon=1.0, delta=1e-5)
    release = of.fit(PRIVATE, budget=budget, background=POOL)
    assert release.card()["noise_tier"] == "strict"
    again = of.fit(PRIVATE, budget=budget, background=POOL)
    np.testing.assert_array_equal(release.weights, again.weights)
    assert len(BudgetLedger.open(ledger).bookings()) == 1


def test_a_curator_of_an_unknown_tier(ledger):
    of = Curator(scorer="mean", adjacency="zero_out", ledger=ledger, noise="exact")
    with pytest.raises(InputError, match="noise: found 'exact'"):
        of.fit(PRIVATE, budget=Budget(epsilon=1.0, delta=1e-5), background=POOL)
