"""An audit as commands run it: with progress, and shown when it ends."""

import json
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from curation_audit.auditing.plan import AuditPlan


def attack_and_show(plan: "AuditPlan", *, quiet: bool, json_logs: bool, as_json: bool) -> int:
    """Run an audit and print its result; the exit code of its verdict."""
    from curation_audit.auditing.engine import run_audit
    from curation_audit.console import show_result, summary
    from curation_audit.console_progress import choose_progress

    progress = choose_progress(quiet=quiet or as_json, json_logs=json_logs)
    result = run_audit(plan, progress)
    if as_json:
        click.echo(json.dumps(summary(result), indent=1))
    else:
        show_result(result)
    if json_logs:
        ending = {"event": "finished", "verdict": result.verdict.status}
        click.echo(json.dumps(ending | {"exit_code": result.verdict.exit_code}), err=True)
    return result.verdict.exit_code
