"""The curve by epsilon: its words are in it, and what was not measured is not drawn."""

import re

import pytest

from curation_audit.report.epsilon_plots import CHECKED, draw_by_epsilon, told

KNOWS = "the scores and all candidates, no coin"


def point(epsilon, **changed):
    measured = {"value": 0.55, "low": 0.5, "high": 0.6, "confidence": 0.95}
    return {
        "epsilon": epsilon,
        "label": CHECKED,
        "auc": 0.56,
        "linearity_corr": 0.1 * epsilon,
        "attainable_linearity": 0.11 * epsilon,
        "measured_auc": measured,
        "allowed_auc": 0.7,
        "picks_kept": 0.5,
    } | changed


def forecast(*points, n=32):
    check = None if n is None else {"n_exact_shadows": n}
    return {"by_epsilon": list(points), "check": check}


def texts(path):
    return " ".join(re.findall(r"<text[^>]*>([^<]*)</text>", path.read_text()))


def test_label_threat_model_and_linearity_are_in_the_picture(tmp_path):
    path = tmp_path / "curve.svg"
    found = forecast(point(1.0), point(4.0, label="prediction, not confirmed"))
    draw_by_epsilon(found, KNOWS, path)
    text = texts(path)
    for phrase in (
        "1 of 2 checked on exact shadows",
        f"Threat model: an auditor with {KNOWS}.",
        "linearity_corr: 0.100 to 0.400 on 32 exact shadows",
        "at most 0.110 to 0.440 beside its noise",
        "the claim allows (bound)",
        "predicted, checked",
        "predicted, not confirmed",
        "prediction, not checked",
        "measured on exact shadows",
    ):
        assert phrase in text, phrase


def test_what_was_not_measured_is_not_drawn(tmp_path):
    path = tmp_path / "curve.svg"
    nothing = dict.fromkeys(
        ("linearity_corr", "attainable_linearity", "measured_auc", "picks_kept")
    )
    found = forecast(point(1.0, label="prediction, not confirmed", **nothing), n=None)
    draw_by_epsilon(found, KNOWS, path)
    text = texts(path)
    assert "linearity_corr: not measured." in text
    assert "measured on exact" not in text
    assert "0 of 1 checked" in text
    assert text.count("not measured") == 2


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_it_is_a_picture_of_each_kind(tmp_path, suffix):
    path = tmp_path / f"curve{suffix}"
    draw_by_epsilon(forecast(point(1.0), point(2.0)), KNOWS, path)
    head = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[suffix]
    assert path.read_bytes().startswith(head)


def test_lines_are_few_enough_to_stand_above_the_curve():
    lines = told(forecast(point(1.0)), KNOWS)
    assert len(lines) == 4
    assert max(map(len, lines)) < 110
