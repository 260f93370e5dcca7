import doctest
import json
import re
from itertools import pairwise

import pytest

from curation_audit.report import render_html, validate_report, words
from curation_audit.report.html import PARTS
from tests.report.page import Parsed, loads_nothing, section, without_figures
from tests.report.sample import LIMITS, sample_report, sample_run, sparse_report

FULL = render_html(sample_report(), sample_run())
SPARSE = render_html(sparse_report(), None)
PAGES = pytest.mark.parametrize("page", [FULL, SPARSE], ids=["full", "sparse"])
HOSTILE = "<script>alert(1)</script>\"'&$x^{"


@PAGES
def test_page_is_well_formed_and_its_ids_are_unique(page):
    parsed = Parsed(page)
    assert len(parsed.ids) == len(set(parsed.ids))
    assert set(parsed.labels) <= set(parsed.ids)
    links = [a["href"] for _, a in parsed.tags if "href" in a]
    assert {link.removeprefix("#") for link in links} <= set(parsed.ids)


@PAGES
def test_headings_are_in_order(page):
    levels = Parsed(page).headings
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


@PAGES
def test_page_loads_nothing_and_runs_one_script_that_it_names(page):
    loads_nothing(page)


@PAGES
def test_page_can_be_read_by_everyone(page):
    parsed = Parsed(page)
    tags = [tag for tag, _ in parsed.tags]
    assert ("html", {"lang": "en"}) in parsed.tags
    assert any(a.get("name") == "viewport" for _, a in parsed.tags)
    assert page[: page.index("</head>")].count("<title>") == 1
    assert tags.count("table") == tags.count("caption")
    assert all("scope" in a for tag, a in parsed.tags if tag == "th")
    assert all(a.get("aria-label") for tag, a in parsed.tags if tag == "svg")


def test_parts_come_in_order():
    """Context, data, identifiability, governance; what a reader decides on comes first."""
    order = ("summary", "plain", "contents", *(name for name, _ in PARTS), "appendix")
    places = [FULL.index(f'<h2 id="{name}"') for name in order]
    assert places == sorted(places)
    assert [f"{i}. {title}" in FULL for i, (_, title) in enumerate(PARTS, 1)] == [True] * len(PARTS)


def test_every_link_within_the_page_leads_somewhere():
    for page in (FULL, SPARSE):
        ids = set(re.findall(r'id="([^"]+)"', page))
        assert set(re.findall(r'href="#([^"]+)"', page)) <= ids


@PAGES
def test_every_stage_is_named_and_the_verdict_comes_first(page):
    text = Parsed(page).text
    for stage in ("scores", "selection", "model"):
        assert f"Stage: {stage}" in text
    assert min(text.index(s) for s in ("leak found", "audit invalid") if s in text) < 1000


@PAGES
def test_page_says_that_it_is_no_private_release_and_promises_nothing(page):
    assert page.count("computed on private data and is not itself differentially private") == 2


def test_every_attack_stands_in_the_page_with_its_reason_not_to_run():
    for stage in sample_report()["stages"]:
        for attack in stage["attacks"]:
            assert attack["attack"] in FULL
    assert "not applicable: needs linear scorer" in FULL


def test_numbers_are_shown_as_they_were_measured():
    metrics = sample_report()["stages"][0]["headline"]["metrics"]
    text = Parsed(FULL).text
    for number in metrics["auc"]["value"], metrics["auc"]["low"], metrics["auc"]["high"]:
        assert f"{number:.3f}" in text
    assert words.percent(metrics["tpr_at_fpr"][1]["tpr"]["value"]) in text
    assert words.percent(metrics["tpr_at_fpr"][1]["realised_fpr"]) in text


def test_predictive_values_stand_under_their_priors():
    point = sample_report()["stages"][0]["headline"]["metrics"]["tpr_at_fpr"][1]
    told = section(FULL, "How far a name can be believed", "Whether a name holds")
    places = [told.index(f"{share} are members") for share in ("0.1 %", "1 %", "10 %", "50 %")]
    assert places == sorted(places)
    for precision in point["precision"]:
        for end in ("value", "low", "high"):
            assert words.percent(precision["ppv"][end]) in told


def test_flip_rates_and_coin_flips_are_shown():
    point = sample_report()["stages"][0]["headline"]["metrics"]["tpr_at_fpr"][1]
    told = section(FULL, "Whether a name holds", "ROC curve")
    assert words.percent(point["stability"]["flip_rate"]["value"]) in told
    assert words.percent(point["stability"]["coin_flips"]) in told


def test_worst_records_are_shown_by_keyed_id_alone():
    records = sample_report()["stages"][0]["headline"]["records"]
    told = section(FULL, "Single records", "Groups of candidates")
    assert "4 of 200 candidates are exposed above chance" in told
    assert "For 12 % of the candidates the evidence was the same whether they were in" in told
    for record in records["worst"]:
        assert record["id"] in told
        assert f"{record['exposure']['value']:.3f}" in told
    assert "none kept" in section(SPARSE, "Single records", "Groups of candidates")


def test_groups_are_shown_with_their_warning_and_small_ones_without_numbers():
    groups = sample_report()["stages"][0]["headline"]["subgroups"]
    told = section(FULL, "Groups of candidates", "All attacks at the stage scores")
    assert "The largest AUC is that of site: west wing" in told
    assert "not corrected for their number" in told
    assert told.count("too few to show") == 2
    for one in groups["slices"]:
        assert one["group"] in told
        if one["auc"] is not None:
            assert f"{one['auc']['value']:.3f}" in told
    assert "neither labels nor groups" in section(SPARSE, "Groups of candidates", "All attacks")


@pytest.mark.parametrize("estimand", ["these candidates", "new candidates too"])
def test_what_the_interval_of_the_auc_is_about_is_said(estimand):
    report = sample_report()
    for stage in report["stages"]:
        stage["headline"]["metrics"]["auc_estimand"] = estimand
    assert ("new candidates of the same kind" in without_figures(report)) == (
        estimand == "new candidates too"
    )


def test_what_was_not_measured_is_told_in_words():
    text = Parsed(SPARSE).text
    for phrase in (
        "not measured", "not resolvable", "not observed", "no attack could run", "none given",
        "none kept",
        "Not measured: there is no labelled test set", "(run.json) was not at hand",
    ):  # fmt: skip
        assert phrase in text
    assert "None" not in SPARSE.replace("None.", "")
    assert "nan" not in re.findall(r"\w+", text.lower())


def test_not_resolvable_is_never_a_zero():
    report = sample_report()
    for stage in report["stages"]:
        points = stage["headline"]["metrics"]["tpr_at_fpr"]
        points[1] = points[0] | {"fpr": 0.01}
    text = Parsed(without_figures(report)).text
    row = text[text.index("Headline attack") : text.index("In plain words")]
    assert row.count("not resolvable") == 4
    assert "0 %" not in row.replace("FPR 1 %", "")


def test_missing_operating_point_and_missing_curves_are_told_in_words():
    report = sample_report()
    stage = report["stages"][2]
    stage["headline"]["metrics"]["tpr_at_fpr"] = []
    for attack in stage["attacks"]:
        attack |= {"roc": None, "candidate_risk": None}
    validate_report(report)
    text = Parsed(render_html(report, None)).text
    assert "ROC curve: not measured" in text
    assert "Risk per candidate: not measured" in text


def test_invalid_audit_warns_and_shows_the_failed_control():
    text = Parsed(SPARSE).text
    assert "Do not rely on any number below" in text
    assert "a control failed" in text
    assert "<details open>" in SPARSE
    assert "<details open>" not in FULL


@pytest.mark.parametrize(
    ("curated", "phrase"),
    [
        (0.95, "better than random picks"),
        (0.8, "not told apart from random picks"),
        (0.5, "worse than random picks"),
    ],
)
def test_utility_is_told_plainly(curated, phrase):
    report = sample_report()
    report["utility"]["curated"] = curated
    assert phrase in without_figures(report)


def hostile(value):
    """Every free word of a report made hostile; numbers and words of the schema are kept."""
    if isinstance(value, dict):
        return {key: hostile(item) for key, item in value.items()}
    if isinstance(value, list):
        return [hostile(item) for item in value]
    free = isinstance(value, str) and value not in FIXED and not re.fullmatch(KEYED, value)
    return HOSTILE if free else value


KEYED = "[0-9a-f]{16}"  # the schema keeps ids to that
FIXED = {
    "scores", "selection", "model", "joint", "attacked", "not observed", "run", "not applicable",
    "resolved", "not resolvable", "estimate", "random curation", "permuted inclusion",
    "blind classifier", "value", "low", "high", "leak found", "these candidates",
    "new candidates too", "exact", "confidences", "bound", "add_remove", "gaussian", "not run",
    "covered", "partly", "not covered", "fraction", "nats",
    *(one["name"] for one in sample_report()["numbers"]),
    *(method for methods in LIMITS.values() for method in methods),
}  # fmt: skip


def test_hostile_words_are_escaped():
    report, run = hostile(sample_report()), hostile(sample_run())
    validate_report(report)
    page = render_html(report, run)
    parsed = Parsed(page)
    assert [tag for tag, _ in parsed.tags].count("script") == 1
    assert HOSTILE in parsed.text
    assert page.count("<script") == 1


def test_rendering_is_deterministic_and_changes_nothing():
    report, run = sample_report(), sample_run()
    assert render_html(report, run) == FULL
    assert json.dumps(report) == json.dumps(sample_report())
    assert json.dumps(run) == json.dumps(sample_run())


def test_reasons_not_to_run_read_the_same_however_they_are_written():
    told = "not applicable: needs labels"
    for reason in ("needs labels", "not applicable: needs labels", None):
        assert words.needs({"reason": reason, "needs": ["labels"]}) == told


def test_doctests_of_words():
    assert doctest.testmod(words).failed == 0


def test_tables_that_can_be_sorted_have_a_head_and_no_button_of_their_own():
    parsed = Parsed(FULL)
    classes = [a.get("class", "").split() for tag, a in parsed.tags if tag == "table"]
    assert sum("sortable" in one for one in classes) > 10
    assert not [one for one in classes if "sortable" in one and "pairs" in one]
    tags = FULL[: FULL.index("<script>")] + FULL[FULL.index("</script>") :]
    assert "<button" not in tags  # the script makes them, so that nothing is there without it
    for table in re.findall(r"<table class=\"[a-z ]*sortable\">.*?</table>", FULL, re.DOTALL):
        assert "<thead>" in table
        assert "rowspan" not in table


def test_colours_of_a_dark_screen_are_for_screens_only():
    style = FULL[FULL.index("<style>") : FULL.index("</style>")]
    assert "@media screen and (prefers-color-scheme: dark)" in style
    assert style.count("prefers-color-scheme") == 1
