"""What private curations are worth: accuracy, and how much of the unprotected choice is left."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from curation_audit.auditing.curation import Curated, score_shadows, select_and_train
from curation_audit.auditing.plan import AuditPlan
from curation_audit.checks import SettingError, did_you_mean
from curation_audit.pipelines.rules.threshold import Threshold
from curation_audit.pipelines.rules.top import TopK
from curation_audit.results import Estimate
from curation_audit.streams import ShadowStreams, Streams
from curation_audit.sweeping.results import Usefulness
from curation_audit.training.device import one_thread
from curation_audit.types import Floats, Mask, Scores


@dataclass(frozen=True, slots=True)
class Reference:
    """The unprotected curation: its scores (m,), its picks bool (m,), and which rows are relevant.

    ``relevant`` bool (m,), or ``None`` where nobody says.
    """

    scores: Floats
    picked: Mask
    relevant: Mask | None


def repeated(plan: AuditPlan, n_repeats: int) -> Curated:
    """Real curations on the whole private set, each with noise of its own."""
    everyone = np.ones((n_repeats, plan.data.private.n_candidates), dtype=bool)
    streams = Streams(plan.seed).for_shadows("utility", range(n_repeats))
    with one_thread():
        return select_and_train(plan, score_shadows(plan, everyone, streams), streams)


def random_picks(plan: AuditPlan, n_picked: int, n_repeats: int) -> Curated:
    """Curations that pick rows at random."""
    streams = Streams(plan.seed).for_shadows("random picks", range(n_repeats))
    draws = [rng.random(len(plan.data.pool)) for rng in streams.generators("picks")]
    return _trained_on(plan, np.stack(draws), n_picked, streams)


def whole_pool(plan: AuditPlan) -> Curated:
    """The model without a private set: trained on the whole pool."""
    streams = Streams(plan.seed).for_shadows("whole pool", (0,))
    n_pool = len(plan.data.pool)
    return _trained_on(plan, np.zeros((1, n_pool)), n_pool, streams)


def _trained_on(plan: AuditPlan, scores: Scores, k: int, streams: ShadowStreams) -> Curated:
    """Scores below 1, of which the k largest are picked; none where the curation picked none."""
    rule = TopK(k=k) if k else Threshold(minimum=1.0 + 1e-3)
    as_told = dataclasses.replace(plan, rule=rule)
    with one_thread():
        return select_and_train(as_told, scores.astype(plan.data.pool.features.dtype), streams)


def reference_of(curated: Curated, relevant: Mask | None) -> Reference:
    """The first of some unprotected curations, to compare others with."""
    shown = curated.observation
    return Reference(shown.scores[0].astype(np.float64), shown.selection.mask()[0], relevant)


def relevant_rows(plan: AuditPlan, wanted: Mapping[str, tuple[str, ...]]) -> Mask | None:
    """Which pool rows are of a wanted category in every column, bool (m,).

    Raises:
        SettingError: for a column or a category that the pool does not have.
    """
    if not wanted:
        return None
    pool = plan.data.pool
    columns = {name: np.array(values) for name, values in pool.groups.items()}
    if pool.labels is not None:
        columns.setdefault("label", np.array(plan.data.classes)[pool.labels])
    relevant = np.ones(len(pool), dtype=bool)
    for name, values in wanted.items():
        if name not in columns:
            raise SettingError(
                f"sweep.relevant.{name}",
                "is no column of categories of the pool",
                f"{did_you_mean(name, columns)}; name it in public.columns.groups",
            )
        unknown = sorted({*values} - {*columns[name].tolist()})
        if unknown:
            raise SettingError(
                f"sweep.relevant.{name}",
                f"found {unknown[0]!r}, which no pool row has",
                did_you_mean(unknown[0], {*columns[name].tolist()}),
            )
        relevant &= np.isin(columns[name], values)
    return relevant


def usefulness(
    plan: AuditPlan, curated: Curated, reference: Reference, *, scored: bool, confidence: float
) -> Usefulness:
    """Sum up repeated curations; ``scored``: their scores may leave, so they are compared."""
    mask = curated.observation.selection.mask()
    sizes = mask.sum(axis=1)
    overlap, correlation, relevant = None, None, None
    if reference.picked.any():
        overlap = (mask & reference.picked).sum(axis=1) / reference.picked.sum()
    if scored:
        correlation = _rank_correlations(curated.observation.scores, reference.scores)
    if reference.relevant is not None and sizes.min() > 0:
        relevant = (mask & reference.relevant).sum(axis=1) / sizes
    return Usefulness(
        n_repeats=len(mask),
        n_picked=round(float(sizes.mean())),
        metric=plan.utility,
        accuracy=accuracy_of(plan, curated, confidence),
        overlap=_mean(overlap, confidence, least=0.0),
        rank_correlation=_mean(correlation, confidence, least=-1.0),
        relevant=_mean(relevant, confidence, least=0.0),
    )


def _mean(values: Floats | None, confidence: float, least: float) -> Estimate | None:
    """The mean of values between ``least`` and 1."""
    if values is None:
        return None
    return _within(mean_estimate(values, confidence), least)


def _within(found: Estimate, least: float) -> Estimate:
    """The estimate with its interval cut to [least, 1]."""
    low, high = max(least, found.low), min(1.0, found.high)
    return dataclasses.replace(found, low=low, high=high)


def _rank_correlations(scores: Scores, reference: Floats) -> Floats | None:
    """Spearman's correlation of every row of scores (S, m) with a reference (m,), (S,).

    ``None`` where some of them are all equal, and so have no order.
    """
    ranks = stats.rankdata(scores, axis=1)
    ranks = ranks - ranks.mean(axis=1, keepdims=True)
    other = stats.rankdata(reference)
    other = other - other.mean()
    length = np.linalg.norm(ranks, axis=1) * np.linalg.norm(other)
    if not length.all():
        return None
    correlations: Floats = np.clip((ranks @ other) / length, -1, 1)
    return correlations


def mean_estimate(values: Floats, confidence: float, extra_variance: float = 0.0) -> Estimate:
    """The mean of independent repeats (R,) with a t interval; one repeat has no spread of its own.

    ``extra_variance`` of the mean is added, for what repeats share.
    """
    n, mean = len(values), float(np.mean(values))
    own = float(np.var(values, ddof=1)) / n if n > 1 else 0.0
    quantile = float(stats.t.ppf((1 + confidence) / 2, n - 1)) if n > 1 else 0.0
    normal = float(stats.norm.ppf((1 + confidence) / 2))
    half = math.sqrt(quantile**2 * own + normal**2 * extra_variance)
    return Estimate(mean, mean - half, mean + half, confidence)


def accuracy_of(plan: AuditPlan, curated: Curated, confidence: float) -> Estimate | None:
    """Of the models on the test set, by the metric of the pipeline; ``None`` without a test."""
    test = plan.data.test
    if curated.utility is None or test is None or test.labels is None:
        return None
    value = float(np.clip(curated.utility.mean(), 0, 1))
    counts = np.bincount(test.labels)
    counts = counts[counts > 0]
    if plan.utility == "accuracy":
        inner = off_the_edge(value, len(test))
        variance = inner * (1 - inner) / len(test)
    else:
        variance = auc_variance(off_the_edge(value, int(counts.min())), *map(int, counts[:2]))
    return _within(mean_estimate(curated.utility, confidence, variance), 0.0)


def off_the_edge(share: float, n: int) -> float:
    """A share of n as if four more were half of it (Agresti & Coull 1998).

    It is what a variance is taken at: at 0 or 1 there would be none, however few were seen.
    """
    return (share * n + 2) / (n + 4)


def auc_variance(auc: float, n_negative: int, n_positive: int) -> float:
    """Of an AUC over test rows (Hanley & McNeil 1982, equation 2)."""
    one, two = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = (n_positive - 1) * (one - auc**2) + (n_negative - 1) * (two - auc**2)
    return max(0.0, (auc * (1 - auc) + spread) / (n_positive * n_negative))
