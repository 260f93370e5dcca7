import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import integrate, stats

from curation_audit.statistics import gdp

# (mu, delta, epsilon) and (epsilon, delta, mu); the latter as dp_accounting 0.6.0's
# get_sigma_gaussian has them
EPSILON = [
    (0.25, 1e-5, 0.9263415039979184),
    (0.5, 1e-5, 1.9930914044150143),
    (1, 1e-5, 4.377178095681229),
    (2, 1e-5, 9.997256146434317),
    (3, 1e-5, 16.675494402828168),
    (0.25, 1e-6, 1.0607018623278635),
    (1, 1e-6, 4.886554117462218),
    (3, 1e-6, 18.163445759078147),
]
MU = [
    (0.1, 1e-5, 0.032520784056203476),
    (0.5, 1e-5, 0.14221055866926052),
    (1, 1e-5, 0.2680511232114765),
    (4, 1e-5, 0.9249308976669367),
    (10, 1e-5, 2.0004456204304306),
    (0.1, 1e-6, 0.027544650243827174),
    (8, 1e-6, 1.5315451175661448),
]


@pytest.mark.parametrize(("mu", "delta", "epsilon"), EPSILON)
def test_epsilon_of_mu(mu: float, delta: float, epsilon: float) -> None:
    assert gdp.epsilon_of_mu(mu, delta) == pytest.approx(epsilon, abs=1e-9)


@pytest.mark.parametrize(("epsilon", "delta", "mu"), MU)
def test_mu_of_epsilon(epsilon: float, delta: float, mu: float) -> None:
    assert gdp.mu_of_epsilon(epsilon, delta) == pytest.approx(mu, abs=1e-9)


@pytest.mark.parametrize("mu", [0.1, 1.0, 3.0])
@pytest.mark.parametrize("epsilon", [0.0, 0.5, 4.0])
def test_delta_is_the_hockey_stick_of_two_gaussians(mu: float, epsilon: float) -> None:
    def excess(x: float) -> float:
        return stats.norm.pdf(x, mu) - math.exp(epsilon) * stats.norm.pdf(x)

    start = epsilon / mu + mu / 2  # where the integrand turns positive
    value, error = integrate.quad(excess, start, start + 40, points=[mu], epsabs=1e-14)
    assert gdp.delta_of_mu(mu, epsilon) == pytest.approx(value, abs=1e-12 + 2 * error)


@example(mu=1e-4, log10_delta=-280.0)
@example(mu=40.0, log10_delta=-280.0)
@example(mu=1e-4, log10_delta=-4.5)
@given(mu=st.floats(1e-4, 40), log10_delta=st.floats(-280, -0.5))
def test_round_trip(mu: float, log10_delta: float) -> None:
    delta = 10**log10_delta
    epsilon = gdp.epsilon_of_mu(mu, delta)
    if epsilon > 0:
        assert gdp.mu_of_epsilon(epsilon, delta) == pytest.approx(mu, rel=1e-6)
    else:
        assert gdp.delta_of_mu(mu, 0.0) <= delta


@given(mu=st.floats(1e-3, 30), more=st.floats(1.001, 2), epsilon=st.floats(0, 50))
def test_delta_rises_with_mu_and_falls_with_epsilon(mu: float, more: float, epsilon: float) -> None:
    here = gdp.log_delta_of_mu(mu, epsilon)
    assert gdp.log_delta_of_mu(mu * more, epsilon) >= here
    assert gdp.log_delta_of_mu(mu, epsilon + more) <= here


def test_far_tail_is_not_lost_to_underflow() -> None:
    # leading term of the expansion: phi(x) (1/x - 1/y), x and y far out
    mu, epsilon = 0.1, 20.0
    x, y = epsilon / mu - mu / 2, epsilon / mu + mu / 2
    expected = -0.5 * x**2 - 0.5 * math.log(2 * math.pi) + math.log(1 / x - 1 / y)
    assert gdp.delta_of_mu(mu, epsilon) == 0.0
    assert gdp.log_delta_of_mu(mu, epsilon) == pytest.approx(expected, abs=1e-3)


def test_no_information_is_exactly_zero() -> None:
    assert gdp.epsilon_of_mu(0.0, 1e-5) == 0.0
    assert gdp.epsilon_of_mu(1e-6, 1e-5) == 0.0
    assert gdp.delta_of_mu(0.0, 0.0) == gdp.delta_of_mu(5e-324, 0.0) == 0.0
    for tiny in (1e-299, 1e-200, 1e-17):  # 2 Phi(mu / 2) - 1 = mu / sqrt(2 pi)
        assert gdp.delta_of_mu(tiny, 0.0) == pytest.approx(
            tiny / math.sqrt(2 * math.pi), rel=1e-9, abs=0
        )
        assert gdp.delta_of_mu(tiny, 1.0) == 0.0
        assert gdp.epsilon_of_mu(tiny, 1e-12) == 0.0
    assert gdp.mu_of_rates(0.3, 0.3) == 0.0


def test_at_epsilon_zero() -> None:
    mu = gdp.mu_of_epsilon(0.0, 0.2)
    assert gdp.delta_of_mu(mu, 0.0) == pytest.approx(0.2)
    assert gdp.epsilon_of_mu(mu * 0.99, 0.2) == 0.0
    assert gdp.epsilon_of_mu(mu * 1.01, 0.2) > 0.0


def test_mu_of_rates() -> None:
    assert gdp.mu_of_rates(0.389143691645361, 0.1) == pytest.approx(1.0, abs=1e-9)
    assert gdp.mu_of_rates(0.0, 0.1) == -math.inf
    assert np.isnan(gdp.mu_of_rates(1.0, 1.0))


@pytest.mark.parametrize(
    "call",
    [
        lambda: gdp.epsilon_of_mu(1.0, 0.0),
        lambda: gdp.epsilon_of_mu(-1.0, 1e-5),
        lambda: gdp.epsilon_of_mu(math.inf, 1e-5),
        lambda: gdp.mu_of_epsilon(-0.1, 1e-5),
        lambda: gdp.mu_of_epsilon(1.0, 1.0),
        lambda: gdp.mu_of_rates(1.2, 0.5),
        lambda: gdp.delta_of_mu(1.0, math.nan),
    ],
)
def test_bad_arguments(call) -> None:
    with pytest.raises(ValueError, match="must be"):
        call()
