"""``curation-audit curate``: pick rows for real, by a private scorer that is paid for."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

import click

from curation_audit.dp.tiers import ReleaseTier
from curation_audit.options import pipeline_option, set_option, workers_option

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from curation_audit.auditing.plan import AuditPlan
    from curation_audit.auditing.progress import Progress
    from curation_audit.config.load import Picking
    from curation_audit.picks import Picks
    from curation_audit.releases.release import Release

MOST_BACKGROUND: Final = 100_000
"""Rows of the pool that a mechanism looks at; a larger pool is scored as a stream."""


@click.command()
@pipeline_option
@set_option
@click.option("--epsilon", type=float, help="Override curate.protect.epsilon.")
@click.option(
    "--noise",
    type=click.Choice(get_args(ReleaseTier)),
    help="Override curate.protect.noise_tier: strict is exact noise by OpenDP.",
)
@click.option("--out", metavar="FOLDER", default="picked", show_default=True, help="Where to.")
@workers_option
@click.option(
    "--new-version",
    is_flag=True,
    help="The private set was changed since the last booking: it keeps the budget of the old one.",
)
@click.option(
    "--allow-research-noise",
    "allow_research",
    is_flag=True,
    help="Draw noise that is not for release, too (a module in float32); the card says so.",
)
@click.option(
    "--release",
    "release_file",
    metavar="FILE",
    help="Pick by this release.npz: neither private rows nor the ledger are looked at.",
)
@click.option(
    "--attest",
    "opening",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Commit to the picks, too; FILE keeps the secret that proves them, outside of --out.",
)
@click.option(
    "--sign",
    "key_file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Sign the attestation by this key; 'keygen' makes one.",
)
@click.option("--json", "as_json", is_flag=True, help="The result as JSON on standard output.")
@click.option("--quiet", is_flag=True, help="No progress on standard error.")
def curate(
    pipeline: str,
    assignments: tuple[str, ...],
    epsilon: float | None,
    noise: str | None,
    out: str,
    workers: int | str | None,
    new_version: bool,
    allow_research: bool,
    release_file: str | None,
    opening: Path | None,
    key_file: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Pick rows of the pool for real, under differential privacy.

    The pipeline needs curate.protect and private.ledger. What the release spends is booked before
    its noise is drawn; the release is stored before it is used. Run again on unchanged data, it
    picks by the stored release and spends nothing. Where the noise lies on the selection
    (noisy_top_k) the picks alone leave. With several workers, or run.backend ray or slurm, shards
    of the pool are scored side by side; the picks are the same.
    """
    from curation_audit.checks import InputError
    from curation_audit.config import load_for_release, load_picking
    from curation_audit.console_progress import choose_progress
    from curation_audit.curating import check_folder, draw_release, write_picks
    from curation_audit.pool_shards import forget_scores
    from curation_audit.storage import locked

    own = {
        "curate.protect.epsilon": epsilon,
        "curate.protect.noise_tier": noise,
        "run.workers": workers,
    }
    given = (f"{name}={value}" for name, value in own.items() if value is not None)
    settings = (*assignments, *given)
    picking = load_picking(pipeline, settings)
    with locked(Path(out)):  # a bad folder is told before anything is booked
        pass
    signer = _signer(opening, key_file, Path(out))
    if picking.noisy and release_file is None:
        if opening is not None:
            hint = "run attest commit on the ids that were picked"
            raise InputError("--attest", "is for picks by scores that a release covers", hint)
        check_folder(Path(out))  # before anything is booked
        # picks are computed in float64: what audits are run in makes no other query
        plan = load_for_release(pipeline, (*settings, "run.dtype=float64"))
        _tell_noisy(plan, Path(out), new_version=new_version, as_json=as_json)
        return
    if release_file is not None:
        release, told, lines = _stored(release_file, allow_research=allow_research)
    else:
        plan = load_for_release(pipeline, settings, most_pool_rows=MOST_BACKGROUND)
        drawn = draw_release(plan, new_version=new_version, allow_research=allow_research)
        release = drawn.release
        told, lines = _spent(plan.ledger, "release", booked=drawn.booked)
    told["noise_tier"] = tier = release.card().get("noise_tier", "hardened")
    if tier == "research":
        lines.append("noise:   research: not for release")
    progress = choose_progress(quiet=quiet, json_logs=False)
    picks = _picked(release, picking, Path(out), progress)
    paths = write_picks(Path(out), release, picks)
    if opening is not None:
        path, said = _attested(release, picking, picks, Path(out), opening, signer)
        paths[path.name] = path
        lines += said
    forget_scores(Path(out))
    counts = {"n_picked": len(picks.ids), "n_pool": picks.n_pool, "n_unscored": picks.n_unscored}
    _tell(as_json, paths, counts, told, lines)


def _picked(release: "Release", picking: "Picking", out: Path, progress: "Progress") -> "Picks":
    """The picks, by this process or by the workers that the pipeline names."""
    from curation_audit.picks import pick
    from curation_audit.pool_shards import begun, lend_release
    from curation_audit.spread_picks import Workers, pick_apart

    run = picking.run
    if run.backend == "local" and run.n_workers == 1 and not begun(out):
        return pick(release, picking.pool, picking.rule, picking.seed, progress)
    path = lend_release(release, out.resolve())
    origin = replace(picking.origin, command=("curate-worker", "--release", str(path)))
    workers = Workers.of(run, out.resolve(), origin)
    return pick_apart(
        release,
        picking.pool,
        picking.rule,
        picking.seed,
        out=out.resolve(),
        workers=workers,
        progress=progress,
    )


def _stored(file: str, *, allow_research: bool) -> tuple["Release", dict[str, Any], list[str]]:
    """A release that was made before, and what to tell of it."""
    from curation_audit.releases.release import Release

    release = Release.load(file)
    _check_noise(release.card(), allow_research=allow_research)
    return release, {}, [f"release: {file}: nothing was spent"]


def _attested(
    release: "Release",
    picking: "Picking",
    picks: "Picks",
    out: Path,
    opening: Path,
    signer: "Ed25519PrivateKey | None",
) -> tuple[Path, list[str]]:
    """Commit to the picks; where the attestation lies, what proves it, and what is in it."""
    from curation_audit.integrity.attestation import (
        ATTESTATION,
        about_curation,
        attest,
        scores_are_free,
    )
    from curation_audit.integrity.picks import Picked

    path = out / ATTESTATION
    said = about_curation(release, picking.pool, picking.rule, picking.seed)
    scores = picks.scores.tolist() if scores_are_free(release) else None
    attest(Picked.of(picks.ids, scores), said, path, opening, signer)
    told = [f"attest:  {path}; {opening} proves it, keep it"]
    if scores is None:
        told.append("attest:  ids alone: without a guarantee for release scores stay inside")
    return path, told


def _tell_noisy(plan: "AuditPlan", out: Path, *, new_version: bool, as_json: bool) -> None:
    """Picks alone, under noise on the selection."""
    from curation_audit.curating import draw_picks, write_kept

    kept = draw_picks(plan, new_version=new_version)
    told, lines = _spent(plan.ledger, "query", booked=kept.booked)
    n_pool = len(plan.data.pool)
    counts = {"n_picked": len(kept.ids), "n_pool": n_pool, "n_unscored": 0}
    told["noise_tier"] = kept.facts["noise_tier"]
    _tell(as_json, write_kept(out, kept, n_pool), counts, told, lines)


def _check_noise(card: dict[str, Any], *, allow_research: bool) -> None:
    """Refuse picks by a release whose noise is research, unless somebody insists."""
    from curation_audit.checks import InputError

    if card.get("noise_tier") == "research" and not allow_research:
        problem = "was made with noise that is research and not for release"
        raise InputError("--release", problem, "add --allow-research-noise if that is meant")


def _spent(ledger: Path | None, what: str, *, booked: bool) -> tuple[dict[str, Any], list[str]]:
    """What was spent, for machines and for people."""
    from curation_audit.dp.budget_ledger import BudgetLedger

    content = BudgetLedger.open(ledger or Path()).content()
    spent, budget = content.spent(), content.budget.epsilon
    how = "booked and drawn" if booked else "stored before: nothing was spent"
    return (
        {"booked": booked, "epsilon_spent": spent, "epsilon_budget": budget},
        [f"{what + ':':<9}{how}", f"budget:  epsilon {spent:.4g} of {budget:g} is spent"],
    )


def _tell(
    as_json: bool,
    paths: dict[str, Path],
    counts: dict[str, int],
    told: dict[str, Any],
    lines: list[str],
) -> None:
    """The end of the command, as JSON or line by line."""
    if as_json:
        files = {name.split(".")[0]: str(path) for name, path in paths.items()}
        click.echo(json.dumps(files | counts | told, indent=1))
        return
    if counts["n_unscored"]:
        lines.append(f"scores:  {counts['n_unscored']} rows miss a feature and come last")
    picked = f"{counts['n_picked']} of {counts['n_pool']} rows"
    lines.append(f"picks:   {picked}, {paths['picks.parquet']}")
    lines.append(f"card:    {paths['card.md']}")
    for line in lines:
        click.echo(line)


def _signer(opening: Path | None, key_file: Path | None, out: Path) -> "Ed25519PrivateKey | None":
    """Who signs; bad places for secrets are told before anything is booked."""
    from curation_audit.checks import InputError
    from curation_audit.integrity.attestation import check_opening
    from curation_audit.integrity.keys import read_private_key

    if opening is not None:
        check_opening(opening, out)
    if key_file is None:
        return None
    if opening is None:
        raise InputError("--sign", "is given without --attest", "add --attest FILE")
    return read_private_key(key_file, outside=out)
