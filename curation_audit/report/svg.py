"""Figures as inline SVG that are the same bytes every time.

Only matplotlib's object interface is used; pyplot and its global figures are never loaded. Colours
become variables that style.css sets anew for a dark screen; each names its colour for elsewhere.
"""

import io
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

# Figures are drawn 360 units wide and shown at least at a phone's 350 pixels, so that a font
# size is about the number of pixels on a phone.
WIDTH: Final = 360
STYLE: Final[Any] = {  # releases of matplotlib type the keys differently
    "axes.edgecolor": "#5b6470",
    "axes.grid": True,
    "axes.labelcolor": "#1d2430",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.family": ["DejaVu Sans"],
    "font.size": 12.0,
    "grid.color": "#e3e7ec",
    "legend.fontsize": 12.0,
    "legend.frameon": False,
    "savefig.bbox": "standard",
    "svg.fonttype": "none",
    "svg.hashsalt": "curation-audit",
    "text.color": "#1d2430",
    "text.usetex": False,
    "xtick.color": "#3c4653",
    "ytick.color": "#3c4653",
}
# What each colour is for; style.css has the same names for a dark screen.
PALETTE: Final = {
    "#ffffff": "paper",
    "#1d2430": "ink",
    "#3c4653": "tick",
    "#5b6470": "axis",
    "#e3e7ec": "grid",
    "#b9c2cc": "step",
    "#e9ecf0": "region",
    "#0072b2": "blue",
    "#d55e00": "orange",
    "#009e73": "green",
    "#cc79a7": "pink",
    "#56b4e9": "sky",
    "#e69f00": "amber",
    "#8fbddb": "bar",
    "#6ba3c9": "bar-edge",
}
HOVER: Final = "hover: "


def style() -> "AbstractContextManager[None]":
    """The look of all figures, for as long as the context lasts."""
    import matplotlib

    return matplotlib.rc_context(STYLE)


def new_figure(height: float) -> "Figure":
    """An empty figure ``WIDTH`` units wide and ``height`` units high, to be drawn in ``style``."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH / 72, height / 72), layout="constrained")


def hover(artist: "Artist", text: str) -> None:
    """What a reader is told who points at an artist; matplotlib escapes it."""
    artist.set_gid(HOVER + text)


def inline_svg(figure: "Figure", *, name: str, description: str) -> str:
    """A figure as an ``<svg>`` element for an HTML page.

    Args:
        figure: what to draw.
        name: a word that no other figure of the page has; it starts every id.
        description: what a reader who cannot see the figure is told.
    """
    buffer = io.StringIO()
    metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.patch.set_visible(False)
    figure.savefig(buffer, format="svg", metadata=metadata)
    return _for_page(buffer.getvalue(), name=name, description=description)


def _for_page(text: str, *, name: str, description: str) -> str:
    """Keep the ``<svg>`` element: no namespaces, no size, own ids, a description."""
    from markupsafe import escape

    body = text[text.index("<svg") :].strip()
    # The style sheet of matplotlib is about "*", that is, about the whole page.
    body = re.sub(r"\s*<defs>\s*<style.*?</style>\s*</defs>", "", body, flags=re.DOTALL)
    body = re.sub(r"<svg[^>]*?(viewBox=\"[^\"]*\")[^>]*>", r"<svg \1>", body, count=1)
    body = body.replace("xlink:href", "href")
    # Not every device has the font that the figure was measured with; Verdana is about as wide.
    body = body.replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif")
    body = re.sub(f'<g id="{HOVER}([^"]*)">', r"<g><title>\1</title>", body)
    body = re.sub(r"(?<=: )#[0-9a-f]{6}\b", lambda match: _variable(match[0]), body)
    for number, old in enumerate(dict.fromkeys(re.findall(r'\bid="([^"]+)"', body))):
        new = f"{name}-{number}"
        body = body.replace(f'id="{old}"', f'id="{new}"')
        body = body.replace(f'href="#{old}"', f'href="#{new}"').replace(
            f"url(#{old})", f"url(#{new})"
        )
    attributes = f'class="figure" role="img" aria-label="{escape(description)}"'
    return body.replace("<svg ", f"<svg {attributes} ", 1)


def _variable(colour: str) -> str:
    """A colour by its name, where it has one."""
    return f"var(--figure-{PALETTE[colour]}, {colour})" if colour in PALETTE else colour


def with_plain_colours(figure: str) -> str:
    """A figure for what knows no variables of CSS."""
    return re.sub(r"var\(--figure-[\w-]+, (#[0-9a-f]{6})\)", r"\1", figure)
