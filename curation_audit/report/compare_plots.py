"""The figures of a comparison: dots with intervals, one colour and one mark for each run."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from curation_audit.report import svg, words
from curation_audit.report.blocks import with_interval
from curation_audit.report.plots import CHANCE
from curation_audit.report.sweep_plots import COLOURS, MARKS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CHANCES: Final = {"auc": 0.5, "advantage": 0.0, "tpr": 0.01}
FORMS: Final = {"auc": words.decimal, "advantage": words.signed, "tpr": words.percent}
ROW, FRAME = 22, 90  # units of height: a run at a stage, and what stands around


def dots(
    reports: Mapping[str, Mapping[str, Any]], stages: Sequence[str], measure: str, title: str
) -> str:
    """A measure of the headline attacks by stage, a dot for each run."""
    there = [s for s in stages if any(headline(one, s) is not None for one in reports.values())]
    told = []
    with svg.style():
        figure = svg.new_figure(FRAME + ROW * max(len(there), 1) * len(reports))
        axes = figure.add_subplot()
        axes.axvline(CHANCES[measure], **CHANCE)
        for i, (letter, report) in enumerate(reports.items()):
            for j, stage in enumerate(there):
                estimate = measured(report, stage, measure)
                if estimate is not None:
                    text = f"{letter}, {stage}: {with_interval(estimate, FORMS[measure])}"
                    _dot(axes, -j + _shift(i, len(reports)), estimate, i, text)
                    told.append(text)
        _stages(axes, there)
        if measure == "tpr":
            axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
            axes.locator_params(axis="x", nbins=5)
        axes.set_xlabel(f"{title} (estimate; dashed: chance)")
        _legend(axes, list(reports))
        described = f"{title} by stage and run. " + "; ".join(told or ["Nothing was measured."])
        return svg.inline_svg(figure, name=f"compare-{measure}", description=described)


def utility(reports: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The metric of every run beside random picks; ``None`` where no run has one."""
    own = {letter: one["utility"] for letter, one in reports.items() if one["utility"] is not None}
    if not own:
        return None
    told = []
    with svg.style():
        figure = svg.new_figure(FRAME + 2 * ROW * len(own))
        axes = figure.add_subplot()
        for row, (letter, one) in enumerate(own.items()):
            i = list(reports).index(letter)
            span = {"value": one["random_mean"], "low": one["random_low"]}
            span["high"] = one["random_high"]
            random = f"{letter}, random picks: {with_interval(span, words.decimal)}"
            curated = f"{letter}, curated: {words.decimal(one['curated'])}"
            (line,) = axes.plot(
                [span["low"], span["high"]], [-row, -row], color="#b9c2cc", linewidth=6
            )
            svg.hover(line, random)
            (dot,) = axes.plot([one["curated"]], [-row], _mark(i), color=_colour(i), markersize=8)
            svg.hover(dot, curated)
            told += [curated, random]
        axes.set_yticks([-row for row in range(len(own))], list(own))
        axes.set_ylim(-len(own) + 0.4, 0.6)
        axes.set_xlabel("Metric on the test set (grey: random picks)")
        return svg.inline_svg(figure, name="compare-utility", description="; ".join(told))


def headline(report: Mapping[str, Any], stage: str) -> dict[str, Any] | None:
    """The headline of a stage, where an attack ran."""
    found = (one["headline"] for one in report["stages"] if one["stage"] == stage)
    return next(found, None)


def measured(report: Mapping[str, Any], stage: str, measure: str) -> dict[str, Any] | None:
    """An estimate of the headline; ``None`` where nothing ran or nothing was resolved."""
    own = headline(report, stage)
    if own is None:
        return None
    if measure == "tpr":
        point = words.point_at(own["metrics"], 0.01)
        return None if point is None else point["tpr"]
    found: dict[str, Any] = own["metrics"][measure]
    return found


def _dot(axes: "Axes", y: float, estimate: Mapping[str, Any], i: int, text: str) -> None:
    ends = [estimate["low"], estimate["high"]]
    (line,) = axes.plot(ends, [y, y], color=_colour(i), linewidth=3, alpha=0.5)
    (dot,) = axes.plot([estimate["value"]], [y], _mark(i), color=_colour(i), markersize=7)
    svg.hover(line, text)
    svg.hover(dot, text)


def _colour(i: int) -> str:
    return COLOURS[i % len(COLOURS)]


def _mark(i: int) -> str:
    return MARKS[i % len(MARKS)]


def _shift(i: int, n: int) -> float:
    """Where in its stage's strip a run stands: the first on top."""
    return 0.7 * ((n - 1) / 2 - i) / n


def _stages(axes: "Axes", stages: Sequence[str]) -> None:
    axes.set_yticks([-j for j in range(len(stages))], list(stages))
    axes.set_ylim(-max(len(stages), 1) + 0.5, 0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    for j in range(1, len(stages)):
        axes.axhline(0.5 - j, color="#e3e7ec", linewidth=0.8)


def _legend(axes: "Axes", letters: Sequence[str]) -> None:
    for i, letter in enumerate(letters):
        axes.plot([], [], _mark(i), color=_colour(i), markersize=7, label=letter)
    figure = axes.get_figure()
    if figure is not None:
        figure.legend(loc="outside upper left", ncols=len(letters), columnspacing=1.2)
