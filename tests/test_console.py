"""What the command line says of bounds and claims."""

import pytest

from curation_audit.console import bound_lines, claim_lines
from curation_audit.results import to_plain
from tests.report.sample import claimed, sample_report, sparse_report


def test_each_stage_has_one_line_with_its_declared_bound():
    assert [*bound_lines(sample_report())] == [
        "scores: epsilon >= 1.97 (one run, 95%, delta 1e-5)",
        "selection: epsilon >= 0.0042 (one run, 95%, delta 1e-5)",
        "model: no bound on epsilon above 0 (one run, 95%, delta 1e-5)",
        "joint: epsilon >= 0.31 (pair mean, 95%, delta 1e-5)",
    ]
    assert [*bound_lines(sparse_report())] == []


def test_without_a_declared_method_no_other_takes_its_place():
    report = sample_report()
    results = report["bounds"][0]["results"]
    report["bounds"][0]["results"] = [one for one in results if one["hypothesis"]]
    assert next(bound_lines(report)) == "scores: no bound on epsilon without a hypothesis"


@pytest.mark.parametrize(
    ("claim", "line"),
    [
        (to_plain(claimed(mu=0.1)), "epsilon 0.341 at delta 1e-5: REFUTED by scores, joint"),
        (
            to_plain(claimed(mu=3.0)),
            "epsilon 16.7 at delta 1e-5: not refuted, which does not confirm it",
        ),
        (to_plain(claimed(mu=0.1)) | {"stages": []}, "epsilon 0.341 at delta 1e-5: not tested"),
        (to_plain(claimed(mu=0.1)) | {"epsilon": None}, "gaussian: REFUTED by scores, joint"),
    ],
)
def test_the_verdict_on_a_claim(claim, line):
    assert [*claim_lines({"claim": claim})] == [f"claim: {line}"]


def test_lines_fit_a_narrow_terminal():
    report = sample_report()
    assert all(len(line) <= 80 for line in (*bound_lines(report), *claim_lines(report)))
    assert [*claim_lines(sparse_report())] == []
