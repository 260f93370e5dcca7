"""The figures of training health, each as an inline SVG string; for its owner alone."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from curation_audit.report import svg, words
from curation_audit.report.plots import BLUE, CHANCE, ORANGE
from curation_audit.report.sweep_plots import COLOURS, MARKS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEIGHT: Final = 260
MOST_POINTS: Final = 300
SMALLEST: Final = 1e-9
"""Of the largest eigenvalue: what is below is rounding, and not drawn."""


def eigenvalues(spectra: Sequence[Mapping[str, Any]]) -> str:
    """Eigenvalues over the largest by their place, both axes logarithmic; each has one above 0."""
    with svg.style():
        figure = svg.new_figure(HEIGHT + 20 * len(spectra))
        axes = figure.add_subplot()
        for i, one in enumerate(spectra):
            values = np.array([v for v in one["eigenvalues"] if v])
            kept = values[values > SMALLEST * values.max()]
            _ranked(axes, kept / kept.max(), one["of"], i)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("place")
        axes.set_ylabel("eigenvalue over the largest")
        figure.legend(loc="outside upper left", ncols=1, fontsize=11)
        ranks = "; ".join(f"{one['of']}: numerical rank {one['numerical_rank']}" for one in spectra)
        return svg.inline_svg(figure, name="health-spectrum", description=f"Eigenvalues. {ranks}")


def exposure(found: Sequence[float | None], by: str) -> str:
    """A number of every candidate, the most exposed first; ``by`` says which."""
    values = np.array([one for one in found if one is not None])
    with svg.style():
        figure = svg.new_figure(HEIGHT)
        axes = figure.add_subplot()
        _ranked(axes, values, by, 0)
        axes.axhline(float(np.median(values)), label="median", **CHANCE)
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.set_xlabel("place of the candidate")
        axes.set_ylabel(by)
        axes.legend()
        told = f"Candidates by {by}: largest {values.max():.3g}, median {np.median(values):.3g}"
        return svg.inline_svg(figure, name="health-exposure", description=told)


def stability(found: Sequence[Mapping[str, Any]]) -> str:
    """Correlation and overlap of disjoint halves by number of records."""
    sizes = [one["n_records"] for one in found]
    lines = (("score correlation", "score_correlation", BLUE), ("overlap", "picks_overlap", ORANGE))
    with svg.style():
        figure = svg.new_figure(HEIGHT + 30)
        axes = figure.add_subplot()
        for i, (label, key, colour) in enumerate(lines):
            there = [(n, one[key]) for n, one in zip(sizes, found, strict=True)]
            points = [(n, value) for n, value in there if value is not None]
            places = [n for n, _ in points]
            of_places = [value for _, value in points]
            axes.plot(places, of_places, marker=MARKS[i], color=colour, label=label)
            for n, value in points:
                (spot,) = axes.plot([n], [value], "o", color=colour, markersize=12, alpha=0)
                svg.hover(spot, f"{words.count(n)} records: {label} {value:.3f}")
        chance = [one["overlap_by_chance"] for one in found]
        axes.plot(sizes, chance, label="overlap by chance", **CHANCE)
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [words.count(n) for n in sizes])
        axes.minorticks_off()
        axes.set_xlabel("records of each half")
        axes.set_ylabel("stability")
        figure.legend(loc="outside upper left", ncols=2, columnspacing=1.0)
        last = found[-1]
        told = (
            f"At {words.count(last['n_records'])} records: correlation "
            f"{words.decimal(last['score_correlation'])}, overlap "
            f"{words.decimal(last['picks_overlap'])}"
        )
        return svg.inline_svg(figure, name="health-stability", description=told)


def edges(found: Sequence[Mapping[str, Any]]) -> str:
    """``eta * lambda_max`` over the threshold, a bar for each training."""
    shares = [one["eta_lambda_max"] / one["threshold"] for one in found]
    with svg.style():
        figure = svg.new_figure(90 + 50 * len(found))
        axes = figure.add_subplot()
        for i, (one, share) in enumerate(zip(found, shares, strict=True)):
            colour = ORANGE if one["near_threshold"] else BLUE
            (bar,) = axes.barh([-i], [share], height=0.5, color=colour)
            svg.hover(bar, f"{one['part']}: {share:.3g} of the threshold")
        axes.axvline(1, **CHANCE)
        axes.set_yticks([-i for i in range(len(found))], [one["part"] for one in found])
        axes.set_xlim(min(0.0, *shares), 1.1 * max(1.0, *shares))
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("eta * lambda_max over its threshold")
        told = "; ".join(
            f"{one['part']} {share:.3g} of its threshold"
            for one, share in zip(found, shares, strict=True)
        )
        return svg.inline_svg(figure, name="health-edge", description=told)


def _ranked(axes: "Axes", values: np.ndarray, label: str, number: int) -> None:
    """Values by their place; of many, some at about equal distances on a logarithmic axis."""
    places = np.arange(1, len(values) + 1)
    if len(values) > MOST_POINTS:
        places = np.unique(np.geomspace(1, len(values), MOST_POINTS).round().astype(int))
    axes.plot(
        places,
        values[places - 1],
        marker=MARKS[number],
        markersize=3,
        color=COLOURS[number],
        linewidth=1.2,
        label=label,
    )
