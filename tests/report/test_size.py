"""Renderings of a large audit stay small; benchmarks/report_rendering.py takes their time."""

import json

import pytest

from curation_audit.report import validate_report
from curation_audit.report.html import render_html
from curation_audit.report.markdown import render_markdown
from tests.report.large import N_CANDIDATES, large_report
from tests.report.sample import sample_run

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def report():
    return large_report()


def test_large_report_is_one(report):
    validate_report(report)
    assert report["design"]["n_candidates"] == N_CANDIDATES == 5000
    assert len([s for s in report["stages"] if s["headline"]]) == 3
    assert len(json.dumps(report)) > 0.3 * MEGABYTE


def test_page_is_below_five_megabytes(report):
    assert 0.2 * MEGABYTE < len(render_html(report, sample_run()).encode()) < 5 * MEGABYTE


def test_short_report_stays_short(report):
    assert len(render_markdown(report).encode()) < 0.02 * MEGABYTE


def test_document_is_below_five_megabytes(report):
    pytest.importorskip("fpdf")
    from curation_audit.report.pdf import render_pdf

    assert len(render_pdf(report)) < 5 * MEGABYTE
