"""``curation-audit ledger``: what was spent on a private set, and what may be."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from curation_audit.dp.budget_ledger import Content

WIDTH_OF_FILES = 160
SHORT = 12  # digits of a fingerprint or a request, as Git shows them

ledger_argument = click.argument("path", metavar="LEDGER", type=click.Path(path_type=Path))


@click.group()
def ledger() -> None:
    """Keep the privacy budget of a private set: one file per set, which only grows."""


@ledger.command()
@ledger_argument
@click.option("--json", "as_json", is_flag=True, help="The same as JSON on standard output.")
def show(path: Path, as_json: bool) -> None:
    """Show every booking, what is spent and what remains."""
    from curation_audit.dp.budget_ledger import BudgetLedger

    content = BudgetLedger.open(path).content()
    if as_json:
        click.echo(json.dumps({"ledger": str(path)} | _summary(content), indent=1))
        return
    _show_bookings(content)
    for line in _closing_lines(content):
        click.echo(line)


@ledger.command()
@ledger_argument
@click.option(
    "--out", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Where to."
)
def export(path: Path, out: Path | None) -> None:
    """Write everything that a ledger holds as JSON, also the budgets before this one."""
    from curation_audit.checks import InputError
    from curation_audit.dp.budget_ledger import SCHEMA_VERSION, BudgetLedger
    from curation_audit.storage import write_atomically
    from curation_audit.version import __version__

    content = BudgetLedger.open(path).content()
    tree = {
        "schema_version": SCHEMA_VERSION,
        "version": __version__,
        "budgets": [{"time": time, **asdict(budget)} for time, budget in content.budgets],
        **_summary(content),
    }
    text = json.dumps(tree, indent=1)
    if out is None:
        click.echo(text)
        return
    if out.resolve() == path.resolve():
        raise InputError("--out", "found the ledger itself", "name another file")
    write_atomically(out, text.encode() + b"\n", mode=0o600)
    click.echo(f"wrote {out}")


@ledger.command()
@ledger_argument
@click.option("--epsilon", type=float, required=True, help="For all releases together.")
@click.option("--delta", type=float, required=True, help="At which epsilon is computed.")
@click.option("--unit", required=True, help="What neighbours differ in, e.g. patient_id.")
@click.option("--adjacency", required=True, help="add_remove, zero_out or replace_one.")
@click.option("--raise", "raised", is_flag=True, help="Give more away than was meant before.")
def set_budget(
    path: Path, epsilon: float, delta: float, unit: str, adjacency: str, raised: bool
) -> None:
    """Set the budget of a private set, once; makes the file where there is none."""
    from typing import cast

    from curation_audit.dp.budget_ledger import Budget, BudgetLedger, NoBudget
    from curation_audit.results import Adjacency

    budget = Budget(unit, cast(Adjacency, adjacency), epsilon, delta)  # which checks the word
    try:
        found = BudgetLedger.open(path)
    except NoBudget:
        found = BudgetLedger.create(path, budget)
    found.set_budget(budget, raised=raised)
    for line in _closing_lines(found.content()):
        click.echo(line)


def _summary(content: "Content") -> dict[str, Any]:
    return {
        "budget": asdict(content.budget),
        "spent_epsilon": content.spent(),
        "remaining_epsilon": content.remaining(),
        "bookings": [
            one.tree() | {"lines": [event.line() for event in one.events]}
            for one in content.bookings
        ],
    }


def _show_bookings(content: "Content") -> None:
    import os
    import shutil
    import sys

    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    width = shutil.get_terminal_size().columns if known else WIDTH_OF_FILES
    # without a height, a dumb terminal is 80 columns wide, whatever else is said
    console = Console(highlight=False, width=width, height=WIDTH_OF_FILES)
    table = Table(title="What was released of the private set")
    for heading in ("time", "request", "events", "fingerprint"):
        table.add_column(heading, overflow="fold", no_wrap=heading != "events")
    for one in content.bookings:
        events = "\n".join(event.line() for event in one.events)
        table.add_row(
            one.time, escape(one.request[:SHORT]), escape(events), escape(one.fingerprint[:SHORT])
        )
    console.print(table)


def _closing_lines(content: "Content") -> tuple[str, ...]:
    from decimal import ROUND_FLOOR

    from curation_audit.dp.budget_ledger import shown

    budget = content.budget
    return (
        f"budget:    epsilon {budget.epsilon:g} at delta {budget.delta:g}, for one {budget.unit} "
        f"({budget.adjacency})",
        f"spent:     epsilon {shown(content.spent())}; bookings: {len(content.bookings)}",
        f"remaining: epsilon {shown(content.remaining(), ROUND_FLOOR)}",
    )
