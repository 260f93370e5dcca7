"""Cards of others: what they say, what they leave open, and whether epsilon follows."""

import json

import pytest
import yaml

from curation_audit.dp.event_codec import encoded
from curation_audit.dp.events import Gaussian, Zcdp
from curation_audit.dp.ledger import guarantee_of
from curation_audit.integrity.foreign_card import FIELDS, check_card, read_card
from curation_audit.integrity.verify_any import verify_any

GAUSSIAN = (Gaussian(mu=0.5, what="mean"),)
DELTA = 1e-5


def failures(findings):
    return {one.check for one in findings if one.status == "failed"}


REGISTRY = {
    "status": "Draft",
    "deployment": {
        "name": "x",
        "dp_flavor": {"name": "approximate DP", "input_metric": "Add or remove one",
                      "unprotected_quantities": "none"},
        "privacy_loss": {"privacy_unit": "user",
                         "privacy_parameters": {"epsilon": "2.2", "delta": 1e-6}},
        "model": {"model_name": "Central", "release_type": "One-shot"},
        "accounting": {"composition": "PLD"},
        "implementation": {"mechanisms": "DP-SGD", "noise_multiplier": 1.0, "sampling_rate": 0.01,
                           "steps": 1000, "pre_processing": "none"},
    },
}  # fmt: skip


def card_of(tmp_path, tree, name="card.yaml"):
    path = tmp_path / name
    path.write_text(json.dumps(tree) if name.endswith("json") else yaml.safe_dump(tree))
    return path


@pytest.mark.parametrize("name", ["card.yaml", "card.json", "card.yml"])
def test_a_card_of_the_registry_is_read_and_accounted_again(tmp_path, name):
    """Epsilon 2.12 by the accountant; 2.2 is loose by 4 %, and 1 is wrong."""
    findings = list(check_card(read_card(card_of(tmp_path, REGISTRY, name))))
    assert {one.status for one in findings} == {"ok"}
    assert {field.name for field in FIELDS} < {one.check for one in findings}
    assert "loose" in findings[-1].detail
    wrong = json.loads(json.dumps(REGISTRY))
    wrong["deployment"]["privacy_loss"]["privacy_parameters"]["epsilon"] = 1.0
    checked = verify_any(card_of(tmp_path, wrong, name), None)
    assert failures(checked.findings) == {"epsilon"}
    assert checked.exit_code == 1


def test_a_flat_card_says_what_it_leaves_open():
    findings = list(check_card({"epsilon": 2, "delta": "1.1e-10", "unit": "sequence"}))
    status = {one.check: one.status for one in findings}
    assert status["unit"] == status["epsilon"] == status["delta"] == "ok"
    for name in ("adjacency", "composition", "mechanism", "trust model", "definition",
                 "accounting"):  # fmt: skip
        assert status[name] == "not checked"
    assert not failures(findings)


@pytest.mark.parametrize(
    ("card", "check", "status", "told"),
    [
        ({"epsilon": "it varies"}, "epsilon", "not checked", "unclear"),
        ({"epsilon": [1, 2]}, "epsilon", "not checked", "unclear"),
        ({"epsilon": True}, "epsilon", "not checked", "unclear"),
        ({"epsilon": -1}, "epsilon", "not checked", "unclear"),
        ({"epsilon": "nan"}, "epsilon", "not checked", "unclear"),
        ({}, "epsilon", "not checked", "missing"),
        ({"epsilon": 1}, "delta", "not checked", "missing"),
        ({"delta": 1.0}, "delta", "failed", "guarantees nothing"),
        ({"delta": 0.01}, "delta", "not checked", "one unit in 100"),
        ({"unit": 3}, "unit", "not checked", "unclear"),
        ({"unit": False}, "unit", "not checked", "true or false"),
        ({"tuning": True}, "tuning", "not checked", "true or false"),
        ({"release_type": False}, "release type", "ok", "False"),
        ({"mechanism": " Unknown"}, "mechanism", "not checked", "missing"),
        ({"not_covered": "none"}, "unprotected quantities", "ok", "none"),
        ({"epsilon": 0.1, "privacy_loss": {"privacy_parameters": {"epsilon": 8}}}, "epsilon",
         "failed", "0.1, 8"),
        ({"epsilon": "0.1", "implementation": {"epsilon": 0.1}}, "epsilon", "ok", "0.1"),
        ({"delta": 1e-9, "implementation": {"delta": 1e-5}}, "delta", "failed", "contradicts"),
        ({"steps": 10, "implementation": {"steps": 1000}}, "steps", "failed", "contradicts"),
        ({"definition": "Pure DP", "mu": 1.0, "epsilon": 1}, "definition", "failed", "Gaussian"),
        ({"definition": "pure", "mechanism": "discrete Gaussian"}, "definition", "failed",
         "Gaussian"),
        ({"mu": 1.0}, "accounting", "not checked", "must be numbers"),
        ({"mu": 1.0, "epsilon": 1, "delta": 1e-5, "adjacency": "?"}, "accounting", "not checked",
         "adjacency"),
    ],
)  # fmt: skip
def test_what_is_missing_unclear_or_empty_is_told(card, check, status, told):
    found = [one for one in check_card(card) if one.check == check and one.status == status]
    assert any(told in one.detail for one in found)


@pytest.mark.parametrize(
    ("parameters", "events"),
    [
        ({"mu": 0.5}, GAUSSIAN),
        ({"rho": 0.1}, (Zcdp(rho=0.1, what="x"),)),
        ({"coded_events": [encoded(one) for one in GAUSSIAN]}, GAUSSIAN),
    ],
)
@pytest.mark.parametrize("adjacency", ["zero out", "replace_one"])
def test_any_parameters_that_suffice_are_accounted(parameters, events, adjacency):
    known = adjacency.replace(" ", "_")
    epsilon = guarantee_of(events, known).epsilon_at(DELTA)
    card = {"epsilon": epsilon, "delta": DELTA, "adjacency": adjacency, **parameters}
    assert list(check_card(card))[-1].status == "ok"
    assert list(check_card(card | {"epsilon": epsilon * 0.9}))[-1].status == "failed"


def test_a_number_beside_the_deployment_counts(tmp_path):
    path = card_of(tmp_path, {"epsilon": 0.1, **REGISTRY})
    assert "epsilon" in failures(check_card(read_card(path)))


def test_one_number_in_several_places_is_one():
    card = {"epsilon": 1, "delta": 1e-5, "privacy_loss": {"privacy_parameters": {"epsilon": "1.0"}}}
    assert not failures(check_card(card))


def test_pure_dp_needs_no_delta():
    findings = list(check_card({"epsilon": 1.0, "definition": "Pure DP"}))
    assert "delta" not in {one.check for one in findings}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "!!python/object/apply:os.system ['true']"), ("a.yaml", "a: [b"),
        ("a.json", "{"),
        ("a.yaml", "- a"), ("a.json", "[]"), ("a.json", '{"a": 1, "a": 2}'), ("a.yaml", "[" * 9999),
        ("a.json", "x" * (1 << 21)),
        ("a.yaml", "steps: 1.5\nnoise_multiplier: 1\nsampling_rate: 1"),
        ("a.json", '{"steps": 1e12, "noise_multiplier": 1, "sampling_rate": 1}'),
        ("a.json", '{"steps": 10, "noise_multiplier": 0, "sampling_rate": 1}'),
        ("a.json", '{"coded_events": {"a": 1}}'),
        ("a.yaml", "a: &a [x, x]\nb: &b [*a, *a]\ndefinition: [*b, *b]"),
        ("a.yaml", "unit: a\nunit: b"),
    ],
)  # fmt: skip
def test_what_is_no_card_ends_in_one_line(tmp_path, command, name, text):
    (tmp_path / name).write_text(text)
    code, out, err = command("verify", tmp_path / name)
    assert code == 1, err
    assert "FAILED" in out
    assert "Traceback" not in out + err


def test_a_card_carries_no_signature(tmp_path, command):
    command("keygen", tmp_path / "sign.pem")
    path = card_of(tmp_path, REGISTRY)
    code, _, err = command("verify", path, "--key", tmp_path / "sign.pem.pub")
    assert (code, len(err.splitlines())) == (2, 1)
    code, out, _ = command("verify", path)
    assert code == 0
    assert "nothing is signed" in out
    assert "verified" not in out
