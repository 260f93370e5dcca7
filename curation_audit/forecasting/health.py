"""Training health: spectra, who stands out, how stable the selection is, and how sharp the loss.

All of it is computed on private rows, without noise, and is as private as these: for the owner,
never for release. Only the predicted mu speaks of what leaks; the others describe a training.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import special, stats

from curation_audit.analytic.affine import Linear
from curation_audit.auditing.curation import score_shadows
from curation_audit.auditing.plan import AuditPlan
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
from curation_audit.pipelines.scorers.classifier import background_rows
from curation_audit.pipelines.scorers.mlp_classifier import MlpClassifier, MlpScorers
from curation_audit.pipelines.scorers.private_classifier import PrivateClassifier
from curation_audit.statistics.spectra import Spectrum
from curation_audit.streams import Streams
from curation_audit.training.mlp import Layer
from curation_audit.training.sharpness import sharpness, stability_threshold
from curation_audit.types import Floats, Inclusion, Indices

FPR = 0.01
N_REPEATS = 8
LEAST_HALF = 4
N_SIZES = 5
NEAR_EDGE = 0.9


@dataclass(frozen=True, slots=True)
class Vulnerability:
    """How far each of N candidates stands out: leverage and length of the shift of scores, (N,).

    ``mu`` and ``tpr`` (at a false-positive rate of ``FPR``) are the auditor's, predictions;
    ``None`` for networks, of which a closed form promises too much.
    """

    leverage: Floats
    length: Floats
    mu: Floats | None
    tpr: Floats | None

    @property
    def order(self) -> Indices:
        """Candidates, the most exposed first, int64 (N,)."""
        return np.argsort(-self.leverage, kind="stable")


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
class Edge:
    """``eta * lambda_max`` of the real training, the threshold of stability, the gradient's length.

    With batches or noise a training stays below the threshold: it is reported, not asserted.
    """

    eta_lambda_max: float
    threshold: float
    gradient_norm: float

    @property
    def near(self) -> bool:
        """Whether what linearises this training is in doubt."""
        return self.eta_lambda_max > NEAR_EDGE * self.threshold


@dataclass(frozen=True, slots=True)
class Health:
    """All of it; what was not measured is ``None`` and ``notes`` say why.

    ``spectrum`` is that of the candidates' shifts of scores: their gradients times the inverse
    curvature, in coordinates of the scores.
    """

    prediction: Prediction | None
    spectrum: Spectrum | None
    vulnerability: Vulnerability | None
    stability: tuple[Stability, ...]
    edge: Edge | None
    notes: tuple[str, ...]


def health(plan: AuditPlan, n_shadows: int = 32) -> Health:
    """Diagnose a plan; predictions are checked on ``n_shadows`` exact shadows, 0 for none.

    Raises:
        SettingError: for too few shadows.
    """
    check_shadows(n_shadows)
    prediction, spectrum, vulnerability = None, None, None
    first_order = _first_order(plan)
    if first_order is not None:
        shadows = exact_shadows(plan, n_shadows) if n_shadows else None
        prediction = predicted(plan, first_order, shadows)
        shifts = first_order.affine().shifts
        spectrum = Spectrum.of_gradients(shifts)
        vulnerability = vulnerability_of(prediction, shifts)
    edge = edge_of(plan)
    return Health(
        prediction=prediction,
        spectrum=spectrum,
        vulnerability=vulnerability,
        stability=tuple(stabilities(plan)),
        edge=edge,
        notes=tuple(_notes(plan, prediction, edge)),
    )


def _first_order(plan: AuditPlan) -> Linearised | None:
    if isinstance(plan.scorer, MlpClassifier):
        return first_order_of(plan)
    return Linear.of(plan.scorer, plan.data)


def _notes(plan: AuditPlan, prediction: Prediction | None, edge: Edge | None) -> Iterator[str]:
    if prediction is None:
        yield "spectrum and vulnerability are not measured: the scorer is not linearised"
    elif not prediction.told:
        yield "no mu is told: of networks a closed form promises too much"
    if edge is None:
        yield "eta * lambda_max is not measured: the scorer is no descent of a fixed rate"
    elif edge.near:
        yield (
            f"eta * lambda_max is {edge.eta_lambda_max:.3g}, near or above its threshold "
            f"{edge.threshold:.3g}: do not trust what is linearised at this training"
        )
    if (plan.data.private.unit == ALWAYS_IN).any():
        yield "rows that are always in stand in both halves, which look more alike for it"


def vulnerability_of(prediction: Prediction, shifts: Floats) -> Vulnerability:
    """From the shifts of scores (N, r); TPR is ``Phi(mu - z)`` at the quantile z of ``1 - FPR``."""
    mu = prediction.told[0].mu if prediction.told else None
    tpr = None if mu is None else special.ndtr(mu + special.ndtri(FPR))
    return Vulnerability(prediction.leverage, np.linalg.norm(shifts, axis=1), mu, tpr)


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
    picked = np.maximum((sizes[0::2] + sizes[1::2]) / 2, 1)
    ranks = stats.rankdata(scores, axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(ranks, axis=1)
    products = (ranks[0::2] * ranks[1::2]).sum(axis=1)
    return Stability(
        n_records=n_records,
        correlation=float((products / np.maximum(lengths[0::2] * lengths[1::2], 1)).mean()),
        overlap=float(((one & other).sum(axis=1) / picked).mean()),
        by_chance=float(sizes.mean() / mask.shape[1]),
    )


def disjoint(n: int, n_records: int, rng: np.random.Generator) -> Inclusion:
    """Pairs of disjoint random sets of that many of n candidates, bool (2 N_REPEATS, n)."""
    held = np.zeros((2 * N_REPEATS, n), dtype=bool)
    for pair in range(N_REPEATS):
        drawn = rng.permutation(n)
        held[2 * pair, drawn[:n_records]] = True
        held[2 * pair + 1, drawn[n_records : 2 * n_records]] = True
    return held


def edge_of(plan: AuditPlan) -> Edge | None:
    """Of the real training, with all candidates in; ``None`` for what is no such descent."""
    if isinstance(plan.scorer, MlpClassifier):
        return _edge_of_network(plan, plan.scorer)
    if isinstance(plan.scorer, PrivateClassifier) and not plan.scorer.settings.hidden:
        return _edge_of_regression(plan, plan.scorer)
    return None


def _edge_of_network(plan: AuditPlan, scorer: MlpClassifier) -> Edge:
    private, pool = plan.data.private, plan.data.pool
    everyone = np.ones((1, private.n_candidates), dtype=bool)
    streams = Streams(plan.seed).for_shadows("health", (0,))
    fitted = replace(scorer, device="cpu").fit(private, everyone, pool, streams=streams)
    if not isinstance(fitted, MlpScorers):
        raise TypeError("a network is fitted.")
    background = background_rows(pool, scorer.background)
    rows = torch.as_tensor(np.concatenate([private.features, background]))
    network = [Layer(one.weight[0], one.bias[0]) for one in fitted.layers]
    classes = (torch.arange(len(rows)) < len(private)).long()
    found = sharpness(network, rows, classes, scorer.weight_decay)
    return Edge(
        scorer.learning_rate * found.largest,
        stability_threshold(scorer.momentum),
        found.gradient_norm,
    )


def _edge_of_regression(plan: AuditPlan, scorer: PrivateClassifier) -> Edge:
    """At the weights of descent without noise; its Hessian is a matrix of few numbers."""
    objective = scorer.objective(plan.data.private, plan.data.pool, 1.0)
    quiet = replace(scorer, settings=replace(scorer.settings, noise_multiplier=0.0))
    moves = quiet.carried(plan.data.private, plan.data.pool, held=1.0)
    if moves is None:
        raise TypeError("regression is linear.")
    bends = np.linalg.eigvalsh(objective.around(moves.released).hessian)
    return Edge(
        scorer.settings.learning_rate * float(bends[-1]),
        stability_threshold(scorer.settings.momentum),
        float(np.linalg.norm(objective.gradient(moves.released))),
    )
