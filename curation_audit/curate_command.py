"""``curation-audit curate``: pick rows for real, by a private scorer that is paid for."""

import json
from pathlib import Path

import click

from curation_audit.options import pipeline_option, set_option


@click.command()
@pipeline_option
@set_option
@click.option("--epsilon", type=float, help="Override curate.protect.epsilon.")
@click.option("--out", metavar="FOLDER", default="picked", show_default=True, help="Where to.")
@click.option(
    "--new-version",
    is_flag=True,
    help="The private set was changed since the last booking: it keeps the budget of the old one.",
)
@click.option("--json", "as_json", is_flag=True, help="The result as JSON on standard output.")
def curate(
    pipeline: str,
    assignments: tuple[str, ...],
    epsilon: float | None,
    out: str,
    new_version: bool,
    as_json: bool,
) -> None:
    """Pick rows of the pool for real, under differential privacy.

    The pipeline needs curate.protect and private.ledger. What the release spends is booked before
    its noise is drawn; the release is stored before it is used. Run again on unchanged data, it
    picks by the stored release and spends nothing.
    """
    from curation_audit.config import load_plan
    from curation_audit.curating import curate as run

    own = () if epsilon is None else (f"curate.protect.epsilon={epsilon!r}",)
    done = run(load_plan(pipeline, (*assignments, *own)), Path(out), new_version=new_version)
    if as_json:
        told = {
            "picks": str(done.picks), "release": str(done.release), "card": str(done.card),
            "n_picked": done.n_picked, "n_pool": done.n_pool, "booked": done.booked,
            "epsilon_spent": done.spent, "epsilon_budget": done.budget,
        }  # fmt: skip
        click.echo(json.dumps(told, indent=1))
        return
    how = "booked and drawn" if done.booked else "stored before: nothing was spent"
    click.echo(f"release: {how}")
    click.echo(f"budget:  epsilon {done.spent:.4g} of {done.budget:g} is spent")
    click.echo(f"picks:   {done.n_picked} of {done.n_pool} rows, {done.picks}")
    click.echo(f"card:    {done.card}")
