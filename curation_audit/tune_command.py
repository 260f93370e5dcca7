"""``curation-audit tune``: settings of a private mechanism, chosen on public rows for nothing."""

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from curation_audit.options import pipeline_option, set_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from curation_audit.results import Estimate
    from curation_audit.sweeping.tuning import By, Measured


@click.command()
@pipeline_option
@set_option
@click.option(
    "--by",
    type=click.Choice(("auc", "accuracy")),
    default="auc",
    show_default=True,
    help="What is best: how far the stand-in ranks above the pool, or the model on the test set, "
    "which then must be public, too.",
)
@click.option(
    "--out",
    metavar="FILE",
    default="tuned.json",
    show_default=True,
    help="Where the result goes.",
)
@click.option("--json", "as_json", is_flag=True, help="The result as JSON on standard output.")
@click.option("--quiet", is_flag=True, help="No progress on standard error.")
def tune(
    pipeline: str, assignments: tuple[str, ...], by: "By", out: str, as_json: bool, quiet: bool
) -> None:
    """Compare settings of a private mechanism on a public stand-in for the private set.

    The pipeline needs curate.protect.tuning with method: public, a proxy and what to tune over.
    Nothing is spent. A stand-in that shares rows or ids with the private set is refused; how alike
    the two are otherwise nobody checks.
    """
    from curation_audit.auditing.release import json_bytes
    from curation_audit.config import load_tune
    from curation_audit.console import show_table
    from curation_audit.console_progress import choose_progress
    from curation_audit.storage import write_atomically
    from curation_audit.sweeping.tuning import run_tune, tune_tree

    plan = load_tune(pipeline, assignments)
    found = run_tune(plan, by, choose_progress(quiet=quiet or as_json, json_logs=False))
    tree = tune_tree(plan, found, by)
    content = json_bytes(tree)
    path = Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
    if as_json:
        click.echo(json.dumps(tree, indent=1))
        return
    show_table(f"Tuned on public rows for {plan.base.name!r}", table(found))
    named = os.path.relpath(path, Path(pipeline).parent)  # as the file will say it
    for line in lines(found[0], named, hashlib.sha256(content).hexdigest()):
        click.echo(line)


def table(found: "Sequence[Measured]") -> list[list[str]]:
    """A row for each choice of settings, the best first."""
    head = [*found[0].choice, "AUC of the stand-in", "accuracy"]
    return [head, *([*map(str, o.choice.values()), _told(o.auc), _told(o.accuracy)] for o in found)]


def lines(best: "Measured", result: str, sha256: str) -> tuple[str, ...]:
    """What to put into the pipeline's file, as YAML."""
    settings = (f"  {name}: {json.dumps(value)}" for name, value in best.choice.items())
    return (
        "Put this into curate.protect:",
        *settings,
        "and this into curate.protect.tuning, beside what stands there:",
        f"  result: {json.dumps(result)}",
        f"  sha256: {sha256}",
    )


def _told(value: "Estimate | None") -> str:
    if value is None:
        return "not measured"
    return f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]"
