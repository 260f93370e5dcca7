"""Attacks against theory, against slow loops, and against refitting."""

import itertools

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression

from curation_audit.api import Pipeline, audit
from curation_audit.attacks import ATTACKS
from curation_audit.attacks.base import OtherPairs, in_first, in_shadow_order
from curation_audit.attacks.best_row import best_rows
from curation_audit.attacks.binary_lira import BinaryLira
from curation_audit.attacks.gaussian import floored, gaussian_evidence
from curation_audit.attacks.linear import Discriminant, released_vectors, traced
from curation_audit.attacks.lira_best_row import LiraBestRow
from curation_audit.attacks.mask_trace import MaskTrace
from curation_audit.attacks.moments import MIN_PAIRS_FOR_OWN_VARIANCE
from curation_audit.attacks.signals import log_likelihood, logit_margin
from curation_audit.auditing.plan import AttackSettings
from curation_audit.observations import (
    Candidates,
    Knowledge,
    Linearisation,
    Observation,
    Selection,
)
from curation_audit.pipelines.base import ALWAYS_IN, PrivateRows
from curation_audit.pipelines.rules import TopFraction
from curation_audit.pipelines.scorers import Classifier, Mean
from curation_audit.statistics import PairedEvidence, clustered_auc
from curation_audit.streams import Streams
from tests.attacks.world import private_rows, public_rows
from tests.statistics.evidence import random_coins

D, N_POOL = 256, 20_000


def every(inclusion):
    """All other pairs."""
    return OtherPairs.of(Knowledge(), inclusion)


def pooled_aucs(n_members, seed, n_pairs, attacks):
    """AUCs on a mean scorer of standard normal rows with n of 2n candidates on average."""
    rng = np.random.default_rng(seed)
    private = private_rows(rng.standard_normal((2 * n_members, D)).astype(np.float32))
    pool = public_rows(rng.standard_normal((N_POOL, D)).astype(np.float32))
    inclusion = random_coins(rng, n_pairs, 2 * n_members)
    streams = Streams(seed).for_shadows("test", range(2 * n_pairs))
    scorer = Mean(metric="inner_product")
    scores = scorer.fit(private, inclusion, pool, streams=streams).score(pool.features)
    observation = Observation(
        scores,
        TopFraction(fraction=0.1).select(scores, np.arange(N_POOL)),
        np.zeros((2 * n_pairs, 2 * n_members, 2), dtype=np.float32),
    )
    knowledge = Knowledge(
        pool=pool.features,
        candidates=Candidates(private.features, private.unit, private.n_candidates),
        linearisation=scorer.linearise(private, pool),
    )
    return {
        name: clustered_auc(
            PairedEvidence.split(
                attack.evidence(observation, inclusion, knowledge, streams=streams), inclusion
            )
        ).auc
        for name, attack in attacks.items()
    }


TRACING = {"trace": ATTACKS["trace"], "mask_trace": MaskTrace(center="nothing")}
PUBLISHED = {name: ATTACKS[name] for name in ("lira_best_row", "binary_lira")}


def check_theory(n_members, n_seeds, n_pairs):
    found = [pooled_aucs(n_members, seed, n_pairs, TRACING | PUBLISHED) for seed in range(n_seeds)]
    mean = {name: np.mean([one[name] for one in found]) for name in found[0]}
    d_over_n = D / n_members
    assert mean["trace"] == pytest.approx(stats.norm.cdf(np.sqrt(d_over_n)), abs=0.02)
    assert mean["mask_trace"] == pytest.approx(stats.norm.cdf(np.sqrt(d_over_n / 2)), abs=0.02)
    assert mean["trace"] > mean["lira_best_row"] + 0.05
    assert mean["mask_trace"] > mean["binary_lira"] + 0.05


@pytest.mark.parametrize("n_members", [50, 200])
def test_tracing_meets_theory(n_members):
    check_theory(n_members, n_seeds=1, n_pairs=8)


@pytest.mark.slow
@pytest.mark.parametrize("n_members", [50, 200, 1000])
def test_tracing_meets_theory_over_eight_seeds(n_members):
    check_theory(n_members, n_seeds=8, n_pairs=8)


# --- leaving a pair out, by loops -------------------------------------------------------------


def other_values(signal, inclusion, j, n):
    """Candidate n's values in the shadows of other pairs that hold it, and that do not."""
    rest = [s for s in range(len(signal)) if s // 2 != j]
    held = inclusion[rest, n]
    return signal[rest, n][held], signal[rest, n][~held]


def looped_gaussian_evidence(signal, inclusion, own_variance):
    n_shadows, n_candidates = signal.shape
    evidence = np.zeros(signal.shape)
    for s in range(n_shadows):
        values = [other_values(signal, inclusion, s // 2, n) for n in range(n_candidates)]
        shared = [np.mean([np.var(one[i], ddof=1) for one in values]) for i in (0, 1)]
        for n, (inside, outside) in enumerate(values):
            spread = [np.var(inside, ddof=1), np.var(outside, ddof=1)] if own_variance else shared
            evidence[s, n] = stats.norm.logpdf(
                signal[s, n], inside.mean(), np.sqrt(spread[0])
            ) - stats.norm.logpdf(signal[s, n], outside.mean(), np.sqrt(spread[1]))
    return evidence


@pytest.mark.parametrize("n_pairs", [4, MIN_PAIRS_FOR_OWN_VARIANCE - 1, MIN_PAIRS_FOR_OWN_VARIANCE])
def test_gaussian_evidence_equals_the_loop(n_pairs):
    rng = np.random.default_rng(0)
    inclusion = random_coins(rng, n_pairs, 4)
    noise = rng.standard_normal(inclusion.shape) * np.where(inclusion, 1.0, 2.0) * [1, 2, 3, 4]
    signal = 100 + inclusion + noise
    expected = looped_gaussian_evidence(
        signal, inclusion, own_variance=n_pairs >= MIN_PAIRS_FOR_OWN_VARIANCE
    )
    np.testing.assert_allclose(gaussian_evidence(signal, inclusion), expected, rtol=1e-8)


def test_gaussian_evidence_of_constant_signals_is_nought():
    inclusion = random_coins(np.random.default_rng(0), 5, 3)
    np.testing.assert_array_equal(gaussian_evidence(np.full((10, 3), 7.0), inclusion), 0.0)


def test_gaussian_evidence_is_large_but_finite_where_nothing_varies():
    inclusion = random_coins(np.random.default_rng(0), 5, 3)
    evidence = gaussian_evidence(inclusion.astype(float), inclusion)
    assert np.isfinite(evidence).all()
    assert evidence[inclusion].min() > 100 > -100 > evidence[~inclusion].max()


def looped_best_rows(observed, inclusion, j, n):
    """The pool row whose in-mean and out-mean over the other pairs differ most."""
    rest = [s for s in range(len(observed)) if s // 2 != j]
    held = inclusion[rest, n]
    inside, outside = observed[rest][held], observed[rest][~held]
    # as many hold n as do not; sums of picks are whole, so that ties go to the first row
    k = int(np.abs(inside.sum(axis=0) - outside.sum(axis=0)).argmax())
    return k, inside[:, k], outside[:, k]


def best_row_sample():
    rng = np.random.default_rng(3)
    inclusion = random_coins(rng, 6, 5)
    effects = rng.standard_normal((5, 9))
    return 5 + rng.standard_normal((12, 9)) + inclusion @ effects, inclusion


def test_lira_best_row_equals_the_loop():
    observed, inclusion = best_row_sample()
    selection = Selection.from_mask(observed > 5)
    seen = Observation(observed, selection, np.zeros((12, 5, 2), dtype=np.float32))
    found = LiraBestRow().evidence(
        seen, inclusion, Knowledge(), streams=Streams(0).for_shadows("t", range(12))
    )
    for s, n in itertools.product(range(12), range(5)):
        k, inside, outside = looped_best_rows(observed, inclusion, s // 2, n)
        expected = stats.norm.logpdf(observed[s, k], inside.mean(), inside.std()) - (
            stats.norm.logpdf(observed[s, k], outside.mean(), outside.std())
        )
        assert found[s, n] == pytest.approx(expected)


def test_binary_lira_equals_the_loop():
    observed, inclusion = best_row_sample()
    mask = observed > 5.5
    seen = Observation(observed, Selection.from_mask(mask), np.zeros((12, 5, 2), dtype=np.float32))
    found = BinaryLira().evidence(
        seen, inclusion, Knowledge(), streams=Streams(0).for_shadows("t", range(12))
    )
    for s, n in itertools.product(range(12), range(5)):
        k, inside, outside = looped_best_rows(mask.astype(float), inclusion, s // 2, n)
        # half a count on either side of the five other shadows that hold n, and that do not
        rates = [(inside.sum() + 0.5) / 6, (outside.sum() + 0.5) / 6]
        likelihoods = [stats.bernoulli.pmf(int(mask[s, k]), rate) for rate in rates]
        assert found[s, n] == pytest.approx(np.log(likelihoods[0] / likelihoods[1]))


def test_floor_keeps_variances_of_constant_rows_positive():
    inclusion = random_coins(np.random.default_rng(0), 6, 3)
    observed = np.concatenate([inclusion[:, :1] * 1.0, np.zeros((12, 1))], axis=1)
    rows = best_rows(observed, inclusion, every(inclusion))
    assert (floored(rows.square - rows.mean**2, rows.mean, rows.square, 0.0) > 0).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("level", [0.0, 0.1, -3.7e5])
def test_scores_that_are_all_equal_tell_nothing(dtype, level):
    """Rounding of sums is no evidence."""
    inclusion = random_coins(np.random.default_rng(0), 32, 7)
    scores = np.full((64, 20), level, dtype=dtype)
    seen = Observation(scores, Selection.from_mask(scores > 5), np.zeros((64, 7, 2), np.float32))
    found = LiraBestRow().evidence(
        seen, inclusion, Knowledge(), streams=Streams(0).for_shadows("t", range(64))
    )
    assert not found.any()
    assert not gaussian_evidence(np.full((64, 7), level, dtype=dtype), inclusion).any()


def test_a_far_offset_changes_nothing():
    rng = np.random.default_rng(1)
    inclusion, scores = random_coins(rng, 16, 5), rng.standard_normal((32, 9))
    streams = Streams(0).for_shadows("t", range(32))
    found = []
    for offset in (0.0, 2.0**30):
        shifted = (np.round(scores * 2**10) / 2**10) + offset
        seen = Observation(shifted, Selection.from_mask(scores > 9), np.zeros((32, 5, 2), "f4"))
        found.append(LiraBestRow().evidence(seen, inclusion, Knowledge(), streams=streams))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-3, atol=1e-3)


def test_sorting_by_coin_and_back():
    rng = np.random.default_rng(0)
    inclusion, values = random_coins(rng, 4, 6), rng.standard_normal((8, 6))
    pairs = in_first(values, inclusion)
    for j, n in itertools.product(range(4), range(6)):
        rows = (2 * j, 2 * j + 1) if inclusion[2 * j, n] else (2 * j + 1, 2 * j)
        assert pairs[j, :, n].tolist() == [values[row, n] for row in rows]
    np.testing.assert_array_equal(in_shadow_order(pairs, inclusion), values)


@pytest.mark.parametrize("known", [[0, 1, 2, 3, 4], [1, 3, 4], [0, 2, 3]])
def test_means_of_other_pairs_equal_the_loop(known):
    values = np.random.default_rng(0).standard_normal((10, 3, 2))
    others = OtherPairs(np.isin(np.arange(5), known))
    for s, found in enumerate(others.means_of_shadows(values)):
        rest = [t for t in range(10) if t // 2 != s // 2 and t // 2 in known]
        np.testing.assert_allclose(found, values[rest].mean(axis=0))
        assert others.counts[s // 2] == len(rest) / 2


def test_too_few_other_pairs_are_refused():
    with pytest.raises(ValueError, match="another pair"):
        OtherPairs(np.array([True, False, False]))
    with pytest.raises(ValueError, match=r"known_pairs must be \(3,\)"):
        OtherPairs.of(
            Knowledge(known_pairs=np.ones(4, dtype=bool)),
            random_coins(np.random.default_rng(0), 3, 2),
        )


# --- linear scorers ---------------------------------------------------------------------------


@pytest.mark.parametrize("m", [40, 5])
def test_weights_are_recovered_exactly_from_linear_scores(m):
    rng = np.random.default_rng(1)
    pool, weights = rng.standard_normal((m, 12)), rng.standard_normal((6, 12))
    found = released_vectors(pool, weights @ pool.T)
    if m > 12:
        np.testing.assert_allclose(found, weights, rtol=1e-9)
    else:  # the shortest vector with those scores
        shortest = np.linalg.lstsq(pool, pool @ weights.T, rcond=None)[0].T
        np.testing.assert_allclose(found, shortest, atol=1e-9)


def correlated_pool(rng, m, p):
    return rng.standard_normal((m, p)) @ rng.standard_normal((p, p)) + 3.0


def unit_linearisation(reference, slopes):
    p = len(reference)
    return Linearisation(reference, np.eye(p), np.eye(p), slopes)


def test_directions_are_recovered_from_picks():
    # for a normal pool the mean of the rows above a cut along w lies at mu + c Sigma w
    rng = np.random.default_rng(2)
    pool = correlated_pool(rng, 40_000, 5)
    weights = rng.standard_normal((8, 5))
    scores = pool @ weights.T
    mask = (scores >= np.quantile(scores, 0.9, axis=0)).T
    design = np.column_stack([pool, np.ones(len(pool))])
    reference, slopes = np.array([1.0, -2.0, 0.5, 0.0, 3.0, 9.0]), np.arange(6) < 5
    found = Discriminant.of(design, unit_linearisation(reference, slopes)).directions(design, mask)
    assert found.shape == (8, 5)
    for recovered, true in zip(found, weights, strict=True):
        assert np.corrcoef(pool @ recovered, pool @ true)[0, 1] > 0.999
    # and scaled so that its scores spread as the reference scorer's do
    spread = (pool @ reference[:5]).std()
    np.testing.assert_allclose((pool @ found.T).std(axis=0), spread, rtol=1e-3)


def test_directions_of_empty_picks_are_finite():
    rng = np.random.default_rng(2)
    pool = rng.standard_normal((50, 3))
    mask = np.zeros((4, 50), dtype=bool)
    mask[1, :5] = True
    every = np.ones(3, dtype=bool)
    found = Discriminant.of(pool, unit_linearisation(np.ones(3), every)).directions(pool, mask)
    assert found[0].tolist() == [0.0, 0.0, 0.0]
    assert np.isfinite(found).all()


def test_tracing_equals_the_loop():
    rng = np.random.default_rng(5)
    root = rng.standard_normal((4, 4))
    linear = Linearisation(
        rng.standard_normal(4),
        rng.standard_normal((3, 4)),
        root @ root.T,
        np.array([True, True, False, True]),
    )
    vectors = rng.standard_normal((6, 4))
    others = OtherPairs(np.ones(3, dtype=bool))
    for s, n in itertools.product(range(6), range(3)):
        rest = [t for t in range(6) if t // 2 != s // 2]
        shift = vectors[s] - vectors[rest].mean(axis=0)
        expected = shift @ np.linalg.solve(linear.covariance, linear.influence[n])
        assert traced(vectors, linear.whitening, others)[s, n] == pytest.approx(expected)
    # with one coordinate unseen its marginal covariance counts, not the conditional one
    seen = [0, 1, 3]
    expected = vectors[:, seen] @ np.linalg.solve(
        linear.covariance[np.ix_(seen, seen)], linear.influence[:, seen].T
    )
    np.testing.assert_allclose(vectors[:, seen] @ linear.whitening_of_slopes, expected)


# --- linearisation against refitting ----------------------------------------------------------


def private_with_units(rng, n_units, n_fixed, d):
    """Units of one or two rows, and rows that every shadow holds."""
    unit = np.concatenate([np.arange(n_units), [0, 1], np.full(n_fixed, ALWAYS_IN)])
    names = tuple(map(str, range(len(unit))))
    features = rng.standard_normal((len(unit), d)) + 0.5
    return PrivateRows(names, features, unit, tuple(map(str, range(n_units))))


def refitted(scorer, private, pool, coins):
    """The released vector with weight ``coins[n]`` on candidate n, by other software."""
    weight = np.append(coins, 1.0)[private.unit]
    if isinstance(scorer, Mean):
        embedded = private.features / np.linalg.norm(private.features, axis=1, keepdims=True)
        return np.average(embedded, axis=0, weights=weight)
    rows = np.concatenate([private.features, pool.features])
    design = np.column_stack([rows, np.ones(len(rows))])
    model = LogisticRegression(
        C=1 / scorer.l2, fit_intercept=False, tol=1e-12, solver="newton-cholesky", max_iter=1000
    )
    target = np.arange(len(rows)) < len(private)
    return model.fit(design, target, np.append(weight, np.ones(len(pool)))).coef_[0]


SCORERS = pytest.mark.parametrize(
    "scorer", [Mean(metric="cosine"), Classifier(l2=0.7, device="cpu")], ids=["mean", "classifier"]
)


@SCORERS
def test_influence_is_the_derivative_by_a_candidates_weight(scorer):
    rng = np.random.default_rng(6)
    private = private_with_units(rng, n_units=8, n_fixed=5, d=3)
    pool = public_rows(rng.standard_normal((60, 3)))
    linear = scorer.linearise(private, pool)
    half, step = np.full(8, 0.5), 1e-3
    np.testing.assert_allclose(linear.reference, refitted(scorer, private, pool, half), atol=1e-7)
    for n in range(8):
        moved = [half + sign * step * (np.arange(8) == n) for sign in (1, -1)]
        up, down = (refitted(scorer, private, pool, coins) for coins in moved)
        derivative = (up - down) / (2 * step)
        np.testing.assert_allclose(linear.influence[n], derivative, atol=2e-6, rtol=1e-4)


@SCORERS
def test_covariance_is_that_of_refits_over_coins(scorer):
    rng = np.random.default_rng(7)
    private = private_with_units(rng, n_units=120, n_fixed=30, d=3)
    pool = public_rows(rng.standard_normal((300, 3)))
    linear = scorer.linearise(private, pool)
    inclusion = random_coins(rng, 1000, 120)
    streams = Streams(0).for_shadows("test", range(2000))
    weights = scorer.fit(private, inclusion, pool, streams=streams).weights
    # along every direction, so that cross terms count: sampling error about 5 %
    directions = rng.standard_normal((20, weights.shape[1]))
    simulated = np.einsum("kp,pq,kq->k", directions, np.cov(weights.T), directions)
    predicted = np.einsum("kp,pq,kq->k", directions, linear.covariance, directions)
    np.testing.assert_allclose(predicted, simulated, rtol=0.2)
    assert np.mean(predicted / simulated) == pytest.approx(1, abs=0.12)


def test_an_intercept_shows_in_no_ranking():
    rng = np.random.default_rng(6)
    private = private_with_units(rng, n_units=8, n_fixed=5, d=3)
    pool = public_rows(rng.standard_normal((60, 3)))
    slopes = [scorer.linearise(private, pool).slopes for scorer in (Mean(), Classifier())]
    assert [one.tolist() for one in slopes] == [[True] * 3, [True, True, True, False]]


# --- signals of a model -----------------------------------------------------------------------


def test_logit_margin_of_logits():
    rng = np.random.default_rng(8)
    logits, labels = rng.standard_normal((3, 5, 4)), rng.integers(0, 4, 5)
    probabilities = (np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)).astype(np.float32)
    for s, i in itertools.product(range(3), range(5)):
        own, others = logits[s, i, labels[i]], np.delete(logits[s, i], labels[i])
        expected = own - np.log(np.exp(others).sum())
        assert logit_margin(probabilities, labels)[s, i] == pytest.approx(expected, abs=1e-5)
        likelihood = own - np.log(np.exp(logits[s, i]).sum())
        assert log_likelihood(probabilities, labels)[s, i] == pytest.approx(likelihood, abs=1e-5)


@pytest.mark.parametrize("certain", [0, 1])
def test_signals_of_certain_models_are_finite(certain):
    probabilities = np.zeros((1, 1, 2), dtype=np.float32)
    probabilities[0, 0, certain] = 1.0
    margin = logit_margin(probabilities, np.array([0]))
    assert np.isfinite(margin).all()
    assert (margin > 0).all() == (certain == 0)
    assert np.isfinite(log_likelihood(probabilities, np.array([0]))).all()


def test_near_certainty_is_not_rounded_away():
    # 1 - p_y would be 0 in float32 for both
    probabilities = np.array([[[1.0, 1e-9]], [[1.0, 1e-12]]], dtype=np.float32)
    margin = logit_margin(probabilities, np.array([0]))[:, 0]
    assert margin == pytest.approx([9 * np.log(10), 12 * np.log(10)], rel=1e-5)


def test_mean_per_unit_equals_the_loop():
    rng = np.random.default_rng(9)
    unit = np.array([2, 0, 1, 2, 0, 2])
    candidates = Candidates(np.zeros((6, 1)), unit, 3)
    values = rng.standard_normal((4, 6))
    for n in range(3):
        expected = values[:, unit == n].mean(axis=1)
        np.testing.assert_allclose(candidates.mean_per_unit(values)[:, n], expected)
    with pytest.raises(ValueError, match="each of 4 candidates"):
        Candidates(np.zeros((6, 1)), unit, 4)


def test_a_pool_of_identical_rows_tells_no_direction():
    """Nothing can be recovered from it, and nothing breaks."""
    rng = np.random.default_rng(0)
    settings = AttackSettings(shadows=8)
    private, public = rng.standard_normal((8, 3)), np.ones((30, 3))
    result = audit(Pipeline(private=private, public=public, train=None, attack=settings))
    for stage in result.stages[:2]:
        for one in stage.attacks:
            of_others = {"memberships", "nearest scorer", "score ranks", "top scores only"}
            of_others |= {"trained references"}
            of_others &= {*one.needs}
            assert one.status == ("not applicable" if of_others else "run")
    assert np.all(result.evidence["mask_trace"] == 0)


@pytest.mark.parametrize("scorer", ["mean", "classifier", "nearest"])
def test_rows_of_zeros_tell_nothing_and_break_nothing(scorer):
    settings = AttackSettings(shadows=8)
    nothing = Pipeline(
        private=np.zeros((8, 3)),
        public=np.zeros((30, 3)),
        scorer=scorer,
        train=None,
        attack=settings,
    )
    result = audit(nothing)
    assert result.verdict.status == "no leak found"
    assert all(np.isfinite(one).all() for one in result.evidence.values())
