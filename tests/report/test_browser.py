import pytest

from curation_audit.report import render_html
from curation_audit.report.compare import write_comparison
from curation_audit.report.sweep_page import render_sweep
from tests.report.browser import CHROMEDRIVER, CHROMIUM, open_browser
from tests.report.large import large_report
from tests.report.runs import run_folder
from tests.report.sample import sample_report, sample_run, sparse_report
from tests.sweeping.trees import TREES

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium was found"),
    pytest.mark.skipif(CHROMEDRIVER is None, reason="no chromedriver was found"),
]
PAPER = 794  # pixels of CSS across A4
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
# On paper nothing scrolls: whatever is wider than the page is lost.
CUT = """
[...document.querySelectorAll('table, pre, figure, p, h2, h3')].filter(element => {
  const box = element.getBoundingClientRect();
  return box.width && box.right > document.documentElement.clientWidth + 1;
}).map(element => element.textContent.slice(0, 60))
"""
# The button of a column, by the keyboard's way.
FOCUS = """
(() => {
  const button = document.querySelectorAll('%s th button')[%d];
  button.closest('details')?.setAttribute('open', '');
  button.focus();
  return document.activeElement === button;
})()
"""
COLUMN = """
[...document.querySelectorAll('%s tbody tr')].map(row => row.cells[%d].firstElementChild
  ? row.cells[%d].firstElementChild.textContent : row.cells[%d].textContent)
"""
SORTED = "document.querySelectorAll('%s th')[%d].getAttribute('aria-sort')"
KEYS = {"Enter": "\r", " ": " "}


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


def compared(folder):
    """Comparisons of like runs, of unlike ones, and of three with long names."""
    reports = {"like": [sample_report()] * 2, "unlike": [sparse_report(), sample_report()]}
    reports["three"] = [long_names(), sample_report(), sparse_report()]
    for name, those in reports.items():
        runs = [run_folder(folder / name / f"r{i}", one) for i, one in enumerate(those)]
        write_comparison(runs, folder / f"compare-{name}.html")
    return [f"compare-{name}" for name in reports]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    reports = {"full": sample_report(), "sparse": sparse_report(), "long": long_names()}
    for name, report in reports.items():
        run = None if name == "sparse" else sample_run()
        (folder / f"{name}.html").write_text(render_html(report, run), encoding="utf-8")
    (folder / "large.html").write_text(render_html(large_report(), None), encoding="utf-8")
    for name, tree in TREES.items():
        page = render_sweep(tree)
        (folder / f"sweep-{name}.html").write_text(page, encoding="utf-8")
    compared(folder)
    return folder


PAGES = [
    "full", "sparse", "long", "large", *(f"sweep-{name}" for name in TREES),
    "compare-like", "compare-unlike", "compare-three",
]  # fmt: skip


@pytest.fixture(scope="module", params=[390, 1280], ids=["phone", "laptop"])
def browser(request, tmp_path_factory):
    profile = tmp_path_factory.mktemp("profile")
    with open_browser(profile, width=request.param) as browser:
        yield browser


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_in_a_browser(browser, folder, name, scheme):
    page = folder / f"{name}.html"
    browser.emulate(scheme=scheme)
    browser.open(page)
    assert browser.evaluate(SIDEWAYS) <= 0
    assert browser.evaluate(BAD_TEXT) == []
    browser.evaluate(OPEN_ALL)
    assert browser.evaluate(SIDEWAYS) <= 0
    assert browser.requests() == [page.as_uri()]
    assert browser.console() == []
    ground = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 24, 31)"}[scheme]


@pytest.mark.parametrize("name", PAGES)
def test_page_on_paper(tmp_path_factory, folder, name, paper):
    page = folder / f"{name}.html"
    paper.emulate(scheme="dark", media="print")
    paper.open(page)
    paper.evaluate(OPEN_ALL)
    assert paper.evaluate(CUT) == []
    assert paper.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert paper.evaluate("getComputedStyle(document.body).color") == "rgb(29, 36, 48)"
    assert paper.console() == []


@pytest.fixture(scope="module")
def paper(tmp_path_factory):
    with open_browser(tmp_path_factory.mktemp("profile"), width=PAPER) as browser:
        yield browser
        browser.emulate(media="")


@pytest.mark.parametrize(
    ("name", "table", "column"),
    [
        ("full", "table:has(#summary-table)", 2),
        ("full", "table:has(#attacks-scores)", 1),
        ("sweep-full", "table:has(#attacks-1)", 3),
        ("compare-three", "table:has(#compare-scores)", 2),
    ],
)
@pytest.mark.parametrize("key", KEYS)
def test_tables_are_sorted_by_keyboard(laptop, folder, name, table, column, key):
    laptop.open(folder / f"{name}.html")
    shown, way = COLUMN % (table, column, column, column), SORTED % (table, column)
    before = laptop.evaluate(shown)
    assert len(before) > 2
    assert laptop.evaluate(way) is None
    assert laptop.evaluate(FOCUS % (table, column)) is True
    laptop.press(key)
    assert laptop.evaluate(way) == "ascending"
    up = laptop.evaluate(shown)
    assert sorted(up) == sorted(before)
    assert numbers(up) == sorted(numbers(up))
    laptop.press(key)
    assert laptop.evaluate(way) == "descending"
    assert numbers(laptop.evaluate(shown)) == sorted(numbers(up), reverse=True)
    laptop.press(key)
    assert laptop.evaluate(way) is None
    assert laptop.evaluate(shown) == before
    assert laptop.console() == []


def numbers(texts):
    """The cells that hold a number, in their order; what is missing stands last."""
    found = []
    for text in texts:
        try:
            found.append(float(text.strip().split()[0].replace(",", "").replace("−", "-")))
        except (ValueError, IndexError):
            continue
    return found


@pytest.fixture(scope="module")
def laptop(tmp_path_factory):
    with open_browser(tmp_path_factory.mktemp("profile"), width=1280) as browser:
        yield browser


def test_missing_numbers_stand_last_either_way(laptop, folder):
    laptop.open(folder / "compare-unlike.html")
    laptop.open(folder / "sparse.html")
    table, column = "table:has(#summary-table)", 2
    assert laptop.evaluate(FOCUS % (table, column))
    for _ in range(2):
        laptop.press("Enter")
        shown = laptop.evaluate(COLUMN % (table, column, column, column))
        assert [text == "not measured" for text in shown] == [False, True, True]


def test_without_scripts_there_are_no_buttons_and_all_is_there(laptop, folder):
    laptop.scripts(enabled=False)
    try:
        laptop.open(folder / "full.html")
        assert laptop.evaluate("document.querySelectorAll('button').length") == 0
        assert laptop.evaluate("document.querySelectorAll('table').length") > 10
        assert laptop.console() == []
    finally:
        laptop.scripts(enabled=True)


def test_another_script_does_not_run(laptop, folder):
    page = folder / "foreign.html"
    text = (folder / "full.html").read_text(encoding="utf-8")
    page.write_text(text.replace("</main>", "<script>window.ran = 1</script></main>"))
    laptop.open(page)
    assert laptop.evaluate("window.ran") is None
    assert any("Content Security Policy" in message for message in laptop.console())


def test_checks_notice_a_page_that_is_wrong(browser, folder):
    page = folder / "wrong.html"
    text = (folder / "full.html").read_text(encoding="utf-8")
    wide = '<div style="width: 3000px; height: 1px"></div>'
    image = '<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=" alt="">'
    page.write_text(text.replace("</main>", f"{wide}{image}</main>"), encoding="utf-8")
    browser.open(page)
    assert browser.evaluate(SIDEWAYS) > 0
    assert any("Content Security Policy" in message for message in browser.console())
