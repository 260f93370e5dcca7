"""Where nothing leaks, nothing may be found: bounds, intervals and p-values over many null audits.

Evidence of a null audit has a part that all candidates of a row share and one that a candidate
has in all rows, but nothing of the coins. A bound at 95 % that is right exceeds 0 in more than 35
of 400 null audits with probability .0007.
"""

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
from scipy import special, stats

from curation_audit.doctor.base import Check, Outcome
from curation_audit.game import paired_inclusion
from curation_audit.statistics import PairedEvidence, auc, bounds
from curation_audit.statistics.bounds import Counts, Guesses
from curation_audit.streams import Streams
from curation_audit.types import Evidence, Inclusion, Mask

N_RUNS, MOST_ALARMS = 400, 35
N_PAIRS, N_CANDIDATES, N_GUESSES, N_ATTACKS = 48, 10, 5, 8
DELTA, CONFIDENCE, FALSE_ALARM = 1e-5, 0.95, 0.001
FIRST_HALF: Final = np.arange(N_PAIRS) < N_PAIRS // 2
SPLITS: Final = (FIRST_HALF, ~FIRST_HALF, np.arange(N_PAIRS) % 2 == 0)


def null_audits(seed: int, n_attacks: int = 1) -> Iterator[tuple[list[Evidence], Inclusion]]:
    """The evidence (S, N) of some attacks, and the coins, of ``N_RUNS`` audits without a leak."""
    streams = Streams(seed)
    coins = paired_inclusion(2 * N_PAIRS, N_RUNS * N_CANDIDATES, streams)
    rng = streams.generator("null evidence")
    for inclusion in np.split(coins, N_RUNS, axis=1):
        noise = rng.standard_normal((n_attacks, *inclusion.shape))
        of_row = rng.standard_normal((n_attacks, 2 * N_PAIRS, 1))
        of_candidate = rng.standard_normal((n_attacks, 1, N_CANDIDATES))
        yield list(noise + of_row + of_candidate), inclusion


def null_pairs(seed: int) -> Iterator[PairedEvidence]:
    """The evidence of one attack, by pairs."""
    for (evidence,), inclusion in null_audits(seed):
        yield PairedEvidence.split(evidence, inclusion)


def few_alarms(**counts: int) -> Outcome:
    """Each kind of bound above 0 in at most ``MOST_ALARMS`` audits."""
    found = ", ".join(f"{name} {count}" for name, count in counts.items())
    passed = all(count <= MOST_ALARMS for count in counts.values())
    return Outcome(f"above 0 in at most {MOST_ALARMS} of {N_RUNS}", found, passed)


def pair_mean() -> Outcome:
    """The pair mean, with and without a Gaussian hypothesis."""
    counts = np.zeros(2, dtype=np.int64)
    for paired in null_pairs(201):
        shares = bounds.pair_shares(paired.members, paired.outsiders)
        counts += [
            bounds.pair_mean_epsilon(shares, DELTA, CONFIDENCE) > 0,
            bounds.pair_mean_gdp_epsilon(shares, DELTA, CONFIDENCE) > 0,
        ]
    return few_alarms(general=int(counts[0]), GDP=int(counts[1]))


def one_run() -> Outcome:
    """One run and f-DP one run over the first rows of the second half; centred on the first."""
    counts = np.zeros(2, dtype=np.int64)
    fit = np.repeat(FIRST_HALF, 2)
    for (evidence,), inclusion in null_audits(202):
        centre = evidence[fit].mean(axis=0)
        rows = (evidence[~fit][0::2], inclusion[~fit][0::2])
        found = bounds.guesses(*rows, centre, N_GUESSES)
        counts += [
            bounds.one_run_epsilon(*found, DELTA, CONFIDENCE) > 0,
            bounds.f_dp_one_run_mu(*found, CONFIDENCE) > 0,
        ]
    return few_alarms(general=int(counts[0]), f_DP=int(counts[1]))


def clopper_pearson() -> Outcome:
    """Clopper-Pearson for a candidate chosen on one half, and the median of several splits."""
    counts = np.zeros(3, dtype=np.int64)
    for paired in null_pairs(203):
        splits = [counts_of_clearest(paired, fit) for fit in SPLITS]
        counts += [
            bounds.clopper_pearson_epsilon(*splits[0], DELTA, CONFIDENCE) > 0,
            bounds.clopper_pearson_mu(*splits[0], CONFIDENCE) > 0,
            bounds.multi_split_epsilon(splits, DELTA, CONFIDENCE) > 0,
        ]
    return few_alarms(general=int(counts[0]), GDP=int(counts[1]), splits=int(counts[2]))


def counts_of_clearest(paired: PairedEvidence, fit: Mask) -> Counts:
    """Candidate and threshold from the pairs ``fit``, bool (P,); decisions on the others."""
    n = int((paired.members[fit] > paired.outsiders[fit]).mean(axis=0).argmax())
    cut = (paired.members[fit, n].mean() + paired.outsiders[fit, n].mean()) / 2
    members, outsiders = paired.members[~fit, n], paired.outsiders[~fit, n]
    return Counts(
        int((members > cut).sum()), len(members), int((outsiders > cut).sum()), len(outsiders)
    )


def best_of_several() -> Outcome:
    """The largest bound of several attacks on the same rows, each at alpha / K."""
    each = bounds.bonferroni_confidence(CONFIDENCE, N_ATTACKS)
    count = 0
    for attacks, inclusion in null_audits(204, N_ATTACKS):
        found = [bounds.one_run_epsilon(*guessed(one, inclusion), DELTA, each) for one in attacks]
        count += bounds.rueger_lower(found, rank=1) > 0
    return few_alarms(largest=count)


def guessed(evidence: Evidence, inclusion: Inclusion) -> Guesses:
    """Guesses of all coins in the first rows of pairs."""
    return bounds.guesses(evidence[0::2], inclusion[0::2], 0.0, N_CANDIDATES)


def choice_without_a_split() -> Outcome:
    """The best of several attacks: chosen on one half, and on the very rows that are counted.

    Without the split something is "found" in far too many audits; were that not so, none of these
    checks could notice anything.
    """
    split = careless = 0
    fit = np.repeat(FIRST_HALF, 2)
    for attacks, inclusion in null_audits(205, N_ATTACKS):
        on_fit, fresh = (
            [guessed(one[rows], inclusion[rows]) for one in attacks] for rows in (fit, ~fit)
        )
        chosen = max(range(N_ATTACKS), key=lambda k: on_fit[k].n_right)
        best = max(fresh, key=lambda one: one.n_right)
        split += bounds.one_run_epsilon(*fresh[chosen], DELTA, CONFIDENCE) > 0
        careless += bounds.one_run_epsilon(*best, DELTA, CONFIDENCE) > 0
    return Outcome(
        f"split: at most {MOST_ALARMS} of {N_RUNS}; none: more",
        f"split: {split}; none: {careless}",
        split <= MOST_ALARMS < careless,
    )


def bounds_below_the_truth() -> Outcome:
    """Evidence that is exactly 1-GDP: a bound on mu exceeds 1 in at most 5 % of audits."""
    rng = Streams(206).generator("evidence")
    shape = (N_RUNS, N_PAIRS, N_CANDIDATES)
    # half of the variance is common to a row, so that candidates are not independent
    common, noise = rng.standard_normal((2, *shape[:2], 1)), rng.standard_normal((2, *shape))
    members, outsiders = np.sqrt(0.5) * (noise + common)
    pair_means = single = 0
    for inside, outside in zip(members + 1, outsiders, strict=True):
        pair_means += bounds.pair_mean_mu(bounds.pair_shares(inside, outside), CONFIDENCE) > 1
        counted = counts_of_clearest(PairedEvidence(inside, outside), FIRST_HALF)
        single += bounds.clopper_pearson_mu(*counted, CONFIDENCE) > 1
    return Outcome(
        f"above the truth in at most {MOST_ALARMS} of {N_RUNS}",
        f"pair mean {pair_means}, one candidate {single}",
        max(pair_means, single) <= MOST_ALARMS,
    )


def auc_interval() -> Outcome:
    """95 % intervals of the AUC cover it as often as they say, whether it is one half or more."""
    rng = Streams(207).generator("evidence")
    counts = []
    for mu in (0.0, 1.0):
        truth = float(special.ndtr(mu / np.sqrt(2 + 2 * 0.5**2)))
        of_row = 0.5 * rng.standard_normal((2, N_RUNS, 24, 1))
        members, outsiders = rng.standard_normal((2, N_RUNS, 24, 12)) + of_row
        found = (
            auc.auc_estimate(PairedEvidence(*one), confidence=CONFIDENCE, inflation=1.0)
            for one in zip(members + mu, outsiders, strict=True)
        )
        counts.append(sum(one.low <= truth <= one.high for one in found))
    least, most = (int(stats.binom.isf(p, N_RUNS, CONFIDENCE)) for p in (1 - FALSE_ALARM, 1e-3))
    return Outcome(
        f"covers in {least} to {most} of {N_RUNS}",
        " and ".join(map(str, counts)),
        all(least <= count <= most for count in counts),
    )


def p_values() -> Outcome:
    """P-values of "the AUC is one half": never too small too often, and small where it is not.

    By the one-sided Kolmogorov-Smirnov distance above the uniform (Massart 1990): small p-values
    may be rarer than uniform ones, not more frequent.
    """
    ranks = (np.arange(N_RUNS) + 1) / N_RUNS
    found = np.sort([auc.chance_p_value(paired) for paired in null_pairs(208)])
    excess = float((ranks - found).max())
    limit = float(np.sqrt(-np.log(FALSE_ALARM) / (2 * N_RUNS)))
    leaking = next(null_pairs(209))
    told = auc.chance_p_value(PairedEvidence(leaking.members + 1, leaking.outsiders))
    return Outcome(
        f"excess of small ones below {limit:.3f}; a leak below .001",
        f"{excess:.3f}; {told:.1e}",
        excess < limit and told < FALSE_ALARM,
    )


def _check(name: str, run: Callable[[], Outcome]) -> Check:
    return Check("null calibration", name, run)


NULL_CALIBRATION: Final = (
    _check("pair mean", pair_mean),
    _check("one run", one_run),
    _check("Clopper-Pearson", clopper_pearson),
    _check("best of several bounds", best_of_several),
    _check("choosing without a split is seen", choice_without_a_split),
    _check("bounds stay below a known truth", bounds_below_the_truth),
    _check("interval of the AUC", auc_interval),
    _check("p-values of the controls", p_values),
)
