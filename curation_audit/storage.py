"""The run folder: content-addressed chunks, written atomically and verified when loaded.

A chunk's name is the hash of everything that shaped it, so a changed configuration never finds
another's chunks, and a killed run continues where it was. The file is a line with the sha256 of
its name and the payload, then the payload, an uncompressed npz without pickle. ``cache/`` is as
sensitive as the private set (mode 0700); ``release/`` is the only part to pass on.
"""

import contextlib
import hashlib
import io
import json
import os
import secrets
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import filelock
import numpy as np

from curation_audit.checks import InputError

TEMPORARY = ".tmp"
# of writers beside the holder of the lock; theirs may be at work when he sweeps
SHARED_TEMPORARY = ".part"
ABANDONED_AFTER = 24 * 3600.0


def content_key(parts: Mapping[str, Any]) -> str:
    """The sha256 of JSON values, independent of the order of keys."""
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def array_digest(arrays: Mapping[str, np.ndarray | None]) -> str:
    """The sha256 of named arrays: names, dtypes, shapes and bytes."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        head = "none" if array is None else f"{array.dtype.str} {array.shape}"
        digest.update(f"{name} {head}\n".encode())
        if array is not None:
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def code_digest() -> str:
    """The sha256 of this package's Python files: chunks of other code are never reused."""
    root = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\n" + path.read_bytes())
    return digest.hexdigest()


def write_atomically(
    path: Path, payload: bytes, mode: int = 0o644, temporary: str = TEMPORARY
) -> None:
    """Write a temporary file beside ``path``, flush it to disk, and rename it.

    ``temporary``: how that file's name ends. It holds a random word: processes of several machines
    may write one path at once, and the last wins.

    Raises:
        OSError: if the disk is full or the folder cannot be written; ``path`` stays as it was.
    """
    _atomically(path, lambda file: file.write(payload), mode, temporary)


def write_arrays_atomically(
    path: Path, arrays: Mapping[str, np.ndarray], mode: int = 0o644
) -> None:
    """Write what ``pack_arrays`` gives, one array after another: no copy of all is held.

    Raises:
        OSError: as ``write_atomically``.
    """
    _atomically(path, lambda file: _write_arrays(file, arrays), mode, TEMPORARY)


def _atomically(path: Path, write: Callable[[BinaryIO], object], mode: int, ending: str) -> None:
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}{ending}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        error.filename = error.filename or str(path)
        raise
    _flush_folder(path.parent)


def sweep(folder: Path) -> None:
    """Remove what a killed writer left half done; only for the holder of the run folder's lock.

    What a worker beside it writes is spared for a day.
    """
    for left_over in folder.glob(f"*{TEMPORARY}"):
        left_over.unlink(missing_ok=True)
    for one in folder.glob(f"*{SHARED_TEMPORARY}"):
        with contextlib.suppress(FileNotFoundError):
            if one.stat().st_mtime < time.time() - ABANDONED_AFTER:
                one.unlink()


def remove_durably(path: Path) -> None:
    """Remove a file, if it is there, so that it is gone after a power cut, too."""
    if path.exists():
        path.unlink()
        _flush_folder(path.parent)


def _flush_folder(folder: Path) -> None:
    """Make a rename last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def pack_arrays(arrays: Mapping[str, np.ndarray]) -> bytes:
    """An npz with fixed dates, the same bytes for the same arrays."""
    buffer = io.BytesIO()
    _write_arrays(buffer, arrays)
    return buffer.getvalue()


def _write_arrays(file: BinaryIO, arrays: Mapping[str, np.ndarray]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in sorted(arrays.items()):
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
            archive.writestr(
                zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), member.getvalue()
            )


def unpack_arrays(payload: bytes) -> dict[str, np.ndarray]:
    """The inverse of ``pack_arrays``; nothing is unpickled.

    Raises:
        ValueError: for an array of objects.
        zipfile.BadZipFile: for bytes that are no npz.
    """
    with zipfile.ZipFile(io.BytesIO(payload)) as archive:
        return {
            name.removesuffix(".npy"): np.lib.format.read_array(
                io.BytesIO(archive.read(name)), allow_pickle=False
            )
            for name in archive.namelist()
        }


class ChunkStore:
    """Chunks of arrays by content key, in one folder; or in nothing, for a run without a folder."""

    def __init__(self, folder: Path | None) -> None:
        """Make the folder (mode 0700) and drop what a killed writer left half done."""
        self._folder, self._temporary = folder, TEMPORARY
        if folder is not None:
            make_private(folder)
            sweep(folder)

    @classmethod
    def beside_others(cls, folder: Path) -> "ChunkStore":
        """The store of a worker that shares the folder with others, and holds no lock."""
        make_private(folder)
        store = cls(None)
        store._folder, store._temporary = folder, SHARED_TEMPORARY
        return store

    def load(self, key: str) -> dict[str, np.ndarray] | None:
        """The chunk, or ``None`` where there is none or its bytes are not what was written."""
        if self._folder is None:
            return None
        try:
            content = self._path(key).read_bytes()
        except FileNotFoundError:
            return None
        head, _, payload = content.partition(b"\n")
        if head != _seal(key, payload):
            return None
        try:
            return unpack_arrays(payload)
        except (ValueError, zipfile.BadZipFile):
            return None

    def save(self, key: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Write the chunk under its key."""
        if self._folder is None:
            return
        payload = pack_arrays(arrays)
        content = _seal(key, payload) + b"\n" + payload
        write_atomically(self._path(key), content, mode=0o600, temporary=self._temporary)

    def _path(self, key: str) -> Path:
        if self._folder is None:
            raise ValueError("this store has no folder.")
        return self._folder / f"{key}.chunk"


def make_private(folder: Path) -> None:
    """Make a folder that only its owner may look into (mode 0700)."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)


def _seal(key: str, payload: bytes) -> bytes:
    """What a chunk's first line holds: a chunk that was moved to another name is no good there."""
    return hashlib.sha256(key.encode() + b"\n" + payload).hexdigest().encode()


@contextlib.contextmanager
def locked(folder: Path, wait: float = 0.0) -> Iterator[None]:
    """Hold a folder for one process; the lock goes with the process, however it ends.

    ``wait``: seconds to wait for another process.

    Raises:
        InputError: if another process holds it, or the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            str(folder),
            f"found something that is no writable folder ({error.strerror})",
            "name another folder",
        ) from None
    lock = filelock.FileLock(folder / ".lock", timeout=wait)
    try:
        with lock:
            yield
    except filelock.Timeout:
        raise InputError(
            str(folder),
            "another process is at work in this folder",
            "wait for it, or name another folder",
        ) from None


def read_or_make_key(path: Path) -> bytes:
    """The random key that hides candidate ids in reports; made once, mode 0600.

    Of audits that start at the same time all get the key of one of them.

    Raises:
        InputError: if something is there but holds no 32-byte key in hex.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        ours = path.with_name(f"{path.name}.{os.getpid()}")
        write_atomically(ours, os.urandom(32).hex().encode() + b"\n", mode=0o600)
        try:
            os.link(ours, path)  # unlike a rename this never replaces another's key
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            os.replace(ours, path)
        ours.unlink(missing_ok=True)
        _flush_folder(path.parent)
    try:
        key = bytes.fromhex(path.read_text().strip())
    except (ValueError, OSError):
        key = b""
    if len(key) != 32:
        raise InputError(
            str(path),
            "found no key",
            "expected 64 hex digits; bring a copy back, as without it all ids get other names",
        )
    return key
