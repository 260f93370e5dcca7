"""A report of this version as it was written, and what it is rendered to, word for word.

A change here is a change for everybody who reads reports by a program: make it on purpose, write
the files again, and raise the schema version where a key was taken away or means something else.
"""

import json
from pathlib import Path

import pytest

from curation_audit.report import SCHEMA_VERSION, readable
from curation_audit.report.card import render_card
from curation_audit.report.markdown import render_markdown
from tests.report.sample import sample_report

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def report():
    return json.loads((GOLDEN / f"report_v{SCHEMA_VERSION}.json").read_text(encoding="utf-8"))


def test_report_of_this_version_is_read_as_it_stands(report):
    assert readable(report) == report


def test_no_key_went_away_or_came(report):
    assert shape(sample_report()) == shape(report)


def shape(tree):
    """Names of keys and types of values; lists by their first item."""
    if isinstance(tree, dict):
        return {key: shape(item) for key, item in tree.items()}
    if isinstance(tree, list):
        return [shape(tree[0])] if tree else []
    return type(tree).__name__


@pytest.mark.parametrize(
    ("render", "name"), [(render_markdown, "report"), (render_card, "card")], ids=["report", "card"]
)
def test_words_and_figures_are_the_same(report, render, name):
    golden = (GOLDEN / f"{name}_v{SCHEMA_VERSION}.md").read_text(encoding="utf-8")
    assert render(report) == golden
