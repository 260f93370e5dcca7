"""How exposed each single candidate is, and how firm what an attack says of it."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from curation_audit.results import Estimate, Records, RiskHistogram, Stability, WorstRecord
from curation_audit.statistics.paired import PairedEvidence, degenerate_interval
from curation_audit.types import Floats, Mask

MOST_BINS = 32
N_WORST = 10
COIN_LEVEL = 0.05
ROUNDING = 1e-20


def candidate_exposure(paired: PairedEvidence) -> Floats:
    """In which share of the pairs the shadow that holds a candidate shows more evidence, (N,).

    Ties count one half. Both shadows of a pair are judged by the same other pairs, so without a
    leak the share is one half on average; binomial only over pairs that were not learnt from, as
    pairs that learn from one another agree more often than chance. (Ranking a candidate's evidence
    across pairs instead is biased low: a shadow that is left out pulls the others the other way.)
    """
    wins = (paired.members > paired.outsiders) + 0.5 * (paired.members == paired.outsiders)
    shares: Floats = wins.mean(axis=0)
    return shares


def risk_histogram(paired: PairedEvidence) -> RiskHistogram:
    """How the candidates' exposures are spread, with the largest and the mean."""
    exposure = candidate_exposure(paired)
    # edges halfway between the possible shares, the same number of them in every bin
    step = max(1, round(paired.n_pairs / MOST_BINS))
    edges = (np.arange(0, paired.n_pairs + step + 1, step) - 0.5) / paired.n_pairs
    edges = np.clip(edges[: np.searchsorted(edges, 1.0) + 1], 0.0, 1.0)
    counts = np.histogram(exposure, bins=edges)[0]
    return RiskHistogram(
        edges, counts.astype(np.float64), float(exposure.max()), float(exposure.mean())
    )


def stability(named: Mask, *, confidence: float, inflation: float) -> Stability:
    """How often two re-draws of the other members disagree about a candidate that is in.

    Per candidate the unbiased ``2 p (1 - p)``: the share of pairs of its P in-shadows of which one
    names it and one does not. The share of coin flips is that of candidates for which a two-sided
    binomial test does not tell p from one half (after Hayes et al. 2025); with fewer than 6
    in-shadows there is nothing to tell.

    Args:
        named: whether the attack names the candidate in its in-shadow of the pair, bool (P, N).
        confidence: two-sided coverage, in (0, 1).
        inflation: as for ``auc_estimate``.
    """
    n_pairs = named.shape[0]
    times = named.sum(axis=0)
    # the share of the other pairs that disagree with this one about the candidate
    disagree = np.where(named, n_pairs - times, times) / (n_pairs - 1)
    p_values = 2 * stats.binom.cdf(np.minimum(times, n_pairs - times), n_pairs, 0.5)
    able = 2 * 0.5**n_pairs <= COIN_LEVEL
    return Stability(
        _flip_rate(disagree, confidence, inflation),
        float((p_values > COIN_LEVEL).mean()) if able else None,
    )


def _flip_rate(disagree: Floats, confidence: float, inflation: float) -> Estimate:
    """The mean of (P, N) with a t interval; it errs to the wide side.

    The jackknife over pairs (no smaller than the truth on average: Efron & Stein 1981) and the
    spread between candidates are added: what an attack learnt of a candidate from the other
    shadows shifts all of its pairs alike. Pairs alone cover .79 to .99 on cross-fitted
    evidence, the sum .96 to 1.00 (simulation).
    """
    n_pairs, n_candidates = disagree.shape
    rate, of_pair, of_candidate = float(disagree.mean()), disagree.mean(axis=1), disagree.mean(0)
    left_out = 2 * (of_pair - rate) / max(n_pairs - 2, 1)
    variance = inflation**2 * (left_out**2).sum() * (n_pairs - 1) / n_pairs
    variance += ((of_candidate - rate) ** 2).sum() / (n_candidates * max(n_candidates - 1, 1))
    if variance < ROUNDING or n_pairs < 3:
        # a mean over pairs of pairs is as sure as one over half as many (Hoeffding 1963, 5)
        return Estimate(rate, *degenerate_interval(rate, n_pairs // 2, confidence), confidence)
    degrees = max(min(n_pairs, n_candidates) - 1, 1)
    half = float(stats.t.ppf((1 + confidence) / 2, degrees) * np.sqrt(variance))
    return Estimate(rate, max(0.0, rate - half), min(1.0, rate + half), confidence)


def summarise_records(
    paired: PairedEvidence, ids: Sequence[str] | None, *, confidence: float
) -> Records:
    """What stands out among single candidates.

    Exposures get exact (Clopper-Pearson) intervals at ``1 - (1 - confidence) / N`` each; a tie
    counts against the exposure at the low end, and for it at the high end. Of equal exposures
    the one whose evidence leads its twin's by more ranks comes first.

    Args:
        paired: evidence of P pairs that the attack did not learn from. On pairs that learn from
            one another, some candidate of 200 to 1000 that do not leak is called exposed in .07 to
            .14 of all audits instead of .025 (simulation).
        ids: N keyed hashes, or ``None`` where there are none.
        confidence: for all N candidates together.
    """
    exposure = candidate_exposure(paired)
    low, high = _exposure_ends(paired, confidence)
    ranks = stats.rankdata(np.stack([paired.members, paired.outsiders]), axis=None)
    lead = -np.diff(ranks.reshape(2, *paired.members.shape), axis=0)[0].sum(axis=0)
    worst = np.lexsort((-lead, -exposure))[:N_WORST]
    return Records(
        n_candidates=paired.n_candidates,
        zero_influence=float((paired.members == paired.outsiders).all(axis=0).mean()),
        n_above_chance=int((low > 0.5).sum()),
        worst=tuple(
            WorstRecord(
                None if ids is None else ids[n],
                Estimate(float(exposure[n]), float(low[n]), float(high[n]), confidence),
            )
            for n in worst
        ),
    )


def _exposure_ends(paired: PairedEvidence, confidence: float) -> tuple[Floats, Floats]:
    """Both ends of the exact interval of every exposure, (N,) each."""
    n_pairs, tail = paired.n_pairs, (1 - confidence) / (2 * paired.n_candidates)
    surely = (paired.members > paired.outsiders).sum(axis=0)
    at_most = (paired.members >= paired.outsiders).sum(axis=0)
    low = stats.beta.ppf(tail, np.maximum(surely, 1), n_pairs - surely + 1)
    high = stats.beta.isf(tail, at_most + 1, np.maximum(n_pairs - at_most, 1))
    return np.where(surely == 0, 0.0, low), np.where(at_most == n_pairs, 1.0, high)
