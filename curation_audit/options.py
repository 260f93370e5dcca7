"""Options that several commands share."""

import click

pipeline_option = click.option(
    "--pipeline",
    "pipeline",
    required=True,
    metavar="FILE",
    help="The pipeline's YAML file; 'curation-audit init' writes one.",
)
set_option = click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a setting, e.g. --set attack.shadows=64. May be repeated.",
)
