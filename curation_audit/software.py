"""What computes: results of other software are never reused, nor mixed with these."""

from collections.abc import Mapping
from importlib import metadata
from typing import Final

from curation_audit.checks import InputError
from curation_audit.storage import code_digest

BELOW: Final = ("numpy", "scipy", "scikit-learn", "torch")


def software() -> dict[str, str]:
    """This package's files, and the versions below it; none of these is imported to tell."""
    return {"code": code_digest(), **{name: metadata.version(name) for name in BELOW}}


def check_software(expected: Mapping[str, str]) -> None:
    """Raise ``InputError`` where this machine would compute by other software."""
    here = software()
    for name, version in expected.items():
        if here[name] != version:
            problem = f"a worker has another {name} than this machine"
            raise InputError("run.backend", problem, "install the same versions")
