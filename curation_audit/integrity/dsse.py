"""DSSE envelopes (Dead Simple Signing Envelope, version 1.0.2), signed with Ed25519.

What is signed is the pre-authentication encoding of the payload's type and bytes, so that no
payload can be read as one of another type, and no JSON has to be put into a canonical form.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from curation_audit.integrity.keys import key_id

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
MOST_SIGNATURES: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """A signature and the id of the key that is said to have made it; the id proves nothing."""

    keyid: str
    sig: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A payload of a type with its signatures, which nobody has looked at yet."""

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...]


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """``DSSEv1 SP LEN(type) SP type SP LEN(body) SP body``; lengths in bytes, in decimal."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign_payload(payload: bytes, key: "Ed25519PrivateKey") -> Envelope:
    """An in-toto payload under one signature; the same bytes for the same payload and key."""
    signature = key.sign(pre_authentication_encoding(PAYLOAD_TYPE, payload))
    signed = Signature(keyid=key_id(key.public_key()), sig=signature)
    return Envelope(payload_type=PAYLOAD_TYPE, payload=payload, signatures=(signed,))


def unsigned(payload: bytes) -> Envelope:
    """An envelope without a signature: a commitment that nobody vouches for."""
    return Envelope(payload_type=PAYLOAD_TYPE, payload=payload, signatures=())


def signed_by(envelope: Envelope, key: "Ed25519PublicKey") -> bool:
    """Whether some signature of the envelope is the key's, whatever key ids it names."""
    from cryptography.exceptions import InvalidSignature

    message = pre_authentication_encoding(envelope.payload_type, envelope.payload)
    for one in envelope.signatures:
        try:
            key.verify(one.sig, message)
        except InvalidSignature:
            continue
        return True
    return False


def envelope_json(envelope: Envelope) -> bytes:
    """The JSON of an envelope, in a fixed order."""
    tree = {
        "payloadType": envelope.payload_type,
        "payload": base64.b64encode(envelope.payload).decode(),
        "signatures": [
            {"keyid": one.keyid, "sig": base64.b64encode(one.sig).decode()}
            for one in envelope.signatures
        ],
    }
    return (json.dumps(tree, indent=1) + "\n").encode()


def envelope_of(tree: object) -> Envelope:
    """The envelope that a JSON tree describes.

    Raises:
        ValueError: for anything else, in words that quote nothing.
    """
    if not isinstance(tree, Mapping):
        raise ValueError("an envelope is an object")
    payload_type, signatures = tree.get("payloadType"), tree.get("signatures")
    if payload_type != PAYLOAD_TYPE:
        raise ValueError(f"its payloadType is not {PAYLOAD_TYPE}")
    if not isinstance(signatures, Sequence) or isinstance(signatures, str):
        raise ValueError("its signatures are no list")
    if len(signatures) > MOST_SIGNATURES:
        raise ValueError(f"it has more than {MOST_SIGNATURES} signatures")
    return Envelope(
        payload_type=PAYLOAD_TYPE,
        payload=_bytes(tree.get("payload"), "payload"),
        signatures=tuple(_signature(one) for one in signatures),
    )


def _signature(tree: object) -> Signature:
    if not isinstance(tree, Mapping):
        raise ValueError("a signature is an object")
    keyid = tree.get("keyid", "")
    if not isinstance(keyid, str):
        raise ValueError("a keyid is text")
    return Signature(keyid=keyid, sig=_bytes(tree.get("sig"), "sig"))


def _bytes(value: Any, name: str) -> bytes:
    """Standard or URL-safe base64: the specification has readers take either."""
    if not isinstance(value, str):
        raise ValueError(f"its {name} is no text")
    try:
        return base64.b64decode(value.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"its {name} is no base64") from None
