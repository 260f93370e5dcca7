"""``curation-audit forecast``: what a pipeline leaks by first order, and with more records."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from curation_audit.checks import InputError
from curation_audit.options import pipeline_option, set_option
from curation_audit.width_commands import PLOTS

if TYPE_CHECKING:
    from curation_audit.auditing.plan import AuditPlan


@click.command()
@pipeline_option
@set_option
@click.option(
    "--records",
    type=click.IntRange(min=1),
    multiple=True,
    help="A number of private records to forecast for. May be repeated.",
)
@click.option(
    "--advantage",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.1,
    show_default=True,
    help="How many records, or how much noise, for no more than this best TPR - FPR?",
)
@click.option(
    "--shadows",
    type=click.IntRange(min=0),
    default=32,
    show_default=True,
    help="Exact shadows to check the prediction on: an even number from 30, or 0 for none.",
)
@click.option(
    "--epsilon",
    "epsilons",
    type=click.FloatRange(min=0, min_open=True),
    multiple=True,
    default=(0.5, 1.0, 2.0, 4.0, 8.0),
    show_default=True,
    help="An epsilon at which to foretell dp_gd or dp_sgd, if one is in place. May be repeated.",
)
@click.option("--model", is_flag=True, help="Forecast the model's leak, too; it trains hundreds.")
@click.option(
    "--plot", metavar="FILE", help="Draw what --epsilon foretells, too: .png, .svg or .pdf."
)
@click.option("--json", "as_json", is_flag=True, help="The result as JSON on standard output.")
def forecast(
    pipeline: str,
    assignments: tuple[str, ...],
    records: tuple[int, ...],
    advantage: float,
    shadows: int,
    epsilons: tuple[float, ...],
    model: bool,
    plot: str | None,
    as_json: bool,
) -> None:
    """Predict what a pipeline leaks, without an audit, and what more records or noise change.

    For scorers whose scores are linear in what they learn (mean, classifier, votes, influences),
    and mlp_classifier. A prediction, until exact shadows confirm it; then still no audit.
    """
    from curation_audit.auditing.release import keyed_ids
    from curation_audit.config import load_plan
    from curation_audit.console import show_table
    from curation_audit.forecasting.outlook import outlook
    from curation_audit.forecasting.prediction import KNOWS
    from curation_audit.forecasting.words import (
        Asked,
        rows_by_epsilon,
        rows_of_adversaries,
        rows_of_laws,
        sentences,
        tree,
    )
    from curation_audit.report.epsilon_plots import draw_by_epsilon
    from curation_audit.training.device import one_thread

    plan = load_plan(pipeline, assignments)
    if plot is not None:
        check_plot(plan, plot)
    with one_thread():
        found = outlook(plan, shadows, model=model, epsilons=epsilons)
    asked = Asked(records, advantage)
    names = keyed_ids(plan)
    told = tree(found, asked, names)
    if plot is not None:
        draw_by_epsilon(told, KNOWS["auditor"], Path(plot))
    if as_json:
        click.echo(json.dumps(told, indent=1))
        return
    if found.prediction.told:
        show_table(f"Forecast for {plan.name!r}: what scores tell", rows_of_adversaries(found))
    if found.laws:
        show_table("By number of records", rows_of_laws(found, asked))
    if found.by_epsilon:
        show_table("By epsilon of the scorer: what the auditor tells", rows_by_epsilon(found))
    for sentence in sentences(found, asked, names):
        click.echo(sentence)


def check_plot(plan: "AuditPlan", plot: str) -> None:
    """Raise ``InputError`` for a name of no picture, or a plan that has no curve by epsilon."""
    from curation_audit.forecasting.by_epsilon import descends

    if Path(plot).suffix not in PLOTS:
        raise InputError("--plot", f"found {plot!r}", f"expected a name that ends in {PLOTS}")
    if not descends(plan):
        raise InputError(
            "--plot",
            f"found {plan.scorer.name}, of which nothing is foretold by epsilon",
            "expected curate.protect with dp_gd, or dp_sgd without hidden layers",
        )
