"""``curation-audit attest``: commit to picks, and prove of single rows whether they are in."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from curation_audit.checks import InputError

if TYPE_CHECKING:
    from curation_audit.integrity.attestation import Attestation
    from curation_audit.integrity.findings import Finding
    from curation_audit.integrity.proofs import Answer

file_path = click.Path(dir_okay=False, path_type=Path)
any_path = click.Path(path_type=Path)


@click.group()
def attest() -> None:
    """Prove that rows of a public pool were, or were not, picked.

    'curate --attest SECRET' publishes a commitment to the picks. Its holder proves of single rows
    whether they are in; a third party checks it, and sees neither private rows nor other picks
    (but for the two neighbours of a row that was not picked).
    """


@attest.command()
@click.argument("picks", metavar="PICKS", type=any_path)
@click.option("--opening", required=True, metavar="FILE", type=file_path, help="New secret file.")
@click.option("--out", required=True, metavar="FILE", type=file_path, help="The attestation.")
@click.option("--sign", "key_file", metavar="FILE", type=file_path, help="Sign by this key.")
def commit(picks: Path, opening: Path, out: Path, key_file: Path | None) -> None:
    """Commit to picks that were made elsewhere.

    PICKS is a parquet file with a column 'id', or a text file with one id a line.
    Scores are never committed here: without a private release they tell of private rows.
    """
    from curation_audit.integrity.attestation import attest as write_attestation
    from curation_audit.integrity.keys import read_private_key
    from curation_audit.integrity.pick_files import read_picks

    folder = out.resolve().parent
    key = None if key_file is None else read_private_key(key_file, outside=folder)
    picked = read_picks(picks, scored=False)
    said = {"release": None, "rule": None, "seed": None, "pool": None}
    commitment = write_attestation(picked, said, out, opening, key)
    click.echo(f"attestation: {out} ({commitment.n} rows)")
    click.echo(f"opening:     {opening} (keep it: it proves, and it tests guesses)")


@attest.command()
@click.argument("picks", metavar="PICKS", type=any_path)
@click.option("--ids", required=True, metavar="FILE", type=file_path, help="One id a line.")
@click.option("--opening", required=True, metavar="FILE", type=file_path, help="The secret file.")
@click.option(
    "--attestation", metavar="FILE", type=file_path, help="Default: the one in the folder PICKS."
)
@click.option("--out", metavar="FILE", type=file_path, help="Where to; default standard output.")
def prove(
    picks: Path, ids: Path, opening: Path, attestation: Path | None, out: Path | None
) -> None:
    """Prove of each id whether it was picked. PICKS is the folder that 'curate' wrote.

    \b
    Example:
      curation-audit attest prove picked/ --ids asked.txt --opening picked.opening.json --out proofs.json
    """  # noqa: D301, E501 - click reads the control character, not its escape
    from curation_audit.integrity.attestation import read_attestation, read_opening
    from curation_audit.integrity.pick_files import read_ids, read_picks
    from curation_audit.integrity.picks import commit as commit_to
    from curation_audit.integrity.proofs import prove as prove_rows
    from curation_audit.storage import write_atomically

    attested = read_attestation(attestation or picks).commitment
    key = read_opening(opening, attested)
    picked = read_picks(picks, scored=attested.scored)
    again, tree = commit_to(picked, key)
    if again != attested:
        raise InputError(str(picks), "holds other picks than the attestation", "was it run again?")
    proofs = json.dumps(prove_rows(read_ids(ids), picked, tree, key, attested), indent=1)
    if out is None:
        click.echo(proofs)
        return
    write_atomically(out, proofs.encode() + b"\n")
    click.echo(f"wrote {out}")


@attest.command()
@click.argument("attestation", metavar="ATTESTATION", type=any_path)
@click.argument("proofs", metavar="PROOFS", type=file_path)
@click.option("--ids", metavar="FILE", type=file_path, help="Ids that must be answered.")
@click.option("--key", "key_file", metavar="FILE", type=file_path, help="The signer's public key.")
@click.option("--json", "as_json", is_flag=True, help="The result as JSON on standard output.")
def check(
    attestation: Path, proofs: Path, ids: Path | None, key_file: Path | None, as_json: bool
) -> int:
    """Check proofs against an attestation. Exits with 1 if one does not hold.

    \b
    Example:
      curation-audit attest check attestation.dsse.json proofs.json --key sign.pem.pub
    """  # noqa: D301
    from curation_audit.integrity.attestation import read_attestation
    from curation_audit.integrity.findings import printable
    from curation_audit.integrity.folders import read_json
    from curation_audit.integrity.keys import read_public_key
    from curation_audit.integrity.pick_files import read_ids
    from curation_audit.integrity.proofs import check_proofs
    from curation_audit.integrity.signed import check_signature

    attested = read_attestation(attestation)
    key = None if key_file is None else read_public_key(key_file)
    signature = check_signature(attested.envelope, key)
    try:
        answers = check_proofs(read_json(proofs), attested.commitment)
    except InputError as error:  # proofs come from somebody else: none at all is an answer, too
        line = printable(f"FAILED: {error}")
        click.echo(json.dumps({"conclusion": line}, indent=1) if as_json else line)
        return 1
    asked = None if ids is None else read_ids(ids)
    open_ = sorted(set(asked or ()) - {one.id for one in answers})
    wrong = [one for one in answers if one.problem is not None]
    code = int(bool(not answers or wrong or open_ or signature.status == "failed"))
    tree = _summary(attested, signature, answers, open_, code)
    if as_json:
        told = {"answers": [asdict(one) for one in answers], "unanswered": open_}
        click.echo(json.dumps(tree | told, indent=1))
        return code
    _tell(answers, asked, open_)
    for name, value in tree.items():
        click.echo(printable(f"{name.replace('_', ' ') + ':':<12} {value}"))
    return code


def _tell(
    answers: "tuple[Answer, ...]", asked: list[str] | None, unanswered: Sequence[str]
) -> None:
    """A line for each id that was asked about, or else for each that is answered."""
    told = None if asked is None else frozenset(asked)
    for one in answers:
        if one.problem is not None:
            click.echo(f"FAILED: {one.id!r}: {one.problem}")
        elif told is None or one.id in told:
            click.echo(f"{'picked' if one.picked else 'not picked':<12} {one.id!r}")
    for name in unanswered:
        click.echo(f"FAILED: {name!r}: no proof answers it")
    if not answers:
        click.echo("FAILED: no row is answered: the file holds no proofs")


def _summary(
    attested: "Attestation",
    signature: "Finding",
    answers: "tuple[Answer, ...]",
    unanswered: list[str],
    code: int,
) -> dict[str, Any]:
    n_fine = sum(one.problem is None for one in answers)
    n_picked = sum(one.picked for one in answers if one.problem is None)
    if code:
        conclusion = "FAILED"
    elif signature.status == "ok":
        conclusion = "verified, as far as the signer committed to what was picked"
    else:
        conclusion = "the proofs fit the attestation; its signer is unknown"
    return {
        "committed": f"{attested.commitment.n} rows",
        **_said(attested.predicate),
        "picked": n_picked,
        "not_picked": n_fine - n_picked,
        "wrong": len(answers) - n_fine + len(unanswered),
        "signature": signature.detail,
        "conclusion": conclusion,
    }


def _said(predicate: Mapping[str, Any]) -> dict[str, Any]:
    """What the signer states beside the commitment, as it stands there."""
    release = predicate.get("release")
    of = release if isinstance(release, Mapping) else {}
    words = {name: of.get(name) for name in ("epsilon", "delta", "unit", "adjacency")}
    said = {"made": predicate.get("made"), "rule": predicate.get("rule")}
    return said | {"release": of.get("fingerprint")} | words
