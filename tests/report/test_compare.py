import json
import re
from itertools import pairwise

import pytest

from curation_audit.checks import InputError
from curation_audit.report.compare import differences, write_comparison
from tests.report.page import Parsed, loads_nothing
from tests.report.runs import HOSTILE, hostile_report, run_folder
from tests.report.sample import sample_report, sparse_report


def before():
    """The same curation without protection: it leaks more, and claims nothing."""
    report = sample_report()
    report["protection"] = report["claim"] = None
    report["configuration"]["curate"]["select"]["k"] = 99
    for stage in report["stages"]:
        auc = stage["headline"]["metrics"]["auc"]
        auc |= {key: min(1.0, auc[key] + 0.1) for key in ("value", "low", "high")}
    return report


def compared(tmp_path, *reports):
    folders = [run_folder(tmp_path / f"run-{i}", one) for i, one in enumerate(reports)]
    return write_comparison(folders, tmp_path / "out" / "comparison.html").read_text()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return compared(tmp_path_factory.mktemp("pages"), before(), sample_report())


def test_page_is_self_contained_and_can_be_read_by_everyone(page):
    loads_nothing(page)
    parsed = Parsed(page)
    assert len(parsed.ids) == len({*parsed.ids})
    assert {*parsed.labels} <= {*parsed.ids}
    assert parsed.headings[0] == 1
    assert all(after <= first + 1 for first, after in pairwise(parsed.headings))
    tags = [tag for tag, _ in parsed.tags]
    assert tags.count("table") == tags.count("caption")
    assert all("scope" in a for tag, a in parsed.tags if tag == "th")
    assert all(a.get("aria-label") for tag, a in parsed.tags if tag == "svg")


def test_every_run_stands_with_its_numbers(page):
    text = Parsed(page).text
    for report in (before(), sample_report()):
        for stage in report["stages"]:
            metrics = stage["headline"]["metrics"]
            for estimate in (metrics["auc"], metrics["advantage"]):
                assert f"{estimate['low']:.3f}".replace("-", "−") in text
                assert f"{estimate['value']:.3f}".replace("-", "−") in text
    assert "run-0" in text
    assert "run-1" in text
    assert text.count("no differential privacy is claimed") == 1
    assert "gaussian_mean" in text
    assert "not themselves differentially private" in text


def test_figures_show_each_run_by_hover_with_a_mark_of_its_own(page):
    titles = re.findall("<title>([^<]*)</title>", page[page.index("</head>") :])
    auc = before()["stages"][0]["headline"]["metrics"]["auc"]
    assert f"A, scores: {auc['value']:.3f} ({auc['low']:.3f} to {auc['high']:.3f})" in titles
    assert len([one for one in titles if one.startswith("B, ")]) == len(
        [one for one in titles if one.startswith("A, ")]
    )
    figure = page[page.index("<svg") : page.index("</svg>")]
    assert {"figure-blue", "figure-orange"} <= {*re.findall(r"figure-\w+", figure)}


def test_only_what_differs_in_the_configuration_is_listed(page):
    text = Parsed(page).text
    told = text[text.index("What differs in the configuration") :]
    assert "curate.select.k" in told
    assert "99" in told
    assert "attack.shadows" not in told
    found = differences({"A": {"a": {"b": 1, "c": []}}, "B": {"a": {"b": 1, "c": [2]}, "d": None}})
    assert found == [("a.c", {"A": "[]", "B": "[2]"}), ("d", {"A": "not there", "B": "null"})]


def test_same_runs_have_no_obstacle_and_no_difference(tmp_path):
    text = Parsed(compared(tmp_path, sample_report(), sample_report())).text
    assert "Not like with like" not in text
    assert "the resolved configurations are the same" in text


def changed(path, value):
    report = sample_report()
    place = report
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return report


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (changed(("data", "private", "fingerprint"), "x"), "The private set is not the same"),
        (changed(("data", "private", "fingerprint"), None), "The private set is not the same"),
        (changed(("data", "pool", "fingerprint"), "x"), "The pool set is not the same: "),
        (changed(("data", "test"), None), "The test set is not the same"),
        (changed(("design", "n_candidates"), 7), "number of candidates differs"),
        (changed(("design", "unit"), "patient"), "unit of privacy differs"),
        (changed(("design", "n_shadows"), 64), "number of shadows differs"),
        (changed(("threat", "decimals"), 5), "The adversary differs"),
        (changed(("bounds", 0, "adjacency"), "replace_one"), "different neighbours"),
        (changed(("bounds", 0, "results", 0, "delta"), 1e-7), "different deltas"),
        (sparse_report(), "An audit is invalid"),
    ],
)
def test_what_cannot_be_compared_is_said(tmp_path, other, told):
    assert told in Parsed(compared(tmp_path, sample_report(), other)).text


def test_report_of_a_later_schema_is_left_out_and_said(tmp_path):
    later = sample_report() | {"schema_version": 99}
    text = Parsed(compared(tmp_path, sample_report(), later, before())).text
    assert "Run B is left out: it has report schema version 99" in text
    assert "2 privacy audits compared" in text
    assert "report schema version 99, unknown here" in text


def test_old_report_is_read_and_said(tmp_path):
    from pathlib import Path

    old = json.loads((Path(__file__).parent / "golden" / "report_v1.json").read_text())
    assert "different schema versions" in Parsed(compared(tmp_path, sample_report(), old)).text


def test_hostile_words_are_escaped(tmp_path):
    page = compared(tmp_path, hostile_report(), sample_report())
    assert page.count("<script") == 1
    assert HOSTILE in Parsed(page).text


@pytest.mark.parametrize("count", [1, 8])
def test_too_few_or_too_many_runs_are_refused(tmp_path, count):
    folders = [run_folder(tmp_path / str(i)) for i in range(count)]
    with pytest.raises(InputError, match=f"found {count} run folder.*expected 2 to 7"):
        write_comparison(folders, tmp_path / "page.html")


def test_folders_without_a_report_are_refused(tmp_path):
    good, empty = run_folder(tmp_path / "good"), tmp_path / "empty"
    with pytest.raises(InputError, match=r"found no release/report\.json"):
        write_comparison([good, empty], tmp_path / "page.html")
    later = run_folder(tmp_path / "later", sample_report() | {"schema_version": 99})
    with pytest.raises(InputError, match="fewer than two"):
        write_comparison([good, later], tmp_path / "page.html")


def test_command_line_compares(tmp_path, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = [run_folder(tmp_path / name, one) for name, one in (("a", None), ("b", before()))]
    code, out, _ = command("report", "--compare", *runs, "--out", tmp_path / "c.html")
    assert (code, out.strip()) == (0, str(tmp_path / "c.html"))
    assert command("report", *runs, "--compare")[:2] == (0, "comparison.html\n")
    assert (tmp_path / "c.html").read_bytes() == (tmp_path / "comparison.html").read_bytes()
    for wrong in (
        ("--compare", runs[0]), ("--compare", *runs, "--format", "pdf"), runs,
        (runs[0], "--out", "x.html"),
    ):  # fmt: skip
        code, _, err = command("report", *wrong)
        assert code == 2
        assert len(err.splitlines()) == 1
