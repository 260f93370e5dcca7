"""The whole report as a PDF on A4: selectable text, figures as vectors, the same bytes every time.

Written by fpdf2 (extra ``pdf``), which needs no system package. Cells and paragraphs are plain
text for it, never markup. Fonts are those that matplotlib brings.
"""

import io
import re
import textwrap
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import singledispatchmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from curation_audit.report.blocks import (
    Block,
    Bullets,
    Code,
    Figure,
    Figures,
    Heading,
    Paragraph,
    Table,
)
from curation_audit.report.document import document
from curation_audit.report.health import UNMEASURED, Part
from curation_audit.report.summary import title
from curation_audit.report.svg import WIDTH, with_plain_colours

if TYPE_CHECKING:
    from fpdf import FPDF

FAMILY, MONO = "DejaVu Sans", "DejaVu Sans Mono"
FONTS: Final = (
    (FAMILY, "", "DejaVuSans.ttf"),
    (FAMILY, "B", "DejaVuSans-Bold.ttf"),
    (FAMILY, "I", "DejaVuSans-Oblique.ttf"),
    (MONO, "", "DejaVuSansMono.ttf"),
)
DATE: Final = datetime(1980, 1, 1, tzinfo=UTC)  # when a report was made is no part of it
MARGIN, FOOT, LINE = 18.0, 16.0, 4.6  # mm
SIZES: Final = {1: 18.0, 2: 13.0, 3: 11.0}  # points, by level of the heading
BODY, SMALL = 9.5, 8.0
ROOM_BELOW_HEADING, ROOM_FOR_TABLE = (
    55.0,
    28.0,
)  # mm; with less than that left, a heading moves to the next page
FIGURE_WIDTH, GAP = 84.0, 6.0  # two stand side by side
INK, SOFT = (29, 36, 48), (74, 84, 98)
LONGEST_CELL = 400  # characters; what is longer goes on in another row, as rows are never cut


def render_pdf(report: dict[str, Any], health: Part = UNMEASURED) -> bytes:
    """The whole report; needs fpdf2."""
    page = _Page(report)
    for block in document(report, health):
        page.put(block)
    return page.bytes()


class _Page:
    """A document that grows block by block."""

    def __init__(self, report: dict[str, Any]) -> None:
        self._pdf = _new_document()
        self._pdf.set_title(_printable(title(report)))
        self._pdf.set_author(f"{report['tool']['name']} {report['tool']['version']}")
        self._pdf.set_subject(_printable(f"{report['verdict']['status']}, seed {report['seed']}"))
        self._pdf.add_page()

    def bytes(self) -> bytes:
        """The finished document."""
        return bytes(self._pdf.output())

    @singledispatchmethod
    def put(self, block: Block) -> None:
        """Add a block."""
        raise TypeError(f"no block: {block}")

    @put.register
    def _(self, block: Heading) -> None:
        pdf, size = self._pdf, SIZES[block.level]
        if pdf.will_page_break(ROOM_BELOW_HEADING):
            pdf.add_page()
        elif block.level > 1:
            pdf.ln(4)
        text = _printable(block.text)
        pdf.start_section(text, level=max(block.level - 2, 0))
        self._write(text, "B", size, line=0.45 * size)
        pdf.ln(1.5)

    @put.register
    def _(self, block: Paragraph) -> None:
        if block.strong:
            self._write(_printable(block.strong), "B", BODY + 1)
        self._write(_printable(block.text))
        self._pdf.ln(1.5)

    @put.register
    def _(self, block: Bullets) -> None:
        for item in block.items:
            self._write(f"•  {_printable(item)}")
            self._pdf.ln(0.7)
        self._pdf.ln(1.5)

    @put.register
    def _(self, block: Code) -> None:
        self._pdf.set_font(MONO, "", SMALL)
        self._pdf.set_text_color(*INK)
        lines = "\n".join(_printable(line) for line in block.text.splitlines())
        self._pdf.multi_cell(0, 3.8, lines, align="L", new_x="LMARGIN", new_y="NEXT")
        self._pdf.ln(2)

    @put.register
    def _(self, block: Figures) -> None:
        pdf = self._pdf
        scales = [FIGURE_WIDTH / _size(one.svg)[0] for one in block.items]
        heights = [_size(one.svg)[1] * s for one, s in zip(block.items, scales, strict=True)]
        if pdf.will_page_break(max(heights) + 4 * LINE):
            pdf.add_page()
        top, bottom = pdf.y, 0.0
        for i, (one, height) in enumerate(zip(block.items, heights, strict=True)):
            x, y = MARGIN + i * (FIGURE_WIDTH + GAP), top + max(heights) - height
            self._draw(one, x, y)
            pdf.set_xy(x, top + max(heights))
            self._write(_printable(one.caption), "I", SMALL, SOFT, width=FIGURE_WIDTH)
            bottom = max(bottom, pdf.y)
        pdf.set_xy(MARGIN, bottom + 2)

    @put.register
    def _(self, block: Table) -> None:
        pdf = self._pdf
        if pdf.will_page_break(ROOM_FOR_TABLE):
            pdf.add_page()
        self._write(_printable(block.caption), "I", SMALL, SOFT)
        pdf.ln(0.8)
        pdf.set_font(FAMILY, "", SMALL)
        pdf.set_text_color(*INK)
        pdf.set_draw_color(*SOFT)
        with pdf.table(
            borders_layout="HORIZONTAL_LINES",
            text_align="LEFT",
            v_align="TOP",
            line_height=LINE - 0.8,
            padding=(0.9, 1.2, 0.9, 0.3),
            col_widths=block.widths or (1,) * len(block.head),
        ) as table:
            for row in (block.head, *block.rows):
                for part in _short_rows(row):
                    table.row(part)
        pdf.ln(3)

    def _draw(self, figure: Figure, x: float, y: float) -> None:
        source = io.BytesIO(_for_fpdf(figure.svg).encode())
        told = _printable(_described(figure.svg))
        self._pdf.image(source, x, y, w=FIGURE_WIDTH, alt_text=told)

    def _write(
        self,
        text: str,
        style: str = "",
        size: float = BODY,
        colour: tuple[int, int, int] = INK,
        line: float = LINE,
        width: float = 0,
    ) -> None:
        """One paragraph, over the whole width where none is given."""
        self._pdf.set_font(FAMILY, style, size)
        self._pdf.set_text_color(*colour)
        self._pdf.multi_cell(width, line, text, align="L", new_x="LMARGIN", new_y="NEXT")


def _new_document() -> "FPDF":
    """An empty A4 document with fonts, language and a footer that counts pages."""
    import matplotlib
    from fpdf import FPDF

    class Document(FPDF):
        def footer(self) -> None:
            self.set_y(-FOOT + 4)
            self.set_font(FAMILY, "", SMALL)
            self.set_text_color(*SOFT)
            self.cell(0, 5, f"{self.page_no()} / {{nb}}", align="C")

    pdf = Document(format="A4", unit="mm")
    pdf.set_margins(MARGIN, MARGIN)
    pdf.set_auto_page_break(True, FOOT + 2)
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    for family, style, file in FONTS:
        pdf.add_font(family, style, folder / file)
    pdf.set_lang("en")
    pdf.set_creator("curation-audit")
    pdf.set_creation_date(DATE)
    return pdf


def _short_rows(row: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """A row, or several where a cell is too long to be sure that a page holds it."""
    columns = [textwrap.wrap(_printable(cell), LONGEST_CELL) or [""] for cell in row]
    for i in range(max(map(len, columns))):
        yield tuple(parts[i] if i < len(parts) else "" for parts in columns)


def _printable(text: str) -> str:
    """Text without control characters; what the font lacks shows as a box."""
    return "".join(c if c.isprintable() else " " for c in text)


def _size(figure: str) -> tuple[float, float]:
    found = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', figure)
    return (float(found[1]), float(found[2])) if found else (WIDTH, WIDTH)


def _described(figure: str) -> str:
    """The words for who cannot see a figure."""
    from html import unescape

    found = re.search(r'aria-label="([^"]*)"', figure)
    return unescape(found[1]) if found else ""


def _for_fpdf(figure: str) -> str:
    """A figure as fpdf2 reads it: a namespace, plain colours, one font, ids that are one word."""
    text = with_plain_colours(figure).replace(
        "<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1
    )
    text = re.sub(r"<title>[^<]*</title>", "", text).replace(", Verdana, sans-serif", "")
    named = r'(\bid="|href="#|url\(#)([\w-]+)'
    return re.sub(named, lambda found: found[1] + found[2].replace("-", "_"), text)
