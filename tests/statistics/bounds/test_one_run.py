import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from curation_audit.statistics import gdp
from curation_audit.statistics.bounds import one_run

# (m, r, v, delta, epsilon): jax_privacy's one-run bound at 95 %
STEINKE = [
    (1000, 1000, 600, 1e-5, 0.2972269537186097),
    (1000, 100, 90, 1e-5, 1.626143480695727),
    (1000, 100, 100, 1e-5, 3.4653763478110484),
    (1000, 100, 100, 0.0, 3.492965431152292),
    (5000, 5000, 2750, 1e-5, 0.15329593066057778),
    (100, 100, 100, 1e-5, 3.4902159553263976),
]
# (m, r, v, epsilon at 1e-5): its f-DP bound
F_DP = [
    (1000, 1000, 600, 0.58354),
    (1000, 100, 90, 2.456405),
    (1000, 100, 100, 5.549028),
    (5000, 5000, 2750, 0.277387),
    (100, 100, 100, 8.216186),
]
RUNS, ALLOWED = 400, 35  # an exact 5 % bound exceeds this with probability .0007


def plain_p_value(m: int, r: int, v: int, epsilon: float, delta: float) -> float:
    binomial = stats.binom(r, math.exp(epsilon) / (1 + math.exp(epsilon)))
    at_least = binomial.sf(v - 1)
    gains = [(binomial.sf(v - i - 1) - at_least) / i for i in range(1, m + 1)]
    return min(1.0, at_least + 2 * m * delta * max(gains))


def plain_f_dp(m: int, r: int, v: int, mu: float, alpha: float) -> float:
    right, wrong = alpha * v / m, alpha * (r - v) / m
    for i in reversed(range(v)):
        new = max(wrong, stats.norm.cdf(stats.norm.ppf(min(right, 1.0)) - mu))
        right += i / (r - i) * (new - wrong)
        wrong = new
    return right + wrong - r / m


def share_refuted(counts: np.ndarray, refutes) -> float:
    """Share of runs whose count is refuted; equal counts are judged once."""
    values, times = np.unique(counts, return_counts=True)
    return sum(n for v, n in zip(values, times, strict=True) if refutes(int(v))) / counts.size


@pytest.mark.parametrize(("m", "r", "v", "delta", "epsilon"), STEINKE)
def test_epsilon(m: int, r: int, v: int, delta: float, epsilon: float) -> None:
    assert one_run.one_run_epsilon(m, r, v, delta, 0.95) == pytest.approx(epsilon, abs=2e-6)


@pytest.mark.parametrize(("m", "r", "v", "epsilon"), F_DP)
def test_f_dp_epsilon(m: int, r: int, v: int, epsilon: float) -> None:
    found = one_run.f_dp_one_run_epsilon(m, r, v, 1e-5, 0.95)
    assert found == pytest.approx(epsilon, abs=1e-5)
    assert found > one_run.one_run_epsilon(m, r, v, 1e-5, 0.95)


@pytest.mark.parametrize(
    ("r", "epsilon"), [(10, 1.05), (50, 2.79), (100, 3.49), (500, 5.11), (1000, 5.81), (5000, 7.42)]
)
def test_resolution(r: int, epsilon: float) -> None:
    assert one_run.one_run_epsilon_resolution(r, r, 0.0, 0.95) == pytest.approx(epsilon, abs=0.006)
    # q^r = alpha has a closed form
    q = 0.05 ** (1 / r)
    assert one_run.one_run_epsilon_resolution(r, r, 0.0, 0.95) == pytest.approx(
        math.log(q / (1 - q)), abs=1e-8
    )
    assert one_run.one_run_epsilon_resolution(r, r, 1e-4, 0.95) < math.log(q / (1 - q))
    assert math.isfinite(one_run.f_dp_one_run_epsilon_resolution(r, r, 1e-5, 0.95))


@given(data=st.data(), epsilon=st.floats(0, 3), delta=st.sampled_from([0.0, 1e-6, 1e-3, 0.1]))
def test_p_value_equals_a_plain_loop(data: st.DataObject, epsilon: float, delta: float) -> None:
    m = data.draw(st.integers(1, 60))
    r = data.draw(st.integers(0, m))
    v = data.draw(st.integers(0, r))
    expected = plain_p_value(m, r, v, epsilon, delta)
    assert one_run.one_run_p_value(m, r, v, epsilon, delta) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(("m", "r", "v"), [(50, 20, 15), (80, 80, 80), (30, 30, 10)])
def test_f_dp_equals_a_plain_loop(m: int, r: int, v: int) -> None:
    mus = np.array([0.0, 0.2, 0.8, 2.0])
    expected = [plain_f_dp(m, r, v, mu, 0.05) for mu in mus]
    found = one_run.f_dp_one_run_refuted(m, r, v, mus, 0.95)
    above = np.array(expected) <= 1  # past 1 the mass is cut off, and refuted either way
    assert found[above] == pytest.approx(np.array(expected)[above], abs=1e-12)
    assert (found > 0).tolist() == [value > 0 for value in expected]


@pytest.mark.parametrize(("m", "r", "v"), [(200, 100, 70), (64, 64, 64), (500, 20, 19)])
def test_f_dp_mu_is_where_the_refutation_ends(m: int, r: int, v: int) -> None:
    mu = one_run.f_dp_one_run_mu(m, r, v, 0.95)
    inside, outside = one_run.f_dp_one_run_refuted(m, r, v, np.array([mu, mu + 2e-6]), 0.95)
    assert inside > 0 >= outside


@given(data=st.data())
def test_more_right_guesses_show_more(data: st.DataObject) -> None:
    r = data.draw(st.integers(1, 60))
    v = data.draw(st.integers(0, r - 1))
    for bound in (
        lambda v: one_run.one_run_epsilon(100, r, v, 1e-5, 0.9),
        lambda v: one_run.f_dp_one_run_mu(100, r, v, 0.9),
    ):
        assert bound(v) <= bound(v + 1) + 1e-6


def test_nothing_shown_is_zero() -> None:
    for m, r, v in ((10, 0, 0), (10, 10, 5), (1000, 1000, 500), (1, 1, 1), (50, 20, 0)):
        assert one_run.one_run_epsilon(m, r, v, 1e-5, 0.95) == 0.0
        assert one_run.f_dp_one_run_mu(m, r, v, 0.95) == 0.0
        assert one_run.f_dp_one_run_epsilon(m, r, v, 1e-5, 0.95) == 0.0


def test_hundred_thousand_canaries() -> None:
    m = 100_000
    # at delta 0 the bound is the one-sided exact binomial limit on the logit scale
    q = stats.beta.ppf(0.05, 60_000, 40_001)
    exact = float(special.logit(q))
    assert one_run.one_run_epsilon(m, m, 60_000, 0.0, 0.95) == pytest.approx(exact, abs=1e-6)
    assert 0.9 * exact < one_run.one_run_epsilon(m, m, 60_000, 1e-6, 0.95) < exact


def test_guesses_by_hand() -> None:
    evidence = np.array([[0.9, -0.2, 0.1, -0.8], [0.0, 0.0, 0.5, 0.0]])
    inclusion = np.array([[True, True, False, False], [True, False, False, True]])
    assert one_run.guesses(evidence, inclusion, 0.0, 2) == (8, 4, 3)  # + - | then -(wrong) +(tie)
    assert one_run.guesses(evidence, inclusion, 0.0, 4) == (8, 8, 4)
    assert one_run.guesses(evidence, inclusion, np.array([0, 0, 0.6, 0]), 1) == (8, 2, 1 + 1)
    assert one_run.guesses(evidence, inclusion, 0.0, 0) == (8, 0, 0)


@given(seed=st.integers(0, 2**32 - 1), levels=st.sampled_from([2, 5, 1000]))
def test_what_is_guessed_takes_no_look_at_the_coins(seed: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    evidence = rng.integers(-levels, levels + 1, (6, 9)).astype(float)
    inclusion = rng.integers(0, 2, (6, 9)).astype(bool)
    for n_per_row in (0, 1, 4, 9):
        found = one_run.guesses(evidence, inclusion, 0.0, n_per_row)
        mirrored = one_run.guesses(evidence, ~inclusion, 0.0, n_per_row)
        assert found.n_right + mirrored.n_right == found.n_guesses == 6 * n_per_row
        shifted = one_run.guesses(evidence + 3, inclusion, 3.0, n_per_row)
        assert shifted == found
        rows = rng.permutation(6)
        assert one_run.guesses(evidence[rows], inclusion[rows], 0.0, n_per_row) == found


def test_number_of_guesses_from_the_fit_block() -> None:
    """Three of twenty candidates leak much, the others nothing: guess about three."""
    rng = np.random.default_rng(4)
    inclusion = rng.integers(0, 2, (60, 20)).astype(bool)
    evidence = rng.standard_normal((60, 20)) * 0.2
    evidence[:, :3] += np.where(inclusion[:, :3], 2, -2)
    assert 2 <= one_run.best_n_per_row(evidence, inclusion, 0.0, 1e-5, 0.95) <= 4


@pytest.mark.parametrize("n", [100, 500, 2000])
@pytest.mark.parametrize("r_share", [0.1, 1.0])
def test_null(n: int, r_share: float) -> None:
    """Evidence without a look at the coins; rows of 50 candidates, counted as one run."""
    rng = np.random.default_rng([n, int(10 * r_share)])
    per_row, rows = int(50 * r_share), n // 50
    evidence = rng.standard_normal((RUNS, rows, 50)) + rng.standard_normal((RUNS, rows, 1))
    inclusion = rng.integers(0, 2, evidence.shape).astype(bool)
    found = [one_run.guesses(*run, 0.2, per_row) for run in zip(evidence, inclusion, strict=True)]
    right, r = np.array([run.n_right for run in found]), found[0].n_guesses
    plain = share_refuted(right, lambda v: one_run.one_run_epsilon(n, r, v, 1e-5, 0.95) > 0)
    zero = np.zeros(1)
    f_dp = share_refuted(right, lambda v: one_run.f_dp_one_run_refuted(n, r, v, zero, 0.95)[0] > 0)
    assert plain * RUNS <= ALLOWED
    assert f_dp * RUNS <= ALLOWED
    # the check bites: right guesses that are two standard errors too many fail it
    lifted = np.minimum(right + math.ceil(math.sqrt(r)), r)
    wrongly = share_refuted(lifted, lambda v: one_run.one_run_epsilon(n, r, v, 1e-5, 0.95) > 0)
    assert wrongly * RUNS > ALLOWED


@pytest.mark.slow
@pytest.mark.parametrize("n", [100, 500, 2000])
def test_null_closely(n: int) -> None:
    right = np.random.default_rng([5, n]).binomial(n, 0.5, 5000)
    zero = np.zeros(1)
    for refutes in (
        lambda v: one_run.one_run_epsilon(n, n, v, 1e-5, 0.95) > 0,
        lambda v: one_run.f_dp_one_run_mu(n, n, v, 0.95) > 0,
        lambda v: one_run.f_dp_one_run_refuted(n, n, v, zero, 0.95)[0] > 0,
    ):
        assert share_refuted(right, refutes) * 5000 <= 299


@pytest.mark.parametrize("epsilon", [0.5, 2.0])
def test_truth_is_covered_where_it_is_hardest(epsilon: float) -> None:
    """Randomised response on every coin meets the pure bound with equality."""
    q = special.expit(epsilon)
    right = np.random.default_rng(9).binomial(300, q, 4000)
    above = share_refuted(
        right, lambda v: one_run.one_run_epsilon(300, 300, v, 0.0, 0.95) > epsilon
    )
    assert 0.02 < above < 0.062


@pytest.mark.parametrize("mu", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("per_row", [40, 400])
def test_truth_is_covered_under_gdp(mu: float, per_row: int) -> None:
    """One Gaussian observation a coin; the clearest are guessed."""
    rng = np.random.default_rng([int(10 * mu), per_row])
    inclusion = rng.integers(0, 2, (RUNS, 400)).astype(bool)
    evidence = rng.standard_normal((RUNS, 400)) + mu * inclusion
    right = np.array(
        [
            one_run.guesses(evidence[i : i + 1], inclusion[i : i + 1], mu / 2, per_row).n_right
            for i in range(RUNS)
        ]
    )
    epsilon = gdp.epsilon_of_mu(mu, 1e-5)
    m, r, truth = 400, per_row, np.array([mu])

    def f_dp(v: int) -> bool:
        return bool(one_run.f_dp_one_run_refuted(m, r, v, truth, 0.95)[0] > 0)

    assert share_refuted(right, f_dp) * RUNS <= ALLOWED
    plain = share_refuted(right, lambda v: one_run.one_run_epsilon(m, r, v, 1e-5, 0.95) > epsilon)
    assert plain * RUNS <= ALLOWED
    typical = one_run.f_dp_one_run_mu(m, r, int(np.median(right)), 0.95)
    assert 0.2 * mu < typical < mu  # a bound that is always 0 would pass the lines above


@pytest.mark.parametrize(
    "call",
    [
        lambda: one_run.one_run_epsilon(10, 5, 6, 1e-5, 0.95),
        lambda: one_run.one_run_epsilon(10, 11, 6, 1e-5, 0.95),
        lambda: one_run.one_run_epsilon(10, 5, -1, 1e-5, 0.95),
        lambda: one_run.one_run_epsilon(10, 5, 5, -1e-5, 0.95),
        lambda: one_run.one_run_epsilon(10, 5, 5, 1e-5, 0.0),
        lambda: one_run.one_run_p_value(10, 5, 5, -1.0, 0.0),
        lambda: one_run.f_dp_one_run_mu(10, 5, 6, 0.95),
        lambda: one_run.f_dp_one_run_mu(10, 5, 5, 1.0),
        lambda: one_run.guesses(np.zeros((2, 3)), np.zeros((2, 2), bool), 0.0, 1),
        lambda: one_run.guesses(np.zeros((2, 3)), np.zeros((2, 3), bool), 0.0, 4),
        lambda: one_run.guesses(np.full((2, 3), np.nan), np.zeros((2, 3), bool), 0.0, 1),
    ],
)
def test_bad_arguments(call) -> None:
    with pytest.raises(ValueError, match=r"must|need"):
        call()
