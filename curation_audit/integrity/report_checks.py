"""What a report says twice must be the same, whatever it was measured from."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from curation_audit.auditing.bounding import GUESSES, PAIR_MEAN, RATES
from curation_audit.auditing.layout import resolved_fpr
from curation_audit.integrity.findings import Finding, compared, failed, passed, unchecked
from curation_audit.integrity.folders import read_json, read_small
from curation_audit.report.card import render_card
from curation_audit.report.health import ELSEWHERE, OF_OWNER, UNMEASURED, Part
from curation_audit.report.html import render_html
from curation_audit.report.markdown import render_markdown
from curation_audit.report.numbers import headline_numbers
from curation_audit.storage import code_digest

COUNTS: Final = {
    **dict.fromkeys(GUESSES, ("canaries", "guesses", "right")),
    **dict.fromkeys(RATES, ("true_positives", "in_rows", "false_positives", "out_rows")),
}
BEYOND: Final = (
    "n_private_rows", "n_always_in_rows", "production_rows", "n_pool", "n_test", "n_features",
    "picked", "threat.decimals", "threat.may_insert",
)  # fmt: skip
MOST_TEXT: Final = 1 << 26
HEALTH: Final = (UNMEASURED, ELSEWHERE)
"""What a report may say of training health, whose figures are the owner's."""
PASSED_ON: Final = "is the owner's own report, with figures that are as private as the rows"
RENDERED: Final[dict[str, Callable[[dict[str, Any], Part], str]]] = {
    "card.md": lambda report, _: render_card(report),
    "report.md": render_markdown,
}
BY_HASH: Final = "only the hash in the manifest vouches for it"


def check_report(report: dict[str, Any], release: Path) -> Iterator[Finding]:
    """Everything that follows from the report alone, and its renderings as text."""
    numbers = headline_numbers({key: value for key, value in report.items() if key != "numbers"})
    yield compared(
        "headline numbers", report["numbers"], numbers, f"{len(numbers)} as in the stages"
    )
    yield from _rates(report)
    yield from _bounds(report)
    yield from _design(report)
    yield from _renderings(report, release)


def _metrics(report: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for stage in report["stages"]:
        if stage["headline"] is not None:
            yield f"{stage['stage']}, headline", stage["headline"]["metrics"]
        for attack in stage["attacks"]:
            if attack["metrics"] is not None:
                yield f"{stage['stage']}, {attack['attack']}", attack["metrics"]


def _rates(report: Mapping[str, Any]) -> Iterator[Finding]:
    """Rates are the shares that their counts say."""
    told: dict[str, Any] = {}
    computed: dict[str, Any] = {}
    for place, metrics in _metrics(report):
        told[place] = metrics["balanced_accuracy"]["value"]
        computed[place] = (1 + metrics["advantage"]["value"]) / 2
        for point in metrics["tpr_at_fpr"]:
            if point["tpr"] is None:
                continue
            at = f"{place}, FPR {point['fpr']:g}"
            told[at] = [point["tpr"]["value"], point["realised_fpr"]]
            computed[at] = [
                point["true_positives"] / metrics["n_members"],
                point["false_positives"] / metrics["n_nonmembers"],
            ]
    yield compared("rates", told, computed, f"{len(told)} by their counts")


def _bounds(report: Mapping[str, Any]) -> Iterator[Finding]:
    """Bounds on epsilon from their counts; those of the pair mean need the evidence."""
    methods = {method.name: (method, names) for method, names in COUNTS.items()}
    alone = {method.name for method in PAIR_MEAN}
    told: dict[str, Any] = {}
    computed: dict[str, Any] = {}
    for stage in report["bounds"]:
        for one in stage["results"]:
            if one["method"] in alone:
                continue
            method, names = methods[one["method"]]
            counts = [one["counts"][name] for name in names]
            at = f"{stage['stage']}, {one['method']}"
            told[at] = one["epsilon"]
            computed[at] = method.epsilon(*counts, one["delta"], one["confidence"])
    yield compared("bounds from counts", told, computed, f"{len(told)} by their counts")


def _design(report: Mapping[str, Any]) -> Iterator[Finding]:
    """What follows from the numbers of shadows and candidates.

    Of two shadows of a pair exactly one holds a candidate, and both hold the rows always in.
    """
    design = report["design"]
    n_shadows, n_candidates = design["n_shadows"], design["n_candidates"]
    computed = {"n_pairs": n_shadows // 2}
    if design["smallest_fpr"] is not None:
        computed["smallest_fpr"] = resolved_fpr(n_shadows, n_candidates)
    beyond: tuple[str, ...] = BEYOND
    if design["canaries"] is None:
        held = design["n_private_rows"] + design["n_always_in_rows"]
        computed["mean_rows_per_shadow"] = held / 2
    else:
        beyond = ("mean_rows_per_shadow", *beyond)
    told = {name: design[name] for name in computed}
    yield compared("design", told, computed, ", ".join(computed))
    yield unchecked("design", f"{', '.join(beyond)}: they need the data or the pipeline")


def _renderings(report: dict[str, Any], release: Path) -> Iterator[Finding]:
    for name, render in RENDERED.items():
        if not (release / name).exists():
            continue
        stored = _stored_text(release / name)
        if OF_OWNER in stored:
            yield failed(name, PASSED_ON)
        elif any(stored == render(report, health) for health in HEALTH):
            yield passed(name, "says what report.json says")
        elif report["tool"]["code_digest"] == code_digest():
            yield failed(name, "is not what report.json says: changed, or of another report")
        else:
            yield unchecked(name, "made by another version of the tool, which words it differently")
    if (release / "report.html").exists():
        yield _page(report, release)
    if (release / "report.pdf").exists():
        yield unchecked("report.pdf", f"{BY_HASH}; read report.json")


def _page(report: dict[str, Any], release: Path) -> Finding:
    """The page is drawn again; drawings depend on the versions of libraries."""
    path = release.parent / "run.json"
    run = read_json(path) if release.name == "release" and path.is_file() else None
    stored = _stored_text(release / "report.html")
    if OF_OWNER in stored:
        return failed("report.html", PASSED_ON)
    if any(stored == render_html(report, run, health) for health in HEALTH):
        return passed("report.html", "says what report.json and run.json say")
    return unchecked("report.html", f"drawn elsewhere, or changed: {BY_HASH}; read report.json")


def _stored_text(path: Path) -> str:
    return read_small(path, MOST_TEXT).decode("utf-8", "replace")
