"""Figures as inline SVG that are the same bytes every time.

Only matplotlib's object interface is used; pyplot and its global figures are never loaded.
"""

import io
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

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
    "text.usetex": False,
    "xtick.color": "#3c4653",
    "ytick.color": "#3c4653",
}


def style() -> "AbstractContextManager[None]":
    """The look of all figures, for as long as the context lasts."""
    import matplotlib

    return matplotlib.rc_context(STYLE)


def new_figure(height: float) -> "Figure":
    """An empty figure ``WIDTH`` units wide and ``height`` units high, to be drawn in ``style``."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH / 72, height / 72), layout="constrained")


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
    for number, old in enumerate(dict.fromkeys(re.findall(r'\bid="([^"]+)"', body))):
        new = f"{name}-{number}"
        body = body.replace(f'id="{old}"', f'id="{new}"')
        body = body.replace(f'href="#{old}"', f'href="#{new}"').replace(
            f"url(#{old})", f"url(#{new})"
        )
    attributes = f'class="figure" role="img" aria-label="{escape(description)}"'
    return body.replace("<svg ", f"<svg {attributes} ", 1)
