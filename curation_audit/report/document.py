"""The whole report as blocks, in the order of the page; with its figures."""

from collections.abc import Iterator
from typing import Any

from curation_audit.report import plots, summary, words
from curation_audit.report.blocks import (
    Block,
    Bullets,
    Code,
    Figure,
    Figures,
    Heading,
    Paragraph,
    Table,
    pairs,
    with_interval,
)
from curation_audit.report.diagram import diagram
from curation_audit.report.document_stages import stages
from curation_audit.report.health import UNMEASURED, Part
from curation_audit.report.plain import in_plain_words


def document(report: dict[str, Any], health: Part = UNMEASURED) -> Iterator[Block]:
    """The whole report, with its title, and what is said of training health."""
    yield from summary.opening(report, health)
    yield Heading("Summary")
    yield summary.headlines(report)
    yield from summary.policy(report)
    yield from _plain(report)
    yield from _system(report)
    yield from _context(report)
    yield from _threat(report)
    yield from _coverage(report)
    yield from stages(report)
    yield from summary.bounds(report)
    yield from _guarantee(report)
    yield from summary.controls(report)
    yield from _every_control(report)
    yield from summary.utility(report)
    if report["utility"] is not None:
        told = "The metric of the model by what it was trained on."
        yield Figures((Figure(plots.utility_dots(report["utility"]), told),))
    yield from _crosswalk(report)
    yield from health.blocks
    yield from _configuration(report)
    yield from summary.ending(report)


def _plain(report: dict[str, Any]) -> Iterator[Block]:
    yield Heading("In plain words")
    told = [(stage["stage"], in_plain_words(report, stage)) for stage in report["stages"]]
    for name, sentences in told:
        if sentences:
            yield Heading(f"Stage: {name}", 3)
            yield Bullets(tuple(sentences))
    if not any(sentences for _, sentences in told):
        yield Paragraph("No attack could run, so there is nothing to tell.")


def _system(report: dict[str, Any]) -> Iterator[Block]:
    design, data = report["design"], report["data"]
    yield Heading("System and design")
    told = "The curation; stages that were attacked are orange."
    yield Figures((Figure(diagram(report), told),))
    rows = [
        (
            "Shadows, in pairs",
            f"{words.count(design['n_shadows'])}, {words.count(design['n_pairs'])}",
        ),
        ("Candidates", words.count(design["n_candidates"])),
        ("Unit of privacy", design["unit"]),
        ("Private rows", words.count(design["n_private_rows"])),
        ("Private rows per shadow, mean", words.count(design["mean_rows_per_shadow"])),
        ("Pool rows", words.count(design["n_pool"])),
        ("Test rows", words.count(design["n_test"])),
        ("Features", words.count(design["n_features"])),
        ("Classes", ", ".join(design["classes"]) or "none"),
        ("Scorer", design["scorer"]),
        ("Selection rule", design["rule"]),
        ("Downstream model", design["downstream"] or "none"),
        ("Rows picked", words.count(design["picked"]["real"])),
        ("Seed", report["seed"]),
    ]
    if design["canaries"] is not None:
        canaries = (
            f"{words.count(design['canaries']['count'])} of kind {design['canaries']['kind']}"
        )
        rows.append(("Canaries in place of real records", canaries))
    for name in ("private", "pool", "test"):
        mark = "none given" if data[name] is None else data[name]["fingerprint"] or "none kept"
        rows.append((f"Fingerprint of the {name} set", mark))
    yield pairs("The design of the audit.", ("Part", "Value"), rows)


def _context(report: dict[str, Any]) -> Iterator[Block]:
    yield Heading("Release context")
    own = report["context"]
    if own is None:
        yield Paragraph("Nothing is declared.")
        return
    names = {
        "purpose": "Purpose", "operator": "Operator", "contact": "Contact",
        "artefacts": "What leaves", "recipients": "Recipients", "safeguards": "Safeguards",
        "prior": "Share of members among people asked about", "review_date": "Next review",
    }  # fmt: skip
    told = own | {
        "artefacts": ", ".join(own["artefacts"]),
        "prior": None if own["prior"] is None else words.percent(own["prior"]),
    }
    rows = [(name, told[key] or "not declared") for key, name in names.items()]
    yield pairs("Declared by the owner; nothing of it was measured.", ("Subject", "Declared"), rows)
    if report["combined_risk"] is not None:
        yield Table(
            "The share of the named who are members, at the declared share of members.",
            ("Stage", "Declared share", "Right among the named"),
            tuple(
                (
                    one["stage"], words.percent(one["prior"]),
                    "not resolvable" if one["predictive_value"] is None
                    else with_interval(one["predictive_value"], words.percent),
                )
                for one in report["combined_risk"]
            ),
        )  # fmt: skip


def _threat(report: dict[str, Any]) -> Iterator[Block]:
    threat = report["threat"]
    yield Heading("Threat model")
    yield Paragraph(f"Observed: {', '.join(threat['observes']) or 'nothing'}.")
    yield Paragraph(f"Known to the adversary: {', '.join(threat['knows']) or 'nothing'}.")
    differs = words.deviations(threat)
    yield Bullets(tuple(differs)) if differs else Paragraph("Otherwise the default adversary.")


def _coverage(report: dict[str, Any]) -> Iterator[Block]:
    rows = tuple(
        (f"{one['attack']}: {one['title']}", one["stage"], one["status"], one["reason"] or "")
        for one in report["coverage"]
    )
    yield Heading("Attack coverage")
    ran = sum(one["status"] == "run" for one in report["coverage"])
    yield Paragraph(
        f"{words.count(ran)} of {words.count(len(rows))} attacks of this tool ran. What did not "
        "run says nothing."
    )
    if rows:
        head = ("Attack", "Stage", "Status", "Why not")
        yield Table("Every attack of this tool.", head, rows, (2, 1, 1, 2))


def _guarantee(report: dict[str, Any]) -> Iterator[Block]:
    yield from summary.guarantee(report)
    own = report["protection"]
    if own is not None:
        yield Bullets((*own["events"], *own["sensitivities"], *own["notes"]))
        rows = [(step.replace("_", " "), who) for step, who in own["assumptions"].items()]
        caption = "Steps that might look at the private set; one that did would void the guarantee."
        yield pairs(caption, ("Step", "Who vouches"), rows)


def _every_control(report: dict[str, Any]) -> Iterator[Block]:
    rows = tuple(
        (
            one["control"], one["stage"] or "no stage", one["attack"],
            with_interval(one["auc"], words.decimal), words.p_value(one["p_value"]),
            "passed" if one["passed"] else "failed",
        )
        for one in report["controls"]["results"]
    )  # fmt: skip
    if rows:
        yield Table(
            "Every test of every control.",
            ("Control", "Stage", "Attack", "AUC", "p", "Outcome"),
            rows,
            (1.4, 0.9, 1.6, 1.7, 0.9, 0.8),
        )


def _crosswalk(report: dict[str, Any]) -> Iterator[Block]:
    yield Heading("Crosswalk")
    if not report["crosswalk"]:
        yield Paragraph("Not part of this report: it was written by an older version.")
        return
    yield Table(
        "Where the questions of some frameworks are answered; no statement of conformity.",
        ("Framework", "Clause", "Question", "Status", "Note"),
        tuple(
            (row["framework"], row["clause"], row["topic"], row["status"], row["note"])
            for row in report["crosswalk"]
        ),
        (1.2, 0.9, 1.8, 0.9, 2.2),
    )


def _configuration(report: dict[str, Any]) -> Iterator[Block]:
    import yaml

    yield Heading("Configuration")
    configuration = report["configuration"]
    yield Code(yaml.safe_dump(configuration, sort_keys=False, allow_unicode=True, width=88))
