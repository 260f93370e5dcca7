"""Ed25519 keys in files: PKCS #8 and SubjectPublicKeyInfo, as PEM.

Whoever holds the private key signs in the owner's name, so it is made mode 0600, never
overwritten, and never lies in a folder that is passed on.
"""

import getpass
import hashlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from curation_audit.checks import InputError
from curation_audit.integrity.folders import read_small

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

PASSPHRASE: Final = "CURATION_AUDIT_KEY_PASSPHRASE"  # noqa: S105 - the name of a variable
MOST_BYTES: Final = 1 << 16
MAKE_ONE: Final = "'curation-audit keygen FILE' makes a pair of keys"


def key_id(key: "Ed25519PublicKey") -> str:
    """The SHA-256 of the 32 bytes of a public key, in hex."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()


def make_keys(path: Path, passphrase: str | None) -> tuple[Path, str]:
    """Write a new private key to ``path`` (mode 0600) and the public one beside it, ``.pub``.

    Returns:
        The path of the public key, and its id.

    Raises:
        InputError: where one of the two is there already; nothing is overwritten.
    """
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public_path = path.with_name(f"{path.name}.pub")
    for one in (path, public_path):
        if one.exists() or one.is_symlink():
            raise InputError(str(one), "is already there", "name another file")
    key = Ed25519PrivateKey.generate()
    cipher: s.KeySerializationEncryption = s.NoEncryption()
    if passphrase:
        cipher = s.BestAvailableEncryption(passphrase.encode())
    public = key.public_key()
    private_pem = key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, cipher)
    public_pem = public.public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo)
    write_new(path, private_pem, 0o600)
    write_new(public_path, public_pem, 0o644)
    return public_path, key_id(public)


def write_new(path: Path, payload: bytes, mode: int) -> None:
    """Write a file that must not be there; it never has a wider mode, not for a moment."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise InputError(str(path), "is already there", "name another file") from None
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(payload)
        file.flush()
        os.fsync(file.fileno())


def read_private_key(path: Path, *, outside: Path) -> "Ed25519PrivateKey":
    """The private key of a file that lies outside the folder ``outside``.

    A passphrase comes from the environment or from a prompt, never from an argument: those stand
    in the list of processes.

    Raises:
        InputError: for a file that is missing, inside, open to others, or no Ed25519 key.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    if path.resolve().is_relative_to(outside.resolve()):
        hint = "move it elsewhere: what lies in there may be passed on"
        raise InputError(str(path), f"lies inside {outside}", hint)
    payload = read_small(path, MOST_BYTES, MAKE_ONE)
    if path.stat().st_mode & 0o077:
        raise InputError(str(path), "can be read by others", f"run: chmod 600 {path}")
    try:
        secret = _passphrase(path) if b"ENCRYPTED" in payload else None
        key = load_pem_private_key(payload, secret)
    except InputError:
        raise
    except Exception:  # the library has many words for it, and some quote what was read
        hint = f"expected an Ed25519 key as PEM, and its passphrase if it has one; {MAKE_ONE}"
        raise InputError(str(path), "cannot be read as a private key", hint) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(str(path), "is a key of another kind", f"expected Ed25519; {MAKE_ONE}")
    return key


def read_public_key(path: Path) -> "Ed25519PublicKey":
    """The public key of a file.

    Raises:
        InputError: for a file that is missing or holds no Ed25519 public key.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    payload = read_small(path, MOST_BYTES, "the signer passes on the .pub file that keygen wrote")
    if b"PRIVATE KEY" in payload:
        hint = "pass on and check with the .pub file; keep this one to yourself"
        raise InputError(str(path), "is a private key", hint)
    try:
        key = load_pem_public_key(payload)
    except Exception:  # the library has many words for it
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(str(path), "holds no Ed25519 public key", "expected a PEM file")
    return key


def new_passphrase() -> str:
    """A passphrase for a new key, from the environment or asked for twice.

    Raises:
        InputError: where there is none, or the two differ.
    """
    from_environment = os.environ.get(PASSPHRASE)
    if from_environment:
        return from_environment
    if not sys.stdin.isatty():
        raise InputError("--passphrase", "nobody to ask", f"set {PASSPHRASE}")
    first = getpass.getpass("Passphrase: ")
    if not first or first != getpass.getpass("Again: "):
        raise InputError("--passphrase", "is empty, or the two differ", "try again")
    return first


def _passphrase(path: Path) -> bytes:
    from_environment = os.environ.get(PASSPHRASE)
    if from_environment:
        return from_environment.encode()
    if not sys.stdin.isatty():
        hint = f"set {PASSPHRASE}, or run it in a terminal"
        raise InputError(str(path), "needs a passphrase", hint)
    return getpass.getpass(f"Passphrase of {path}: ").encode()
