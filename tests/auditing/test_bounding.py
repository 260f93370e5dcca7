"""What the fit block chooses, and what is then counted on the evaluation block."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from curation_audit.auditing.bounding import (
    guessed,
    judge_bounds,
    judge_claim,
    one_candidate_bounds,
    one_run_bounds,
    pair_mean_bounds,
    stage_bounds,
)
from curation_audit.auditing.choice import (
    Block,
    Chosen,
    best_threshold,
    centres,
    choose,
    clearest_candidate,
    count,
    reads_coins,
)
from curation_audit.auditing.evidence import n_fit_pairs
from curation_audit.checks import SettingError
from curation_audit.dp.claims import EpsilonDeltaClaim, GaussianClaim
from curation_audit.statistics import PairedEvidence
from curation_audit.statistics.bounds import (
    best_n_per_row,
    clopper_pearson_epsilon,
    guesses,
    one_run_epsilon,
    pair_mean_gdp_epsilon,
    pair_mean_lower,
    pair_shares,
)
from tests.auditing.null_games import KNOWS, found, game_of, leaky, plan_of, redrawn

DELTA, CONFIDENCE = 1e-5, 0.95
PLAN = plan_of()
PLAN_OF_INSIDER = plan_of(knows=(*KNOWS, "memberships"))
COINS = frozenset({"memberships"})


def bounds_of(results) -> dict:
    return {one.method: one for one in results}


def chosen_of(rng, n_pairs=40, n_candidates=6, mu=1.0) -> tuple[Chosen, object]:
    game = game_of(rng, n_pairs, n_candidates)
    return choose([found("a", leaky(rng, game, mu))], game), game


# --- blocks and choices -----------------------------------------------------------------------


def test_a_block_sorts_evidence_by_coins(rng):
    game = game_of(rng, 7, 5)
    evidence = leaky(rng, game, 1.0)
    block, paired = (
        Block(evidence, game.inclusion),
        PairedEvidence.split(evidence, game.inclusion),
    )
    np.testing.assert_array_equal(block.members, paired.members)
    np.testing.assert_array_equal(block.outsiders, paired.outsiders)
    np.testing.assert_array_equal(block.shares, pair_shares(paired.members, paired.outsiders))
    np.testing.assert_allclose(block.reversed().shares, 1 - block.shares)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_evidence_that_is_not_finite_is_no_block(rng, bad):
    game = game_of(rng, 4, 3)
    evidence = leaky(rng, game, 1.0)
    evidence[1, 2] = bad
    with pytest.raises(ValueError, match="finite"):
        Block(evidence, game.inclusion)
    with pytest.raises(ValueError, match="must match"):
        Block(evidence[:, :2], game.inclusion)


def test_choice_takes_the_attack_that_names_most_rows_on_the_fit_block(rng):
    game = game_of(rng, 60, 10)
    weak, strong = leaky(rng, game, 0.3), leaky(rng, game, 1.5)
    in_fit = np.repeat(game.fit_pairs, 2)
    # the strong one is strong on the fit block only; the other way round it is not chosen
    weak_later, strong_later = weak.copy(), strong.copy()
    weak_later[~in_fit], strong_later[~in_fit] = strong[~in_fit], weak[~in_fit]
    best = choose([found("weak", weak_later), found("strong", strong_later)], game)
    assert best.attack == "strong"
    np.testing.assert_array_equal(best.fit.evidence, strong[in_fit])
    np.testing.assert_array_equal(best.evaluation.evidence, weak[~in_fit])
    np.testing.assert_array_equal(best.evaluation.inclusion, game.inclusion[~in_fit])
    assert choose([], game) is None


def test_evidence_is_turned_where_the_fit_block_refutes_its_direction(rng):
    game = game_of(rng, 60, 10)
    evidence = leaky(rng, game, 1.0)
    turned = choose([found("a", -evidence)], game)
    straight = choose([found("a", evidence)], game)
    np.testing.assert_array_equal(turned.fit.evidence, straight.fit.evidence)
    np.testing.assert_array_equal(turned.evaluation.evidence, straight.evaluation.evidence)
    # however the evaluation block would have it
    later = ~np.repeat(game.fit_pairs, 2)
    reversed_later = np.where(later[:, None], -3 * evidence, evidence)
    kept = choose([found("a", reversed_later)], game)
    np.testing.assert_array_equal(kept.evaluation.evidence, -3 * evidence[later])
    # a strong attack in reverse beats a weak one that is straight
    assert choose([found("w", leaky(rng, game, 0.2)), found("a", -evidence)], game).attack == "a"


def test_chance_does_not_turn_evidence(rng):
    turned = 0
    for _ in range(200):
        game = game_of(rng, 20, 4)
        evidence = leaky(rng, game, 0.0)
        turned += bool((choose([found("a", evidence)], game).fit.evidence[0] != evidence[0]).any())
    assert turned <= 8  # at 1 % a binomial count of 200 exceeds it with probability 2e-4


@settings(max_examples=30)
@given(seed=st.integers(0, 2**31), mu=st.sampled_from([0.0, 0.5, 2.0]))
def test_the_evaluation_block_changes_no_choice(seed, mu):
    rng = np.random.default_rng(seed)
    game = game_of(rng, 12, 5)
    later = ~np.repeat(game.fit_pairs, 2)
    first = {"one": leaky(rng, game, mu), "other": -leaky(rng, game, 2 * mu)}
    again = {name: evidence.copy() for name, evidence in first.items()}
    for evidence in again.values():
        evidence[later] = 9 * rng.standard_normal((later.sum(), 5))
    second = redrawn(rng, game)
    before = choose([found(name, one) for name, one in first.items()], game)
    after = choose([found(name, one) for name, one in again.items()], second)
    # attack and direction; all else is a function of the fit block
    assert after.attack == before.attack
    np.testing.assert_array_equal(after.fit.evidence, before.fit.evidence)
    turn = np.sign(before.fit.evidence[0, 0] / first[before.attack][0, 0])
    np.testing.assert_array_equal(after.evaluation.evidence, again[after.attack][later] * turn)
    numbers = [guessed(one, DELTA, CONFIDENCE)[:2] for one in (before, after)]
    assert numbers[0] == numbers[1]


def test_number_of_fit_pairs():
    assert [n_fit_pairs(s) for s in (8, 16, 64, 128, 256, 1024)] == [3, 4, 16, 32, 64, 64]


def test_who_reads_coins():
    ensemble = found("e", None, members=[found("m", None, needs=COINS).attack]).attack
    plain, reader = found("p", None).attack, found("r", None, needs=COINS).attack
    of = [reads_coins(PLAN_OF_INSIDER, one) for one in (plain, reader, ensemble)]
    assert of == [False, True, True]
    # who is not told the coins cannot read them
    assert not any(reads_coins(PLAN, one) for one in (plain, reader, ensemble))


# --- pair mean --------------------------------------------------------------------------------


def test_pair_mean_bounds_are_those_of_the_evaluation_shares(rng):
    chosen, _ = chosen_of(rng)
    results = bounds_of(pair_mean_bounds(chosen, DELTA, CONFIDENCE))
    shares = chosen.evaluation.shares
    gaussian = results["pair mean, GDP"]
    assert gaussian.epsilon == pair_mean_gdp_epsilon(shares, DELTA, CONFIDENCE) > 0
    assert gaussian.hypothesis == "the curation is mu-GDP for some mu"
    assert results["pair mean"].hypothesis is None
    assert results["pair mean"].epsilon < gaussian.epsilon < gaussian.resolution
    assert dict(gaussian.counts) == {"pairs": 20, "candidates": 6}


# --- one run ----------------------------------------------------------------------------------


def test_one_run_counts_one_row_per_pair(rng):
    chosen, _ = chosen_of(rng)
    fit, evaluation, centre = chosen.fit, chosen.evaluation, centres(chosen.fit)
    n = best_n_per_row(fit.evidence[0::2], fit.inclusion[0::2], centre, DELTA, CONFIDENCE)
    expected = guesses(evaluation.evidence[0::2], evaluation.inclusion[0::2], centre, n)
    assert guessed(chosen, DELTA, CONFIDENCE) == expected
    (general, gaussian) = one_run_bounds(chosen, DELTA, CONFIDENCE)
    assert general.epsilon == one_run_epsilon(*expected, DELTA, CONFIDENCE)
    assert dict(general.counts) == {"canaries": 20 * 6, "guesses": 20 * n, "right": expected[2]}
    assert general.hypothesis is None
    assert gaussian.hypothesis is not None
    assert "guesses of a" in general.condition


def test_one_run_looks_at_no_partner_row(rng):
    chosen, _ = chosen_of(rng)
    noise = chosen.evaluation.evidence.copy()
    noise[1::2] = 5 * rng.standard_normal(noise[1::2].shape)
    other = dataclasses.replace(chosen, evaluation=Block(noise, chosen.evaluation.inclusion))
    assert one_run_bounds(other, DELTA, CONFIDENCE) == one_run_bounds(chosen, DELTA, CONFIDENCE)
    assert pair_mean_bounds(other, DELTA, CONFIDENCE) != pair_mean_bounds(chosen, DELTA, CONFIDENCE)


def test_what_is_guessed_hangs_on_no_coin_of_the_evaluation_block(rng):
    """With every coin of the evaluation rows turned, right guesses become wrong ones."""
    chosen, _ = chosen_of(rng)
    turned = Block(chosen.evaluation.evidence, ~chosen.evaluation.inclusion)
    before = guessed(chosen, DELTA, CONFIDENCE)
    after = guessed(dataclasses.replace(chosen, evaluation=turned), DELTA, CONFIDENCE)
    assert (after.n_canaries, after.n_guesses) == (before.n_canaries, before.n_guesses)
    assert after.n_right == before.n_guesses - before.n_right


def test_centres_lie_between_members_and_outsiders(rng):
    game = game_of(rng, 200, 3)
    offset = np.array([-5.0, 0.0, 40.0])
    fit = Block(leaky(rng, game, 2.0) + offset, game.inclusion)
    np.testing.assert_allclose(centres(fit), offset + 1, atol=0.25)


def test_an_attack_that_reads_coins_leaves_one_run_to_another(rng):
    game = game_of(rng, 60, 10)
    insider = found("insider", leaky(rng, game, 3.0), needs=COINS)
    plain, weak = found("plain", leaky(rng, game, 1.0)), found("weak", leaky(rng, game, 0.1))
    alone = bounds_of(stage_bounds(PLAN_OF_INSIDER, "scores", [insider], game).results)
    assert set(alone) == {
        "pair mean",
        "pair mean, GDP",
        "Clopper-Pearson",
        "Clopper-Pearson, GDP",
        "joint beta",
    }
    stage = stage_bounds(PLAN_OF_INSIDER, "scores", [insider, plain, weak], game)
    assert stage.attack == "insider"
    beside, of_plain = (
        bounds_of(one.results) for one in (stage, stage_bounds(PLAN, "scores", [plain], game))
    )
    assert beside["one run"] == of_plain["one run"]
    assert "guesses of plain" in beside["one run"].condition
    assert beside["pair mean"] == alone["pair mean"]
    # an ensemble with such a member is no better
    ensemble = found("ensemble", leaky(rng, game, 3.0), members=[insider.attack])
    assert "one run" not in bounds_of(
        stage_bounds(PLAN_OF_INSIDER, "scores", [ensemble], game).results
    )


# --- one candidate ----------------------------------------------------------------------------


def test_the_clearest_candidate_and_its_threshold_come_from_the_fit_block(rng):
    game = game_of(rng, 80, 4)
    evidence = leaky(rng, game, 0.0)
    in_fit = np.repeat(game.fit_pairs, 2)
    evidence[in_fit, 2] += 4 * game.inclusion[in_fit, 2]
    evidence[~in_fit, 1] += 4 * game.inclusion[~in_fit, 1]  # too late to be chosen
    chosen = choose([found("a", evidence)], game)
    assert clearest_candidate(chosen.fit) == 2
    results = bounds_of(one_candidate_bounds(chosen, DELTA, CONFIDENCE))
    assert results["Clopper-Pearson"].epsilon == 0.0
    fit, evaluation = chosen.fit, chosen.evaluation
    cut = best_threshold(fit.members[:, 2], fit.outsiders[:, 2], DELTA, CONFIDENCE)
    tp = (evaluation.members[:, 2] > cut).sum()
    fp = (evaluation.outsiders[:, 2] > cut).sum()
    assert dict(results["Clopper-Pearson"].counts) == {
        "true_positives": tp,
        "in_rows": 40,
        "false_positives": fp,
        "out_rows": 40,
    }


def test_clear_is_who_is_named_often_not_who_is_named_loudly():
    inclusion = np.tile([[True, True], [False, False]], (3, 1))
    evidence = np.where(inclusion, [9.0, 1.0], 0.0)
    evidence[4, 0] = -1.0  # once on the wrong side
    assert clearest_candidate(Block(evidence, inclusion)) == 1


def test_of_equally_clear_candidates_the_widest_gap_is_taken():
    inclusion = np.array([[True, True], [False, False], [False, True], [True, False]])
    block = Block(np.where(inclusion, [1.0, 3.0], 0.0), inclusion)
    assert clearest_candidate(block) == 1


def test_the_best_threshold_equals_a_search(rng):
    for mu in (0.0, 1.0, 4.0):
        members, outsiders = rng.standard_normal(30) + mu, rng.standard_normal(30)
        cut = best_threshold(members, outsiders, DELTA, CONFIDENCE)
        every = np.sort(np.concatenate([members, outsiders]))

        def shown(c, members=members, outsiders=outsiders):
            return clopper_pearson_epsilon(*count(members, outsiders, c), DELTA, CONFIDENCE)

        assert shown(cut) == pytest.approx(max(shown(c) for c in every))
        assert cut not in every  # between two values


def test_joint_beta_is_an_estimate_and_the_rest_are_bounds(rng):
    chosen, _ = chosen_of(rng)
    results = one_candidate_bounds(chosen, DELTA, CONFIDENCE)
    labels = {one.method: one.label for one in results}
    assert labels == {
        "Clopper-Pearson": "bound",
        "Clopper-Pearson, GDP": "bound",
        "joint beta": "estimate",
    }
    assert "credible" in bounds_of(results)["joint beta"].condition


# --- a stage ----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0.0, -3.5])
def test_constant_evidence_shows_nothing(rng, value):
    game = game_of(rng, 40, 5)
    stage = stage_bounds(PLAN, "scores", [found("a", np.full(game.inclusion.shape, value))], game)
    assert stage.pair_share == stage.pair_share_low == 0.5
    assert all(one.epsilon == 0 for one in stage.results)


@pytest.mark.parametrize("n_candidates", [1, 4, 50])
def test_eight_shadows_leave_one_pair_to_evaluate(rng, n_candidates):
    game = game_of(rng, 4, n_candidates)
    stage = stage_bounds(PLAN, "scores", [found("a", leaky(rng, game, 9.0))], game)
    assert (stage.n_fit_pairs, stage.n_evaluation_pairs) == (3, 1)
    assert stage.pair_share > 0.9
    for one in stage.results:
        assert 0 <= one.epsilon <= one.resolution < np.inf
    assert bounds_of(stage.results)["pair mean"].epsilon == 0.0


def test_a_perfect_attack_reaches_the_resolution(rng):
    game = game_of(rng, 64, 4)
    stage = stage_bounds(PLAN, "scores", [found("a", game.inclusion * 1.0)], game)
    for one in stage.results:
        assert one.epsilon == pytest.approx(one.resolution)
        assert one.epsilon > 1


def test_the_stage_says_what_it_rests_on(rng):
    game = game_of(rng, 64, 10)
    attack = found("a", leaky(rng, game, 1.0))
    stage = stage_bounds(PLAN, "scores", [attack], game)
    shares = choose([attack], game).evaluation.shares
    assert (stage.stage, stage.attack, stage.adjacency) == ("scores", "a", "add_remove")
    assert (stage.n_fit_pairs, stage.n_evaluation_pairs) == (32, 32)
    assert stage.pair_share_low < stage.pair_share
    assert stage.pair_share == shares.mean()
    for one in stage.results:
        assert (one.delta, one.confidence) == (DELTA, CONFIDENCE)


def test_stages_without_an_attack_have_no_bounds(rng):
    game = game_of(rng, 8, 3)
    assert stage_bounds(PLAN, "scores", [found("a", None)], game) is None
    assert judge_bounds(PLAN, [found("a", None)], game) == ()
    model = dataclasses.replace(found("a", leaky(rng, game, 1.0)), stage="model")
    assert stage_bounds(PLAN, "scores", [model], game) is None
    assert len(judge_bounds(PLAN, [found("a", leaky(rng, game, 1.0))], game)) == 1


# --- claims -----------------------------------------------------------------------------------


def claim_of(claim, rng, mu, n_pairs=128, **settings):
    plan = plan_of(claim=claim, **settings)
    game = game_of(rng, n_pairs, 20)
    return judge_claim(plan, [found("a", leaky(rng, game, mu))], game)


def test_no_claim_no_result(rng):
    assert judge_claim(PLAN, [], game_of(rng, 8, 3)) is None


@pytest.mark.parametrize("mu", [0.5, 1.0, 2.0])
def test_a_claim_is_refuted_where_more_leaks_than_it_allows(rng, mu):
    true = claim_of(GaussianClaim(mu=mu, adjacency="add_remove"), rng, mu)
    false = claim_of(GaussianClaim(mu=mu / 2, adjacency="add_remove"), rng, mu)
    assert not true.refuted
    assert not true.stages[0].refuted
    assert false.refuted
    assert true.pair_share == pytest.approx(special.ndtr(mu / np.sqrt(2)))
    assert false.stages[0].pair_share_low > false.pair_share


@pytest.mark.parametrize(("delta", "tested"), [(1e-3, 1e-3), (1e-6, 1e-5)])
def test_a_pair_is_tested_where_it_says_something(rng, delta, tested):
    claim = EpsilonDeltaClaim(epsilon=0.5, delta=delta, adjacency="add_remove")
    result = claim_of(claim, rng, 2.0)
    assert result.delta == max(delta, PLAN.attack.delta) == tested
    assert result.epsilon == 0.5
    (stage,) = result.stages
    assert stage.epsilon_low > 0.5
    assert result.refuted


def test_claims_share_the_error_of_all_that_is_tested(rng):
    game = game_of(rng, 100, 20)
    evidence = leaky(rng, game, 0.5)
    claim = GaussianClaim(mu=0.3, adjacency="add_remove")
    (stage,) = judge_claim(plan_of(claim=claim), [found("a", evidence)], game).stages
    shares = choose([found("a", evidence)], game).evaluation.shares
    # two limits at one stage
    assert stage.pair_share_low == pair_mean_lower(shares, 0.975)


def test_one_record_that_leaks_all_refutes_a_claim_that_the_others_keep(rng):
    """The mean over candidates hides it; guesses about the clearest candidates do not."""
    game = game_of(rng, 128, 50)
    evidence = rng.standard_normal(game.inclusion.shape)
    evidence[:, 7] = np.where(game.inclusion[:, 7], 10.0, -10.0)
    claim = EpsilonDeltaClaim(epsilon=0.5, delta=1e-5, adjacency="add_remove")
    result = judge_claim(plan_of(claim=claim), [found("a", evidence)], game)
    assert result.stages[0].pair_share_low < result.pair_share
    assert result.stages[0].epsilon_low > 2
    assert result.refuted
    evidence[:, 7] = 0.0
    assert not judge_claim(plan_of(claim=claim), [found("a", evidence)], game).refuted


def test_a_claim_that_nothing_was_held_against_stands(rng):
    claim = EpsilonDeltaClaim(epsilon=1.0, delta=1e-9, adjacency="add_remove")
    result = judge_claim(plan_of(claim=claim), [found("a", None)], game_of(rng, 8, 3))
    assert (result.stages, result.refuted) == ((), False)
    assert result.epsilon == 1.0


@pytest.mark.parametrize("adjacency", ["replace_one", "zero_out"])
def test_a_claim_of_another_adjacency_is_refused_before_anything_runs(adjacency):
    with pytest.raises(SettingError, match=r"report.claim.adjacency"):
        plan_of(claim=GaussianClaim(mu=1.0, adjacency=adjacency))
