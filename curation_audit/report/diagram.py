"""The curation as a diagram: private set, pool, scorer, picks, model, and what is seen of them."""

from typing import TYPE_CHECKING, Any, Final

from curation_audit.report import svg, words
from curation_audit.report.plots import BLUE, GREY, ORANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEIGHT: Final = 250
BOX: Final = {"boxstyle": "round,pad=0.45", "facecolor": "white", "linewidth": 1.4}


def diagram(report: dict[str, Any]) -> str:
    """Boxes from the private set to the model; stages that were attacked are orange."""
    design = report["design"]
    seen = {stage["stage"] for stage in report["stages"] if stage["status"] == "attacked"}
    picked = words.count(design["picked"]["real"])
    boxes = [
        (0.0, 2.0, f"private set\n{words.count(design['n_private_rows'])} rows", GREY),
        (0.0, 0.4, f"public pool\n{words.count(design['n_pool'])} rows", GREY),
        (2.0, 1.2, "scorer", GREY),
        (3.6, 2.0, "scores", _colour("scores", seen)),
        (3.6, 0.4, f"picks\n{picked} rows", _colour("selection", seen)),
    ]
    arrows = [(0, 2), (1, 2), (2, 3), (3, 4), (1, 4)]
    if design["downstream"] is not None:
        boxes.append((5.4, 0.4, "model", _colour("model", seen)))
        arrows.append((4, 5))
    with svg.style():
        figure = svg.new_figure(HEIGHT)
        axes = figure.add_subplot()
        axes.set_axis_off()
        axes.set_xlim(-0.9, 6.1)
        axes.set_ylim(-0.1, 2.6)
        for start, end in arrows:
            _arrow(axes, boxes[start][:2], boxes[end][:2])
        for x, y, text, colour in boxes:
            axes.text(x, y, text, ha="center", va="center", bbox=BOX | {"edgecolor": colour})
        told = ", ".join(sorted(seen - {"joint"})) or "nothing"
        described = f"Private set and pool to scorer, scores, picks and model; seen: {told}."
        return svg.inline_svg(figure, name="diagram", description=described)


def _colour(stage: str, seen: set[str]) -> str:
    return ORANGE if stage in seen else BLUE


def _arrow(axes: "Axes", start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.annotate(
        "",
        xy=end,
        xytext=start,
        arrowprops={"arrowstyle": "->", "color": GREY, "shrinkA": 26, "shrinkB": 26},
    )
