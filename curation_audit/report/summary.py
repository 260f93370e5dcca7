"""What a report says in short: verdict, headlines, bounds, guarantee, controls, utility, limits."""

from collections.abc import Iterator
from typing import Any

from curation_audit.report import words
from curation_audit.report.blocks import (
    Block,
    Bullets,
    Heading,
    Paragraph,
    Table,
    pairs,
    rate_at,
    with_interval,
)
from curation_audit.report.health import OF_OWNER, UNMEASURED, Part

PRIVATE = (
    "This audit was computed on private data and is not itself differentially private: pass it on "
    "with that in mind. Numbers with an interval are estimates, and hold for the attacks that ran. "
    "A bound on epsilon is a lower one: it says how much privacy is missing at least."
)
COMPARED = {
    "value": "the estimate",
    "low": "lower end of the interval",
    "high": "upper end of the interval",
}


def title(report: dict[str, Any]) -> str:
    """What a document about a report is called."""
    return f"Privacy audit of the curation “{report['name']}”"


def summary(report: dict[str, Any], health: Part = UNMEASURED) -> Iterator[Block]:
    """The short report, with its title, and what is said of training health."""
    yield from opening(report, health)
    yield Heading("Summary")
    yield headlines(report)
    yield from policy(report)
    yield from bounds(report)
    yield from guarantee(report)
    yield from controls(report)
    yield from utility(report)
    yield from health.blocks
    yield from ending(report)


def opening(report: dict[str, Any], health: Part = UNMEASURED) -> Iterator[Block]:
    """Title and verdict, who may see it where that is the owner alone, and what follows."""
    verdict, design = report["verdict"], report["design"]
    yield Heading(title(report), 1)
    if health.mark:
        yield Paragraph(health.mark, OF_OWNER)
    yield Paragraph(verdict["text"], f"{verdict['status'].capitalize()}.")
    if verdict["status"] == "audit invalid":
        yield Paragraph("Do not rely on any number below.", "A control failed.")
    yield Paragraph(PRIVATE)
    yield Paragraph(
        f"At stake: the membership of {words.count(design['n_candidates'])} candidates (unit: "
        f"{design['unit']}) in the private set that picked "
        f"{words.count(design['picked']['real'])} of {words.count(design['n_pool'])} public rows. "
        f"Measured on {words.count(design['n_shadows'])} shadow curations."
    )


def headlines(report: dict[str, Any]) -> Table:
    """The headline attack of every stage."""
    head = ("Stage", "Headline attack", "AUC", "Advantage", "TPR at FPR 1 %", "Status")
    caption = (
        "The strongest attack of each stage, chosen on one part of the pairs of shadows and "
        "measured on the rest (estimate, interval). The status judges the AUC, at a confidence "
        "that holds for all stages together."
    )
    rows = tuple(_headline(stage) for stage in report["stages"])
    return Table(caption, head, rows, (1, 1.5, 1.7, 1.9, 1.8, 1.2))


def _headline(stage: dict[str, Any]) -> tuple[str, ...]:
    status = words.against_chance(stage)
    if stage["headline"] is None:
        return (stage["stage"], "none", *3 * (words.NOT_MEASURED,), status)
    metrics = stage["headline"]["metrics"]
    return (
        stage["stage"],
        stage["headline"]["attack"],
        with_interval(metrics["auc"], words.decimal),
        with_interval(metrics["advantage"], words.signed),
        rate_at(words.point_at(metrics, 0.01)),
        status,
    )


def policy(report: dict[str, Any]) -> Iterator[Block]:
    """The release policy of the configuration, where it sets one."""
    if not report["policy"]:
        yield Paragraph("The configuration sets no release policy.")
        return
    rows = tuple(
        (
            line["stage"], line["metric"], COMPARED[line["bound"]], words.decimal(line["above"]),
            words.decimal(line["measured"]), "tripped" if line["tripped"] else "not tripped",
        )
        for line in report["policy"]
    )  # fmt: skip
    yield Table(
        "The release policy: a line trips where the measured number lies above the limit, or could "
        "not be measured.",
        ("Stage", "Metric", "Compared number", "Limit", "Measured", "Outcome"),
        rows,
        (1, 1.6, 1.6, 0.8, 1.1, 1),
    )


def bounds(report: dict[str, Any]) -> Iterator[Block]:
    """The bound of every stage that was named beforehand."""
    yield Heading("Lower bounds on epsilon")
    if not report["bounds"]:
        yield Paragraph("Not measured.")
        return
    unit = report["design"]["unit"]
    rows = []
    for of in report["bounds"]:
        one = words.declared_bound(of)
        if one is None:
            told: tuple[str, ...] = ("none without a hypothesis", *3 * (words.NOT_MEASURED,))
        else:
            told = (
                one["method"], words.epsilon(one["epsilon"]), words.epsilon(one["resolution"]),
                f"{words.delta(one['delta'])}; {words.percent(one['confidence'])}",
            )  # fmt: skip
        rows.append((of["stage"], *told, words.adjacency(of["adjacency"], unit)))
    yield Table(
        "No guarantee with a smaller epsilon holds, at the stated confidence. Each method was "
        "named beforehand and needs no hypothesis; each bound holds on its own. “Nothing shown” "
        "does not mean private. Resolution: what a perfect attack would have shown.",
        ("Stage", "Method", "Epsilon at least", "Resolution", "Delta; confidence", "Adjacency"),
        tuple(rows),
        (1, 1.1, 1.1, 1.1, 1.2, 1.9),
    )


def guarantee(report: dict[str, Any]) -> Iterator[Block]:
    """The protection and the claim, each where there is one."""
    yield Heading("Differential privacy")
    own, claim = report["protection"], report["claim"]
    if own is None and claim is None:
        yield Paragraph("No differential privacy is claimed.")
    if own is not None:
        yield from protection(own)
    tuned = report["fine_tuning"]
    if tuned is not None:
        yield from fine_tuning(tuned)
    if claim is not None:
        yield from claimed(claim, report["design"]["unit"])


def fine_tuning(own: dict[str, Any]) -> Iterator[Block]:
    """What curation and private training spend, each and together."""
    steps = (
        f"After the picks the model is trained on the private rows: {words.count(own['steps'])} "
        f"steps of DP-SGD, sampling rate {words.decimal(own['sampling_rate'])}, noise multiplier "
        f"{words.decimal(own['noise_multiplier'])}."
    )
    bare = own["joint_epsilon"] is None
    yield Paragraph(
        f"{steps} {own['summary']}", "Fine-tuning without a guarantee." if bare else "Fine-tuning."
    )


def protection(own: dict[str, Any]) -> Iterator[Block]:
    """How the curation was made private."""
    if own["ablation"]:
        yield Paragraph("This mechanism is run to show why it should not be used.", "Ablation.")
    if own["epsilon"] is None:
        yield Paragraph("Something of what is seen together ran without noise.", "No guarantee.")
    else:
        yield Paragraph(
            f"The curation ran under {own['mechanism']}, which guarantees epsilon "
            f"{words.decimal(own['epsilon'])} at delta {words.delta(own['delta'])} for "
            f"{', '.join(own['covers'])} and whatever is computed from them. Neighbours: "
            f"{words.adjacency(own['adjacency'], own['unit'])}."
        )
    yield Paragraph(
        f"Noise: {own['noise_source']}. Tuning: {own['tuning']}. The pool, and private rows that "
        "also stand in it, are not protected, nor is what the private set has in common."
    )


def claimed(claim: dict[str, Any], unit: str) -> Iterator[Block]:
    """The claim, and whether what was measured contradicts it."""
    at = f"epsilon {words.decimal(claim['epsilon'], 'that says nothing')}"
    told = f"Claimed: {at} at delta {words.delta(claim['delta'])}"
    told += f" ({words.adjacency(claim['adjacency'], unit)})."
    if claim["refuted"]:
        against = [one["stage"] for one in claim["stages"] if one["refuted"]]
        yield Paragraph(
            f"{told} What was measured contradicts it: {', '.join(against)}.", "Refuted."
        )
    elif claim["stages"]:
        yield Paragraph(f"{told} The measurements do not confirm it either.", "Not refuted.")
    else:
        yield Paragraph(f"{told} No attack could run.", "Not tested.")
        return
    rows = tuple(
        (
            one["stage"], words.percent(one["pair_share_low"]),
            words.percent(one["pair_share"]),
            words.epsilon(one["epsilon_low"]),
            words.decimal(one["epsilon"], "anything"),
            "refuted" if one["refuted"] else "not refuted",
        )
        for one in claim["stages"]
    )  # fmt: skip
    yield Table(
        "Two tests of the claim, declared beforehand; all limits of this table hold together.",
        (
            "Stage", "Pair mean, at least", "The claim allows", "Epsilon by one run, at least",
            "The claim allows", "Outcome",
        ),
        rows,
    )  # fmt: skip


def controls(report: dict[str, Any]) -> Iterator[Block]:
    """Tests and failures of each control."""
    own = report["controls"]
    outcome = "All passed." if own["passed"] else "A control failed."
    yield Heading("Controls")
    yield Paragraph(
        f"{words.count(own['n_tests'])} attacks on data in which nothing can be found, together at "
        f"the level {words.p_value(own['family_wise_level'])}.",
        outcome,
    )
    by_name: dict[str, list[dict[str, Any]]] = {}
    for result in own["results"]:
        by_name.setdefault(result["control"], []).append(result)
    rows = tuple(
        (
            name, words.count(len(results)), words.count(sum(not one["passed"] for one in results)),
            words.p_value(min(one["p_value"] for one in results)),
        )
        for name, results in by_name.items()
    )  # fmt: skip
    if rows:
        head = ("Control", "Tests", "Failed", "Smallest p-value")
        yield Table("The controls.", head, rows, (2, 1, 1, 1))


def utility(report: dict[str, Any]) -> Iterator[Block]:
    """The model on the picks against models on random picks."""
    yield Heading("Utility")
    own = report["utility"]
    if own is None:
        yield Paragraph("Not measured: there is no labelled test set.")
        return
    rows = [
        ("Curated picks", words.decimal(own["curated"])),
        ("Random picks, mean", words.decimal(own["random_mean"])),
        (
            "Random picks, interval",
            f"{words.decimal(own['random_low'])} to {words.decimal(own['random_high'])} "
            f"({own['interval']})",
        ),
        ("Picks of the shadows, mean", words.decimal(own["shadows_mean"])),
    ]
    yield Paragraph(f"The model trained on the curated rows is {words.gain_over_random(own)}.")
    yield pairs(
        f"{own['metric'].capitalize()} on {words.count(own['n_test'])} test rows.",
        ("Trained on", own["metric"].capitalize()),
        rows,
    )


def ending(report: dict[str, Any]) -> Iterator[Block]:
    """Warnings, limitations, and who wrote this."""
    yield Heading("Warnings")
    yield Bullets(tuple(report["warnings"])) if report["warnings"] else Paragraph("None.")
    yield Heading("Limitations")
    yield Bullets(tuple(report["limitations"]))
    tool = report["tool"]
    yield Paragraph(
        f"{tool['name']} {tool['version']}, report schema version {report['schema_version']}, code "
        f"{tool['code_digest']}. The file report.json holds every number."
    )
