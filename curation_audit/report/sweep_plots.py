"""The figures of a sweep, each as an inline SVG string."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from curation_audit.report import svg
from curation_audit.report.plots import BLUE, CHANCE, GREY, ORANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, and a mark of its own for each: told apart in grey, too
COLOURS: Final = (BLUE, ORANGE, "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#1d2430")
MARKS: Final = ("o", "s", "^", "D", "v", "P", "X")
STAGES: Final = ("scores", "selection", "model", "joint")
HEIGHT: Final = 260
LINE, COLUMNS = 18, 2  # of a legend
TIGHT: Final[dict[str, float]] = {"columnspacing": 1.0, "handlelength": 1.6, "handletextpad": 0.5}
APART: Final = 1.05  # marks that would hide one another's intervals


def utility_curves(sweep: Mapping[str, Any]) -> str:
    """Accuracy against epsilon, a line for each mechanism, beside the three references.

    Empty where it was not measured.
    """
    if sweep["random"]["accuracy"] is None:
        return ""
    with svg.style():
        figure = svg.new_figure(HEIGHT + LINE * (3 + len(mechanisms(sweep))) / COLUMNS)
        axes = figure.add_subplot()
        for name, own, colour, dash in (
            ("unprotected", sweep["unprotected"]["usefulness"], "#1d2430", "-"),
            ("random picks", sweep["random"], GREY, (0, (4, 3))),
            ("whole pool", sweep["public_only"], GREY, (0, (1, 2))),
        ):
            if own["accuracy"] is not None:
                axes.axhline(
                    own["accuracy"]["value"],
                    color=colour,
                    linestyle=dash,
                    linewidth=1.2,
                    label=name,
                )
        for i, mechanism in enumerate(mechanisms(sweep)):
            points = [p for p in of(sweep, mechanism) if p["usefulness"]["accuracy"] is not None]
            estimates = [point["usefulness"]["accuracy"] for point in points]
            _line(axes, [place(p, sweep) for p in points], estimates, i, mechanism)
        _epsilon_axis(axes, sweep)
        axes.set_ylabel(f"{sweep['random']['metric']} on the test set")
        _legend(figure)
        described = "Accuracy against epsilon by mechanism; the table has the numbers."
        return svg.inline_svg(figure, name="sweep-utility", description=described)


def attack_curves(sweep: Mapping[str, Any], mechanism: str, measure: str, number: int) -> str:
    """``auc`` or ``tpr_at_one_percent`` against epsilon by stage, under the claim's ceiling."""
    points = of(sweep, mechanism)
    with svg.style():
        figure = svg.new_figure(HEIGHT + 3 * LINE)
        axes = figure.add_subplot()
        chance = 0.5 if measure == "auc" else 0.01
        axes.axhline(chance, **CHANCE)
        claimed = [point for point in points if point["ceilings"] is not None]
        axes.plot(
            [place(point, sweep) for point in claimed],
            [point["ceilings"][measure] for point in claimed],
            color="#1d2430",
            linestyle="-.",
            label="ceiling of the claim",
        )
        for i, stage in enumerate(STAGES):
            found = [(p, s) for p in points for s in p["stages"] if s["stage"] == stage]
            there = [(p, s[measure]) for p, s in found if s[measure] is not None]
            places = [place(point, sweep) for point, _ in there]
            _line(axes, places, [estimate for _, estimate in there], i, stage)
        _epsilon_axis(axes, sweep)
        axes.set_ylabel("AUC of the headline attack" if measure == "auc" else "TPR at FPR 1 %")
        _legend(figure)
        described = f"{axes.get_ylabel()} against epsilon by stage; the table has the numbers."
        return svg.inline_svg(figure, name=f"sweep-{measure}-{number}", description=described)


def bound_curves(sweep: Mapping[str, Any], mechanism: str, number: int) -> str:
    """Measured lower bounds on epsilon against the claimed epsilon."""
    points = [point for point in of(sweep, mechanism) if point["ceilings"] is not None]
    with svg.style():
        figure = svg.new_figure(HEIGHT + 5 * LINE)
        axes = figure.add_subplot()
        claimed = [point["ceilings"]["epsilon"] for point in points]
        axes.plot(claimed, claimed, color="#1d2430", linestyle="-.", label="the claim")
        for i, stage in enumerate(STAGES):
            for method, filled in (("declared", True), ("pair mean, GDP", False)):
                there = [
                    (point["ceilings"]["epsilon"], bound)
                    for point in points
                    for one in point["stages"]
                    if one["stage"] == stage
                    for bound in [one["bounds"].get(one["declared"] if filled else method)]
                    if bound is not None
                ]
                if not there:
                    continue
                axes.plot(
                    *zip(*there, strict=True),
                    marker=MARKS[i],
                    color=COLOURS[i],
                    linestyle="-" if filled else ":",
                    markerfacecolor=COLOURS[i] if filled else "white",
                    label=stage if filled else f"{stage}, if Gaussian",
                )
        _log_axis(axes, claimed, [f"{epsilon:.3g}" for epsilon in claimed])
        axes.set_xlabel("claimed epsilon")
        axes.set_ylabel("epsilon at least")
        _legend(figure)
        described = "Lower bounds on epsilon against the claim; the table has the numbers."
        return svg.inline_svg(figure, name=f"sweep-bounds-{number}", description=described)


def mechanisms(sweep: Mapping[str, Any]) -> tuple[str, ...]:
    """The mechanisms of a sweep, in order."""
    return tuple(dict.fromkeys(point["mechanism"] for point in sweep["points"]))


def of(sweep: Mapping[str, Any], mechanism: str) -> list[dict[str, Any]]:
    """The points of one mechanism, by epsilon; without noise last."""
    own = [point for point in sweep["points"] if point["mechanism"] == mechanism]
    return sorted(own, key=lambda p: float("inf") if p["epsilon"] is None else p["epsilon"])


def place(point: Mapping[str, Any], sweep: Mapping[str, Any]) -> float:
    """Where a point stands on the axis; without noise to the right of the largest epsilon."""
    return float(_without_noise(sweep) if point["epsilon"] is None else point["epsilon"])


def _without_noise(sweep: Mapping[str, Any]) -> float:
    finite = [point["epsilon"] for point in sweep["points"] if point["epsilon"] is not None]
    return 3 * max(finite, default=1.0)


def _epsilon_axis(axes: "Axes", sweep: Mapping[str, Any]) -> None:
    finite = sorted({p["epsilon"] for p in sweep["points"] if p["epsilon"] is not None})
    ticks, labels = list(finite), [f"{epsilon:g}" for epsilon in finite]
    if any(point["epsilon"] is None for point in sweep["points"]):
        ticks.append(_without_noise(sweep))
        labels.append("no noise")
    _log_axis(axes, ticks, labels)
    axes.set_xlabel("epsilon")


def _legend(figure: "Figure") -> None:
    """Above the axes, where it hides nothing."""
    figure.legend(fontsize=11.2, loc="outside upper left", ncols=COLUMNS, **TIGHT)


def _log_axis(axes: "Axes", ticks: Sequence[float], labels: Sequence[str]) -> None:
    """Ticks where points stand, and nowhere else."""
    axes.set_xscale("log")
    axes.set_xticks(ticks, labels)
    axes.minorticks_off()


def _line(
    axes: "Axes", places: Sequence[float], estimates: Sequence[Any], i: int, label: str
) -> None:
    """Estimates with their intervals, joined by a line."""
    if not places:
        return
    places = [at * APART ** (i % len(STAGES) - 1.5) for at in places]
    values = [estimate["value"] for estimate in estimates]
    below = [estimate["value"] - estimate["low"] for estimate in estimates]
    above = [estimate["high"] - estimate["value"] for estimate in estimates]
    axes.errorbar(
        places,
        values,
        yerr=[below, above],
        marker=MARKS[i % len(MARKS)],
        color=COLOURS[i % len(COLOURS)],
        markersize=5,
        capsize=2,
        linewidth=1.4,
        label=label,
    )
    for at, one in zip(places, estimates, strict=True):
        (spot,) = axes.plot([at], [one["value"]], "o", color=GREY, markersize=12, alpha=0)
        told = f"{one['value']:.3f} ({one['low']:.3f} to {one['high']:.3f})"
        svg.hover(spot, f"{label}: {told}")
