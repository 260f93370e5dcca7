"""From ``curate --attest`` to proofs that a third party checks."""

import json
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from curation_audit.releases.release import Release

DP = {"mechanism": "gaussian_mean", "epsilon": 1.0, "delta": 1e-5, "adjacency": "zero_out"}


@pytest.fixture
def picked(small, tmp_path, command):
    """Picks with a signed attestation; the folder, and the ids that were and were not picked."""

    def both(tree):
        tree["private"]["ledger"] = "budget.ledger"
        tree["curate"]["protect"] = dict(DP)

    pipeline = small(both)
    budget = ("--epsilon", 2, "--delta", 1e-5, "--unit", "Pat.Nr", "--adjacency", "zero_out")
    assert command("ledger", "set-budget", tmp_path / "budget.ledger", *budget)[0] == 0
    assert command("keygen", tmp_path / "sign.pem")[0] == 0
    code, _, err = command(
        "curate", "--pipeline", pipeline, "--out", tmp_path / "picked", "--quiet",
        "--attest", tmp_path / "opening.json", "--sign", tmp_path / "sign.pem",
    )  # fmt: skip
    assert code == 0, err
    ids = pq.read_table(tmp_path / "picked" / "picks.parquet")["id"].to_pylist()
    return tmp_path / "picked", ids, [str(i) for i in range(300) if str(i) not in ids]


def proved(command, tmp_path, folder, ids):
    (tmp_path / "asked.txt").write_text("\n".join(ids) + "\n")
    code, _, err = command(
        "attest", "prove", folder, "--ids", tmp_path / "asked.txt",
        "--opening", tmp_path / "opening.json", "--out", tmp_path / "proofs.json",
    )  # fmt: skip
    assert code == 0, err
    return tmp_path / "proofs.json"


def test_a_third_party_checks_what_was_picked_and_what_not(picked, command, tmp_path):
    folder, inside, outside = picked
    assert (tmp_path / "opening.json").stat().st_mode & 0o777 == 0o600
    proofs = proved(command, tmp_path, folder, [*inside[:5], *outside[:7]])
    attestation, key = folder / "attestation.dsse.json", tmp_path / "sign.pem.pub"
    asked = tmp_path / "asked.txt"
    arguments = ("attest", "check", attestation, proofs, "--ids", asked)
    code, out, err = command(*arguments, "--key", key, "--json")
    assert code == 0, err
    told = json.loads(out)
    assert (told["picked"], told["not_picked"], told["wrong"]) == (5, 7, 0)
    assert told["conclusion"].startswith("verified")
    assert {one["id"] for one in told["answers"] if one["picked"]} == set(inside[:5])
    code, out, _ = command(*arguments)
    assert code == 0
    assert "verified" not in out
    assert "signer is unknown" in out
    command("keygen", tmp_path / "other.pem")
    code, out, _ = command(*arguments, "--key", tmp_path / "other.pem.pub")
    assert code == 1
    assert "verified" not in out


def test_an_id_without_a_proof_is_told(picked, command, tmp_path):
    folder, inside, outside = picked
    proofs = proved(command, tmp_path, folder, inside[:2])
    (tmp_path / "more.txt").write_text(f"{inside[0]}\n{outside[0]}\n")
    code, out, _ = command("attest", "check", folder, proofs, "--ids", tmp_path / "more.txt")
    assert code == 1
    assert f"{outside[0]!r}: no proof" in out


def test_a_changed_proof_or_attestation_is_found(picked, command, tmp_path):
    folder, inside, outside = picked
    proofs = proved(command, tmp_path, folder, [inside[0], outside[0]])
    tree = json.loads(proofs.read_text())
    tree["proofs"][0]["id"] = outside[1]
    (tmp_path / "wrong.json").write_text(json.dumps(tree))
    code, out, _ = command("attest", "check", folder, tmp_path / "wrong.json")
    assert code == 1
    assert "another row's" in out
    tree["leaves"][0]["score"] = 99.0
    (tmp_path / "wrong.json").write_text(json.dumps(tree))
    code, out, err = command("attest", "check", folder, tmp_path / "wrong.json")
    assert (code, err) == (1, "")
    assert "FAILED: proofs: show a leaf" in out
    (tmp_path / "wrong.json").write_text("{")
    code, out, _ = command("attest", "check", folder, tmp_path / "wrong.json", "--json")
    assert code == 1
    assert json.loads(out)["conclusion"].startswith("FAILED")
    path = folder / "attestation.dsse.json"
    path.write_text(path.read_text().replace('"payload": "ey', '"payload": "fy'))
    assert command("attest", "check", folder, proofs)[0] == 2


def test_verify_reads_what_curate_wrote(picked, command, tmp_path):
    folder, _, _ = picked
    key = tmp_path / "sign.pem.pub"
    code, out, err = command("verify", folder, "--key", key)
    assert code == 0, out + err
    assert "is about this release" in out
    assert out.splitlines()[-1].startswith("verified: signed by")
    card = folder / "card.md"
    text = card.read_text()
    card.write_text(text.replace("Epsilon 0.99", "Epsilon 0.09"))
    code, out, _ = command("verify", folder, "--key", key)
    assert code == 1
    assert "card.md" in out
    card.write_text(text)
    (folder / "attestation.dsse.json").unlink()
    assert command("verify", folder, "--key", key)[0] == 1
    code, out, _ = command("verify", folder)
    assert code == 0
    assert "verified" not in out
    assert command("verify", folder / "release.npz")[0] == 0


def test_an_attestation_holds_nothing_private_and_no_other_pick(picked, tmp_path):
    folder, inside, _ = picked
    text = (folder / "attestation.dsse.json").read_text()
    import base64

    said = json.loads(base64.b64decode(json.loads(text)["payload"]))["predicate"]
    assert said["tree"]["n"] == len(inside)
    assert said["release"]["unit"] == "Pat.Nr"
    assert said["release"]["noise_tier"] == "hardened"
    assert said["pool"]["n_rows"] == 300
    assert said["rule"]["name"] == "top_k"
    secret = json.loads((tmp_path / "opening.json").read_text())["nonce_key"]
    assert secret not in json.dumps(said)


def test_picks_that_are_not_the_committed_ones_prove_nothing(picked, command, tmp_path):
    folder, inside, _ = picked
    path = folder / "picks.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)
    (tmp_path / "asked.txt").write_text(inside[0])
    code, _, err = command(
        "attest", "prove", folder, "--ids", tmp_path / "asked.txt", "--opening",
        tmp_path / "opening.json",
    )  # fmt: skip
    assert code == 2
    assert "other picks than the attestation" in err


def test_the_secret_is_never_overwritten_and_never_inside(picked, command, tmp_path):
    folder, _, _ = picked
    before = (tmp_path / "opening.json").read_bytes()
    for opening, told in (
        (tmp_path / "opening.json", "already there"), (folder / "x.json", "lies inside"),
    ):  # fmt: skip
        code, _, err = command(
            "curate", "--pipeline", tmp_path / "small.yaml", "--out", folder, "--attest", opening
        )
        assert code == 2
        assert told in err
    assert (tmp_path / "opening.json").read_bytes() == before
    code, _, err = command(
        "curate", "--pipeline", tmp_path / "small.yaml", "--out", folder, "--sign",
        tmp_path / "sign.pem",
    )  # fmt: skip
    assert code == 2
    assert "add --attest" in err


def test_picks_of_another_curation_are_committed_without_scores(command, tmp_path):
    (tmp_path / "ids.txt").write_text("b\na\nä\n")
    attestation = tmp_path / "out" / "attestation.json"
    attestation.parent.mkdir()
    code, _, err = command(
        "attest", "commit", tmp_path / "ids.txt", "--opening", tmp_path / "opening.json",
        "--out", attestation,
    )  # fmt: skip
    assert code == 0, err
    (tmp_path / "asked.txt").write_text("a\r\nc\n\nä\n")
    code, out, err = command(
        "attest", "prove", tmp_path / "ids.txt", "--attestation", attestation, "--ids",
        tmp_path / "asked.txt", "--opening", tmp_path / "opening.json",
    )  # fmt: skip
    assert code == 0, err
    assert "score" not in out
    (tmp_path / "proofs.json").write_text(out)
    code, out, _ = command("attest", "check", attestation, tmp_path / "proofs.json", "--json")
    assert code == 0
    answers = [(one["id"], one["picked"]) for one in json.loads(out)["answers"]]
    assert answers == [("a", True), ("c", False), ("ä", True)]


def test_proofs_of_nothing_prove_nothing(picked, command, tmp_path):
    folder, inside, _ = picked
    tree = json.loads(proved(command, tmp_path, folder, inside[:1]).read_text())
    (tmp_path / "none.json").write_text(json.dumps(tree | {"leaves": [], "proofs": []}))
    arguments = ("attest", "check", folder, tmp_path / "none.json", "--key")
    code, out, _ = command(*arguments, tmp_path / "sign.pem.pub")
    assert code == 1
    assert "verified" not in out
    assert "no row is answered" in out


def test_each_id_and_what_the_signer_states_are_told(picked, command, tmp_path):
    folder, inside, outside = picked
    proofs = proved(command, tmp_path, folder, [inside[0], outside[0]])
    code, out, _ = command("attest", "check", folder, proofs)
    assert code == 0
    lines = out.splitlines()
    assert f"picked       {inside[0]!r}" in lines
    assert f"not picked   {outside[0]!r}" in lines
    for told in ("made:        20", "epsilon:     0.99", "rule:        {",
                 f"committed:   {len(inside)} rows"):  # fmt: skip
        assert any(line.startswith(told) for line in lines), told
    (tmp_path / "asked.txt").write_text(inside[0])
    _, out, _ = command("attest", "check", folder, proofs, "--ids", tmp_path / "asked.txt")
    assert repr(outside[0]) not in out


def test_scores_without_noise_for_release_are_not_committed(picked, command, tmp_path):
    """By a release of the research tier: proofs show ids, and the attestation says the tier."""
    folder, inside, outside = picked
    release = Release.load(folder / "release.npz")
    facts = release.card() | {"noise_tier": "research"}
    replace(release, facts=facts).save(tmp_path / "research.npz")
    (tmp_path / "opening.json").unlink()
    code, out, err = command(
        "curate", "--pipeline", tmp_path / "small.yaml", "--release", tmp_path / "research.npz",
        "--out", tmp_path / "other", "--quiet", "--attest", tmp_path / "opening.json",
        "--allow-research-noise",
    )  # fmt: skip
    assert code == 0, err
    assert "ids alone" in out
    proofs = proved(command, tmp_path, tmp_path / "other", [inside[0], outside[0]])
    assert "score" not in proofs.read_text()
    code, out, _ = command("attest", "check", tmp_path / "other", proofs)
    assert code == 0
