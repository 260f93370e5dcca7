"""The report as one static HTML file that loads nothing; its one script sorts tables.

The page's own policy lets that script run by its hash, and nothing else.
"""

import base64
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curation_audit.report import plain, plots, words
from curation_audit.report.blocks import Figures
from curation_audit.report.diagram import diagram
from curation_audit.report.health import UNMEASURED, Part

if TYPE_CHECKING:
    from jinja2 import Environment

FORMATS = (
    words.adjacency,
    words.against_chance,
    words.count,
    words.decimal,
    words.delta,
    words.deviations,
    words.epsilon,
    words.gain_over_random,
    words.needs,
    words.p_value,
    words.percent,
    words.seconds,
    words.signed,
    words.tally,
)
LOOKUPS = (
    plain.in_plain_words,
    words.bounds_at,
    words.ceiling_at,
    words.declared_bound,
    words.point_at,
)


PARTS = (
    ("identity", "Identity"),
    ("system", "System"),
    ("context", "Release context"),
    ("threat", "Threat model"),
    ("coverage", "Attack coverage"),
    ("results", "Results"),
    ("guarantee", "Differential privacy"),
    ("utility", "Utility"),
    ("decision", "Decision support"),
    ("limits", "Limitations"),
    ("crosswalk", "Crosswalk"),
)
"""The parts of a report: context, data, identifiability, governance, as in ISO/IEC 27559."""


def render_html(
    report: dict[str, Any], run: dict[str, Any] | None, health: Part = UNMEASURED
) -> str:
    """Render a report as a self-contained page.

    Args:
        report: what ``report.json`` holds, as ``validate_report`` accepts it.
        run: what ``run.json`` holds; without it the page says that cost is not known.
        health: what is said of training health.
    """
    template = page_environment().get_template("template.html.j2")
    text = template.render(
        report=report,
        run=run,
        figures=_figures(report),
        controls=_control_groups(report["controls"]["results"]),
        rates=_rates(report),
        configuration=_yaml(report["configuration"]),
        parts=PARTS,
        health=_marked(health),
    )
    return text.rstrip() + "\n"


def page_environment() -> "Environment":
    """Templates beside this file; every word is escaped and every missing key is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update({form.__name__: form for form in FORMATS})
    environment.globals.update({look_up.__name__: look_up for look_up in LOOKUPS})
    environment.globals.update(_script())
    return environment


def _script() -> dict[str, str]:
    """The script of all pages, and its hash for the Content-Security-Policy."""
    from markupsafe import Markup

    text = Path(__file__).with_name("sort.js").read_text(encoding="utf-8").strip()
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    # this package's own file, and no word of a user's
    return {"script": Markup(text), "script_hash": Markup(f"sha256-{digest}")}  # noqa: S704


def _figures(report: dict[str, Any]) -> dict[str, Any]:
    """All figures as markup: one ladder, at most one utility plot, and some for each stage."""
    from markupsafe import Markup

    # The drawings hold no word of the user's and matplotlib escapes what they hold.
    safe = Markup
    utility = report["utility"]
    return {
        "diagram": safe(diagram(report)),
        "ladder": safe(plots.leakage_ladder(report["stages"])),
        "utility": safe(plots.utility_dots(utility)) if utility else None,
        "roc": {
            stage: safe(plots.roc(attack, stage, report["claim"]))
            for stage, attack in _headline_attacks(report)
            if attack["roc"] is not None
        },
        "risk": {
            stage: safe(plots.risk_histogram(attack["candidate_risk"], stage))
            for stage, attack in _headline_attacks(report)
            if attack["candidate_risk"] is not None
        },
        "risks": {stage: attack["candidate_risk"] for stage, attack in _headline_attacks(report)},
    }


def _marked(health: Part) -> dict[str, Any]:
    """A part's mark, and its blocks with the name of their kind; drawings become markup."""
    from markupsafe import Markup

    # the drawings hold no word of a file's but what matplotlib has escaped
    drawn = Markup
    blocks = [
        (type(one).__name__, [(drawn(figure.svg), figure.caption) for figure in one.items])
        if isinstance(one, Figures)
        else (type(one).__name__, one)
        for one in health.blocks
    ]
    return {"mark": health.mark, "blocks": blocks}


def _headline_attacks(report: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Each attacked stage with the attack, over all pairs, that its headline names."""
    return [
        (stage["stage"], attack)
        for stage in report["stages"]
        if stage["headline"] is not None
        for attack in stage["attacks"]
        if attack["attack"] == stage["headline"]["attack"] and attack["status"] == "run"
    ]


def _rates(report: dict[str, Any]) -> list[float]:
    """The false-positive rates of the audit, as its first headline has them."""
    headlines = [stage["headline"] for stage in report["stages"] if stage["headline"]]
    return [point["fpr"] for point in headlines[0]["metrics"]["tpr_at_fpr"]] if headlines else []


def _control_groups(results: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The control results by control, in the order in which the page explains them."""
    names = ("random curation", "permuted inclusion", "blind classifier")
    return {name: [result for result in results if result["control"] == name] for name in names}


def _yaml(configuration: dict[str, Any]) -> str:
    """The resolved configuration as a user would write it."""
    import yaml

    return yaml.safe_dump(configuration, sort_keys=False, allow_unicode=True, width=88)
