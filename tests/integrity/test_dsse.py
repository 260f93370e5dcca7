"""Envelopes: what exactly is signed, and what no reader may accept."""

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from curation_audit.integrity.dsse import (
    PAYLOAD_TYPE,
    envelope_json,
    envelope_of,
    pre_authentication_encoding,
    sign_payload,
    signed_by,
    unsigned,
)
from curation_audit.integrity.keys import key_id

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))


def test_the_encoding_is_that_of_the_specification():
    """The example of the DSSE protocol, and lengths in bytes rather than letters."""
    assert pre_authentication_encoding("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert pre_authentication_encoding("ä", b"") == b"DSSEv1 2 \xc3\xa4 0 "


@given(st.text(max_size=9), st.binary(max_size=9), st.text(max_size=9), st.binary(max_size=9))
def test_no_two_payloads_have_the_same_encoding(kind, body, other_kind, other_body):
    same = pre_authentication_encoding(kind, body) == pre_authentication_encoding(
        other_kind, other_body
    )
    assert same == ((kind, body) == (other_kind, other_body))


def test_a_signature_is_over_the_encoding_and_of_one_key_only():
    envelope = sign_payload(b'{"a":1}', KEY)
    KEY.public_key().verify(
        envelope.signatures[0].sig, b"DSSEv1 28 application/vnd.in-toto+json 7 " + b'{"a":1}'
    )
    assert envelope.signatures[0].keyid == key_id(KEY.public_key())
    assert signed_by(envelope, KEY.public_key())
    assert not signed_by(envelope, OTHER.public_key())
    assert not signed_by(unsigned(b'{"a":1}'), KEY.public_key())


def test_a_key_id_proves_nothing():
    """Somebody signs with his own key and writes the pinned key's id beside it."""
    tree = json.loads(envelope_json(sign_payload(b"{}", OTHER)))
    tree["signatures"][0]["keyid"] = key_id(KEY.public_key())
    assert not signed_by(envelope_of(tree), KEY.public_key())
    tree["signatures"][0]["keyid"] = ""
    assert signed_by(envelope_of(tree), OTHER.public_key())


def test_one_of_several_signatures_is_enough():
    both = json.loads(envelope_json(sign_payload(b"{}", OTHER)))
    both["signatures"] += json.loads(envelope_json(sign_payload(b"{}", KEY)))["signatures"]
    assert signed_by(envelope_of(both), KEY.public_key())


@given(st.integers(0, 5), st.integers(0, 255))
def test_a_changed_byte_breaks_the_signature(place, value):
    payload = bytearray(b"{'a'}!")
    changed = payload[place] != value
    envelope = sign_payload(bytes(payload), KEY)
    payload[place] = value
    tree = json.loads(envelope_json(envelope))
    tree["payload"] = base64.urlsafe_b64encode(bytes(payload)).decode()
    assert signed_by(envelope_of(tree), KEY.public_key()) != changed


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"payloadType": "application/json"}, "payloadType"),
        ({"payloadType": 3}, "payloadType"),
        ({"payload": 3}, "payload"),
        ({"payload": "a"}, "base64"),
        ({"payload": "¡¡¡¡"}, "base64"),
        ({"signatures": "ab"}, "signatures"),
        ({"signatures": None}, "signatures"),
        ({"signatures": [3]}, "signature"),
        ({"signatures": [{"sig": "!"}]}, "base64"),
        ({"signatures": [{"keyid": 1, "sig": ""}]}, "keyid"),
        ({"signatures": [{"sig": ""}] * 17}, "more than 16"),
    ],
)
def test_what_is_no_envelope_is_refused(change, told):
    tree = {"payloadType": PAYLOAD_TYPE, "payload": "e30=", "signatures": []}
    envelope_of(tree)
    with pytest.raises(ValueError, match=told):
        envelope_of(tree | change)
    for other in (None, [], "x"):
        with pytest.raises(ValueError, match="object"):
            envelope_of(other)
