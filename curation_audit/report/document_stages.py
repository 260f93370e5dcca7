"""The results of every stage as blocks: points, curves, records, groups, and all attacks."""

from collections.abc import Iterator
from typing import Any

from curation_audit.report import plots, words
from curation_audit.report.blocks import (
    Block,
    Figure,
    Figures,
    Heading,
    Paragraph,
    Table,
    rate_at,
    with_interval,
)


def stages(report: dict[str, Any]) -> Iterator[Block]:
    """The ladder, then one section a stage."""
    yield Heading("Results per stage")
    told = "Headline AUC of each stage with its interval, orange where it is above chance."
    yield Figures((Figure(plots.leakage_ladder(report["stages"]), told),))
    for stage in report["stages"]:
        yield Heading(f"Results: {stage['stage']}", 3)
        yield from _stage(report, stage)


def _stage(report: dict[str, Any], stage: dict[str, Any]) -> Iterator[Block]:
    headline = stage["headline"]
    if stage["status"] == "not observed":
        yield Paragraph("This stage is not observed, so nothing was measured here.")
        return
    if headline is None:
        yield Paragraph("No attack could run at this stage, so nothing was measured here.")
    else:
        yield Paragraph(
            f"The headline attack is {headline['attack']}, chosen by {headline['chosen_by']} on "
            f"{words.count(headline['n_pairs_to_choose'])} pairs of shadows and measured on the "
            f"other {words.count(headline['metrics']['n_pairs'])}."
        )
        yield _points(headline)
        yield from _figures(report, stage)
        yield from _records(headline["records"])
        yield from _groups(headline["subgroups"])
    yield _attacks(stage)


def _points(headline: dict[str, Any]) -> Table:
    rows = tuple(
        (words.percent(point["fpr"]), rate_at(point), *_counted(point))
        for point in headline["metrics"]["tpr_at_fpr"]
    )
    return Table(
        "Operating points of the headline attack; thresholds come from other pairs of shadows.",
        ("Target FPR", "TPR", "Realised FPR", "True positives", "False positives"),
        rows or ((words.NOT_MEASURED, "", "", "", ""),),
        (1, 2, 2, 1.1, 1.1),
    )


def _counted(point: dict[str, Any]) -> tuple[str, str, str]:
    if point["status"] != "resolved":
        return point["reason"], "", ""
    named, wrong = words.count(point["true_positives"]), words.count(point["false_positives"])
    return words.percent(point["realised_fpr"]), named, wrong


def _figures(report: dict[str, Any], stage: dict[str, Any]) -> Iterator[Block]:
    """The ROC curve beside the exposures, of the attack that is the headline's."""
    name, drawn = stage["stage"], []
    own = [one for one in stage["attacks"] if one["attack"] == stage["headline"]["attack"]]
    for attack in own:
        if attack["roc"] is not None:
            told = f"ROC curve of {attack['attack']} over all pairs, both axes logarithmic."
            drawn.append(Figure(plots.roc(attack, name, report["claim"]), told))
        if attack["candidate_risk"] is not None:
            told = (
                f"How exposed single candidates are to {attack['attack']}: the share of pairs of "
                "shadows in which the one that holds the candidate shows more evidence. 0.5 is "
                "chance, 1 a full leak."
            )
            drawn.append(Figure(plots.risk_histogram(attack["candidate_risk"], name), told))
    if drawn:
        yield Figures(tuple(drawn))


def _records(records: dict[str, Any]) -> Iterator[Block]:
    yield Paragraph(
        f"{words.count(records['n_above_chance'])} of {words.count(records['n_candidates'])} "
        "candidates are exposed above chance, at a confidence that holds for all of them together."
    )
    rows = tuple(
        (str(rank), one["id"] or "none kept", with_interval(one["exposure"], words.decimal))
        for rank, one in enumerate(records["worst"], 1)
    )
    if rows:
        yield Table(
            "The most exposed records; ids are hashes under a key that stays with the owner.",
            ("Rank", "Keyed id", "Exposure"),
            rows,
            (0.6, 1.5, 2),
        )


def _groups(groups: dict[str, Any] | None) -> Iterator[Block]:
    if groups is None:
        yield Paragraph("Groups: not measured, candidates have neither labels nor groups.")
        return
    rows = []
    for one in groups["slices"]:
        few = one["auc"] is None
        rows.append(
            (
                f"{one['attribute']}: {one['group']}", words.count(one["n_candidates"]),
                "too few to show" if few else with_interval(one["auc"], words.decimal),
                "too few to show" if few else rate_at(one["tpr"]),
            )
        )  # fmt: skip
    yield Table(
        "The headline attack within each group; intervals are not corrected for their number.",
        ("Group", "Candidates", "AUC", "TPR"),
        tuple(rows),
        (2, 1, 2, 2),
    )


def _attacks(stage: dict[str, Any]) -> Table:
    rows = []
    for attack in stage["attacks"]:
        own = attack["metrics"]
        told = (
            (words.needs(attack), "", "")
            if own is None
            else (
                with_interval(own["auc"], words.decimal),
                with_interval(own["advantage"], words.signed),
                rate_at(words.point_at(own, 0.01)),
            )
        )
        rows.append((f"{attack['attack']}: {attack['title']}", *told))
    return Table(
        "All attacks of this stage over all pairs; the best line is picked after the fact.",
        ("Attack", "AUC", "Advantage", "TPR at FPR 1 %"),
        tuple(rows) or (("none", "", "", ""),),
        (2, 1.6, 1.6, 1.6),
    )
