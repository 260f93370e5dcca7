import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest

from curation_audit.report import plots, svg, words
from tests.report.sample import sample_report, sparse_report


def all_figures(report):
    yield plots.leakage_ladder(report["stages"])
    if report["utility"]:
        yield plots.utility_dots(report["utility"])
    for stage in report["stages"]:
        for attack in stage["attacks"][:1]:
            if attack["metrics"]:
                yield plots.roc(attack, stage["stage"])
                yield plots.risk_histogram(attack["candidate_risk"], stage["stage"])


FIGURES = [*all_figures(sample_report()), *all_figures(sparse_report())]


def texts(figure):
    return [element.text for element in ElementTree.fromstring(figure).iter("text")]


@pytest.mark.parametrize("figure", FIGURES)
def test_figure_is_one_described_element_that_scales(figure):
    root = ElementTree.fromstring(figure)
    assert root.tag == "svg"
    assert root.get("role") == "img"
    assert len(root.get("aria-label")) > 30
    assert root.get("width") is None
    assert float(root.get("viewBox").split()[2]) == 360


@pytest.mark.parametrize("figure", FIGURES)
def test_figure_holds_nothing_that_reaches_out(figure):
    assert "http" not in figure
    for forbidden in ("<script", "<style", "<image", "@import", "xmlns"):
        assert forbidden not in figure
    assert all(link.startswith("#") for link in re.findall(r'href="([^"]*)"', figure))


@pytest.mark.parametrize("figure", FIGURES)
def test_links_lead_to_ids_of_the_same_figure(figure):
    ids = re.findall(r'\bid="([^"]+)"', figure)
    assert len(ids) == len(set(ids))
    linked = re.findall(r'href="#([^"]+)"', figure) + re.findall(r"url\(#([^)]+)\)", figure)
    assert set(linked) <= set(ids)
    assert len({identifier.rsplit("-", 1)[0] for identifier in ids}) == 1


@pytest.mark.parametrize("figure", FIGURES)
def test_text_is_readable_at_phone_width(figure):
    # A phone 390 pixels wide shows the 360 units of a figure on 358 pixels.
    sizes = [float(size) for size in re.findall(r"font(?:-size)?: (?:italic )?([\d.]+)px", figure)]
    assert sizes
    assert min(sizes) * 358 / 360 >= 11


def test_figures_are_the_same_every_time():
    again = [*all_figures(sample_report()), *all_figures(sparse_report())]
    assert again == FIGURES


def test_style_of_the_process_is_left_alone():
    before = dict(mpl.rcParams)
    plots.leakage_ladder(sample_report()["stages"])
    assert dict(mpl.rcParams) == before


def test_ladder_shows_every_stage_and_says_what_was_not_measured():
    shown = texts(plots.leakage_ladder(sparse_report()["stages"]))
    assert {"scores", "selection", "model", "not observed", "no attack could run"} <= set(shown)
    auc = sparse_report()["stages"][0]["headline"]["metrics"]["auc"]
    assert f"{auc['value']:.3f} ({auc['low']:.3f} to {auc['high']:.3f})" in shown


@pytest.mark.parametrize("value", [0.0, 0.02, 0.3, 0.5, 0.98, 1.0])
def test_ladder_takes_any_auc(value):
    stage = sample_report()["stages"][0]
    stage["headline"]["metrics"]["auc"] |= {"value": value, "low": value, "high": value}
    assert f"{value:.3f} ({value:.3f} to {value:.3f})" in texts(plots.leakage_ladder([stage]))


def test_lowest_resolvable_fpr_follows_from_the_number_of_nonmembers():
    metrics = sample_report()["stages"][0]["attacks"][0]["metrics"]
    assert plots.resolvable_fpr(metrics) == 10 / metrics["n_nonmembers"]
    metrics["tpr_at_fpr"][1]["status"] = "not resolvable"
    assert plots.resolvable_fpr(metrics) == metrics["tpr_at_fpr"][1]["fpr"]


def test_roc_of_an_attack_that_finds_nobody_can_be_drawn():
    attack = sample_report()["stages"][0]["attacks"][0]
    attack["roc"] |= {key: [0.0] * 60 for key in ("tpr", "low", "high")}
    assert "False-positive rate" in texts(plots.roc(attack, "scores"))


def test_roc_shows_the_ceiling_of_a_claim_where_there_is_one():
    report = sample_report()
    attack = report["stages"][0]["attacks"][0]
    assert "claimed ceiling" in texts(plots.roc(attack, "scores", report["claim"]))
    assert "claimed ceiling" not in texts(plots.roc(attack, "scores"))
    assert "claimed guarantee" in plots.roc(attack, "scores", report["claim"])


def test_joint_is_no_step_of_the_ladder():
    """The line ends at the model; all stages together stand beside it."""

    def steps(stages):
        (line,) = re.findall(
            r'd="([^"]*)"[^>]*stroke: var\(--figure-step, #b9c2cc', plots.leakage_ladder(stages)
        )
        return len(re.findall("[ML]", line))

    stages = sample_report()["stages"]
    assert len(stages) == 4
    assert steps(stages) == 3
    assert "joint" in texts(plots.leakage_ladder(stages))


def test_histogram_of_one_bin_can_be_drawn():
    counts = np.zeros(40)
    counts[20] = 7
    edges = np.linspace(0, 1, 41).tolist()
    risk = {"bin_edges": edges, "counts": counts.tolist(), "maximum": 0.51, "mean": 0.505}
    assert "Candidates" in texts(plots.risk_histogram(risk, "model"))


@pytest.mark.parametrize("value", [0.0, 0.9])
def test_utility_without_any_spread_can_be_drawn(value):
    utility = sample_report()["utility"]
    utility |= dict.fromkeys(
        ("curated", "random_mean", "random_low", "random_high", "shadows_mean"), value
    )
    assert {"curated", "random", "shadows"} <= set(texts(plots.utility_dots(utility)))


def test_pyplot_is_never_loaded_and_the_package_loads_nothing_heavy():
    code = (
        "import sys, curation_audit.report; "
        "heavy = {'matplotlib', 'jinja2', 'jsonschema', 'scipy', 'yaml'} & set(sys.modules); "
        "assert not heavy, heavy; "
        "from curation_audit.report import plots; "
        "plots.leakage_ladder([{'stage': 'model', 'status': 'not observed', 'headline': None}]); "
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


# what is told where a reader points


def titles(figure):
    return [element.text for element in ElementTree.fromstring(figure).iter("title")]


def test_ladder_tells_its_numbers_where_a_reader_points():
    stages = sample_report()["stages"]
    told = titles(plots.leakage_ladder(stages))
    for stage in stages:
        auc = stage["headline"]["metrics"]["auc"]
        text = f"{auc['value']:.3f} ({auc['low']:.3f} to {auc['high']:.3f})"
        assert told.count(f"{stage['stage']}: {text}") == 2  # the dot and its interval


def test_roc_tells_points_of_its_curve():
    attack = sample_report()["stages"][0]["attacks"][0]
    told = titles(plots.roc(attack, "scores"))
    curve = attack["roc"]
    points = [
        f"FPR {words.percent(fpr)}: TPR {words.percent(tpr)} "
        f"({words.percent(low)} to {words.percent(high)})"
        for fpr, tpr, low, high in zip(
            *(curve[k] for k in ("fpr", "tpr", "low", "high")), strict=True
        )
    ]
    assert 10 <= len(told) <= plots.HOVERED
    assert set(told) <= set(points)
    assert {points[0], points[-1]} <= set(told)


def test_histogram_tells_every_bar():
    risk = sample_report()["stages"][0]["attacks"][0]["candidate_risk"]
    bars = [one for one in titles(plots.risk_histogram(risk, "model")) if "candidates" in one]
    assert sum(int(one.split(": ")[1].split()[0]) for one in bars) == sum(risk["counts"])


def test_words_told_are_escaped_and_stand_first_in_their_group():
    hostile = "<script>\"'&--></title>"
    with svg.style():
        figure = svg.new_figure(100)
        (line,) = figure.add_subplot().plot([0, 1], [0, 1])
        svg.hover(line, hostile)
        drawn = svg.inline_svg(figure, name="x", description="a line that is drawn")
    assert titles(drawn) == [hostile]
    assert "<script" not in drawn
    groups = [g for g in ElementTree.fromstring(drawn).iter("g") if g.find("title") is not None]
    assert [group[0].tag for group in groups] == ["title"]


# a dark screen

STYLE = Path(svg.__file__).with_name("style.css").read_text()
DARK = STYLE[STYLE.index("@media screen and (prefers-color-scheme: dark)") :]
DARK = DARK[: DARK.index("\n}\n")]


def variables(text):
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6})\b", text))


LIGHT = variables(STYLE.replace(DARK, "")) | {
    f"figure-{name}": colour for colour, name in svg.PALETTE.items()
}
SCHEMES = pytest.mark.parametrize("colours", [LIGHT, variables(DARK)], ids=["light", "dark"])


def contrast(one, other):
    """The contrast ratio of the Web Content Accessibility Guidelines."""

    def luminance(colour):
        digits = colour.lstrip("#")
        digits = "".join(2 * c for c in digits) if len(digits) == 3 else digits
        parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_that_of_the_guidelines():
    assert contrast("#000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#fff") == pytest.approx(4.48, abs=0.01)


@SCHEMES
def test_text_can_be_read(colours):
    for text, ground in (
        ("ink", "paper"), ("soft", "paper"), ("ink", "wash"), ("soft", "wash"), ("leak", "paper"),
        ("leak", "leak-wash"), ("clear", "clear-wash"), ("invalid", "invalid-wash"),
        ("ink", "leak-wash"), ("ink", "clear-wash"), ("ink", "invalid-wash"),
        ("figure-ink", "figure-paper"), ("figure-tick", "figure-paper"),
        ("figure-axis", "figure-paper"), ("figure-ink", "figure-region"),
    ):  # fmt: skip
        assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)


@SCHEMES
def test_lines_can_be_seen(colours):
    for name in ("blue", "orange", "green", "pink"):
        assert contrast(colours[f"figure-{name}"], colours["figure-paper"]) >= 3, name


def test_every_colour_of_a_figure_has_one_for_a_dark_screen():
    assert {f"figure-{name}" for name in svg.PALETTE.values()} <= variables(DARK).keys()
    for figure in FIGURES:
        bare = re.sub(r"var\(--figure-[\w-]+, #[0-9a-f]{6}\)", "", figure)
        assert not re.findall(r"#[0-9a-f]{6}", bare)
        assert not [tag for tag in re.findall("<text[^>]*>", figure) if "fill: var(" not in tag]


def test_paper_stays_light():
    assert STYLE.count("prefers-color-scheme") == 1
    assert "@media screen and (prefers-color-scheme: dark)" in STYLE


def test_plain_colours_are_those_of_the_palette():
    figure = svg.with_plain_colours(FIGURES[0])
    assert "var(" not in figure
    assert svg.PALETTE.keys() >= {*re.findall("#[0-9a-f]{6}", figure)}
