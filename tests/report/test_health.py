"""Training health in reports: in the owner's with figures, in what is handed on with none."""

import io
import json
import re
import stat
from itertools import pairwise
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from curation_audit.report import health_plots, render_html
from curation_audit.report.blocks import Figures
from curation_audit.report.health import (
    ELSEWHERE,
    PLACE,
    PRIVATE,
    UNMEASURED,
    of_owner,
    pipeline_fingerprint,
    read_health,
    validate_health,
)
from curation_audit.report.health_section import edges, records, spectra
from curation_audit.report.markdown import render_whole_markdown
from curation_audit.report.renderings import (
    RENDERINGS,
    finished_run,
    write_owners_report,
    write_renderings,
)
from tests.report.health_sample import (
    FOUND,
    IDS,
    edge,
    record,
    sample_health,
    sparse_health,
    spectrum,
    with_health,
)
from tests.report.page import Parsed, loads_nothing
from tests.report.runs import HOSTILE, run_folder
from tests.report.sample import sample_report, sample_run, sparse_report

FULL = render_html(sample_report(), sample_run(), of_owner(sample_health(sample_report())))
SPARSE = render_html(sparse_report(), None, of_owner(sparse_health(sparse_report())))
PAGES = pytest.mark.parametrize("page", [FULL, SPARSE], ids=["full", "sparse"])
SECRETS = (FOUND, *IDS[:10], "0.918", "0.835", "0.408", "2.72", "3.14", "1.23", "feedface")


@PAGES
def test_the_owners_page_is_well_formed_and_loads_nothing(page):
    parsed = Parsed(page)
    assert len(parsed.ids) == len(set(parsed.ids))
    assert set(parsed.labels) <= set(parsed.ids)
    assert all(after <= before + 1 for before, after in pairwise(parsed.headings))
    loads_nothing(page)


@PAGES
def test_the_owners_page_says_at_its_head_and_in_its_section_who_may_see_it(page):
    text = Parsed(page).text
    assert text.index("Do not pass on.") < text.index("Summary")
    section = text[text.rindex("Training health") :]
    assert text.count(PRIVATE) == 2
    assert PRIVATE in section


def test_the_owners_page_is_the_whole_report_and_the_section():
    released = Parsed(render_html(sample_report(), sample_run())).text
    own = Parsed(FULL).text
    for heading in re.findall(r"\d+\. [A-Z][a-z]+", released):
        assert heading in own
    for phrase in (
        "Ranks of spectra",
        "hard rank",
        "participation ratio",
        "d_eff(tau)",
        "linearity_corr 0.918, on 32 exact shadows",
        IDS[0],
        "0.835",
        "Overlap by chance",
        "0.075",
        "eta * lambda_max",
        "near or above",
        f"{FOUND.capitalize()} is a note.",
    ):
        assert phrase in own, phrase
    names = ("health-spectrum", "health-exposure", "health-stability", "health-edge")
    assert all(f'id="{name}-0"' in FULL for name in names)
    assert IDS[10] not in own  # ten are shown


def test_what_is_not_measured_is_told_in_words():
    section = Parsed(SPARSE).text.partition("Ranks of spectra")[2]
    assert section.count("Not measured") >= 3
    assert "0.000" not in section.partition("Appendix")[0]


def test_the_owners_markdown_is_the_whole_report_too():
    text = render_whole_markdown(sample_report(), of_owner(sample_health(sample_report())))
    assert text.index("Do not pass on") < text.index("## Summary")
    for heading in ("Attack coverage", "Crosswalk", "Configuration", "Training health"):
        assert f"\n## {heading}\n" in text
    assert "\n### Edge of stability\n" in text
    assert IDS[0] in text


def test_words_of_the_file_stay_text():
    tree = sample_health(sample_report())
    tree["notes"] = tree["failure"] = HOSTILE
    tree["notes"] = [HOSTILE]
    tree["spectra"][0]["of"] = tree["edges_of_stability"][0]["descent"] = HOSTILE
    tree["note"] = tree["threat_model"] = HOSTILE
    validate_health(tree)
    page = render_html(sample_report(), None, of_owner(tree))
    loads_nothing(page)
    assert "<script>alert" not in page
    reader = MarkdownIt("commonmark", {"html": True}).enable("table")
    text = render_whole_markdown(sample_report(), of_owner(tree))
    kinds = {one.type for token in reader.parse(text) for one in (token, *(token.children or ()))}
    assert not kinds & {"html_block", "html_inline", "link_open", "image"}


# --- what may be handed on


def told(path: Path) -> str:
    content = path.read_bytes()
    if path.suffix == ".pdf":
        pages = pytest.importorskip("pypdf").PdfReader(io.BytesIO(content)).pages
        return "".join(page.extract_text() for page in pages)
    return content.decode()


def available():
    return [n for n in RENDERINGS if n not in ("parquet", "pdf")] + _with_pdf()


def _with_pdf():
    try:
        import fpdf  # noqa: F401
    except ImportError:
        return []
    return ["pdf"]


def test_what_is_handed_on_says_that_it_was_measured_and_shows_no_figure(tmp_path):
    folder = run_folder(tmp_path / "run")
    bare = {path: told(path) for path in write_renderings(finished_run(folder), available())}
    with_health(folder, sample_health(sample_report()))
    paths = write_renderings(finished_run(folder), available())
    assert not [p for p in folder.rglob("*") if p.parent.name == "private" and p.suffix != ".json"]
    for path in paths:
        text = told(path).lower()
        # of the report's own figures some may look alike: none may come
        came = [one for one in SECRETS if text.count(one) > bare[path].count(one)]
        assert came == [], path.name
    page = Parsed(told(folder / "release" / "report.html")).text
    assert "Measured, and private." in page
    assert "Do not pass on" not in page
    assert "Measured, and private." in told(folder / "release" / "report.md")
    assert "Not measured. Spectra" in Parsed(bare[folder / "release" / "report.html"]).text
    own = told(write_owners_report(finished_run(folder))[0]).lower()
    assert [one for one in SECRETS if one not in own] == []  # this search does find


def test_both_words_of_a_handed_on_report_are_blocks_without_figures():
    for part in (UNMEASURED, ELSEWHERE):
        assert part.mark == ""
        assert [type(one).__name__ for one in part.blocks] == ["Heading", "Paragraph"]
        assert not re.search(r"\d", part.blocks[1].text)


# --- the run folder


def test_only_its_owner_may_read_it_and_nothing_of_it_lies_in_the_release(tmp_path):
    folder = with_health(run_folder(tmp_path / "run"), sample_health(sample_report()))
    (folder / "private").chmod(0o755)
    before = {path.name for path in (folder / "release").iterdir()}
    paths = write_owners_report(finished_run(folder))
    assert [path.name for path in paths] == ["report.html", "report.md"]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in paths)
    assert stat.S_IMODE((folder / "private").stat().st_mode) == 0o700
    assert {path.name for path in (folder / "release").iterdir()} == before
    content = [path.read_bytes() for path in paths]
    write_owners_report(finished_run(folder))
    assert [path.read_bytes() for path in paths] == content


def foreign(tree):
    tree["pipeline"] = "0" * 64
    return json.dumps(tree)


BROKEN = {
    "no JSON": lambda tree: "{",
    "another thing": lambda tree: json.dumps({"kanarienvogel": 1}),
    "a list": lambda tree: "[]",
    "too deep": lambda tree: "[" * 100_000,
    "not finite": lambda tree: json.dumps(tree | {"linearity_corr": float("nan")}),
    "a name in clear": lambda tree: json.dumps(
        tree | {"vulnerability": [record(f"{FOUND} Meier", leverage=0.5)]}
    ),
    "another pipeline": foreign,
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_broken_or_foreign_file_is_told_and_not_rendered(tmp_path, command, broken):
    """Nor does an earlier report of the owner's stay beside it."""
    folder = run_folder(tmp_path / "run")
    with_health(folder, broken(sample_health(sample_report())))
    for name in ("report.html", "report.md"):
        (folder / "private" / name).write_text(f"an earlier one, of {FOUND}")
    code, out, err = command("report", folder, "--format", "json")
    assert code == 0
    assert out.split() == [str(folder / "release" / "report.json")]
    assert len(err.splitlines()) == 1
    assert PLACE in err
    assert "run 'curation-audit health' again" in err
    assert FOUND not in err
    assert [path.name for path in (folder / "private").iterdir()] == ["health.json"]


def test_beside_a_broken_file_nothing_was_measured(tmp_path, command):
    folder = run_folder(tmp_path / "run")
    with_health(folder, "{")
    assert command("report", folder)[0] == 0
    assert "Not measured. Spectra" in Parsed(told(folder / "release" / "report.html")).text


def test_the_command_names_the_owners_report(tmp_path, command):
    folder = with_health(run_folder(tmp_path / "run"), sample_health(sample_report()))
    code, out, err = command("report", folder, "--format", "json")
    assert (code, err) == (0, "")
    places = ("release/report.json", "private/report.html", "private/report.md")
    assert out.split() == [str(folder / place) for place in places]


# --- whose it is


def test_the_fingerprint_is_of_what_trainings_see():
    report = sample_report()
    report["configuration"] |= {"attack": {"shadows": 64, "targets": "all"}, "curate": {"x": 1}}
    own = pipeline_fingerprint(report)

    def changed(**parts):
        return pipeline_fingerprint(report | parts)

    def configured(**parts):
        return changed(configuration=report["configuration"] | parts)

    assert changed(name="another", verdict={}) == own
    assert configured(threat={"observes": []}, sweep={}, report={}) == own
    assert configured(attack={"shadows": 8, "targets": "all"}) == own
    assert configured(attack={"shadows": 64, "targets": 10}) != own
    assert configured(curate={"x": 2}) != own
    assert changed(seed=report["seed"] + 1) != own
    data = report["data"]["private"] | {"fingerprint": "1" * 64}
    assert changed(data=report["data"] | {"private": data}) != own


def test_of_a_run_without_it_nothing_is_read(tmp_path):
    assert read_health(tmp_path, sample_report()) is None


# --- schema and figures


@pytest.mark.parametrize("made", [sample_health, sparse_health])
def test_the_sample_keeps_to_the_schema_and_every_key_is_needed(made):
    tree = made(sample_report())
    validate_health(tree)
    for key in tree:
        with pytest.raises(ValueError, match=key):
            validate_health({name: value for name, value in tree.items() if name != key})
    with pytest.raises(ValueError, match="unknown"):
        validate_health(tree | {"unknown": 1})


def test_many_candidates_and_eigenvalues_draw_few_points():
    values = [1 / (i + 1) for i in range(20_000)]
    many = spectrum("gradients", None) | {"eigenvalues": values}
    figures = (health_plots.exposure(values, "leverage"), health_plots.eigenvalues([many]))
    for figure in figures:
        assert 100 < figure.count("<use") < 350
        assert len(figure) < 100_000


def test_without_leverage_candidates_are_drawn_by_their_gradients():
    _, table, figures = records([record("0" * 16, gradient=9.5), record("1" * 16)])
    assert "by the length of the gradient" in table.caption
    assert "largest 9.5" in figures.items[0].svg


def test_what_has_nothing_to_draw_has_no_figure():
    flat = spectrum("gradients", None) | {"eigenvalues": [0.0, None]}
    unmeasured = edge("model", 1.0, 2.0) | {"eta_lambda_max": None}
    blocks = (*spectra([flat]), *edges([unmeasured]), *records([record("0" * 16, gradient=None)]))
    assert not [one for one in blocks if isinstance(one, Figures)]


def test_a_record_whose_coin_can_be_read_has_no_mu_that_is_not_told():
    """JSON has no infinity; of a network neither mu nor TPR is told."""
    told = {"leverage": 1.0, "mu": None}
    read, network = record("0" * 16, **told | {"tpr_at_fpr_0.01": 1.0}), record("1" * 16, **told)
    network["tpr_at_fpr_0.01"] = None
    _, table, _ = records([read, network])
    assert [row[4:] for row in table.rows] == [("infinite", "1.000"), ("not told", "not told")]


def test_of_what_is_not_measured_nothing_is_below():
    _, table, *_ = edges([edge("model", 1.0, 2.0) | {"eta_lambda_max": None}])
    assert table.rows[0][-1] == "not measured"


def test_an_edge_is_drawn_beside_its_threshold():
    tree = sample_health(sample_report())
    assert "scorer 1.36 of its threshold" in health_plots.edges(tree["edges_of_stability"])
