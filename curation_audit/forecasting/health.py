"""Training health: spectra, who stands out, how stable the selection is, and how sharp the loss.

All of it is computed on private rows, without noise, and is as private as these: for the owner,
never for release. Only the predicted mu speaks of what leaks; the others describe a training.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from curation_audit.analytic.affine import Linear
from curation_audit.analytic.cavity import has_references
from curation_audit.auditing.chunks import Task, checked_scores
from curation_audit.auditing.curation import score_shadows
from curation_audit.auditing.plan import AuditPlan
from curation_audit.forecasting.at_training import real_streams
from curation_audit.forecasting.edges import Edge, Edges, edges_of, notes_on
from curation_audit.forecasting.gradients import RecordGradients, gradients_of
from curation_audit.forecasting.prediction import (
    Linearised,
    Prediction,
    check_shadows,
    exact_shadows,
    first_order_of,
    predicted,
)
from curation_audit.pipelines.base import ALWAYS_IN
from curation_audit.pipelines.rules.cut import tie_order
from curation_audit.statistics.spectra import Spectrum
from curation_audit.streams import Streams
from curation_audit.types import Floats, Inclusion, Indices

FPR = 0.01
N_REPEATS = 8
LEAST_HALF = 4
N_SIZES = 5


@dataclass(frozen=True, slots=True)
class Vulnerability:
    """How far each of N candidates stands out, (N,) each.

    ``leverage`` and ``length`` of its shift of scores are ``None`` for scorers that are not
    linearised, and ``gradient``, the length of its own loss's gradient before any clipping, for
    those of no known loss. ``mu`` and ``tpr`` (at a false-positive rate of ``FPR``) are the
    auditor's, predictions; ``None`` for networks, too, of which a closed form promises too much.
    """

    leverage: Floats | None
    length: Floats | None
    mu: Floats | None
    tpr: Floats | None
    gradient: Floats | None

    @property
    def order(self) -> Indices:
        """Candidates, the most exposed first, int64 (N,): by leverage, else by gradient."""
        by = self.gradient if self.leverage is None else self.leverage
        if by is None:
            raise ValueError("nothing ranks the candidates.")
        return np.argsort(-by, kind="stable")


@dataclass(frozen=True, slots=True)
class Stability:
    """How alike curations of two disjoint sets of ``n_records`` are, mean over repeats.

    ``correlation``: Spearman's, of their scores; ``overlap``: of their picks, as a share of what is
    picked; ``by_chance`` is that of random picks.
    """

    n_records: int
    correlation: float
    overlap: float
    by_chance: float


@dataclass(frozen=True, slots=True)
class Health:
    """All of it; what was not measured is ``None`` and ``notes`` say why.

    ``spectrum`` is that of the candidates' shifts of scores: their gradients times the inverse
    curvature, in coordinates of the scores; ``gradients`` are those themselves.
    """

    prediction: Prediction | None
    spectrum: Spectrum | None
    gradients: RecordGradients | None
    vulnerability: Vulnerability | None
    stability: tuple[Stability, ...]
    edges: tuple[Edge, ...]
    notes: tuple[str, ...]


def health(plan: AuditPlan, n_shadows: int = 32) -> Health:
    """Diagnose a plan; predictions are checked on ``n_shadows`` exact shadows, 0 for none.

    Raises:
        SettingError: for too few shadows.
        InputError: where the real scores are not finite, as of a training that diverged.
    """
    check_shadows(n_shadows)
    everyone = np.ones((1, plan.data.private.n_candidates), dtype=bool)
    checked_scores(score_shadows(plan, everyone, real_streams(plan)), Task("real", 0, 1), plan)
    prediction, shifts = None, None
    first_order = _first_order(plan)
    if first_order is not None:
        shadows = exact_shadows(plan, n_shadows) if n_shadows else None
        prediction = predicted(plan, first_order, shadows)
        shifts = first_order.affine().shifts
    gradients, edges = gradients_of(plan), edges_of(plan)
    return Health(
        prediction=prediction,
        spectrum=None if shifts is None else Spectrum.of_gradients(shifts),
        gradients=gradients,
        vulnerability=vulnerability_of(prediction, shifts, gradients),
        stability=tuple(stabilities(plan)),
        edges=edges.found,
        notes=tuple(_notes(plan, prediction, gradients, edges)),
    )


def _first_order(plan: AuditPlan) -> Linearised | None:
    if has_references(plan.scorer):
        return first_order_of(plan)
    return Linear.of(plan.scorer, plan.data)


def _notes(
    plan: AuditPlan, prediction: Prediction | None, gradients: RecordGradients | None, edges: Edges
) -> Iterator[str]:
    n = plan.data.private.n_candidates
    if prediction is None:
        yield "leverage and the spectrum of scores are not measured: the scorer is not linearised"
    elif not prediction.told:
        yield "no mu is told: of networks a closed form promises too much"
    if gradients is None:
        yield "gradients are not measured: the scorer is not trained on a loss that is known here"
    elif gradients.spectra[0].n_records < n:
        told = gradients.spectra[0].n_records
        yield f"spectra of gradients are those of {told:,} of the {n:,} candidates, drawn at random"
    yield from notes_on(edges)
    if (plan.data.private.unit == ALWAYS_IN).any():
        yield "rows that are always in stand in both halves, which look more alike for it"


def vulnerability_of(
    prediction: Prediction | None, shifts: Floats | None, gradients: RecordGradients | None
) -> Vulnerability | None:
    """From the shifts of scores (N, r); TPR is ``Phi(mu - z)`` at the quantile z of ``1 - FPR``."""
    lengths = None if gradients is None else gradients.lengths
    if prediction is None or shifts is None:
        return None if lengths is None else Vulnerability(None, None, None, None, lengths)
    mu = prediction.told[0].mu if prediction.told else None
    tpr = None if mu is None else special.ndtr(mu + special.ndtri(FPR))
    moved = np.linalg.norm(shifts, axis=1)
    return Vulnerability(prediction.leverage, moved, mu, tpr, lengths)


def stabilities(plan: AuditPlan) -> Iterator[Stability]:
    """By number of records, ascending: halves of all candidates, halves of these, and so on."""
    n = plan.data.private.n_candidates
    sizes = [n >> (1 + i) for i in range(N_SIZES)]
    for size in sorted(one for one in sizes if one >= LEAST_HALF):
        yield stability(plan, size)


def stability(plan: AuditPlan, n_records: int) -> Stability:
    """Of disjoint sets of that many candidates; at most half of all."""
    streams, pool = Streams(plan.seed), plan.data.pool
    draws = streams.generator("health: halves", n_records)
    held = disjoint(plan.data.private.n_candidates, n_records, draws)
    shadows = streams.for_shadows(f"halves of {n_records}", range(len(held)))
    scores = score_shadows(plan, held, shadows)
    mask = plan.rule.select(scores, tie_order(pool.ids, plan.seed), shadows, pool).mask()
    one, other, sizes = mask[0::2], mask[1::2], mask.sum(axis=1)
    picked = (sizes[0::2] + sizes[1::2]) / 2
    ranks = stats.rankdata(scores, axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(ranks, axis=1)
    products = (ranks[0::2] * ranks[1::2]).sum(axis=1)
    return Stability(
        n_records=n_records,
        correlation=_mean_ratio(products, lengths[0::2] * lengths[1::2]),
        overlap=_mean_ratio((one & other).sum(axis=1), picked),
        by_chance=float(sizes.mean() / mask.shape[1]),
    )


def _mean_ratio(above: Floats, below: Floats) -> float:
    """The mean over the pairs that have a ratio; NaN, not 0, where none has."""
    there = below > 0
    return float((above[there] / below[there]).mean()) if there.any() else math.nan


def disjoint(n: int, n_records: int, rng: np.random.Generator) -> Inclusion:
    """Pairs of disjoint random sets of that many of n candidates, bool (2 N_REPEATS, n)."""
    held = np.zeros((2 * N_REPEATS, n), dtype=bool)
    for pair in range(N_REPEATS):
        drawn = rng.permutation(n)
        held[2 * pair, drawn[:n_records]] = True
        held[2 * pair + 1, drawn[n_records : 2 * n_records]] = True
    return held
