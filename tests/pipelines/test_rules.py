"""Selection rules against the plain reference, with many ties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from curation_audit.auditing.curation import tie_order
from curation_audit.checks import InputError
from curation_audit.pipelines.base import SelectionRule
from curation_audit.pipelines.rules import RULES
from curation_audit.pipelines.rules.threshold import Threshold
from curation_audit.pipelines.rules.top import TopFraction, TopK
from tests.pipelines import reference

M = 17
# rules, and what each picks of one shadow's scores
CASES = {
    "threshold": [(Threshold(minimum=b), b) for b in (0.0, -1.0, 99.0)],
    "top_fraction": [(TopFraction(fraction=f), f) for f in (0.01, 0.3, 0.5, 0.99)],
    "top_k": [(TopK(k=k), k) for k in (1, 5, M)],
}
PICKED = {
    "threshold": lambda scores, ties, minimum: reference.threshold(scores, minimum),
    "top_fraction": reference.top_fraction,
    "top_k": reference.top_k,
}
ALL = [(rule, setting) for cases in CASES.values() for rule, setting in cases]

# few different values, so that most rows are tied; -0.0 and 0.0 are equal scores
tied_scores = st.sampled_from([np.float32, np.float64]).flatmap(
    lambda dtype: arrays(dtype, (3, M), elements=st.sampled_from([-1.0, -0.0, 0.0, 0.5, 2.0]))
)
orders = st.permutations(range(M)).map(lambda order: np.array(order, dtype=np.int64))


def test_every_rule_has_a_row_here():
    assert sorted(CASES) == sorted(PICKED) == sorted(RULES)


@pytest.fixture(params=ALL, ids=lambda case: f"{case[0].name} {case[1]}")
def case(request):
    return request.param


def picks(rule: SelectionRule, scores: np.ndarray, ties: np.ndarray) -> list[list[int]]:
    selection = rule.select(scores, ties)
    assert selection.n_pool == scores.shape[1]
    bounds = zip(selection.offsets[:-1], selection.offsets[1:], strict=True)
    return [selection.indices[a:b].tolist() for a, b in bounds]


@given(scores=tied_scores, ties=orders)
def test_picks_equal_the_reference(scores, ties):
    for array in (scores, ties):
        array.setflags(write=False)
    for rule, setting in ALL:
        wanted = [PICKED[rule.name](row.tolist(), ties.tolist(), setting) for row in scores]
        assert picks(rule, scores, ties) == wanted


@given(scores=tied_scores, ties=orders, order=orders)
def test_the_order_of_the_pool_does_not_matter_when_the_tie_order_goes_along(scores, ties, order):
    for rule, _ in ALL:
        moved = picks(rule, scores[:, order], ties[order])
        back = [sorted(order[row].tolist()) for row in moved]
        assert back == picks(rule, scores, ties)


def test_one_shadow_alone_equals_its_row_among_many(case, rng):
    scores, ties = rng.integers(0, 4, (5, M)) / 2, rng.permutation(M)
    together = picks(case[0], scores, ties)
    assert [picks(case[0], scores[s : s + 1], ties)[0] for s in range(5)] == together


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
        (lambda: TopFraction(fraction=1.0), r"fraction must be in \(0, 1\), got 1.0"),
        (lambda: Threshold(minimum=float("inf")), "minimum must be a finite number, got inf"),
        (lambda: Threshold(minimum=float("nan")), "minimum must be a finite number, got nan"),
    ],
)
def test_settings_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()


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
