"""Selection rules against the plain reference, with many ties."""

import math
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from curation_audit.checks import InputError
from curation_audit.pipelines.base import Rows, SelectionRule
from curation_audit.pipelines.rules import RULES, top
from curation_audit.pipelines.rules.cut import select, tie_order
from curation_audit.pipelines.rules.levels import Nonnegative, OccupiedClusters, ScoreRange
from curation_audit.pipelines.rules.per_group import PerGroup
from curation_audit.pipelines.rules.sampled import GumbelTopK, Pareto
from curation_audit.pipelines.rules.threshold import Threshold
from curation_audit.pipelines.rules.token_budget import TokenBudget
from curation_audit.pipelines.rules.top import (
    Greedy,
    TopFraction,
    TopK,
    best_rows,
    picks_of,
    ranking,
)
from curation_audit.streams import Streams
from tests.pipelines import reference

M, S = 17, 3
STREAMS = Streams(8).for_shadows("test", range(S))
GROUPS = tuple("abbcaabcbcabbacba"[:M])
SIZES = np.array([0, 3, 1, 7, 2, 2, 0, 5, 1, 1, 4, 9, 2, 3, 1, 6, 2], dtype=np.int64)
POOL = Rows(tuple(map(str, range(M))), np.zeros((M, 1)), groups={"site": GROUPS}, sizes=SIZES)
N_OF_GROUP = {name: GROUPS.count(name) for name in "abc"}
# rules, and what each picks of one shadow's scores
CASES = {
    "greedy": [(Greedy(k=k), k) for k in (2, 6)],
    "gumbel_top_k": [(GumbelTopK(k=k, temperature=t), (k, t)) for k, t in ((1, 1.0), (6, 0.3))],
    "nonnegative": [(Nonnegative(), 0.0)],
    "occupied_clusters": [(OccupiedClusters(least=n), n) for n in (0.5, 1.0)],
    "pareto": [(Pareto(alpha=a, squash=True), a) for a in (0.5, 9.0)],
    "per_group": [
        (PerGroup(by="site", k=2), dict.fromkeys("abc", 2)),
        (PerGroup(by="site", fraction=0.4), {n: round(0.4 * N_OF_GROUP[n]) for n in "abc"}),
        (PerGroup(by="site", quotas={"c": 4, "a": 1}), {"a": 1, "c": 4}),
    ],
    "range": [(ScoreRange(low=a, high=b), (a, b)) for a, b in ((-1.0, 0.0), (0.5, 0.5))],
    "threshold": [(Threshold(minimum=b), b) for b in (0.0, -1.0, 99.0)],
    "token_budget": [(TokenBudget(budget=b), b) for b in (1, 11, int(SIZES.sum()))],
    "top_fraction": [(TopFraction(fraction=f), f) for f in (0.01, 0.3, 0.5, 0.99)],
    "top_k": [(TopK(k=k), k) for k in (1, 5, M)],
}


def numbers(purpose, shadow, draw):
    """The numbers that a rule draws for one shadow, by the rank of the rows."""
    return draw(Streams(8).generator(f"test/{purpose}", shadow)).tolist()


def by_gumbel(scores, ties, setting, pool, shadow):
    noise = numbers("selection noise", shadow, lambda one: one.gumbel(size=M))
    return reference.gumbel_top_k(scores, ties, noise, *setting)


def by_pareto(scores, ties, alpha, pool, shadow):
    drawn = numbers("selection noise", shadow, lambda one: one.random(M))
    return reference.pareto([1 / (1 + math.exp(-s)) for s in scores], ties, drawn, alpha)


def plain(pick):
    """A rule that looks at scores and ties alone."""
    return lambda scores, ties, setting, pool, shadow: pick(scores, ties, setting)


PICKED = {
    "greedy": plain(reference.top_k),
    "gumbel_top_k": by_gumbel,
    "nonnegative": plain(lambda scores, ties, minimum: reference.threshold(scores, minimum)),
    "occupied_clusters": plain(lambda scores, ties, least: reference.threshold(scores, least)),
    "pareto": by_pareto,
    "per_group": lambda scores, ties, quotas, pool, shadow: reference.per_group(
        scores, ties, pool.groups["site"], quotas
    ),
    "range": plain(lambda scores, ties, ends: reference.between(scores, *ends)),
    "threshold": plain(lambda scores, ties, minimum: reference.threshold(scores, minimum)),
    "token_budget": lambda scores, ties, budget, pool, shadow: reference.token_budget(
        scores, ties, pool.sizes.tolist(), budget
    ),
    "top_fraction": plain(reference.top_fraction),
    "top_k": plain(reference.top_k),
}
ALL = [(rule, setting) for cases in CASES.values() for rule, setting in cases]

# few different values, so that most rows are tied; -0.0 and 0.0 are equal scores
tied_scores = st.sampled_from([np.float32, np.float64]).flatmap(
    lambda dtype: arrays(dtype, (S, M), elements=st.sampled_from([-1.0, -0.0, 0.0, 0.5, 2.0]))
)
orders = st.permutations(range(M)).map(lambda order: np.array(order, dtype=np.int64))


def test_every_rule_has_a_row_here():
    assert sorted(CASES) == sorted(PICKED) == sorted(RULES)
    assert all(rule.name == name for name, cases in CASES.items() for rule, _ in cases)


@pytest.fixture(params=ALL, ids=lambda case: f"{case[0].name} {case[1]}")
def case(request):
    return request.param


def picks(
    rule: SelectionRule, scores: np.ndarray, ties: np.ndarray, pool=POOL, streams=STREAMS
) -> list[list[int]]:
    selection = rule.select(scores, ties, streams, pool)
    assert selection.n_pool == scores.shape[1]
    bounds = zip(selection.offsets[:-1], selection.offsets[1:], strict=True)
    return [selection.indices[a:b].tolist() for a, b in bounds]


@given(scores=tied_scores, ties=orders)
def test_picks_equal_the_reference(scores, ties):
    for array in (scores, ties):
        array.setflags(write=False)
    for rule, setting in ALL:
        wanted = [
            PICKED[rule.name](row.tolist(), ties.tolist(), setting, POOL, shadow)
            for shadow, row in enumerate(scores)
        ]
        assert picks(rule, scores, ties) == wanted, rule


@given(scores=tied_scores, ties=orders, order=orders)
def test_the_order_of_the_pool_does_not_matter_when_the_tie_order_goes_along(scores, ties, order):
    groups = {"site": tuple(GROUPS[i] for i in order)}
    other = Rows(tuple(map(str, order)), np.zeros((M, 1)), groups=groups, sizes=SIZES[order])
    for rule, _ in ALL:
        moved = picks(rule, scores[:, order], ties[order], other)
        back = [sorted(order[row].tolist()) for row in moved]
        assert back == picks(rule, scores, ties), rule


def test_one_shadow_alone_equals_its_row_among_many(case, rng):
    scores, ties = rng.integers(0, 4, (S, M)) / 2, rng.permutation(M)
    together = picks(case[0], scores, ties)
    alone = [
        picks(case[0], scores[s : s + 1], ties, POOL, Streams(8).for_shadows("test", (s,)))[0]
        for s in range(S)
    ]
    assert alone == together


def test_a_row_without_a_score_is_kept_only_where_all_others_are(case):
    rule = case[0]
    scores = np.random.default_rng(2).random((S, M))
    missing = np.arange(M) % 3 == 1
    scores[:, missing] = np.nan
    kept = rule.select(scores, np.arange(M), STREAMS, POOL).mask()
    by_group = [np.array(GROUPS) == name for name in "abc"]
    parts = by_group if rule.name == "per_group" else [np.full(M, True)]
    for part in parts:
        without, others = kept[:, missing & part], kept[:, ~missing & part]
        assert not (without.any(axis=1) & ~others.all(axis=1)).any()


@pytest.mark.parametrize("m", [1, 3, 10, 999])
def test_a_fraction_is_rounded_and_at_least_one_row(m):
    scores, ties = np.zeros((1, m)), np.arange(m)
    assert TopFraction(fraction=0.001).select(scores, ties).sizes.tolist() == [1]
    expected = {1: 1, 3: 1, 10: 3, 999: 250}[m]
    assert TopFraction(fraction=0.25).select(scores, ties).sizes.tolist() in ([expected], [2])


def test_more_picks_than_rows_is_bad_input():
    with pytest.raises(InputError, match=r"^curate\.select: found k = 18, .* 17 rows; pick fewer"):
        TopK(k=M + 1).select(np.zeros((2, M)), np.arange(M))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TopK(k=0), "k must be positive, got 0"),
        (lambda: Greedy(k=0), "k must be positive, got 0"),
        (lambda: TopFraction(fraction=1.0), r"fraction must be in \(0, 1\), got 1.0"),
        (lambda: Threshold(minimum=float("inf")), "minimum must be a finite number, got inf"),
        (lambda: Threshold(minimum=float("nan")), "minimum must be a finite number, got nan"),
        (lambda: OccupiedClusters(least=0.0), "least must be positive, got 0"),
        (lambda: ScoreRange(low=float("-inf"), high=1.0), "low must be a finite number, got -inf"),
        (lambda: ScoreRange(low=2.0, high=1.0), "low must not be above high, got 2.0 and 1.0"),
        (lambda: TokenBudget(budget=0), "budget must be positive, got 0"),
        (lambda: GumbelTopK(k=0), "k must be positive, got 0"),
        (lambda: GumbelTopK(k=1, temperature=0.0), "temperature must be positive, got 0"),
        (lambda: Pareto(alpha=-1.0), "alpha must be positive, got -1"),
        (lambda: PerGroup(by="site"), "one of k, fraction and quotas, got none"),
        (lambda: PerGroup(by="site", k=1, fraction=0.5), "got k and fraction"),
        (lambda: PerGroup(by="site", k=0), "k must be positive, got 0"),
        (lambda: PerGroup(by="site", fraction=1.5), r"fraction must be in \(0, 1\)"),
        (lambda: PerGroup(by="site", quotas={"a": -1}), "quotas must be 0 or more, got 'a'"),
        (lambda: PerGroup(by="site", quotas={"a": 0}), "quotas must be positive, got 0"),
    ],
)
def test_settings_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()


BARE = Rows(POOL.ids, POOL.features)


@pytest.mark.parametrize(
    ("rule", "pool", "message"),
    [
        (TokenBudget(budget=5), BARE, "needs the size of every pool row; name their column in"),
        (TokenBudget(budget=5), None, "needs the size of every pool row"),
        (TokenBudget(budget=50), POOL, r"budget: found 50, but the sizes .* add up to 49"),
        (
            TokenBudget(budget=1),
            Rows(POOL.ids, POOL.features, sizes=SIZES + 2),
            r"found 1, but the smallest row of the pool has 2; spend more",
        ),
        (PerGroup(by="site", k=1), BARE, r"by: found 'site', which is no .*; the pool has none"),
        (PerGroup(by="sit", k=1), POOL, r"by: found 'sit', .*did you mean 'site'.*; name it in"),
        (PerGroup(by="site", k=6), POOL, r"select\.k: found 6 for 'c', which has 4 rows; pick few"),
        (PerGroup(by="site", quotas={"a": 8}), POOL, r"quotas: found 8 for 'a', which has 6 rows"),
        (PerGroup(by="site", quotas={"d": 1}), POOL, r"quotas: found 'd', which is no group of"),
        (Pareto(alpha=1.0), POOL, "pareto found scores outside of 0 to 1; squash: true takes"),
        (GumbelTopK(k=M + 1), POOL, "found k = 18, but the pool has 17 rows"),
    ],
)
def test_a_pool_that_does_not_suit_the_rule_is_bad_input(rule, pool, message):
    with pytest.raises(InputError, match=message):
        rule.select(np.full((S, M), 1.5), np.arange(M), STREAMS, pool)


# rules that draw


def frequencies(rule: SelectionRule, scores: list[float], n: int = 40_000) -> np.ndarray:
    """How often each row is kept, of n shadows with the same scores."""
    streams = Streams(3).for_shadows("often", range(n))
    many = np.tile(scores, (n, 1))
    return rule.select(many, np.arange(len(scores)), streams).mask().mean(axis=0)


def test_pareto_keeps_with_the_published_probability():
    """(2 - s)^-alpha: .424 at alpha 9 and score .9, 2^-9 at 0, 1 at 1. Four errors of .0025."""
    found = frequencies(Pareto(alpha=9.0), [0.9, 0.0, 1.0])
    np.testing.assert_allclose(found, [0.424, 2.0**-9, 1.0], atol=0.01)
    squashed = frequencies(Pareto(alpha=9.0, squash=True), [math.log(9.0), -800.0, 800.0])
    np.testing.assert_allclose(squashed, found, atol=0.01)


def test_gumbel_draws_without_replacement_by_odds():
    """Luce's model with odds 4, 2, 1, 1: second places by hand. Four errors of .0025."""
    odds = np.array([4.0, 2.0, 1.0, 1.0])
    one = odds / 8
    two = [sum(one[j] * odds[i] / (8 - odds[j]) for j in range(4) if j != i) for i in range(4)]
    scores = np.log(odds)
    np.testing.assert_allclose(frequencies(GumbelTopK(k=1), scores), one, atol=0.01)
    np.testing.assert_allclose(frequencies(GumbelTopK(k=2), scores), one + two, atol=0.01)
    half = GumbelTopK(k=1, temperature=0.5)  # the same as odds squared
    np.testing.assert_allclose(frequencies(half, scores), odds**2 / 22, atol=0.01)


def test_z_scores_take_mean_and_scale_away():
    scores = np.array([1.0, 2.0, 4.0, 9.0])
    rule = GumbelTopK(k=2, z_scores=True)
    by_hand = (scores - 4) / math.sqrt((9 + 4 + 0 + 25) / 4)
    np.testing.assert_array_equal(
        rule.select(scores[None] * 7 - 3, np.arange(4), Streams(1).for_shadows("z", (0,))).indices,
        GumbelTopK(k=2)
        .select(by_hand[None], np.arange(4), Streams(1).for_shadows("z", (0,)))
        .indices,
    )
    # equal scores, and one row without a score, which must not spoil the others
    flat = frequencies(rule, [5.0, 5.0, 5.0, float("nan")], n=4_000)
    np.testing.assert_allclose(flat, [2 / 3, 2 / 3, 2 / 3, 0], atol=0.03)


def test_a_rule_that_draws_says_that_it_needs_streams():
    for rule in (GumbelTopK(k=1), Pareto(alpha=1.0)):
        with pytest.raises(ValueError, match="a rule that draws needs streams"):
            rule.select(np.zeros((1, 3)), np.arange(3))


def test_shadows_draw_apart_and_a_shadow_draws_the_same_again():
    scores = np.zeros((S, M))
    for rule in (GumbelTopK(k=5), Pareto(alpha=1.0)):
        once = picks(rule, scores, np.arange(M))
        assert once == picks(rule, scores, np.arange(M))
        assert len({tuple(row) for row in once}) == S


def test_the_tie_order_is_a_ranking_by_id_and_seed_alone(rng):
    ids = [f"row-{i}" for i in range(500)]
    ranks = tie_order(ids, 7)
    assert sorted(ranks.tolist()) == list(range(500))
    order = rng.permutation(500)
    np.testing.assert_array_equal(tie_order([ids[i] for i in order], 7), ranks[order])
    # of the ids that are left, the order stays: nothing depends on how many there are
    fewer = tie_order(ids[:100], 7)
    np.testing.assert_array_equal(np.argsort(fewer), np.argsort(ranks[:100]))
    # random rankings of 500 have a rank correlation with sd .045
    for other in (tie_order(ids, 8), np.arange(500)):
        assert abs(np.corrcoef(ranks, other)[0, 1]) < 0.2
    assert tie_order(ids, 10**80).shape == (500,)


def test_levels_are_compared_as_a_cut_does_in_any_width():
    """float32(.7) is below .7: a level is not rounded to the width of the scores."""
    scores = np.array([[0.1, 0.3, 0.7, 0.9]], dtype=np.float32)
    for rule in (
        Threshold(minimum=0.7),
        ScoreRange(low=0.7, high=0.9),
        ScoreRange(low=0, high=0.1),
    ):
        cut = select(scores[0], rule)
        assert picks(rule, scores, np.arange(4)) == [cut.indices(scores[0]).tolist()]


FEW_SCORES = st.sampled_from([0.0, 1.0, 2.0, -1.0, math.inf, -math.inf, math.nan])


@given(
    scores=st.tuples(st.integers(1, 4), st.integers(1, 12)).flatmap(
        lambda shape: arrays(np.float32, shape, elements=FEW_SCORES)
    ),
    seed=st.integers(0, 99),
    share=st.floats(0.01, 1),
    in_cache=st.sampled_from([1, 20, 2**19]),
)
def test_the_best_rows_are_the_first_of_the_whole_ranking(scores, seed, share, in_cache):
    """Without sorting, in blocks: ties, infinite scores and rows without one included."""
    n_pool = scores.shape[1]
    ties, k = np.random.default_rng(seed).permutation(n_pool), max(1, round(share * n_pool))
    expected = picks_of(ranking(scores, ties)[:, :k], n_pool)
    with patch.object(top, "NUMBERS_IN_CACHE", in_cache):
        found = best_rows(scores, ties, k)
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_array_equal(found.offsets, expected.offsets)


def test_no_shadows_pick_nothing():
    assert best_rows(np.zeros((0, 5)), np.arange(5), 2).n_shadows == 0
