"""Training health as a tree for machines and as tables and sentences for people."""

import math
from collections.abc import Sequence
from typing import Any, Final

from curation_audit.forecasting.health import FPR, Edge, Health, Stability, Vulnerability
from curation_audit.statistics.spectra import Spectrum

SHOWN: Final = 10
PRIVATE: Final = (
    "Private: computed on private rows without noise, and as private as these. For the owner of "
    "the data; no part of a release."
)
KNOWS: Final = "mu and TPR are those of who sees exact scores and knows all candidates, no coin"
NO_MEASURE: Final = (
    "Ranks, stability and eta * lambda_max describe a training; none of them is a measure of "
    "privacy. Two halves agree more the more records there are, as leakage falls; neither says how "
    "much the other does."
)


def tree(found: Health, names: Sequence[str]) -> dict[str, Any]:
    """All of it as JSON values; ``names`` are what the candidates are called."""
    check = None if found.prediction is None else found.prediction.check
    return {
        "title": "training health",
        "private": True,
        "note": PRIVATE,
        "label": None if found.prediction is None else found.prediction.label,
        "threat_model": KNOWS,
        "linearity_corr": None if check is None else number(check.linearity),
        "n_exact_shadows": None if check is None else check.n_shadows,
        "failure": None if check is None else check.failure,
        "spectrum": None if found.spectrum is None else _spectrum(found, found.spectrum),
        "vulnerability": None
        if found.vulnerability is None
        else [_record(found.vulnerability, i, names) for i in found.vulnerability.order],
        "stability": [_stability(one) for one in found.stability],
        "edge_of_stability": None if found.edge is None else _edge(found.edge),
        "notes": list(found.notes),
    }


def _spectrum(found: Health, spectrum: Spectrum) -> dict[str, Any]:
    beside_noise = None if found.prediction is None else number(found.prediction.dimension)
    return {
        "of": "what each candidate moves in the scores",
        "numerical_rank": spectrum.numerical_rank,
        "hard_rank": number(spectrum.hard_rank),
        "soft_rank": number(spectrum.soft_rank),
        "stable_rank": number(spectrum.stable_rank),
        "effective_dimension": beside_noise,
        "eigenvalues": [number(value) for value in spectrum.eigenvalues.tolist()],
    }


def _record(of: Vulnerability, i: int, names: Sequence[str]) -> dict[str, Any]:
    return {
        "candidate": names[i],
        "leverage": number(float(of.leverage[i])),
        "shift": number(float(of.length[i])),
        "mu": None if of.mu is None else number(float(of.mu[i])),
        f"tpr_at_fpr_{FPR:g}": None if of.tpr is None else number(float(of.tpr[i])),
    }


def _stability(one: Stability) -> dict[str, Any]:
    return {
        "n_records": one.n_records,
        "score_correlation": number(one.correlation),
        "picks_overlap": number(one.overlap),
        "overlap_by_chance": number(one.by_chance),
    }


def _edge(edge: Edge) -> dict[str, Any]:
    return {
        "eta_lambda_max": number(edge.eta_lambda_max),
        "threshold": number(edge.threshold),
        "gradient_norm": number(edge.gradient_norm),
        "near_threshold": edge.near,
    }


def number(value: float) -> float | None:
    """A number as JSON has it; what is not finite is null."""
    return float(value) if math.isfinite(value) else None


def rows_of_ranks(found: Health, spectrum: Spectrum) -> list[list[str]]:
    """A header and the ranks under their exact names, with what each is good for."""
    dimension = "not measured" if found.prediction is None else f"{found.prediction.dimension:.1f}"
    return [
        ["rank", "value", "what it is"],
        ["numerical rank", f"{spectrum.numerical_rank}", "directions that leak, without noise"],
        ["effective dimension", dimension, "sum of leverages: directions that leak beside noise"],
        ["hard rank", f"{spectrum.hard_rank:.1f}", "participation ratio; descriptive"],
        ["soft rank", f"{spectrum.soft_rank:.1f}", "Shannon rank; descriptive"],
        ["stable rank", f"{spectrum.stable_rank:.1f}", "trace over the largest; descriptive"],
    ]


def rows_of_records(of: Vulnerability, names: Sequence[str]) -> list[list[str]]:
    """A header and the most exposed candidates."""
    header = ["candidate", "leverage", "shift", "mu", f"TPR at FPR {FPR:g}"]
    body = [
        [
            names[i],
            f"{of.leverage[i]:.3f}",
            f"{of.length[i]:.3g}",
            "not told" if of.mu is None else f"{of.mu[i]:.2f}",
            "not told" if of.tpr is None else f"{of.tpr[i]:.3f}",
        ]
        for i in of.order[:SHOWN]
    ]
    return [header, *body]


def rows_of_stability(found: Health) -> list[list[str]]:
    """A header and, for every number of records, how alike two disjoint halves curate."""
    header = ["records", "score correlation", "overlap of picks", "by chance"]
    body = [
        [
            f"{one.n_records:,}",
            f"{one.correlation:.3f}",
            f"{one.overlap:.3f}",
            f"{one.by_chance:.3f}",
        ]
        for one in found.stability
    ]
    return [header, *body]


def sentences(found: Health) -> list[str]:
    """What it comes to; the first sentence says who may see it."""
    said = [PRIVATE]
    if found.prediction is not None:
        check = found.prediction.check
        linearity = "not measured" if check is None else f"{check.linearity:.3f}"
        said.append(f"Label: {found.prediction.label}; linearity_corr {linearity}; {KNOWS}.")
    if found.edge is not None:
        edge = found.edge
        said.append(
            f"Edge of stability: eta * lambda_max is {edge.eta_lambda_max:.3g}, the threshold "
            f"{edge.threshold:.3g}; length of the gradient {edge.gradient_norm:.3g}."
        )
    return [*said, *(f"Note: {note}." for note in found.notes), NO_MEASURE]
