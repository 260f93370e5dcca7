"""A decision in any format; JSON is the truth, with a committed schema."""

import json
import shutil
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from curation_audit.checks import InputError, did_you_mean
from curation_audit.gating.junit import as_junit
from curation_audit.gating.markdown import as_markdown
from curation_audit.gating.outcomes import Decision
from curation_audit.gating.plain import one_line
from curation_audit.gating.show import WIDTH, as_text
from curation_audit.results import to_plain
from curation_audit.storage import write_atomically


@cache
def decision_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a decision; do not modify it."""
    text = Path(__file__).with_name("decision_schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def decision_tree(decision: Decision) -> dict[str, Any]:
    """A decision as JSON values; what was not measured is null."""
    tree: dict[str, Any] = to_plain(decision)
    return tree


def as_json(decision: Decision) -> str:
    """Readable JSON in a fixed order; ASCII, whatever stands in a name."""
    return json.dumps(decision_tree(decision), indent=1, allow_nan=False) + "\n"


FORMATS: Final[Mapping[str, Callable[[Decision], str]]] = {
    "text": as_text,
    "json": as_json,
    "markdown": as_markdown,
    "junit": as_junit,
}


def deliver(decision: Decision, form: str, out: Path | None = None) -> list[str]:
    """Lines for standard output: the rendering, or where it was written and the verdict.

    Raises:
        InputError: for an unknown format, or a file that cannot be written.
    """
    if form not in FORMATS:
        raise InputError("--format", f"found {form!r}", did_you_mean(form, FORMATS))
    if out is None:
        width = shutil.get_terminal_size((WIDTH, 24)).columns
        text = as_text(decision, width) if form == "text" else FORMATS[form](decision)
        return [text.rstrip("\n")]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, FORMATS[form](decision).encode())
    except OSError as error:
        raise InputError(str(out), f"cannot be written: {error.strerror}") from None
    return [f"wrote {out}", one_line(f"verdict: {decision.sentence}")]
