import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import special, stats

from curation_audit.statistics import gdp
from curation_audit.statistics.bounds import pair_mean as pm

LEVELS = hnp.arrays(
    np.float64, hnp.array_shapes(min_dims=2, max_dims=2), elements=st.integers(-3, 3)
)
# an exact 5 % bound exceeds 35 of 400 with probability .0007, 299 of 5,000 with .001
RUNS, ALLOWED = 400, 35


def plain_wealth(
    shares: np.ndarray, a: float, plan: int, alpha: float
) -> tuple[float, list[float]]:
    """The wealth at its stop (or end) and all bets, one pair at a time."""
    wealth, squares, bets = 1.0, 0.25 * a * (1 - a), []
    for j, share in enumerate(shares):
        if wealth >= 1 / alpha:
            break
        z = special.ndtri(min(alpha * wealth, math.exp(-1e-9)))
        left = plan - j % plan
        slope = math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi) / (alpha * wealth)
        bets.append(min(slope / math.sqrt(left * squares / (0.25 + j)), 0.75 / a))
        wealth *= 1 + bets[-1] * (share - a)
        squares += (share - a) ** 2
    return wealth, bets


def null_shares(kind: str, rng: np.random.Generator, n_pairs: int, runs: int) -> np.ndarray:
    """Shares (runs, n_pairs) of a curation that ignores the private set."""
    if kind == "one candidate":
        return rng.integers(0, 2, (runs, n_pairs)).astype(float)
    if kind == "independent candidates":
        return rng.binomial(20, 0.5, (runs, n_pairs)) / 20
    if kind == "one coin for all":  # evidence ranks all candidates alike, by the coins' sum
        right = rng.integers(0, 2, (runs, n_pairs))
        return np.where(right, 0.9, 0.1)
    assert kind == "strategic"  # after a loss the spread grows; the mean stays one half
    steps, spread = np.empty((runs, n_pairs)), np.full(runs, 0.05)
    for j in range(n_pairs):
        steps[:, j] = 0.5 + spread * rng.choice([-1, 1], runs)
        spread = np.where(steps[:, j] < 0.5, np.minimum(2 * spread, 0.5), 0.05)
    return steps


KINDS = ["one candidate", "independent candidates", "one coin for all", "strategic"]


@given(members=LEVELS, data=st.data())
def test_shares_against_a_loop(members: np.ndarray, data: st.DataObject) -> None:
    outsiders = data.draw(hnp.arrays(np.float64, members.shape, elements=st.integers(-3, 3)))
    expected = [
        np.mean([1.0 if a > b else 0.5 if a == b else 0.0 for a, b in zip(*row, strict=True)])
        for row in zip(members, outsiders, strict=True)
    ]
    shares = pm.pair_shares(members, outsiders)
    assert shares == pytest.approx(expected)
    assert pm.pair_shares(outsiders, members) == pytest.approx(1 - shares)
    assert np.array_equal(pm.pair_shares(members**3, outsiders**3), shares)


@pytest.mark.parametrize("a", [0.5, 0.6, 0.75, 0.95])
@pytest.mark.parametrize("plan", [40, 25, 90])
def test_rejections_equal_a_plain_loop(a: float, plan: int) -> None:
    rng = np.random.default_rng(3)
    shares = np.concatenate([rng.beta(8, 2, (20, 40)), rng.integers(0, 2, (20, 40))])
    expected = [plain_wealth(row, a, plan, 0.05)[0] >= 20 for row in shares]
    found = pm.means_rejected(shares, np.array([a, 0.55]), 0.95, plan)[:, 0]
    assert found.tolist() == expected
    if a == 0.6 and plan == 40:
        assert 3 < sum(expected) < 37  # a comparison of all with all, or none with none, is none
    bets = [bet for row in shares for bet in plain_wealth(row, a, plan, 0.05)[1]]
    assert min(bets) >= 0
    assert max(bets) <= 0.75 / a


@pytest.mark.parametrize("confidence", [0.6, 0.9, 0.999])
def test_other_confidences_equal_a_plain_loop(confidence: float) -> None:
    shares, means = np.random.default_rng(6).beta(7, 3, (40, 30)), [0.5, 0.6, 0.65, 0.7]
    goal = (1 - 1e-8) / (1 - confidence)
    expected = [
        [plain_wealth(row, a, 30, 1 - confidence)[0] >= goal for a in means] for row in shares
    ]
    found = pm.means_rejected(shares, np.array(means), confidence)
    assert found.tolist() == expected
    assert 0 < found.sum() < found.size


def test_what_is_refuted_stays_refuted_when_pairs_are_added() -> None:
    shares = np.random.default_rng(5).beta(6, 4, (50, 120))
    means = np.linspace(0.5, 0.65, 16)
    early = pm.means_rejected(shares[:, :40], means, 0.95, planned_pairs=40)
    late = pm.means_rejected(shares, means, 0.95, planned_pairs=40)
    assert late[early].all()
    assert late.sum() > early.sum()


@pytest.mark.parametrize("delta", [0.0, 1e-5, 0.03])
@pytest.mark.parametrize("epsilon", [0.1, 1.0, 5.0])
def test_share_under_a_claim_is_that_of_the_worst_mechanism(epsilon: float, delta: float) -> None:
    p = math.exp(epsilon) / (1 + math.exp(epsilon))
    inside = np.array([delta, (1 - delta) * p, (1 - delta) * (1 - p), 0.0])
    outside = inside[::-1]
    # guess the likelier of "in, out" and "out, in" from both answers
    best = sum(
        max(inside[x] * outside[y], outside[x] * inside[y]) / 2
        for x, y in itertools.product(range(4), repeat=2)
    )
    assert pm.share_of_epsilon(epsilon, delta) == pytest.approx(best, abs=1e-12)
    assert pm.epsilon_of_share(best, delta) == pytest.approx(epsilon, abs=1e-9)


def test_share_under_gdp() -> None:
    """Two shadows tell ``N(mu, 1) x N(0, 1)`` from its mirror image: sqrt(2) mu apart."""
    assert pm.mu_of_share(float(special.ndtr(0.7 / math.sqrt(2)))) == pytest.approx(0.7)
    # a claim of 4 at 1e-5 allows a share of .743 in the coin game
    mu = gdp.mu_of_epsilon(4.0, 1e-5)
    assert special.ndtr(mu / math.sqrt(2)) == pytest.approx(0.743, abs=5e-4)
    assert pm.mu_of_share(0.5) == pm.mu_of_share(0.2) == 0.0


def test_the_limit_is_the_last_before_the_first_mean_that_stands() -> None:
    rng = np.random.default_rng(8)
    for shares in (rng.beta(9, 3, 60), rng.binomial(1, 0.8, 200).astype(float)):
        low = pm.pair_mean_lower(shares, 0.95)
        grid = np.linspace(0.5, 0.9999, 4000)
        refuted = pm.means_rejected(shares, grid, 0.95)
        exact = grid[int(np.argmin(refuted)) - 1]
        assert low <= exact
        assert pm.mu_of_share(exact) - pm.mu_of_share(low) < 0.004
        assert 0.55 < low < shares.mean()


@pytest.mark.parametrize("n_pairs", [1, 2, 16, 256])
def test_nothing_shown_is_zero(n_pairs: int) -> None:
    for value in (0.0, 0.5):
        shares = np.full(n_pairs, value)
        assert pm.pair_mean_lower(shares, 0.95) == 0.5
        assert pm.pair_mean_mu(shares, 0.95) == 0.0
        assert pm.pair_mean_gdp_epsilon(shares, 1e-5, 0.95) == 0.0
        assert pm.pair_mean_epsilon(shares, 1e-5, 0.95) == 0.0


@pytest.mark.parametrize("n_pairs", [8, 64, 512])
def test_a_perfect_attack_stays_finite(n_pairs: int) -> None:
    # a bet of at most .75 / a that always wins: (1 + .75 (1/a - 1)) ** E reaches 1 / alpha at
    most = 0.75 / (0.05 ** (-1 / n_pairs) - 0.25)
    low = pm.pair_mean_lower(np.ones(n_pairs), 0.95)
    assert low <= most
    assert pm.mu_of_share(most) - pm.mu_of_share(low) < 0.03
    assert pm.pair_mean_mu_resolution(n_pairs, 0.95) == pm.mu_of_share(low)
    assert pm.pair_mean_epsilon_resolution(n_pairs, 1e-5, 0.95) == pm.epsilon_of_share(low, 1e-5)
    gaussian = pm.pair_mean_gdp_epsilon_resolution(n_pairs, 1e-5, 0.95)
    assert pm.pair_mean_epsilon_resolution(n_pairs, 1e-5, 0.95) < gaussian < math.inf


def test_the_general_form_holds_for_gaussians_and_is_the_weaker_one() -> None:
    shares = np.random.default_rng(0).binomial(200, 0.8, 128) / 200
    mu = pm.pair_mean_mu(shares, 0.95)
    assert 0 < pm.pair_mean_epsilon(shares, 1e-5, 0.95) < gdp.epsilon_of_mu(mu, 1e-5)


@pytest.mark.parametrize("n_pairs", [100, 500, 2000])
@pytest.mark.parametrize("kind", KINDS)
def test_null(kind: str, n_pairs: int) -> None:
    shares = null_shares(kind, np.random.default_rng([n_pairs, len(kind)]), n_pairs, RUNS)
    half = np.array([0.5])
    assert pm.means_rejected(shares, half, 0.95).sum() <= ALLOWED
    # the check bites: a mean that is 1.5 standard errors higher fails it
    lifted = np.minimum(shares + 1.5 * shares.std() / math.sqrt(n_pairs), 1)
    if kind != "strategic":
        assert pm.means_rejected(lifted, half, 0.95).sum() > ALLOWED


@pytest.mark.slow
@pytest.mark.parametrize("n_pairs", [100, 500, 2000])
@pytest.mark.parametrize("kind", KINDS)
def test_null_closely(kind: str, n_pairs: int) -> None:
    shares = null_shares(kind, np.random.default_rng([7, n_pairs, len(kind)]), n_pairs, 5000)
    assert pm.means_rejected(shares, np.array([0.5]), 0.95).sum() <= 299


def test_null_epsilon() -> None:
    rng = np.random.default_rng(21)
    members, outsiders = rng.standard_normal((2, RUNS, 64, 10))
    bounds = [
        pm.pair_mean_gdp_epsilon(pm.pair_shares(a, b), 1e-5, 0.95)
        for a, b in zip(members, outsiders, strict=True)
    ]
    assert sum(bound > 0 for bound in bounds) <= ALLOWED
    assert np.median(bounds) == 0.0


@pytest.mark.parametrize("mu", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("dependence", [0.0, 0.9, 1.0])
def test_truth_is_covered_whatever_the_dependence_in_a_pair(mu: float, dependence: float) -> None:
    """All candidates of a pair share noise; each one alone is told apart as under mu-GDP."""
    rng = np.random.default_rng(int(10 * mu))
    shared = math.sqrt(dependence) * rng.standard_normal((RUNS, 150, 1))
    own = math.sqrt(1 - dependence) * rng.standard_normal((RUNS, 150, 12))
    gap = mu + math.sqrt(2) * (shared + own)
    shares = (gap > 0).mean(axis=2)
    truth = float(special.ndtr(mu / math.sqrt(2)))
    assert pm.means_rejected(shares, np.array([truth]), 0.95).sum() <= ALLOWED
    lower = np.array([pm.pair_mean_lower(row, 0.95) for row in shares[:40]])
    assert (lower > truth).sum() <= 8  # 2 expected at 5 %; more than 8 has probability 1e-4
    assert pm.means_rejected(shares, np.array([truth - 0.1]), 0.95).mean() > 0.5
    if dependence == 1.0:  # counting candidates as independent trials is what breaks
        naive = stats.binom.sf((shares * 12).sum(axis=1).round() - 1, 150 * 12, truth) < 0.05
        assert naive.sum() > 2 * ALLOWED


@pytest.mark.parametrize(
    ("n_candidates", "n_pairs", "epsilon", "least"),
    [(200, 256, 1, 0.8), (200, 256, 8, 0.85), (1, 512, 2, 0.5), (1, 512, 8, 0.75)],
)
def test_power(n_candidates: int, n_pairs: int, epsilon: float, least: float) -> None:
    """The median share of the true epsilon that is reached by ideal Gaussian evidence."""
    rng, mu = np.random.default_rng(2), gdp.mu_of_epsilon(epsilon, 1e-5)
    members, outsiders = rng.standard_normal((2, 11, n_pairs, n_candidates))
    found = [
        pm.pair_mean_gdp_epsilon(pm.pair_shares(a + mu, b), 1e-5, 0.95)
        for a, b in zip(members, outsiders, strict=True)
    ]
    assert least * epsilon < np.median(found) < epsilon


@pytest.mark.parametrize(
    "call",
    [
        lambda: pm.pair_shares(np.zeros((3, 2)), np.zeros((3, 1))),
        lambda: pm.pair_shares(np.zeros((3, 0)), np.zeros((3, 0))),
        lambda: pm.pair_shares(np.full((3, 1), np.nan), np.zeros((3, 1))),
        lambda: pm.pair_mean_lower(np.array([0.5, 1.1]), 0.95),
        lambda: pm.pair_mean_lower(np.array([0.5, np.nan]), 0.95),
        lambda: pm.pair_mean_lower(np.array([]), 0.95),
        lambda: pm.pair_mean_lower(np.ones(5), 1.0),
        lambda: pm.pair_mean_lower(np.ones(5), 0.95, 0),
        lambda: pm.means_rejected(np.ones(5), np.array([0.0]), 0.95),
        lambda: pm.epsilon_of_share(1.0, 1e-5),
        lambda: pm.share_of_epsilon(-1.0, 1e-5),
    ],
)
def test_bad_arguments(call) -> None:
    with pytest.raises(ValueError, match=r"must|need"):
        call()
