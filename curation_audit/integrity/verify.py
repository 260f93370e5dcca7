"""Everything that can be checked about a finished run without its private data."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from curation_audit.checks import InputError
from curation_audit.integrity.arrays import read_arrays
from curation_audit.integrity.dp_claim import check_protection
from curation_audit.integrity.findings import Finding, failed, guarded, passed, unchecked
from curation_audit.integrity.folders import read_json
from curation_audit.integrity.keys import key_id
from curation_audit.integrity.manifest import EVIDENCE, read_manifest
from curation_audit.integrity.report_claim import (
    check_configured,
    check_fine_tuning,
    check_stated_claim,
)
from curation_audit.integrity.signed import check_report_of_manifest, check_signed

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

NEVER: Final = (
    ("evidence itself", "that it was measured on the pipeline: models and data are not looked at"),
    ("utility", "accuracy of the picks: it needs the models"),
)


UNSIGNED: Final = "integrity only, signer unknown (--key pins the signer)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What was looked at, and what it came to.

    ``pinned``: the id of the key that was given. ``what``: what it vouches for, with its place.
    ``unsigned``: what may be said at most without.
    """

    findings: tuple[Finding, ...]
    pinned: str | None
    what: str
    unsigned: str = UNSIGNED

    @property
    def failures(self) -> tuple[Finding, ...]:
        """What is wrong."""
        return tuple(one for one in self.findings if one.status == "failed")

    @property
    def exit_code(self) -> int:
        """0, or 1 where something is wrong."""
        return int(bool(self.failures))

    @property
    def conclusion(self) -> str:
        """One line; without a pinned key nobody is vouched for, whatever fits."""
        n_open = sum(one.status == "not checked" for one in self.findings)
        beyond = f"; {n_open} things could not be checked" if n_open else ""
        beyond = f", for {self.what}{beyond}"
        if self.failures:
            return f"FAILED: {len(self.failures)} of {len(self.findings)} checks{beyond}"
        if self.pinned is None:
            return f"{self.unsigned}{beyond}"
        return f"verified: signed by the key {self.pinned}{beyond}"


def verify_run(run: Path, key: "Ed25519PublicKey | None") -> Checked:
    """Check a run folder, or its release folder alone.

    Raises:
        InputError: where there is no release, or more than one.
    """
    return verify_release(release_of(run), key)


def verify_release(folder: Path, key: "Ed25519PublicKey | None") -> Checked:
    """Check the folder that holds a report, and no other.

    Raises:
        InputError: for a link, or where there is no report.
    """
    release = _no_link(folder)
    findings = list(guarded("signature", partial(check_signed, release, key)))
    findings += guarded("report", partial(_report, release))
    return concluded(findings, key, f"the release folder {release}")


def concluded(findings: Sequence[Finding], key: "Ed25519PublicKey | None", what: str) -> Checked:
    """The findings with the key that was pinned, and what it vouches for."""
    pinned = None if key is None else key_id(key)
    return Checked(findings=tuple(findings), pinned=pinned, what=what)


def release_of(run: Path) -> Path:
    """The release folder of a run folder, or the release folder itself.

    Raises:
        InputError: where there is none; or both, of which a reader may open either.
    """
    found = [folder for folder in (run, run / "release") if holds(folder, "report.json")]
    if not found:
        hint = "name a run folder or its release"
        raise InputError(str(run), "found no release/report.json", hint)
    if len(found) > 1:
        hint = "one of them is not this run's: name the report.json that is meant"
        raise InputError(str(run), "holds report.json and release/report.json", hint)
    return found[0]


def holds(folder: Path, name: str) -> bool:
    """Whether something of that name is there, be it a link that leads nowhere."""
    return (folder / name).exists() or (folder / name).is_symlink()


def _no_link(folder: Path) -> Path:
    """The resolved folder, so that its own name and its parent are known (``.`` has none)."""
    if not holds(folder, "report.json"):
        raise InputError(str(folder), "found no report.json", "name a run folder or its release")
    if folder.is_symlink() or (folder / "report.json").is_symlink():
        raise InputError(str(folder), "is a link", "name the folder itself")
    return folder.resolve()


def _report(release: Path) -> Iterator[Finding]:
    from curation_audit.report import readable

    tree = read_json(release / "report.json")
    try:
        report = readable(tree)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        told = str(error) if type(error) is ValueError else type(error).__name__
        yield failed("schema", f"report.json is no report of this version: {told}")
        return
    yield passed("schema", f"version {tree['schema_version']}, finite numbers, ordered intervals")
    found = read_manifest(release)
    if found is not None:
        manifest = partial(check_report_of_manifest, found[1], report, release.parent)
        yield from guarded("manifest", manifest)
    if report["protection"] is not None:
        as_written = {**tree["protection"], "tool": report["tool"]}
        yield from guarded("epsilon", partial(check_protection, as_written))
        yield from guarded("configured privacy", partial(check_configured, report))
    yield from _contents(report, release)


def _contents(report: dict[str, Any], release: Path) -> Iterator[Finding]:
    from curation_audit.integrity.report_checks import check_report

    yield from guarded("report", partial(check_report, report, release))
    yield from guarded("claimed ceilings", partial(check_stated_claim, report))
    if report["fine_tuning"] is not None:
        yield from guarded("fine-tuning", partial(check_fine_tuning, report))
    yield from guarded("evidence", partial(_evidence, report, release))
    yield from (unchecked(check, detail) for check, detail in NEVER)


def _evidence(report: dict[str, Any], release: Path) -> Iterator[Finding]:
    from curation_audit.integrity.recompute import recompute

    path = release.parent / EVIDENCE
    if release.name != "release" or not path.exists():
        yield unchecked(
            "numbers", f"{EVIDENCE} stays with the owner: intervals and choices are open"
        )
        return
    if path.is_symlink():
        raise InputError(str(path), "is a link", "put the file itself there")
    yield from recompute(report, read_arrays(path))
