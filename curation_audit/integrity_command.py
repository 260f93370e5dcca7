"""``curation-audit keygen``, ``sign`` and ``verify``: who made a report, and whether it holds."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from curation_audit.integrity.verify import Checked

MARKS = {"ok": "ok", "failed": "FAILED", "not checked": "not checked"}

key_argument = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("path", metavar="FILE", type=key_argument)
@click.option("--passphrase", is_flag=True, help="Encrypt the private key; asks for a passphrase.")
def keygen(path: Path, passphrase: bool) -> None:
    """Make a pair of keys to sign with: FILE (private, mode 0600) and FILE.pub.

    Keep FILE outside of run folders; pass on FILE.pub by a way that others trust.

    \b
    Example:
      curation-audit keygen ~/.config/curation-audit/sign.pem
    """  # noqa: D301 - click reads the control character, not its escape
    from curation_audit.integrity.keys import make_keys, new_passphrase

    public, name = make_keys(path, new_passphrase() if passphrase else None)
    click.echo(f"private key: {path} (keep it)")
    click.echo(f"public key:  {public} (pass it on)")
    click.echo(f"key id:      {name}")


@click.command()
@click.argument("run", metavar="RUN", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--key", "key_file", required=True, metavar="FILE", type=key_argument,
    help="The private key; it lies outside of RUN.",
)  # fmt: skip
def sign(run: Path, key_file: Path) -> None:
    """Sign a finished run: hashes of all its release holds, in release/manifest.dsse.json.

    Sign last: a report that is rendered again after that no longer fits its signature.

    \b
    Example:
      curation-audit sign runs/med --key ~/.config/curation-audit/sign.pem
    """  # noqa: D301
    from curation_audit.integrity.keys import key_id, read_private_key
    from curation_audit.integrity.manifest import check_finished, sign_run
    from curation_audit.storage import locked

    check_finished(run)
    key = read_private_key(key_file, outside=run)
    with locked(run):
        path = sign_run(run, key)
    click.echo(f"signed: {path}")
    click.echo(f"key id: {key_id(key.public_key())}")


@click.command()
@click.argument("path", metavar="PATH", type=click.Path(path_type=Path))
@click.option(
    "--key", "key_file", metavar="FILE", type=key_argument,
    help="The signer's public key. Without it the signer stays unknown.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The result as JSON on standard output.")
def verify(path: Path, key_file: Path | None, as_json: bool) -> int:
    """Check hashes and signature, and compute the numbers again from what is stored.

    PATH is a run folder, its release folder, a folder that 'curate' wrote, a release.npz, or a
    card of somebody else (JSON or YAML) that claims differential privacy. Exits with 1 if
    something is wrong, and says what could not be checked.

    \b
    Examples:
      curation-audit verify runs/med --key sign.pem.pub
      curation-audit verify received/release --key sign.pem.pub --json
      curation-audit verify their_deployment.yaml
    """  # noqa: D301
    from curation_audit.integrity.keys import read_public_key
    from curation_audit.integrity.verify_any import verify_any

    key = None if key_file is None else read_public_key(key_file)
    return show(verify_any(path, key), as_json=as_json)


def show(checked: "Checked", *, as_json: bool) -> int:
    """Print what was found, problems last; the exit code."""
    if as_json:
        tree = {
            "conclusion": checked.conclusion,
            "exit_code": checked.exit_code,
            "key_id": checked.pinned,
            "findings": [asdict(one) for one in checked.findings],
        }
        click.echo(json.dumps(tree, indent=1))
        return checked.exit_code
    from curation_audit.integrity.findings import printable

    width = max((len(one.check) for one in checked.findings), default=0)
    for status in ("ok", "not checked", "failed"):
        for one in checked.findings:
            if one.status == status:
                check, detail = printable(one.check), printable(one.detail)
                click.echo(f"{MARKS[status]:<12} {check:<{width}}  {detail}")
    click.echo(printable(checked.conclusion))
    return checked.exit_code
