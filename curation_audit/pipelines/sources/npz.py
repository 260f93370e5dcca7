"""Numpy archives."""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from curation_audit.checks import InputError
from curation_audit.pipelines.sources.base import ChooseColumns, RawTable
from curation_audit.pipelines.sources.files import read_files
from curation_audit.types import Column

# What numpy and zipfile raise for broken archives; RuntimeError is for encrypted members and
# for features that zipfile lacks.
_UNREADABLE = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True, slots=True, kw_only=True)
class NpzSource:
    """An ``.npz`` file: one array per column, rows first.

    Images and other arrays with more dimensions are flattened to vectors; arrays without rows
    (a description, say) are not columns. Pickled objects are refused.
    """

    path: str

    def read(self, base: Path, choose: ChooseColumns | None = None) -> RawTable:
        """See ``Source.read``."""

        def read_one(file: Path, where: str) -> dict[str, Column]:
            return _read(file, where, choose)

        return read_files(self.path, base, ".npz", read_one)


def _read(file: Path, where: str, choose: ChooseColumns | None) -> dict[str, Column]:
    try:
        # Opened here, so that it is closed where numpy gives up on it.
        with file.open("rb") as stream:
            archive = np.load(stream, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise InputError(where, "holds one bare array", "expected .npz (numpy.savez)")
            names = [name for name in archive.files if _has_rows(archive, name)]
            wanted = choose(names, where).names if choose else names
            return {name: _column(_array(archive, name, where)) for name in wanted}
    except _UNREADABLE as error:
        raise InputError(
            where,
            f"cannot be read as npz ({type(error).__name__})",
            "it may be cut short or of another format; write it again with numpy.savez",
        ) from error


def _has_rows(archive: Any, name: str) -> bool:
    """Whether the array has a first axis; only its header is read."""
    member = name if name in archive.zip.namelist() else f"{name}.npy"
    with archive.zip.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        older = version == (1, 0)
        read = np.lib.format.read_array_header_1_0 if older else np.lib.format.read_array_header_2_0
        return len(read(stream)[0]) > 0


def _array(archive: Any, name: str, where: str) -> Column:
    try:
        array: Column = archive[name]
    except ValueError as error:
        if "Object arrays" not in str(error):
            raise
        raise InputError(
            f"{where}, column {name!r}",
            "holds pickled Python objects, which are never loaded",
            "save numbers or text of a fixed width",
        ) from error
    return array


def _column(array: Column) -> Column:
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8")
    return array.reshape(len(array), -1) if array.ndim > 2 else array
