"""Files on disk: find them, and put the parts of a set together."""

import glob
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from curation_audit.checks import InputError, did_you_mean
from curation_audit.pipelines.sources.base import RawTable, quoted
from curation_audit.types import Column


def find_files(path: str, base: Path, suffix: str) -> list[Path]:
    """The files that ``path`` (a file, a folder or a glob) stands for, sorted by name.

    Raises:
        InputError: where there is none.
    """
    place = base / path
    if place.is_file():
        return [place]
    if place.is_dir():
        # Writers leave markers such as _SUCCESS and .crc files beside their parts.
        found = [p for p in sorted(place.glob(f"*{suffix}")) if p.name[0] not in "._"]
        if not found:
            raise InputError(path, f"the folder holds no {suffix} file", "check the path")
        return found
    if any(sign in path for sign in "*?["):
        matches = sorted(glob.glob(str(place), recursive=True))
        found = [Path(match) for match in matches if Path(match).is_file()]
        if not found:
            raise InputError(path, "no file matches", f"expected {suffix} files; check the path")
        return found
    raise InputError(path, f"no such file or folder (looked at {place})", _nearby(place))


def _nearby(place: Path) -> str:
    names = [p.name for p in place.parent.iterdir()] if place.parent.is_dir() else []
    if not names:
        return "relative paths count from the folder of the YAML file"
    hint = did_you_mean(place.name, names)
    near = hint.startswith("did you mean")
    return hint if near else "relative paths count from the folder of the YAML file"


def shown(path: Path, base: Path) -> str:
    """How messages name a file: as seen from the folder of the YAML file."""
    try:
        return Path(os.path.relpath(path, base)).as_posix()
    except ValueError:  # another drive
        return path.name


def read_files(
    path: str,
    base: Path,
    suffix: str,
    read_one: Callable[[Path, str], Mapping[str, Column]],
) -> RawTable:
    """Read a set of one or more files with ``read_one(file, where)``.

    Raises:
        InputError: from the reader, or where the files do not agree on their columns.
    """
    files = find_files(path, base, suffix)
    parts = [RawTable(read_one(file, shown(file, base)), shown(file, base)) for file in files]
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    for part in parts[1:]:
        if odd := set(part.columns) ^ set(first.columns):
            raise InputError(
                part.where,
                f"its columns are not those of {first.where}: {quoted(sorted(odd))}",
                "expected files with the same columns",
            )
    columns = {name: _joined(name, parts) for name in first.columns}
    return RawTable(columns, f"{path} ({len(files)} files)")


def _joined(name: str, parts: Sequence[RawTable]) -> Column:
    parts = [part for part in parts if len(part)] or parts[:1]  # no rows have no types either
    first = parts[0].columns[name]
    for part in parts[1:]:
        column = part.columns[name]
        # numpy would turn numbers into text without a word.
        if _is_number(column) != _is_number(first) or column.shape[1:] != first.shape[1:]:
            raise InputError(
                f"{part.where}, column {name!r}",
                f"holds {_described(column)}, but {_described(first)} in {parts[0].where}",
                "expected files that agree",
            )
    return np.concatenate([part.columns[name] for part in parts])


def _is_number(column: Column) -> bool:
    return column.dtype.kind in "biuf"


def _described(column: Column) -> str:
    kind = "numbers" if _is_number(column) else "text or other values"
    return kind if column.ndim == 1 else f"vectors of {column.shape[1]} {kind}"
