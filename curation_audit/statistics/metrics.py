"""All metrics of one attack's evidence."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from curation_audit.results import Estimate, Metrics, OperatingPoint
from curation_audit.statistics.auc import THESE_CANDIDATES, Estimand, auc_estimate
from curation_audit.statistics.candidates import stability
from curation_audit.statistics.paired import PairedEvidence, degenerate_interval
from curation_audit.statistics.precision import precision_at_priors
from curation_audit.statistics.resampling import PairResamples, ReplicatedRates
from curation_audit.statistics.thresholds import thresholds_at_best_advantage, thresholds_at_fpr
from curation_audit.types import Floats, Mask

MIN_EXPECTED_FALSE_POSITIVES = 10
MIN_DISTINCT_CANDIDATES = 5
# ties keep the realised rate below the one asked for; nobody named that way is no rate of 0
LEAST_SHARE_OF_FPR = 0.5
ROUNDING = 1e-12


def measure(
    paired: PairedEvidence,
    *,
    fprs: Sequence[float],
    confidence: float,
    inflation: float,
    resamples: PairResamples,
    estimand: Estimand = THESE_CANDIDATES,
) -> Metrics:
    """AUC, membership advantage, balanced accuracy and rates at fixed FPRs, with intervals.

    Args:
        paired: evidence of P pairs.
        fprs: false-positive rates, each in (0, 1).
        confidence: two-sided coverage of the intervals, in (0, 1).
        inflation: factor on standard errors, from ``cross_fitting_inflation`` for
            leave-one-pair-out evidence, 1 for independent pairs.
        resamples: draws of the P pairs for the intervals of the rates.
        estimand: what the interval of the AUC is about; all others are about these candidates.
    """
    if resamples.weights.shape[1] != paired.n_pairs:
        raise ValueError(
            f"resamples draw {resamples.weights.shape[1]} pairs, evidence has {paired.n_pairs}."
        )
    advantage = advantage_estimate(paired, confidence=confidence, inflation=inflation)
    return Metrics(
        n_pairs=paired.n_pairs,
        n_members=paired.members.size,
        n_nonmembers=paired.outsiders.size,
        auc_estimand=estimand.name,
        auc=auc_estimate(paired, confidence=confidence, inflation=inflation, estimand=estimand),
        advantage=advantage,
        balanced_accuracy=Estimate(
            (1 + advantage.value) / 2,
            (1 + advantage.low) / 2,
            (1 + advantage.high) / 2,
            confidence,
        ),
        tpr_at_fpr=operating_points(paired, fprs, resamples, confidence, inflation),
    )


def advantage_estimate(paired: PairedEvidence, *, confidence: float, inflation: float) -> Estimate:
    """TPR - FPR at the threshold that is best on the other half of the pairs; may be negative.

    A t interval over pairs (Yeom et al. 2018 for the quantity).
    """
    threshold = thresholds_at_best_advantage(paired)[:, None]
    per_pair = (paired.members > threshold).mean(axis=1) - (paired.outsiders > threshold).mean(
        axis=1
    )
    value, error = float(per_pair.mean()), float(per_pair.std(ddof=1) / np.sqrt(len(per_pair)))
    if np.ptp(per_pair) == 0:
        low, high = degenerate_interval((1 + value) / 2, paired.n_pairs, confidence)
        return Estimate(value, 2 * low - 1, 2 * high - 1, confidence)
    half = float(stats.t.ppf((1 + confidence) / 2, paired.n_pairs - 1)) * inflation * error
    return Estimate(value, max(-1.0, value - half), min(1.0, value + half), confidence)


def operating_points(
    paired: PairedEvidence,
    fprs: Sequence[float],
    resamples: PairResamples,
    confidence: float,
    inflation: float,
) -> tuple[OperatingPoint, ...]:
    """TPR at each FPR, thresholds from the other pairs, with counts and the realised FPR."""
    rates = ReplicatedRates.of(paired, np.array(fprs), resamples)
    return tuple(
        _operating_point(paired, fpr, rates.at(i), confidence=confidence, inflation=inflation)
        for i, fpr in enumerate(fprs)
    )


def _operating_point(
    paired: PairedEvidence,
    fpr: float,
    rates: ReplicatedRates,
    *,
    confidence: float,
    inflation: float,
) -> OperatingPoint:
    expected = fpr * paired.outsiders.size
    if expected < MIN_EXPECTED_FALSE_POSITIVES:
        reason = (
            f"{expected:.1f} false positives expected, {MIN_EXPECTED_FALSE_POSITIVES} needed: "
            "more shadows or more candidates"
        )
        return OperatingPoint(fpr, "not resolvable", reason, expected)
    threshold = thresholds_at_fpr(paired, fpr)[:, None]
    hits, false_alarms = paired.members > threshold, paired.outsiders > threshold
    realised = float(false_alarms.mean())
    n_distinct = int((paired.outsiders >= threshold).any(axis=0).sum())
    if (not_seen := _not_resolved(hits, realised, fpr, n_distinct)) is not None:
        return OperatingPoint(fpr, "not resolvable", not_seen, expected)
    tpr = _tpr_estimate(
        float(hits.mean()), rates.tpr_deviations[:, 0], paired.n_pairs, confidence, inflation
    )
    return OperatingPoint(
        fpr,
        "resolved",
        None,
        expected,
        tpr=tpr,
        realised_fpr=realised,
        true_positives=int(hits.sum()),
        false_positives=int(false_alarms.sum()),
        distinct_false_positive_candidates=int(false_alarms.any(axis=0).sum()),
        precision=precision_at_priors(tpr, realised, rates, inflation=inflation),
        stability=stability(hits, confidence=confidence, inflation=inflation),
    )


def _not_resolved(hits: Mask, realised: float, fpr: float, n_distinct: int) -> str | None:
    """Why decisions do not show what they should at ``fpr``; ``None`` where they do."""
    if not hits.any() and realised < LEAST_SHARE_OF_FPR * fpr:
        return f"tied evidence: the nearest decision below has rate {realised:.2g}"
    if n_distinct < MIN_DISTINCT_CANDIDATES:
        return f"the threshold rests on {n_distinct} candidates, {MIN_DISTINCT_CANDIDATES} needed"
    return None


def _tpr_estimate(
    tpr: float, deviations: Floats, n_pairs: int, confidence: float, inflation: float
) -> Estimate:
    """Percentiles of the pair bootstrap, stretched by ``inflation`` around the estimate."""
    alpha = 1 - confidence
    low, high = np.quantile(deviations, [alpha / 2, 1 - alpha / 2]) * inflation
    if high - low < ROUNDING:
        return Estimate(tpr, *degenerate_interval(tpr, n_pairs, confidence), confidence)
    return Estimate(
        tpr, float(np.clip(tpr + low, 0, tpr)), float(np.clip(tpr + high, tpr, 1)), confidence
    )
