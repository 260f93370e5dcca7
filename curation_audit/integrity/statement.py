"""in-toto statements (version 1): what is spoken of, by its digest, and what is said of it."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

from curation_audit.checks import InputError
from curation_audit.integrity.folders import parsed_json

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
MANIFEST: Final = "urn:curation-audit:release-manifest:1"
"""The kind of statement about a release folder: a name of our own, with no host behind it that must
stay up for a signature to keep its meaning."""
PICKS: Final = "urn:curation-audit:picks:1"
"""The kind of statement about the picks of a curation."""
SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """``subjects``: SHA-256 in hex by name. ``predicate``: what is said, as JSON values."""

    subjects: Mapping[str, str]
    predicate_type: str
    predicate: Mapping[str, Any]


def statement_json(statement: Statement) -> bytes:
    """The payload to sign: compact JSON in a fixed order."""
    tree = {
        "_type": STATEMENT_TYPE,
        "subject": [
            {"name": name, "digest": {"sha256": digest}}
            for name, digest in sorted(statement.subjects.items())
        ],
        "predicateType": statement.predicate_type,
        "predicate": statement.predicate,
    }
    return json.dumps(tree, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def statement_of(payload: bytes, predicate_type: str, where: str) -> Statement:
    """The statement of a payload.

    Raises:
        InputError: for another kind of statement, a digest that is none, or a name that leads out
            of the folder.
    """
    tree = parsed_json(payload, where)
    if not isinstance(tree, dict) or tree.get("_type") != STATEMENT_TYPE:
        raise InputError(where, "holds no in-toto statement", f"expected {STATEMENT_TYPE}")
    if tree.get("predicateType") != predicate_type:
        raise InputError(where, "is a statement of another kind", f"expected {predicate_type}")
    subjects, predicate = tree.get("subject"), tree.get("predicate")
    if not isinstance(subjects, list) or not isinstance(predicate, dict):
        raise InputError(where, "has no list of subjects, or no predicate")
    named: dict[str, str] = {}
    for subject in subjects:
        name, digest = _subject(subject, where)
        if name in named:
            raise InputError(where, "names a subject twice")
        named[name] = digest
    return Statement(subjects=named, predicate_type=predicate_type, predicate=predicate)


def _subject(subject: object, where: str) -> tuple[str, str]:
    digest = subject.get("digest") if isinstance(subject, dict) else None
    name = subject.get("name") if isinstance(subject, dict) else None
    sha256 = digest.get("sha256") if isinstance(digest, dict) else None
    if not isinstance(name, str) or not isinstance(sha256, str) or not SHA256.fullmatch(sha256):
        raise InputError(where, "has a subject without a name or a SHA-256")
    check_name(name, where)
    return name, sha256


def check_name(name: str, where: str) -> None:
    """Raise ``InputError`` for a name that is no plain path inside a folder."""
    parts = PurePosixPath(name).parts
    plain = name == "/".join(parts) and "\\" not in name and name.isprintable()
    if not parts or not plain or name.startswith("/") or ".." in parts:
        raise InputError(where, "names a file outside of the folder", "it was not made by 'sign'")
