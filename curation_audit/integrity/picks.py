"""A commitment to picked rows that says nothing of them until some are shown.

A leaf is the hash of a secret 128-bit nonce and an id, and for a private release the score. The
leaves stand in the order of the ids, so that two neighbours show that nothing lies between them.
Without its nonce a leaf answers no guess of its id: 2^128 of them fit.
"""

import hashlib
import itertools
import math
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from curation_audit.checks import InputError
from curation_audit.integrity.merkle import Tree, leaf_hash

DOMAIN: Final = b"\x02curation-audit picks 1"
NONCE_BYTES: Final = 16
KEY_BYTES: Final = 32
NAN: Final = struct.pack(">d", math.nan)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picked:
    """Picked ids as UTF-8, ascending, without repeats; ``scores`` in the same order, or none."""

    ids: tuple[bytes, ...]
    scores: tuple[float, ...] | None

    @classmethod
    def of(cls, ids: Sequence[str], scores: Sequence[float] | None) -> "Picked":
        """Sort picks as they are committed.

        Raises:
            InputError: for an id that stands there twice or is no text, or an infinite score, which
                no JSON of a proof could show.
        """
        try:
            encoded = [one.encode() for one in ids]
        except UnicodeEncodeError:
            raise InputError("picks", "have an id that is no text (a lone surrogate)") from None
        order = sorted(range(len(encoded)), key=encoded.__getitem__)
        ascending = tuple(encoded[i] for i in order)
        if any(one == other for one, other in itertools.pairwise(ascending)):
            raise InputError("picks", "hold an id twice", "ids must differ within a pool")
        if scores is not None and any(math.isinf(one) for one in scores):
            raise InputError("picks", "hold an infinite score", "commit to their ids alone")
        return cls(
            ids=ascending,
            scores=None if scores is None else tuple(float(scores[i]) for i in order),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Commitment:
    """What is published: how many rows, the root, and whether leaves hold scores."""

    n: int
    root: bytes
    scored: bool

    @property
    def digest(self) -> str:
        """The SHA-256 of all three in hex: number and shape are committed with the root."""
        head = struct.pack(">Q?", self.n, self.scored)
        return hashlib.sha256(DOMAIN + head + self.root).hexdigest()


def new_key() -> bytes:
    """A key for the nonces of one commitment, from the operating system; never used for another."""
    return os.urandom(KEY_BYTES)


def nonces(key: bytes, n: int) -> bytes:
    """As many nonces of 16 bytes in a row: AES-256 of the numbers from 0 under the key.

    Some of them tell nothing of the others to whoever has not the key (AES as a pseudorandom
    function), so that leaves may be shown one by one.
    """
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    counter = Cipher(algorithms.AES(key), modes.CTR(bytes(NONCE_BYTES))).encryptor()
    return counter.update(bytes(NONCE_BYTES * n))


def leaf_content(nonce: bytes, row: bytes, score: float | None) -> bytes:
    """What a leaf holds: nonce, length of the id, id, and the score if one is committed."""
    head = b"%b%b%b" % (nonce, len(row).to_bytes(4, "big"), row)
    return head if score is None else head + _packed(score)


def _packed(score: float) -> bytes:
    return NAN if math.isnan(score) else struct.pack(">d", score)


def tree_of(picked: Picked, key: bytes) -> Tree:
    """The tree of some picks; seconds for a million rows."""
    salt = nonces(key, len(picked.ids))
    scores = picked.scores if picked.scores is not None else itertools.repeat(None)
    rows = zip(range(0, len(salt), NONCE_BYTES), picked.ids, scores, strict=False)
    return Tree.over(
        [
            leaf_hash(leaf_content(salt[at : at + NONCE_BYTES], row, score))
            for at, row, score in rows
        ]
    )


def commit(picked: Picked, key: bytes) -> tuple[Commitment, Tree]:
    """Commit to picks; the tree stays with the holder."""
    tree = tree_of(picked, key)
    scored = picked.scores is not None
    return Commitment(n=len(picked.ids), root=tree.root, scored=scored), tree
