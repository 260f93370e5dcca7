"""``curation-audit curate``: pick rows for real, by a private scorer that is paid for."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from curation_audit.options import pipeline_option, set_option

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

MOST_BACKGROUND: Final = 100_000
"""Rows of the pool that a mechanism looks at; a larger pool is scored as a stream."""


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
    out: str,
    new_version: bool,
    release_file: str | None,
    opening: Path | None,
    key_file: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Pick rows of the pool for real, under differential privacy.

    The pipeline needs curate.protect and private.ledger. What the release spends is booked before
    its noise is drawn; the release is stored before it is used. Run again on unchanged data, it
    picks by the stored release and spends nothing.
    """
    from curation_audit.config import load_picking, load_plan
    from curation_audit.console_progress import choose_progress
    from curation_audit.curating import draw_release, pick, write_picks
    from curation_audit.dp.budget_ledger import BudgetLedger
    from curation_audit.releases.release import Release
    from curation_audit.storage import locked

    own = () if epsilon is None else (f"curate.protect.epsilon={epsilon!r}",)
    settings = (*assignments, *own)
    picking = load_picking(pipeline, settings)
    told: dict[str, object] = {}
    with locked(Path(out)):  # a bad folder is told before anything is booked
        pass
    signer = _signer(opening, key_file, Path(out))
    lines = [f"release: {release_file}: nothing was spent"]
    if release_file is not None:
        release = Release.load(release_file)
    else:
        plan = load_plan(pipeline, settings, most_pool_rows=MOST_BACKGROUND)
        drawn = draw_release(plan, new_version=new_version)
        release = drawn.release
        content = BudgetLedger.open(plan.ledger or Path()).content()
        spent, budget = content.spent(), content.budget.epsilon
        told = {"booked": drawn.booked, "epsilon_spent": spent, "epsilon_budget": budget}
        how = "booked and drawn" if drawn.booked else "stored before: nothing was spent"
        lines = [f"release: {how}", f"budget:  epsilon {spent:.4g} of {budget:g} is spent"]
    progress = choose_progress(quiet=quiet, json_logs=False)
    picks = pick(release, picking.pool, picking.rule, picking.seed, progress)
    paths = write_picks(Path(out), release, picks)
    if opening is not None:
        from curation_audit.integrity.attestation import ATTESTATION, about_curation, attest
        from curation_audit.integrity.picks import Picked

        said = about_curation(release, picking.pool, picking.rule, picking.seed)
        paths[ATTESTATION] = Path(out) / ATTESTATION
        attest(
            Picked.of(picks.ids, picks.scores.tolist()), said, paths[ATTESTATION], opening, signer
        )
        lines.append(f"attest:  {paths[ATTESTATION]}; {opening} proves it, keep it")
    if as_json:
        files = {name.split(".")[0]: str(path) for name, path in paths.items()}
        counts = {"n_picked": len(picks.ids), "n_pool": picks.n_pool}
        click.echo(json.dumps(files | counts | {"n_unscored": picks.n_unscored} | told, indent=1))
        return
    if picks.n_unscored:
        lines.append(f"scores:  {picks.n_unscored} rows miss a feature and come last")
    lines.append(f"picks:   {len(picks.ids)} of {picks.n_pool} rows, {paths['picks.parquet']}")
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
