"""Progress on standard error: bars for people, lines for logs."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from curation_audit.results import duration

if TYPE_CHECKING:
    from curation_audit.auditing.progress import Progress

SECONDS_BETWEEN_LINES = 5.0


def choose_progress(*, quiet: bool, json_logs: bool) -> "Progress":
    """Bars on a terminal, plain lines elsewhere, JSON lines or silence where asked for."""
    from curation_audit.auditing.progress import Silence

    if json_logs:
        return Lines(sys.stderr, _json_line)
    if quiet:
        return Silence()
    return Bars() if sys.stderr.isatty() else Lines(sys.stderr, _plain_line)


class Bars:
    """Progress bars with the time left, on standard error."""

    @contextmanager
    def phase(self, name: str, total: int) -> Iterator[Callable[[int], None]]:
        """One bar per phase; it stays when the phase is over."""
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description:<12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True)) as bars:
            task = bars.add_task(name, total=total)
            yield lambda steps: bars.advance(task, steps)


class Lines:
    """One line when a phase starts, when it ends, and every few seconds between."""

    def __init__(
        self, file: TextIO, line: Callable[[str, int, int, float, float | None], str]
    ) -> None:
        """Write to ``file`` what ``line`` makes of (phase, done, total, seconds, left)."""
        self._file, self._line = file, line

    @contextmanager
    def phase(self, name: str, total: int) -> Iterator[Callable[[int], None]]:
        """Count the steps of one phase."""
        started = shown = time.monotonic()
        done = skipped = 0

        def show() -> None:
            spent = time.monotonic() - started
            fresh = done - skipped
            left = spent / fresh * (total - done) if fresh > 0 else None
            self._file.write(self._line(name, done, total, spent, left) + "\n")
            self._file.flush()

        def advance(steps: int) -> None:
            nonlocal done, shown, skipped
            done += steps
            if time.monotonic() - started < 0.05:
                skipped = done  # found in the store: says nothing about the speed
            if time.monotonic() - shown > SECONDS_BETWEEN_LINES and done < total:
                shown = time.monotonic()
                show()

        show()
        yield advance
        show()


def _plain_line(name: str, done: int, total: int, spent: float, left: float | None) -> str:
    rest = f", about {duration(left)} left" if left and done < total else ""
    return f"{name}: {done}/{total} after {duration(spent)}{rest}"


def _json_line(name: str, done: int, total: int, spent: float, left: float | None) -> str:
    return json.dumps(
        {
            "event": "progress",
            "phase": name,
            "done": done,
            "total": total,
            "seconds": round(spent, 3),
            "seconds_left": None if left is None else round(left, 3),
        }
    )
