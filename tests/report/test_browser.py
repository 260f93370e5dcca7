import pytest

from curation_audit.report import render_html
from tests.report.browser import CHROMEDRIVER, CHROMIUM, open_browser
from tests.report.sample import sample_report, sample_run, sparse_report

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium was found"),
    pytest.mark.skipif(CHROMEDRIVER is None, reason="no chromedriver was found"),
]
SIDEWAYS = "document.scrollingElement.scrollWidth - document.documentElement.clientWidth"
OPEN_ALL = "document.querySelectorAll('details').forEach(d => d.open = true)"
# Where text of a figure leaves its drawing or is smaller than 11 pixels.
BAD_TEXT = """
[...document.querySelectorAll('svg text')].filter(text => {
  const box = text.getBoundingClientRect();
  const frame = text.ownerSVGElement.getBoundingClientRect();
  const size = parseFloat(getComputedStyle(text).fontSize);
  const scale = frame.width / text.ownerSVGElement.viewBox.baseVal.width;
  return box.left < frame.left - 1 || box.right > frame.right + 1 || size * scale < 11;
}).map(text => text.textContent)
"""


def long_names():
    """A report whose names are longer than a phone is wide, without a place to break."""
    report = sample_report()
    report["name"] = "pipeline_" * 12
    for stage in report["stages"]:
        stage["headline"]["attack"] = stage["attacks"][0]["attack"] = "attack_" * 12
    report["configuration"]["path"] = "folder/" * 40
    report["warnings"] = ["warning_" * 30]
    report["design"]["classes"] = ["class_" * 20]
    return report


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    reports = {"full": sample_report(), "sparse": sparse_report(), "long": long_names()}
    for name, report in reports.items():
        run = None if name == "sparse" else sample_run()
        (folder / f"{name}.html").write_text(render_html(report, run), encoding="utf-8")
    return folder


@pytest.fixture(scope="module", params=[390, 1280], ids=["phone", "desktop"])
def browser(request, tmp_path_factory):
    profile = tmp_path_factory.mktemp("profile")
    with open_browser(profile, width=request.param) as browser:
        yield browser


@pytest.mark.parametrize("name", ["full", "sparse", "long"])
def test_page_in_a_browser(browser, folder, name):
    page = folder / f"{name}.html"
    browser.open(page)
    assert browser.evaluate(SIDEWAYS) <= 0
    assert browser.evaluate(BAD_TEXT) == []
    browser.evaluate(OPEN_ALL)
    assert browser.evaluate(SIDEWAYS) <= 0
    assert browser.requests() == [page.as_uri()]
    assert browser.console() == []


def test_checks_notice_a_page_that_is_wrong(browser, folder):
    page = folder / "wrong.html"
    text = (folder / "full.html").read_text(encoding="utf-8")
    wide = '<div style="width: 3000px; height: 1px"></div>'
    image = '<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=" alt="">'
    page.write_text(text.replace("</main>", f"{wide}{image}</main>"), encoding="utf-8")
    browser.open(page)
    assert browser.evaluate(SIDEWAYS) > 0
    assert any("Content Security Policy" in message for message in browser.console())
