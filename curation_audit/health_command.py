"""``curation-audit health``: diagnostics of a training on private rows, for their owner."""

import json
from pathlib import Path

import click

from curation_audit.options import pipeline_option, set_option

FILE = Path("private") / "health.json"


@click.command()
@pipeline_option
@set_option
@click.option(
    "--shadows",
    type=click.IntRange(min=0),
    default=32,
    show_default=True,
    help="Exact shadows to check predictions on: an even number from 30, or 0 for none.",
)
@click.option("--json", "as_json", is_flag=True, help="The result as JSON on standard output.")
def health(pipeline: str, assignments: tuple[str, ...], shadows: int, as_json: bool) -> None:
    """Spectra, vulnerable records, stability of the selection, edge of stability.

    What it prints and writes to private/health.json in the run folder is private: no part of a
    release.
    """
    from curation_audit.auditing.release import keyed_ids
    from curation_audit.config import load_plan
    from curation_audit.console import show_table
    from curation_audit.forecasting import health_words as words
    from curation_audit.forecasting.health import health as diagnose
    from curation_audit.storage import write_atomically
    from curation_audit.training.device import one_thread

    plan = load_plan(pipeline, assignments)
    with one_thread():
        found = diagnose(plan, shadows)
    names = keyed_ids(plan)
    text = json.dumps(words.tree(found, names), indent=1)
    if plan.run.out is not None:
        path = plan.run.out / FILE
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(path, text.encode(), mode=0o600)
        click.echo(f"Written, and private: {path}", err=True)
    if as_json:
        click.echo(text)
        return
    if found.spectrum is not None:
        show_table("Training health: spectrum", words.rows_of_ranks(found, found.spectrum))
    if found.vulnerability is not None:
        rows = words.rows_of_records(found.vulnerability, names)
        show_table("Training health: most exposed records, predicted", rows)
    if found.stability:
        show_table("Training health: disjoint halves", words.rows_of_stability(found))
    for sentence in words.sentences(found):
        click.echo(sentence)
