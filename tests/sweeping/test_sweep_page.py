"""The page of a sweep: it loads nothing, tells what sweep.json holds, and nothing else."""

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from curation_audit.report import sweep_page, words
from curation_audit.report.sweep_page import render_sweep, validate_sweep
from curation_audit.results import to_plain
from tests.report.page import Parsed, loads_nothing
from tests.sweeping.trees import TREES, points, tree_of
from tests.sweeping.world import attacked, estimate, nothing_drawn, point, worth

HOSTILE = "<script>alert(1)</script>\"'&$x^{"


def drawn_blank(tree: dict[str, Any]) -> str:
    """The page with nothing drawn."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sweep_page, "_figures", nothing_drawn)
        return render_sweep(tree)


PAGES = {name: render_sweep(tree) for name, tree in TREES.items()}
page = pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
def test_the_trees_are_sweeps(tree):
    validate_sweep(tree)


@page
def test_page_is_well_formed_and_its_ids_are_unique(page):
    parsed = Parsed(page)
    assert len(parsed.ids) == len(set(parsed.ids))
    assert set(parsed.labels) <= set(parsed.ids)


@page
def test_headings_are_in_order(page):
    levels = Parsed(page).headings
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


@page
def test_page_loads_nothing_and_runs_one_script_that_it_names(page):
    loads_nothing(page)


@page
def test_page_can_be_read_by_everyone(page):
    parsed = Parsed(page)
    tags = [tag for tag, _ in parsed.tags]
    assert ("html", {"lang": "en"}) in parsed.tags
    assert any(a.get("name") == "viewport" for _, a in parsed.tags)
    assert page[: page.index("</head>")].count("<title>") == 1
    assert tags.count("table") == tags.count("caption")
    assert all("scope" in a for tag, a in parsed.tags if tag == "th")
    assert all(a.get("aria-label") for tag, a in parsed.tags if tag == "svg")


@page
def test_the_page_says_that_it_is_no_private_release(page):
    assert "computed on private data and is not itself differentially private" in page


def test_rendering_is_deterministic_and_changes_nothing():
    tree = tree_of()
    assert render_sweep(tree) == PAGES["full"]
    assert json.dumps(tree) == json.dumps(tree_of())


# numbers


def numbers_of(tree: Any) -> Iterator[float]:
    if isinstance(tree, dict | list):
        for value in tree.values() if isinstance(tree, dict) else tree:
            yield from numbers_of(value)
    elif isinstance(tree, int | float) and not isinstance(tree, bool):
        yield tree


def shown(number: float) -> set[str]:
    """All the ways in which the page may write a number of sweep.json."""
    ways = {words.decimal(number), words.percent(number), words.count(number), f"{number:g}"}
    return {*ways, words.epsilon(number)}


def cells(page: str) -> list[str]:
    """The text of all cells in the bodies of tables, tags replaced by spaces."""
    bodies = "".join(re.findall(r"<tbody>(.*?)</tbody>", page, re.DOTALL))
    found = re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", bodies, re.DOTALL)
    return [" ".join(re.sub(r"<[^>]+>", " ", cell).split()) for cell in found]


@pytest.mark.parametrize("name", TREES)
def test_every_number_of_the_tables_is_in_sweep_json(name):
    known = {text for number in numbers_of(TREES[name]) for text in shown(number)}
    told = [
        number
        for cell in cells(PAGES[name])
        for number in re.findall(r"(?<![\w.])-?\d[\d,.]*\d(?: %)?|(?<![\w.])\d(?: %)?", cell)
        if cell != "no point keeps 90% of what curation gains over random picks"
    ]
    assert len(told) > (100 if name == "full" else 2)
    assert [number for number in told if number not in known] == []


def test_the_tables_tell_every_number_that_was_measured():
    text = " ".join(cells(PAGES["full"]))
    tree = TREES["full"]
    for one in (tree["unprotected"], *tree["points"]):
        accuracy = one["usefulness"]["accuracy"]
        for stage in one["stages"]:
            for end in ("value", "low", "high"):
                assert words.decimal(stage["auc"][end]) in text
            assert stage["attack"] in text
        assert words.decimal(accuracy["value"]) in text
        assert words.decimal(accuracy["low"]) in text
    for own in (tree["random"], tree["public_only"]):
        assert words.decimal(own["accuracy"]["value"]) in text


def test_a_number_that_sweep_json_lacks_would_be_found():
    other = tree_of(random=worth(0.4321))
    known = {text for number in numbers_of(TREES["full"]) for text in shown(number)}
    assert words.decimal(other["random"]["accuracy"]["value"]) not in known


def test_bounds_are_rounded_down_and_none_reads_as_0():
    text = " ".join(cells(PAGES["full"]))
    assert "0.25" in text  # the declared bound, which is not the largest of several
    nothing = tree_of([point(1.0, 0.7, stages=(attacked(0.6),))])
    nothing["points"][0]["stages"][0]["bounds"] = {"one run": 0.0}
    assert "nothing shown" in cells(drawn_blank(nothing))
    nothing["points"][0]["stages"][0]["bounds"] = {"one run": 0.29999}
    assert "0.29" in cells(drawn_blank(nothing))


def test_what_was_not_measured_is_told_in_words():
    text = Parsed(PAGES["sparse"]).text
    assert "not measured" in text
    assert "utility was not measured" in text
    assert "None" not in PAGES["sparse"]
    assert "nan" not in re.findall(r"\w+", text.lower())
    assert "not resolvable" in cells(PAGES["full"])  # a TPR at so few shadows
    assert 'id="left-out"' not in PAGES["sparse"]
    assert "cannot protect nearest; use another" in PAGES["full"]


# what is found is told first


def banner(page: str) -> tuple[str, str]:
    """The class of the banner and its headline."""
    found = re.search(r'class="banner ([\w-]+)">\s*<p class="status">([^<]*)</p>', page)
    assert found is not None
    return found.group(1), found.group(2)


def test_the_conclusion_comes_first():
    assert banner(PAGES["full"]) == ("no-leak-found", "Conclusion")
    text = Parsed(PAGES["full"]).text
    assert text.index(TREES["full"]["sentence"]) < text.index("Utility")
    assert "At epsilon 16 (delta 1e-5, one patient blanked)" in text
    assert "blank all records of one patient" in text
    assert "4 claims are tested together" in text


def test_a_refuted_claim_and_an_ablation_are_told():
    assert banner(PAGES["refuted"]) == ("leak-found", "A guarantee is refuted")
    assert "refuted" in cells(PAGES["refuted"])
    assert "Ablation." in PAGES["refuted"]
    assert "Ablation." not in PAGES["full"]


@pytest.mark.parametrize("unprotected", [False, True])
def test_a_failed_control_is_told_above_all(unprotected):
    invalid = {"verdict": "audit invalid"}
    refuted = (attacked(0.9, refuted=True),)
    bad = point(1.0, 0.9, stages=refuted, **({} if unprotected else invalid))
    bare = point(None, 0.9, None, **(invalid if unprotected else {}))
    tree = tree_of([bad], bare)
    page = drawn_blank(tree)
    assert banner(page) == ("audit-invalid", "Audit invalid")
    assert "audit invalid" in cells(page)
    assert "Do not use these results" in Parsed(page).text


def test_hostile_words_are_escaped():
    hostile = {
        "name": HOSTILE,
        "unit": HOSTILE,
        "sentence": HOSTILE,
        "left_out": {HOSTILE: HOSTILE},
        "warnings": (HOSTILE,),
    }
    own = points(HOSTILE, events=(HOSTILE,), notes=(HOSTILE,), verdict="no leak found")
    tree = tree_of(own, **hostile)
    for one in tree["points"]:
        for stage in one["stages"]:
            stage["attack"] = HOSTILE
    validate_sweep(tree)
    page = render_sweep(tree)
    parsed = Parsed(page)
    assert [tag for tag, _ in parsed.tags].count("script") == 1
    assert HOSTILE in parsed.text
    assert page.count("<script") == 1


# figures


def figures(page: str) -> list[str]:
    return re.findall(r"<svg.*?</svg>", page, re.DOTALL)


def test_figures_show_the_curves_the_references_and_the_ceiling():
    found = figures(PAGES["full"])
    assert len(found) == 1 + 2 * 3
    for label in ("unprotected", "random picks", "whole pool", "gaussian_mean", "centroid_votes"):
        assert label in found[0]
    assert "no noise" in found[0]
    for label in ("ceiling of the claim", "scores", "selection", "joint"):
        assert label in found[1]


@pytest.mark.parametrize("epsilons", [(2.0,), (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, None), (None,)])
def test_every_number_of_points_can_be_drawn(epsilons):
    """Warnings of matplotlib fail the tests."""
    page = render_sweep(tree_of([point(epsilon, 0.8) for epsilon in epsilons]))
    for epsilon in epsilons:
        label = "no noise" if epsilon is None else f"{epsilon:g}"
        assert label in figures(page)[0]


def test_an_estimate_travels_to_the_page_as_it_is():
    tree = tree_of()
    assert tree["points"][0]["usefulness"]["accuracy"] == to_plain(estimate(0.7021))
    assert "0.702 0.692 to 0.712" in cells(PAGES["full"])
