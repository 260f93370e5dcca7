"""The privacy-utility curve of a forecast by epsilon, as a file; all of its words are in it."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from curation_audit.report import svg, words
from curation_audit.report.plots import BLUE, CHANCE, GREY, ORANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEIGHT: Final = 560
DPI: Final = 150
LETTERS: Final = 80  # of a line of text, as wide as the picture
INK: Final = "#1d2430"
CHECKED: Final = "prediction, checked on exact shadows"


def draw_by_epsilon(forecast: Mapping[str, Any], knows: str, path: Path) -> None:
    """What the auditor tells by epsilon, under what the claim allows; and the picks kept.

    Args:
        forecast: its tree, with ``by_epsilon``, ascending, and ``check``.
        knows: what the auditor sees and knows.
        path: of a picture.
    """
    points = forecast["by_epsilon"]
    with svg.style():
        figure = svg.new_figure(HEIGHT)
        lines = [part for line in told(forecast, knows) for part in textwrap.wrap(line, LETTERS)]
        figure.suptitle("\n".join(lines), x=0.02, ha="left", fontsize=8.5)
        leak, kept = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        _draw_leak(leak, points)
        _draw_kept(kept, points)
        kept.set_xscale("log")
        kept.set_xticks([p["epsilon"] for p in points], [f"{p['epsilon']:g}" for p in points])
        kept.minorticks_off()
        kept.set_xlabel("epsilon of the scorer")
        figure.savefig(path, dpi=DPI)


def told(forecast: Mapping[str, Any], knows: str) -> list[str]:
    """Label, threat model and check, a line each."""
    points, check = forecast["by_epsilon"], forecast["check"]
    n_checked = sum(point["label"] == CHECKED for point in points)
    linearity = words.NOT_MEASURED
    if check is not None:
        linearity = (
            f"{_between(points, 'linearity_corr')} on {check['n_exact_shadows']} exact shadows "
            f"(at most {_between(points, 'attainable_linearity')} beside its noise)"
        )
    return [
        f"Predictions to first order: {n_checked} of {len(points)} checked on exact shadows.",
        f"Threat model: an auditor with {knows}.",
        f"linearity_corr: {linearity}.",
        "The claim's ceiling is a bound, for the scores by themselves.",
    ]


def _between(points: Sequence[Mapping[str, Any]], key: str) -> str:
    found = [point[key] for point in points if point[key] is not None]
    if not found:
        return words.NOT_MEASURED
    return f"{words.decimal(min(found))} to {words.decimal(max(found))}"


def _draw_leak(axes: "Axes", points: Sequence[Mapping[str, Any]]) -> None:
    at = [point["epsilon"] for point in points]
    axes.axhline(0.5, **CHANCE)
    ceiling = [point["allowed_auc"] for point in points]
    axes.plot(at, ceiling, color=INK, linestyle="-.", label="the claim allows (bound)")
    axes.plot(at, [point["auc"] for point in points], color=BLUE, linewidth=1.4)
    for checked, fill, label in ((True, BLUE, "predicted, checked"), (False, "white", "predicted")):
        some = [one for one in points if (one["label"] == CHECKED) == checked]
        if some:
            axes.plot(
                [one["epsilon"] for one in some],
                [one["auc"] for one in some],
                "o",
                color=BLUE,
                markerfacecolor=fill,
                label=label if checked else f"{label}, not confirmed",
            )
    measured = [one for one in points if one["measured_auc"] is not None]
    if measured:
        values = [one["measured_auc"] for one in measured]
        axes.errorbar(
            [one["epsilon"] for one in measured],
            [one["value"] for one in values],
            yerr=[
                [one["value"] - one["low"] for one in values],
                [one["high"] - one["value"] for one in values],
            ],
            fmt="s",
            color=ORANGE,
            markersize=5,
            capsize=2,
            label="measured on exact shadows, 95 %",
        )
    axes.set_ylabel("AUC of the auditor")
    axes.legend(fontsize=9)


def _draw_kept(axes: "Axes", points: Sequence[Mapping[str, Any]]) -> None:
    """Prediction, too; where a rule draws noise of its own there is none."""
    there = [one for one in points if one["picks_kept"] is not None]
    axes.set_ylabel("picks kept\n(prediction, not checked)", fontsize=10)
    axes.set_ylim(0, 1.05)
    if there:
        kept = [one["picks_kept"] for one in there]
        axes.plot([one["epsilon"] for one in there], kept, color=BLUE, marker="o")
        return
    axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color=GREY)
