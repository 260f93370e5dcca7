"""``curation-audit coord-check`` and ``lr-transfer-check``: does a pipeline's training scale?"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from curation_audit.checks import InputError
from curation_audit.options import pipeline_option, set_option

if TYPE_CHECKING:
    from curation_audit.auditing.plan import AuditPlan
    from curation_audit.training.widths import Coordinates, Slope, Transfer

WITHIN, EXCEEDED = 0, 1
PLACES = {"model": "train", "scorer": "curate.scorer"}
PLOTS = (".png", ".svg", ".pdf")
NOT_LEAKAGE = (
    "About training alone: leakage that is measured on a narrow network says nothing certain of "
    "a wide one."
)


def numbers(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, ...]:
    """Comma-separated whole numbers; anything else ends in usage's one line."""
    parts = value.split(",")
    if not all(one.strip().isdecimal() for one in parts):
        raise click.BadParameter(f"{value!r} is no list of whole numbers.", ctx, param)
    return tuple(int(one) for one in parts)


def shared(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of both commands."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="The result as JSON."),
        click.option("--plot", metavar="FILE", help="Draw it, too: .png, .svg or .pdf."),
        click.option(
            "--networks",
            type=click.IntRange(min=1),
            default=2,
            show_default=True,
            help="Of each width.",
        ),
        click.option(
            "--rows",
            type=click.IntRange(min=8),
            default=512,
            show_default=True,
            help="At most so many rows of the pool.",
        ),
        click.option(
            "--part",
            type=click.Choice(("model", "scorer")),
            default="model",
            show_default=True,
            help="train (on the pool's labels), or the scorer (on two halves of the pool).",
        ),
        set_option,
        pipeline_option,
    ):
        command = option(command)
    return command


@click.command("coord-check")
@shared
@click.option(
    "--widths", default="64,128,256,512", show_default=True, callback=numbers, metavar="LIST"
)
@click.option("--steps", type=click.IntRange(min=1), default=8, show_default=True)
@click.option(
    "--limit",
    type=click.FloatRange(min=0, min_open=True),
    default=0.1,
    show_default=True,
    help="The largest slope that passes.",
)
def coord_check(
    pipeline: str,
    assignments: tuple[str, ...],
    part: str,
    rows: int,
    networks: int,
    plot: str | None,
    as_json: bool,
    widths: tuple[int, ...],
    steps: int,
    limit: float,
) -> int:
    """Do the changes of a few training steps keep their size at every width?

    Trains on rows of the public pool only, and spends nothing. Exits with 1 where the logarithm of
    a change (of outputs, or of weights) has a slope above the limit over that of the width.
    """
    from curation_audit.pipelines.width_tasks import probe_of
    from curation_audit.training import widths as checks_of_widths
    from curation_audit.training.device import one_thread

    plan = _plan(pipeline, assignments, plot)
    trained = plan.downstream if part == "model" else plan.scorer
    probe = probe_of(trained, plan.data.pool, part, rows, plan.seed)
    with one_thread():
        found = _told(
            lambda: checks_of_widths.coord_check(
                probe.task, widths, probe.few_steps(steps, networks)
            )
        )
    if plot is not None:
        from curation_audit.report.width_plots import draw_coordinates

        draw_coordinates(found, Path(plot))
    verdict = {
        "drift": found.drift,
        "limit": limit,
        "exit_code": WITHIN if found.drift <= limit else EXCEEDED,
    }
    told = rows_of(plan) | {"widths": widths, "slopes": slopes_tree(found)}
    tree = probe.described() | told | verdict
    _show("Slopes over the width", tree, slope_rows(found), as_json)
    return EXCEEDED if found.drift > limit else WITHIN


@click.command("lr-transfer-check")
@shared
@click.option(
    "--widths", default="64,128,256,512", show_default=True, callback=numbers, metavar="LIST"
)
@click.option(
    "--octaves",
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    help="Rates from the recipe's, so many halvings and doublings each way.",
)
@click.option(
    "--limit",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="The largest drift that passes, in octaves from the first width to the last.",
)
def lr_transfer_check(
    pipeline: str,
    assignments: tuple[str, ...],
    part: str,
    rows: int,
    networks: int,
    plot: str | None,
    as_json: bool,
    widths: tuple[int, ...],
    octaves: int,
    limit: float,
) -> int:
    """Is the best learning rate of a narrow network that of a wide one?

    Trains on rows of the public pool only, and spends nothing: a rate that is tuned so costs no
    budget. The best one at the narrowest width is told, to be pasted. Exits with 1 where the fitted
    optimum moves by more than the limit, or lies at the edge of the rates that were tried.
    """
    from curation_audit.pipelines.width_tasks import transfer_probe_of
    from curation_audit.training.device import one_thread

    plan = _plan(pipeline, assignments, plot)
    trained = plan.downstream if part == "model" else plan.scorer
    probe = transfer_probe_of(trained, plan.data.pool, part, rows, plan.seed)
    rates = [probe.recipe.learning_rate * 2.0**k for k in range(-octaves, octaves + 1)]
    with one_thread():
        found = _told(lambda: probe.transfer(widths, rates, networks))
    if plot is not None:
        from curation_audit.report.width_plots import draw_transfer

        draw_transfer(found, Path(plot))
    code = EXCEEDED if abs(found.drift) > limit or found.at_edge else WITHIN
    verdict = {"limit": limit, "exit_code": code}
    tree = probe.described() | rows_of(plan) | transfer_tree(found) | verdict
    _show("Best learning rate by width", tree, transfer_rows(found), as_json)
    if not as_json:
        click.echo(advice(tree, PLACES[part]))
    return code


def _plan(pipeline: str, assignments: tuple[str, ...], plot: str | None) -> "AuditPlan":
    from curation_audit.config import load_plan

    if plot is not None and Path(plot).suffix not in PLOTS:
        raise InputError("--plot", f"found {plot!r}", f"expected a name that ends in {PLOTS}")
    return load_plan(pipeline, assignments)


def rows_of(plan: "AuditPlan") -> dict[str, int]:
    """How many private rows stand in the pool, too, where they count as public."""
    return {"n_private_rows_in_pool": plan.data.n_private_rows_in_pool}


def _told(check: "Callable[[], Any]") -> Any:
    """The result, or in one line why there is none."""
    try:
        return check()
    except ValueError as error:
        raise InputError("width check", str(error).rstrip(".")) from None


def _show(title: str, tree: dict[str, Any], rows: list[list[str]], as_json: bool) -> None:
    from curation_audit.console import show_table

    if as_json:
        click.echo(json.dumps(tree, indent=1))
        return
    show_table(f"{title} ({tree['parametrization']}, {tree['optimiser']})", rows)
    click.echo(f"drift: {tree['drift']:.3f} (at most {tree['limit']:g} passes)")
    if tree.get("at_edge"):
        click.echo("A best rate lies at the edge of those that were tried: try more (--octaves).")
    both = tree["n_private_rows_in_pool"]
    told = f"{both:,} of the private set stand in the pool, too" if both else "none private"
    click.echo(f"{tree['n_rows']} public rows, {told}. {NOT_LEAKAGE}")


def slopes_tree(found: "Coordinates") -> dict[str, list[dict[str, float]]]:
    """By quantity, a slope with its interval for every layer."""
    from curation_audit.training.widths import QUANTITIES

    return {
        name: [{"value": one.value, "low": one.low, "high": one.high} for one in by_layer]
        for name, by_layer in zip(QUANTITIES, found.slopes(), strict=True)
    }


def slope_rows(found: "Coordinates") -> list[list[str]]:
    """A row for every layer."""
    from curation_audit.training.widths import QUANTITIES

    by_layer = zip(*found.slopes(), strict=True)
    body = [[str(i + 1), *map(_interval, one)] for i, one in enumerate(by_layer)]
    return [["layer", *QUANTITIES], *body]


def transfer_tree(found: "Transfer") -> dict[str, Any]:
    """What stands in the JSON; a loss that diverged is null."""
    mean, best = found.losses.mean(axis=2), found.best().mean(axis=1)
    return {
        "widths": found.widths,
        "rates": found.rates,
        "losses": [[one if one < float("inf") else None for one in by] for by in mean.tolist()],
        "best_log2_rate": best.tolist(),
        "chosen_rate": found.chosen,
        "slope": {"value": found.slope.value, "low": found.slope.low, "high": found.slope.high},
        "drift": found.drift,
        "at_edge": found.at_edge,
    }


def transfer_rows(found: "Transfer") -> list[list[str]]:
    """A row for every width."""
    mean, best = found.losses.mean(axis=2), found.best().mean(axis=1)
    tuned = int(mean[0].argmin())
    head = ["width", "best log2 rate", "loss there", "loss at the narrowest one's best"]
    return [
        head,
        *(
            [str(width), f"{best[i]:.2f}", f"{mean[i].min():.4f}", f"{mean[i, tuned]:.4f}"]
            for i, width in enumerate(found.widths)
        ),
    ]


def advice(tree: dict[str, Any], place: str) -> str:
    """What to put into the pipeline's file, or why nothing should go there yet."""
    narrowest, base = tree["widths"][0], tree["base_width"]
    if tree["exit_code"] != WITHIN:
        return f"No rate to paste into {place}: the best one moves, or lies at the edge."
    if tree["parametrization"] == "standard":
        return f"Under the standard parametrisation a rate is that of one width; {place} stays."
    if narrowest != base:
        return f"For a rate to paste let the widths begin with base_width ({base})."
    return f"Put this into {place}, for every width:\n  learning_rate: {tree['chosen_rate']:.6g}"


def _interval(slope: "Slope") -> str:
    return f"{slope.value:+.3f} [{slope.low:+.3f}, {slope.high:+.3f}]"
