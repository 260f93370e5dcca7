import re
import subprocess
import sys
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest

from curation_audit.report import plots
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
        (line,) = re.findall(r'd="([^"]*)"[^>]*stroke: #b9c2cc', plots.leakage_ladder(stages))
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
