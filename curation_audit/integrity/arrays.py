"""Arrays from an npz of somebody else: nothing is unpickled, unpacked or believed by its size."""

import io
import os
import zipfile
from pathlib import Path
from typing import Final

import numpy as np

from curation_audit.checks import InputError
from curation_audit.integrity.folders import open_file

MOST_ARRAYS: Final = 4096
MOST_HEADER: Final = 1 << 14


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an uncompressed npz, such as ``pack_arrays`` writes.

    Members are stored and do not overlap, so that all of them together are no larger than the file;
    each must hold what its header says.

    Raises:
        InputError: for anything else.
    """
    try:
        with open_file(path) as file, zipfile.ZipFile(file) as archive:
            return {
                info.filename.removesuffix(".npy"): _array(archive, info)
                for info in _members(archive, os.fstat(file.fileno()).st_size)
            }
    except FileNotFoundError:
        raise InputError(str(path), "is not there") from None
    except (ValueError, OSError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile):
        # what numpy and zipfile say may quote what they read
        raise InputError(str(path), "holds no arrays", "expected an npz of this tool") from None


def _members(archive: zipfile.ZipFile, most_bytes: int) -> list[zipfile.ZipInfo]:
    members = archive.infolist()
    names = {info.filename for info in members}
    stored = all(info.compress_type == zipfile.ZIP_STORED for info in members)
    overlapping = sum(info.file_size for info in members) > most_bytes
    if len(members) > MOST_ARRAYS or len(names) < len(members) or not stored or overlapping:
        raise ValueError("not an archive of ours")
    return members


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    payload = archive.read(info)
    head = io.BytesIO(payload)
    version = np.lib.format.read_magic(head)
    if version == (1, 0):
        of = np.lib.format.read_array_header_1_0(head, max_header_size=MOST_HEADER)
    elif version == (2, 0):
        of = np.lib.format.read_array_header_2_0(head, max_header_size=MOST_HEADER)
    else:
        raise ValueError("another version")
    shape, fortran, dtype = of
    if dtype.hasobject or dtype.itemsize == 0 or any(n < 0 for n in shape):
        raise ValueError("not an array of numbers or text")
    count = 1
    for n in shape:
        count *= int(n)
    if count * dtype.itemsize != len(payload) - head.tell():
        raise ValueError("another size than its header says")
    flat = np.frombuffer(payload, dtype=dtype, count=count, offset=head.tell())
    return flat.reshape(shape, order="F" if fortran else "C")
