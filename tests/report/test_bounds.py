"""Which number the page calls a bound, and how it tells of a claim."""

import re

import pytest

from curation_audit.auditing.plan import Threat
from curation_audit.report import validate_report, words
from curation_audit.results import to_plain
from tests.report.page import Parsed, section, without_figures
from tests.report.sample import claimed, sample_report, sparse_report

FULL = without_figures(sample_report())
SPARSE = without_figures(sparse_report())


def rows(page, table):
    """The rows of one table, as words."""
    body = page[page.index(f'id="{table}"') :]
    body = body[: body.index("</table>")]
    texts = (re.sub(r"<[^>]*>", " ", row) for row in re.findall(r"<tr>.*?</tr>", body, re.DOTALL))
    return [" ".join(text.split()) for text in texts]


def with_claim(**changes):
    report = sample_report()
    report["claim"] = to_plain(claimed(mu=3.0)) | changes
    validate_report(report)
    return without_figures(report)


def test_nothing_else_is_called_a_bound():
    told = Parsed(FULL).outside
    assert told.count("bound, delta 1e-5") == 3  # cells of the summary; the model shows nothing
    for phrase in (
        "bound, delta 1e-5", "no estimate but a lower bound: no guarantee",
        "Lower bound on epsilon",
    ):  # fmt: skip
        assert phrase in told
        told = told.replace(phrase, "")
    assert "bound" not in told.lower()
    assert "bound" not in Parsed(SPARSE).outside.lower()


def test_every_line_is_a_bound_or_an_estimate_and_shows_what_it_rests_on():
    bounds = sample_report()["bounds"][0]
    _, *lines = rows(FULL, "bounds-scores")
    assert len(lines) == len(bounds["results"]) == 7
    for line, one in zip(lines, bounds["results"], strict=True):
        kind = "estimate" if one["method"] == "joint beta" else "bound"
        assert line.startswith(f"{one['method']} {kind}")
        for text in (
            words.epsilon(one["epsilon"]), words.epsilon(one["resolution"]), "1e-5", "95 %",
            one["hypothesis"] or "none", one["condition"], words.tally(one["counts"]),
        ):  # fmt: skip
            assert text in line
    assert sum("declared beforehand" in line for line in lines) == 1
    assert "add or remove one record" in section(FULL, "Epsilon at least, by each", "Method")


@pytest.mark.parametrize(
    ("unit", "told"),
    [
        ("row", "add or remove one record"),
        ("canary", "add or remove one record"),
        ("patient", "add or remove all records of one patient"),
    ],
)
def test_adjacency_is_that_of_the_unit_whose_coins_are_thrown(unit, told):
    report = sample_report()
    report["design"]["unit"] = unit
    page = without_figures(report)
    assert page.count(told) >= 8  # the sentence and the table of each stage with bounds
    assert ("remove one record" in page) == (unit != "patient")


def test_the_sentence_of_a_stage_is_about_the_declared_bound_not_about_the_largest():
    told = " ".join(section(FULL, "How much privacy is missing", "All 7 lower").split())
    assert (
        "With 95 % confidence no guarantee with epsilon below 1.97 at delta 1e-5 (adjacency: add "
        "or remove one record) holds for these scores." in told
    )
    assert "a perfect attack would have shown 3.56" in told
    assert "1.98" not in told  # 1.9789 is rounded down
    assert "3.90" not in told


def test_a_bound_of_zero_reads_nothing_shown_and_not_private():
    lines = rows(FULL, "summary-table")
    shown = {line.split()[0]: line for line in lines[1:]}
    assert "nothing shown" in shown["model"]
    assert " 0.0042 bound" in shown["selection"]
    told = FULL[FULL.index('id="stage-model"') :]
    assert "shows nothing about epsilon" in told
    assert "That is not the same as private" in told
    assert "below nothing" not in FULL


@pytest.mark.parametrize("value", [1e-9, 0.0042, 0.009999, 0.01, 0.29, 1.9999, 12.345, 700.0])
def test_an_epsilon_is_never_overstated_and_hardly_understated(value):
    told = float(words.epsilon(value))
    assert 0.9 * value < told <= value


@pytest.mark.parametrize("method", ["one run", "pair mean", None])
def test_what_is_declared_hangs_on_no_result(method):
    bounds = sample_report()["bounds"][0]
    order = [name for name in words.DECLARED_METHODS if name != method]
    bounds["results"] = [one for one in bounds["results"] if one["method"] not in order]
    declared = words.declared_bound(bounds)
    assert (declared and declared["method"]) == method
    for one in bounds["results"]:
        one["epsilon"] = 0.0 if one["method"] == method else one["resolution"]
    assert words.declared_bound(bounds) is declared


def test_declared_methods_need_no_hypothesis():
    for bounds in sample_report()["bounds"]:
        declared = words.declared_bound(bounds)
        assert declared is not None
        assert (declared["hypothesis"], declared["label"]) == (None, "bound")
    assert words.declared_bound(sample_report()["bounds"][3])["method"] == "pair mean"


def test_size_and_confidence_of_several_bounds_are_said():
    told = " ".join(section(FULL, "How to read epsilon", "The release policy").split())
    assert "100 private rows, not 200" in told
    assert "Each holds at 95 % on its own" in told
    assert "at least one of the 4 is wrong may be 4 times" in told


def test_without_bounds_the_page_says_so():
    assert "Lower bound on epsilon: not measured" in Parsed(SPARSE).text
    assert "Epsilon at least" not in SPARSE
    assert "How to read epsilon" not in SPARSE


def test_a_refuted_claim_is_told_at_the_top():
    summary = " ".join(section(FULL, "Summary", "The strongest attack").split())
    assert "Claimed guarantee (epsilon 0.341 at delta 1e-5, add or remove one record)" in summary
    assert "refuted by scores, joint" in summary
    assert "not refuted" not in summary
    assert FULL.index("The claimed guarantee is refuted.") < FULL.index('id="summary"')


def test_a_claim_is_shown_with_its_constants_ceilings_and_every_stage():
    claim = sample_report()["claim"]
    told = rows(FULL, "claim-table")
    for line in (
        "Kind Gaussian differential privacy", "Claimed mu 0.1",
        "Adjacency add or remove one record", f"Ceiling of the AUC {claim['auc']:.3f}",
        f"Ceiling of the advantage {claim['advantage']:.3f}",
        *(f"Ceiling of the TPR at FPR {words.percent(fpr)} "
          f"{words.percent(words.ceiling_at(claim, fpr))}" for fpr in (0.001, 0.01, 0.1)),
    ):  # fmt: skip
        assert line in told
    _, *stages = rows(FULL, "claim-stages-table")
    assert [line.split()[0] for line in stages] == ["scores", "selection", "model", "joint"]
    assert ["not refuted" in line for line in stages] == [False, True, True, False]


def test_not_refuted_is_not_confirmed():
    page = with_claim()
    assert "refuted</strong>, which does not confirm it" in page
    assert "That does not confirm it" in page
    assert "Refuted." not in page


def test_an_untested_claim_is_neither_refuted_nor_not():
    told = Parsed(with_claim(stages=[], epsilon=None)).text
    assert "not tested" in section(with_claim(stages=[]), "Summary", "The strongest attack")
    assert "the claim says nothing at this delta" in told
    assert "not refuted" not in told.lower()


def test_without_a_claim_nothing_is_said_of_one():
    told = Parsed(SPARSE).text
    assert "no guarantee is claimed for it" in told
    for part in ("Summary", "6. Results"):  # the crosswalk asks about claims in any report
        assert "claim" not in section(SPARSE, part, "7. Differential privacy").lower()
    assert "claimed ceiling" not in SPARSE


def test_ceilings_are_looked_up_at_measured_rates_only():
    claim = sample_report()["claim"]
    assert words.ceiling_at(claim, 0.01) == claim["tpr"][claim["fpr"].index(0.01)]
    assert words.ceiling_at(claim, 0.0123) is None


def test_the_default_adversary_is_that_of_the_audit():
    assert words.deviations(to_plain(Threat())) == []
    assert "the one that the tool supposes where nothing is said" in FULL


def test_what_deviates_is_stressed_and_nothing_else():
    threat = Threat(
        scores_as="rounded", decimals=1, model_as="labels", embedding="surrogate", may_insert=1200,
        queries=50, knows=("algorithm", "candidates", "other candidates", "pool", "memberships"),
    )  # fmt: skip
    report = sample_report() | {"threat": to_plain(threat)}
    told = section(without_figures(report), "Threat model", "Everything that the adversary")
    assert len(words.deviations(report["threat"])) == 7
    for phrase in (
        "does not know: labels", "also knows: memberships", "rounded to 1 decimals",
        "only the likeliest class", "a random projection", "plant 1,200 rows", "at most 50 queries",
    ):  # fmt: skip
        assert phrase in told


def test_every_word_that_may_be_granted_is_explained():
    from typing import get_args

    from curation_audit.auditing.plan import Knows

    shown = {
        re.split(r" (?:how|who|the|all|whether) ", line)[0] for line in rows(FULL, "knows-table")
    }
    assert set(get_args(Knows)) <= shown
    assert {"scores_as", "model_as", "embedding", "may_insert", "queries"} <= shown
