"""A finished run is checked: hashes, the signer, and every number that the evidence gives."""

import base64
import json
import shutil
from functools import partial

import numpy as np
import pytest

from curation_audit.auditing.release import render_again
from curation_audit.checks import InputError
from curation_audit.integrity.dsse import PAYLOAD_TYPE, envelope_json, sign_payload
from curation_audit.integrity.findings import guarded
from curation_audit.integrity.manifest import ENVELOPE, manifest_of, sign_run
from curation_audit.integrity.signed import check_signed
from curation_audit.integrity.statement import Statement, statement_json
from curation_audit.integrity.verify import verify_run
from curation_audit.storage import pack_arrays, unpack_arrays
from tests.integrity.finished import KEY, OTHER, PINNED, copied, edited, failures, found

LIST = base64.b64encode(b"[]").decode()
FILES = ("report.json", "report.html", "report.md", "card.md")


# --- what is right


def test_a_signed_run_is_verified(made, tmp_path):
    signed = copied(made, tmp_path)
    sign_run(signed, KEY)
    checked = verify_run(signed, PINNED)
    assert failures(checked) == set()
    assert checked.exit_code == 0
    assert checked.conclusion.startswith("verified: signed by the key")
    for check in ("signature", "files", "schema", "manifest", "evidence file", "coins", "controls",
                  "bounds", "policy", "verdict", "rates", "headline numbers", "stage scores",
                  "stage selection", "card.md", "report.md", "report.html"):  # fmt: skip
        assert found(checked, check) == {"ok"}, check
    assert found(checked, "utility") == found(checked, "evidence itself") == {"not checked"}


@pytest.mark.parametrize("pinned", [None, OTHER.public_key()])
def test_without_the_signers_key_nothing_is_called_verified(light, pinned):
    checked = verify_run(light, pinned)
    assert "verified" not in checked.conclusion
    assert all("verified" not in one.detail for one in checked.findings)
    if pinned is None:
        assert "integrity only, signer unknown" in checked.conclusion
        assert checked.exit_code == 0
    else:
        assert failures(checked) == {"signature"}


def test_a_run_that_nobody_signed(run):
    checked = verify_run(run, None)
    assert checked.exit_code == 0
    assert "signer unknown" in checked.conclusion
    assert found(checked, "files") == {"not checked"}
    assert failures(verify_run(run, PINNED)) == {"signature"}


def test_the_release_folder_alone_says_what_it_leaves_open(signed, tmp_path):
    shutil.copytree(signed / "release", tmp_path / "received")
    checked = verify_run(tmp_path / "received", PINNED)
    assert checked.exit_code == 0
    assert found(checked, "numbers") == {"not checked"}
    assert found(checked, "bounds from counts") == {"ok"}


def test_signing_again_gives_the_same_but_for_the_time(run):
    one, other = (manifest_of(run, "then") for _ in range(2))
    assert statement_json(one) == statement_json(other)
    assert set(one.subjects) == {*FILES} - {"report.html"}
    assert one.predicate["evidence"]["name"] == "evidence.npz"
    assert one.predicate["environment"]["python"]


def test_no_candidate_id_and_no_plain_fingerprint_is_in_a_manifest(run, made):
    """Hashes are of the release, which is public, of keyed fingerprints, and of salted evidence."""
    text = statement_json(manifest_of(run, "then")).decode()
    with np.load(run / "evidence.npz", allow_pickle=False) as evidence:
        names = evidence["candidate"].tolist()
        assert evidence["salt"].shape == (32,)
    assert not any(name in text for name in names)
    evidence = unpack_arrays((run / "evidence.npz").read_bytes())
    del evidence["salt"]
    (run / "evidence.npz").write_bytes(pack_arrays(evidence))
    assert manifest_of(run, "then").predicate["evidence"] is None


# --- what was changed


@pytest.mark.parametrize("name", FILES)
def test_one_changed_byte_in_any_file_is_found(light, name):
    path, release = light / "release" / name, light / "release"
    payload = path.read_bytes()
    for share in np.linspace(0, 1, 12, endpoint=False):
        changed = bytearray(payload)
        changed[int(share * len(payload))] ^= 1
        path.write_bytes(changed)
        for key in (PINNED, None):
            wrong = [one for one in check_signed(release, key) if one.status == "failed"]
            assert [one.check for one in wrong] == ["files"]
            assert repr(name) in wrong[0].detail
    assert verify_run(light, PINNED).exit_code == 1


def test_one_changed_byte_of_what_was_signed_is_found(light):
    """White space and key ids of an envelope say nothing; its payload and signature do."""
    path = light / "release" / ENVELOPE
    tree = json.loads(path.read_bytes())
    for part, at in (("payload", 40), ("payload", -9), ("sig", 3), ("sig", -9)):
        changed = json.loads(json.dumps(tree))
        holder = changed if part == "payload" else changed["signatures"][0]
        text = holder[part]
        other = "B" if text[at] == "A" else "A"
        holder[part] = text[:at] + other + text[at + 1 :]
        path.write_text(json.dumps(changed))
        findings = guarded("signature", partial(check_signed, light / "release", PINNED))
        assert "signature" in {one.check for one in findings if one.status == "failed"}


def test_a_change_that_is_signed_again_by_somebody_else_is_found(light):
    edited(light, lambda report: report.update(name="another"))
    assert "files" in failures(verify_run(light, PINNED))
    sign_run(light, OTHER)
    assert failures(verify_run(light, PINNED)) == {"signature"}
    assert "verified" not in verify_run(light, None).conclusion


def test_a_report_that_is_rendered_again_no_longer_fits(light):
    (light / "release" / "report.md").unlink()
    render_again(light, ["html", "markdown"])
    assert verify_run(light, PINNED).exit_code == 0  # the same bytes
    (light / "release" / "report.html").write_text("x")
    checked = verify_run(light, PINNED)
    assert failures(checked) == {"files"}
    assert "rendered again" in checked.failures[0].detail


def test_files_that_came_or_went_are_told(light):
    (light / "release" / "report.md").unlink()
    (light / "release" / "extra.txt").write_text("x")
    (light / "release" / "folder").mkdir()
    (light / "release" / "folder" / "x").write_text("x")
    told = " ".join(one.detail for one in verify_run(light, PINNED).failures)
    for name in ("'report.md' is missing", "'extra.txt' is not in", "'folder/x' is not in"):
        assert name in told


def test_a_text_that_is_not_what_the_report_says_is_found_without_a_manifest(run):
    path = run / "release" / "report.md"
    path.write_text(path.read_text().replace("shadow", "meadow"))
    assert failures(verify_run(run, None)) == {"report.md"}


# --- what somebody made on purpose


def put(run, tree_or_bytes):
    payload = (
        tree_or_bytes if isinstance(tree_or_bytes, bytes) else json.dumps(tree_or_bytes).encode()
    )
    (run / "release" / ENVELOPE).write_bytes(payload)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[" * 100_000, [], {"payload": ""}, b"\xff\xfe",
        {"payloadType": PAYLOAD_TYPE, "payload": LIST, "signatures": []},
        {"payloadType": PAYLOAD_TYPE, "payload": "e30=", "signatures": []},
    ],
)  # fmt: skip
def test_what_is_no_manifest_fails_in_one_line(run, content):
    put(run, content)
    checked = verify_run(run, PINNED)
    assert "signature" in failures(checked)
    assert all("\n" not in one.detail for one in checked.findings)


def test_a_manifest_that_names_other_folders_is_refused_though_it_is_signed(run):
    secret = run.parent / "secret"
    secret.write_text("x")
    subjects = {"../../secret": "0" * 64}
    statement = Statement(subjects=subjects, predicate_type="urn:curation-audit:release-manifest:1",
                          predicate={})  # fmt: skip
    put(run, envelope_json(sign_payload(statement_json(statement), KEY)))
    checked = verify_run(run, PINNED)
    assert "outside of the folder" in " ".join(one.detail for one in checked.failures)


def test_a_signed_manifest_of_another_run_fits_nothing(light):
    statement = manifest_of(light, "then")
    wrong = Statement(subjects=statement.subjects, predicate_type=statement.predicate_type,
                      predicate={**statement.predicate, "data": {}})  # fmt: skip
    put(light, envelope_json(sign_payload(statement_json(wrong), KEY)))
    assert failures(verify_run(light, PINNED)) == {"manifest"}


@pytest.mark.parametrize("name", ["report.html", "x"])
def test_links_in_a_release_are_refused(light, name, tmp_path):
    (tmp_path / "elsewhere").write_bytes((light / "release" / "report.html").read_bytes())
    (light / "release" / name).unlink(missing_ok=True)
    (light / "release" / name).symlink_to(tmp_path / "elsewhere")
    assert "is a link" in " ".join(one.detail for one in verify_run(light, PINNED).failures)
    with pytest.raises(InputError, match="is a link"):
        sign_run(light, KEY)


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[1]", b'{"schema_version": 2}', b'{"a": NaN}', b"{" * 100_000, b"\x00"],
)
def test_what_is_no_report_fails_in_one_line(run, content):
    (run / "release" / "report.json").write_bytes(content)
    checked = verify_run(run, None)
    assert checked.exit_code == 1
    assert all("\n" not in one.detail for one in checked.findings)


# --- the commands


def test_the_commands_from_keys_to_a_verdict(run, command, tmp_path):
    key = tmp_path / "keys" / "sign.pem"
    code, out, err = command("keygen", key)
    assert (code, err) == (0, "")
    assert "PRIVATE" not in out
    assert command("keygen", key)[0] == 2
    code, out, _ = command("sign", run, "--key", key)
    assert code == 0
    assert "manifest.dsse.json" in out
    code, out, _ = command("verify", run, "--key", f"{key}.pub")
    assert code == 0
    assert out.splitlines()[-1].startswith("verified: signed by the key")
    code, out, _ = command("verify", run)
    assert code == 0
    assert "verified" not in out
    (run / "release" / "card.md").write_text("x")
    code, out, _ = command("verify", run, "--key", f"{key}.pub", "--json")
    told = json.loads(out)
    assert code == told["exit_code"] == 1
    assert {"check": "files", "status": "failed"}.items() <= told["findings"][1].items()


def test_bad_input_of_the_commands_is_one_line(run, command, tmp_path):
    key = tmp_path / "sign.pem"
    command("keygen", key)
    inside = run / "sign.pem"
    shutil.copy(key, inside)
    inside.chmod(0o600)
    for arguments, told in (
        (("sign", run, "--key", inside), "lies inside"),
        (("sign", run, "--key", f"{key}.pub"), "can be read by others"),
        (("sign", run, "--key", tmp_path / "none"), "is not there"),
        (("sign", tmp_path / "none", "--key", key), "found no release"),
        (("verify", run, "--key", key), "is a private key"),
        (("verify", tmp_path / "none"), "no such folder"),
        (("verify", tmp_path), "found no release"),
    ):
        code, _, err = command(*arguments)
        assert code == 2, arguments
        assert len(err.splitlines()) == 1
        assert told in err
    assert not (tmp_path / "none").exists()
