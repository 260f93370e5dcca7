"""Statements about picks: the commitment, and what the picks are said to follow from."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from curation_audit.auditing.chunks import describe
from curation_audit.checks import InputError
from curation_audit.integrity.dsse import (
    Envelope,
    envelope_json,
    envelope_of,
    sign_payload,
    unsigned,
)
from curation_audit.integrity.folders import read_json
from curation_audit.integrity.keys import write_new
from curation_audit.integrity.picks import KEY_BYTES, Commitment, Picked, commit, new_key
from curation_audit.integrity.statement import PICKS, Statement, statement_json, statement_of
from curation_audit.pipelines.base import SelectionRule
from curation_audit.pipelines.data_sets import fingerprint
from curation_audit.pipelines.pools import ParquetPool, Pool, PoolInMemory
from curation_audit.releases.release import Release
from curation_audit.storage import code_digest, write_atomically
from curation_audit.version import __version__

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ATTESTATION: Final = "attestation.dsse.json"
VERSION: Final = 1
SUBJECT: Final = "picks"
OF_RELEASE: Final = ("mechanism", "epsilon", "delta", "unit", "adjacency")
TIER: Final = "noise_tier"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attestation:
    """An envelope, the commitment in it, and all that it says."""

    envelope: Envelope
    commitment: Commitment
    predicate: Mapping[str, Any]


def attest(
    picked: Picked,
    said: Mapping[str, Any],
    target: Path,
    opening: Path,
    key: "Ed25519PrivateKey | None",
) -> Commitment:
    """Write an attestation to ``target``, and the secret that opens it to a new file ``opening``.

    Args:
        picked: the rows; scores only of a private release, as a proof shows them.
        said: what else is stated; all of it is public.
        target: the attestation, to be published.
        opening: the key of the nonces, mode 0600; written first, and never overwritten.
        key: who signs; ``None`` for a commitment that nobody vouches for.

    Raises:
        InputError: where ``opening`` is there already, or lies beside ``target``.
    """
    check_opening(opening, target.parent)
    secret = new_key()
    commitment, _ = commit(picked, secret)
    tree = {"opening_version": VERSION, "commitment": commitment.digest, "nonce_key": secret.hex()}
    write_new(opening, (json.dumps(tree, indent=1) + "\n").encode(), 0o600)
    statement = Statement(
        subjects={SUBJECT: commitment.digest},
        predicate_type=PICKS,
        predicate={
            "attestation_version": VERSION,
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "tool": {"version": __version__, "code_digest": code_digest()},
            "tree": {
                "hash": "sha256",
                "n": commitment.n,
                "root": commitment.root.hex(),
                "scores": commitment.scored,
            },
            **said,
        },
    )
    payload = statement_json(statement)
    envelope = unsigned(payload) if key is None else sign_payload(payload, key)
    write_atomically(target, envelope_json(envelope))
    return commitment


def check_opening(opening: Path, folder: Path) -> None:
    """Refuse a place for the secret before anything is spent.

    Raises:
        InputError: for a file that is there, or one in the folder that is passed on.
    """
    if opening.exists() or opening.is_symlink():
        hint = "name another file: without the old one nothing more can be proved by it"
        raise InputError(str(opening), "is already there", hint)
    if opening.resolve().is_relative_to(folder.resolve()):
        hint = "put it elsewhere: whoever has it can test guesses of all picks"
        raise InputError(str(opening), f"lies inside {folder}", hint)


def about_curation(release: Release, pool: Pool, rule: SelectionRule, seed: int) -> dict[str, Any]:
    """What the picks of a private release follow from; all of it is public."""
    card = release.card()
    return {
        "release": {"fingerprint": release.fingerprint, TIER: card.get(TIER)}
        | {name: card[name] for name in OF_RELEASE},
        "rule": describe(rule),
        "seed": seed,
        "pool": {"n_rows": len(pool)} | pool_digest(pool),
    }


def scores_are_free(release: Release) -> bool:
    """Whether scores are post-processing of a guarantee, so that proofs may show them."""
    card = release.card()
    epsilon = card["epsilon"]
    return epsilon is not None and math.isfinite(epsilon) and card.get(TIER) != "research"


def pool_digest(pool: Pool) -> dict[str, Any]:
    """SHA-256 of the public rows: of their files where they are streamed, else of their values."""
    if isinstance(pool, ParquetPool):
        files = [part.file for part in pool.parts]
        return {"files": [{"name": file.name, "sha256": _of_file(file)} for file in files]}
    if isinstance(pool, PoolInMemory):
        return {"values_sha256": fingerprint(pool.rows)}
    raise TypeError(f"{type(pool).__name__} has no digest.")


def _of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_attestation(path: Path) -> Attestation:
    """The attestation of a file, or of a folder of picks.

    Raises:
        InputError: for anything else, or where the parts contradict each other.
    """
    file = path / ATTESTATION if path.is_dir() else path
    try:
        envelope = envelope_of(read_json(file))
    except ValueError as error:
        raise InputError(str(file), f"is no attestation: {error}") from None
    statement = statement_of(envelope.payload, PICKS, str(file))
    try:
        tree = statement.predicate["tree"]
        commitment = Commitment(
            n=tree["n"], root=bytes.fromhex(tree["root"]), scored=tree["scores"]
        )
        digest = commitment.digest
        if type(commitment.n) is not int or type(commitment.scored) is not bool:
            raise TypeError("no commitment")
    except Exception:  # whatever somebody else put there
        raise InputError(str(file), "holds no commitment") from None
    if len(commitment.root) != 32 or statement.subjects != {SUBJECT: digest}:
        raise InputError(str(file), "states a commitment that is not the one of its tree")
    return Attestation(envelope=envelope, commitment=commitment, predicate=statement.predicate)


def read_opening(path: Path, commitment: Commitment) -> bytes:
    """The key of the nonces.

    Raises:
        InputError: for a file that is none, or opens another commitment.
    """
    tree = read_json(path)
    try:
        digest, key = tree["commitment"], bytes.fromhex(tree["nonce_key"])
    except (LookupError, TypeError, ValueError):
        raise InputError(
            str(path), "opens nothing", "name the file that was written then"
        ) from None
    if digest != commitment.digest or len(key) != KEY_BYTES:
        raise InputError(str(path), "opens another commitment")
    return key
