"""A page of HTML, taken apart."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from unittest import mock

from curation_audit.report import html

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Parsed(HTMLParser):
    """Tags in order, ids, and whether every tag is closed in the right order.

    ``outside`` is the text that stands in no part about bounds.
    """

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.ids, self.labels, self.text = [], [], [], [], ""
        self.headings, self.divisions, self.outside = [], [], ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        if tag == "div":
            self.divisions.append(dict(attrs).get("class"))
        self._note(tag, dict(attrs))

    def handle_startendtag(self, tag, attrs):
        self._note(tag, dict(attrs))

    def _note(self, tag, attributes):
        self.tags.append((tag, attributes))
        self.ids += [attributes["id"]] if "id" in attributes else []
        if "aria-labelledby" in attributes:
            self.labels.append(attributes["aria-labelledby"])
        if re.fullmatch(r"h\d", tag):
            self.headings.append(int(tag[1]))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag == "div":
            self.divisions.pop()

    def handle_data(self, data):
        if not {"style", "script"} & {*self.open} and not {"svg", "title"} <= {*self.open}:
            self.text += data
            self.outside += "" if "bounds" in self.divisions else data


def loads_nothing(page):
    """Nothing is fetched, and the one script is the one that the page's own policy names."""
    parsed = Parsed(page)
    assert not {tag for tag, _ in parsed.tags} & {"img", "iframe", "link", "object"}
    assert "://" not in page
    assert "@import" not in page
    for tag, attributes in parsed.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "src"], tag
    policy = next(a["content"] for _, a in parsed.tags if "http-equiv" in a)
    (script,) = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    start = "default-src 'none'; style-src 'unsafe-inline'; script-src "
    assert policy.startswith(f"{start}'sha256-{digest}'; ")
    assert len(script) < 2000
    for way_out in ("fetch", "XMLHttp", "import", "src", "href", "eval", "innerHTML", "http"):
        assert way_out not in script


def section(page, start, end):
    """The text of a page from one phrase to another."""
    text = Parsed(page).text
    return text[text.index(start) : text.index(end, text.index(start))]


def without_figures(report):
    """The page with nothing drawn; drawing takes a hundred times as long as writing."""
    nothing = {"diagram": "", "ladder": "", "utility": "", "roc": {}, "risk": {}, "risks": {}}
    with mock.patch.object(html, "_figures", return_value=nothing):
        return html.render_html(report, None)
