"""What lies at a path, and which checks it gets."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from curation_audit.checks import InputError
from curation_audit.integrity.attestation import ATTESTATION
from curation_audit.integrity.findings import Finding, failed, guarded, passed, short, unchecked
from curation_audit.integrity.folders import files_below, read_small
from curation_audit.integrity.manifest import ENVELOPE
from curation_audit.integrity.verify import (
    Checked,
    concluded,
    holds,
    verify_release,
    verify_run,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

RELEASE: Final = "release.npz"
OF_RUN: Final = ("report.json", ENVELOPE, "release", "evidence.npz", "run.json")
CARDS: Final = (".json", ".yaml", ".yml")
CLAIM_ONLY: Final = "a claim only: nothing is signed, and no mechanism was looked at"
MOST_TEXT: Final = 1 << 24


def verify_any(path: Path, key: "Ed25519PublicKey | None") -> Checked:
    """Check a run, picks, a release or a card of somebody else.

    Raises:
        InputError: where there is none of them.
    """
    if not path.exists():
        raise InputError(str(path), "no such folder or file", "name a run folder or its release")
    if path.is_dir():
        return verify_picks(path, key) if _of_one_kind(path) else verify_run(path, key)
    if path.name == "report.json":
        return verify_release(path.parent, key)
    if key is not None:
        raise InputError("--key", "is given, and this file carries no signature", "leave it out")
    if path.suffix == ".npz":
        findings = list(guarded("release", partial(_release, path)))
    elif path.suffix in CARDS:
        findings = list(guarded("card", partial(_card, path)))
    else:
        raise InputError(str(path), "is nothing that can be checked", "expected JSON, YAML or npz")
    what = f"the file {path.resolve()}"
    return Checked(findings=tuple(findings), pinned=None, what=what, unsigned=CLAIM_ONLY)


def _of_one_kind(folder: Path) -> bool:
    """Whether a folder holds picks; else it is taken for a run.

    Raises:
        InputError: for a folder of both kinds: the signature of one would speak for the other.
    """
    of_picks = [name for name in (RELEASE, ATTESTATION) if holds(folder, name)]
    of_run = [name for name in OF_RUN if holds(folder, name)]
    if of_picks and of_run:
        hint = "one of them was put there: check each in a folder of its own"
        raise InputError(str(folder), f"holds {of_picks[0]} of picks and {of_run[0]}", hint)
    return RELEASE in of_picks


def verify_picks(folder: Path, key: "Ed25519PublicKey | None") -> Checked:
    """Check what ``curate`` wrote: the claim of its release, the card, and the attestation.

    The attestation covers the release alone; every other file is named as one that it does not.
    """
    findings = list(guarded("attestation", partial(_attestation, folder, key)))
    findings += guarded("release", partial(_release, folder / RELEASE))
    findings += guarded("card.md", partial(_printed_card, folder))
    findings += guarded("files", partial(_uncovered, folder))
    beyond = "that the picks are the best of the pool by the release: it needs the pool"
    what = f"the attestation in {folder.resolve()}"
    return concluded([*findings, unchecked("rule", beyond)], key, what)


def _uncovered(folder: Path) -> Iterator[Finding]:
    """The files beside the attestation and the release, which nobody signed."""
    for name in files_below(folder, but=(RELEASE, ATTESTATION)):
        yield unchecked("files", f"{name!r}: no attestation covers it")


def _facts(path: Path) -> dict[str, Any]:
    from curation_audit.integrity.arrays import read_arrays
    from curation_audit.releases.release import Release

    read_arrays(path)  # which refuses what would not be safe to load
    return Release.load(path).card()


def _release(path: Path) -> Iterator[Finding]:
    from curation_audit.integrity.dp_claim import check_protection

    yield from check_protection(_facts(path))


def _printed_card(folder: Path) -> Iterator[Finding]:
    from curation_audit.curating import render_release_card

    if not (folder / "card.md").exists():
        yield unchecked("card.md", "is not there")
        return
    facts = _facts(folder / RELEASE)
    from curation_audit.version import __version__

    if read_small(folder / "card.md", MOST_TEXT).decode("utf-8", "replace") == (
        render_release_card(facts)
    ):
        yield passed("card.md", "says what the release says")
    elif facts["tool"] == f"curation-audit {__version__}":
        yield failed("card.md", "is not what the release says: somebody changed it")
    else:
        yield unchecked(
            "card.md", "made by another version of the tool, which words it differently"
        )


def _attestation(folder: Path, key: "Ed25519PublicKey | None") -> Iterator[Finding]:
    from curation_audit.integrity.attestation import read_attestation
    from curation_audit.integrity.signed import check_signature

    if not (folder / ATTESTATION).exists():
        tell = unchecked if key is None else failed
        yield tell("attestation", "there is none: nobody signed these picks")
        return
    attested = read_attestation(folder)
    yield check_signature(attested.envelope, key)
    made, n = short(attested.predicate.get("made")), attested.commitment.n
    yield unchecked("time", f"{n} picks, committed {made}: the signer's word")
    yield from _bound(folder, attested.predicate)
    yield unchecked("picks", "that they are the committed ones: it needs the secret that opens it")


def _bound(folder: Path, said: Any) -> Iterator[Finding]:
    """The attestation must be about this release."""
    from curation_audit.integrity.attestation import OF_RELEASE, TIER
    from curation_audit.releases.release import Release

    facts, release = _facts(folder / RELEASE), Release.load(folder / RELEASE)
    expected = {"fingerprint": release.fingerprint} | {name: facts[name] for name in OF_RELEASE}
    stated = said.get("release")
    if isinstance(stated, Mapping) and TIER in stated:
        expected[TIER] = facts.get(TIER)
    else:
        yield unchecked("noise tier", "the attestation is of a version that did not state it")
    if stated == expected:
        yield passed("attestation", "is about this release, its epsilon, delta, unit and adjacency")
    else:
        yield failed("attestation", "is about another release")


def _card(path: Path) -> Iterator[Finding]:
    from curation_audit.integrity.foreign_card import check_card, read_card

    yield from check_card(read_card(path))
