"""The short report as Markdown; names of the user's cannot become markup."""

import re
import string
from typing import Any, Final

from curation_audit.report.blocks import Block, Bullets, Code, Figures, Heading, Paragraph, Table
from curation_audit.report.document import document
from curation_audit.report.health import UNMEASURED, Part
from curation_audit.report.summary import summary

# Entities where a backslash would still let HTML or a mention through; signs that only mean
# something at the start of a line are handled there.
_SIGNS: Final = {c: f"\\{c}" for c in string.punctuation if c not in ".,;:%()'/=?-+\""}
_ESCAPES: Final = str.maketrans(
    _SIGNS | {"<": "&lt;", ">": "&gt;", "&": "&amp;", "@": "@&#8203;", '"': "&quot;"}
)
_START: Final = re.compile(r"^(\d*)([-+=]|(?<=\d)[.)](?=\s|$))")
_ADDRESS: Final = re.compile(r"(?i)\b(https?|ftp|mailto|www)(?=[:.])")


def render_markdown(report: dict[str, Any], health: Part = UNMEASURED) -> str:
    """The short report."""
    return written(list(summary(report, health)))


def render_whole_markdown(report: dict[str, Any], health: Part = UNMEASURED) -> str:
    """The whole report, but for its figures."""
    return written(list(document(report, health)))


def written(blocks: list[Block]) -> str:
    """Blocks as Markdown with tables; figures are left out."""
    return "\n\n".join(text for block in blocks if (text := _block(block))) + "\n"


def escaped(text: str) -> str:
    r"""A line of text that shows as it is.

    >>> escaped("a_b <i>"), escaped("1. one"), escaped("- two"), escaped("1.5 www.x")
    ('a\\_b &lt;i&gt;', '1\\. one', '\\- two', '1.5 www&#8203;.x')
    """
    return _START.sub(r"\1\\\2", _inline(text))


def _inline(text: str) -> str:
    """Text that shows as it is after something else in its line; no address becomes a link."""
    printed = "".join(c if c.isprintable() else " " for c in text)
    return _ADDRESS.sub(r"\1&#8203;", " ".join(printed.split()).translate(_ESCAPES))


def _block(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {escaped(text)}"
        case Paragraph(text, strong):
            return f"**{escaped(strong)}** {escaped(text)}" if strong else escaped(text)
        case Bullets(items):
            return "\n".join(f"- {escaped(item)}" for item in items)
        case Table(caption, head, rows, _):
            lines = [_row(head), "|---" * len(head) + "|", *map(_row, rows)]
            return f"{escaped(caption)}\n\n" + "\n".join(lines)
        case Code(text):
            return "\n".join(f"    {line}" for line in text.splitlines())
        case Figures():
            return ""


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(map(_inline, cells))} |"
