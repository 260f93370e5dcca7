"""Commands for any scheduler with a shared folder: ``worker``, ``merge``, ``curate-worker``."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from curation_audit.attack_run import attack_and_show
from curation_audit.checks import InputError, Unfinished
from curation_audit.options import pipeline_option, set_option, workers_option

if TYPE_CHECKING:
    from curation_audit.auditing.plan import AuditPlan

out_option = click.option(
    "--out", metavar="FOLDER", help="Override run.out: the run folder that all workers share."
)


shard_option = click.option(
    "--shard", required=True, type=click.IntRange(min=0), help="Which share: 0 to N - 1."
)
of_option = click.option(
    "--of", required=True, type=click.IntRange(min=1), help="N, into how many shares."
)
quiet_option = click.option("--quiet", is_flag=True, help="No progress; the closing line only.")
logs_option = click.option(
    "--json-logs", is_flag=True, help="Progress as JSON lines on standard error."
)


@click.command()
@pipeline_option
@set_option
@shard_option
@of_option
@workers_option
@out_option
@quiet_option
@logs_option
def worker(
    pipeline: str,
    assignments: tuple[str, ...],
    shard: int,
    of: int,
    workers: int | str | None,
    out: str | None,
    quiet: bool,
    json_logs: bool,
) -> None:
    """Compute one share of an audit's curations into the run folder.

    Run it N times, anywhere that sees the folder, in any order and as often as you like; then
    'merge'. A worker that was stopped continues when it is given again.
    """
    from curation_audit.auditing.share import compute_share
    from curation_audit.console_progress import choose_progress

    _check_share(shard, of)
    plan = _plan(pipeline, assignments, out, workers or 1)
    done = compute_share(plan, shard, of, choose_progress(quiet=quiet, json_logs=json_logs))
    click.echo(
        f"share {shard} of {of}: {done.n_chunks} chunks, {done.n_reused} of them there before"
    )


@click.command()
@pipeline_option
@set_option
@out_option
@click.option("--quiet", is_flag=True, help="No progress; the closing table only.")
@click.option("--json", "as_json", is_flag=True, help="The result as JSON on standard output.")
def merge(
    pipeline: str, assignments: tuple[str, ...], out: str | None, quiet: bool, as_json: bool
) -> int:
    """End an audit whose curations workers have computed: attacks, statistics, the report.

    Exits with 3 while chunks are missing; 'attack' would compute them. Otherwise as 'attack'.
    """
    from curation_audit.auditing.share import n_missing

    plan = _plan(pipeline, assignments, out, 1)
    missing, total = n_missing(plan)
    if missing:
        raise Unfinished(
            f"{missing} of {total} chunks are missing in {plan.run.out}; run the workers"
        )
    return attack_and_show(plan, quiet=quiet, json_logs=False, as_json=as_json)


@click.command("curate-worker")
@pipeline_option
@set_option
@click.option(
    "--release", "file", required=True, metavar="FILE", help="The release.npz that scores."
)
@click.option("--out", required=True, metavar="FOLDER", help="The folder of the picks.")
@shard_option
@of_option
@workers_option
@quiet_option
@logs_option
def curate_worker(
    pipeline: str,
    assignments: tuple[str, ...],
    file: str,
    out: str,
    shard: int,
    of: int,
    workers: int | str | None,
    quiet: bool,
    json_logs: bool,
) -> None:
    """Score one share of a pool by a release, for a curation into the same folder.

    Run it N times, anywhere that sees the folder and the pool, in any order and as often as you
    like; then 'curate --release FILE' with the same --out picks by these scores. Nothing private
    is read, and nothing spent.
    """
    from curation_audit.config import load_picking
    from curation_audit.console_progress import choose_progress
    from curation_audit.releases.release import Release
    from curation_audit.spread_picks import Workers, score_share

    _check_share(shard, of)
    picking = load_picking(pipeline, (*assignments, f"run.workers={workers or 1}"))
    n_shards = score_share(
        Release.load(file),
        picking.pool,
        Path(out),
        slice(shard, None, of),
        Workers.of(replace(picking.run, backend="local"), Path(out)),
        choose_progress(quiet=quiet, json_logs=json_logs),
    )
    click.echo(f"share {shard} of {of}: {n_shards} shards of the pool are scored")


def _check_share(shard: int, of: int) -> None:
    if shard >= of:
        raise InputError("--shard", f"found {shard}", f"expected 0 to {of - 1}, as --of is {of}")


def _plan(
    pipeline: str, assignments: tuple[str, ...], out: str | None, workers: int | str
) -> "AuditPlan":
    """The plan, to be computed here whatever ``run.backend`` says."""
    from curation_audit.config import load_plan

    here = {"run.backend": "local", "run.workers": workers, "run.out": out}
    named = (f"{key}={json.dumps(value)}" for key, value in here.items() if value is not None)
    return load_plan(pipeline, (*assignments, *named))
