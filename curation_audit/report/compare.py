"""Two or more finished runs on one page: what they show, and where they cannot be compared."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any, Final

from curation_audit.checks import InputError
from curation_audit.report import compare_plots as plots
from curation_audit.report import words
from curation_audit.report.html import page_environment
from curation_audit.report.schema import SCHEMA_VERSION
from curation_audit.report.sweep_plots import MARKS
from curation_audit.report.versions import readable
from curation_audit.storage import write_atomically

STAGES: Final = ("scores", "selection", "model", "joint")
MEASURES: Final = {"auc": "AUC", "advantage": "Advantage", "tpr": "TPR at FPR 1 %"}
ABSENT: Final = "not there"


@dataclass(frozen=True, slots=True)
class Compared:
    """One run of a comparison: a letter, the name of its folder, and its report.

    ``version``: the schema version that was found. ``report`` is ``None`` where this is not one
    that can be read.
    """

    letter: str
    folder: str
    version: int | None
    report: dict[str, Any] | None


def write_comparison(folders: Sequence[Path], out: Path) -> Path:
    """Compare finished runs on one self-contained page.

    Raises:
        InputError: for a folder without a report, and for fewer than two readable ones.
    """
    if not 2 <= len(folders) <= len(MARKS):
        found = f"found {len(folders)} run folder{'' if len(folders) == 1 else 's'}"
        raise InputError("--compare", found, f"expected 2 to {len(MARKS)}")
    runs = [_read(folder, letter) for folder, letter in zip(folders, ascii_uppercase, strict=False)]
    if sum(run.report is not None for run in runs) < 2:
        raise InputError("--compare", "found fewer than two reports of a version known here")
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, render_comparison(runs).encode())
    return out


def _read(folder: Path, letter: str) -> Compared:
    path = folder / "release" / "report.json"
    try:
        tree = json.loads(path.read_bytes())
    except FileNotFoundError:
        hint = "run 'curation-audit attack' first"
        raise InputError(str(folder), "found no release/report.json", hint) from None
    except ValueError:
        raise InputError(str(path), "is no JSON") from None
    version = tree.get("schema_version") if isinstance(tree, dict) else None
    name = folder.resolve().name
    if isinstance(version, int) and version > SCHEMA_VERSION:
        return Compared(letter, name, version, None)
    try:
        return Compared(letter, name, version, readable(tree))
    except ValueError as error:
        raise InputError(str(path), f"is no report of this version: {error}") from None


def render_comparison(runs: Sequence[Compared]) -> str:
    """Render a comparison as a self-contained page."""
    from markupsafe import Markup

    # the drawings hold letters, stages and numbers, and matplotlib escapes what they hold
    safe = Markup
    shown = [run for run in runs if run.report is not None]
    reports = {run.letter: run.report for run in shown if run.report is not None}
    figures = {
        measure: safe(plots.dots(reports, STAGES, measure, title))
        for measure, title in MEASURES.items()
    }
    utility = plots.utility(reports)
    text = (
        page_environment()
        .get_template("compare.html.j2")
        .render(
            runs=runs,
            shown=shown,
            stages=stages_of(list(reports.values())),
            figures=figures | {"utility": None if utility is None else safe(utility)},
            obstacles=obstacles(runs),
            differences=differences(
                {letter: one["configuration"] for letter, one in reports.items()}
            ),
        )
    )
    return text.rstrip() + "\n"


def stages_of(reports: Sequence[Mapping[str, Any]]) -> list[str]:
    """The stages that any report has."""
    there = {stage["stage"] for report in reports for stage in report["stages"]}
    return [stage for stage in STAGES if stage in there]


def obstacles(runs: Sequence[Compared]) -> list[str]:
    """Why runs, or some numbers of theirs, cannot be compared; empty where they can."""
    return [*_unread(runs), *_unlike([run for run in runs if run.report is not None])]


def _unread(runs: Sequence[Compared]) -> Iterator[str]:
    for run in runs:
        if run.report is None:
            version = f"report schema version {run.version}, which is unknown here"
            yield f"Run {run.letter} is left out: it has {version}."
    found = {run.version for run in runs if run.report is not None}
    if len(found) > 1:
        yield "The reports have different schema versions; what the older lacks reads not measured."


def _unlike(runs: Sequence[Compared]) -> Iterator[str]:
    """What must agree for a difference to be one of the curation."""
    reports = [run.report for run in runs if run.report is not None]
    for name in ("private", "pool", "test"):
        marks = [None if one["data"][name] is None else one["data"][name]["fingerprint"]
                 for one in reports]  # fmt: skip
        if len({*marks}) > 1:
            keyed = "" if name == "pool" else ", or its fingerprints are under different keys"
            yield f"The {name} set is not the same{keyed}: differences may be of data as well."
        elif name == "private" and None in marks:
            yield "No fingerprint of the private set was kept: whether it is the same is not known."
    unlike = {
        "The number of candidates differs": [one["design"]["n_candidates"] for one in reports],
        "The unit of privacy differs": [one["design"]["unit"] for one in reports],
        "The number of shadows differs, and with it the resolution": [
            one["design"]["n_shadows"] for one in reports
        ],
        "The adversary differs (see the configuration)": [one["threat"] for one in reports],
        "Canaries stand in for records in some runs only": [
            one["design"]["canaries"] is not None for one in reports
        ],
    }
    for problem, values in unlike.items():
        if any(value != values[0] for value in values):
            yield f"{problem}."
    yield from _unlike_guarantees(reports)


def _unlike_guarantees(reports: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    adjacency = {
        words.ADJACENCIES[bound["adjacency"]] for one in reports for bound in one["bounds"]
    }
    if len(adjacency) > 1:
        yield (
            f"Bounds are for different neighbours ({', '.join(sorted(adjacency))}): guarantees of "
            "different adjacency cannot be compared."
        )
    deltas = {
        result["delta"] for one in reports for of in one["bounds"] for result in of["results"]
    }
    if len(deltas) > 1:
        yield "Bounds are at different deltas."
    if any(one["verdict"]["status"] == "audit invalid" for one in reports):
        yield "An audit is invalid: do not rely on any number of it."


def differences(trees: Mapping[str, Any]) -> list[tuple[str, dict[str, str]]]:
    """Where configurations differ: dotted keys, and the value of each run in words."""
    flat = {letter: dict(_flat(tree, "")) for letter, tree in trees.items()}
    keys = dict.fromkeys(key for one in flat.values() for key in one)
    rows = [(key, {letter: one.get(key, ABSENT) for letter, one in flat.items()}) for key in keys]
    return [(key, values) for key, values in rows if len({*values.values()}) > 1]


def _flat(tree: Any, at: str) -> Iterator[tuple[str, str]]:
    if isinstance(tree, Mapping) and tree:
        for key, value in tree.items():
            yield from _flat(value, f"{at}.{key}" if at else str(key))
    else:
        yield at, json.dumps(tree, ensure_ascii=False, default=str)
