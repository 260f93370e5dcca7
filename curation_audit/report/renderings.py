"""Every rendering of a finished run by its name: a new one is one file and one line here.

A rendering computes nothing: its numbers are those of report.json, run.json and evidence.npz. Its
contract test is tests/report/test_renderings.py.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from curation_audit.checks import InputError, SettingError, did_you_mean
from curation_audit.report.health import (
    PRIVATE_FOLDER,
    Part,
    handed_on,
    of_owner,
    read_health,
)
from curation_audit.report.html import render_html
from curation_audit.report.versions import readable
from curation_audit.storage import make_private, write_atomically

OWNERS_REPORT: Final = ("report.html", "report.md")


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished run: its folder, report.json (current version), and run.json where it is.

    ``health``: what private/health.json holds, where it is of this run; ``problem`` says why not
    where it is there and of none. A rendering that may be handed on sees neither.
    """

    folder: Path
    report: dict[str, Any]
    run: dict[str, Any] | None
    health: dict[str, Any] | None = None
    problem: str | None = None

    @property
    def handed_on(self) -> Part:
        """What a report that may be handed on says of training health."""
        return handed_on(self.health)


@dataclass(frozen=True, slots=True)
class Rendering:
    """Where a rendering lies, below the run folder, and how it is written.

    ``needs`` is a module that comes with the extra named like the rendering.
    """

    place: str
    write: Callable[[Finished, Path], None]
    needs: str | None = None


def _text(render: Callable[[Finished], str | bytes]) -> Callable[[Finished, Path], None]:
    """Write what a function returns, all at once."""

    def write(finished: Finished, target: Path) -> None:
        content = render(finished)
        write_atomically(target, content.encode() if isinstance(content, str) else content)

    return write


def _markdown(finished: Finished) -> str:
    from curation_audit.report.markdown import render_markdown

    return render_markdown(finished.report, finished.handed_on)


def _html(finished: Finished) -> str:
    return render_html(finished.report, finished.run, finished.handed_on)


def _pdf(finished: Finished) -> bytes:
    from curation_audit.report.pdf import render_pdf

    return render_pdf(finished.report, finished.handed_on)


def _card(finished: Finished) -> str:
    from curation_audit.report.card import render_card

    return render_card(finished.report)


def _evidence(finished: Finished, target: Path) -> None:
    from curation_audit.report.evidence_table import write_evidence

    write_evidence(finished.folder, finished.report, target)


def _kept(finished: Finished, target: Path) -> None:
    """report.json is what all others are made from, and stays as it is."""


RENDERINGS: Final[dict[str, Rendering]] = {
    "html": Rendering("release/report.html", _text(_html)),
    "json": Rendering("release/report.json", _kept),
    "markdown": Rendering("release/report.md", _text(_markdown)),
    "pdf": Rendering("release/report.pdf", _text(_pdf), needs="fpdf"),
    "card": Rendering("release/card.md", _text(_card)),
    "parquet": Rendering("evidence.parquet", _evidence),
}


def check_formats(where: str, formats: Iterable[str]) -> None:
    """Raise ``SettingError`` at ``where`` for an unknown format, or one that lacks its package."""
    for name in formats:
        if name not in RENDERINGS:
            raise SettingError(where, f"found {name!r}", did_you_mean(name, RENDERINGS))
        needs = RENDERINGS[name].needs
        if needs is not None and find_spec(needs) is None:
            problem = f"{name} needs the package {needs}, which is not installed"
            raise SettingError(where, problem, f"pip install 'curation-audit[{name}]'")


def finished_run(folder: Path) -> Finished:
    """Read a run folder.

    Raises:
        InputError: for a folder without a report, or a report that is none.
    """
    path = folder / "release" / "report.json"
    if not path.exists():
        hint = "run 'curation-audit attack' first"
        raise InputError(str(folder), "found no release/report.json", hint)
    try:
        report = readable(json.loads(path.read_bytes()))
    except ValueError as error:
        raise InputError(str(path), f"is no report of this version: {error}") from None
    run_path = folder / "run.json"
    run = json.loads(run_path.read_text()) if run_path.exists() else None
    try:
        return Finished(folder, report, run, read_health(folder, report))
    except InputError as error:
        return Finished(folder, report, run, problem=str(error))


def write_renderings(finished: Finished, formats: Iterable[str]) -> list[Path]:
    """Write the named renderings; their paths, in that order."""
    paths = []
    for name in formats:
        rendering = RENDERINGS[name]
        paths.append(finished.folder / rendering.place)
        rendering.write(finished, paths[-1])
    return paths


def write_owners_report(finished: Finished) -> list[Path]:
    """Write the whole report with training health, for the owner of the data alone (mode 0600).

    Their paths; of a run whose training health was not measured none, and what was there is gone.
    """
    from curation_audit.report.markdown import render_whole_markdown

    if finished.health is None:
        forget_owners_report(finished.folder)
        return []
    part = of_owner(finished.health)
    texts = {
        "report.html": render_html(finished.report, finished.run, part),
        "report.md": render_whole_markdown(finished.report, part),
    }
    folder = finished.folder / PRIVATE_FOLDER
    make_private(folder)
    for name, text in texts.items():
        write_atomically(folder / name, text.encode(), mode=0o600)
    return [folder / name for name in OWNERS_REPORT]


def forget_owners_report(folder: Path) -> None:
    """Remove the owner's report of a run."""
    for name in OWNERS_REPORT:
        (folder / PRIVATE_FOLDER / name).unlink(missing_ok=True)


def forget_renderings(folder: Path, formats: Iterable[str]) -> None:
    """Remove renderings other than these: they would tell of an earlier audit."""
    kept = {*formats, "json"}
    for name, rendering in RENDERINGS.items():
        if name not in kept:
            (folder / rendering.place).unlink(missing_ok=True)
