"""``curation-audit health``: diagnostics of a training on private rows, for their owner."""

import json
from typing import TYPE_CHECKING, Any

import click

from curation_audit.options import pipeline_option, set_option

if TYPE_CHECKING:
    from pathlib import Path

    from curation_audit.auditing.plan import AuditPlan

SHADOWS = 32


@click.command()
@pipeline_option
@set_option
@click.option(
    "--shadows",
    type=click.IntRange(min=0),
    default=SHADOWS,
    show_default=True,
    help="Exact shadows to check predictions on: an even number from 30, or 0 for none.",
)
@click.option("--json", "as_json", is_flag=True, help="The result as JSON on standard output.")
def health(pipeline: str, assignments: tuple[str, ...], shadows: int, as_json: bool) -> None:
    """Spectra, vulnerable records, stability of the selection, edge of stability.

    What it prints and writes to private/health.json in the run folder is private: no part of a
    release. Where a finished audit of the pipeline lies there, its whole report with all of that
    goes to private/report.html and private/report.md.
    """
    from curation_audit.config import load_plan

    plan = load_plan(pipeline, assignments)
    found = diagnosed(plan, shadows)
    for line in written(plan, found):
        click.echo(line, err=True)
    if as_json:
        click.echo(json.dumps(found, indent=1))
    else:
        show(found)


def diagnosed(plan: "AuditPlan", n_shadows: int) -> dict[str, Any]:
    """Training health of a plan as the tree of its file, checked against its schema."""
    from curation_audit.auditing.release import data_tree, keyed_ids
    from curation_audit.forecasting.health import health as diagnose
    from curation_audit.forecasting.health_tree import tree
    from curation_audit.report.health import pipeline_fingerprint, validate_health
    from curation_audit.training.device import one_thread
    from curation_audit.version import __version__

    with one_thread():
        found = diagnose(plan, n_shadows)
    of = {"configuration": plan.configuration, "seed": plan.seed, "data": data_tree(plan)}
    origin = {"pipeline": pipeline_fingerprint(of), "tool": f"curation-audit {__version__}"}
    told = tree(found, keyed_ids(plan), origin)
    validate_health(told)
    return told


def written(plan: "AuditPlan", found: dict[str, Any]) -> list[str]:
    """Write training health, and the owner's report of a finished audit in the same run folder.

    What was written, and why something was not, in lines. The release folder stays as it is, and
    signed where it was.
    """
    from curation_audit.report.renderings import (
        finished_run,
        forget_owners_report,
        write_owners_report,
    )

    if plan.run.out is None:
        return []
    paths, problem = [keep(plan.run.out, found)], None
    if (plan.run.out / "release" / "report.json").exists():
        finished = finished_run(plan.run.out)
        paths, problem = [*paths, *write_owners_report(finished)], finished.problem
    else:
        forget_owners_report(plan.run.out)  # it would show what was measured before
    lines = [f"Written, and private: {path}" for path in paths]
    return lines if problem is None else [*lines, f"Not rendered: {problem}"]


def keep(folder: "Path", found: dict[str, Any]) -> "Path":
    """Write training health below a run folder, for its owner only; where it lies."""
    from curation_audit.report.health import PLACE
    from curation_audit.storage import make_private, write_atomically

    path = folder / PLACE
    make_private(path.parent)
    write_atomically(path, json.dumps(found, indent=1).encode(), mode=0o600)
    return path


def after_attack(plan: "AuditPlan") -> None:
    """Training health of a plan whose audit has just finished; its reports are written again."""
    from curation_audit.auditing.release import render_again

    if plan.run.out is not None:
        keep(plan.run.out, diagnosed(plan, SHADOWS))
        for path in render_again(plan.run.out, plan.formats)[0]:
            if path.parent.name == "private":
                click.echo(f"Written, and private: {path}", err=True)


def show(found: dict[str, Any]) -> None:
    """Print the section of the owner's report, but for its figures."""
    from curation_audit.console import show_table
    from curation_audit.report.blocks import Bullets, Heading, Paragraph, Table
    from curation_audit.report.health_section import section

    for block in section(found):
        if isinstance(block, Table):
            show_table(block.caption, [list(block.head), *map(list, block.rows)])
        elif isinstance(block, Heading):
            click.echo(f"\n{block.text}")
        elif isinstance(block, Paragraph):
            click.echo(f"{block.strong} {block.text}".strip())
        elif isinstance(block, Bullets):
            click.echo("\n".join(block.items))
