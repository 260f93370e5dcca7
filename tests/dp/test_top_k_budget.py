"""What noisy top-k is said to cost, against exact enumeration and reference tables."""

import math
from itertools import product

import numpy as np
import pytest

from curation_audit.dp import top_k_budget as budget
from curation_audit.statistics.gdp import mu_of_epsilon
from curation_audit.statistics.zcdp import epsilon_of_rho, rho_of_epsilon
from tests.dp.plackett_luce import plackett_luce

ORDERS = np.linspace(1.001, 60, 200)
# scale of Gumbel noise by zCDP at delta 1e-6 for a range of 1, at (epsilon, k)
SCALE = {
    (1, 1): 2.2654385585182184,
    (1, 10): 7.1639457440862175,
    (1, 100): 22.654385585182183,
    (1, 1000): 71.63945744086217,
    (1, 10_000): 226.54385585182183,
    (1, 100_000): 716.3945744086218,
    (8, 1): 0.34464600771524806,
    (8, 10): 1.0898663708641478,
    (8, 100): 3.4464600771524805,
    (8, 1000): 10.898663708641479,
    (8, 10_000): 34.4646007715248,
    (8, 100_000): 108.98663708641477,
}


def losses(before, after, scale, k):
    """Probabilities before, and the log ratios of every ordered outcome."""
    p, q = (plackett_luce(np.array(s), scale, k) for s in (before, after))
    chances = np.array(list(p.values()))
    return chances, np.log(chances) - np.log(np.array([q[order] for order in p]))


def largest_rho(chances, log_ratios):
    """The largest Rényi divergence over its order."""
    moments = [chances @ np.exp((a - 1) * log_ratios) for a in ORDERS]
    return float((np.log(moments) / (ORDERS - 1) / ORDERS).max())


@pytest.mark.parametrize(("epsilon", "k"), SCALE)
@pytest.mark.parametrize("score_range", [1.0, 2.0])
def test_gumbel_scale(epsilon, k, score_range):
    rho = rho_of_epsilon(epsilon, 1e-6)
    scale = budget.gumbel_scale(k, score_range, rho)
    assert scale == pytest.approx(score_range * SCALE[epsilon, k], rel=1e-9)
    assert budget.gumbel_rho(k, score_range, scale) == pytest.approx(rho, rel=1e-12)


def test_opendp_has_the_same_rho():
    # noisy top-k of OpenDP 0.16 with k = 10, scale 5, sensitivity 1: zCDP, and pure
    for monotone, rho, epsilon in [(True, 0.05, 2.0), (False, 0.2, 4.0)]:
        score_range = budget.range_distance(1.0, monotone=monotone)
        assert budget.gumbel_rho(10, score_range, 5.0) == pytest.approx(rho)
        assert budget.pure_epsilon(10, score_range, 5.0) == pytest.approx(epsilon)


@pytest.mark.parametrize(
    ("n", "k", "monotone"),
    [(n, k, mono) for n in (3, 4) for k in range(1, n) for mono in (False, True)],
)
def test_no_outcome_of_any_neighbours_costs_more(n, k, monotone):
    """All neighbours on a grid, every ordered outcome: the pure bound is met, rho is not passed."""
    scale = 1.5
    score_range = budget.range_distance(1.0, monotone=monotone)
    worst_loss = worst_rho = 0.0
    for start in (np.zeros(n), np.r_[np.zeros(n - 1), 40]):
        for change in product((0, 1) if monotone else (-1, 0, 1), repeat=n):
            for one, other in ((start, start + change), (start + change, start)):
                chances, ratios = losses(one, other, scale, k)
                worst_loss = max(worst_loss, float(np.abs(ratios).max()))
                worst_rho = max(worst_rho, largest_rho(chances, ratios))
    assert worst_loss <= budget.pure_epsilon(k, score_range, scale) + 1e-12
    assert worst_loss == pytest.approx(budget.pure_epsilon(k, score_range, scale), rel=1e-6)
    # so k rounds never cost what one does, nor signed changes what monotone ones do
    assert worst_rho <= budget.gumbel_rho(k, score_range, scale)
    assert worst_rho > 0.7 * budget.gumbel_rho(k, score_range, scale)


def test_the_pure_bound_is_approached():
    """k items move up by one, the rest down: the log ratio tends to k R / b."""

    def log_ratio(n, k):
        up, down = math.e, 1 / math.e
        sums = [(k - i) * up + (n - k) * down for i in range(k)]
        return sum(1 - math.log(s) + math.log(n - i) for i, s in enumerate(sums))

    bound = budget.pure_epsilon(10, budget.range_distance(1.0, monotone=False), 1.0)
    assert bound == 20
    assert log_ratio(1000, 10) == pytest.approx(19.65518004732745, rel=1e-9)
    assert log_ratio(1_000_000, 10) == pytest.approx(19.999649, abs=1e-6)
    assert log_ratio(1_000_000, 10) <= bound


def test_permute_and_flip_does_not_have_the_discount_of_bounded_range():
    """Two rows at a tie, then apart by R: the winner by definition, exactly."""
    for ratio in (0.05, 0.5, 2.0):
        tied, apart = np.array([0.5, 0.5]), np.array([1 - math.exp(-ratio) / 2, 0.5])
        apart[1] = 1 - apart[0]
        ratios = np.log(tied / apart)
        found = largest_rho(tied, ratios)
        assert np.abs(ratios).max() == pytest.approx(budget.round_epsilon(ratio, 1.0))
        assert found <= budget.permute_and_flip_rho(1, ratio, 1.0)
        assert found > budget.gumbel_rho(1, ratio, 1.0)


@pytest.mark.parametrize(("k", "accounting"), [(1, "pure"), (5, "pure"), (6, "zcdp"), (99, "zcdp")])
def test_the_better_accounting_sets_the_noise(k, accounting):
    noise = budget.gumbel_noise(k, 2.0, 1.0, 1e-6)
    assert noise.accounting == accounting
    assert budget.gumbel_epsilon(k, 2.0, noise.scale, 1e-6) == pytest.approx(1.0, rel=1e-9)
    assert budget.gumbel_epsilon(k, 2.0, noise.scale, 1e-6) <= 1.0 + 1e-15
    assert budget.gumbel_epsilon(k, 2.0, 0.99 * noise.scale, 1e-6) > 1.005
    assert noise.std == pytest.approx(1.2825 * noise.scale, rel=1e-4)
    if accounting == "zcdp":
        assert epsilon_of_rho(noise.rho, 1e-6) <= 1.0


@pytest.mark.parametrize(
    ("epsilon", "monotone", "changed"),
    [
        (1, True, 473),
        (2, True, 469),
        (4, True, 464),
        (8, True, 458),
        (1, False, 1892),
        (2, False, 1875),
        (4, False, 1856),
        (8, False, 1833),
    ],
)
def test_gaussian_noise_is_smaller_up_to_so_many_changed_scores(epsilon, monotone, changed):
    """By one each, so Delta_2 is the root of their number; the table is rounded."""

    def compared(n_changed):
        return budget.gaussian_alternative(
            k=1000,
            delta_inf=1.0,
            monotone=monotone,
            l2_sensitivity=math.sqrt(n_changed),
            epsilon=epsilon,
            delta=1e-6,
        )

    assert compared(changed).break_even_l2 ** 2 == pytest.approx(changed, abs=0.5)
    assert compared(changed - 1).smaller == "gaussian"
    assert compared(changed + 1).smaller == "gumbel"


def alternative(l2_sensitivity, k=1000, monotone=True):
    return budget.gaussian_alternative(
        k=k,
        delta_inf=2.0,
        monotone=monotone,
        l2_sensitivity=l2_sensitivity,
        epsilon=1.0,
        delta=1e-6,
    )


def test_the_alternative_in_numbers_and_words():
    known = alternative(10.0)
    assert known.sigma == pytest.approx(10 / mu_of_epsilon(1.0, 1e-6))
    assert known.gumbel.std == pytest.approx(2 * 1.2825 * 71.64, rel=1e-4)
    assert known.break_even_l2 == pytest.approx(2 * 21.75, abs=0.01)
    assert known.rule_l2 == pytest.approx(0.65 * math.sqrt(1000) * 2)
    assert alternative(10.0, monotone=False).rule_l2 == pytest.approx(2 * known.rule_l2)
    assert known.text == (
        "at epsilon 1, delta 1e-06, k = 1000, Gumbel noise has standard deviation 183.8, Gaussian "
        "noise on the scores 42.25 (Delta_2 = 10): gaussian noise is smaller; they are equal at "
        "Delta_2 = 43.5 (rule of thumb: 41.11)."
    )


def test_without_an_l2_bound_it_says_what_would_be_needed():
    unknown = alternative(None)
    assert unknown.sigma is unknown.smaller is None
    assert "needs a bounded L2 sensitivity Delta_2" in unknown.text
    assert unknown.text.endswith("smaller below Delta_2 = 43.5 (rule of thumb: 41.11).")
    one_pick = alternative(None, k=1)
    assert one_pick.smaller == "gumbel"  # as no vector changes less in L2 than in one entry
    assert one_pick.text.endswith("larger whatever the L2 sensitivity of the scores.")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: budget.range_distance(0.0, monotone=True), "delta_inf must be positive"),
        (lambda: budget.round_epsilon(1.0, 0.0), "scale must be positive"),
        (lambda: budget.pure_epsilon(0, 1.0, 1.0), "k must be positive"),
        (lambda: budget.pure_scale(1, 1.0, 0.0), "epsilon must be positive"),
        (lambda: budget.gumbel_rho(1, math.inf, 1.0), "score_range must be finite"),
        (lambda: budget.gumbel_scale(1, 1.0, 0.0), "rho must be positive"),
        (lambda: budget.gumbel_noise(1, 1.0, 1.0, 0.0), r"delta must be in \(0, 1\)"),
        (lambda: budget.gumbel_noise(1, 1.0, 0.0, 1e-6), "epsilon must be positive"),
        (lambda: alternative(1.0), r"l2_sensitivity: found 1.0, .* at least delta_inf = 2.0"),
        (lambda: alternative(math.nan), "l2_sensitivity: found nan"),
    ],
)
def test_arguments_out_of_range(call, message):
    with pytest.raises(ValueError, match=message):
        call()
