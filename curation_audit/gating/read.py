"""The report of a finished run, wherever it was passed on to."""

import hashlib
import json
from pathlib import Path
from typing import Any, Final

from curation_audit.checks import InputError
from curation_audit.report import readable

PLACES: Final = ("release/report.json", "report.json")
MOST_BYTES: Final = 500_000_000


def find_report(run: Path) -> Path:
    """The report of a run folder, of its release folder alone, or the file itself.

    Raises:
        InputError: where there is none.
    """
    if not run.exists():
        raise InputError(str(run), "no such folder or file", "expected a run folder")
    if not run.is_dir():
        return run
    found = next((run / place for place in PLACES if (run / place).is_file()), None)
    if found is None:
        raise InputError(
            str(run), "found no release/report.json", "run 'curation-audit attack' first"
        )
    return found


def read_report(run: Path) -> tuple[dict[str, Any], str]:
    """The checked tree of a run's report, and the SHA-256 of its file in hex.

    Raises:
        InputError: in one line, for a report that is missing, broken or of an unknown version.
    """
    path = find_report(run)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(str(path), f"found {path.stat().st_size} bytes, expected a report")
        payload = path.read_bytes()
    except OSError as error:
        raise InputError(str(path), f"cannot be read: {error.strerror}") from None
    try:
        tree = readable(json.loads(payload))
    except RecursionError:
        raise InputError(str(path), "is no report: it is nested too deep") from None
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        told = str(error) if isinstance(error, ValueError) else type(error).__name__
        raise InputError(str(path), f"is no report that this version reads: {told}") from None
    return tree, hashlib.sha256(payload).hexdigest()
