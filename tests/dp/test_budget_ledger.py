"""The budget on disk: nothing is overspent, lost or half written, whoever writes or dies."""

import contextlib
import math
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation_audit.checks import InputError, SettingError
from curation_audit.dp import budget_ledger
from curation_audit.dp.budget_ledger import Booking, Budget, BudgetLedger, NoBudget, shown
from curation_audit.dp.calibration import EpsilonTarget
from curation_audit.dp.events import EpsilonDelta, Gaussian, PoissonGaussian, Pure, Zcdp
from curation_audit.statistics.gdp import epsilon_of_mu

BUDGET = Budget("patient_id", "zero_out", 2.0, 1e-5)
SET = {"unit": "patient_id", "adjacency": "zero_out", "delta": 1e-5, "fingerprint": "f0"}
SMALL = Gaussian(0.05, "scorer")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "set ?#%20ä.ledger"


@pytest.fixture
def ledger(path: Path) -> BudgetLedger:
    return BudgetLedger.create(path, BUDGET)


def book(ledger: BudgetLedger, *events, **changed) -> Booking:
    return ledger.book(events or (SMALL,), **(SET | {"request": "r"} | changed))


def raw(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


def test_a_new_ledger_has_a_budget_and_nothing_spent(ledger) -> None:
    assert BudgetLedger.open(ledger.path) == ledger
    assert ledger.budget == BUDGET
    assert ledger.bookings() == ()
    assert ledger.spent_epsilon() == 0.0
    assert ledger.find("r") is None
    assert ledger.content().remaining() == 2.0


def test_the_file_is_its_owners_and_durable(ledger) -> None:
    book(ledger)
    assert stat.S_IMODE(ledger.path.stat().st_mode) == 0o600
    with closing(raw(ledger.path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        beside = [one for one in ledger.path.parent.iterdir() if one != ledger.path]
        assert beside
        assert all(stat.S_IMODE(one.stat().st_mode) == 0o600 for one in beside)
    with budget_ledger._writing(ledger.path) as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
        assert connection.in_transaction


def test_two_gaussians_are_one_of_their_root_sum_of_squares(ledger) -> None:
    book(ledger, Gaussian(0.3, "scorer"), request="one")
    assert ledger.spent_epsilon() == epsilon_of_mu(0.3, 1e-5)
    book(ledger, Gaussian(0.4, "selection"), request="two")
    assert ledger.spent_epsilon() == pytest.approx(epsilon_of_mu(0.5, 1e-5), rel=1e-12)


def test_a_booking_is_read_back_as_it_was(ledger) -> None:
    events = (Gaussian(0.01, "scorer"), Pure(0.001, "selection", 3), EpsilonDelta(0.01, 1e-7, "up"))
    first, second = book(ledger, *events, request="one"), book(ledger, request="two")
    again = BudgetLedger.open(ledger.path)
    assert again.bookings() == (first, second)
    assert (first.events, first.number, second.number) == (events, 1, 2)
    assert first.time.endswith("+00:00")
    assert again.find("one") == first
    third = book(ledger, request="one")
    assert again.find("one") == third  # a request that is drawn again is paid for again


def test_above_the_budget_the_refusal_says_what_remains(ledger) -> None:
    book(ledger, Gaussian(0.35, "scorer"))
    before = ledger.content()
    spent, alone = epsilon_of_mu(0.35, 1e-5), epsilon_of_mu(0.4, 1e-5)
    together = epsilon_of_mu(math.hypot(0.35, 0.4), 1e-5)
    assert together > 2.0 > alone
    with pytest.raises(InputError) as refused:
        book(ledger, Gaussian(0.4, "scorer"))
    line = str(refused.value)
    for number in (spent, alone, together):
        assert shown(number) in line
    assert f"{shown(2.0 - spent, 'ROUND_FLOOR')} remains" in line
    assert "nothing was booked" in line
    assert ledger.content() == before


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 3.7])
def test_noise_made_for_the_whole_budget_fits_and_nothing_beside_it(path, epsilon) -> None:
    ledger = BudgetLedger.create(path, Budget("patient_id", "zero_out", epsilon, 1e-6))
    book(ledger, Gaussian(EpsilonTarget(epsilon, 1e-6).mu(), "scorer"))
    with pytest.raises(InputError, match="remains"):
        book(ledger, Gaussian(1e-3, "scorer"))


def test_what_is_known_at_a_larger_delta_only_is_refused(ledger) -> None:
    with pytest.raises(InputError, match="inf would be spent"):
        book(ledger, EpsilonDelta(0.1, 1e-3, "upstream"))


@pytest.mark.parametrize(
    "changed", [{"unit": "visit"}, {"adjacency": "add_remove"}, {"adjacency": "replace_one"}]
)
def test_another_unit_or_adjacency_is_refused(ledger, changed) -> None:
    with pytest.raises(InputError, match=r"patient_id \(zero_out\), the booking for one"):
        book(ledger, **changed)
    assert ledger.bookings() == ()


def test_a_changed_set_must_be_announced_and_keeps_what_is_spent(ledger) -> None:
    book(ledger, Gaussian(0.3, "scorer"))
    with pytest.raises(InputError, match="--new-version"):
        book(ledger, fingerprint="f1")
    assert len(ledger.bookings()) == 1
    book(ledger, Gaussian(0.4, "scorer"), fingerprint="f1", new_version=True)
    assert ledger.spent_epsilon() == pytest.approx(epsilon_of_mu(0.5, 1e-5), rel=1e-12)
    for known in ("f0", "f1"):
        book(ledger, Gaussian(0.01, "scorer"), fingerprint=known)
    with pytest.raises(InputError, match="budget is epsilon 2"):
        book(ledger, Gaussian(0.5, "scorer"), fingerprint="f2", new_version=True)


def test_what_no_accountant_composes_is_refused_and_not_booked(path) -> None:
    ledger = BudgetLedger.create(path, Budget("patient_id", "replace_one", 5.0, 1e-5))
    book(ledger, PoissonGaussian(20.0, 0.01, 10, "training"), adjacency="replace_one")
    with pytest.raises(SettingError, match="no accountant"):
        book(ledger, Zcdp(0.001, "selection"), adjacency="replace_one")
    assert len(ledger.bookings()) == 1


def test_a_booking_needs_events_names_and_a_delta(ledger) -> None:
    with pytest.raises(ValueError, match="nothing would be spent"):
        ledger.book((), **SET, request="r")
    with pytest.raises(ValueError, match="delta"):
        book(ledger, delta=math.nan)
    for changed in ({"request": ""}, {"fingerprint": "a\nb"}):
        with pytest.raises(InputError, match="name on one line"):
            book(ledger, **changed)
    assert ledger.bookings() == ()


@pytest.mark.parametrize(
    "changed",
    [{"epsilon": 0}, {"epsilon": math.inf}, {"epsilon": math.nan}, {"delta": 0}, {"delta": 1},
     {"unit": ""}, {"adjacency": "zero out"}],
)  # fmt: skip
def test_a_budget_that_is_none_is_refused(changed) -> None:
    with pytest.raises(SettingError):
        Budget(**({"unit": "u", "adjacency": "zero_out", "epsilon": 1.0, "delta": 1e-5} | changed))


def test_a_budget_is_raised_by_an_announcement_only_and_never_below_what_is_spent(ledger) -> None:
    book(ledger, Gaussian(0.3, "scorer"))
    spent = ledger.spent_epsilon()
    for more in ((3.0, 1e-5), (2.0, 1e-4), (1.9, 1e-4)):
        budget = Budget("patient_id", "zero_out", *more)
        with pytest.raises(InputError, match="--raise"):
            ledger.set_budget(budget)
        ledger.set_budget(budget, raised=True)
        ledger.set_budget(BUDGET, raised=True)
    for less in ((spent * 0.99, 1e-5), (spent, 1e-6)):
        with pytest.raises(InputError, match="spent already"):
            ledger.set_budget(Budget("patient_id", "zero_out", *less))
    with pytest.raises(InputError, match="they are never added"):
        ledger.set_budget(Budget("visit", "zero_out", 2.0, 1e-5), raised=True)
    n_budgets = len(ledger.content().budgets)
    ledger.set_budget(BUDGET)
    assert len(ledger.content().budgets) == n_budgets  # the same budget again is no entry
    ledger.set_budget(Budget("patient_id", "zero_out", spent, 1e-5))
    with pytest.raises(InputError, match="0 remains"):
        book(ledger, Gaussian(0.01, "scorer"))
    assert BudgetLedger.open(ledger.path).content().budgets[0][1] == BUDGET


def test_without_a_ledger_the_refusal_names_the_command(tmp_path) -> None:
    (tmp_path / "empty").touch()
    for name in ("missing", "empty"):
        with pytest.raises(NoBudget, match=r"curation-audit ledger set-budget .*--epsilon E"):
            BudgetLedger.open(tmp_path / name)
    with pytest.raises(InputError, match="is a folder"):
        BudgetLedger.open(tmp_path)
    ledger = BudgetLedger.create(tmp_path / "empty", BUDGET)  # of a creator who was killed
    assert stat.S_IMODE(ledger.path.stat().st_mode) == 0o600
    with pytest.raises(InputError, match="is there already"):
        BudgetLedger.create(ledger.path, BUDGET)
    with pytest.raises(InputError, match="cannot be made"):
        BudgetLedger.create(tmp_path / "nowhere" / "a", BUDGET)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET body = '{}' WHERE id = 2",
        "DELETE FROM entries WHERE id = 2",
        "INSERT OR REPLACE INTO entries VALUES (2, 'booking', '{}', '')",
        "INSERT INTO entries VALUES (9, 'booking', '{}', '')",
    ],
)
def test_entries_are_only_appended(ledger, statement) -> None:
    book(ledger)
    with closing(raw(ledger.path)) as connection, pytest.raises(sqlite3.IntegrityError):
        connection.execute(statement)
    assert len(BudgetLedger.open(ledger.path).bookings()) == 1


def damaged(path: Path, match: str) -> None:
    for use in (BudgetLedger.open, lambda path: book(BudgetLedger(path))):
        with pytest.raises(InputError, match=match) as told:
            use(path)
        assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("statements", "match"),
    [
        (["DROP TRIGGER no_removal"], "triggers were changed"),
        (["CREATE TABLE more (a)"], "triggers were changed"),
        (["PRAGMA user_version=2"], "version 2, expected 1"),
        (["PRAGMA application_id=7"], "another program"),
    ],
)
def test_a_changed_schema_is_refused(ledger, statements, match) -> None:
    book(ledger)
    with closing(raw(ledger.path)) as connection:
        for statement in statements:
            connection.execute(statement)
    damaged(ledger.path, match)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ("DELETE FROM entries WHERE id = 2", "entry 2 is not what was written"),
        ("UPDATE entries SET body = replace(body, '0.05', '0.01')", "entry 2 is not what"),
        ("UPDATE entries SET body = x'ff' WHERE id = 1", "entry 1 is not what"),
        ("UPDATE entries SET body = cast(x'ff' AS TEXT) WHERE id = 1", "is damaged"),
        ("DELETE FROM entries", "has lost its budget"),
    ],
)
def test_altered_entries_are_told_by_their_seals(ledger, change, match) -> None:
    for request in ("one", "two"):
        book(ledger, request=request)
    with closing(raw(ledger.path)) as connection:
        for name in ("no_change", "no_removal"):
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(change)
        for statement in budget_ledger.SCHEMA[1:3]:
            connection.execute(statement)
    damaged(ledger.path, match)


@pytest.mark.parametrize(
    "body", ['{"mu": NaN}', "[]", "3", "{}", "no JSON", '{"time": "t", "unit": "u", "n": 3}']
)
@pytest.mark.parametrize("kind", ["budget", "booking", "other"])
def test_a_sealed_entry_that_means_nothing_is_refused(ledger, kind, body, monkeypatch) -> None:
    monkeypatch.setattr(budget_ledger.json, "dumps", lambda *_, **__: body)
    with budget_ledger._writing(ledger.path) as connection:
        budget_ledger._append(connection, kind, {})
    damaged(ledger.path, "entry 2 cannot be read")


def test_a_damaged_file_is_told_in_one_line(ledger) -> None:
    for number in range(40):
        book(ledger, Gaussian(1e-3, "scorer " * 50), request=f"r{number}")
    whole = ledger.path.read_bytes()
    half = len(whole) // 2
    for bad in (
        b"no database " * 1000,
        whole[:half],
        whole[:-100],
        whole[:50],
        b"\xff" * 100 + whole[100:],
        whole[:half] + b"\xff" * 4096 + whole[half + 4096 :],
        whole[:4096] + b"\0" * (len(whole) - 4096),
        whole.replace(b"scorer", b"scores", 1),
    ):
        ledger.path.write_bytes(bad)
        damaged(ledger.path, "is damaged|no budget ledger|not what was written|another program")
    with pytest.raises(InputError):
        BudgetLedger.create(ledger.path, BUDGET)
    ledger.path.write_bytes(whole)
    assert len(BudgetLedger.open(ledger.path).bookings()) == 40


def test_a_foreign_database_stays_as_it_was(path) -> None:
    with closing(raw(path)) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    before = path.read_bytes()
    damaged(path, "another program")
    with pytest.raises(InputError, match="is there already"):
        BudgetLedger.create(path, BUDGET)
    assert path.read_bytes() == before


def test_a_full_disk_books_nothing(ledger, monkeypatch) -> None:
    book(ledger)
    connect = budget_ledger._connect

    def full(path: Path) -> sqlite3.Connection:
        connection = connect(path)
        n_pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={n_pages}")
        return connection

    monkeypatch.setattr(budget_ledger, "_connect", full)
    with pytest.raises(InputError, match="disk is full: nothing was booked"):
        book(ledger, Gaussian(0.01, "x" * 20_000))
    monkeypatch.undo()
    assert len(BudgetLedger.open(ledger.path).bookings()) == 1
    book(ledger)


def test_a_file_that_cannot_grow_books_nothing(ledger) -> None:
    book(ledger)
    script = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
try:
    run("x" * 100_000)
except InputError as error:
    print(error)
"""
    out = subprocess.run(writer(ledger.path, script), capture_output=True, text=True, timeout=60)
    assert "nothing was booked" in out.stdout, out.stderr
    assert len(BudgetLedger.open(ledger.path).bookings()) == 1
    book(ledger)


def test_a_ledger_that_cannot_be_written_is_told(ledger, monkeypatch) -> None:
    uri = f"{ledger.path.resolve().as_uri()}?mode=ro"
    monkeypatch.setattr(
        budget_ledger, "_connect", lambda _: sqlite3.connect(uri, uri=True, isolation_level=None)
    )
    assert BudgetLedger.open(ledger.path).budget == BUDGET
    with pytest.raises(InputError, match="cannot be written"):
        book(ledger)


def test_a_ledger_that_stays_busy_is_told(ledger, monkeypatch) -> None:
    assert budget_ledger.BUSY_SECONDS == 60
    monkeypatch.setattr(budget_ledger, "BUSY_SECONDS", 0.05)
    with closing(raw(ledger.path)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert BudgetLedger.open(ledger.path).spent_epsilon() == 0.0  # readers do not wait
        with pytest.raises(InputError, match="another process is booking"):
            book(ledger)
    book(ledger)


HEAD = """
import sys, threading, time
from pathlib import Path
from curation_audit.checks import InputError
from curation_audit.dp import budget_ledger
from curation_audit.dp.budget_ledger import BudgetLedger
from curation_audit.dp.events import Gaussian

ledger = BudgetLedger.open(Path(sys.argv[1]))

def run(what="scorer", request="r", mu=0.05):
    return ledger.book((Gaussian(mu, what),), unit="patient_id", adjacency="zero_out", delta=1e-5,
                       fingerprint="f0", request=request)
"""


def writer(path: Path, script: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", HEAD + script, str(path), *map(str, arguments)]


def test_of_200_writers_at_once_as_many_book_as_the_budget_admits(path) -> None:
    n_admitted, mu = 37, 0.05
    epsilon = epsilon_of_mu(mu * math.sqrt(n_admitted + 0.5), 1e-5)
    ledger = BudgetLedger.create(path, Budget("patient_id", "zero_out", epsilon, 1e-5))
    script = """
def one(number):
    try:
        run(request=f"{sys.argv[2]}-{number}")
        said.append("booked")
    except InputError as error:
        said.append("refused" if "remains" in str(error) else str(error))

said = []
print("ready", flush=True)
sys.stdin.readline()
threads = [threading.Thread(target=one, args=(number,)) for number in range(50)]
for thread in threads: thread.start()
for thread in threads: thread.join()
for line in said: print(line)
"""
    crowd = [
        subprocess.Popen(
            writer(path, script, number), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for number in range(4)
    ]
    for one in crowd:
        assert one.stdout.readline() == "ready\n"
    for one in crowd:
        one.stdin.write("go\n")
        one.stdin.flush()
    said = [line for one in crowd for line in one.communicate(timeout=120)[0].splitlines()]
    assert (said.count("booked"), said.count("refused")) == (n_admitted, 200 - n_admitted), {*said}
    bookings = BudgetLedger.open(path).bookings()
    assert [one.number for one in bookings] == [*range(1, n_admitted + 1)]
    assert len({one.request for one in bookings}) == n_admitted
    assert ledger.spent_epsilon() <= epsilon


@pytest.mark.parametrize("place", ["_check_budget", "_append"])
def test_a_writer_killed_in_mid_transaction_leaves_nothing_half_done(ledger, place) -> None:
    first = book(ledger, request="one")
    script = f"""
real = budget_ledger.{place}

def stop(*arguments):
    real(*arguments)
    print("inside", flush=True)
    time.sleep(600)

budget_ledger.{place} = stop
run(request="killed")
"""
    with subprocess.Popen(writer(ledger.path, script), stdout=subprocess.PIPE, text=True) as one:
        assert one.stdout.readline() == "inside\n"
        one.send_signal(signal.SIGKILL)
    assert BudgetLedger.open(ledger.path).bookings() == (first,)
    second = book(ledger, request="two")
    assert BudgetLedger.open(ledger.path).bookings() == (first, second)


def test_what_a_killed_writer_was_told_is_booked_is_there(ledger) -> None:
    script = """
for number in range(10_000):
    print(run(request=f"r{number}", mu=1e-4).request, flush=True)
"""
    with subprocess.Popen(writer(ledger.path, script), stdout=subprocess.PIPE, text=True) as one:
        told = [one.stdout.readline().strip() for _ in range(10)]
        one.send_signal(signal.SIGKILL)
        told += one.stdout.read().split()
    booked = [one.request for one in BudgetLedger.open(ledger.path).bookings()]
    assert booked[: len(told)] == told
    assert len(booked) - len(told) in (0, 1)  # it may die between COMMIT and telling


EVENTS = st.one_of(
    st.builds(Gaussian, st.floats(0.01, 1.0), st.just("a")),
    st.builds(Zcdp, st.floats(1e-4, 0.2), st.just("b")),
    st.builds(Pure, st.floats(0.01, 0.5), st.just("c"), st.integers(1, 3)),
    st.builds(EpsilonDelta, st.floats(0, 0.5), st.floats(0, 5e-6), st.just("d")),
)


@settings(max_examples=25)
@given(st.lists(st.lists(EVENTS, min_size=1, max_size=2), min_size=1, max_size=5))
def test_no_sequence_of_bookings_exceeds_the_budget(requests) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ledger = BudgetLedger.create(Path(folder) / "a.ledger", BUDGET)
        booked = 0
        for events in requests:
            with contextlib.suppress(InputError):
                book(ledger, *events)
                booked += 1
            assert ledger.spent_epsilon() <= BUDGET.epsilon * (1 + 1e-9)
            assert len(ledger.bookings()) == booked


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root becomes another")
def test_somebody_else_cannot_read_it() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        ledger = BudgetLedger.create(Path(folder) / "a.ledger", BUDGET)
        os.seteuid(65534)
        try:
            with pytest.raises(InputError, match="cannot be opened"):
                BudgetLedger.open(ledger.path)
            with pytest.raises(InputError, match="cannot be made"):
                BudgetLedger.create(Path(folder) / "b.ledger", BUDGET)
        finally:
            os.seteuid(0)


def test_shown_rounds_up_but_not_what_summing_rounds() -> None:
    assert shown(1.0000000000024) == "1"
    assert shown(1.00000101) == "1.00001"
    assert shown(math.inf) == "inf"
    assert shown(0.0) == "0"
    assert shown(1.9999999, "ROUND_FLOOR") == "1.99999"
