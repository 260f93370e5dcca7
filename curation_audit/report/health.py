"""Training health in a report: what may be handed on says whether it was measured, no more.

The figures are functions of private rows, without noise. They lie in ``private/health.json`` of a
run folder, and a report that shows them lies beside it, never in ``release/``.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from curation_audit.checks import InputError
from curation_audit.report.blocks import Block, Heading, Paragraph
from curation_audit.report.schema import check_schema
from curation_audit.results import to_plain
from curation_audit.storage import content_key

PRIVATE_FOLDER: Final = "private"
PLACE: Final = f"{PRIVATE_FOLDER}/health.json"
HEALTH_VERSION: Final = 1
TITLE: Final = "Training health"
PRIVATE: Final = (
    "Private: computed on private rows without noise, and as private as these. For the owner of "
    "the data; no part of a release."
)
OF_OWNER: Final = "Do not pass on."
"""What stands at the head of the owner's own report, before ``PRIVATE``."""
KNOWS: Final = "mu and TPR are those of who sees exact scores and knows all candidates, no coin"
BESIDE: Final = ("report", "sweep", "threat")
"""Parts of a configuration that no training sees."""
AT_STAKE: Final = ("targets", "canaries")
"""What of the attack's settings says who the candidates are."""


@dataclass(frozen=True, slots=True)
class Part:
    """What a report says of training health; ``mark`` stands at its head, where it has one."""

    blocks: tuple[Block, ...]
    mark: str = ""


def _handed_on(text: str, strong: str) -> Part:
    return Part((Heading(TITLE), Paragraph(text, strong)))


UNMEASURED: Final = _handed_on(
    "Spectra of gradients, exposed records, stability of the picks and the edge of stability of "
    "the training would be private to the owner of the data, and no part of this report.",
    "Not measured.",
)
ELSEWHERE: Final = _handed_on(
    "Spectra of gradients, exposed records, stability of the picks and the edge of stability of "
    "the training are computed on private rows without noise, and as private as these: they lie "
    "with the owner of the data, in private/report.html of the run folder, and no figure of them "
    "stands here.",
    "Measured, and private.",
)


@cache
def health_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of ``private/health.json``; do not modify it."""
    text = Path(__file__).with_name("health_schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def validate_health(tree: Any) -> None:
    """Check a tree against the schema.

    Raises:
        ValueError: at the first mismatch, naming its path.
    """
    check_schema(tree, health_schema(), "health")


def pipeline_fingerprint(report: Mapping[str, Any]) -> str:
    """Which trainings a report, or as much of it as named here, is about.

    The sha256 of ``configuration`` but what no training sees, of ``seed``, and of the fingerprints
    of the ``data``. How hard it was attacked does not matter.
    """
    configuration = {k: v for k, v in report["configuration"].items() if k not in BESIDE}
    attack = configuration.get("attack")
    if isinstance(attack, Mapping):
        configuration["attack"] = {name: attack.get(name) for name in AT_STAKE}
    parts = {"configuration": configuration, "seed": report["seed"], "data": report["data"]}
    return content_key(to_plain(parts))


def read_health(folder: Path, report: Mapping[str, Any]) -> dict[str, Any] | None:
    """The training health of a finished run; ``None`` where it was not measured.

    Raises:
        InputError: for a file that is none, or is of another pipeline than the report.
    """
    path, again = folder / PLACE, "run 'curation-audit health' again, or remove it"
    try:
        tree = json.loads(path.read_bytes(), parse_constant=_no_constant)
        validate_health(tree)
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError, OSError) as error:
        told = "cannot be read" if isinstance(error, OSError) else _why(error)
        raise InputError(str(path), f"is no training health: {told}", again) from None
    if tree["pipeline"] != pipeline_fingerprint(report):
        raise InputError(
            str(path),
            "is of another pipeline, seed or data than release/report.json",
            again,
        )
    found: dict[str, Any] = tree
    return found


def _why(error: Exception) -> str:
    """A mismatch by its place alone: what stands there may be private."""
    plain = type(error) is ValueError
    return str(error).partition(":")[0] if plain else "no JSON"


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name}: JSON has no such number")


def handed_on(health: Mapping[str, Any] | None) -> Part:
    """What a report that may be handed on says."""
    return UNMEASURED if health is None else ELSEWHERE


def of_owner(health: Mapping[str, Any]) -> Part:
    """What the owner's own report says, with figures."""
    from curation_audit.report.health_section import section

    return Part(tuple(section(health)), PRIVATE)
