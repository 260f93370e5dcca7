"""A fragment for a model card or a data card: metrics as metadata, and what DP is claimed.

The front matter follows Hugging Face's ``model-index``; every value stands with its interval.
"""

from collections.abc import Iterator
from typing import Any

from curation_audit.report import summary, words
from curation_audit.report.blocks import Block, Bullets, Heading, Paragraph
from curation_audit.report.markdown import written
from curation_audit.report.numbers import headline_numbers

TASK = {"type": "membership-inference", "name": "Membership inference on the curation"}


def render_card(report: dict[str, Any]) -> str:
    """The fragment: YAML front matter, then Markdown."""
    import yaml

    tree = {"tags": ["privacy-audit", "membership-inference"], "model-index": [_entry(report)]}
    front = yaml.safe_dump(tree, sort_keys=False, allow_unicode=False, width=100)
    return f"---\n{front}---\n\n{written(list(_text(report)))}"


def _entry(report: dict[str, Any]) -> dict[str, Any]:
    own = report["utility"]
    results = [
        _result(report, stage["stage"], list(_metrics(report, stage["stage"])))
        for stage in report["stages"]
        if stage["headline"] is not None
    ]
    if own is not None:
        value = [_metric(own["metric"], own["curated"])]
        results.append(
            {
                "task": {"type": "other", "name": "Downstream task"},
                "dataset": {"type": "private", "name": "Test set of the audit"},
                "metrics": value,
            }
        )
    return {"name": report["name"], "results": results}


def _result(report: dict[str, Any], stage: str, metrics: list[dict[str, Any]]) -> dict[str, Any]:
    n = report["design"]["n_candidates"]
    return {
        "task": TASK,
        "dataset": {"type": "private", "name": f"{n} candidates, attacked at the stage {stage}"},
        "metrics": metrics,
        "source": {"name": f"{report['tool']['name']} {report['tool']['version']}"},
    }


def _metrics(report: dict[str, Any], stage: str) -> Iterator[dict[str, Any]]:
    """The numbers of a stage; what was not resolvable is left out, as there is no number."""
    for number in headline_numbers(report):
        if number["stage"] == stage and number["value"] is not None:
            kept = ("low", "high", "confidence", "delta", "attack", "method", "unit", "label")
            told = {key: number[key] for key in kept if number[key] is not None}
            yield {**_metric(number["name"], number["value"]), "args": told}


def _metric(name: str, value: float) -> dict[str, Any]:
    return {"type": name, "name": name, "value": value}


def _text(report: dict[str, Any]) -> Iterator[Block]:
    verdict = report["verdict"]
    yield Heading("Privacy audit of the curation")
    yield Paragraph(verdict["text"], f"{verdict['status'].capitalize()}.")
    if verdict["status"] == "audit invalid":
        yield Paragraph("Do not rely on any number of this card.", "A control failed.")
    yield summary.headlines(report)
    yield Paragraph(summary.PRIVATE)
    yield Heading("Differential privacy", 3)
    yield from _statement(report)
    yield Heading("Limitations of the audit", 3)
    yield Bullets(tuple(report["limitations"]))


def _statement(report: dict[str, Any]) -> Iterator[Block]:
    """Mechanism, epsilon, delta, unit, adjacency, what is covered and what is not."""
    own, claim = report["protection"], report["claim"]
    if own is None and claim is None:
        yield Paragraph("No differential privacy is claimed.")
        return
    if own is not None:
        yield Bullets(tuple(f"{name}: {value}" for name, value in _guarantee(own)))
    if claim is not None:
        yield from list(summary.claimed(claim, report["design"]["unit"]))[:1]


def _guarantee(own: dict[str, Any]) -> Iterator[tuple[str, str]]:
    none = "none: something of what is seen together ran without noise"
    left_out = [name for name in ("scores", "selection", "model") if name not in own["covers"]]
    doubtful = [
        step.replace("_", " ") for step, who in own["assumptions"].items() if "not stated" in who
    ]
    yield "Mechanism", own["mechanism"] + (" (an ablation, not for use)" if own["ablation"] else "")
    yield "Epsilon", words.decimal(own["epsilon"], none)
    yield "Delta", words.delta(own["delta"])
    yield "Unit", own["unit"]
    yield "Adjacency", words.adjacency(own["adjacency"], own["unit"])
    yield "Covers", ", ".join(own["covers"]) or "nothing"
    yield (
        "Does not cover",
        "; ".join(
            [
                *left_out,
                "the pool, and private rows that also stand in it",
                "what the private set has in common",
            ]
        ),
    )
    yield "Assumed, not stated by anybody", ", ".join(doubtful) or "nothing"
    yield "Tuning", own["tuning"]
    yield "Noise of the audit", own["noise_source"]
