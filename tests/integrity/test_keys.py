"""Keys in files: who may read them, where they lie, and what is no key."""

import pytest
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from curation_audit.checks import InputError
from curation_audit.integrity import keys
from curation_audit.integrity.keys import (
    PASSPHRASE,
    key_id,
    make_keys,
    read_private_key,
    read_public_key,
)


def pem(key):
    return key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())


def test_a_pair_is_made_once_and_fits(tmp_path):
    public, name = make_keys(tmp_path / "new" / "sign.pem", None)
    private = tmp_path / "new" / "sign.pem"
    assert private.stat().st_mode & 0o777 == 0o600
    assert public == tmp_path / "new" / "sign.pem.pub"
    signer = read_private_key(private, outside=tmp_path / "run")
    read_public_key(public).verify(signer.sign(b"x"), b"x")
    assert name == key_id(signer.public_key()) == key_id(read_public_key(public))
    assert b"PRIVATE" not in public.read_bytes()
    before = private.read_bytes()
    with pytest.raises(InputError, match="already there"):
        make_keys(private, None)
    private.rename(tmp_path / "elsewhere.pem")
    with pytest.raises(InputError, match=r"sign\.pem\.pub: is already there"):
        make_keys(private, None)
    assert (tmp_path / "elsewhere.pem").read_bytes() == before
    assert not private.exists()


def test_a_key_id_is_the_hash_of_the_raw_key():
    """By sha256sum of the public key of RFC 8032, section 7.1, test 1."""
    secret = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public = Ed25519PrivateKey.from_private_bytes(secret).public_key()
    assert public.public_bytes_raw().hex().startswith("d75a980182b10ab7")
    assert key_id(public) == "21fe31dfa154a261626bf854046fd2271b7bed4b6abe45aa58877ef47f9721b9"


def test_the_private_key_lies_outside_of_the_run(tmp_path):
    make_keys(tmp_path / "run" / "sub" / "sign.pem", None)
    make_keys(tmp_path / "sign.pem", None)
    with pytest.raises(InputError, match="lies inside"):
        read_private_key(tmp_path / "run" / "sub" / "sign.pem", outside=tmp_path / "run")
    (tmp_path / "link.pem").symlink_to(tmp_path / "run" / "sub" / "sign.pem")
    with pytest.raises(InputError, match="lies inside"):
        read_private_key(tmp_path / "link.pem", outside=tmp_path / "run")
    read_private_key(tmp_path / "sign.pem", outside=tmp_path / "run")


def test_a_key_that_others_can_read_is_refused(tmp_path):
    make_keys(tmp_path / "sign.pem", None)
    (tmp_path / "sign.pem").chmod(0o640)
    with pytest.raises(InputError, match="chmod 600"):
        read_private_key(tmp_path / "sign.pem", outside=tmp_path / "run")


def test_a_passphrase_comes_from_the_environment_or_a_prompt(tmp_path, monkeypatch):
    path = tmp_path / "sign.pem"
    make_keys(path, "correct horse")
    assert b"ENCRYPTED" in path.read_bytes()
    monkeypatch.setenv(PASSPHRASE, "correct horse")
    read_private_key(path, outside=tmp_path / "run")
    monkeypatch.setenv(PASSPHRASE, "wrong")
    with pytest.raises(InputError, match="cannot be read as a private key") as wrong:
        read_private_key(path, outside=tmp_path / "run")
    assert "horse" not in str(wrong.value)
    monkeypatch.delenv(PASSPHRASE)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(InputError, match="needs a passphrase"):
        read_private_key(path, outside=tmp_path / "run")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr(keys.getpass, "getpass", lambda _: "correct horse")
    read_private_key(path, outside=tmp_path / "run")


@pytest.mark.parametrize(
    "content", [b"", b"not a key", pem(X25519PrivateKey.generate()), b"\xff" * 70_000]
)
def test_what_is_no_key_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "sign.pem"
    path.write_bytes(content)
    path.chmod(0o600)
    for read in (lambda: read_private_key(path, outside=tmp_path / "run"),
                 lambda: read_public_key(path)):  # fmt: skip
        with pytest.raises(InputError) as refused:
            read()
        assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match="is not there"):
        read_public_key(tmp_path / "none.pem")


def test_a_private_key_is_no_public_one(tmp_path):
    make_keys(tmp_path / "sign.pem", None)
    with pytest.raises(InputError, match="is a private key"):
        read_public_key(tmp_path / "sign.pem")
