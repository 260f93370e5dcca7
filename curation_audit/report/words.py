"""How numbers read in a report; what was not measured reads as words, never as 0."""

from typing import Any

NOT_MEASURED = "not measured"


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


def _plain(value: float) -> str:
    """Three significant digits without an exponent and without trailing zeros."""
    text = f"{float(f'{value:.3g}'):.9f}"
    return _without_negative_zero(text.rstrip("0").rstrip("."))


def _without_negative_zero(text: str) -> str:
    return text.removeprefix("-") if float(text) == 0 else text
