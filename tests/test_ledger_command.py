"""The command ``ledger``: set a budget, look at it, take it away as JSON."""

import json

import pytest
from click.testing import CliRunner

from curation_audit.checks import InputError
from curation_audit.cli import cli
from curation_audit.dp.budget_ledger import BudgetLedger
from curation_audit.dp.event_codec import decoded
from curation_audit.dp.events import Gaussian, Pure
from curation_audit.statistics.gdp import epsilon_of_mu

EVENTS = (Gaussian(0.3, "scorer [mean]"), Pure(0.001, "selection", 5))


def run(*arguments: object) -> str:
    """The output of a command that ends well; its ``InputError`` goes on, as to ``cli.main``."""
    result = CliRunner().invoke(cli, ["ledger", *map(str, arguments)], env={"COLUMNS": "160"})
    if isinstance(result.exception, InputError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def set_budget(path, epsilon=2.0, delta=1e-5, unit="patient_id", adjacency="zero_out", *more):
    constants = ("--epsilon", epsilon, "--delta", delta, "--unit", unit, "--adjacency", adjacency)
    return run("set-budget", path, *constants, *more)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "set.ledger"


@pytest.fixture
def booked(path):
    set_budget(path)
    BudgetLedger.open(path).book(
        EVENTS,
        unit="patient_id",
        adjacency="zero_out",
        delta=1e-5,
        fingerprint="0123456789abcdef" * 4,
        request="fedcba9876543210" * 4,
    )
    return path


def test_set_budget_makes_the_ledger_and_changes_it_when_that_is_meant(path) -> None:
    assert "epsilon 2 at delta 1e-05, for one patient_id (zero_out)" in set_budget(path)
    assert "spent:     epsilon 0; bookings: 0" in set_budget(path)  # again is no raise
    with pytest.raises(InputError, match="--raise"):
        set_budget(path, 3.0)
    assert "remaining: epsilon 3" in set_budget(
        path, 3.0, 1e-5, "patient_id", "zero_out", "--raise"
    )
    assert "budget:    epsilon 1.5" in set_budget(path, 1.5)
    with pytest.raises(InputError, match="they are never added"):
        set_budget(path, unit="visit")


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"epsilon": 0}, "budget.epsilon: found 0"),
        ({"epsilon": "nan"}, "budget.epsilon: found nan"),
        ({"delta": 1}, "budget.delta: found 1"),
        ({"adjacency": "zero-out"}, "budget.adjacency: .*did you mean 'zero_out'"),
    ],
)
def test_a_budget_that_is_none_makes_no_file(path, wrong, match) -> None:
    with pytest.raises(InputError, match=match):
        set_budget(path, **wrong)
    assert not path.exists()


def test_a_dumb_terminal_is_as_wide_as_it_says(booked, monkeypatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    assert "scorer [mean]: Gaussian, mu 0.3" in run("show", booked)


def test_show_tells_every_booking_in_words(booked) -> None:
    told = run("show", booked)
    for word in ("0123456789ab", "fedcba987654", "scorer [mean]: Gaussian, mu 0.3", "5 rounds"):
        assert word in told
    assert "bookings: 1" in told
    time = BudgetLedger.open(booked).bookings()[0].time
    assert time in told


def test_show_as_json(booked) -> None:
    told = json.loads(run("show", booked, "--json"))
    assert told["ledger"] == str(booked)
    assert told["budget"] == {
        "unit": "patient_id", "adjacency": "zero_out", "epsilon": 2.0, "delta": 1e-5,
    }  # fmt: skip
    assert told["spent_epsilon"] == BudgetLedger.open(booked).spent_epsilon()
    assert told["spent_epsilon"] > epsilon_of_mu(0.3, 1e-5)
    assert told["remaining_epsilon"] == 2.0 - told["spent_epsilon"]
    assert told["bookings"][0]["lines"] == [one.line() for one in EVENTS]


def test_export_holds_everything(booked, tmp_path) -> None:
    set_budget(booked, 3.0, 1e-5, "patient_id", "zero_out", "--raise")
    out = tmp_path / "export.json"
    assert run("export", booked, "--out", out) == f"wrote {out}\n"
    assert out.read_text() == run("export", booked)
    told = json.loads(out.read_text())
    assert told["schema_version"] == 1
    assert [one["epsilon"] for one in told["budgets"]] == [2.0, 3.0]
    (booking,) = told["bookings"]
    assert tuple(decoded(one) for one in booking["events"]) == EVENTS
    assert (booking["request"][:4], booking["fingerprint"][:4]) == ("fedc", "0123")


def test_export_never_replaces_the_ledger(booked) -> None:
    before = BudgetLedger.open(booked).content()
    with pytest.raises(InputError, match="the ledger itself"):
        run("export", booked, "--out", booked)
    assert BudgetLedger.open(booked).content() == before


@pytest.mark.parametrize("name", ["show", "export"])
def test_without_a_ledger_the_command_to_run_is_told(path, name) -> None:
    with pytest.raises(InputError, match=r"run: curation-audit ledger set-budget .*set\.ledger"):
        run(name, path)
    assert not path.exists()
    path.write_text("something else, of some length\n" * 100)
    with pytest.raises(InputError, match="is no budget ledger"):
        run(name, path)
    with pytest.raises(InputError, match="is no budget ledger"):
        set_budget(path)
    assert path.read_text().startswith("something else")
