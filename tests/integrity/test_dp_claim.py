"""Printed guarantees against the accountant, in reports, in releases and in cards of others."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from curation_audit.checks import InputError
from curation_audit.dp.claims import GaussianClaim
from curation_audit.dp.event_codec import encoded
from curation_audit.dp.events import Gaussian, PoissonGaussian
from curation_audit.dp.ledger import Ledger, guarantee_of
from curation_audit.integrity.dp_claim import check_guarantee, check_protection, events_of
from curation_audit.integrity.report_claim import check_fine_tuning
from curation_audit.integrity.verify import verify_run
from curation_audit.integrity.verify_any import verify_any
from curation_audit.storage import code_digest, pack_arrays, unpack_arrays
from tests.integrity.finished import edited, make_release, release_facts, report_of, write_report

GAUSSIAN = (Gaussian(mu=0.5, what="mean"),)
DELTA = 1e-5
EPSILON = guarantee_of(GAUSSIAN, "zero_out").epsilon_at(DELTA)


def failures(findings):
    return {one.check for one in findings if one.status == "failed"}


def facts(**changes):
    ledger = Ledger("zero_out", "patient", GAUSSIAN)
    return {
        "epsilon": EPSILON,
        "delta": DELTA,
        "unit": "patient",
        "adjacency": "zero_out",
        "events": list(ledger.lines(DELTA)),
        "coded_events": [encoded(one) for one in GAUSSIAN],
    } | changes


def test_the_accountants_epsilon_is_a_known_one():
    """Balle & Wang 2018: mu = .5 at delta 1e-5, by the closed form of Gaussian DP."""
    mu, eps = 0.5, EPSILON
    above, below = norm.cdf(mu / 2 - eps / mu), norm.cdf(-mu / 2 - eps / mu)
    assert above - math.exp(eps) * below == pytest.approx(DELTA, rel=1e-6)


@pytest.mark.parametrize(
    ("factor", "status", "told"),
    [(1.0, "ok", ""), (0.999, "failed", "claimed"), (1.0 - 1e-8, "ok", ""), (1.5, "ok", "loose")],
)
def test_a_smaller_epsilon_is_wrong_and_a_larger_one_loose(factor, status, told):
    found = check_guarantee(GAUSSIAN, "zero_out", EPSILON * factor, DELTA)
    assert found.status == status
    assert told in found.detail
    assert ("loose" in found.detail) == (factor == 1.5)


def test_no_number_at_all_is_wrong():
    assert check_guarantee(GAUSSIAN, "zero_out", float("nan"), DELTA).status == "failed"
    assert check_guarantee(GAUSSIAN, "sideways", 1.0, DELTA).status == "not checked"


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({}, set()),
        ({"epsilon": EPSILON / 2}, {"epsilon"}),
        ({"delta": 1e-9}, {"epsilon", "ledger"}),
        ({"unit": "visit"}, {"ledger"}),
        ({"adjacency": "add_remove"}, {"ledger"}),
        ({"events": ["adjacency: zero_out"]}, {"ledger"}),
        ({"coded_events": []}, {"epsilon"}),
        ({"coded_events": [encoded(Gaussian(mu=0.6, what="mean"))]}, {"epsilon", "ledger"}),
        ({"coded_events": [encoded(one) for one in GAUSSIAN * 2]}, {"epsilon", "ledger"}),
    ],
)
def test_epsilon_delta_unit_and_adjacency_follow_from_the_events(change, wrong):
    assert failures(check_protection(facts(**change))) == wrong


def test_what_is_kept_as_text_only_is_left_open():
    old = facts()
    del old["coded_events"]
    assert [one.status for one in check_protection(old)] == ["not checked", "ok"]
    assert [one.status for one in check_protection(facts(epsilon=None))] == ["not checked"]


@pytest.mark.parametrize(
    "change",
    [{"epsilon": 0.1}, {"epsilon": EPSILON * 2}, {"delta": 1e-9}, {"unit": "visit"},
     {"adjacency": "add_remove"}, {"events": []}],
)  # fmt: skip
def test_without_events_the_printed_ledger_still_binds(change):
    old = facts(**change)
    del old["coded_events"]
    assert failures(check_protection(old)) == {"ledger"}


def test_events_that_were_taken_out_are_missed():
    """Every version that knows of events writes them wherever there is an epsilon."""
    assert failures(check_protection(facts(coded_events=None))) == {"epsilon"}
    old = facts(tool={"code_digest": code_digest()})
    del old["coded_events"]
    assert failures(check_protection(old)) == {"epsilon"}


def test_a_release_that_prints_another_epsilon_is_found(tmp_path):
    lie = release_facts(epsilon=0.01)
    del lie["coded_events"]
    make_release(lie).save(tmp_path / "lie.npz")
    assert failures(verify_any(tmp_path / "lie.npz", None).findings) == {"ledger"}


def nested(depth):
    event = encoded(GAUSSIAN[0])
    for _ in range(depth):
        event = {"kind": "repeat_and_select", "events": [event], "mean": 2.0, "shape": 1.0,
                 "what": "x"}  # fmt: skip
    return event


@pytest.mark.parametrize(
    "coded",
    [
        "x", 3, [{}], [{"kind": "pickle"}], [{"kind": "gaussian", "mu": -1, "what": ""}],
        [{"kind": "gaussian", "mu": 1.0, "what": "x", "more": 1}],
        [encoded(GAUSSIAN[0])] * 1001, [nested(100_000)],
        [{"kind": "repeat_and_select", "events": [encoded(GAUSSIAN[0])] * 1000}],
        [encoded(PoissonGaussian(noise_multiplier=1.0, sampling_rate=0.1, steps=10**8, what="x"))],
    ],
)  # fmt: skip
def test_events_that_are_none_or_too_many_are_refused(coded):
    with pytest.raises(InputError) as refused:
        events_of(coded)
    assert "\n" not in str(refused.value)


# --- reports of private runs


def test_a_private_run_holds_what_an_accountant_needs(private_run):
    checked = verify_run(private_run, None)
    assert failures(checked.findings) == set()
    fine = {one.check for one in checked.findings if one.status == "ok"}
    assert {"epsilon", "ledger", "claimed ceilings", "claim", "settings"} - fine == {"settings"}


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (lambda report: report["protection"].update(epsilon=0.5), "epsilon"),
        (lambda report: report["protection"].update(unit="visit"), "ledger"),
        (lambda report: report["protection"].update(adjacency="add_remove"), "claimed ceilings"),
        (lambda report: report["claim"].update(epsilon=0.5), "claimed ceilings"),
        (lambda report: report["claim"].update(auc=0.51), "claimed ceilings"),
        (lambda report: report["claim"]["constants"].update(mu=0.1), "claimed ceilings"),
        (lambda report: report["claim"]["stages"][0].update(pair_share_low=0.4), "claim"),
    ],
)
def test_a_wrong_claim_of_a_report_is_found(private_run, change, wrong):
    report = report_of(private_run)
    change(report)
    write_report(private_run, report)
    assert wrong in failures(verify_run(private_run, None).findings)


def claimed_without_events(report):
    report["protection"].update(coded_events=None, epsilon=0.1)
    report["claim"] = None


def claim_of_less(report):
    claim, stated = GaussianClaim(mu=0.05, adjacency="zero_out"), report["claim"]
    stated.update(
        constants={"mu": 0.05}, epsilon=claim.epsilon_at(stated["delta"]), auc=claim.auc(),
        advantage=claim.advantage(), pair_share=claim.pair_share(),
        tpr=claim.tpr(np.array(stated["fpr"])).tolist(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (claimed_without_events, {"epsilon", "ledger", "claimed ceilings"}),
        (lambda report: report.update(claim=None), {"claimed ceilings"}),
        (claim_of_less, {"claimed ceilings"}),
        (lambda report: report["claim"].update(kind="composed", constants={}),
         {"claimed ceilings"}),
        (lambda report: report["configuration"]["protect"].update(epsilon=8.0), {"budget"}),
        (lambda report: report["configuration"]["protect"].update(delta=1e-6),
         {"configured privacy"}),
        (lambda report: report["configuration"]["protect"].update(mechanism="ulsif"),
         {"configured privacy"}),
        (lambda report: report["configuration"]["protect"].update(adjacency="add_remove"),
         {"configured privacy"}),
    ],
)  # fmt: skip
def test_claim_events_and_configuration_hang_together(private_run, change, wrong):
    (private_run / "evidence.npz").unlink()
    edited(private_run, change)
    checked = verify_run(private_run, None)
    assert wrong <= failures(checked.findings) <= {*wrong, "headline numbers"}


def test_what_the_configuration_does_not_state_is_left_open(private_run):
    (private_run / "evidence.npz").unlink()
    edited(private_run, lambda report: report["configuration"].pop("protect"))
    status = {one.check: one.status for one in verify_run(private_run, None).findings}
    assert status["configured privacy"] == status["unit"] == "not checked"


def fine_tuned(**changes):
    last = PoissonGaussian(noise_multiplier=1.0, sampling_rate=0.1, steps=10, what="model")
    both, spent = (*GAUSSIAN, last), {"adjacency": "zero_out", "delta": DELTA, "unit": "patient"}
    told = spent | {
        "epsilon": guarantee_of((last,), "zero_out").epsilon_at(DELTA),
        "curation_epsilon": EPSILON,
        "joint_epsilon": guarantee_of(both, "zero_out").epsilon_at(DELTA),
        "noise_multiplier": 1.0, "sampling_rate": 0.1, "steps": 10,
    }  # fmt: skip
    own = spent | {"coded_events": [encoded(one) for one in both]}
    return {"fine_tuning": told | changes, "protection": own}


@pytest.mark.parametrize(
    ("change", "status"),
    [({}, "ok"), ({"epsilon": 0.1}, "failed"), ({"curation_epsilon": 0.1}, "failed"),
     ({"joint_epsilon": 0.1}, "failed"), ({"steps": 9}, "failed"), ({"unit": "row"}, "failed"),
     ({"joint_epsilon": None}, "not checked")],
)  # fmt: skip
def test_what_fine_tuning_spends_follows_from_its_event(change, status):
    assert [one.status for one in check_fine_tuning(fine_tuned(**change))] == [status]


def test_a_claim_that_shares_its_confidence_with_others_is_judged_so(private_run):
    """The run is one of three of a sweep; as one alone its limits would be others."""
    path = private_run / "evidence.npz"
    arrays = unpack_arrays(path.read_bytes())
    assert arrays["n_claims"] == 3
    path.write_bytes(pack_arrays(arrays | {"n_claims": np.array(1)}))
    assert failures(verify_run(private_run, None).findings) == {"claim"}


def test_a_wrong_epsilon_in_a_card_is_found(private_run):
    path = private_run / "release" / "card.md"
    epsilon = f"{report_of(private_run)['protection']['epsilon']:.3f}"
    text = path.read_text()
    assert epsilon in text
    path.write_text(text.replace(epsilon, "0.100"))
    assert failures(verify_run(private_run, None).findings) == {"card.md"}
