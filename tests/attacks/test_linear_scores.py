"""Attacks on linear scores against theory, explicit formulas, and a private mechanism."""

import itertools

import numpy as np
import pytest
from scipy import stats

from curation_audit.attacks import ATTACKS
from curation_audit.attacks.base import OtherPairs
from curation_audit.attacks.known_others import of_known_others
from curation_audit.attacks.linear_scores import Moves, unexplained
from curation_audit.attacks.matched_filter import by_variance, matched
from curation_audit.observations import KNOWABLE, Knowledge, Linearisation, Observation, Selection
from curation_audit.pipelines.scorers import Mean
from curation_audit.statistics import PairedEvidence, clustered_auc
from curation_audit.streams import Streams
from tests.attacks.world import private_rows, public_rows
from tests.statistics.evidence import random_coins


def attacked(name, scores, inclusion, knowledge):
    shape = (*inclusion.shape, 2)
    seen = Observation(scores, Selection.from_mask(scores > np.inf), np.zeros(shape, "f4"))
    streams = Streams(0).for_shadows("t", range(len(scores)))
    return ATTACKS[name].evidence(seen, inclusion, knowledge, streams=streams)


def auc(evidence, inclusion):
    return clustered_auc(PairedEvidence.split(evidence, inclusion)).auc


def mean_scorer(n_members, d, seed, n_pairs=12, n_pool=2000, spread=1.0):
    """Scores of means of n of 2n standard normal candidates on average, stretched by axis."""
    rng = np.random.default_rng(seed)
    private = private_rows((rng.standard_normal((2 * n_members, d)) * spread).astype(np.float32))
    pool = public_rows(rng.standard_normal((n_pool, d)).astype(np.float32))
    inclusion = random_coins(rng, n_pairs, 2 * n_members)
    scorer = Mean(metric="inner_product")
    streams = Streams(seed).for_shadows("t", range(2 * n_pairs))
    scores = scorer.fit(private, inclusion, pool, streams=streams).score(pool.features)
    linear = scorer.linearise(private, pool)
    return scores, inclusion, Knowledge(KNOWABLE, pool=pool.features, linearisation=linear)


def curves(n, d):
    """AUC of tracing and of the matched filter."""
    filtered = np.sqrt((d / n) / (1 - d / (2 * n))) if d < 2 * n else np.inf
    return stats.norm.cdf(np.sqrt(d / n)), stats.norm.cdf(filtered)


@pytest.mark.parametrize(("n", "d"), [(50, 64), (200, 64), (200, 256), (400, 128)])
@pytest.mark.parametrize("decimals", [None, 2])
def test_the_matched_filter_meets_theory_and_rounding_is_no_defence(n, d, decimals):
    scores, inclusion, knowledge = mean_scorer(n, d, seed=1)
    if decimals is not None:
        scores = np.round(scores, decimals)
    traced, filtered = curves(n, d)
    assert auc(attacked("trace", scores, inclusion, knowledge), inclusion) == pytest.approx(
        traced, abs=0.02
    )
    found = auc(attacked("matched_filter", scores, inclusion, knowledge), inclusion)
    assert found == pytest.approx(filtered, abs=0.015)
    # where theory tells the two curves apart, so does what was found
    if filtered - traced > 0.04:
        assert found > traced + 0.03


def test_it_does_not_matter_how_the_axes_are_stretched():
    spread = np.geomspace(1, 0.01, 64)
    plain = mean_scorer(100, 64, seed=2)
    stretched = mean_scorer(100, 64, seed=2, spread=spread)
    found = [auc(attacked("matched_filter", *world), world[1]) for world in (plain, stretched)]
    assert found[1] == pytest.approx(found[0], abs=0.01)
    assert found[0] == pytest.approx(curves(100, 64)[1], abs=0.02)


@pytest.mark.parametrize("name", ["matched_filter", "least_squares", "known_others"])
@pytest.mark.parametrize("decimals", [None, 3])
def test_every_coin_is_read_where_candidates_are_no_more_than_directions(name, decimals):
    scores, inclusion, knowledge = mean_scorer(20, 48, seed=3)
    if decimals is not None:
        scores = np.round(scores, decimals)
    found = attacked(name, scores, inclusion, knowledge)
    assert np.isfinite(found).all()
    assert found[inclusion].min() > found[~inclusion].max()


# --- explicit formulas ------------------------------------------------------------------------


def some_moves(seed=0, n=7, r=4, n_pairs=6, mechanism=False):
    rng = np.random.default_rng(seed)
    inclusion = random_coins(rng, n_pairs, n)
    shifts = rng.standard_normal((n, r))
    noise = 0.3 * rng.standard_normal((2 * n_pairs, r)) * np.arange(1, r + 1)
    root = rng.standard_normal((r, r))
    return inclusion, Moves(
        seen=5 + (inclusion - 0.5) @ shifts + noise,
        rounding=np.full(2 * n_pairs, 1e-12),
        reference=np.full(r, 5.0),
        shifts=shifts,
        added=root @ root.T / 10 if mechanism else np.zeros((r, r)),
    )


@pytest.mark.parametrize("known", [[0, 1, 2, 3, 4, 5], [0, 2, 3]])
def test_what_is_unexplained_equals_the_loop(known):
    inclusion, moves = some_moves()
    others = OtherPairs(np.isin(np.arange(6), known))
    left, variance = unexplained(moves, inclusion, others)
    plain = moves.seen - (inclusion - 0.5) @ moves.shifts
    for s in range(12):
        rest = [t for t in range(12) if t // 2 != s // 2 and t // 2 in known]
        np.testing.assert_allclose(left[s], plain[s] - plain[rest].mean(axis=0))
        np.testing.assert_allclose(variance[s // 2], plain[rest].var(axis=0, ddof=1))


@pytest.mark.parametrize("mechanism", [False, True])
def test_the_matched_filter_is_the_ratio_of_two_gaussians(mechanism):
    """With the covariance of all other candidates written out, for each candidate in turn."""
    inclusion, moves = some_moves(mechanism=mechanism)
    others = OtherPairs(np.ones(6, dtype=bool))
    found = matched(by_variance(moves), inclusion, others)
    basis = np.linalg.eigh(moves.shifts.T @ moves.shifts / 4 + moves.added)[1]
    turned = moves.along(basis)
    extra = unexplained(turned, inclusion, others)[1] - np.diag(turned.added)
    for s, n in itertools.product(range(12), range(7)):
        rest = np.delete(moves.shifts, n, axis=0)
        noise = basis * np.maximum(extra[s // 2], 1e-12) @ basis.T
        covariance = rest.T @ rest / 4 + moves.added + noise
        other = [t for t in range(12) if t // 2 != s // 2]
        center = moves.seen[other].mean(axis=0)
        ratio = [
            stats.multivariate_normal.logpdf(moves.seen[s], center + half, covariance)
            for half in (moves.shifts[n] / 2, -moves.shifts[n] / 2)
        ]
        assert found[s, n] == pytest.approx(ratio[0] - ratio[1], rel=1e-6)


def test_known_others_is_the_ratio_of_two_gaussians():
    """The mean being that of all other coins, and the covariance what the mechanism adds."""
    inclusion, moves = some_moves(mechanism=True)
    small = Moves(moves.seen, moves.rounding, moves.reference, moves.shifts, 100 * moves.added)
    others = OtherPairs(np.ones(6, dtype=bool))
    found = of_known_others(small, inclusion, others)
    plain = moves.seen - (inclusion - 0.5) @ moves.shifts
    for s, n in itertools.product(range(12), range(7)):
        rest = [t for t in range(12) if t // 2 != s // 2]
        known = np.delete(inclusion[s] - 0.5, n) @ np.delete(moves.shifts, n, axis=0)
        center = plain[rest].mean(axis=0) + known
        ratio = [
            stats.multivariate_normal.logpdf(moves.seen[s], center + half, small.added)
            for half in (moves.shifts[n] / 2, -moves.shifts[n] / 2)
        ]
        assert found[s, n] == pytest.approx(ratio[0] - ratio[1], rel=1e-6)


@pytest.mark.parametrize(("n", "m"), [(5, 30), (20, 30), (20, 6)])
def test_least_squares_equals_lstsq_on_the_scores(n, m):
    rng = np.random.default_rng(4)
    pool, influence = rng.standard_normal((m, 8)), rng.standard_normal((n, 8))
    reference = rng.standard_normal(8)
    inclusion = random_coins(rng, 3, n)
    linear = Linearisation(reference, influence, np.eye(8), np.ones(8, dtype=bool))
    # not quite linear, so that weights of the rows count
    exact = reference + (inclusion - 0.5) @ influence
    scores = exact @ pool.T + 0.01 * rng.standard_normal((6, m))
    found = attacked(
        "least_squares", scores, inclusion, Knowledge(KNOWABLE, pool=pool, linearisation=linear)
    )
    right = (scores - reference @ pool.T).T
    expected = np.linalg.lstsq(pool @ influence.T, right, rcond=None)[0].T
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_score_noise_is_seen_in_what_no_linear_scorer_explains():
    scores, _, knowledge = mean_scorer(50, 16, seed=5, n_pool=4000)
    rng = np.random.default_rng(5)
    noise = np.array([0.0, 0.1] * 12)[:, None] * rng.standard_normal(scores.shape)
    rounding = Moves.of(scores + noise, knowledge).rounding
    assert rounding[0::2].max() < 1e-10
    np.testing.assert_allclose(rounding[1::2], 0.01, rtol=0.1)


# --- a private mechanism ----------------------------------------------------------------------


def private_sum(mu, seed=6, n=24, d=16, n_pairs=200):
    """Sums of members' rows plus Gaussian noise, each row of length mu noises."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, d))
    rows *= mu / np.linalg.norm(rows, axis=1, keepdims=True)
    pool = rng.standard_normal((100, d))
    inclusion = random_coins(rng, n_pairs, n)
    released = inclusion @ rows + rng.standard_normal((2 * n_pairs, d))
    linear = Linearisation(
        rows.sum(axis=0) / 2, rows, rows.T @ rows / 4, np.ones(d, dtype=bool), np.eye(d)
    )
    return released @ pool.T, inclusion, Knowledge(KNOWABLE, pool=pool, linearisation=linear)


@pytest.mark.parametrize("mu", [0.5, 1.0, 2.0])
def test_known_others_reach_the_ceiling_of_gaussian_privacy(mu):
    """Separation mu for every candidate; 4.5 standard errors."""
    scores, inclusion, knowledge = private_sum(mu)
    found = attacked("known_others", scores, inclusion, knowledge)
    inside = np.array([column[held] for column, held in zip(found.T, inclusion.T, strict=True)])
    outside = np.array([column[~held] for column, held in zip(found.T, inclusion.T, strict=True)])
    spread = np.sqrt((inside.var(axis=1) + outside.var(axis=1)) / 2)
    separation = (inside.mean(axis=1) - outside.mean(axis=1)) / spread
    error = np.sqrt(2 / 200 + mu**2 / 800)  # of one candidate's separation, roughly
    assert np.abs(separation - mu).max() < 4.5 * error
    # d noises for 24 candidates: candidates are not quite independent, so no smaller than d
    assert separation.mean() == pytest.approx(mu, abs=4.5 * error / np.sqrt(16))
    assert auc(found, inclusion) == pytest.approx(stats.norm.cdf(mu / np.sqrt(2)), abs=0.02)


def test_who_does_not_know_the_others_stays_below():
    scores, inclusion, knowledge = private_sum(2.0)
    known = auc(attacked("known_others", scores, inclusion, knowledge), inclusion)
    assert auc(attacked("matched_filter", scores, inclusion, knowledge), inclusion) < known - 0.05
