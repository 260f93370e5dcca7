"""Options that several commands share."""

import click


def number_of_workers(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> int | str | None:
    """An int or ``auto``; anything else ends in usage's one line."""
    if value is None or value == "auto":
        return value
    if not value.isdecimal() or int(value) < 1:
        raise click.BadParameter(f"{value!r} is neither 1 or more nor auto.", ctx, param)
    return int(value)


pipeline_option = click.option(
    "--pipeline",
    "pipeline",
    required=True,
    metavar="FILE",
    help="The pipeline's YAML file; 'curation-audit init' writes one.",
)
workers_option = click.option(
    "--workers",
    callback=number_of_workers,
    metavar="N|auto",
    help="Override run.workers: processes; auto for one a core.",
)
set_option = click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a setting, e.g. --set attack.shadows=64. May be repeated.",
)
