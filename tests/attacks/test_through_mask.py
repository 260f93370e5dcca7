"""Guessing the picks, or the scorer, from the model: against refits, and in simulations."""

import dataclasses

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import Ridge

from curation_audit.attacks import smoothing
from curation_audit.attacks.base import OtherPairs
from curation_audit.attacks.bottleneck import Bottleneck
from curation_audit.attacks.smoothing import kernel_of, smoothed
from curation_audit.attacks.through_mask import ThroughMask, guessed_picks, soft_pick_ratio
from curation_audit.observations import Knowledge, Linearisation, Observation, Selection
from curation_audit.statistics import PairedEvidence, clustered_auc
from tests.attacks.world import NEAREST, frozen, make_world, with_shadow, with_shadows
from tests.statistics.evidence import random_coins

N_PAIRS, N_SHOWN, N_TARGETS = 7, 5, 4
BLOCKS = pytest.mark.parametrize("n_known", [N_PAIRS, 5])


def regression(seed=0):
    """What shadows show (S, columns), targets and own regressors (S, T)."""
    rng = np.random.default_rng(seed)
    shown = rng.standard_normal((2 * N_PAIRS, N_SHOWN)) + 3
    targets = shown @ rng.standard_normal((N_SHOWN, N_TARGETS))
    targets += rng.standard_normal(targets.shape) + 10
    own = rng.standard_normal(targets.shape) * [0.5, 1, 2, 3] + targets / 2
    return shown, targets, own


def others_of(n_known):
    return OtherPairs(np.arange(N_PAIRS) < n_known)


def rest_of(j, n_known):
    return [s for s in range(2 * N_PAIRS) if s // 2 != j and s // 2 < n_known]


def refitted(shown, targets, own, rest, ridge):
    """Models of each target on the rest; own regressors in units of their typical spread."""
    spread = own[rest].std(axis=0) / np.sqrt(np.mean(own[rest].var(axis=0)))
    models = []
    for t in range(targets.shape[1]):
        columns = np.column_stack([shown / np.sqrt(N_SHOWN), own[:, t] / spread[t]])
        models.append((columns, Ridge(alpha=ridge).fit(columns[rest], targets[rest, t])))
    return models


@BLOCKS
@pytest.mark.parametrize("ridge", [0.01, 1.0])
def test_predictions_equal_refits_without_the_pair(n_known, ridge, monkeypatch):
    monkeypatch.setattr(smoothing, "RIDGES", (ridge,))
    shown, targets, own = regression()
    plain = smoothed(kernel_of(shown), targets, others_of(n_known))
    with_own = smoothed(kernel_of(shown), targets, others_of(n_known), own)
    for s in range(2 * N_PAIRS):
        rest = rest_of(s // 2, n_known)
        model = Ridge(alpha=ridge).fit(shown[rest] / np.sqrt(N_SHOWN), targets[rest])
        expected = model.predict(shown[[s]] / np.sqrt(N_SHOWN))[0]
        np.testing.assert_allclose(plain[s], expected, rtol=1e-7)
        for t, (columns, one) in enumerate(refitted(shown, targets, own, rest, ridge)):
            assert with_own[s, t] == pytest.approx(one.predict(columns[[s]])[0], rel=1e-7)


@BLOCKS
def test_each_pair_gets_the_ridge_of_least_error_among_its_others(n_known, monkeypatch):
    grid = (0.001, 0.3, 30.0)
    monkeypatch.setattr(smoothing, "RIDGES", grid)
    rng = np.random.default_rng(3)
    scaled = rng.standard_normal((2 * N_PAIRS, N_SHOWN)) / np.sqrt(N_SHOWN)
    targets = 0.5 * scaled @ rng.standard_normal((N_SHOWN, 2)) + rng.standard_normal(
        (2 * N_PAIRS, 2)
    )
    found = smoothed(kernel_of(scaled * np.sqrt(N_SHOWN)), targets, others_of(n_known))
    chosen = set()
    for j in range(N_PAIRS):
        rest, errors = rest_of(j, n_known), []
        for ridge in grid:
            left_out = [
                Ridge(alpha=ridge)
                .fit(np.delete(scaled[rest], i, axis=0), np.delete(targets[rest], i, axis=0))
                .predict(scaled[[s]])
                - targets[s]
                for i, s in enumerate(rest)
            ]
            errors.append(np.sum(np.square(left_out)))
        best = grid[int(np.argmin(errors))]
        chosen.add(best)
        expected = Ridge(alpha=best).fit(scaled[rest], targets[rest]).predict(scaled)
        np.testing.assert_allclose(found[2 * j : 2 * j + 2], expected[2 * j : 2 * j + 2], rtol=1e-6)
    assert chosen


def test_soft_picks_equal_the_loop():
    rng = np.random.default_rng(1)
    inclusion = random_coins(rng, 6, 5)
    picked = (rng.random(inclusion.shape) < 0.4).astype(np.float64)
    guess = rng.uniform(-0.2, 1.2, inclusion.shape)
    found = soft_pick_ratio(guess, picked, inclusion, OtherPairs.of(Knowledge(), inclusion))
    for s in range(12):
        rest = [t for t in range(12) if t // 2 != s // 2]
        for n in range(5):
            held = inclusion[rest, n]
            sums = [picked[rest, n][side].sum() for side in (held, ~held)]
            common = (sum(sums) + 0.5) / 11
            inside, outside = ((one + common) / 6 for one in sums)
            sure = np.clip(guess[s, n], 0.01, 0.99)
            odds = sure / (1 - sure) * (1 - common) / common
            expected = (inside * odds + 1 - inside) / (outside * odds + 1 - outside)
            assert found[s, n] == pytest.approx(np.log(expected))


def test_a_guess_at_the_rate_of_the_row_says_nothing():
    rng = np.random.default_rng(2)
    inclusion = random_coins(rng, 6, 5)
    picked = np.zeros(inclusion.shape)
    picked[:, 0] = inclusion[:, 0]
    others = OtherPairs.of(Knowledge(), inclusion)
    common = (picked[2:].sum(axis=0) + 0.5) / 11
    guess = np.broadcast_to(common, picked.shape)
    found = soft_pick_ratio(guess, picked, inclusion, others)
    np.testing.assert_allclose(found[:2], 0, atol=1e-12)


# --- what may be used ---------------------------------------------------------------------------

HERE = frozen(make_world(scorer=NEAREST))
N_SHADOWS = len(HERE.inclusion)


def evidence(world, attack=ThroughMask(), **changes):  # noqa: B008, it is frozen
    world = dataclasses.replace(world, **changes)
    return attack.evidence(
        world.observation, world.inclusion, world.knowledge, streams=world.streams
    )


def test_a_nearest_scorers_picks_are_attacked_without_the_pair():
    fresh = make_world(seed=5, scorer=NEAREST)
    before = evidence(HERE)
    for tested in (0, 7):
        partner = tested ^ 1
        inclusion = HERE.inclusion.copy()
        inclusion[[tested, partner]] = fresh.inclusion[[tested, partner]]
        changed = with_shadow(HERE.observation, partner, fresh.observation)
        own = with_shadow(changed, tested, fresh.observation)
        changed = dataclasses.replace(changed, selection=own.selection, scores=own.scores)
        after = evidence(HERE, observation=changed, inclusion=inclusion)
        np.testing.assert_allclose(after[tested], before[tested], atol=1e-9)
        assert (after[partner] != before[partner]).any()


def test_a_nearest_scorers_picks_are_learnt_from_known_pairs_only():
    fresh = make_world(seed=6, scorer=NEAREST)
    fit = np.arange(N_SHADOWS // 2) < 7
    knowledge = dataclasses.replace(HERE.knowledge, known_pairs=fit)
    before = evidence(HERE, knowledge=knowledge)
    hidden = np.flatnonzero(~np.repeat(fit, 2))
    inclusion = HERE.inclusion.copy()
    inclusion[hidden] = fresh.inclusion[hidden]
    changed = with_shadows(HERE.observation, hidden[1:], fresh.observation)
    after = evidence(HERE, observation=changed, inclusion=inclusion, knowledge=knowledge)
    np.testing.assert_allclose(after[: hidden[0] + 1], before[: hidden[0] + 1], atol=1e-9)


# --- simulations --------------------------------------------------------------------------------


def auc(found, inclusion):
    return clustered_auc(PairedEvidence.split(found, inclusion)).auc


def outputs_of(margin):
    """Probabilities (S, rows, 2) of these margins."""
    second = 1 / (1 + np.exp(-margin))
    return np.stack([1 - second, second], axis=2).astype(np.float32)


def test_picks_that_a_model_shows_plainly_are_guessed():
    world = make_world(n_pairs=40, n_pool=120, scorer=NEAREST)
    queried = np.arange(0, 120, 2)
    picked = world.observation.selection.mask()[:, queried]
    for strength, low, high in ((3.0, 0.9, 1.0), (0.0, 0.4, 0.6)):
        rng = np.random.default_rng(0)
        margin = rng.standard_normal(picked.shape) + strength * picked
        knowledge = dataclasses.replace(
            world.knowledge, queried=queried, pool_labels=np.ones(120, dtype=np.int64)
        )
        observation = dataclasses.replace(world.observation, at_pool=outputs_of(margin))
        others = OtherPairs.of(knowledge, world.inclusion)
        guess = guessed_picks(observation, knowledge, picked.astype(np.float64), others)
        # rows that are picked now and then; others have no two sides
        varied = (picked.mean(axis=0) > 0.1) & (picked.mean(axis=0) < 0.9)
        areas = []
        for row in np.flatnonzero(varied):
            inside, outside = guess[picked[:, row], row], guess[~picked[:, row], row]
            areas.append(np.mean(inside[:, None] > outside))
        assert len(areas) > 5
        assert low < np.mean(areas) <= high


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_the_bottleneck_reaches_tracing_of_what_the_model_shows(noise):
    # six latent coordinates of 120 candidates, seen in 40 margins through a random map
    rng = np.random.default_rng(4)
    n_candidates, p, n_pairs = 120, 6, 100
    influence = rng.standard_normal((n_candidates, p))
    inclusion = random_coins(rng, n_pairs, n_candidates)
    latent = np.where(inclusion, 0.5, -0.5) @ influence
    seen = latent + noise * np.sqrt(n_candidates) / 2 * rng.standard_normal(latent.shape)
    margin = seen @ rng.standard_normal((p, 40)) / 10
    empty = Selection.from_mask(np.zeros((2 * n_pairs, 40), dtype=bool))
    observation = Observation(
        np.zeros((2 * n_pairs, 40)),
        empty,
        np.zeros((2 * n_pairs, 0, 0), dtype=np.float32),
        outputs_of(margin),
    )
    every = np.ones(p, dtype=bool)
    linear = Linearisation(np.zeros(p), influence, influence.T @ influence / 4, every)
    knowledge = Knowledge(linearisation=linear, queried=np.arange(40), pool=np.zeros((40, p)))
    found = Bottleneck().evidence(observation, inclusion, knowledge, streams=None)
    # evidence z' Sigma^-1 a shifts by a' Sigma^-1 a = 4 p / n, of variance (1 + noise^2) as much
    gap = np.sqrt(4 * p / n_candidates / (1 + noise**2))
    expected = stats.norm.cdf(gap / np.sqrt(2))
    assert auc(found, inclusion) == pytest.approx(expected, abs=0.015)
