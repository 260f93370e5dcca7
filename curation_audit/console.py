"""What the command line shows: the plan of an audit, and its result."""

import dataclasses
import itertools
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curation_audit.results import Estimate, StageResult, duration
from curation_audit.version import __version__

if TYPE_CHECKING:
    from rich.console import Console

    from curation_audit.auditing.engine import AuditResult
    from curation_audit.auditing.forecast import Forecast
    from curation_audit.doctor import CheckResult

ONE_PERCENT = 0.01
WIDTH_OF_FILES = 120


def percent(estimate: Estimate | None) -> str:
    """A rate with its interval, in percent."""
    if estimate is None:
        return "not resolvable"
    return f"{estimate.value:.1%} [{estimate.low:.1%}, {estimate.high:.1%}]"


def _why_not(stage: StageResult, has_model: bool) -> str:
    """Why a stage has no headline."""
    if stage.stage == "model" and not has_model:
        return "no model is trained"
    if stage.status == "not observed":
        return stage.status
    why = next((f": {one.attack} {one.reason}" for one in stage.attacks if one.reason), "")
    return f"no attack could run{why}"


def _one_percent(stage: StageResult) -> str:
    if stage.headline is None:
        return "-"
    for point in stage.headline.metrics.tpr_at_fpr:
        if abs(point.fpr - ONE_PERCENT) < 1e-12:
            return percent(point.tpr)
    return "not asked for"


def _console() -> "Console":
    """Standard output: as wide as the terminal, and wide enough for the tables in a file."""
    from rich.console import Console

    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(highlight=False, width=None if known else WIDTH_OF_FILES)


def show_result(result: "AuditResult") -> None:
    """The closing table on standard output."""
    from rich.markup import escape
    from rich.table import Table

    console = _console()
    confidence = f"{result.controls[0].auc.confidence:.0%}"
    table = Table(title=f"Who was in the private set? Estimates with {confidence} intervals")
    for heading in ("stage", "headline attack", "AUC", "advantage", "TPR at 1 % FPR", "verdict"):
        # names are there to be copied: not cut in two, however narrow the terminal
        named = heading in ("stage", "headline attack")
        table.add_column(heading, overflow="fold", no_wrap=named)
    for stage in result.stages:
        if stage.headline is None:
            has_model = result.report["design"]["downstream"] is not None
            table.add_row(stage.stage, _why_not(stage, has_model), "-", "-", "-", "not measured")
            continue
        auc = stage.headline.metrics.auc
        table.add_row(
            stage.stage,
            stage.headline.attack,
            f"{auc.value:.3f} [{auc.low:.3f}, {auc.high:.3f}]",
            percent(stage.headline.metrics.advantage),
            _one_percent(stage),
            "leaks" if stage.headline.above_chance else "no leak found",
        )
    console.print(table)
    for told in (
        *protection_lines(result.report["protection"]),
        *bound_lines(result.report),
        *claim_lines(result.report),
    ):
        console.print(escape(told))
    phase = result.run["phases"][0]
    if phase["n_reused"]:
        console.print(f"continued: {phase['n_reused']} of {phase['n_chunks']} chunks were there")
    n_failed = sum(not control.passed for control in result.controls)
    controls = f"{n_failed} FAILED" if n_failed else "all at chance"
    console.print(f"controls: {controls} ({len(result.controls)} tests, family-wise level .001)")
    if result.utility is not None:
        u = result.utility
        console.print(
            f"utility: {u.metric} {u.curated:.3f} with curated rows, {u.random_mean:.3f} "
            f"[{u.random_low:.3f}, {u.random_high:.3f}] with {u.n_picked} random rows"
            f"{': worse than random' if u.curated < u.random_mean else ''}"
        )
    for line in result.policy:
        state = "TRIPPED" if line.tripped else "kept"
        measured = "not measured" if line.measured is None else f"{line.measured:.3f}"
        console.print(
            f"policy: {line.stage} {line.metric} ({line.bound}) {measured}, "
            f"limit {line.above:g}: {state}"
        )
    for warning in result.report["warnings"]:
        console.print(escape(f"warning: {warning}"))
    console.print(escape(f"verdict: {result.verdict.status}. {result.verdict.text}"))
    if result.report_path is not None:
        console.print(escape(f"report:  {result.report_path}"), soft_wrap=True)


def bound_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """One line a stage: the bound that was declared beforehand, never the largest of several."""
    from curation_audit.report import words

    for bounds in report["bounds"]:
        one = words.declared_bound(bounds)
        if one is None:
            yield f"{bounds['stage']}: no bound on epsilon without a hypothesis"
            continue
        terms = f"{one['method']}, {one['confidence']:.0%}, delta {words.delta(one['delta'])}"
        least = f"epsilon >= {words.epsilon(one['epsilon'])}"
        shown = least if one["epsilon"] > 0 else "no bound on epsilon above 0"
        yield f"{bounds['stage']}: {shown} ({terms})"


def protection_lines(protection: Mapping[str, Any] | None) -> Iterator[str]:
    """How the curation was made private, if it was, and what a user should know of it."""
    if protection is None:
        return
    epsilon = protection["epsilon"]
    spent = "no noise" if epsilon is None else f"epsilon {epsilon:.4g}"
    at = "" if epsilon is None else f" at delta {protection['delta']:g}"
    stamp = "ABLATION, " if protection["ablation"] else ""
    covers = "nothing" if epsilon is None else ", ".join(protection["covers"])
    yield (
        f"protection: {stamp}{protection['mechanism']}, {spent}{at}, {protection['adjacency']}, "
        f"unit {protection['unit']}; covers {covers}"
    )
    for note in protection["notes"]:
        yield f"note: {note}"


def claim_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """What became of a claimed guarantee, if there is one."""
    from curation_audit.report import words

    claim = report["claim"]
    if claim is None:
        return
    at = "" if claim["epsilon"] is None else f"epsilon {claim['epsilon']:.3g} at delta "
    stages = ", ".join(stage["stage"] for stage in claim["stages"] if stage["refuted"])
    state = f"REFUTED by {stages}" if stages else "not refuted, which does not confirm it"
    yield (
        f"claim: {at}{words.delta(claim['delta']) if at else claim['kind']}: "
        f"{state if claim['stages'] else 'not tested'}"
    )


def summary(result: "AuditResult") -> dict[str, Any]:
    """The closing table for machines."""
    keep = ("stages", "bounds", "claim", "controls", "utility", "policy", "verdict", "warnings")
    slim = {key: result.report[key] for key in keep}
    slim["stages"] = [
        stage
        | {
            "attacks": [
                {key: one[key] for key in ("attack", "status", "reason", "metrics")}
                for one in stage["attacks"]
            ]
        }
        for stage in slim["stages"]
    ]
    path = None if result.report_path is None else str(result.report_path)
    return {**slim, "report": path, "exit_code": result.verdict.exit_code}


def show_sweep(sweep: Mapping[str, Any], page: Path | None) -> None:
    """The points of a sweep and its conclusion, on standard output."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    console = _console()
    title = f"What privacy costs (delta {sweep['delta']:g}, {sweep['adjacency']})"
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))  # 11 columns: no lines
    stages = list(dict.fromkeys(s["stage"] for p in sweep["points"] for s in p["stages"]))
    aucs = [f"AUC\n{stage}" for stage in (*stages, "ceiling")]
    worth = (sweep["random"]["metric"], "overlap")
    for heading in ("mechanism", "epsilon", *worth, *aucs, "epsilon\nat least", "claim"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "mechanism")
    for point in (sweep["unprotected"], *sweep["points"]):
        table.add_row(*_sweep_row(point, stages))
    console.print(table)
    for name, own in (("random picks", sweep["random"]), ("whole pool", sweep["public_only"])):
        console.print(f"{name}: {sweep['random']['metric']} {_shown(own['accuracy'])}")
    for mechanism, reason in sweep["left_out"].items():
        console.print(escape(f"left out: {mechanism}: {reason}"))
    for warning in sweep["warnings"]:
        console.print(escape(f"warning: {warning}"))
    console.print(escape(f"conclusion: {sweep['sentence']}"))
    if page is not None:
        console.print(escape(f"page:    {page}"), soft_wrap=True)


def _sweep_row(point: Mapping[str, Any], stages: Sequence[str]) -> list[str]:
    from curation_audit.report import words

    by_stage = {stage["stage"]: stage for stage in point["stages"]}
    aucs = [f"{by_stage[name]['auc']['value']:.3f}" if name in by_stage else "-" for name in stages]
    # each stage by itself: the largest of several would be no bound
    declared = {one["stage"]: one["bounds"].get(one["declared"]) for one in point["stages"]}
    bounds = [f"{stage} {words.epsilon(bound)}" for stage, bound in declared.items() if bound]
    unshown = "nothing shown" if any(bound == 0 for bound in declared.values()) else "-"
    refuted = any(stage["refuted"] for stage in point["stages"])
    ceilings = point["ceilings"]
    claim = "-" if ceilings is None else "REFUTED" if refuted else "not refuted"
    if point["mechanism"] is None:
        epsilon = "-"
    else:
        epsilon = "no noise" if point["epsilon"] is None else f"{point['epsilon']:g}"
    return [
        (point["mechanism"] or "unprotected").replace(" + ", " +\n"),
        epsilon,
        _shown(point["usefulness"]["accuracy"]),
        _shown(point["usefulness"]["overlap"]),
        *aucs,
        "-" if ceilings is None else f"{ceilings['auc']:.3f}",
        "\n".join(bounds) or unshown,
        "AUDIT INVALID" if point["verdict"] == "audit invalid" else claim,
    ]


def _shown(estimate: Mapping[str, Any] | None) -> str:
    return "not measured" if estimate is None else f"{estimate['value']:.3f}"


def show_table(title: str, rows: "Sequence[Sequence[str]]") -> None:
    """Rows under the first of them, on standard output."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title))
    for name in rows[0]:
        table.add_column(escape(name), overflow="fold")
    for row in rows[1:]:
        table.add_row(*map(escape, row))
    _console().print(table)


def show_forecast(forecast: "Forecast") -> None:
    """What an audit would do, on standard output."""
    from rich.markup import escape
    from rich.table import Table

    console = _console()
    table = Table(show_header=False, title=escape(f"Plan of the audit {forecast.name!r}"))
    table.add_column("what", no_wrap=True)
    table.add_column("how much", overflow="fold")
    for what, how_much in forecast.lines():
        table.add_row(what, escape(how_much))
    console.print(table)
    for warning in forecast.warnings:
        console.print(escape(f"warning: {warning}"))


def show_checkup(results: "Sequence[CheckResult]") -> None:
    """The table of the self-test on standard output, and what it comes to."""
    from rich.markup import escape
    from rich.table import Table

    console = _console()
    table = Table(title="Can the numbers of this installation be trusted?")
    table.add_column("check", overflow="fold", ratio=3)
    table.add_column("expected", overflow="fold", ratio=3)
    table.add_column("found", overflow="fold", ratio=4)
    table.add_column("", no_wrap=True, min_width=len("FAILED"))
    for group, members in itertools.groupby(results, key=lambda one: one.group):
        table.add_section()
        table.add_row(f"[bold]{escape(group)}[/bold]", "", "", "")
        for one in members:
            state = "ok" if one.passed else "[bold red]FAILED[/bold red]"
            table.add_row(escape(one.name), escape(one.expected), escape(one.found), state)
    console.print(table)
    console.print(escape(_checkup_verdict(results)))


def _checkup_verdict(results: "Sequence[CheckResult]") -> str:
    failed = [one.name for one in results if not one.passed]
    took = f"({duration(sum(one.seconds for one in results))})"
    if not failed:
        return f"verdict: all {len(results)} checks passed {took}."
    return (
        f"verdict: {len(failed)} of {len(results)} checks FAILED {took}: {', '.join(failed)}. "
        "No number of this installation can be trusted until the cause is found."
    )


def checkup_summary(results: "Sequence[CheckResult]", exit_code: int) -> dict[str, Any]:
    """The table of the self-test for machines."""
    return {
        "version": __version__,
        "checks": [dataclasses.asdict(one) for one in results],
        "n_failed": sum(not one.passed for one in results),
        "exit_code": exit_code,
    }
