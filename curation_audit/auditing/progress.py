"""How an audit tells how far it is; what is done with it is the caller's choice."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TypeAlias

Advance: TypeAlias = Callable[[int], None]


class Progress(Protocol):
    """A bar, a log, or silence."""

    def phase(self, name: str, total: int) -> AbstractContextManager[Advance]:
        """Open a phase of ``total`` steps; the value entered is called with steps done."""
        ...


class Silence:
    """No progress is shown."""

    @contextmanager
    def phase(self, name: str, total: int) -> Iterator[Advance]:
        """Count nothing."""
        yield lambda _steps: None
