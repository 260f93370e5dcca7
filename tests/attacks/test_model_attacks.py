"""Attacks on the model against plain loops, closed forms and simulations."""

import dataclasses

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, log_softmax, logsumexp, polygamma
from sklearn.metrics import roc_auc_score

from curation_audit.attacks import ATTACKS
from curation_audit.attacks.base import OtherPairs, in_first
from curation_audit.attacks.base_ratio import BaseRatio
from curation_audit.attacks.bavaria import Bavaria, fitted, inverse_trigamma, variance_prior
from curation_audit.attacks.label_only import LabelOnly, bernoulli_ratio
from curation_audit.attacks.lira import Lira
from curation_audit.attacks.lira_offline import LiraOffline
from curation_audit.attacks.loss import Loss
from curation_audit.attacks.moments import gaussian_ratio, moments, sums_without_own
from curation_audit.attacks.nearest_pool import NearestPool, telling
from curation_audit.attacks.population import compared, informed, whole_steps
from curation_audit.attacks.quantile import Quantile, predicted, quantile_of
from curation_audit.attacks.rmia import Rmia
from curation_audit.attacks.rmia_offline import GRID, RmiaOffline, tuned
from curation_audit.attacks.signals import log_odds, nearest_queried, signals
from curation_audit.observations import Candidates, Knowledge, Observation, Selection
from curation_audit.statistics import PairedEvidence, clustered_auc
from tests.statistics.evidence import random_coins


def every(inclusion):
    """All other pairs."""
    return OtherPairs.of(Knowledge(), inclusion)


def some(inclusion, n_known):
    """The first pairs only."""
    known = np.arange(len(inclusion) // 2) < n_known
    return OtherPairs.of(Knowledge(known_pairs=known), inclusion)


PAIRS = pytest.mark.parametrize("others_of", [every, lambda i: some(i, 4)], ids=["all", "block"])


def other_values(signal, inclusion, others, s, n):
    """Candidate n's values in the other pairs' shadows that hold it, and that do not."""
    j = s // 2
    rest = [t for t in range(len(signal)) if t // 2 != j and others.known[t // 2]]
    held = inclusion[rest, n]
    return signal[rest, n][held], signal[rest, n][~held]


def signal_and_coins(seed, n_pairs=6, n_candidates=7, effect=0.5):
    rng = np.random.default_rng(seed)
    inclusion = random_coins(rng, n_pairs, n_candidates)
    level, scale = rng.normal(0, 3, n_candidates), rng.uniform(0.5, 2, n_candidates)
    noise = rng.standard_normal(inclusion.shape)
    return level + scale * (noise + effect * inclusion), inclusion


def seen(signal, labels=None):
    """A model of two classes with this logit margin at each candidate, and what is known."""
    n = signal.shape[1]
    labels = np.arange(n) % 2 if labels is None else labels
    of_label = expit(signal)
    second = np.where(labels == 1, of_label, 1 - of_label)
    probabilities = np.stack([1 - second, second], axis=2).astype(np.float32)
    nothing = Selection.from_mask(np.zeros((len(signal), 1), dtype=bool))
    observation = Observation(np.zeros((len(signal), 1)), nothing, probabilities)
    candidates = Candidates(np.arange(float(n))[:, None], np.arange(n), n, labels)
    return observation, Knowledge(candidates=candidates)


def run(attack, signal, inclusion):
    observation, knowledge = seen(signal)
    return attack.evidence(observation, inclusion, knowledge, streams=None)


def auc(evidence, inclusion):
    return clustered_auc(PairedEvidence.split(evidence, inclusion)).auc


# --- signals ----------------------------------------------------------------------------------


def test_signals_are_higher_where_the_model_is_surer():
    probabilities = np.array([[[0.6, 0.4]], [[0.9, 0.1]]], dtype=np.float32)
    for kind in ("margin", "loss", "entropy"):
        values = signals(probabilities, np.array([0]), kind)
        assert values[1] > values[0]
    expected = 0.6 * np.log(0.6) + 0.4 * np.log(0.4)
    assert signals(probabilities, None, "entropy")[0, 0] == pytest.approx(expected, rel=1e-6)
    with pytest.raises(ValueError, match="the margin needs labels"):
        signals(probabilities, None, "margin")


def test_log_odds_do_not_see_a_common_factor():
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((2, 3, 4))
    found = log_odds(np.exp(log_softmax(logits, axis=2)).astype(np.float32))
    np.testing.assert_allclose(found, logits - logits.mean(axis=2, keepdims=True), atol=1e-6)


def test_nearest_rows_equal_the_loop():
    rng = np.random.default_rng(1)
    pool = rng.integers(0, 3, (40, 2)).astype(np.float32)  # with many ties
    unit = np.array([2, 0, 1, 2, 3, 0])
    candidates = Candidates(rng.integers(0, 3, (6, 2)) + 0.25, unit, 4)
    queried = np.sort(rng.permutation(40)[:25])
    knowledge = Knowledge(pool=pool, candidates=candidates, queried=queried)
    for n_rows in (3, 60):
        found = nearest_queried(knowledge, n_rows)
        for n in range(4):
            own = candidates.features[unit == n]
            square = ((pool[queried][:, None] - own) ** 2).sum(axis=2).min(axis=1)
            expected = np.argsort(square, kind="stable")[: min(n_rows, 25)]
            np.testing.assert_array_equal(found[n], expected)


# --- moments and likelihood ratios --------------------------------------------------------------


@PAIRS
def test_moments_equal_the_loop(others_of):
    signal, inclusion = signal_and_coins(2)
    others = others_of(inclusion)
    found = moments(signal + 1e6, inclusion, others)
    tested = in_first(signal + 1e6, inclusion)
    np.testing.assert_array_equal(found.tested, tested)
    for s in range(0, len(signal), 2):
        for n in range(signal.shape[1]):
            for side, values in enumerate(other_values(signal, inclusion, others, s, n)):
                mean, variance = found.mean[s // 2, side, n], found.variance[s // 2, side, n]
                assert mean - 1e6 == pytest.approx(values.mean(), abs=1e-8)
                assert variance == pytest.approx(values.var(ddof=1), rel=1e-6)


@PAIRS
@pytest.mark.parametrize("variance", ["own", "shared"])
def test_lira_equals_the_loop(others_of, variance):
    signal, inclusion = signal_and_coins(3)
    others = others_of(inclusion)
    found = gaussian_ratio(signal, inclusion, others, variance)
    for s in range(len(signal)):
        sides = [other_values(signal, inclusion, others, s, n) for n in range(signal.shape[1])]
        spread = np.array([[np.var(one, ddof=1) for one in pair] for pair in sides])
        if variance == "shared":
            spread = np.broadcast_to(spread.mean(axis=0), spread.shape)
        logs = [
            stats.norm.logpdf(signal[s], [pair[i].mean() for pair in sides], np.sqrt(spread[:, i]))
            for i in (0, 1)
        ]
        np.testing.assert_allclose(found[s], logs[0] - logs[1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n_pairs", [6, 31, 32])
def test_variance_is_shared_below_64_shadows(n_pairs):
    signal, inclusion = signal_and_coins(4, n_pairs)
    found = gaussian_ratio(signal, inclusion, every(inclusion))
    kind = "shared" if n_pairs < 32 else "own"
    same = gaussian_ratio(signal, inclusion, every(inclusion), kind)
    np.testing.assert_array_equal(found, same)


@pytest.mark.parametrize("variance", ["own", "shared"])
def test_offline_lira_equals_the_loop(variance):
    signal, inclusion = signal_and_coins(5)
    found = run(LiraOffline(variance=variance), signal, inclusion)
    others = every(inclusion)
    for s in range(len(signal)):
        outs = [other_values(signal, inclusion, others, s, n)[1] for n in range(signal.shape[1])]
        spread = np.array([one.var(ddof=1) for one in outs])
        if variance == "shared":
            spread = np.full(len(spread), spread.mean())
        mean = [one.mean() for one in outs]
        expected = -stats.norm.logsf(signal[s], mean, np.sqrt(spread))
        np.testing.assert_allclose(found[s], expected, rtol=1e-4, atol=1e-5)


def test_offline_lira_keeps_its_digits_far_out():
    rng = np.random.default_rng(6)
    inclusion = random_coins(rng, 20, 3)
    signal = rng.standard_normal(inclusion.shape) * 0.01
    signal[0] = [5.0, 10.0, 15.0]  # hundreds of standard deviations
    found = run(LiraOffline(), signal, inclusion)
    assert np.isfinite(found).all()
    assert (np.diff(found[0]) > 1000).all()


def test_sums_over_others_do_not_cancel():
    values = np.array([1e-30, 3e-30, 1.0, 2e-30])[:, None]
    inclusion = random_coins(np.random.default_rng(0), 4, 1)
    found = sums_without_own(values, every(inclusion))[:, 0]
    np.testing.assert_allclose(found, [1.0, 1.0, 6e-30, 1.0], rtol=1e-12)
    found = sums_without_own(values, some(inclusion, 2))[:, 0]
    np.testing.assert_allclose(found, [3e-30, 1e-30, 4e-30, 4e-30], rtol=1e-12)


@pytest.mark.parametrize("effect", [0.5, 1.5])
def test_lira_reaches_the_closed_form(effect):
    # of a unit Gaussian shifted by its membership: AUC = Phi(effect / sqrt 2)
    rng = np.random.default_rng(7)
    inclusion = random_coins(rng, 150, 200)
    noise = rng.standard_normal(inclusion.shape)
    signal = rng.normal(0, 2, 200) + noise + effect * inclusion
    best = stats.norm.cdf(effect / np.sqrt(2))
    online, offline = (
        auc(run(one, signal, inclusion), inclusion) for one in (Lira(), LiraOffline())
    )
    # what estimated moments cost; sampling error .003
    assert best - 0.015 < online < best + 0.008
    assert best - 0.015 < offline < best + 0.008  # equal variances: the tail orders alike
    assert abs(auc(run(Loss(), signal, inclusion), inclusion) - best) > 0.05


@pytest.mark.parametrize("seed", range(3))
def test_offline_variants_stay_below_online_ones(seed):
    # where membership also lowers the signal of some, only in shadows can tell
    rng = np.random.default_rng(seed)
    inclusion = random_coins(rng, 40, 300)
    effect = rng.normal(0.4, 1.0, 300)
    signal = rng.normal(0, 2, 300) + rng.standard_normal(inclusion.shape) + effect * inclusion
    online = auc(run(Lira(), signal, inclusion), inclusion)
    assert auc(run(LiraOffline(), signal, inclusion), inclusion) < online - 0.02
    assert auc(run(RmiaOffline(), signal, inclusion), inclusion) < online - 0.02


# --- BaVarIA ----------------------------------------------------------------------------------


def test_inverse_trigamma():
    x = np.array([1e-3, 0.1, 1.0, 7.0, 1e3, 1e6])
    np.testing.assert_allclose(inverse_trigamma(polygamma(1, x)), x, rtol=1e-8)


def test_the_prior_of_variances_is_found():
    rng = np.random.default_rng(8)
    true_freedom, true_variance, freedom = 6.0, 2.5, 9
    variances = true_freedom * true_variance / rng.chisquare(true_freedom, (1, 2, 50_000))
    sampled = variances * rng.chisquare(freedom, variances.shape) / freedom
    prior, level = variance_prior(sampled, np.full((1, 1, 1), float(freedom)))
    np.testing.assert_allclose(prior, true_freedom, rtol=0.1)
    np.testing.assert_allclose(level, true_variance, rtol=0.05)
    # and that of equal variances is as good as certain
    sampled = true_variance * rng.chisquare(freedom, (1, 1, 50_000)) / freedom
    prior, level = variance_prior(sampled, np.full((1, 1, 1), float(freedom)))
    assert (prior > 200).all()
    np.testing.assert_allclose(level, true_variance, rtol=0.05)


def looped_predictives(values):
    """Densities [candidate][in, out] from values (candidates, 2, k), a step at a time."""
    n, _, k = values.shape
    variance = values.var(axis=2, ddof=1)
    factor = variance.mean(axis=0)
    both = np.array([np.mean(variance[i] / factor) for i in range(n)])
    prior, level = (x.item() for x in variance_prior(both[None, None], two_dimensional(2 * k - 2)))
    both = [(prior * level + (2 * k - 2) * one) / (prior + 2 * k - 2) for one in both]
    log_ratios = [np.log(variance[i, 0] / factor[0] * factor[1] / variance[i, 1]) for i in range(n)]
    excess = np.var(log_ratios) / 2 - polygamma(1, (k - 1) / 2)
    agreed = 2 * inverse_trigamma(np.array([max(excess, 4e-6)])).item()
    pulled = np.array(
        [
            [
                (agreed * both[i] * factor[h] + (k - 1) * variance[i, h]) / (agreed + k - 1)
                for h in (0, 1)
            ]
            for i in range(n)
        ]
    )
    gaps = values[:, 0].mean(axis=1) - values[:, 1].mean(axis=1)
    errors = pulled.sum(axis=1) / k
    spread = max(np.mean((gaps - gaps.mean()) ** 2 - errors), 0)
    freedom = 1 / (1 / (agreed + k - 1) + 1 / (prior + 2 * k - 2))
    densities = []
    for i in range(n):
        share = spread / (spread + errors[i])
        gap = gaps.mean() + share * (gaps[i] - gaps.mean())
        # the middle and the gap are uncorrelated where both sides have the same variance
        scales = np.sqrt(pulled[i] + errors[i] / 4 + share * errors[i] / 4)
        middle = values[i].mean()
        sides = zip((middle + gap / 2, middle - gap / 2), scales, strict=True)
        densities.append([stats.t(freedom, centre, scale) for centre, scale in sides])
    return densities


def two_dimensional(freedom):
    return np.full((1, 1, 1), float(freedom))


@PAIRS
@pytest.mark.parametrize("heteroscedastic", [False, True])
def test_bavaria_equals_the_loop(others_of, heteroscedastic):
    rng = np.random.default_rng(9)
    inclusion = random_coins(rng, 6, 25)
    scale = np.exp(heteroscedastic * rng.uniform(-1, 1, 25))
    signal = scale * rng.standard_normal(inclusion.shape) * np.where(inclusion, scale, 1)
    others = others_of(inclusion)
    found = moments(signal, inclusion, others)
    densities = fitted(found)
    for s in range(0, len(signal), 2):
        j = s // 2
        values = np.array([other_values(signal, inclusion, others, s, n) for n in range(25)])
        expected = looped_predictives(values)
        for side in (0, 1):
            density = densities.log_density(found.tested, side, 0.0)[j]
            for n in range(25):
                logs = expected[n][side].logpdf(found.tested[j, :, n])
                np.testing.assert_allclose(density[:, n], logs, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("n_pairs", [3, 4, 8])
def test_bavaria_is_better_than_lira_with_few_shadows(n_pairs):
    # standard deviations differ sixteenfold; 8 seeds of 400 candidates
    gains = []
    for seed in range(8):
        rng = np.random.default_rng(100 + seed)
        inclusion = random_coins(rng, n_pairs, 400)
        scale = np.exp(rng.uniform(-1.4, 1.4, 400))
        noise = rng.standard_normal(inclusion.shape)
        signal = rng.normal(0, 2, 400) + scale * (noise + 1.2 * inclusion)
        bavaria, lira = (auc(run(one, signal, inclusion), inclusion) for one in (Bavaria(), Lira()))
        gains.append(bavaria - lira)
    assert np.mean(gains) > 0.01
    assert np.mean(gains) > 3 * np.std(gains, ddof=1) / np.sqrt(len(gains))


# --- RMIA and BASE ------------------------------------------------------------------------------


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("own", [False, True])
def test_sorting_equals_the_matrix_of_ratios(gamma, own):
    rng = np.random.default_rng(10)
    x, z = np.round(rng.normal(0, 1, (4, 30)), 1), np.round(rng.normal(0, 1, (4, 50)), 1)
    rows = None if own else z
    for s, found in enumerate(compared(x, rows, gamma)):
        mine, theirs = whole_steps(x[s] - np.log(gamma)), whole_steps(x[s] if own else z[s])
        beats = mine[:, None] >= theirs
        if own:
            np.fill_diagonal(beats, False)
        np.testing.assert_array_equal(found, beats.sum(axis=1) / (29 if own else 50))
        # ties are ties: values on a grid of tenths, compared as they are
        exact = np.rint(10 * (x[s][:, None] - (x[s] if own else z[s])))
        if gamma == 1:
            at_least = exact >= 0
            if own:
                np.fill_diagonal(at_least, False)
            np.testing.assert_array_equal(beats, at_least)


def population_world(seed, n_pairs=6, n_candidates=8, n_rows=15):
    """Candidates' and pool rows' likelihoods in two classes."""
    signal, inclusion = signal_and_coins(seed, n_pairs, n_candidates)
    observation, knowledge = seen(signal)
    rng = np.random.default_rng(seed)
    at_pool = expit(rng.standard_normal((len(signal), n_rows, 1)) + rng.normal(0, 2, (n_rows, 1)))
    at_pool = np.concatenate([at_pool, 1 - at_pool], axis=2).astype(np.float32)
    labels = rng.integers(0, 2, 30)
    queried = np.sort(rng.permutation(30)[:n_rows])
    observation = dataclasses.replace(observation, at_pool=at_pool)
    knowledge = dataclasses.replace(
        knowledge,
        granted=frozenset({"pool", "queries at both", "queries at pool rows"}),
        pool=rng.standard_normal((30, 1)),
        pool_labels=labels,
        queried=queried,
    )
    p = observation.probabilities[:, np.arange(n_candidates), knowledge.candidates.labels]
    z = at_pool[:, np.arange(n_rows), labels[queried]]
    return observation, knowledge, inclusion, p.astype(np.float64), z.astype(np.float64)


def rest_of(s, n_shadows):
    return [t for t in range(n_shadows) if t // 2 != s // 2]


@pytest.mark.parametrize("form", ["share", "information"])
@pytest.mark.parametrize("a", [None, 0.0, 0.3, 1.0])
def test_rmia_equals_the_loop(a, form):
    observation, knowledge, inclusion, p, z = population_world(11)
    attack = Rmia(form=form) if a is None else RmiaOffline(a=a, form=form)
    found = attack.evidence(observation, inclusion, knowledge, streams=None)
    for s in range(len(p)):
        rest = rest_of(s, len(p))
        if a is None:
            p_x, p_z = p[rest].mean(axis=0), z[rest].mean(axis=0)
        else:
            outs = [p[rest, n][~inclusion[rest, n]].mean() for n in range(p.shape[1])]
            p_x = ((1 + a) * np.array(outs) + 1 - a) / 2
            p_z = ((1 + a) * z[rest].mean(axis=0) + 1 - a) / 2
        ratio_x, ratio_z = p[s] / p_x, z[s] / p_z
        if form == "share":
            expected = (ratio_x[:, None] >= ratio_z).mean(axis=1)
        else:
            weight = p_z / p_z.sum()
            expected = np.log(ratio_x) + (weight * np.log(1 / ratio_z)).sum()
        np.testing.assert_allclose(found[s], expected, atol=1e-9)


def test_beside_the_candidates_only_as_many_pool_rows_as_the_budget_allows():
    observation, knowledge, inclusion, _, _ = population_world(13)
    beside = np.arange(15) % 3 == 0
    limited = dataclasses.replace(knowledge, beside=beside)
    fewer = dataclasses.replace(knowledge, queried=knowledge.queried[beside])
    cut = dataclasses.replace(observation, at_pool=observation.at_pool[:, beside])
    found = Rmia().evidence(observation, inclusion, limited, streams=None)
    np.testing.assert_array_equal(found, Rmia().evidence(cut, inclusion, fewer, streams=None))


def test_without_pool_rows_the_population_is_the_other_candidates():
    observation, knowledge, inclusion, p, _ = population_world(12)
    for denied in ({"pool"}, {"queries at both"}, {"queries at pool rows"}):
        fewer = dataclasses.replace(knowledge, granted=knowledge.granted - denied)
        found = Rmia().evidence(observation, inclusion, fewer, streams=None)
        for s in range(len(p)):
            ratio = p[s] / p[rest_of(s, len(p))].mean(axis=0)
            for n in range(p.shape[1]):
                assert found[s, n] == pytest.approx(np.mean(ratio[n] >= np.delete(ratio, n)))


def test_the_information_form_has_no_ties():
    ratios = np.random.default_rng(0).standard_normal((2, 4)) + 50  # beyond all of the population
    rows, expected = np.zeros((2, 5)), np.full((1, 5), 0.5)
    assert (compared(ratios, rows, 1.0) == 1).all()
    assert len(np.unique(informed(ratios, rows, expected))) == 8


def test_tuning_equals_the_loop():
    rng = np.random.default_rng(13)
    inclusion = random_coins(rng, 4, 20)
    likelihood = np.log(expit(rng.normal(0, 3, 20) + rng.standard_normal(inclusion.shape)))
    pairs = in_first(likelihood, inclusion)
    found = tuned(pairs[:, 0], pairs[:, 1], inclusion, every(inclusion))
    for j in range(4):
        areas = np.zeros(len(GRID))
        for i in set(range(4)) - {j}:
            rest = [k for k in range(4) if k not in (i, j)]
            out = np.exp(pairs[rest, 1]).mean(axis=0)
            for s in (2 * i, 2 * i + 1):
                for place, a in enumerate(GRID):
                    ratio = likelihood[s] - np.log(((1 + a) * out + 1 - a) / 2)
                    areas[place] += roc_auc_score(inclusion[s], ratio)
        assert found[j] == GRID[np.argmax(np.round(areas / 6, 12))]


def test_tuning_finds_how_much_difficulty_counts():
    rng = np.random.default_rng(14)
    inclusion = random_coins(rng, 16, 300)
    # likelihoods differ widely between candidates and little by membership: calibrate fully
    level = rng.normal(-4, 3, 300)
    signal = level + 0.1 * rng.standard_normal(inclusion.shape) + 0.3 * inclusion
    pairs = in_first(np.log(expit(signal)), inclusion)
    assert (tuned(pairs[:, 0], pairs[:, 1], inclusion, every(inclusion)) == 1).all()


@pytest.mark.parametrize("temperature", [1.0, 2.0, 0.7])
def test_base_equals_the_loop(temperature):
    rng = np.random.default_rng(15)
    inclusion = random_coins(rng, 4, 6)
    logits = rng.normal(0, 2, (8, 6, 3))
    probabilities = np.exp(log_softmax(logits, axis=2)).astype(np.float32)
    labels = rng.integers(0, 3, 6)
    observation, knowledge = seen(np.zeros((8, 6)), labels)
    observation = dataclasses.replace(observation, probabilities=probabilities)
    attack = BaseRatio(temperature=temperature)
    found = attack.evidence(observation, inclusion, knowledge, streams=None)
    likelihood = log_softmax(logits / temperature, axis=2)[:, np.arange(6), labels]
    for s in range(8):
        rest = rest_of(s, 8)
        expected = likelihood[s] - (logsumexp(likelihood[rest], axis=0) - np.log(len(rest)))
        np.testing.assert_allclose(found[s], expected, atol=1e-5)


# --- quantiles, labels, nearest rows ------------------------------------------------------------


@pytest.mark.parametrize("misfit", [0.0, 1.0])
def test_predicted_quantiles_are_exceeded_as_often_as_they_say(misfit):
    # with a misfit, candidates differ by what features do not tell: that is spread too
    rng = np.random.default_rng(16)
    inclusion = random_coins(rng, 24, 2000)
    features = np.column_stack([rng.standard_normal((2000, 2)), np.ones(2000)])
    scale = np.exp(0.4 * features[:, 1])
    signal = features @ [1.5, 0.0, 0.3] + scale * rng.standard_normal(inclusion.shape)
    signal = signal + misfit * scale * rng.standard_normal(2000)
    found = moments(signal, inclusion, every(inclusion))
    mean, spread = predicted(found, features, 1.0)
    for alpha in (0.01, 0.1, 0.5):
        exceeded = found.tested[:, 1] > quantile_of(mean, spread, alpha)
        # half of the misfit is shared by a candidate's 24 signals: 2,000 independent ones or more
        error = 3 * np.sqrt(alpha * (1 - alpha) / 2000) + 0.1 * alpha
        assert exceeded.mean() == pytest.approx(alpha, abs=error)
    np.testing.assert_allclose(spread.mean(axis=0), scale * np.sqrt(1 + misfit**2), rtol=0.2)


def test_quantile_regression_beats_the_global_threshold():
    rng = np.random.default_rng(17)
    inclusion = random_coins(rng, 20, 200)
    features = rng.standard_normal((200, 3))
    noise = rng.standard_normal(inclusion.shape)
    signal = features @ [3.0, 1.0, 0.0] + noise + 1.0 * inclusion
    observation, knowledge = seen(signal, np.zeros(200, dtype=np.int64))
    candidates = dataclasses.replace(knowledge.candidates, features=features)
    knowledge = dataclasses.replace(knowledge, candidates=candidates)
    found = auc(Quantile().evidence(observation, inclusion, knowledge, streams=None), inclusion)
    assert found > stats.norm.cdf(1 / np.sqrt(2)) - 0.02
    assert found > auc(Loss().evidence(observation, inclusion, knowledge, streams=None), inclusion)


@PAIRS
def test_bernoulli_ratios_equal_the_loop(others_of):
    rng = np.random.default_rng(18)
    inclusion = random_coins(rng, 6, 9)
    said = (rng.random(inclusion.shape) < 0.6).astype(np.float64)
    others = others_of(inclusion)
    found = bernoulli_ratio(said, inclusion, others, 3.0)
    for s in range(len(said)):
        for n in range(9):
            sides = other_values(said, inclusion, others, s, n)
            k = len(sides[0])
            common = (sides[0].sum() + sides[1].sum() + 0.5) / (2 * k + 1)
            rate = [(one.sum() + 3 * common) / (k + 3) for one in sides]
            expected = np.diff([stats.bernoulli.logpmf(said[s, n], r) for r in rate[::-1]])[0]
            assert found[s, n] == pytest.approx(expected)


def test_labels_alone_are_enough_for_label_only():
    observation, knowledge, inclusion, _, _ = population_world(19)
    before = LabelOnly().evidence(observation, inclusion, knowledge, streams=None)

    def one_hot(p):
        return (p == p.max(axis=2, keepdims=True)).astype(np.float32)

    blunt = dataclasses.replace(
        observation,
        probabilities=one_hot(observation.probabilities),
        at_pool=one_hot(observation.at_pool),
    )
    after = LabelOnly().evidence(blunt, inclusion, knowledge, streams=None)
    np.testing.assert_array_equal(before, after)
    assert (before != 0).any()
    assert "confidences" not in LabelOnly.needs


def test_rows_that_tell_nothing_weigh_next_to_nothing():
    rng = np.random.default_rng(20)
    inclusion = random_coins(rng, 40, 300)
    noise = rng.standard_normal(inclusion.shape)
    weights = [
        telling(moments(noise + effect * inclusion, inclusion, every(inclusion)))
        for effect in (0.0, 1.0)
    ]
    # the share of the squared gap that is not its sampling variance, 2 / 39
    np.testing.assert_allclose(weights[1], 1 - 1 / (1 + 39 / 2), atol=0.02)
    assert (weights[0] < 0.2).all()


def test_the_nearest_row_gives_a_candidate_away():
    # each candidate pulls its own pool row in, and only that row's margin moves
    rng = np.random.default_rng(21)
    n, inclusion = 30, random_coins(rng, 40, 30)
    margin = rng.standard_normal((80, 2 * n))
    margin[:, :n] += 1.5 * inclusion
    observation, knowledge = seen(rng.standard_normal((80, n)))
    at_pool = np.stack([expit(margin), expit(-margin)], axis=2).astype(np.float32)
    place = np.concatenate([np.arange(n) + 0.1, np.arange(n) + 0.4])[:, None]
    shuffled = rng.permutation(2 * n)
    knowledge = dataclasses.replace(
        knowledge,
        pool=place[shuffled],
        pool_labels=np.zeros(2 * n, dtype=np.int64),
        queried=np.arange(2 * n),
    )
    observation = dataclasses.replace(observation, at_pool=at_pool[:, shuffled])
    best = stats.norm.cdf(1.5 / np.sqrt(2))
    for rows in (1, 4):
        attack = NearestPool(rows=rows)
        found = auc(attack.evidence(observation, inclusion, knowledge, streams=None), inclusion)
        assert best - 0.04 < found < best + 0.02


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("rmia", {"gamma": 0.0}),
        ("rmia_offline", {"a": 1.5}),
        ("rmia_offline", {"gamma": -1.0}),
        ("base", {"temperature": 0.0}),
        ("quantile", {"ridge": 0.0}),
        ("label_only", {"rows": 0}),
        ("label_only", {"prior_shadows": 0.0}),
        ("nearest_pool", {"rows": 0}),
        ("through_mask", {"rows": 0}),
    ],
)
def test_settings_out_of_range_are_refused(name, settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        dataclasses.replace(ATTACKS[name], **settings)
