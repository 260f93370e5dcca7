"""A sweep as one static HTML file, and the check of ``sweep.json``."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from curation_audit.report import sweep_plots as plots
from curation_audit.report.html import page_environment
from curation_audit.report.schema import check_schema


@cache
def sweep_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of ``sweep.json``; do not modify it."""
    text = Path(__file__).with_name("sweep_schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def validate_sweep(sweep: Mapping[str, Any]) -> None:
    """Check a sweep against the schema.

    Raises:
        ValueError: at the first mismatch, naming its path.
    """
    check_schema(sweep, sweep_schema(), "sweep")


def render_sweep(sweep: Mapping[str, Any]) -> str:
    """Render what ``sweep.json`` holds as a self-contained page."""
    template = page_environment().get_template("sweep.html.j2")
    text = template.render(sweep=sweep, figures=_figures(sweep), mechanisms=plots.mechanisms(sweep))
    return text.rstrip() + "\n"


def _figures(sweep: Mapping[str, Any]) -> dict[str, Any]:
    from markupsafe import Markup

    # the drawings hold no word of the user's, and matplotlib escapes what they hold
    safe = Markup
    names = list(enumerate(plots.mechanisms(sweep)))
    return {
        "utility": safe(plots.utility_curves(sweep)),
        "auc": {n: safe(plots.attack_curves(sweep, n, "auc", i)) for i, n in names},
        "tpr": {n: safe(plots.attack_curves(sweep, n, "tpr_at_one_percent", i)) for i, n in names},
        "bounds": {n: safe(plots.bound_curves(sweep, n, i)) for i, n in names},
    }
