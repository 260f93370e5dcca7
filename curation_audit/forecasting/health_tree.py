"""Training health as JSON values: what ``private/health.json`` holds, and reports are made of."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from curation_audit.forecasting.edges import Edge
from curation_audit.forecasting.gradients import GradientSpectrum
from curation_audit.forecasting.health import FPR, Health, Stability, Vulnerability
from curation_audit.report.health import HEALTH_VERSION, KNOWS, PRIVATE
from curation_audit.statistics.spectra import Spectrum


def tree(found: Health, names: Sequence[str], origin: Mapping[str, str | None]) -> dict[str, Any]:
    """All of it; unmeasured is null.

    Args:
        found: what was measured.
        names: what the candidates are called, keyed.
        origin: the pipeline's fingerprint, and the version of the tool.
    """
    check = None if found.prediction is None else found.prediction.check
    return {
        "health_version": HEALTH_VERSION,
        "title": "training health",
        "private": True,
        "note": PRIVATE,
        **origin,
        "label": None if found.prediction is None else found.prediction.label,
        "threat_model": KNOWS,
        "linearity_corr": None if check is None else number(check.linearity),
        "n_exact_shadows": None if check is None else check.n_shadows,
        "failure": None if check is None else check.failure,
        "spectra": list(_spectra(found)),
        "vulnerability": None
        if found.vulnerability is None
        else [_record(found.vulnerability, i, names) for i in found.vulnerability.order],
        "stability": [_stability(one) for one in found.stability],
        "edges_of_stability": [_edge(one) for one in found.edges],
        "notes": list(found.notes),
    }


def _spectra(found: Health) -> Iterator[dict[str, Any]]:
    if found.spectrum is not None and found.prediction is not None:
        n, dimension = found.prediction.n_candidates, found.prediction.dimension
        shifts = GradientSpectrum("shifts of scores", found.spectrum, n)
        yield _spectrum(shifts) | {"effective_dimension": number(dimension)}
    for one in () if found.gradients is None else found.gradients.spectra:
        yield _spectrum(one)


def _spectrum(one: GradientSpectrum) -> dict[str, Any]:
    return {
        "of": one.of,
        "n_records": one.n_records,
        **_ranks(one.spectrum),
        "effective_dimension": None,
        "dimensions": [
            {"at": ridge.meaning, "tau": number(ridge.tau), "value": number(value)}
            for ridge, value in one.dimensions()
        ],
        "eigenvalues": [number(value) for value in one.spectrum.eigenvalues.tolist()],
    }


def _ranks(spectrum: Spectrum) -> dict[str, Any]:
    return {
        "numerical_rank": spectrum.numerical_rank,
        "hard_rank": number(spectrum.hard_rank),
        "soft_rank": number(spectrum.soft_rank),
        "stable_rank": number(spectrum.stable_rank),
    }


def _record(of: Vulnerability, i: int, names: Sequence[str]) -> dict[str, Any]:
    told = {
        "leverage": of.leverage,
        "shift": of.length,
        "gradient": of.gradient,
        "mu": of.mu,
        f"tpr_at_fpr_{FPR:g}": of.tpr,
    }
    values = {key: None if one is None else number(float(one[i])) for key, one in told.items()}
    return {"candidate": names[i], **values}


def _stability(one: Stability) -> dict[str, Any]:
    return {
        "n_records": one.n_records,
        "score_correlation": number(one.correlation),
        "picks_overlap": number(one.overlap),
        "overlap_by_chance": number(one.by_chance),
    }


def _edge(edge: Edge) -> dict[str, Any]:
    return {
        "part": edge.part,
        "descent": edge.descent,
        "eta_lambda_max": number(edge.eta_lambda_max),
        "threshold": number(edge.threshold),
        "gradient_norm": number(edge.gradient_norm),
        "near_threshold": edge.near,
    }


def number(value: float) -> float | None:
    """A number as JSON has it; what is not finite is null."""
    return float(value) if math.isfinite(value) else None
