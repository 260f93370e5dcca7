import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from curation_audit.statistics import gdp
from curation_audit.statistics.bounds import clopper_pearson as cp

# (tp, n_in, fp, n_out, delta, epsilon, mu) at 95 %
KNOWN = [
    (500, 1000, 0, 1000, 0.0, 4.846162186259231, 2.6009938973595736),
    (500, 1000, 0, 1000, 1e-5, 4.846140843554365, 2.6009938973595736),
    (1000, 1000, 0, 1000, 0.0, 5.600587531298923, 5.359822537549039),
    (100, 1000, 10, 1000, 1e-5, 1.5002567237018163, 0.6988546414351227),
    (700, 1000, 300, 1000, 1e-5, 0.7106058951036008, 0.8828002343881899),
    (50, 500, 0, 500, 1e-5, 2.32438093222643, 1.0010841406512343),
]
RUNS, ALLOWED = 400, 35  # an exact 5 % bound exceeds this with probability .0007
rows = st.integers(1, 60)


def positives(rng: np.random.Generator, mu: float, runs: int, n: int, correlation: float):
    """TP and FP (runs,) of a threshold at mu / 2, with in and out rows correlated in a pair."""
    first, own = rng.standard_normal((2, runs, n))
    second = correlation * first + math.sqrt(1 - correlation**2) * own
    return (first + mu > mu / 2).sum(axis=1), (second > mu / 2).sum(axis=1)


def number_above(counts, bound, truth: float) -> int:
    """How many runs have a bound above the truth; equal counts are judged once."""
    pairs, times = np.unique(np.stack(counts, axis=1), axis=0, return_counts=True)
    return sum(
        int(n) for (tp, fp), n in zip(pairs, times, strict=True) if bound(int(tp), int(fp)) > truth
    )


@pytest.mark.parametrize(("tp", "n_in", "fp", "n_out", "delta", "epsilon", "mu"), KNOWN)
def test_known_answers(
    tp: int, n_in: int, fp: int, n_out: int, delta: float, epsilon: float, mu: float
) -> None:
    found = cp.clopper_pearson_epsilon(tp, n_in, fp, n_out, delta, 0.95)
    assert found == pytest.approx(epsilon, abs=1e-8)
    assert cp.clopper_pearson_mu(tp, n_in, fp, n_out, 0.95) == pytest.approx(mu, abs=1e-8)
    if delta > 0:
        gaussian = cp.clopper_pearson_gdp_epsilon(tp, n_in, fp, n_out, delta, 0.95)
        assert gaussian == pytest.approx(gdp.epsilon_of_mu(mu, delta), abs=1e-6)


@pytest.mark.parametrize(
    ("n", "epsilon"),
    [
        (50, 2.57),
        (100, 3.281),
        (256, 4.23),
        (500, 4.906),
        (512, 4.93),
        (1000, 5.601),
        (5000, 7.212),
    ],
)
def test_resolution(n: int, epsilon: float) -> None:
    found = cp.clopper_pearson_epsilon_resolution(n, n, 0.0, 0.95)
    assert found == pytest.approx(epsilon, abs=0.006)
    assert math.isfinite(cp.clopper_pearson_gdp_epsilon_resolution(n, n, 1e-5, 0.95))


@given(n_in=rows, n_out=rows, data=st.data())
def test_limits_are_those_of_scipys_exact_interval(
    n_in: int, n_out: int, data: st.DataObject
) -> None:
    tp, fp = data.draw(st.integers(0, n_in)), data.draw(st.integers(0, n_out))
    low, high = cp.rate_limits(tp, n_in, fp, n_out, 0.9)
    # two-sided at 90 % leaves 5 % on each side, as alpha / 2 here
    assert low == pytest.approx(stats.binomtest(tp, n_in).proportion_ci(0.9).low, abs=1e-9)
    assert high == pytest.approx(stats.binomtest(fp, n_out).proportion_ci(0.9).high, abs=1e-9)


@given(n_in=rows, n_out=rows, data=st.data())
def test_naming_out_instead_of_in_gives_the_same(
    n_in: int, n_out: int, data: st.DataObject
) -> None:
    """The two directions change roles if both members and decisions are turned round."""
    tp, fp = data.draw(st.integers(0, n_in)), data.draw(st.integers(0, n_out))
    one = cp.clopper_pearson_epsilon(tp, n_in, fp, n_out, 1e-3, 0.9)
    assert one == pytest.approx(
        cp.clopper_pearson_epsilon(n_out - fp, n_out, n_in - tp, n_in, 1e-3, 0.9), abs=1e-9
    )
    assert 0 <= one < math.inf


def test_the_second_direction_is_used() -> None:
    # nobody in is missed and half of the rest is named: only TNR / FNR shows that
    low, high = cp.rate_limits(1000, 1000, 500, 1000, 0.95)
    assert cp.clopper_pearson_epsilon(1000, 1000, 500, 1000, 0.0, 0.95) == pytest.approx(
        math.log((1 - high) / (1 - low))
    )


def test_nothing_shown_is_zero() -> None:
    for counts in ((50, 100, 50, 100), (0, 100, 0, 100), (100, 100, 100, 100), (0, 1, 1, 1)):
        assert cp.clopper_pearson_epsilon(*counts, 1e-5, 0.95) == 0.0
        assert cp.clopper_pearson_mu(*counts, 0.95) == 0.0
        assert cp.clopper_pearson_gdp_epsilon(*counts, 1e-5, 0.95) == 0.0
    # an attack in the wrong direction shows nothing either
    assert cp.clopper_pearson_epsilon(0, 100, 100, 100, 1e-5, 0.95) == 0.0


def test_median_of_splits() -> None:
    splits = [cp.Counts(tp, 64, 2, 64) for tp in (30, 60, 45, 50, 20)]
    at_half = [cp.clopper_pearson_epsilon(*c, 1e-5, 0.975) for c in splits]
    assert cp.multi_split_epsilon(splits, 1e-5, 0.95) == pytest.approx(np.median(at_half))
    assert cp.multi_split_epsilon(splits[:1], 1e-5, 0.95) == at_half[0]
    assert cp.multi_split_epsilon(splits[:4], 1e-5, 0.95) == sorted(at_half[:4])[2]


@pytest.mark.parametrize("n", [100, 500, 2000])
@pytest.mark.parametrize("correlation", [-1.0, 0.0, 1.0])
def test_null(n: int, correlation: float) -> None:
    counts = positives(np.random.default_rng([n, 2]), 0.0, RUNS, n, correlation)
    for bound in (
        lambda tp, fp: cp.clopper_pearson_epsilon(tp, n, fp, n, 1e-5, 0.95),
        lambda tp, fp: cp.clopper_pearson_mu(tp, n, fp, n, 0.95),
    ):
        assert number_above(counts, bound, 0.0) <= ALLOWED
        # the check bites: five standard errors more TP fail it
        lifted = (np.minimum(counts[0] + int(2.5 * math.sqrt(n)), n), counts[1])
        assert number_above(lifted, bound, 0.0) > ALLOWED


@pytest.mark.slow
@pytest.mark.parametrize("n", [100, 500, 2000])
@pytest.mark.parametrize("correlation", [-1.0, 0.0])
def test_null_closely(n: int, correlation: float) -> None:
    counts = positives(np.random.default_rng([n, 3]), 0.0, 5000, n, correlation)
    assert (
        number_above(counts, lambda t, f: cp.clopper_pearson_epsilon(t, n, f, n, 1e-5, 0.95), 0.0)
        <= 299
    )


@pytest.mark.parametrize("mu", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("correlation", [-1.0, 0.0, 1.0])
def test_truth_is_covered(mu: float, correlation: float) -> None:
    n = 300
    counts = positives(np.random.default_rng([int(10 * mu), 5]), mu, RUNS, n, correlation)

    def low(tp: int, fp: int) -> float:
        return cp.clopper_pearson_mu(tp, n, fp, n, 0.95)

    def epsilon(tp: int, fp: int) -> float:
        return cp.clopper_pearson_epsilon(tp, n, fp, n, 1e-5, 0.95)

    assert number_above(counts, low, mu) <= ALLOWED
    assert number_above(counts, epsilon, gdp.epsilon_of_mu(mu, 1e-5)) <= ALLOWED
    assert number_above(counts, low, mu / 4) > RUNS / 3  # it is not just always 0


@pytest.mark.parametrize(
    "call",
    [
        lambda: cp.rate_limits(5, 4, 0, 4, 0.95),
        lambda: cp.rate_limits(-1, 4, 0, 4, 0.95),
        lambda: cp.rate_limits(1, 4, 5, 4, 0.95),
        lambda: cp.rate_limits(0, 0, 0, 4, 0.95),
        lambda: cp.rate_limits(1, 4, 0, 4, 1.0),
        lambda: cp.clopper_pearson_epsilon(1, 4, 0, 4, -0.1, 0.95),
        lambda: cp.multi_split_epsilon([], 1e-5, 0.95),
    ],
)
def test_bad_arguments(call) -> None:
    with pytest.raises(ValueError, match=r"must|need"):
        call()
