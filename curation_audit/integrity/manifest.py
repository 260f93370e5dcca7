"""The manifest of a run: what its release folder holds, and what it was made from.

Nothing in it helps to guess a private row. Fingerprints of private sets are keyed already, and the
evidence beside the release holds a keyed salt; a plain hash of a small private set, or of numbers
that follow from it, would answer every guess.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from curation_audit.checks import InputError
from curation_audit.gating.read import read_report
from curation_audit.integrity.arrays import read_arrays
from curation_audit.integrity.dsse import Envelope, envelope_json, envelope_of, sign_payload
from curation_audit.integrity.folders import file_sha256, files_below, read_json, sha256_of
from curation_audit.integrity.statement import MANIFEST, Statement, statement_json, statement_of
from curation_audit.storage import write_atomically
from curation_audit.version import __version__

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ENVELOPE: Final = "manifest.dsse.json"
EVIDENCE: Final = "evidence.npz"
VERSION: Final = 1
UNFINISHED: Final = re.compile(r"\.tmp$")


def sign_run(run: Path, key: "Ed25519PrivateKey") -> Path:
    """Write the signed manifest into the release folder of a run; its path.

    Raises:
        InputError: for a folder that is no finished run, or holds what no release holds.
    """
    statement = manifest_of(run, datetime.now(UTC).isoformat(timespec="seconds"))
    path = run / "release" / ENVELOPE
    write_atomically(path, envelope_json(sign_payload(statement_json(statement), key)))
    return path


def check_finished(run: Path) -> None:
    """Raise ``InputError`` for a folder without a report."""
    if not (run / "release" / "report.json").is_file():
        hint = "run 'curation-audit attack' first, and name its folder"
        raise InputError(str(run), "found no release/report.json", hint)


def manifest_of(run: Path, signed: str) -> Statement:
    """What is to be signed; ``signed`` is the time, in the signer's word."""
    check_finished(run)
    release = run / "release"
    report, _ = read_report(release / "report.json")
    files = files_below(release, but=(ENVELOPE,))
    for name in files:
        if UNFINISHED.search(name):
            raise InputError(str(files[name]), "was left half done", "render the report again")
    return Statement(
        subjects=sha256_of(files),
        predicate_type=MANIFEST,
        predicate={
            "manifest_version": VERSION,
            "signed": signed,
            "signed_with": f"curation-audit {__version__}",
            "name": report["name"],
            "schema_version": report["schema_version"],
            "verdict": report["verdict"]["status"],
            "tool": report["tool"],
            "seed": report["seed"],
            "configuration_sha256": configuration_sha256(report),
            "data": report["data"],
            "environment": _environment(run),
            "evidence": _evidence(run),
        },
    )


def configuration_sha256(report: Mapping[str, Any]) -> str:
    """The SHA-256 of the resolved configuration as compact JSON with sorted keys, in hex."""
    text = json.dumps(report["configuration"], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def read_manifest(release: Path) -> tuple[Envelope, Statement] | None:
    """The envelope of a release folder and what it says; ``None`` where there is none.

    Raises:
        InputError: for a file that is no signed manifest.
    """
    path = release / ENVELOPE
    if not path.exists() and not path.is_symlink():
        return None
    try:
        envelope = envelope_of(read_json(path))
    except ValueError as error:
        raise InputError(str(path), f"is no signed manifest: {error}") from None
    return envelope, statement_of(envelope.payload, MANIFEST, str(path))


def _environment(run: Path) -> Mapping[str, Any] | None:
    """Versions and machine of the run, where they were kept."""
    if not (run / "run.json").is_file():
        return None
    tree = read_json(run / "run.json")
    environment = tree.get("environment") if isinstance(tree, dict) else None
    return environment if isinstance(environment, dict) else None


def _evidence(run: Path) -> Mapping[str, str] | None:
    """The hash of the evidence, for whoever is given it; only where it is salted."""
    path = run / EVIDENCE
    if not path.is_file() or "salt" not in read_arrays(path):
        return None
    return {"name": EVIDENCE, "sha256": file_sha256(path)}
