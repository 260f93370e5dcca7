"""Measurements in plain words, for a reader without statistics."""

from typing import Any

from curation_audit.report import words

OF = 1000
ASKED_PRIOR = 0.01


def in_plain_words(report: dict[str, Any], stage: dict[str, Any]) -> list[str]:
    """What the headline attack of a stage does to people, in sentences; empty where none ran."""
    headline = stage["headline"]
    if headline is None:
        return []
    who = people(report["design"]["unit"])
    point = _lowest_resolved(headline["metrics"]["tpr_at_fpr"])
    said = [_chance(headline, who)]
    if point is None:
        said.append(
            "How many can be named with few false alarms could not be resolved with this many "
            "shadows; that does not mean that nobody can."
        )
    else:
        said += [_named(point, who), *_right(point)]
    said.append(assumed(report["threat"], stage["stage"]))
    return said


def people(unit: str) -> str:
    """What candidates are called."""
    if unit.startswith("patient"):
        return "patients"
    return {"row": "records", "canary": "made-up records"}.get(unit, f"units ({unit})")


def _chance(headline: dict[str, Any], who: str) -> str:
    auc = headline["metrics"]["auc"]
    told = "better than guessing" if headline["above_chance"] else "not told apart from guessing"
    return (
        f"Shown one of the {who} that is in the set and one that is not, the attack points at the "
        f"right one {_of(auc['value'])} of {OF} times ({_of(auc['low'])} to {_of(auc['high'])}; "
        f"guessing is {OF // 2}): {told}."
    )


def _named(point: dict[str, Any], who: str) -> str:
    tpr = point["tpr"]
    return (
        f"Of {OF} {who} in the set the attack names {_of(tpr['value'])} "
        f"({_of(tpr['low'])} to {_of(tpr['high'])}), while wrongly naming "
        f"{_of(point['realised_fpr'])} of {OF} comparable ones outside it."
    )


def _right(point: dict[str, Any]) -> list[str]:
    for one in point["precision"]:
        if one["prior"] == ASKED_PRIOR and one["ppv"] is not None:
            ppv = one["ppv"]
            return [
                f"If only 1 in {round(1 / ASKED_PRIOR)} of those asked about is in the set, "
                f"{words.percent(ppv['value'])} of the named are right "
                f"({words.percent(ppv['low'])} to {words.percent(ppv['high'])})."
            ]
    return []


def assumed(threat: dict[str, Any], stage: str) -> str:
    """What the attacker was given, in one sentence."""
    sees = {
        "scores": "the score of every public row",
        "selection": "which public rows were picked",
        "model": "the answers of the trained model",
        "joint": "everything that is observed",
    }[stage]
    knows = words.listed([KNOWN[word] for word in threat["knows"] if word in KNOWN])
    beside = f", and knows {knows}" if knows else ", and knows nothing else"
    return f"The attacker sees {sees}{beside}."


KNOWN = {
    "algorithm": "how the curation works",
    "pool": "the public rows",
    "candidates": "the records that are asked about",
    "labels": "their labels",
    "other candidates": "all candidates together",
    "thresholds": "the lowest score that was picked",
    "memberships": "who else was in",
}


def _lowest_resolved(points: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The rate nearest to 1 % that is resolved; the lowest above it otherwise."""
    resolved = [point for point in points if point["status"] == "resolved"]
    return min(resolved, key=lambda point: abs(point["fpr"] - 0.01), default=None)


def _of(share: float) -> str:
    """How many of a thousand."""
    number = share * OF
    return f"{number:.0f}" if number >= 10 or number == 0 else f"{number:.1f}"
