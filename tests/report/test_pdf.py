import io
import re

import pytest

from curation_audit.report import words
from tests.report.runs import HOSTILE, hostile_report
from tests.report.sample import sample_report, sparse_report

pytest.importorskip("fpdf")
pypdf = pytest.importorskip("pypdf")

from curation_audit.report.pdf import render_pdf  # noqa: E402


def read(report):
    return pypdf.PdfReader(io.BytesIO(render_pdf(report)))


def text_of(reader):
    return " ".join(" ".join(page.extract_text() for page in reader.pages).split())


@pytest.fixture(scope="module")
def full():
    return read(sample_report())


def bookmarks(outline):
    for one in outline:
        yield from bookmarks(one) if isinstance(one, list) else [one["/Title"]]


def test_document_is_described_and_has_bookmarks(full):
    assert full.metadata.title == "Privacy audit of the curation “med”"
    assert full.metadata.author == "curation-audit 0.1.0"
    assert full.trailer["/Root"]["/Lang"] == "en"
    names = list(bookmarks(full.outline))
    for name in ("Summary", "Results: scores", "Differential privacy", "Limitations"):
        assert name in names


def test_pages_are_a4_and_numbered(full):
    count = len(full.pages)
    assert count > 5
    for number, page in enumerate(full.pages, 1):
        assert [round(float(end)) for end in page.mediabox[2:]] == [595, 842]
        assert f"{number} / {count}" in page.extract_text()


def test_text_is_selectable_and_numbers_are_those_of_the_report(full):
    text = text_of(full)
    for stage in sample_report()["stages"]:
        auc = stage["headline"]["metrics"]["auc"]
        assert f"{auc['value']:.3f} ({auc['low']:.3f} to {auc['high']:.3f})" in text
        for record in stage["headline"]["records"]["worst"]:
            assert record["id"] in text
    for row in sample_report()["crosswalk"]:
        assert row["topic"].split()[-1] in text
    assert "not itself differentially private" in text
    assert words.percent(0.01) in text


def test_figures_are_vectors_with_text_and_words_for_who_cannot_see_them(full):
    assert not [image for page in full.pages for image in page.images]
    text = text_of(full)
    for label in ("False-positive rate", "A candidate's exposure (estimate)", "claimed ceiling"):
        assert label in text
    assert b"/Alt" in render_pdf(sample_report())


def test_nothing_runs_and_nothing_is_loaded():
    content = render_pdf(hostile_report())
    for way_out in (b"/JavaScript", b"/URI", b"/Launch", b"/EmbeddedFile", b"/GoToR"):
        assert way_out not in content


def test_hostile_names_are_text():
    text = text_of(read(hostile_report()))
    assert "<script>alert(1)</script>" in text
    assert HOSTILE.split()[-1] in text


def test_same_report_gives_the_same_bytes():
    assert render_pdf(sparse_report()) == render_pdf(sparse_report())


def test_what_is_missing_is_told_in_words():
    text = text_of(read(sparse_report()))
    for phrase in ("not measured", "not observed", "No attack could run", "Nothing is declared"):
        assert phrase in text


def test_long_names_and_cells_go_on_and_are_never_cut():
    report = sample_report()
    report["design"]["classes"] = [f"class_{i:04d}" for i in range(1500)]
    report["warnings"] = ["warning_" * 60]
    report["name"] = "pipeline_" * 15
    report["configuration"] = {"folder/" * 40: "x" * 5000}
    reader = read(report)
    text = re.sub(r"\s|Part Value|\d+ / \d+", "", " ".join(p.extract_text() for p in reader.pages))
    for i in (0, 700, 1499):
        assert f"class_{i:04d}" in text
    assert "warning_" * 60 in text
