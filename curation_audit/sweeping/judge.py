"""From points to a conclusion: where the curve bends, and one plain sentence."""

import math
from collections.abc import Collection, Sequence
from typing import Final

from curation_audit.report import words
from curation_audit.results import Adjacency
from curation_audit.sweeping.results import Knee, PointResult, Usefulness

KEEPS: Final = 0.9
"""A point keeps most of the gain where it keeps this share of it."""
NEIGHBOURS: Final = {
    "add_remove": "one {unit} more or less",
    "zero_out": "one {unit} blanked",
    "replace_one": "one {unit} replaced",
}


def kept_share(point: Usefulness, unprotected: Usefulness, random: Usefulness) -> float | None:
    """How much of the unprotected curation's gain over random picks a point keeps.

    ``None`` where it was not measured, or where curation gains nothing that the intervals tell.
    """
    if point.accuracy is None or unprotected.accuracy is None or random.accuracy is None:
        return None
    gain = unprotected.accuracy.value - random.accuracy.value
    if unprotected.accuracy.low <= random.accuracy.value or gain <= 0:
        return None
    return (point.accuracy.value - random.accuracy.value) / gain


def knee_of(
    mechanism: str, points: Sequence[PointResult], unprotected: Usefulness, random: Usefulness
) -> Knee:
    """The smallest epsilon from which on a mechanism keeps most of the gain."""
    own = sorted((p for p in points if p.mechanism == mechanism), key=_epsilon)
    shares = [kept_share(point.usefulness, unprotected, random) for point in own]
    measured = [share for share in shares if share is not None]
    if len(measured) < len(shares) or not shares:
        reason = (
            "utility was not measured"
            if unprotected.accuracy is None
            else "the unprotected curation gains nothing over random picks that could be told"
        )
        return Knee(mechanism=mechanism, epsilon=None, share=None, reason=reason)
    for i, point in enumerate(own):
        if point.epsilon is not None and min(measured[i:]) >= KEEPS:
            return Knee(mechanism=mechanism, epsilon=point.epsilon, share=measured[i], reason=None)
    reason = f"no point keeps {KEEPS:.0%} of what curation gains over random picks"
    return Knee(mechanism=mechanism, epsilon=None, share=None, reason=reason)


def _epsilon(point: PointResult) -> float:
    return math.inf if point.epsilon is None else point.epsilon


def conclude(
    knees: Sequence[Knee],
    points: Sequence[PointResult],
    unprotected: PointResult,
    *,
    adjacency: Adjacency,
    unit: str,
    delta: float,
) -> str:
    """One paragraph that a reader without statistics can act on."""
    wrong = _wrong(points, unprotected)
    if wrong is not None:
        return f"Do not use these results: {wrong}"
    ablations = {point.mechanism for point in points if point.ablation}
    found = [k for k in knees if k.epsilon is not None and k.mechanism not in ablations]
    neighbours = NEIGHBOURS[adjacency].format(unit=unit)
    if not found:
        return f"No point of this sweep is recommended ({_why_none(knees, ablations)})."
    best = min(found, key=lambda knee: (knee.epsilon or math.inf, -(knee.share or 0)))
    point = next(p for p in points if p.mechanism == best.mechanism and p.epsilon == best.epsilon)
    accuracy = point.usefulness.accuracy
    told = (
        f"At epsilon {best.epsilon:g} (delta {words.delta(delta)}, {neighbours}), "
        f"{best.mechanism} reaches {point.usefulness.metric} {accuracy.value:.3f}: "
        f"{best.share:.0%} of what curation gains over random picks."
        if accuracy is not None and best.share is not None
        else ""
    )
    return f"{told} {_attacked(point, unprotected)}".strip()


def _wrong(points: Sequence[PointResult], unprotected: PointResult) -> str | None:
    """What makes the sweep worthless: a failed control, or else a refuted guarantee."""
    invalid = [_named(one) for one in (unprotected, *points) if one.verdict == "audit invalid"]
    if invalid:
        return (
            f"a control of the audit of {', '.join(invalid)} found a leak where there is none. "
            "No number can be trusted until the cause is found."
        )
    refuted = [_named(one) for one in points if any(stage.refuted for stage in one.stages)]
    if refuted:
        return (
            f"the guarantee of {', '.join(refuted)} is refuted by what was measured. "
            "The mechanism, its constants or its implementation is wrong."
        )
    return None


def _named(point: PointResult) -> str:
    if point.mechanism is None:
        return "the unprotected pipeline"
    at = "without noise" if point.epsilon is None else f"at epsilon {point.epsilon:g}"
    return f"{point.mechanism} {at}"


def _why_none(knees: Sequence[Knee], ablations: Collection[str | None]) -> str:
    reasons = {
        knee.mechanism: "an ablation" if knee.mechanism in ablations else knee.reason
        for knee in knees
    }
    told = "; ".join(f"{mechanism}: {reason}" for mechanism, reason in reasons.items())
    return told or "no mechanism is possible here"


def _attacked(point: PointResult, unprotected: PointResult) -> str:
    if not point.stages:
        return ""
    strongest = max(point.stages, key=lambda stage: stage.auc.value)
    ceiling = (
        f" (its guarantee allows {point.ceilings.auc:.3f} on average)" if point.ceilings else ""
    )
    before = [one for one in unprotected.stages if one.stage == strongest.stage]
    without = f"; without protection it reached {before[0].auc.value:.3f}" if before else ""
    return (
        f"The strongest attack that was run, {strongest.attack} on {strongest.stage}, tells who "
        f"was in with an AUC of {strongest.auc.value:.3f}{ceiling}{without}."
    )
