"""Files of folders that somebody else may have made: no links, no surprises, limited sizes."""

import hashlib
import json
import math
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

from curation_audit.checks import InputError

MOST_FILES: Final = 10_000
MOST_DEPTH: Final = 8
MOST_JSON_BYTES: Final = 1 << 25
BLOCK: Final = 1 << 20
IGNORED: Final = (".lock",)
"""Of the tool itself: empty, and made again by whoever works in a folder."""


def read_small(path: Path, most_bytes: int, hint: str = "") -> bytes:
    """The bytes of a regular file of limited size.

    Raises:
        InputError: for a file that is missing, no file, too large or unreadable.
    """
    try:
        with open_file(path) as file:
            payload = file.read(most_bytes + 1)
    except FileNotFoundError:
        raise InputError(str(path), "is not there", hint) from None
    except OSError as error:
        raise InputError(str(path), f"cannot be read ({error.strerror})", hint) from None
    if len(payload) > most_bytes:
        raise InputError(str(path), f"has more than {most_bytes} bytes", hint)
    return payload


@contextmanager
def open_file(path: Path) -> Iterator[BinaryIO]:
    """A regular file to read from; a pipe is not waited for.

    Raises:
        InputError: for a pipe, a device or a folder.
        OSError: for what cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise InputError(str(path), "is no file")
        yield file


def parsed_json(payload: bytes, where: str) -> Any:
    """JSON of somebody else: strict numbers, one meaning a key, limited depth.

    Raises:
        InputError: for anything else.
    """
    try:
        return json.loads(
            payload,
            parse_constant=_no_constant,
            parse_float=_finite,
            object_pairs_hook=_unique,
        )
    except RecursionError:
        raise InputError(where, "is nested too deep") from None
    except ValueError as error:
        told = str(error) if type(error) is ValueError else "is no JSON"
        raise InputError(where, told) from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"holds {name}, which JSON has no number for")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("holds a number that is too large")
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) != len(pairs):
        raise ValueError("has a key twice, which readers take differently")
    return tree


def read_json(path: Path) -> Any:
    """The tree of a JSON file; see ``parsed_json``."""
    return parsed_json(read_small(path, MOST_JSON_BYTES), str(path))


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file in hex, read in blocks; links are not followed.

    Raises:
        InputError: for what is no regular file.
    """
    digest = hashlib.sha256()
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InputError(str(path), "is no file")
            while block := file.read(BLOCK):
                digest.update(block)
    except OSError as error:
        raise InputError(str(path), f"cannot be read ({error.strerror})") from None
    return digest.hexdigest()


def files_below(folder: Path, *, but: tuple[str, ...] = ()) -> dict[str, Path]:
    """The regular files of a folder by their name in it, with slashes, in order.

    Raises:
        InputError: for a link, a device, a pipe, or far more files than a release has.
    """
    found: dict[str, Path] = {}
    for path in _walk(folder, MOST_DEPTH):
        name = path.relative_to(folder).as_posix()
        if name in but or (name in IGNORED and path.lstat().st_size == 0):
            continue
        if len(found) >= MOST_FILES:
            raise InputError(str(folder), f"holds more than {MOST_FILES} files")
        found[name] = path
    return dict(sorted(found.items()))


def _walk(folder: Path, depth: int) -> list[Path]:
    files: list[Path] = []
    try:
        entries = sorted(os.scandir(folder), key=lambda one: one.name)
    except OSError as error:
        raise InputError(str(folder), f"cannot be read ({error.strerror})") from None
    for entry in entries:
        path = Path(entry.path)
        if entry.is_symlink():
            hint = "put the file itself there: what a link leads to may change"
            raise InputError(str(path), "is a link", hint)
        if entry.is_dir(follow_symlinks=False):
            if depth == 0:
                raise InputError(str(path), "lies too deep for a release")
            files += _walk(path, depth - 1)
        elif entry.is_file(follow_symlinks=False):
            files.append(path)
        else:
            raise InputError(str(path), "is neither file nor folder")
        if len(files) > MOST_FILES:
            raise InputError(str(folder), f"holds more than {MOST_FILES} files")
    return files


def sha256_of(files: Mapping[str, Path]) -> dict[str, str]:
    """The SHA-256 of every file, by name."""
    return {name: file_sha256(path) for name, path in files.items()}
