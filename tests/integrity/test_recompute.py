"""Every number that the evidence gives is computed again; one that it does not give is found."""

import os

import numpy as np
import pytest

from curation_audit.integrity.verify import verify_run
from curation_audit.storage import pack_arrays, unpack_arrays
from tests.integrity.finished import PINNED, edited, failures, found


def test_other_evidence_is_found(signed):
    arrays = unpack_arrays((signed / "evidence.npz").read_bytes())
    name = next(one for one in arrays if one.startswith("evidence_"))
    arrays[name] = arrays[name] + np.linspace(0, 1, arrays[name].shape[1])
    (signed / "evidence.npz").write_bytes(pack_arrays(arrays))
    checked = verify_run(signed, PINNED)
    assert "evidence file" in failures(checked)
    assert any(one.startswith("stage ") for one in failures(checked))


@pytest.mark.parametrize(
    ("place", "check"),
    [
        (("stages", 0, "headline", "metrics", "auc", "value"), "stage scores"),
        (("stages", 0, "headline", "metrics", "auc", "low"), "stage scores"),
        (("stages", 1, "headline", "metrics", "advantage", "high"), "stage selection"),
        (("stages", 0, "attacks", 1, "metrics", "auc", "value"), "stage scores"),
        (("stages", 0, "attacks", 1, "roc", "tpr", 3), "stage scores"),
        (("stages", 0, "headline", "metrics", "tpr_at_fpr", 0, "tpr", "value"), "rates"),
        (("stages", 0, "headline", "records", "worst", 0, "exposure", "value"), "stage scores"),
        (("controls", "results", 3, "p_value"), "controls"),
        (("bounds", 0, "pair_share"), "bounds"),
        (("bounds", 0, "results", 0, "epsilon"), "bounds"),
        (("bounds", 1, "results", -1, "epsilon"), "bounds from counts"),
        (("policy", 0, "measured"), "policy"),
        (("numbers", 0, "value"), "headline numbers"),
    ],
)
def test_a_number_that_the_evidence_does_not_give_is_found(run, place, check):
    """Without a manifest, and changed by a thousandth only."""

    def change(report):
        for part in place[:-1]:
            report = report[part]
        assert isinstance(report[place[-1]], float)
        report[place[-1]] = report[place[-1]] * 0.999 or 0.001

    edited(run, change)
    assert check in failures(verify_run(run, None))


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (lambda report: report["verdict"].update(status="no leak found"), "verdict"),
        (lambda report: report["policy"].clear(), "verdict"),
        (lambda report: report.update(seed=12), "coins"),
        (lambda report: report["controls"].update(n_tests=6), "controls"),
        (lambda report: report["controls"].update(family_wise_level=0.01), "controls"),
        (lambda report: report["stages"][0]["headline"].update(attack="trace"), "stage scores"),
        (lambda report: report["bounds"][0]["results"][2]["counts"].update(right=1), "bounds"),
        (lambda report: report["design"].update(n_candidates=23), "coins"),
        (lambda report: report["stages"][0]["attacks"].pop(), "controls"),
    ],
)
def test_a_word_or_a_count_that_does_not_follow_is_found(run, change, check):
    edited(run, change)
    assert check in failures(verify_run(run, None))


@pytest.mark.parametrize("kind", ["empty", "zip", "missing", "shape", "type", "link", "pipe"])
def test_evidence_that_is_none_fails_in_one_line(run, kind, tmp_path):
    path = run / "evidence.npz"
    arrays = unpack_arrays(path.read_bytes())
    first = next(one for one in arrays if one.startswith("fitted_"))
    path.unlink()
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "zip":
        path.write_bytes(b"PK\x03\x04" + bytes(100))
    elif kind == "link":
        path.symlink_to(tmp_path / "x.npz")
        (tmp_path / "x.npz").write_bytes(pack_arrays(arrays))
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        change = {"missing": None, "shape": arrays[first][:3], "type": np.array(["x"])}[kind]
        kept = {name: one for name, one in arrays.items() if name != first}
        path.write_bytes(pack_arrays(kept if change is None else kept | {first: change}))
    checked = verify_run(run, None)
    assert failures(checked) == {"evidence"} or checked.exit_code == 1
    assert all("\n" not in one.detail for one in checked.findings)


def test_a_run_of_an_older_version_says_what_it_did_not_keep(run):
    arrays = unpack_arrays((run / "evidence.npz").read_bytes())
    old = {name: arrays[name] for name in arrays if name.startswith(("evidence_", "inc", "cand"))}
    (run / "evidence.npz").write_bytes(pack_arrays(old))
    checked = verify_run(run, None)
    assert checked.exit_code == 0
    assert found(checked, "numbers") == {"not checked"}


def test_no_coins_are_drawn_for_what_the_evidence_has_not(run, monkeypatch):
    def drawn(*_):
        raise AssertionError("coins were drawn")

    monkeypatch.setattr("curation_audit.integrity.recompute.paired_inclusion", drawn)
    edited(run, lambda report: report["design"].update(n_shadows=10**7, n_candidates=10**6))
    assert failures(verify_run(run, None)) >= {"coins"}


def test_numbers_that_need_too_much_memory_are_not_taken_for_right(run, monkeypatch):
    def too_large(*_):
        raise MemoryError

    monkeypatch.setattr("curation_audit.integrity.recompute.paired_inclusion", too_large)
    assert failures(verify_run(run, None)) == {"evidence"}


def test_an_attack_that_ran_and_is_left_out_is_missed(run):
    edited(run, lambda report: report["stages"][0]["attacks"].pop())
    assert "attacks" in failures(verify_run(run, None))


@pytest.mark.parametrize("name", ["n_pairs", "smallest_fpr", "mean_rows_per_shadow"])
def test_the_design_follows_from_shadows_and_candidates(run, name):
    (run / "evidence.npz").unlink()
    assert found(verify_run(run, None), "design") == {"ok", "not checked"}
    edited(run, lambda report: report["design"].update({name: report["design"][name] + 1}))
    checked = verify_run(run, None)
    assert failures(checked) == {"design"}
    told = " ".join(one.detail for one in checked.findings if one.check == "design")
    for open_one in ("n_pool", "picked", "production_rows", "threat.may_insert"):
        assert open_one in told
