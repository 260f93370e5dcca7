"""Signature and hashes of a release folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curation_audit.integrity.dsse import Envelope, signed_by
from curation_audit.integrity.findings import Finding, failed, passed, short, unchecked
from curation_audit.integrity.folders import file_sha256, files_below, sha256_of
from curation_audit.integrity.keys import key_id
from curation_audit.integrity.manifest import (
    ENVELOPE,
    EVIDENCE,
    configuration_sha256,
    read_manifest,
)
from curation_audit.integrity.statement import SHA256, Statement

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

AGAIN = "changed by somebody, or rendered again after it was signed: then 'sign' it again"


def check_signed(release: Path, key: "Ed25519PublicKey | None") -> Iterator[Finding]:
    """The signature of the manifest, and every file of the release against it."""
    found = read_manifest(release)
    if found is None:
        tell = unchecked if key is None else failed
        yield tell("signature", f"there is no {ENVELOPE}: nobody signed this")
        yield unchecked("files", "without a manifest nothing says what they should be")
        return
    envelope, statement = found
    yield check_signature(envelope, key)
    yield from _files(release, statement)
    name, time = (short(statement.predicate.get(one)) for one in ("name", "signed"))
    yield unchecked("time", f"run {name}, signed {time}: the signer's word, nobody else stamps it")


def check_signature(envelope: Envelope, key: "Ed25519PublicKey | None") -> Finding:
    """Whether the pinned key signed; key ids are hints, and a signature of another key is none."""
    named = ", ".join(_hint(one.keyid) for one in envelope.signatures) or "nobody"
    if key is None:
        return unchecked(
            "signature", f"no key to check with; it names {named}, which proves nothing"
        )
    if signed_by(envelope, key):
        return passed("signature", f"made by the key {key_id(key)}")
    return failed("signature", f"not made by the key {key_id(key)[:16]}; it names {named}")


def _hint(keyid: str) -> str:
    return keyid[:16] if SHA256.fullmatch(keyid) else "an unreadable id"


def _files(release: Path, statement: Statement) -> Iterator[Finding]:
    there = sha256_of(files_below(release, but=(ENVELOPE,)))
    listed = statement.subjects
    changed = sorted(name for name in there if listed.get(name, there[name]) != there[name])
    strange, missing = sorted(there.keys() - listed.keys()), sorted(listed.keys() - there.keys())
    for names, what in ((changed, f"changed ({AGAIN})"), (missing, "missing")):
        for name in names:
            yield failed("files", f"{name!r} is {what}")
    for name in strange:
        yield failed("files", f"{name!r} is not in the manifest ({AGAIN})")
    if not changed and not strange and not missing:
        yield passed("files", f"{len(there)} as in the manifest: {', '.join(sorted(there))}")


def check_report_of_manifest(
    statement: Statement, report: dict[str, Any], run: Path
) -> Iterator[Finding]:
    """What the manifest says beside hashes, against the report and the evidence beside it."""
    said = statement.predicate
    expected = {
        "name": report["name"],
        "tool": report["tool"],
        "seed": report["seed"],
        "data": report["data"],
        "verdict": report["verdict"]["status"],
        "configuration_sha256": configuration_sha256(report),
    }
    wrong = [name for name, value in expected.items() if said.get(name) != value]
    if wrong:
        yield failed("manifest", f"it says otherwise than the report: {', '.join(wrong)}")
    else:
        yield passed("manifest", "configuration, data, code and seed are those of the report")
    evidence, path = said.get("evidence"), run / EVIDENCE
    if not path.is_file():
        return
    if not isinstance(evidence, dict):
        yield unchecked("evidence file", "the manifest has no hash of it")
    elif evidence.get("sha256") == file_sha256(path):
        yield passed("evidence file", f"{EVIDENCE} as in the manifest")
    else:
        yield failed("evidence file", f"{EVIDENCE} is not the one of the manifest")
