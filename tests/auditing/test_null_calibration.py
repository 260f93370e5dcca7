"""No bound is above 0 more often than its confidence allows where nothing leaks.

An exact 5 % bound exceeds 35 of 400 with probability .0007, and 299 of 5,000 with .001. Here n
is the number of shadows that are evaluated (rows; half as many pairs). Negative controls show
what the fit/evaluation split and the rules of one-run evidence are for.
"""

import dataclasses
from collections import Counter
from functools import cache

import numpy as np
import pytest

from curation_audit.attacks import ATTACKS, SINGLE
from curation_audit.attacks.base import OtherPairs
from curation_audit.auditing import bounding
from curation_audit.auditing.bounding import judge_bounds, stage_bounds
from curation_audit.auditing.choice import Block, Chosen, choose
from curation_audit.auditing.evidence import Game
from curation_audit.game import paired_inclusion
from curation_audit.observations import OBSERVED_STAGES
from curation_audit.pipelines.downstream.logistic import Logistic
from curation_audit.statistics.bounds import guesses, means_rejected, one_run_epsilon
from curation_audit.statistics.gdp import mu_of_epsilon
from curation_audit.streams import Streams
from tests.attacks.world import NEAREST, make_world, with_shadows
from tests.attacks.world import SCORER as MEAN
from tests.auditing.null_games import (
    fitted_evidence,
    found,
    game_of,
    leaky,
    null_plan,
    plan_of,
)
from tests.statistics.evidence import random_coins, too_many

RUNS, ALLOWED = 400, 35
MANY_RUNS, MANY_ALLOWED = 5000, 299
DELTA, CONFIDENCE = 1e-5, 0.95
PLAN = plan_of()
INSIDER = plan_of(knows=("algorithm", "memberships"))
N_FIT_PAIRS = 16
BOUNDS = {
    "pair mean",
    "pair mean, GDP",
    "one run",
    "one run, f-DP",
    "Clopper-Pearson",
    "Clopper-Pearson, GDP",
}


@pytest.fixture(autouse=True)
def _no_resolutions(monkeypatch):
    """What a perfect attack would show takes most of the time, and is tested elsewhere."""
    for name in ("PAIR_MEAN", "GUESSES", "RATES"):
        methods = (
            dataclasses.replace(one, resolution=lambda *_: 0.0)
            for one in getattr(bounding, name)
            if one.label == "bound"
        )
        monkeypatch.setattr(bounding, name, tuple(methods))


def alarms(stages) -> Counter:
    """How often each method was above 0, over the stages of some audits."""
    counts = Counter(dict.fromkeys(BOUNDS, 0))
    for stage in stages:
        counts.update(one.method for one in stage.results if one.epsilon > 0)
    return counts


# --- evidence of nothing ----------------------------------------------------------------------

NULLS = {
    # own noise; a part that all candidates of a row share; one that a candidate has in all rows
    "independent": lambda rng, s, n: rng.standard_normal((s, n)),
    "shared by rows": lambda rng, s, n: (
        rng.standard_normal((s, n)) + 3 * rng.standard_normal((s, 1))
    ),
    "of candidates": lambda rng, s, n: (
        rng.standard_normal((s, n)) + 3 * rng.standard_normal((1, n))
    ),
    "heavy tails": lambda rng, s, n: rng.standard_t(1.5, (s, n)),
    "few values": lambda rng, s, n: rng.integers(0, 3, (s, n)).astype(float),
}


def null_alarms(kind, n_rows, runs, seed, n_candidates=2, n_attacks=2) -> Counter:
    """How often each method is above 0 for the best of some attacks that see nothing.

    The stage's bounds in their parts: bets on all runs' shares go through the pairs together.
    """
    rng = np.random.default_rng([seed, n_rows])
    n_pairs = n_rows // 2 + N_FIT_PAIRS
    shares, counts = [], Counter(dict.fromkeys(BOUNDS, 0))
    for _ in range(runs):
        game = dataclasses.replace(
            game_of(rng, n_pairs, n_candidates), fit_pairs=np.arange(n_pairs) < N_FIT_PAIRS
        )
        noise = (NULLS[kind](rng, 2 * n_pairs, n_candidates) for _ in range(n_attacks))
        chosen = choose([found(str(k), one) for k, one in enumerate(noise)], game)
        shares.append(chosen.evaluation.shares)
        for bounds in (bounding.one_run_bounds, bounding.one_candidate_bounds):
            results = bounds(chosen, DELTA, CONFIDENCE)
            counts.update(one.method for one in results if one.epsilon > 0)
    above = int(means_rejected(np.stack(shares), np.array([0.5]), CONFIDENCE).sum())
    counts.update({"pair mean": above, "pair mean, GDP": above})
    return counts


def check_null(counts: Counter, allowed: int) -> None:
    assert set(counts) == BOUNDS
    assert max(counts.values()) <= allowed, counts


@pytest.mark.parametrize(
    ("n_rows", "kind"), [(100, "independent"), (500, "shared by rows"), (2000, "heavy tails")]
)
def test_evidence_of_nothing(n_rows, kind):
    check_null(null_alarms(kind, n_rows, RUNS, 1, n_candidates=1 + (n_rows < 2000)), ALLOWED)


@pytest.mark.slow
@pytest.mark.parametrize("n_rows", [100, 500, 2000])
@pytest.mark.parametrize("kind", NULLS)
def test_evidence_of_nothing_in_many_runs(kind, n_rows):
    check_null(null_alarms(kind, n_rows, MANY_RUNS, 2), MANY_ALLOWED)


# --- the whole pipeline -----------------------------------------------------------------------


def pipeline_runs(runs, *, names_of, seed=0, train=None, **attack):
    """Audits of a curation that ignores the private set; run i has the attacks names_of(i)."""
    for i in range(runs):
        plan = null_plan(seed + i, train=train, **attack)
        coins = paired_inclusion(plan.attack.shadows, 100, Streams(plan.seed))
        n_pairs = len(coins) // 2
        game = Game(coins, coins, np.zeros(coins.shape), np.arange(n_pairs) < n_pairs // 2)
        yield judge_bounds(plan, fitted_evidence(plan, game, names_of(i)), game)


# how scores must be seen for an attack that needs it
VIEWS = {"score ranks": "ranks", "top scores only": "top only"}


def one_of_each_stage(i: int) -> list[str]:
    """Attacks take turns; one a stage, so that choosing between them plays no part."""
    able = [one for one in SINGLE if not {"nearest scorer", *VIEWS} & one.needs]
    by_stage = [[one.name for one in able if one.stage == stage] for stage in OBSERVED_STAGES]
    return [names[i % len(names)] for names in by_stage]


@pytest.mark.parametrize("need", VIEWS)
def test_small_audits_where_scores_are_seen_in_part(need):
    names = [one.name for one in SINGLE if need in one.needs]
    stages = [
        one
        for stages in pipeline_runs(RUNS, names_of=lambda _: names, scores_as=VIEWS[need])
        for one in stages
    ]
    assert len(stages) == RUNS
    check_null(alarms(stages), ALLOWED)


def check_small_audits(runs, allowed, **settings):
    """16 shadows of 100 candidates: 4 evaluation pairs, of which only one-run bounds make use."""
    audits = list(pipeline_runs(runs, names_of=one_of_each_stage, **settings))
    for stage in OBSERVED_STAGES:
        here = [one for stages in audits for one in stages if one.stage == stage]
        if here:
            check_null(alarms(here), allowed)
    return Counter(one.attack for stages in audits for one in stages)


def test_small_audits_of_a_curation_that_ignores_the_private_set():
    ran = check_small_audits(RUNS, ALLOWED)
    assert set(ran) > {"matched_filter", "known_others", "mask_filter", "trace", "mask_extract"}
    assert {"cavity_filter", "analytic_picks"} < set(ran)
    assert sum(ran.values()) == 2 * RUNS  # scores and picks of every run


@pytest.mark.slow
def test_many_small_audits_of_a_curation_that_ignores_the_private_set():
    check_small_audits(MANY_RUNS, MANY_ALLOWED, seed=1000)


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_finds_what_is_not_there(name):
    """Each attack alone, 400 audits of 40 shadows."""
    train = Logistic(l2=1.0) if ATTACKS[name].stage in ("model", "joint") else None
    view = next((VIEWS[need] for need in VIEWS if need in ATTACKS[name].needs), "exact")
    settings = {"train": train, "scores_as": view, "shadows": 40, "seed": 7000}
    runs = pipeline_runs(RUNS, names_of=lambda _: [name], **settings)
    stages = [one for stages in runs for one in stages]
    if not stages:
        pytest.skip("needs another scorer, or planted rows")
    check_null(alarms(stages), ALLOWED)


@cache
def worlds(scorer_name: str):
    """A leaky world, and another whose observations take the place of its hidden ones."""
    scorer = {"mean": MEAN, "nearest": NEAREST}[scorer_name]
    return make_world(0, scorer=scorer), make_world(5, scorer=scorer)


def of_a_fit_block(world, attack):
    """What is known of the fit block; the other coins of a row only where an attack needs them."""
    granted = world.knowledge.granted - ({"memberships"} - attack.needs)
    fit = np.arange(12) < 6
    return dataclasses.replace(world.knowledge, granted=granted, known_pairs=fit)


@pytest.mark.parametrize("scorer_name", ["mean", "nearest"])
@pytest.mark.parametrize("name", ATTACKS)
def test_evidence_for_an_evaluation_row_is_its_own(name, scorer_name):
    """It hangs on no other evaluation row, its partner's least of all, and on no coin there."""
    world, other = worlds(scorer_name)
    attack = ATTACKS[name]
    if world.knowledge.missing(attack.needs):
        pytest.skip("needs another scorer")
    knowledge = of_a_fit_block(world, attack)
    row, hidden = 16, np.arange(12, 24)
    rest = hidden[hidden != row]
    coins = world.inclusion.copy()
    coins[hidden] = random_coins(np.random.default_rng(9), 6, coins.shape[1])
    changed = with_shadows(world.observation, rest, other.observation)
    if "memberships" in attack.needs:  # it may read the row's own coins, and is known to
        coins[row : row + 2] = world.inclusion[row : row + 2]
    before, after = (
        attack.evidence(seen, inclusion, knowledge, streams=world.streams)
        for seen, inclusion in ((world.observation, world.inclusion), (changed, coins))
    )
    np.testing.assert_allclose(after[row], before[row], atol=1e-9 * np.abs(before).max())


@pytest.mark.parametrize("scorer_name", ["mean", "nearest"])
@pytest.mark.parametrize(
    "name", [name for name, attack in ATTACKS.items() if "memberships" not in attack.needs]
)
def test_evidence_for_no_evaluation_row_hangs_on_coins_there(name, scorer_name):
    """All rows at once, with several draws: a peek that few observations set off shows, too."""
    world, attack = worlds(scorer_name)[0], ATTACKS[name]
    if world.knowledge.missing(attack.needs):
        pytest.skip("needs another scorer")
    knowledge = of_a_fit_block(world, attack)
    coins, evidence = world.inclusion.copy(), []
    for seed in range(3):
        evidence.append(attack.evidence(world.observation, coins, knowledge, streams=world.streams))
        coins = coins.copy()
        coins[12:] = random_coins(np.random.default_rng(seed), 6, coins.shape[1])
    for one in evidence[1:]:
        np.testing.assert_allclose(one, evidence[0], atol=1e-9 * np.abs(one).max())


# --- the truth is covered ---------------------------------------------------------------------


@pytest.mark.parametrize("epsilon", [1.0, 4.0])
@pytest.mark.parametrize("dependence", [0.0, 0.8])
def test_bounds_lie_above_the_truth_at_most_as_often_as_they_say(epsilon, dependence):
    """Candidates are told apart as by a Gaussian mechanism of this epsilon at 1e-5."""
    rng = np.random.default_rng([int(epsilon), int(10 * dependence)])
    mu, counts = mu_of_epsilon(epsilon, DELTA), Counter()
    for _ in range(RUNS):
        game = game_of(rng, 60, 8)
        shared = np.sqrt(dependence) * rng.standard_normal((120, 1))
        own = np.sqrt(1 - dependence) * rng.standard_normal((120, 8))
        # an error that all candidates share is told from their coins by knowing some of them
        needs = frozenset({"memberships"} if dependence else ())
        attack = found("a", mu * game.inclusion + shared + own, needs=needs)
        stage = stage_bounds(INSIDER, "scores", [attack], game)
        counts.update(one.method for one in stage.results if one.epsilon > epsilon)
    assert max(counts.values(), default=0) <= ALLOWED, counts


# --- what the rules are for -------------------------------------------------------------------


def linear_kernel(scores, inclusion, others):
    """Evidence by the in-mean of other pairs' shadows, one product for all; (S, N)."""
    centred = scores - others.means_of_shadows(scores)
    signed = 2.0 * inclusion - 1
    known = np.repeat(others.known, 2)
    kernel = centred @ centred[known].T
    at = {row: k for k, row in enumerate(np.flatnonzero(known))}
    for row in range(len(scores)):  # neither the own row nor its partner
        for twin in (row, row ^ 1):
            if twin in at:
                kernel[row, at[twin]] = 0
    return kernel @ signed[known]


def exceedances(split: bool, runs: int, n_pairs: int = 16, n: int = 200) -> int:
    """One-run bounds above 0, over many rows: a block of their own, or all that taught others."""
    rng = np.random.default_rng(31)
    count = 0
    for _ in range(runs):
        inclusion = random_coins(rng, n_pairs, n)
        scores = rng.standard_normal((2 * n_pairs, 3))
        fit = np.arange(n_pairs) < n_pairs // 2 if split else np.ones(n_pairs, dtype=bool)
        evidence = linear_kernel(scores, inclusion, OtherPairs(fit))
        rows = np.flatnonzero(~fit if split else fit)[:, None] * 2
        rows = rows.ravel() if split else np.concatenate([rows.ravel(), rows.ravel() + 1])
        counted = guesses(evidence[rows], inclusion[rows], 0.0, n)
        count += one_run_epsilon(*counted, DELTA, CONFIDENCE) > 0
    return count


def test_pooling_rows_that_were_learnt_from_breaks_the_bound():
    """Leave-one-pair-out evidence is fair row by row, and not over all rows together.

    Same attack, same null: with a fit and an evaluation block the bound holds.
    """
    runs = 2000
    assert not too_many(exceedances(split=True, runs=runs), runs, 0.05)
    assert too_many(exceedances(split=False, runs=runs), runs, 0.05)  # measured 9.5 %


def test_choosing_on_the_rows_that_are_counted_breaks_the_bound():
    """The best of many attacks, its direction, candidate and threshold on all rows."""
    rng = np.random.default_rng(32)
    with_split, without = Counter(), Counter()
    for _ in range(100):
        game = game_of(rng, 30, 4)
        several = [found(str(k), leaky(rng, game, 0.0)) for k in range(20)]
        stage = stage_bounds(PLAN, "scores", several, game)
        with_split.update(one.method for one in stage.results if one.epsilon > 0)
        best = max(several, key=lambda one: Block(one.fitted, game.inclusion).shares.mean())
        whole = Block(best.fitted, game.inclusion)
        pooled = Chosen(best.name, whole, whole)
        for bounds in (
            bounding.pair_mean_bounds,
            bounding.one_run_bounds,
            bounding.one_candidate_bounds,
        ):
            results = bounds(pooled, DELTA, CONFIDENCE)
            without.update(one.method for one in results if one.epsilon > 0)
    # 16 of 100 at 5 % have probability 4e-5
    assert max(with_split.values(), default=0) <= 15, with_split
    assert min(without[name] for name in BOUNDS) > 15, without


@pytest.mark.parametrize("cheat", ["none", "parity", "swapped bits", "majority"])
def test_evidence_that_reads_coins_of_its_row_breaks_one_run(cheat):
    """Nothing is shown of anybody; guesses made of other true bits of the row are not chance."""
    rng = np.random.default_rng(33)
    runs, n, above = 4000, 100, 0
    for _ in range(runs):
        coins = rng.random((1, n)) < 0.5
        evidence = READERS[cheat](rng, coins)
        counted = guesses(evidence, coins, 0.0, n)
        above += one_run_epsilon(*counted, DELTA, CONFIDENCE) > 0
    assert too_many(above, runs, 0.05) == (cheat != "none")


def parity(rng, coins):
    """Right about all or about none: the parity of the others, against that of all."""
    others = (coins.sum() - coins) % 2
    return np.where(others == 0, 1.0, -1.0)


def swapped(rng, coins):
    """Each guess is the bit of a neighbour: right in twos, so that counts spread too far."""
    return 2.0 * coins.reshape(-1, 2)[:, ::-1].reshape(coins.shape) - 1


def majority(rng, coins):
    """All guess the majority, which is never below one half."""
    return np.full(coins.shape, 1.0 if coins.sum() * 2 >= coins.size else -1.0)


READERS = {
    "none": lambda rng, coins: rng.standard_normal(coins.shape),
    "parity": parity,
    "swapped bits": swapped,
    "majority": majority,
}
