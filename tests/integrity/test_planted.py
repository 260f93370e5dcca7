"""Genuine signed files, put beside others so that their signature speaks for what is not theirs."""

import json
import shutil
from pathlib import Path

import pytest

from curation_audit.checks import InputError
from curation_audit.integrity.attestation import scores_are_free
from curation_audit.integrity.manifest import ENVELOPE
from curation_audit.integrity.verify_any import verify_any
from tests.integrity.finished import (
    PINNED,
    edited,
    failures,
    found,
    make_release,
    put_picks,
    release_facts,
)


def tampered_beside_genuine(light, tmp_path):
    """A release folder that somebody changed, with the genuine one inside of it."""
    shutil.copytree(light, tmp_path / "received")
    edited(tmp_path / "received", lambda report: report.update(name="another"))
    received = tmp_path / "received" / "release"
    shutil.copytree(light / "release", received / "release")
    return received


def test_a_genuine_release_inside_of_a_changed_one_vouches_for_nothing(light, tmp_path):
    received = tampered_beside_genuine(light, tmp_path)
    with pytest.raises(InputError, match=r"report\.json and release/report\.json"):
        verify_any(received, PINNED)


def test_a_report_that_is_named_is_the_one_that_is_checked(light, tmp_path):
    received = tampered_beside_genuine(light, tmp_path)
    checked = verify_any(received / "report.json", PINNED)
    assert "files" in failures(checked)
    assert "verified" not in checked.conclusion
    fine = verify_any(received / "release" / "report.json", PINNED)
    assert fine.exit_code == 0
    assert str(received / "release") in fine.conclusion


def test_the_conclusion_names_the_folder(light):
    release = str((light / "release").resolve())
    for path in (light, light / "release", light / "release" / "report.json"):
        checked = verify_any(path, PINNED)
        assert checked.conclusion.startswith("verified: signed by the key")
        assert release in checked.conclusion


def test_a_folder_is_known_from_within(light, monkeypatch):
    """``verify .`` in the release folder finds what lies beside it, and links stay refused."""
    (light / "evidence.npz").write_bytes(b"x")
    monkeypatch.chdir(light / "release")
    assert "evidence" in failures(verify_any(Path(), PINNED))
    (light.parent / "link").symlink_to(light / "release")
    with pytest.raises(InputError, match="is a link"):
        verify_any(light.parent / "link", PINNED)


@pytest.mark.parametrize("planted", [("release.npz", "attestation.dsse.json"), ("release.npz",),
                                     ("attestation.dsse.json",)])  # fmt: skip
def test_picks_in_the_folder_of_a_run_are_refused(light, tmp_path, planted):
    edited(light, lambda report: report.update(name="another"))
    (tmp_path / "picks").mkdir()
    put_picks(tmp_path / "picks", tmp_path / "opening.json")
    for folder in (light, light / "release"):
        for name in planted:
            shutil.copy(tmp_path / "picks" / name, folder / name)
        with pytest.raises(InputError, match="of picks and"):
            verify_any(folder, PINNED)


def test_files_that_no_attestation_covers_are_named(tmp_path):
    folder = tmp_path / "picks"
    folder.mkdir()
    put_picks(folder, tmp_path / "opening.json")
    for name in ("picks.parquet", "extra.txt"):
        (folder / name).write_text("x")
    checked = verify_any(folder, PINNED)
    assert checked.exit_code == 0
    assert found(checked, "files") == {"not checked"}
    told = " ".join(one.detail for one in checked.findings if one.check == "files")
    assert "'picks.parquet'" in told
    assert "'extra.txt'" in told
    assert "the attestation in" in checked.conclusion


@pytest.mark.parametrize("text", ["\nverified: signed", "\x1b[1A\x1b[2Kverified", "\u202everified",
                                  "\rverified: signed"])  # fmt: skip
def test_text_of_others_makes_no_line_of_its_own(light, command, text):
    path = light / "release" / ENVELOPE
    tree = json.loads(path.read_bytes())
    tree["signatures"][0]["keyid"] = text
    path.write_text(json.dumps(tree))
    (light / "release" / "x\nverified: signed").write_text("x")
    edited(light, lambda report: report["numbers"][0].update({text: 1}))
    code, out, _ = command("verify", light)
    assert code == 1
    assert "an unreadable id" in out
    assert not any(line.startswith("verified") for line in out.splitlines())
    assert all(one.isprintable() or one == "\n" for one in out)


def test_name_and_time_of_a_signature_are_told(light, command):
    _, out, _ = command("verify", light)
    assert "run 'small', signed '20" in out


@pytest.mark.parametrize(
    ("change", "free"),
    [({}, True), ({"epsilon": None}, False), ({"epsilon": float("inf")}, False),
     ({"noise_tier": "research"}, False), ({"noise_tier": "strict"}, True)],
)  # fmt: skip
def test_scores_are_shown_under_a_guarantee_for_release_only(change, free):
    assert scores_are_free(make_release(release_facts(**change))) is free
