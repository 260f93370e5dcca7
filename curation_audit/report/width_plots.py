"""The figures of the width checks, as files."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from curation_audit.report import svg
from curation_audit.report.sweep_plots import COLOURS, MARKS
from curation_audit.training.widths import QUANTITIES, Coordinates, Transfer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEIGHT: Final = 260
DPI: Final = 150
ROOM: Final = 2  # around sizes, so that a small drift does not look like a large one


def draw_coordinates(found: Coordinates, path: Path) -> None:
    """Sizes by width, a panel for each quantity, a line for each layer."""
    with svg.style():
        figure = svg.new_figure(HEIGHT * len(QUANTITIES))
        panels = figure.subplots(len(QUANTITIES), 1, sharex=True)
        for axes, name, sizes in zip(panels, QUANTITIES, found.sizes, strict=True):
            for layer in range(sizes.shape[2]):
                _line(
                    axes, found.widths, sizes[..., layer].mean(axis=1), layer, f"layer {layer + 1}"
                )
            axes.set_yscale("log", base=2)
            axes.set_ylim(sizes.min() / ROOM, sizes.max() * ROOM)
            axes.set_ylabel(name)
        _width_axis(panels[-1], found.widths)
        panels[0].legend()
        figure.savefig(path, dpi=DPI)


def draw_transfer(found: Transfer, path: Path) -> None:
    """Losses by learning rate, a line for each width; what diverged is left out."""
    with svg.style():
        figure = svg.new_figure(HEIGHT)
        axes = figure.add_subplot()
        for i, losses in enumerate(found.losses.mean(axis=2)):
            kept = np.isfinite(losses)
            rates = np.array(found.rates)[kept]
            _line(axes, rates, losses[kept], i, f"width {found.widths[i]}")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xlabel("learning rate")
        axes.set_ylabel("final loss (public rows)")
        axes.legend()
        figure.savefig(path, dpi=DPI)


def _line(axes: "Axes", x: object, y: object, number: int, label: str) -> None:
    colour, mark = COLOURS[number % len(COLOURS)], MARKS[number % len(MARKS)]
    axes.plot(x, y, color=colour, marker=mark, markersize=4, label=label)  # type: ignore[arg-type]


def _width_axis(axes: "Axes", widths: tuple[int, ...]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(widths, [str(one) for one in widths])
    axes.set_xlabel("width")
