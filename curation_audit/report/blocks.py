"""A document as a list of plain blocks; Markdown and PDF are written from the same ones.

All text is plain: whoever writes a block escapes it for the format at hand.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from curation_audit.report import words


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading; level 1 is the title, and stands once."""

    text: str
    level: int = 2


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Running text; ``strong`` is what comes first, stressed."""

    text: str
    strong: str = ""


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list without numbers."""

    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows below a head; ``widths`` are shares of the page, equal where none are given."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    widths: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Figure:
    """An inline SVG and what stands below it; no block of its own."""

    svg: str
    caption: str


@dataclass(frozen=True, slots=True)
class Figures:
    """One or two figures side by side."""

    items: tuple[Figure, ...]


@dataclass(frozen=True, slots=True)
class Code:
    """Lines kept as they are."""

    text: str


Block: TypeAlias = Heading | Paragraph | Bullets | Table | Figures | Code


def with_interval(estimate: dict[str, Any] | None, form: Any) -> str:
    """An estimate and its interval, each in one form of ``words``.

    >>> with_interval({"value": 0.5, "low": 0.4, "high": 0.6}, words.decimal)
    '0.500 (0.400 to 0.600)'
    >>> with_interval(None, words.decimal)
    'not measured'
    """
    if estimate is None:
        return words.NOT_MEASURED
    low, high = form(estimate["low"]), form(estimate["high"])
    return f"{form(estimate['value'])} ({low} to {high})"


def rate_at(point: dict[str, Any] | None) -> str:
    """The TPR of an operating point; words where there is none."""
    if point is None:
        return words.NOT_MEASURED
    if point["status"] != "resolved":
        return "not resolvable"
    return with_interval(point["tpr"], words.percent)


def pairs(caption: str, head: tuple[str, str], rows: Sequence[tuple[str, Any]]) -> Table:
    """A table of names and values, the names in a third of the page."""
    return Table(caption, head, tuple((name, str(value)) for name, value in rows), (1, 2))
