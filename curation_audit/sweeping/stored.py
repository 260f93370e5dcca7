"""A point as it was stored, and back."""

from collections.abc import Mapping
from typing import Any

from curation_audit.results import Estimate
from curation_audit.sweeping.results import AttackedStage, Ceilings, PointResult, Usefulness


def point_from_plain(tree: Mapping[str, Any]) -> PointResult:
    """The inverse of ``to_plain`` of a point.

    Raises:
        KeyError, TypeError: for a tree that is none.
    """
    ceilings, worth = tree["ceilings"], tree["usefulness"]
    return PointResult(
        **{key: tree[key] for key in ("mechanism", "epsilon", "verdict", "ablation", "folder")},
        ceilings=None if ceilings is None else Ceilings(**ceilings),
        usefulness=Usefulness(**{key: _estimate(value) for key, value in worth.items()}),
        stages=tuple(
            AttackedStage(**{key: _estimate(value) for key, value in stage.items()})
            for stage in tree["stages"]
        ),
        notes=tuple(tree["notes"]),
        events=tuple(tree["events"]),
    )


def _estimate(value: Any) -> Any:
    """An estimate where the value is one, else the value."""
    is_one = isinstance(value, Mapping) and value.get("label") == "estimate"
    return Estimate(**value) if is_one else value
