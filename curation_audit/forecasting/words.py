"""A forecast as a tree for machines and as rows and sentences for people."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from curation_audit.forecasting.by_epsilon import Foretold
from curation_audit.forecasting.outlook import TIMES, Outlook, StageLaw
from curation_audit.forecasting.prediction import KNOWS
from curation_audit.statistics.leakage_law import Range

ASSUMES: Final = (
    "A number of records is that of the private set, of which an audit holds half at a time. The "
    "law assumes that further records are of the same kind and bring no new directions, that the "
    "adversary knows all candidates, and that a stage hides the same share of what coins move "
    "whatever their number. Ranges run between the laws of both ends of the interval measured "
    "today, of a stage that hides as much as today instead, and of how the variance of single "
    "halves falls; no theorem covers what is extrapolated."
)

BY_EPSILON: Final = (
    "By epsilon: the auditor's AUC is a prediction to first order along noisy paths; what the "
    "claim allows is a bound for the scores by themselves. Picks kept, a prediction that is not "
    "checked, are those of the curation without noise, where all candidates are in."
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a forecast is asked: numbers of records beside the usual ones, and an advantage."""

    records: tuple[int, ...] = ()
    advantage: float = 0.1

    def sizes(self, n_today: int) -> tuple[int, ...]:
        """Of how many records to tell, ascending."""
        return tuple(sorted({*self.records, *(times * n_today for times in TIMES)}))


def tree(found: Outlook, asked: Asked, names: Sequence[str]) -> dict[str, Any]:
    """All of a forecast as JSON values; infinite numbers are null.

    ``names`` are what the candidates are called.
    """
    prediction, check, flags = found.prediction, found.prediction.check, found.flags
    return {
        "label": prediction.label,
        "notes": list(found.notes),
        "n_records": found.n_today,
        "n_directions": prediction.n_directions,
        "effective_dimension": _number(prediction.dimension),
        "linearity_corr": None if check is None else _number(check.linearity),
        "check": None
        if check is None
        else {
            "n_exact_shadows": check.n_shadows,
            "attainable_linearity": _number(check.attainable),
            "tolerance": _number(check.tolerance),
            "slope": None if check.slope is None else _estimate(check.slope),
            "measured_auc": _estimate(check.measured),
            "predicted_auc": None if check.predicted is None else _number(check.predicted),
            "passed": check.failure is None,
            "failure": check.failure,
        },
        "told": [
            {
                "adversary": told.adversary,
                "knows": KNOWS[told.adversary],
                "auc": _number(told.auc),
                "advantage": _number(told.advantage),
                "tpr": [{"fpr": fpr, "value": _number(rate)} for fpr, rate in told.tpr.items()],
                "largest_mu": _number(float(told.mu.max())),
                "mu_99th_percentile": _number(_quantile(told.mu.tolist(), 0.99)),
            }
            for told in prediction.told
        ],
        "red_flags": flags.lines(),
        "most_exposed": [
            {
                "candidate": names[i],
                "mu": _number(float(flags.mu[i])) if prediction.told else None,
            }
            for i in flags.exposed
        ],
        "no_law": found.no_law,
        "variance_falls_as_n_to_the": None if found.fall is None else _number(-found.fall),
        "stages": [_stage(law, found, asked) for law in found.laws],
        "assumes": ASSUMES if found.laws else None,
        "by_epsilon": [_foretold(one) for one in found.by_epsilon],
    }


def _foretold(one: Foretold) -> dict[str, Any]:
    told = {of.adversary: of for of in one.prediction.told}
    check = one.prediction.check
    return {
        "epsilon": _number(one.epsilon),
        "noise_multiplier": _number(one.noise_multiplier),
        "label": one.prediction.label,
        "auc": _number(told["auditor"].auc),
        "advantage": _number(told["auditor"].advantage),
        "linearity_corr": None if check is None else _number(check.linearity),
        "attainable_linearity": None if check is None else _number(check.attainable),
        "measured_auc": None if check is None else _estimate(check.measured),
        "failure": None if check is None else check.failure,
        "largest_mu_of_known_others": _number(float(told["dp"].mu.max())),
        "allowed_auc": _number(one.allowed_auc),
        "picks_kept": None if one.kept is None else _number(one.kept),
    }


def _stage(law: StageLaw, found: Outlook, asked: Asked) -> dict[str, Any]:
    noise = law.noise_needed(found.n_today, asked.advantage)
    return {
        "stage": law.stage,
        "measured_auc": _estimate(law.measured),
        "by_records": [
            {
                "n_records": n,
                "auc": _bounds(law.auc(n)),
                "advantage": _bounds(law.advantage(n)),
            }
            for n in asked.sizes(found.n_today)
        ],
        "for_advantage": {
            "advantage": asked.advantage,
            "n_records": _bounds(law.records_needed(asked.advantage)),
            "noise_sd": None if noise is None else _number(noise),
            "noise_in_sd_of_scores": None
            if noise is None or not found.spread
            else _number(noise / found.spread),
        },
    }


def rows_of_laws(found: Outlook, asked: Asked) -> list[list[str]]:
    """A header and, for every number of records, the advantage at each stage."""
    header = ["records", *(f"advantage on {law.stage}" for law in found.laws)]
    body = [
        [f"{n:,}", *(shown(law.advantage(n)) for law in found.laws)]
        for n in asked.sizes(found.n_today)
    ]
    return [header, *body]


def rows_of_adversaries(found: Outlook) -> list[list[str]]:
    """A header and what every adversary is predicted to tell."""
    header = ["adversary", "knows", "AUC", "advantage", "largest mu"]
    body = [
        [
            told.adversary,
            KNOWS[told.adversary],
            f"{told.auc:.3f}",
            f"{told.advantage:.3f}",
            f"{told.mu.max():.2f}",
        ]
        for told in found.prediction.told
    ]
    return [header, *body]


def rows_by_epsilon(found: Outlook) -> list[list[str]]:
    """A header and, for every epsilon, what noisy gradient descent is predicted to tell."""
    header = ["epsilon", "noise", "AUC", "measured", "checked", "claim allows", "picks kept"]
    return [header, *(_row(one) for one in found.by_epsilon)]


def _row(one: Foretold) -> list[str]:
    check, auditor = one.prediction.check, one.prediction.told[0]
    measured, checked = "not measured", "no"
    if check is not None:
        of = check.measured
        measured = f"{of.value:.3f} ({of.low:.3f} to {of.high:.3f})"
        checked = "yes" if check.failure is None else "not confirmed"
    return [
        f"{one.epsilon:g}",
        f"{one.noise_multiplier:.3g}",
        f"{auditor.auc:.3f}",
        measured,
        checked,
        f"{one.allowed_auc:.3f}",
        "not measured" if one.kept is None else f"{one.kept:.0%}",
    ]


def sentences(found: Outlook, asked: Asked, names: Sequence[str]) -> list[str]:
    """What a forecast comes to."""
    prediction, check, flags = found.prediction, found.prediction.check, found.flags
    said = [f"Label: {prediction.label}.", *(f"Note: {note}." for note in found.notes)]
    if check is not None:
        measured = check.measured
        noisy = check.attainable < 1
        most = f" (with its noise at most about {check.attainable:.3f})" if noisy else ""
        said.append(
            f"On {check.n_shadows} exact shadows: linearity_corr {check.linearity:.3f}{most}, AUC "
            f"of the auditor {measured.value:.3f} ({measured.low:.3f} to {measured.high:.3f})"
            + (
                "."
                if check.predicted is None
                else f", predicted {check.predicted:.3f}: within {check.tolerance:.3f} of that "
                "interval is called checked."
            )
        )
        if check.failure is not None:
            said.append(f"Not confirmed: {check.failure}.")
    if prediction.told:
        said.append("Checked is the auditor's AUC; the other figures follow from the same shifts.")
    said.append(
        f"Candidates move scores along {prediction.n_directions} directions; beside noise they "
        f"show in {prediction.dimension:.1f}."
    )
    said += [f"Red flag: {line}" for line in flags.lines()]
    exposed = ", ".join(
        f"{names[i]} (mu {flags.mu[i]:.2f})" if prediction.told else names[i] for i in flags.exposed
    )
    said.append(f"Most exposed candidates, by keyed id: {exposed}.")
    said += [_needed(law, found, asked) for law in found.laws]
    if found.by_epsilon:
        said.append(BY_EPSILON)
    if found.laws:
        said.append(ASSUMES)
    else:
        said.append(f"No law of the number of records: {found.no_law}.")
    return said


def _needed(law: StageLaw, found: Outlook, asked: Asked) -> str:
    if law.advantage(found.n_today).high <= asked.advantage:
        return f"An advantage of at most {asked.advantage:g} on {law.stage} is met today."
    records = shown(law.records_needed(asked.advantage), digits=0)
    return (
        f"For an advantage of at most {asked.advantage:g} on {law.stage}: "
        f"{records} records{_noise(law, found, asked)}."
    )


def _noise(law: StageLaw, found: Outlook, asked: Asked) -> str:
    noise = law.noise_needed(found.n_today, asked.advantage)
    if noise is None or not found.spread:
        return ""
    if noise == 0:
        return f", or no noise at all at {found.n_today:,}"
    if not math.isfinite(noise):
        return f"; no noise is enough at {found.n_today:,}"
    spread = noise / found.spread
    return f", or noise on every score of {spread:.3g} times their spread at {found.n_today:,}"


def shown(value: Range, digits: int = 3) -> str:
    """A value and its range."""
    low, middle, high = (f"{one:,.{digits}f}" for one in (value.low, value.value, value.high))
    return middle if low == high else f"{middle} ({low} to {high})"


def _bounds(value: Range) -> dict[str, float | None]:
    return {
        "value": _number(value.value),
        "low": _number(value.low),
        "high": _number(value.high),
    }


def _estimate(value: Any) -> dict[str, float | None]:
    return {name: _number(getattr(value, name)) for name in ("value", "low", "high", "confidence")}


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _quantile(values: Sequence[float], share: float) -> float:
    """The smallest value with at least that share of the values at or below it."""
    return sorted(values)[math.ceil(share * len(values)) - 1]
