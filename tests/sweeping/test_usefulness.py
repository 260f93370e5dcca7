"""What curations are worth: known answers, fresh noise, and intervals that cover."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from curation_audit.auditing.curation import Curated, measure_utility
from curation_audit.checks import SettingError
from curation_audit.observations import Observation, Selection
from curation_audit.pipelines.rules.threshold import Threshold
from curation_audit.results import Estimate
from curation_audit.streams import Streams
from curation_audit.sweeping.plan import Point
from curation_audit.sweeping.utility import (
    Reference,
    auc_variance,
    mean_estimate,
    off_the_edge,
    random_picks,
    reference_of,
    relevant_rows,
    repeated,
    usefulness,
    whole_pool,
)
from tests.sweeping.world import INF, K, M, base, pipeline, planned

FALSE_ALARM = 1e-4
"""How often a test of coverage would fail by chance, were the seed another."""


def curated(mask: Any, scores: Any | None = None, utility: Any | None = None) -> Curated:
    """Curations with given picks (S, m), scores (S, m) and utilities (S,)."""
    picks = np.array(mask, dtype=bool)
    given = np.zeros(picks.shape) if scores is None else np.array(scores)
    seen = Observation(given, Selection.from_mask(picks), np.zeros((len(picks), 0, 0)))
    return Curated(seen, None if utility is None else np.array(utility, dtype=float))


def reference(picked: Any, scores: Any | None = None, relevant: Any | None = None) -> Reference:
    mask = np.array(picked, dtype=bool)
    given = np.arange(len(mask), dtype=float) if scores is None else np.array(scores)
    return Reference(given, mask, None if relevant is None else np.array(relevant, dtype=bool))


def measured(of: Curated, beside: Reference, *, scored: bool = False, plan=None):
    return usefulness(plan or base(), of, beside, scored=scored, confidence=0.95)


# what is summed up


def test_the_overlap_is_the_share_of_the_unprotected_picks():
    found = measured(
        curated([[1, 1, 0, 0, 0], [0, 0, 1, 1, 1], [1, 0, 1, 0, 0]]), reference([1, 1, 0, 0, 0])
    )
    assert found.overlap.value == pytest.approx((1 + 0 + 0.5) / 3)
    assert 0 <= found.overlap.low < found.overlap.value < found.overlap.high <= 1
    assert (found.n_repeats, found.n_picked) == (3, 2)


def test_what_is_not_defined_is_not_measured_and_never_0():
    nothing = measured(curated([[0, 0, 0]]), reference([0, 0, 0], relevant=[1, 0, 0]))
    assert nothing.overlap is None  # nobody was picked without protection
    assert nothing.relevant is None  # a share of no picks
    assert nothing.accuracy is None
    assert nothing.rank_correlation is None  # scores do not leave
    some = measured(curated([[0, 0, 0]]), reference([1, 0, 0]))
    assert some.overlap.value == 0  # this was measured
    assert some.relevant is None  # nobody says what is relevant
    level = curated([[1, 0, 0]], scores=[[2.0, 2.0, 2.0]])
    assert measured(level, reference([1, 0, 0]), scored=True).rank_correlation is None
    tied = reference([1, 0, 0], scores=[1.0, 1.0, 1.0])
    ranked = curated([[1, 0, 0]], scores=[[1.0, 2.0, 3.0]])
    assert measured(ranked, tied, scored=True).rank_correlation is None


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("decimals", [8, 0])
def test_the_rank_correlation_is_scipys(seed, decimals):
    """With no decimals many scores are equal."""
    rng = np.random.default_rng(seed)
    one = np.round(rng.normal(size=40), decimals)
    scores = np.round(0.5 * one + rng.normal(size=(3, 40)), decimals)
    mask = np.ones((3, 40))
    found = measured(curated(mask, scores), reference(mask[0], one), scored=True)
    expected = [stats.spearmanr(row, one).statistic for row in scores]
    assert found.rank_correlation.value == pytest.approx(np.mean(expected), abs=1e-12)
    spread = stats.t.ppf(0.975, 2) * np.std(expected, ddof=1) / math.sqrt(3)
    assert found.rank_correlation.high == pytest.approx(min(1, np.mean(expected) + spread))


def test_the_relevant_share_is_among_the_picks():
    found = measured(
        curated([[1, 1, 1, 0], [0, 0, 0, 1]]), reference([1, 0, 0, 0], relevant=[1, 0, 0, 1])
    )
    assert found.relevant.value == pytest.approx((1 / 3 + 1) / 2)


def test_relevant_rows_are_of_every_wanted_category():
    plan = base()
    site = tuple(np.where(np.arange(M) % 3 == 0, "a", "b").tolist())
    pool = dataclasses.replace(plan.data.pool, groups={"site": site})
    plan = dataclasses.replace(
        plan,
        data=dataclasses.replace(plan.data, pool=pool, classes=("no", "yes")),
    )
    is_a, is_yes = np.arange(M) % 3 == 0, plan.data.pool.labels == 1
    assert relevant_rows(plan, {}) is None
    np.testing.assert_array_equal(relevant_rows(plan, {"site": ("a",)}), is_a)
    np.testing.assert_array_equal(relevant_rows(plan, {"site": ("a", "b")}), np.ones(M, bool))
    both = relevant_rows(plan, {"site": ("a",), "label": ("yes",)})
    np.testing.assert_array_equal(both, is_a & is_yes)
    for wanted, expected in (
        ({"sitee": ("a",)}, "sweep.relevant.sitee: is no column of categories"),
        ({"site": ("c",)}, "sweep.relevant.site: found 'c', which no pool row has"),
        ({"label": ("yess",)}, "did you mean 'yes'?"),
    ):
        with pytest.raises(SettingError) as found:
            relevant_rows(plan, wanted)
        assert expected in str(found.value)


# curations


def scores_of(plan, n_repeats: int) -> np.ndarray:
    return repeated(plan, n_repeats).observation.scores


def test_noise_is_fresh_in_every_repeat_and_can_be_repeated():
    plan = planned()
    noisy = plan.audit(Point("gaussian_mean", 8.0))
    scores = scores_of(noisy, 3)
    assert not np.array_equal(scores[0], scores[1])
    assert not np.array_equal(scores[1], scores[2])
    np.testing.assert_array_equal(scores_of(noisy, 3), scores)
    np.testing.assert_allclose(scores_of(noisy, 2), scores[:2], rtol=1e-5)  # of the same streams
    other = planned(of={"seed": 4}).audit(Point("gaussian_mean", 8.0))
    assert not np.allclose(scores_of(other, 1)[0], scores[0])


def test_noise_on_the_selection_is_fresh_in_every_repeat():
    plan = planned(mechanisms=("noisy_top_k",), epsilons=(1.0, INF))
    noisy, quiet = (repeated(plan.audit(point), 3).observation for point in plan.points)
    np.testing.assert_array_equal(noisy.scores[0], noisy.scores[1])
    assert not np.array_equal(noisy.selection.mask()[0], noisy.selection.mask()[1])
    np.testing.assert_array_equal(quiet.selection.mask()[0], quiet.selection.mask()[1])


def test_without_noise_all_repeats_are_the_same():
    for audit in (planned().audit(None), planned().audit(Point("gaussian_mean", INF))):
        found = repeated(audit, 2)
        np.testing.assert_array_equal(found.observation.scores[0], found.observation.scores[1])
        assert found.utility[0] == found.utility[1]


def test_the_spread_of_repeats_is_the_noise_of_the_mechanism():
    """The mean squared distance from the exact scores against chi-squared, seed fixed.

    False alarm over seeds: 1e-4. Twice the claimed noise would be found.
    """
    plan, n = planned(), 40
    noisy = plan.audit(Point("gaussian_mean", 8.0))
    exact = scores_of(plan.audit(Point("gaussian_mean", INF)), 1)[0]
    queries = noisy.scorer.embed(noisy.data.pool.features).astype(np.float64)
    moved = np.linalg.lstsq(queries, (scores_of(noisy, n) - exact).T.astype(np.float64), rcond=None)
    total = float((moved[0] ** 2).sum()) / noisy.scorer.mechanism.noise**2
    low, high = stats.chi2.ppf([FALSE_ALARM / 2, 1 - FALSE_ALARM / 2], n * queries.shape[1])
    assert low < total < high
    assert not low < 4 * total < high


def test_random_picks_are_k_rows_that_nothing_decides():
    """How often each row is picked against chi-squared; false alarm 1e-4 over seeds."""
    plan, n = base(train=None), 400
    mask = random_picks(plan, K, n).observation.selection.mask()
    assert (mask.sum(axis=1) == K).all()
    assert len({row.tobytes() for row in mask}) == n
    share, counts = K / M, mask.sum(axis=0)
    # counts of all rows sum to nK, so that they hang together: M - 1 degrees of freedom
    statistic = float(((counts - n * share) ** 2).sum() / (n * share * (1 - share))) * (M - 1) / M
    low, high = stats.chi2.ppf([FALSE_ALARM / 2, 1 - FALSE_ALARM / 2], M - 1)
    assert low < statistic < high
    np.testing.assert_array_equal(random_picks(plan, K, n).observation.selection.mask(), mask)
    other = random_picks(base(train=None, seed=4), K, n).observation.selection.mask()
    assert not np.array_equal(other, mask)


def test_random_picks_of_every_rule_are_k_rows():
    plan = base(train=None, select=Threshold(minimum=0.0))
    assert random_picks(plan, 5, 2).observation.selection.sizes.tolist() == [5, 5]


def test_the_whole_pool_is_the_whole_pool():
    found = whole_pool(base())
    assert found.observation.selection.mask().all()
    assert found.observation.selection.mask().shape == (1, M)


def test_the_model_of_the_whole_pool_is_that_of_a_fit_on_all_rows():
    plan = base()
    everything = Selection.from_mask(np.ones((1, M), dtype=bool))
    streams = Streams(0).for_shadows("any", (0,))
    model = plan.downstream.fit(plan.data.pool, everything, 2, streams=streams)
    truth = plan.data.test
    expected = measure_utility(model.predict_proba(truth.features), truth.labels, "accuracy")
    assert whole_pool(plan).utility[0] == expected[0]


def test_the_reference_is_the_unprotected_curation():
    plan = planned()
    one = repeated(plan.audit(None), 1)
    of = reference_of(one, None)
    found = measured(one, of, scored=True, plan=plan.base)
    assert (found.overlap.value, found.rank_correlation.value) == (1, pytest.approx(1))
    assert of.picked.sum() == K


# intervals


def test_the_mean_of_repeats_has_a_t_interval():
    """An independent computation: scipy's one-sample t."""
    values = np.array([0.61, 0.7, 0.64, 0.59])
    found = mean_estimate(values, 0.9)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert found.value == pytest.approx(0.635)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert (found.confidence, found.label) == (0.9, "estimate")


def test_one_repeat_has_no_spread_of_its_own():
    assert mean_estimate(np.array([0.7]), 0.95) == Estimate(0.7, 0.7, 0.7, 0.95)
    shared = mean_estimate(np.array([0.7]), 0.95, 0.01)
    assert (shared.low, shared.high) == pytest.approx((0.7 - 0.1959964, 0.7 + 0.1959964))


def test_what_repeats_share_is_added():
    values = np.array([0.61, 0.7, 0.64, 0.59])
    own, both = mean_estimate(values, 0.95), mean_estimate(values, 0.95, 0.0004)
    shared = stats.norm.ppf(0.975) * 0.02
    assert both.high - both.value == pytest.approx(math.hypot(own.high - own.value, shared))


def test_the_variance_of_an_auc_is_that_of_hanley_and_mcneil():
    """Equation 2, written out; by hand for two rows of each class and an area of 3/4."""
    assert auc_variance(0.75, 2, 2) == pytest.approx(
        (0.1875 + 0.0375 + 0.5625 * (1 / 0.875 - 1)) / 4
    )
    auc, n, p = 0.8, 30, 50
    q_1, q_2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    expected = (auc * (1 - auc) + (p - 1) * (q_1 - auc**2) + (n - 1) * (q_2 - auc**2)) / (n * p)
    assert auc_variance(auc, n, p) == pytest.approx(expected)
    assert auc_variance(auc, p, n) != pytest.approx(expected, rel=1e-3)  # the sides are not alike
    assert auc_variance(1.0, n, p) == auc_variance(0.0, n, p) == 0


def test_the_variance_of_an_auc_is_that_of_simulated_ones():
    """Exponential scores, for which the formula is exact; 4000 areas, seed fixed.

    The standard error of a simulated variance is 2.5 %, so 10 % is four of them.
    """
    rng, negative, positive, ratio = np.random.default_rng(1), 20, 60, 4.0
    lower = rng.exponential(1, (4000, negative, 1))
    upper = rng.exponential(ratio, (4000, 1, positive))
    areas = (upper > lower).mean(axis=(1, 2))
    auc = ratio / (1 + ratio)
    assert areas.mean() == pytest.approx(auc, abs=0.004)
    assert auc_variance(auc, negative, positive) == pytest.approx(areas.var(), rel=0.1)
    assert auc_variance(auc, positive, negative) != pytest.approx(areas.var(), rel=0.1)


def test_a_variance_is_taken_off_the_edge():
    assert off_the_edge(1.0, 36) == pytest.approx(38 / 40)
    assert off_the_edge(0.5, 36) == 0.5
    assert off_the_edge(0.0, 36) == pytest.approx(1 - off_the_edge(1.0, 36))


def with_test_set(n: int, **changes: Any):
    """The plan with ``n`` test rows, half of them positive."""
    plan = base(**changes)
    test = plan.data.test
    cut = dataclasses.replace(
        test, ids=test.ids[:n], features=test.features[:n], labels=np.arange(n) % 2
    )
    return dataclasses.replace(plan, data=dataclasses.replace(plan.data, test=cut))


def covered(plan, draw, truth: float, n: int = 2000) -> int:
    """In how many of n simulations the interval of the accuracy holds the truth."""
    rng, beside, hits = np.random.default_rng(11), reference([1, 0]), 0
    for _ in range(n):
        utility = draw(rng)
        found = measured(curated([[1, 0]] * len(utility), utility=utility), beside, plan=plan)
        hits += found.accuracy.low <= truth <= found.accuracy.high
    return hits


def accuracies(share: float, n_test: int, n_repeats: int, noise: float):
    """Repeats that share their test rows: a row is right where it lies below ``share`` + noise."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        rows, shift = rng.random(n_test), noise * rng.standard_normal((n_repeats, 1))
        return (rows < share + shift).mean(axis=1)

    return draw


@pytest.mark.parametrize(
    ("share", "n_test", "n_repeats", "noise"),
    [(0.7, 60, 1, 0.0), (0.7, 60, 4, 0.06), (0.93, 60, 3, 0.01), (0.8, 400, 6, 0.05)],
)
def test_the_interval_of_the_accuracy_covers(share, n_test, n_repeats, noise):
    """At least 95 % of 2000 simulations but for chance: false alarm 1e-4 over seeds."""
    n = 2000
    draw = accuracies(share, n_test, n_repeats, noise)
    least = stats.binom.ppf(FALSE_ALARM, n, 0.95)
    assert covered(with_test_set(n_test), draw, share, n) >= least


def test_an_interval_without_the_test_rows_would_not_cover():
    """Fresh noise alone: what repeats share is most of the error here, and the test can fail."""
    n, draw, rng, hits = 2000, accuracies(0.7, 60, 4, 0.01), np.random.default_rng(11), 0
    for _ in range(n):
        found = mean_estimate(draw(rng), 0.95)
        hits += found.low <= 0.7 <= found.high
    assert hits < stats.binom.ppf(FALSE_ALARM, n, 0.95)


def test_the_interval_of_an_auc_covers():
    """Normal scores with an area of .8; at least 94 %, as the variance is an approximation."""
    n, shift = 2000, math.sqrt(2) * float(stats.norm.ppf(0.8))

    def draw(rng: np.random.Generator) -> np.ndarray:
        lower, upper = rng.standard_normal((30, 1)), shift + rng.standard_normal((1, 30))
        return np.array([(upper > lower).mean()])

    hits = covered(with_test_set(60, metric="auc"), draw, 0.8, n)
    assert hits >= stats.binom.ppf(FALSE_ALARM, n, 0.94)


@pytest.mark.parametrize("metric", ["accuracy", "auc"])
def test_a_perfect_model_on_few_rows_is_not_certain_to_be_perfect(metric):
    found = measured(
        curated([[1, 0]], utility=[1.0]), reference([1, 0]), plan=with_test_set(40, metric=metric)
    )
    assert found.accuracy.value == found.accuracy.high == 1
    assert 0.8 < found.accuracy.low < 0.97
    assert found.metric == metric


def test_without_a_test_set_nothing_is_measured():
    labels = {name: of for name, of in pipeline().labels.items() if name != "test"}
    plan = base(test=None, labels=labels)
    assert measured(repeated(plan, 2), reference(np.ones(M))).accuracy is None
    untrained = base(train=None)
    assert measured(repeated(untrained, 2), reference(np.ones(M)), plan=untrained).accuracy is None


def test_the_metric_may_be_an_auc():
    plan = base(metric="auc")
    one = repeated(plan, 1)
    found = measured(one, reference_of(one, None), plan=plan)
    assert found.metric == "auc"
    assert found.accuracy.value == pytest.approx(float(one.utility[0]))
    shares = measured(repeated(base(), 1), reference(np.ones(M)))
    assert found.accuracy.value != shares.accuracy.value
