"""The budget of one private set on disk: every real release is booked before its noise is drawn.

One append-only SQLite file per declared set. A booking reads all events, composes them with the
new ones and commits in one transaction: two processes cannot both spend the last epsilon, and a
crash before the draw counts as spent. Seals tell accidents, not an owner who wants to cheat.
"""

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from pathlib import Path
from typing import Any, Final, get_args

from curation_audit import checks
from curation_audit.checks import InputError, SettingError
from curation_audit.dp.claims import LARGEST_EPSILON
from curation_audit.dp.event_codec import decoded, encoded
from curation_audit.dp.events import Event
from curation_audit.dp.ledger import Ledger
from curation_audit.results import Adjacency

APPLICATION_ID: Final = int.from_bytes(b"CAbl")
SCHEMA_VERSION: Final = 1
BUSY_SECONDS: Final = 60.0
ROUNDING: Final = 1e-9
SCHEMA: Final = (
    "CREATE TABLE entries (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, body TEXT NOT NULL, "
    "seal TEXT NOT NULL)",
    "CREATE TRIGGER no_change BEFORE UPDATE ON entries "
    "BEGIN SELECT RAISE(ABORT, 'entries are never changed'); END",
    "CREATE TRIGGER no_removal BEFORE DELETE ON entries "
    "BEGIN SELECT RAISE(ABORT, 'entries are never removed'); END",
    # INSERT OR REPLACE removes a row without a trigger on DELETE
    "CREATE TRIGGER only_next BEFORE INSERT ON entries "
    "WHEN NEW.id <> (SELECT COUNT(*) FROM entries) + 1 "
    "BEGIN SELECT RAISE(ABORT, 'entries are only appended'); END",
)
HOW: Final = "run: curation-audit ledger set-budget {} --epsilon E --delta D --unit U --adjacency A"
DAMAGED: Final = "bring a copy back, and book by hand what was released since"
PROBLEMS: Final = {
    sqlite3.SQLITE_BUSY: ("another process is booking", "wait for it, and try again"),
    sqlite3.SQLITE_READONLY: ("cannot be written", "make the file and its folder writable"),
    sqlite3.SQLITE_FULL: ("the disk is full: nothing was booked", "make room, and try again"),
    sqlite3.SQLITE_IOERR: ("the disk failed or is full: nothing was booked", "make room"),
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened", "make the file and its folder writable"),
    sqlite3.SQLITE_NOTADB: ("is no budget ledger", "name another file"),
}


class NoBudget(InputError):
    """There is no ledger yet; ``BudgetLedger.create`` makes it."""


@dataclass(frozen=True, slots=True)
class Budget:
    """At most ``epsilon`` at ``delta``, for ever, about one ``unit`` of the set."""

    unit: str
    adjacency: Adjacency
    epsilon: float
    delta: float

    def __post_init__(self) -> None:
        """Check all four."""
        _check_word("budget.unit", self.unit)
        checks.one_of("budget.adjacency", self.adjacency, get_args(Adjacency))
        if not 0 < self.epsilon <= LARGEST_EPSILON:
            hint = f"expected more than 0 and at most {LARGEST_EPSILON:g}"
            raise SettingError("budget.epsilon", f"found {self.epsilon}", hint)
        if not 0 < self.delta < 1:
            raise SettingError("budget.delta", f"found {self.delta}", "expected it in (0, 1)")

    def allows(self, epsilon: float) -> bool:
        """Noise made for the whole budget may miss it by a rounding error; NaN is never allowed."""
        return epsilon <= self.epsilon * (1 + ROUNDING)


@dataclass(frozen=True, slots=True)
class Booking:
    """One release that was paid for.

    ``number`` counts from 1. ``delta`` is the one its noise was made for; the budget's is what
    counts. ``fingerprint``: of this version of the set. ``time``: UTC, ISO 8601.
    """

    number: int
    time: str
    request: str
    events: tuple[Event, ...]
    unit: str
    adjacency: Adjacency
    delta: float
    fingerprint: str

    def __post_init__(self) -> None:
        """Check what could not be booked under any budget."""
        for name in ("time", "request", "unit", "fingerprint"):
            _check_word(f"booking.{name}", getattr(self, name))
        checks.one_of("booking.adjacency", self.adjacency, get_args(Adjacency))
        if not self.events:
            raise ValueError("events must not be empty: nothing would be spent.")
        if not 0 <= self.delta < 1:
            raise ValueError(f"delta must be in [0, 1), got {self.delta}.")

    def tree(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self) | {"events": [encoded(one) for one in self.events]}


@dataclass(frozen=True, slots=True)
class Content:
    """What a ledger held at one moment; ``budgets`` with the times they were set."""

    budgets: tuple[tuple[str, Budget], ...]
    bookings: tuple[Booking, ...]

    @property
    def budget(self) -> Budget:
        """The one in force."""
        return self.budgets[-1][1]

    @property
    def events(self) -> tuple[Event, ...]:
        """Of all bookings, whatever version of the set they were of: versions share units."""
        return tuple(event for booking in self.bookings for event in booking.events)

    def spent(self) -> float:
        """Epsilon at the budget's delta, from above; 0 while nothing was booked."""
        return epsilon_under(self.budget, self.events)

    def remaining(self) -> float:
        """The budget's epsilon less the spent one; epsilons do not add up, so a rough guide."""
        return max(0.0, self.budget.epsilon - self.spent())


def epsilon_under(budget: Budget, events: Sequence[Event]) -> float:
    """What the events spend together at the budget's delta, from above; 0 without events."""
    ledger = Ledger(budget.adjacency, budget.unit, tuple(events))
    return ledger.guarantee().epsilon_at(budget.delta) if events else 0.0


@dataclass(frozen=True, slots=True)
class BudgetLedger:
    """A ledger file; every call reads it again, and raises ``InputError`` where it cannot."""

    path: Path

    @classmethod
    def open(cls, path: Path) -> "BudgetLedger":
        """The ledger in a file, checked from end to end; raises ``NoBudget`` where none is."""
        if not path.exists():
            raise NoBudget(str(path), "holds no ledger", HOW.format(path))
        if path.is_dir():
            raise InputError(str(path), "is a folder", "name the ledger's file")
        with _connected(path) as connection:
            if connection.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
                raise InputError(str(path), "is damaged", DAMAGED)
            _read(connection, path)
        return cls(path)

    @classmethod
    def create(cls, path: Path, budget: Budget) -> "BudgetLedger":
        """A new ledger with its budget, readable by its owner alone."""
        _make_file(path)
        with _connected(path) as connection:
            _refuse_unless_empty(connection, path)
            path.chmod(0o600)
            if connection.execute("PRAGMA journal_mode=WAL").fetchone() != ("wal",):
                hint = "put it on a local disk"
                raise InputError(str(path), "its file system holds no write-ahead log", hint)
        with _writing(path) as connection:
            _refuse_unless_empty(connection, path)
            for statement in SCHEMA:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            _append(connection, "budget", {"time": _now(), **asdict(budget)})
        return cls(path)

    def content(self) -> Content:
        """Everything, at one moment."""
        with _connected(self.path) as connection:
            return _read(connection, self.path)

    @property
    def budget(self) -> Budget:
        """The one in force."""
        return self.content().budget

    def bookings(self) -> tuple[Booking, ...]:
        """All of them, oldest first."""
        return self.content().bookings

    def spent_epsilon(self) -> float:
        """See ``Content.spent``."""
        return self.content().spent()

    def find(self, request: str) -> Booking | None:
        """The newest booking of a request."""
        return next((one for one in reversed(self.bookings()) if one.request == request), None)

    def set_budget(self, budget: Budget, *, raised: bool = False) -> None:
        """Change epsilon or delta; ``raised`` says that giving more away is meant.

        Refused are another unit or adjacency, and less than what is spent.
        """
        with _writing(self.path) as connection:
            content = _read(connection, self.path)
            now = content.budget
            if budget == now:
                return
            _check_neighbours(self.path, now, budget, "the new budget")
            if (budget.epsilon > now.epsilon or budget.delta > now.delta) and not raised:
                problem = f"its budget is epsilon {now.epsilon:g} at delta {now.delta:g}"
                raise InputError(str(self.path), problem, "add --raise to raise it")
            spent = epsilon_under(budget, content.events)
            if not budget.allows(spent):
                problem = f"epsilon {shown(spent)} at delta {budget.delta:g} is spent already"
                raise InputError(str(self.path), problem, "what was released stays released")
            _append(connection, "budget", {"time": _now(), **asdict(budget)})

    def book(
        self,
        events: Iterable[Event],
        *,
        unit: str,
        adjacency: Adjacency,
        delta: float,
        fingerprint: str,
        request: str,
        new_version: bool = False,
    ) -> Booking:
        """Spend the events, for good; to be called before their noise is drawn.

        A request that is booked again is spent again: its noise will be drawn again. Refused are
        more than the budget, another unit or adjacency than its own, and a changed set unless
        ``new_version`` says that this is meant. ``fingerprint`` must not help to guess a row.
        """
        events = tuple(events)
        with _writing(self.path) as connection:
            content = _read(connection, self.path)
            head = (len(content.bookings) + 1, _now(), request, events)
            booking = Booking(*head, unit, adjacency, float(delta), fingerprint)
            _check_neighbours(self.path, content.budget, booking, "the booking")
            if not new_version:
                _check_version(self.path, content, fingerprint)
            _check_budget(self.path, content, events)
            _append(connection, "booking", booking.tree())
        return booking


def shown(value: float, rounding: str = ROUND_CEILING) -> str:
    """Six digits, upwards: what is spent must not shrink on paper."""
    nine = f"{value:.9g}"  # beyond them there is rounding of sums only
    return f"{float(Context(prec=6, rounding=rounding).create_decimal(nine)):g}"


def _check_word(name: str, value: object) -> None:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise SettingError(name, f"found {value!r}", "expected a name on one line")


def _check_neighbours(path: Path, budget: Budget, other: Budget | Booking, what: str) -> None:
    if (other.unit, other.adjacency) != (budget.unit, budget.adjacency):
        problem = (
            f"its budget is for one {budget.unit} ({budget.adjacency}), {what} for one "
            f"{other.unit} ({other.adjacency})"
        )
        hint = "they are never added: state the unit and adjacency of the ledger"
        raise InputError(str(path), problem, hint)


def _check_version(path: Path, content: Content, fingerprint: str) -> None:
    if content.bookings and all(one.fingerprint != fingerprint for one in content.bookings):
        raise InputError(
            str(path),
            "no booking was of this version of the private set",
            "if it was changed add --new-version, in Python new_version=True (what is spent stays)",
        )


def _check_budget(path: Path, content: Content, events: tuple[Event, ...]) -> None:
    budget = content.budget
    together = epsilon_under(budget, (*content.events, *events))
    if not budget.allows(together):
        raise InputError(
            str(path),
            f"the budget is epsilon {budget.epsilon:g} at delta {budget.delta:g}, and "
            f"{shown(together)} would be spent: {shown(content.spent())} is so already, the "
            f"release alone asks for {shown(epsilon_under(budget, events))}, "
            f"{shown(content.remaining(), ROUND_FLOOR)} remains",
            "nothing was booked; ask for less, or raise the budget by ledger set-budget --raise",
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _make_file(path: Path) -> None:
    """With its mode from the start; SQLite gives the same one to the files beside it."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        pass
    except OSError as error:
        problem = f"cannot be made ({error.strerror})"
        raise InputError(str(path), problem, "name one in a writable folder") from None


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=BUSY_SECONDS, isolation_level=None
    )


@contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection of its own for every call: threads and forks share none."""
    try:
        with closing(_connect(path)) as connection:
            yield connection
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        raise InputError(str(path), *PROBLEMS.get(code, ("is damaged", DAMAGED))) from None


@contextmanager
def _writing(path: Path) -> Iterator[sqlite3.Connection]:
    """One transaction, on the disk when this is left; closing without COMMIT takes it back."""
    with _connected(path) as connection:
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        connection.execute("COMMIT")


def _is_empty(connection: sqlite3.Connection) -> bool:
    """Whether nobody wrote anything yet: a file just made, or by somebody who was killed then."""
    things = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]
    return not things and connection.execute("PRAGMA application_id").fetchone() == (0,)


def _refuse_unless_empty(connection: sqlite3.Connection, path: Path) -> None:
    if not _is_empty(connection):
        raise InputError(str(path), "is there already", "open it, or name another file")


def _append(connection: sqlite3.Connection, kind: str, tree: dict[str, Any]) -> None:
    last = connection.execute("SELECT id, seal FROM entries ORDER BY id DESC LIMIT 1").fetchone()
    number, seal = last or (0, "")
    body = json.dumps(tree, sort_keys=True, allow_nan=False)
    row = (number + 1, kind, body, _seal(seal, kind, body))
    connection.execute("INSERT INTO entries VALUES (?, ?, ?, ?)", row)


def _seal(before: str, kind: str, body: str) -> str:
    return hashlib.sha256(f"{before}\n{kind}\n{body}".encode()).hexdigest()


def _check_schema(connection: sqlite3.Connection, path: Path) -> None:
    if _is_empty(connection):
        raise NoBudget(str(path), "holds no budget", HOW.format(path))
    if connection.execute("PRAGMA application_id").fetchone() != (APPLICATION_ID,):
        raise InputError(str(path), "is the database of another program", "name another file")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != SCHEMA_VERSION:
        problem = f"is a ledger of version {version}, expected {SCHEMA_VERSION}"
        raise InputError(str(path), problem, "use the release of this tool that wrote it")
    if {row[0] for row in connection.execute("SELECT sql FROM sqlite_master")} != {*SCHEMA}:
        raise InputError(str(path), "its table or its triggers were changed", DAMAGED)


def _read(connection: sqlite3.Connection, path: Path) -> Content:
    """All entries, each checked against its seal."""
    _check_schema(connection, path)
    rows = connection.execute("SELECT id, kind, body, seal FROM entries ORDER BY id").fetchall()
    budgets, bookings, before = list[tuple[str, Budget]](), list[Booking](), ""
    for number, (identity, kind, body, seal) in enumerate(rows, 1):
        if identity != number or seal != _seal(before, kind, body):
            raise InputError(str(path), f"entry {number} is not what was written", DAMAGED)
        before = seal
        try:
            tree = json.loads(body)
            if kind == "budget":
                budgets.append((tree.pop("time"), Budget(**tree)))
            else:
                events = tuple(decoded(one) for one in tree.pop("events"))
                bookings.append(Booking(**tree, events=events))
        except (ValueError, TypeError, KeyError, AttributeError, InputError):
            raise InputError(str(path), f"entry {number} cannot be read", DAMAGED) from None
    if not budgets:
        raise InputError(str(path), "has lost its budget", DAMAGED)
    return Content(tuple(budgets), tuple(bookings))
