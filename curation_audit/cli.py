"""The command line: parse, call, print. Heavy imports happen inside commands."""

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from curation_audit.attack_run import attack_and_show
from curation_audit.attest_command import attest
from curation_audit.checks import InputError, Unfinished
from curation_audit.curate_command import curate
from curation_audit.forecast_command import forecast
from curation_audit.health_command import after_attack, health
from curation_audit.integrity_command import keygen, sign, verify
from curation_audit.ledger_command import ledger
from curation_audit.options import pipeline_option, set_option, workers_option
from curation_audit.scale_command import curate_worker, merge, worker
from curation_audit.tune_command import tune
from curation_audit.version import __version__
from curation_audit.width_commands import coord_check, lr_transfer_check

PASS, GATE_TRIPPED, BAD_INPUT, UNFINISHED, INTERNAL, INVALID = range(6)
EXAMPLES = ("med", "digits")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="curation-audit", message="%(prog)s %(version)s")
def cli() -> None:
    """Audit a data-curation pipeline for privacy.

    A scorer trained on private records picks rows of a public pool, and a model is trained on
    the picked rows. This tool measures what the scores, the picks and the model say about who
    was in the private set.

    \b
    Start with:
      curation-audit init med.yaml --example med
      curation-audit attack --pipeline med.yaml

    Exit codes: 0 no gate tripped, 1 release policy exceeded, 2 bad input, 3 unfinished (run
    again to continue), 4 internal error, 5 audit invalid (a control failed, or a check of
    'curation-audit doctor').
    """  # noqa: D301 - click reads the control character, not its escape


for command in (
    *(
        curate,
        forecast,
        health,
        ledger,
        tune,
        keygen,
        sign,
        verify,
        attest,
        worker,
        merge,
        curate_worker,
    ),
    *(coord_check, lr_transfer_check),
):
    cli.add_command(command)


@cli.command()
@click.argument("file", required=False, type=click.Path(dir_okay=False))
@click.option(
    "--example",
    type=click.Choice(EXAMPLES),
    help="Copy a complete example that runs as it is, instead of the starter.",
)
@click.option("--policy", is_flag=True, help="Write a release policy for 'gate' instead.")
@click.option("--force", is_flag=True, help="Overwrite the file if it is there.")
def init(file: str | None, example: str | None, policy: bool, force: bool) -> None:
    """Write a commented pipeline file to start from; pipeline.yaml by default."""
    if policy and example:
        raise InputError("--policy", "stands beside --example", "give one of them")
    path = Path(file or ("policy.yaml" if policy else "pipeline.yaml"))
    if path.exists() and not force:
        raise InputError(str(path), "is already there", "name another file, or use --force")
    name = "gating/policy" if policy else f"pipelines/{example or 'starter'}"
    template = Path(__file__).parent / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(template.read_text())
    click.echo(f"wrote {path}")
    step = f"{'attack' if example else 'validate'} --pipeline"
    click.echo(f"next: curation-audit {'gate RUN --policy' if policy else step} {path}")


@cli.command()
@pipeline_option
@set_option
def validate(pipeline: str, assignments: tuple[str, ...]) -> None:
    """Check a pipeline and its data, and print what an audit of it would do."""
    from curation_audit.auditing.forecast import forecast as plan_in_numbers
    from curation_audit.config import load_plan
    from curation_audit.console import show_forecast

    show_forecast(plan_in_numbers(load_plan(pipeline, assignments)))


@cli.command()
@pipeline_option
@set_option
@click.option("--seed", type=click.IntRange(min=0), help="Override the seed.")
@workers_option
@click.option("--out", metavar="FOLDER", help="Override run.out: where the run folder goes.")
@click.option("--dry-run", is_flag=True, help="Print what would be done, and stop.")
@click.option("--health", "with_health", is_flag=True, help="Then 'health', too: for the owner.")
@click.option("--quiet", is_flag=True, help="No progress; the closing table only.")
@click.option("--json-logs", is_flag=True, help="Progress as JSON lines on standard error.")
@click.option("--json", "as_json", is_flag=True, help="The result as JSON on standard output.")
def attack(
    pipeline: str,
    assignments: tuple[str, ...],
    seed: int | None,
    workers: int | str | None,
    out: str | None,
    dry_run: bool,
    with_health: bool,
    quiet: bool,
    json_logs: bool,
    as_json: bool,
) -> int:
    """Audit a pipeline: run shadow curations, attack every stage, write a report.

    A run that was stopped continues where it was when the same command is given again.
    """
    from curation_audit.config import load_plan

    plan = load_plan(pipeline, (*assignments, *_options(seed, workers, out)))
    if dry_run:
        from curation_audit.auditing.forecast import forecast as plan_in_numbers
        from curation_audit.console import show_forecast

        show_forecast(plan_in_numbers(plan))
        return PASS
    code = attack_and_show(plan, quiet=quiet, json_logs=json_logs, as_json=as_json)
    if with_health:
        after_attack(plan)
    return code


@cli.command()
@pipeline_option
@set_option
@click.option(
    "--epsilon",
    "epsilons",
    metavar="LIST",
    help="Comma-separated, inf for no noise; default 0.5,1,2,4,8,16,inf.",
)
@click.option(
    "--mechanism",
    "mechanisms",
    multiple=True,
    metavar="NAME",
    help="A mechanism to sweep, or 'all'. May be repeated. Default: the scorer's private form.",
)
@click.option("--adjacency", help="Override sweep.adjacency: which private sets are neighbours.")
@click.option("--delta", type=float, help="Override sweep.delta.")
@click.option("--seed", type=click.IntRange(min=0), help="Override the seed.")
@workers_option
@click.option(
    "--out", metavar="FOLDER", help="Where the sweep goes; default run.out with '-sweep'."
)
@click.option("--quiet", is_flag=True, help="No progress; the closing table only.")
@click.option("--json-logs", is_flag=True, help="Progress as JSON lines on standard error.")
@click.option("--json", "as_json", is_flag=True, help="The result as JSON on standard output.")
def sweep(
    pipeline: str,
    assignments: tuple[str, ...],
    epsilons: str | None,
    mechanisms: tuple[str, ...],
    adjacency: str | None,
    delta: float | None,
    seed: int | None,
    workers: int | str | None,
    out: str | None,
    quiet: bool,
    json_logs: bool,
    as_json: bool,
) -> int:
    """Show what privacy costs: private curations at several epsilons, attacked and measured.

    Every point is an audit of its own, with attacks trained on shadows of the same mechanism with
    fresh noise. A sweep that was stopped continues with the next point. Exits with 1 if a
    guarantee is refuted.
    """
    from curation_audit.config import Asked, load_sweep
    from curation_audit.console import show_sweep
    from curation_audit.console_progress import choose_progress
    from curation_audit.sweeping.run import run_sweep, sweep_tree

    asked = Asked(
        epsilons=None if epsilons is None else _numbers(epsilons),
        mechanisms=mechanisms or None,
        adjacency=adjacency,
        delta=delta,
        out=out,
    )
    plan = load_sweep(pipeline, (*assignments, *_options(seed, workers)), asked)
    outcome = run_sweep(plan, choose_progress(quiet=quiet or as_json, json_logs=json_logs))
    tree = sweep_tree(plan, outcome.result)
    if as_json:
        click.echo(json.dumps(tree | {"exit_code": outcome.exit_code}, indent=1))
    else:
        show_sweep(tree, outcome.page)
    if json_logs:
        click.echo(json.dumps({"event": "finished", "exit_code": outcome.exit_code}), err=True)
    return outcome.exit_code


def _numbers(text: str) -> tuple[float, ...]:
    """Numbers from a comma-separated list."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        problem = f"found {text!r}"
        raise InputError("--epsilon", problem, "expected numbers, e.g. 0.5,1,8,inf") from None


def _options(
    seed: int | None, workers: int | str | None, out: str | None = None
) -> tuple[str, ...]:
    """Options of the command line as assignments of settings."""
    named = {"seed": seed, "run.workers": workers, "run.out": out}
    return tuple(f"{key}={json.dumps(value)}" for key, value in named.items() if value is not None)


@cli.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(file_okay=False))
@click.option(
    "--format",
    "formats",
    help="Comma-separated: html (the default), markdown, pdf, json, card, parquet.",
)
@click.option("--compare", is_flag=True, help="One page that sets two or more runs side by side.")
@click.option("--out", metavar="FILE", help="Where the comparison goes; default comparison.html.")
def report(runs: tuple[str, ...], formats: str | None, compare: bool, out: str | None) -> None:
    """Write the report of a finished run again, from its report.json; or compare runs.

    Everything but parquet goes to the release folder: that one holds the evidence on every
    candidate, and stays beside it. Where training health of the run lies in private/, the whole
    report with it is written there, too, for the owner alone.
    """
    folders = [Path(run) for run in runs]
    if compare:
        if formats is not None:
            raise InputError("--format", "is given beside --compare", "a comparison is a page")
        from curation_audit.report.compare import write_comparison

        click.echo(str(write_comparison(folders, Path(out or "comparison.html"))))
        return
    if len(folders) > 1 or out is not None:
        raise InputError("report", "found several runs or --out", "add --compare, or name one run")
    from curation_audit.auditing.release import render_again

    asked = [one.strip() for one in (formats or "html").split(",")]
    written, problem = render_again(folders[0], asked)
    for path in written:
        click.echo(str(path))
    if problem is not None:
        click.echo(f"Not rendered: {problem}", err=True)


@cli.command()
@click.argument("run_folder", metavar="RUN", type=click.Path())
@click.option("--policy", required=True, metavar="FILE", help="The policy's YAML file.")
@click.option(
    "--format",
    "form",
    type=click.Choice(("text", "json", "markdown", "junit")),
    default="text",
    show_default=True,
)
@click.option("--out", metavar="FILE", help="Write to a file, and print the verdict only.")
def gate(run_folder: str, policy: str, form: str, out: str | None) -> int:
    """Hold a release policy against a finished audit.

    RUN is a run folder, its release folder alone, or a report.json. Exits with 0 if the evidence
    supports a release, with 1 if it does not, and with 5 if the audit is invalid.
    """
    from curation_audit.config import load_policy
    from curation_audit.gating import decide, read_report
    from curation_audit.gating.render import deliver

    accepted = load_policy(policy)
    report, sha256 = read_report(Path(run_folder))
    decision = decide(report, accepted, sha256)
    for line in deliver(decision, form, None if out is None else Path(out)):
        click.echo(line)
    return decision.exit_code


@cli.command()
@click.option("--quiet", is_flag=True, help="No progress; the table only.")
@click.option("--json-logs", is_flag=True, help="Progress as JSON lines on standard error.")
@click.option("--json", "as_json", is_flag=True, help="The result as JSON on standard output.")
def doctor(quiet: bool, json_logs: bool, as_json: bool) -> int:
    """Test this installation: known answers, chance where nothing leaks, planted violations.

    Takes a few seconds, needs no data and writes nothing. Exits with 5 if a check fails: then no
    number of this installation can be trusted.
    """
    from curation_audit.console import checkup_summary, show_checkup
    from curation_audit.console_progress import choose_progress
    from curation_audit.doctor import CHECKS, run_checks

    progress = choose_progress(quiet=quiet or as_json, json_logs=json_logs)
    results = run_checks(CHECKS, progress)
    code = PASS if all(one.passed for one in results) else INVALID
    if as_json:
        click.echo(json.dumps(checkup_summary(results, code), indent=1))
    else:
        show_checkup(results)
    return code


@cli.command()
def schema() -> None:
    """Print the JSON Schema of pipeline files, for editors."""
    from curation_audit.config import pipeline_schema

    click.echo(json.dumps(pipeline_schema(), indent=1))


def main() -> None:
    """Run the command line; every way out has its exit code and at most one line of complaint."""
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        sys.exit(_guarded(lambda: cli.main(prog_name="curation-audit", standalone_mode=False)))
    finally:  # of a process that goes on, and of its workers, a stop is not ours to catch
        signal.signal(signal.SIGTERM, before)


def _stop(*_: object) -> None:
    """A scheduler's way to stop a job ends like a person's: in one line, ready to continue."""
    raise KeyboardInterrupt


def _guarded(run: Callable[[], Any]) -> int:
    try:
        code = run()
    except InputError as error:
        return _complain(str(error), BAD_INPUT)
    except Unfinished as error:
        return _complain(str(error), UNFINISHED)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.exceptions.NoArgsIsHelpError as asked:
        click.echo(asked.format_message())
        return PASS
    except click.ClickException as error:
        return _complain(error.format_message(), BAD_INPUT)
    except (KeyboardInterrupt, click.Abort):
        return _complain("stopped; give the same command again to continue", UNFINISHED)
    except OSError as error:
        place = f" {error.filename}" if error.filename else ""
        problem = f"cannot write or read{place}: {error.strerror or type(error).__name__}"
        return _complain(f"{problem}; what was finished is kept, run again to continue", UNFINISHED)
    except MemoryError:
        return _complain("out of memory; what was finished is kept", UNFINISHED)
    except Exception as error:
        return _internal(error)
    return code if isinstance(code, int) else PASS


def _internal(error: Exception) -> int:
    """An internal error without its text, which may quote private values."""
    if type(error).__name__ == "BrokenProcessPool":
        return _complain(
            "a worker process died (out of memory?); what was finished is kept, "
            "run again with fewer workers",
            UNFINISHED,
        )
    if os.environ.get("CURATION_AUDIT_DEBUG"):
        traceback.print_exc()
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
    return _complain(
        f"internal error: {type(error).__name__} at {place}; what was finished is kept. "
        "Set CURATION_AUDIT_DEBUG=1 for the traceback (it may show private values)",
        INTERNAL,
    )


def _complain(line: str, code: int) -> int:
    click.echo(f"error: {' '.join(line.split())}", err=True)
    return code
