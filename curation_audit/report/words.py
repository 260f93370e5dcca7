"""How numbers read in a report; what was not measured reads as words, never as 0."""

import math
from collections.abc import Sequence
from typing import Any, Final

NOT_MEASURED: Final = "not measured"
# The bound that stands for a stage: the first of these that the stage has. Neither needs a
# hypothesis, and whether there is one follows from the plan (which attacks read no coins), never
# from a result. So it is not the best of several, and nothing is paid for a choice.
DECLARED_METHODS: Final = ("one run", "pair mean")
ADJACENCIES: Final = {
    "add_remove": "add or remove one record",
    "zero_out": "blank one record",
    "replace_one": "replace one record",
}
# What the tool grants where a threat model says nothing; a test holds it to the audit's own.
DEFAULT_KNOWS: Final = ("algorithm", "candidates", "labels", "other candidates", "pool")


def decimal(value: float | None, missing: str = NOT_MEASURED) -> str:
    """An AUC or another number near 1, with three decimals.

    >>> decimal(0.87349), decimal(None)
    ('0.873', 'not measured')
    """
    return missing if value is None else _without_negative_zero(f"{value:.3f}")


def signed(value: float | None, missing: str = NOT_MEASURED) -> str:
    """A difference that may be negative, with its sign and three decimals.

    >>> signed(0.31), signed(-0.02), signed(-0.0001)
    ('+0.310', '−0.020', '0.000')
    """
    if value is None:
        return missing
    text = decimal(value)
    if float(text) == 0:
        return text
    return f"+{text}" if value > 0 else f"−{text.removeprefix('-')}"


def percent(value: float | None, missing: str = NOT_MEASURED) -> str:
    """A rate in percent with about three significant digits.

    >>> percent(0.5), percent(0.01234), percent(0.00098765), percent(0.0)
    ('50 %', '1.23 %', '0.0988 %', '0 %')
    """
    if value is None:
        return missing
    return f"{_plain(100 * value)} %"


def p_value(value: float | None, missing: str = NOT_MEASURED) -> str:
    """A p-value or a level with two significant digits.

    >>> p_value(0.4321), p_value(2.5e-05), p_value(1e-12)
    ('0.43', '0.000025', 'below 0.000001')
    """
    if value is None:
        return missing
    return (
        "below 0.000001" if value < 1e-6 else f"{float(f'{value:.2g}'):.8f}".rstrip("0").strip(".")
    )


def count(value: float | None, missing: str = NOT_MEASURED) -> str:
    """A number of things, with thousands set apart; a mean of counts keeps one decimal.

    >>> count(12800), count(99.5), count(100.0)
    ('12,800', '99.5', '100')
    """
    if value is None:
        return missing
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def seconds(value: float | None, missing: str = NOT_MEASURED) -> str:
    """A duration.

    >>> seconds(0.0421), seconds(42.31), seconds(192)
    ('0.04 s', '42.3 s', '3 min 12 s')
    """
    if value is None:
        return missing
    if value < 60:
        return f"{value:.2f} s" if value < 1 else f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def epsilon(value: float | None, missing: str = NOT_MEASURED) -> str:
    """An epsilon rounded down, so that a lower bound is never overstated; 0 reads as words.

    >>> epsilon(1.9789), epsilon(0.00427), epsilon(0.0), epsilon(None)
    ('1.97', '0.0042', 'nothing shown', 'not measured')
    """
    if value is None:
        return missing
    if value <= 0:
        return "nothing shown"
    digits = max(2, 1 - math.floor(math.log10(value)))
    # a hair above, as 100 times 0.29 lies below 29 in floating point
    return f"{math.floor(value * 10**digits * (1 + 1e-12)) / 10**digits:.{digits}f}"


def delta(value: float) -> str:
    """A delta, as short as it can be written.

    >>> delta(1e-05), delta(2.5e-06), delta(0.001)
    ('1e-5', '2.5e-6', '0.001')
    """
    return f"{value:g}".replace("e-0", "e-")


def adjacency(name: str, unit: str = "row") -> str:
    """Which private sets count as neighbours, where coins are those of units.

    Coins that move all rows of somebody together say nothing about single rows: whoever has k of
    them may leak up to k times the epsilon of one.

    >>> adjacency("add_remove"), adjacency("add_remove", "patient")
    ('add or remove one record', 'add or remove all records of one patient')
    """
    whose = "one record" if unit in ("row", "canary") else f"all records of one {unit}"
    return ADJACENCIES[name].replace("one record", whose)


def tally(counts: dict[str, int]) -> str:
    """What a bound was counted from.

    >>> tally({"canaries": 6400, "guesses": 128, "in_rows": 32})
    '6,400 canaries, 128 guesses, 32 in rows'
    """
    return ", ".join(f"{count(n)} {name.replace('_', ' ')}" for name, n in counts.items())


def declared_bound(bounds: dict[str, Any]) -> dict[str, Any] | None:
    """The bound that stands for a stage, see ``DECLARED_METHODS``."""
    by_method: dict[str, dict[str, Any]] = {one["method"]: one for one in bounds["results"]}
    return next((by_method[name] for name in DECLARED_METHODS if name in by_method), None)


def bounds_at(report: dict[str, Any], stage: str) -> dict[str, Any] | None:
    """The bounds of a stage, where it has some."""
    return next((one for one in report["bounds"] if one["stage"] == stage), None)


def ceiling_at(claim: dict[str, Any], fpr: float) -> float | None:
    """The largest expected TPR that a claim allows at one of the rates it is given for."""
    pairs = zip(claim["fpr"], claim["tpr"], strict=True)
    return next((tpr for rate, tpr in pairs if abs(rate - fpr) < 1e-12), None)


def deviations(threat: dict[str, Any]) -> list[str]:
    """What a threat model grants or withholds against the default, in plain words."""
    knows = threat["knows"]
    told = [f"The adversary does not know: {name}." for name in DEFAULT_KNOWS if name not in knows]
    told += [f"The adversary also knows: {name}." for name in knows if name not in DEFAULT_KNOWS]
    views = {
        "exact": None,
        "rounded": f"Scores are seen rounded to {threat['decimals']} decimals.",
        "ranks": "Of the scores only the order of the pool rows is seen.",
        "top only": "Scores are seen for the picked rows only.",
    }
    limited = threat["queries"] is not None
    others = {
        views[threat["scores_as"]]: "scores" in threat["observes"],
        "Of the model only the likeliest class is seen.": threat["model_as"] == "labels",
        "The scorer's embedding is not known: a random projection stands in for it.": (
            threat["embedding"] == "surrogate"
        ),
        f"The adversary may plant {count(threat['may_insert'])} rows in the pool.": (
            threat["may_insert"] > 0
        ),
        f"The model answers at most {count(threat['queries'])} queries.": limited,
    }
    return told + [text for text, there in others.items() if text and there]


def needs(attack: dict[str, Any]) -> str:
    """Why an attack did not run, as "not applicable: needs X"."""
    reason = attack["reason"] or f"needs {', '.join(attack['needs'])}"
    return f"not applicable: {reason.removeprefix('not applicable').lstrip(': ')}"


def against_chance(stage: dict[str, Any]) -> str:
    """What a stage's headline says, in a few words; stages are judged together."""
    if stage["status"] == "not observed":
        return "not observed"
    if stage["headline"] is None:
        return "no attack could run"
    auc = stage["headline"]["metrics"]["auc"]
    if stage["headline"]["above_chance"]:
        return "above chance"
    return "below chance" if auc["high"] < 0.5 else "not told apart from chance"


def point_at(metrics: dict[str, Any], fpr: float) -> dict[str, Any] | None:
    """The operating point at ``fpr``, where the audit has one."""
    points: list[dict[str, Any]] = metrics["tpr_at_fpr"]
    return next((point for point in points if abs(point["fpr"] - fpr) < 1e-9), None)


def gain_over_random(utility: dict[str, Any]) -> str:
    """How the curated model compares with random picks, given a metric where more is better."""
    if utility["curated"] > utility["random_high"]:
        return "better than random picks"
    if utility["curated"] < utility["random_low"]:
        return "worse than random picks"
    return "not told apart from random picks"


def listed(names: Sequence[str]) -> str:
    """Names in a sentence.

    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _plain(value: float) -> str:
    """Three significant digits without an exponent and without trailing zeros."""
    text = f"{float(f'{value:.3g}'):.9f}"
    return _without_negative_zero(text.rstrip("0").rstrip("."))


def _without_negative_zero(text: str) -> str:
    return text.removeprefix("-") if float(text) == 0 else text
