"""The figures of a report, each as an inline SVG string.

Only stages and numbers are drawn, never a word that the user chose: those stand in the page
around a figure, where they are escaped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from curation_audit.report import svg, words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, told apart by most readers with colour-blindness and in grey.
BLUE: Final = "#0072b2"
ORANGE: Final = "#d55e00"
GREY: Final = "#5b6470"
HOVERED: Final = 17  # points of a curve that can be pointed at
CHANCE: Final[dict[str, Any]] = {"color": GREY, "linestyle": (0, (4, 3)), "linewidth": 1.2}


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a dot plot; without a value the text alone is shown."""

    label: str
    text: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    colour: str = BLUE


def leakage_ladder(stages: Sequence[dict[str, Any]]) -> str:
    """The headline AUC of every stage against chance."""
    rows = [_ladder_row(stage) for stage in stages]
    with svg.style():
        figure = svg.new_figure(66 + 50 * len(rows))
        axes = figure.add_subplot()
        axes.axvline(0.5, **CHANCE)
        lows = [row.low for row in rows if row.low is not None]
        axes.set_xlim(min([0.4, *(low - 0.05 for low in lows)]), 1.02)
        steps = [(row.value, -i) for i, row in enumerate(rows) if row.label != "joint"]
        reached = [step for step in steps if step[0] is not None]
        axes.plot(*zip(*reached, strict=True) if reached else ([], []), color="#b9c2cc", zorder=1)
        _draw_rows(axes, rows, no_value_at=0.51)
        axes.set_xlabel("Headline AUC (estimate; dashed: chance)")
        return svg.inline_svg(figure, name="ladder", description=_told("AUC per stage", rows))


def _ladder_row(stage: dict[str, Any]) -> Row:
    if stage["headline"] is None:
        return Row(stage["stage"], words.against_chance(stage))
    auc = stage["headline"]["metrics"]["auc"]
    text = f"{auc['value']:.3f} ({auc['low']:.3f} to {auc['high']:.3f})"
    colour = ORANGE if stage["headline"]["above_chance"] else BLUE
    return Row(stage["stage"], text, auc["value"], auc["low"], auc["high"], colour)


def utility_dots(utility: dict[str, Any]) -> str:
    """The curated model's metric beside that of random picks."""
    low, high = utility["random_low"], utility["random_high"]
    mean, shadows = utility["random_mean"], utility["shadows_mean"]
    rows = [
        Row("curated", f"{utility['curated']:.3f}", utility["curated"], colour=ORANGE),
        Row("random", f"{mean:.3f} ({low:.3f} to {high:.3f})", mean, low, high, GREY),
        Row("shadows", f"{shadows:.3f}", shadows),
    ]
    values = np.array([utility["curated"], low, high, mean, shadows])
    margin = 0.25 * max(float(np.ptp(values)), 0.02)
    with svg.style():
        figure = svg.new_figure(66 + 50 * len(rows))
        axes = figure.add_subplot()
        axes.set_xlim(float(values.min()) - margin, float(values.max()) + margin)
        _draw_rows(axes, rows, no_value_at=0.0)
        axes.set_xlabel("Metric on the test set")
        return svg.inline_svg(figure, name="utility", description=_told("Metric", rows))


def _draw_rows(axes: "Axes", rows: Sequence[Row], *, no_value_at: float) -> None:
    """Dots with intervals from top to bottom, each below its own text."""
    left, right = axes.get_xlim()
    for i, row in enumerate(rows):
        if row.value is None:
            axes.text(no_value_at, -i, row.text, va="center", style="italic", color=GREY)
            continue
        told = f"{row.label}: {row.text}"
        if row.low is not None and row.high is not None:
            ends = [row.low, row.high]
            (line,) = axes.plot(ends, [-i, -i], color=row.colour, linewidth=4, alpha=0.5)
            svg.hover(line, told)
        (dot,) = axes.plot([row.value], [-i], "o", color=row.colour, markersize=8)
        svg.hover(dot, told)
        # Text keeps to the side of the middle that has room for it.
        share = (row.value - left) / (right - left)
        side = "left" if share < 1 / 3 else "right" if share > 2 / 3 else "center"
        anchor = {"left": max(left, row.value), "right": min(right, row.high or row.value)}
        axes.text(
            anchor.get(side, row.value), 0.24 - i, row.text, ha=side, va="bottom",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
        )  # fmt: skip
    axes.set_yticks([-i for i in range(len(rows))], [row.label for row in rows])
    axes.set_ylim(-len(rows) + 0.6, 0.75)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)


def _told(subject: str, rows: Sequence[Row]) -> str:
    """A dot plot in words."""
    return f"{subject}: " + "; ".join(f"{row.label} {row.text}" for row in rows)


def resolvable_fpr(metrics: dict[str, Any]) -> float:
    """The lowest false-positive rate that the design resolves."""
    from curation_audit.statistics.metrics import MIN_EXPECTED_FALSE_POSITIVES

    unresolved = [p["fpr"] for p in metrics["tpr_at_fpr"] if p["status"] == "not resolvable"]
    return float(
        min(1.0, max([MIN_EXPECTED_FALSE_POSITIVES / metrics["n_nonmembers"], *unresolved]))
    )


def roc(attack: dict[str, Any], stage: str, claim: dict[str, Any] | None = None) -> str:
    """The ROC curve of one attack with its band, both axes logarithmic; a claim's ceiling."""
    metrics, curve = attack["metrics"], attack["roc"]
    arrays = {key: np.asarray(curve[key]) for key in ("fpr", "tpr", "low", "high")}
    floor = max(1 / metrics["n_nonmembers"], 1e-6)
    clipped = {key: np.maximum(array, floor) for key, array in arrays.items()}
    limit = resolvable_fpr(metrics)
    with svg.style():
        figure = svg.new_figure(370)
        axes = figure.add_subplot()
        axes.axvspan(floor, limit, color="#e9ecf0", linewidth=0, label="not resolvable")
        axes.fill_between(
            clipped["fpr"], clipped["low"], clipped["high"], color=BLUE, alpha=0.2, linewidth=0,
            label="interval",
        )  # fmt: skip
        axes.plot(clipped["fpr"], clipped["tpr"], color=BLUE, linewidth=2, label="estimate")
        axes.plot([floor, 1], [floor, 1], label="chance", **CHANCE)
        if claim is not None:
            ceiling = np.maximum(claim["tpr"], floor)
            axes.plot(claim["fpr"], ceiling, color=ORANGE, linestyle="-.", label="claimed ceiling")
        _hover_along(axes, arrays, floor)
        _logarithmic(axes, floor)
        axes.set_xlabel("False-positive rate")
        axes.set_ylabel("True-positive rate")
        figure.legend(loc="outside upper center", ncols=2)
        description = (
            f"ROC curve at the {stage} stage, log-log: AUC {metrics['auc']['value']:.3f}; "
            f"false-positive rates below {words.percent(limit)} are not resolvable"
            f"{'; the ceiling of the claimed guarantee is drawn beside it' if claim else ''}"
        )
        return svg.inline_svg(figure, name=f"roc-{stage}", description=description)


def _hover_along(axes: "Axes", curve: Mapping[str, Any], floor: float) -> None:
    """Points of a curve that are seen only when pointed at, evenly on the log scale."""
    wanted = np.geomspace(floor, 1, HOVERED)
    nearest = np.abs(np.log(np.maximum(curve["fpr"], floor))[:, None] - np.log(wanted)).argmin(0)
    for i in np.unique(nearest):
        fpr, tpr, low, high = (
            words.percent(curve[key][i]) for key in ("fpr", "tpr", "low", "high")
        )
        at = [max(curve["fpr"][i], floor)], [max(curve["tpr"][i], floor)]
        (spot,) = axes.plot(*at, "o", color=BLUE, markersize=14, alpha=0)
        svg.hover(spot, f"FPR {fpr}: TPR {tpr} ({low} to {high})")


def _logarithmic(axes: "Axes", floor: float) -> None:
    """Both axes from ``floor`` to 1 on a log scale, labelled in percent."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(floor, 1)
    axes.set_ylim(floor, 1.05)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(numticks=12))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
        axis.set_minor_locator(NullLocator())


def risk_histogram(risk: dict[str, Any], stage: str) -> str:
    """How many candidates are exposed how much."""
    edges, counts = np.asarray(risk["bin_edges"]), np.asarray(risk["counts"])
    filled = np.nonzero(counts)[0]
    first, last = (filled[0], filled[-1] + 1) if filled.size else (0, len(counts))
    edges, counts = edges[first : last + 1], counts[first:last]
    with svg.style():
        figure = svg.new_figure(290)
        axes = figure.add_subplot()
        width = np.diff(edges)
        bars = axes.bar(edges[:-1], counts, width, align="edge", color="#8fbddb", ec="#6ba3c9")
        for bar, count, low, high in zip(bars, counts, edges[:-1], edges[1:], strict=True):
            svg.hover(bar, f"exposure {low:.3f} to {high:.3f}: {words.count(count)} candidates")
        axes.axvline(0.5, label="chance", **CHANCE)
        for name, colour in (("mean", BLUE), ("maximum", ORANGE)):
            line = axes.axvline(risk[name], color=colour, linewidth=2, label=name)
            svg.hover(line, f"{name} {words.decimal(risk[name])}")
        axes.set_xlim(min(edges[0], 0.45) - 0.03, max(edges[-1], 0.55) + 0.03)
        axes.grid(visible=False, axis="x")
        axes.set_axisbelow(True)
        axes.set_xlabel("A candidate's exposure (estimate)")
        axes.set_ylabel("Candidates")
        figure.legend(loc="outside upper center", ncols=3, columnspacing=1.2)
        description = (
            f"Candidates' exposure at the {stage} stage: mean {risk['mean']:.3f}, "
            f"maximum {risk['maximum']:.3f}"
        )
        return svg.inline_svg(figure, name=f"risk-{stage}", description=description)
