import doctest
import html

import pytest
from markdown_it import MarkdownIt

from curation_audit.report import blocks, markdown, words
from curation_audit.report.markdown import escaped, render_markdown
from tests.report.runs import HOSTILE, hostile_report
from tests.report.sample import sample_report, sparse_report

FULL = render_markdown(sample_report())
READER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def tokens(text):
    """Every token, inline ones as well."""
    return [one for token in READER.parse(text) for one in (token, *(token.children or ()))]


def shown(text):
    """What a reader sees."""
    return " ".join(token.content for token in tokens(text) if token.type == "text")


def test_short_report_has_its_parts_in_order():
    parts = ("Summary", "Lower bounds on epsilon", "Differential privacy", "Controls", "Utility")
    places = [FULL.index(f"\n## {name}\n") for name in (*parts, "Warnings", "Limitations")]
    assert places == sorted(places)
    assert FULL.startswith("# Privacy audit of the curation “med”\n\n**Leak found.** ")
    assert len(FULL.splitlines()) < 100


def test_numbers_are_those_of_the_report():
    for stage in sample_report()["stages"]:
        metrics = stage["headline"]["metrics"]
        auc, tpr = metrics["auc"], metrics["tpr_at_fpr"][1]["tpr"]
        assert f"{auc['value']:.3f} ({auc['low']:.3f} to {auc['high']:.3f})" in FULL
        assert f"{words.percent(tpr['value'])} ({words.percent(tpr['low'])}" in FULL
    assert "1.97" in FULL  # the bound is rounded down
    assert "Refuted" in FULL
    assert "not itself differentially private" in FULL


def test_what_is_missing_is_told_in_words():
    text = render_markdown(sparse_report())
    for phrase in ("not measured", "not observed", "No differential privacy is claimed", "None."):
        assert phrase in text
    assert "nan" not in text.lower().split()
    assert "Do not rely on any number below" in text


def test_every_table_reads_as_a_table():
    kinds = [token.type for token in tokens(FULL)]
    assert kinds.count("table_open") == 6
    rows = [line for line in FULL.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in rows)


def test_hostile_names_stay_text():
    text = render_markdown(hostile_report())
    found = {token.type for token in tokens(text)}
    kinds = ("html_block", "html_inline", "link_open", "image", "code_inline", "em_open", "fence")
    assert not found & {*kinds}
    plain = " ".join(html.unescape(text).replace("\\", "").split())
    assert " ".join(HOSTILE.split()) in plain
    assert [t.type for t in tokens(text)].count("heading_open") == FULL.count("\n## ") + 1


@pytest.mark.parametrize(
    "text",
    [
        "# a", "- a", "+ a", "1. a", "1) a", "> a", "    a", "***", "---", "===", "`a`", "~~a~~",
        "a | b", "<b>", "&lt;", "[a]: http://b.example", "http://a.example", "www.a.example",
        "@someone", "a@b.example", "\\", "a\n\n# b", "\x1b[31m", "| a | b |", "$a$", "^a", "{{a}}",
    ],
)  # fmt: skip
def test_any_text_reads_as_one_paragraph_of_itself(text):
    found = tokens(escaped(text))
    assert [t.type for t in found if t.type not in ("inline", "text", "text_special")] == [
        "paragraph_open", "paragraph_close",
    ]  # fmt: skip
    content = "".join(t.content for t in found if t.type in ("text", "text_special"))
    visible = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    assert content.replace("\u200b", "") == visible


def test_doctests():
    assert doctest.testmod(markdown).failed == 0
    assert doctest.testmod(blocks).failed == 0
