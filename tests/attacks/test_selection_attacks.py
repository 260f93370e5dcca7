"""Attacks on the picks against enumeration, loops, and clean data that gives everything away."""

import dataclasses
import itertools

import numpy as np
import pytest

from curation_audit.attacks import near_pairs
from curation_audit.attacks.base import OtherPairs
from curation_audit.attacks.binary_lira import BinaryLira
from curation_audit.attacks.gibbs import Gibbs, PicksModel, posterior_log_odds
from curation_audit.attacks.iterative import Iterative
from curation_audit.attacks.jaccard import Jaccard
from curation_audit.attacks.mask_extract import MaskExtract
from curation_audit.attacks.mask_filter import MaskFilter, Moves, filtered, gain_and_noise
from curation_audit.attacks.mask_thresholds import (
    OtherCurations,
    curations_of_others,
    explained_picks,
    found_thresholds,
    kth_largest,
)
from curation_audit.attacks.mask_trace import MaskTrace
from curation_audit.attacks.near_pairs import NearPairs, similarities
from curation_audit.observations import (
    KNOWABLE,
    Candidates,
    Knowledge,
    Linearisation,
    Observation,
    Selection,
)
from curation_audit.pipelines.rules import TopFraction
from curation_audit.pipelines.scorers import Mean, Nearest
from curation_audit.statistics import PairedEvidence, clustered_auc
from curation_audit.streams import Streams
from curation_audit.training.halfspaces import Whitening
from tests.attacks.world import private_rows, public_rows
from tests.statistics.evidence import random_coins

OF_NEAREST = pytest.mark.parametrize("attack", [Gibbs(), Iterative()], ids=["gibbs", "iterative"])
THRESHOLDS = pytest.mark.parametrize("told", [True, False], ids=["told", "not told"])


def curated(private, pool, scorer, fraction, rng, n_pairs, told=True):
    """What ``n_pairs`` pairs of shadows show, and what is known of them."""
    private, pool = private_rows(private), public_rows(pool)
    inclusion = random_coins(rng, n_pairs, private.n_candidates)
    streams = Streams(0).for_shadows("test", range(2 * n_pairs))
    rule, order = TopFraction(fraction=fraction), np.arange(len(pool.features))

    def score(inclusion):
        return scorer.fit(private, inclusion, pool, streams=streams).score(pool.features)

    scores = score(inclusion)
    selection = rule.select(scores, order)
    lowest = np.where(selection.mask(), scores, np.inf).min(axis=1).astype(np.float64)
    empty = np.zeros((2 * n_pairs, 0, 2), dtype=np.float32)
    observation = Observation(scores, selection, empty, thresholds=lowest if told else None)
    knowledge = Knowledge(
        granted=KNOWABLE,
        pool=scorer.embed(pool.features),
        candidates=Candidates(scorer.embed(private.features), private.unit, private.n_candidates),
        linearisation=scorer.linearise(private, pool),
        score=score,
    )
    return observation, inclusion, knowledge, streams


def run(attack, world):
    observation, inclusion, knowledge, streams = world
    # what attacks on the picks must not need
    blind = np.full_like(observation.scores, np.nan)
    observation = dataclasses.replace(observation, scores=blind)
    return attack.evidence(observation, inclusion, knowledge, streams=streams)


def auc(attack, world):
    return clustered_auc(PairedEvidence.split(run(attack, world), world[1])).auc


def at_one_percent(attack, world):
    """True-positive rate at a false-positive rate of 1 %, all cells pooled."""
    found, inclusion = run(attack, world), world[1]
    return (found[inclusion] > np.quantile(found[~inclusion], 0.99)).mean()


def clustered(rng, n, n_pool, d, n_clusters=50, spread=0.5):
    centres = rng.standard_normal((n_clusters, d))

    def draw(k):
        cluster = rng.integers(0, n_clusters, k)
        return (centres[cluster] + spread * rng.standard_normal((k, d))).astype(np.float32)

    return draw(n), draw(n_pool)


# --- pairs that are near ----------------------------------------------------------------------


def small_pairs(least=0.2, most=24):
    rng = np.random.default_rng(0)
    unit = np.array([0, 1, 2, 3, 4, 5, 1, 4])
    rows = rng.standard_normal((8, 3))
    candidates = Candidates(rows / np.linalg.norm(rows, axis=1, keepdims=True), unit, 6)
    pool = rng.standard_normal((30, 3))
    pool /= np.linalg.norm(pool, axis=1, keepdims=True)
    return pool, candidates, NearPairs.above(pool, candidates, least, most)


@pytest.mark.parametrize(("block", "most"), [(1024, 24), (7, 24), (1024, 2), (7, 1)])
def test_near_pairs_equal_the_loop(monkeypatch, block, most):
    monkeypatch.setattr(near_pairs, "ROWS_PER_BLOCK", block)
    pool, candidates, pairs = small_pairs(most=most)
    expected = []
    for x, row in enumerate(pool):
        alike = [
            max(row @ candidates.features[i] for i in np.flatnonzero(candidates.unit == t))
            for t in range(6)
        ]
        first = sorted(range(6), key=lambda t: -alike[t])[:most]
        expected += [(x, t, alike[t]) for t in range(6) if t in first and alike[t] >= 0.2]
    assert [(x, t) for x, t, _ in expected] == list(
        zip(pairs.row.tolist(), pairs.candidate.tolist(), strict=True)
    )
    np.testing.assert_allclose(pairs.similarity, [one[2] for one in expected])


def test_sums_over_near_pairs_equal_the_loop():
    _, _, pairs = small_pairs()
    values = np.random.default_rng(1).standard_normal((3, len(pairs.row)))
    per_row, per_candidate = pairs.per_row(values), pairs.per_candidate(values)
    assert pairs.rows.tolist() == sorted(set(pairs.row.tolist()))
    for s in range(3):
        for r, x in enumerate(pairs.rows):
            assert per_row[s, r] == pytest.approx(values[s, pairs.row == x].sum())
            assert (pairs.any_of_row(values > 1)[s, r]) == (values[s, pairs.row == x] > 1).any()
        for t in range(6):
            total = values[s, pairs.candidate == t].sum()
            assert per_candidate[s, t] == pytest.approx(total)
    eligible = values > 0
    nearest = pairs.nearest(eligible, 0.0)
    for s, x in itertools.product(range(3), pairs.rows):
        mine = np.flatnonzero((pairs.row == x) & eligible[s])
        best = [] if not len(mine) else [mine[pairs.similarity[mine].argmax()]]
        assert np.flatnonzero(nearest[s] & (pairs.row == x)).tolist() == best


def test_no_pair_is_near():
    pool, candidates, pairs = small_pairs(least=2.0)
    assert similarities(pool, candidates).shape == (30, 6)
    assert pairs.rows.tolist() == []
    assert pairs.per_candidate(np.zeros((2, 0))).tolist() == [[0.0] * 6] * 2
    assert pairs.any_of_row(np.zeros((2, 0), dtype=bool)).shape == (2, 0)


# --- thresholds -------------------------------------------------------------------------------


def test_the_kth_largest():
    scores = np.random.default_rng(0).standard_normal((5, 9)).astype(np.float32)
    for s, (found, k) in enumerate(
        zip(kth_largest(scores, np.array([1, 3, 9, 0, 2])), [1, 3, 9, 1, 2], strict=True)
    ):
        assert found == np.sort(scores[s])[-k]


def test_picks_explained_equal_the_loop():
    pool, candidates, pairs = small_pairs()
    rng = np.random.default_rng(2)
    alike = similarities(pool, candidates)
    mask = rng.random((6, 30)) < 0.6
    value = rng.uniform(0.4, 0.9, 6)
    found = explained_picks(value, mask, pairs)
    assert found.max() > 0
    for s in range(6):
        allowed = [t for t in range(6) if alike[~mask[s], t].max() < value[s]]
        reasons = [[t for t in allowed if alike[x, t] >= value[s]] for x in np.flatnonzero(mask[s])]
        assert found[s] == sum(bool(reason) for reason in reasons)


def test_others_teach_their_thresholds_and_their_slips():
    rng = np.random.default_rng(3)
    scores = rng.standard_normal((10, 200))
    mask = scores >= np.sort(scores, axis=1)[:, [-20]]
    # three picks of shadow 4 go to rows just below
    order = np.argsort(-scores[4])
    mask[4, order[[1, 5, 7]]], mask[4, order[[25, 30, 40]]] = False, True
    known = np.array([True, True, True, True, False])
    learnt = OtherCurations.of(scores, mask, OtherPairs(known), 0.0)
    value = np.sort(scores, axis=1)[:, -20]
    for j in range(5):
        rest = [s for s in range(8) if s // 2 != j]
        slips = 3 if 4 in rest else 0
        assert learnt.mean[j] == pytest.approx(value[rest].mean())
        assert learnt.spread[j] == pytest.approx(value[rest].std())
        assert learnt.missed[j] == pytest.approx((slips + 0.5) / (19 * len(rest) + 1))
        assert learnt.stray[j] == pytest.approx((slips + 0.5) / (180 * len(rest) + 1))


def test_the_picks_give_their_threshold_away():
    rng = np.random.default_rng(4)
    world = curated(*clustered(rng, 100, 4000, 16), Nearest(), 0.1, rng, 12)
    observation, inclusion, knowledge, _ = world
    hidden = dataclasses.replace(observation, thresholds=None)
    learnt = curations_of_others(hidden, inclusion, knowledge)
    found = found_thresholds(hidden, knowledge, learnt, most=24)
    spread = observation.thresholds.std()
    error = np.abs(found.value - observation.thresholds)
    assert np.sqrt((error**2).mean()) < 0.15 * spread
    assert (error < found.slack).mean() > 0.9


# --- the posterior ----------------------------------------------------------------------------


def model_of(edges, n_candidates, reach, unexplained, prior):
    """One shadow in which row x is picked and reached by the candidates ``edges[x]``."""
    row = np.repeat(np.arange(len(edges)), [len(edge) for edge in edges])
    candidate = np.concatenate([np.sort(edge) for edge in edges]).astype(np.int64)
    order = np.argsort(candidate, kind="stable")
    starts = np.searchsorted(row, np.arange(len(edges)))
    present, own = np.unique(candidate[order], return_index=True)
    pairs = NearPairs(
        row, candidate, np.ones(len(row)), starts, row, order, present, own, n_candidates
    )
    return pairs, PicksModel(
        reach[None, : len(row)], np.ones((1, len(row)), dtype=bool), unexplained[None], prior[None]
    )


def enumerated(pairs, model):
    """Posterior probabilities by going through every set."""
    n_rows, n = len(pairs.starts), pairs.n_candidates
    total, member = 0.0, np.zeros(n)
    for coins in itertools.product([0, 1], repeat=n):
        held = np.array(coins)
        weight = np.exp(held @ model.prior[0])
        for x in range(n_rows):
            mine = pairs.row == x
            left = model.unexplained[0, x] * np.prod(
                1 - model.reach[0, mine] * held[pairs.candidate[mine]]
            )
            weight *= 1 - left
        total += weight
        member += weight * held
    return member / total


def posterior(pairs, model, rounds=60):
    return 1 / (1 + np.exp(-posterior_log_odds(model, pairs, rounds)[0]))


def test_the_posterior_is_exact_on_a_tree():
    rng = np.random.default_rng(5)
    edges = [[0, 1, 2], [2, 3], [3, 4, 5], [6]]
    for _ in range(5):
        pairs, model = model_of(
            edges, 8, rng.uniform(0.3, 1, 9), rng.uniform(0.9, 1, 4), rng.normal(size=8)
        )
        np.testing.assert_allclose(posterior(pairs, model), enumerated(pairs, model), atol=1e-9)


def test_one_of_two_is_a_member_by_two_thirds():
    pairs, model = model_of([[0, 1]], 3, np.ones(2), np.ones(1), np.zeros(3))
    np.testing.assert_allclose(posterior(pairs, model), [2 / 3, 2 / 3, 1 / 2], atol=1e-9)


def test_the_posterior_is_near_where_picks_share_candidates_in_circles():
    rng = np.random.default_rng(6)
    errors, order = [], []
    for _ in range(40):
        edges = [rng.choice(8, size=rng.integers(1, 4), replace=False) for _ in range(5)]
        pairs, model = model_of(edges, 8, np.ones(15), np.ones(5), rng.normal(size=8))
        found, exact = posterior(pairs, model), enumerated(pairs, model)
        errors.append(np.abs(found - exact))
        order.append(np.corrcoef(found, exact)[0, 1])
    assert np.mean(errors) < 0.02
    assert np.max(errors) < 0.2
    assert np.mean(order) > 0.99


# --- clean data -------------------------------------------------------------------------------


def clean_world(told, n=12, own=5, d=24):
    """Candidates far apart, each with pool rows of its own; the picks are the members' rows."""
    rng = np.random.default_rng(7)
    private = np.eye(d)[:n]
    rows = np.repeat(private, own, axis=0) + 0.1 * rng.standard_normal((n * own, d))
    pool = np.concatenate([rows, -np.abs(rng.standard_normal((40, d)))])
    half = n * own / 2 / len(pool)
    # sets of one size, so that a share of the pool picks just the rows of the members
    observation, _, knowledge, streams = curated(private, pool, Nearest(), half, rng, 6, told)
    coins = np.stack([rng.permutation(n) < n // 2 for _ in range(6)])
    inclusion = np.stack([coins, ~coins], axis=1).reshape(12, n)
    scores = knowledge.score(inclusion)
    selection = TopFraction(fraction=half).select(scores, np.arange(len(pool)))
    lowest = np.where(selection.mask(), scores, np.inf).min(axis=1)
    observation = dataclasses.replace(
        observation,
        scores=scores,
        selection=selection,
        thresholds=lowest.astype(np.float64) if told else None,
    )
    return observation, inclusion, knowledge, streams


@OF_NEAREST
@THRESHOLDS
def test_clean_picks_give_every_candidate_away(attack, told):
    world = clean_world(told)
    found, inclusion = run(attack, world), world[1]
    assert found[inclusion].min() > 0 >= found[~inclusion].max()


@OF_NEAREST
def test_blocks_of_shadows_change_nothing(attack, monkeypatch):
    world = clean_world(told=False)
    whole = run(attack, world)
    monkeypatch.setattr(near_pairs, "VALUES_PER_BLOCK", 1)
    np.testing.assert_allclose(run(attack, world), whole, rtol=0, atol=1e-12)


@OF_NEAREST
@THRESHOLDS
@pytest.mark.parametrize("picked", [False, True])
def test_picks_of_nothing_and_of_everything_are_finite(attack, told, picked):
    observation, inclusion, knowledge, streams = clean_world(told)
    mask = np.full(observation.scores.shape, picked)
    lowest = observation.scores.min(axis=1) if picked else np.full(len(mask), np.inf)
    observation = dataclasses.replace(
        observation,
        selection=Selection.from_mask(mask),
        thresholds=lowest.astype(np.float64) if told else None,
    )
    found = run(attack, (observation, inclusion, knowledge, streams))
    assert np.isfinite(found).all()


def test_twins_share_votes_and_odds():
    rng = np.random.default_rng(8)
    private, pool = clustered(rng, 20, 400, 8)
    private[1] = private[0]
    world = curated(private, pool, Nearest(), 0.2, rng, 8)
    for attack in (Gibbs(), Iterative()):
        found = run(attack, world)
        np.testing.assert_allclose(found[:, 0], found[:, 1], atol=1e-9)
        assert np.ptp(found[:, 0]) > 0


@THRESHOLDS
def test_the_posterior_beats_the_published_attacks(told):
    rng = np.random.default_rng(9)
    world = curated(*clustered(rng, 200, 3000, 16), Nearest(), 0.1, rng, 16, told)
    gibbs = auc(Gibbs(), world)
    assert gibbs > auc(BinaryLira(), world) + 0.03
    assert gibbs > auc(Iterative(), world) + 0.03
    assert auc(Jaccard(), world) < auc(Iterative(), world)


@pytest.mark.slow
@THRESHOLDS
@pytest.mark.parametrize(("n", "least"), [(100, 0.93), (1000, 0.75)])
def test_the_posterior_on_a_large_pool(n, least, told):
    # the order reported for such data: .984/.83 against .994/.91, and .74/.26 against .80/.34
    rng = np.random.default_rng(10)
    world = curated(*clustered(rng, 2 * n, 20_000, 64), Nearest(), 0.1, rng, 32, told)
    published, gibbs = BinaryLira(), Gibbs()
    assert auc(gibbs, world) > max(least, auc(published, world) + 0.003)
    assert at_one_percent(gibbs, world) > at_one_percent(published, world) + 0.01


def reconstructed(edges, reach, picked, **settings):
    """Votes of one shadow; ``edges[x]`` are the (candidate, similarity) above the threshold."""
    row = np.repeat(np.arange(len(edges)), [len(edge) for edge in edges])
    candidate, similarity = (np.array([one[i] for edge in edges for one in edge]) for i in (0, 1))
    order = np.argsort(candidate, kind="stable")
    starts = np.searchsorted(row, np.arange(len(edges)))
    present, own = np.unique(candidate[order], return_index=True)
    pairs = NearPairs(row, candidate, similarity, starts, row, order, present, own, 4)
    reach = np.full((1, len(row)), reach)
    return Iterative(**settings).reconstruct(reach, np.array([picked]), pairs, 1e-9)[0].tolist()


def test_reconstruction_by_hand():
    # rows 0 and 1 are nearest to candidate 0, whom row 3, left out, betrays; so the next nearest
    # get their votes. Row 2 cannot decide between two twins.
    edges = [[(0, 0.9), (1, 0.8)], [(0, 0.9), (2, 0.7)], [(1, 0.6), (2, 0.6)], [(0, 0.5)]]
    seen = [True, True, True, False]
    assert reconstructed(edges, 1.0, seen) == [-1.0, 1.5, 1.5, 0.0]
    # one round votes, and strikes off, no more
    assert reconstructed(edges, 1.0, seen, rounds=1) == [-1.0, 0.5, 0.5, 0.0]
    # three of four rows agree, which may be enough
    assert reconstructed(edges, 1.0, seen, agreement=0.7) == [2.0, 0.5, 0.5, 0.0]
    # and where it is uncertain that candidate 0 reaches a row, none is struck off
    assert reconstructed(edges, 0.5, seen) == [2.0, 0.5, 0.5, 0.0]


def test_picks_that_need_no_candidate_say_nothing():
    """Rows in every shadow pick some pool rows whatever the coins are."""
    observation, inclusion, knowledge, streams = clean_world(told=True)
    before = run(Gibbs(), (observation, inclusion, knowledge, streams))

    alone = knowledge.score

    def with_rows_of_everyone(coins):
        scores = alone(coins)
        scores[:, :5] = 1.0  # the pool rows of candidate 0
        return scores

    mask = observation.selection.mask()
    mask[:, :5] = True
    observation = dataclasses.replace(observation, selection=Selection.from_mask(mask))
    knowledge = dataclasses.replace(knowledge, score=with_rows_of_everyone)
    found = run(Gibbs(), (observation, inclusion, knowledge, streams))
    assert np.abs(found[:, 0]).max() < 0.1 < np.abs(before[:, 0]).min()
    np.testing.assert_array_equal(np.sign(found[:, 1:]), np.sign(before[:, 1:]))


# --- likeness ---------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [None, [True, True, False, True, True]])
def test_likeness_equals_the_loop(known):
    rng = np.random.default_rng(11)
    inclusion, mask = random_coins(rng, 5, 4), rng.random((10, 30)) < 0.3
    seen = Observation(mask * 1.0, Selection.from_mask(mask), np.zeros((10, 0, 2), "f4"))
    known = None if known is None else np.array(known)
    found = Jaccard().evidence(
        seen, inclusion, Knowledge(known_pairs=known), streams=Streams(0).for_shadows("t", [])
    )
    for s, n in itertools.product(range(10), range(4)):
        alike = []
        for coin in (True, False):
            rest = [
                t
                for t in range(10)
                if t // 2 != s // 2 and (known is None or known[t // 2]) and inclusion[t, n] == coin
            ]
            rate = mask[rest].mean(axis=0)
            alike.append(np.minimum(mask[s], rate).sum() / np.maximum(mask[s], rate).sum())
        assert found[s, n] == pytest.approx(alike[0] - alike[1])


# --- the matched filter -----------------------------------------------------------------------


def test_gain_and_noise_are_those_of_the_simulation():
    rng = np.random.default_rng(12)
    inclusion = random_coins(rng, 4000, 6)
    shifts = rng.standard_normal((6, 5))
    expected = (inclusion - 0.5) @ shifts
    found = 3.0 + 0.7 * expected + 0.2 * rng.standard_normal(expected.shape)
    gain, noise = gain_and_noise(found, expected, OtherPairs(np.ones(4000, dtype=bool)))
    np.testing.assert_allclose(gain, 0.7, atol=0.01)
    np.testing.assert_allclose(noise, 0.04, rtol=0.05)


def test_filtering_equals_the_likelihood_ratio():
    """Against two Gaussians, with everything but the tested coin in the covariance."""
    rng = np.random.default_rng(13)
    inclusion = random_coins(rng, 7, 5)
    shifts = rng.standard_normal((5, 4))
    found = 0.8 * (inclusion - 0.5) @ shifts + 0.3 * rng.standard_normal((14, 4)) + 1.0
    basis = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    values, vectors = np.linalg.eigh(shifts.T @ shifts / 4)
    moves = Moves(vectors, shifts @ vectors, values, 0.0)
    others = OtherPairs(np.array([True] * 6 + [False]))
    evidence = filtered(found, inclusion, moves, others)
    gains, noises = gain_and_noise(found, (inclusion - 0.5) @ shifts, others)
    for s, n in itertools.product(range(14), range(5)):
        rest = [t for t in range(12) if t // 2 != s // 2]
        deviation = found[s] - found[rest].mean(axis=0)
        gain, noise = gains[s // 2], noises[s // 2]
        rest_of_them = np.delete(shifts, n, axis=0)
        sigma = gain**2 * rest_of_them.T @ rest_of_them / 4 + noise * np.eye(4)
        # log N(x; +ga/2) - log N(x; -ga/2) = x' Sigma^-1 g a
        expected = deviation @ np.linalg.solve(sigma, gain * shifts[n])
        assert evidence[s, n] == pytest.approx(expected)
    # what a private mechanism adds is part of the variance, and not counted twice
    added = dataclasses.replace(moves, variance=values + 0.01, noise=0.01)
    np.testing.assert_allclose(filtered(found, inclusion, added, others), evidence)
    # coordinates are a matter of taste
    turned = dataclasses.replace(moves, basis=basis.T @ moves.basis)
    np.testing.assert_allclose(filtered(found @ basis, inclusion, turned, others), evidence)


def test_moves_are_in_the_coordinates_of_the_whitened_pool():
    rng = np.random.default_rng(14)
    world = curated(
        rng.standard_normal((6, 4)),
        rng.standard_normal((300, 4)) @ np.diag([1.0, 2.0, 5.0, 0.1]),
        Mean(metric="inner_product"),
        0.2,
        rng,
        4,
    )
    linear = world[2].linearisation
    noise = np.diag([1e-3, 0.0, 2e-3, 0.0])
    noisy = dataclasses.replace(linear, noise=noise)
    whitening = Whitening.of(world[2].pool)
    moves = Moves.of(noisy, whitening)
    unit = whitening.apply(world[2].pool)
    # a shift of the scorer shifts the scores of pool rows by as much in either coordinates
    back = moves.shifts @ moves.basis.T
    centred = world[2].pool - world[2].pool.mean(axis=0)
    np.testing.assert_allclose(unit @ back.T, centred @ linear.influence.T, atol=1e-8)
    covariance = linear.influence.T @ linear.influence / 4 + noise
    spread = np.einsum("ip,pq,iq->i", centred, covariance, centred)
    rotated = unit @ moves.basis
    np.testing.assert_allclose((rotated**2) @ moves.variance, spread, rtol=1e-6)
    root = np.linalg.inv(whitening.root)
    assert moves.noise == pytest.approx(np.trace(root @ noise @ root.T) / 4)


def linear_world(seed, n, d, n_pool, n_pairs, fraction=0.1):
    rng = np.random.default_rng(seed)
    rows = [rng.standard_normal((k, d)).astype(np.float32) for k in (2 * n, n_pool)]
    return curated(*rows, Mean(metric="inner_product"), fraction, rng, n_pairs)


def test_the_matched_filter_goes_beyond_tracing():
    world = linear_world(15, n=48, d=64, n_pool=4000, n_pairs=16)
    found = auc(MaskFilter(), world)
    assert found > auc(MaskTrace(), world) + 0.04
    assert found > auc(MaskExtract(), world) + 0.04


@pytest.mark.slow
def test_the_matched_filter_on_a_large_pool():
    # reported for a pool of 20,000: traced .75 uncentred, .84 centred; filtered .93; and no
    # attack on the picks passes the filter on exact scores, Phi(sqrt((d/n) / (1 - d/2n))) = .971
    found = []
    for seed in range(3):
        world = linear_world(seed, n=200, d=256, n_pool=20_000, n_pairs=8)
        tried = (MaskTrace(center="nothing"), MaskTrace(), MaskFilter())
        found.append([auc(attack, world) for attack in tried])
    uncentred, centred, whitened = np.mean(found, axis=0)
    assert 0.75 - 0.01 < uncentred < centred - 0.04
    assert 0.84 - 0.01 < centred < whitened - 0.06
    assert 0.95 < whitened < 0.975


def test_picks_without_a_leak_give_no_gain():
    linear = Linearisation(np.ones(2), np.zeros((3, 2)), np.eye(2), np.ones(2, dtype=bool))
    rng = np.random.default_rng(16)
    pool, mask = rng.standard_normal((40, 2)), rng.random((8, 40)) < 0.3
    seen = Observation(mask * 1.0, Selection.from_mask(mask), np.zeros((8, 0, 2), "f4"))
    knowledge = Knowledge(pool=pool, linearisation=linear)
    found = MaskFilter().evidence(
        seen, random_coins(rng, 4, 3), knowledge, streams=Streams(0).for_shadows("t", [])
    )
    assert not found.any()
