import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from curation_audit.statistics import gdp, zcdp

# (rho, delta, epsilon) and (epsilon, delta, rho), by the bisection of Canonne, Kamath & Steinke
EPSILON = [
    (0.005, 1e-5, 0.37526123569902314),
    (0.05, 1e-5, 1.3081183429064382),
    (0.125, 1e-5, 2.165715545175485),
    (0.5, 1e-5, 4.728386984943314),
    (1.0, 1e-5, 7.0771966958063395),
    (2.0, 1e-5, 10.72482411293917),
]
RHO = [
    (0.5, 1e-6, 0.006641524356660527),
    (1.0, 1e-6, 0.02435597035953845),
    (2.0, 1e-6, 0.08815268838022722),
    (4.0, 1e-6, 0.31106495494073233),
    (8.0, 1e-6, 1.0523580045569891),
]


@pytest.mark.parametrize(("rho", "delta", "epsilon"), EPSILON)
def test_epsilon_of_rho(rho: float, delta: float, epsilon: float) -> None:
    assert zcdp.epsilon_of_rho(rho, delta) == pytest.approx(epsilon, abs=1e-9)


@pytest.mark.parametrize(("epsilon", "delta", "rho"), RHO)
def test_rho_of_epsilon(epsilon: float, delta: float, rho: float) -> None:
    found = zcdp.rho_of_epsilon(epsilon, delta)
    assert found == pytest.approx(rho, rel=1e-9)
    assert found < rho  # on the safe side of the bisection, which is exact to rounding


@pytest.mark.parametrize("rho", [1e-6, 0.01, 0.5, 20.0])
@pytest.mark.parametrize("epsilon", [0.0, 0.3, 5.0])
def test_no_order_gives_a_smaller_delta(rho: float, epsilon: float) -> None:
    t = np.logspace(-28, 8, 400_001)  # alpha - 1
    by_order = t * ((t + 1) * rho - epsilon) - np.log(t) + (t + 1) * (np.log(t) - np.log1p(t))
    found = zcdp.log_delta_of_rho(rho, epsilon)
    assert found <= by_order.min() + 1e-9
    assert found == pytest.approx(by_order.min(), rel=1e-6)


@example(epsilon=0.0, log10_delta=-140.0)
@example(epsilon=1e-45, log10_delta=-95.0)
@example(epsilon=1e-4, log10_delta=-280.0)
@example(epsilon=0.0, log10_delta=-1e-3)
@example(epsilon=500.0, log10_delta=-1e-3)
@given(epsilon=st.floats(0, 100), log10_delta=st.floats(-140, -0.01))
def test_rho_never_overspends(epsilon: float, log10_delta: float) -> None:
    delta = 10**log10_delta
    rho = zcdp.rho_of_epsilon(epsilon, delta)
    assert zcdp.epsilon_of_rho(rho, delta) <= epsilon
    # nor leaves more than rounding
    assert zcdp.log_delta_of_rho(rho * (1 + 1e-6), epsilon) > math.log(delta)


@given(rho=st.floats(1e-6, 50), more=st.floats(1.001, 2), epsilon=st.floats(0, 50))
def test_delta_rises_with_rho_and_falls_with_epsilon(rho, more, epsilon) -> None:
    here = zcdp.log_delta_of_rho(rho, epsilon)
    assert zcdp.log_delta_of_rho(rho * more, epsilon) >= here
    assert zcdp.log_delta_of_rho(rho, epsilon + more) <= here
    assert here <= 0


@given(mu=st.floats(0.01, 6), log10_delta=st.floats(-12, -1))
def test_a_gaussian_costs_no_more_than_its_rho_says(mu: float, log10_delta: float) -> None:
    """N(0, 1) against N(mu, 1) is ``mu^2 / 2``-zCDP, and its own epsilon is known exactly."""
    delta = 10**log10_delta
    rho = mu**2 / 2
    bound = zcdp.epsilon_of_rho(rho, delta)
    assert gdp.epsilon_of_mu(mu, delta) <= bound + 1e-9
    assert bound <= rho + 2 * math.sqrt(-rho * math.log(delta))  # Bun & Steinke 2016


@pytest.mark.parametrize(
    "call",
    [
        lambda: zcdp.epsilon_of_rho(0.0, 1e-5),
        lambda: zcdp.epsilon_of_rho(math.inf, 1e-5),
        lambda: zcdp.epsilon_of_rho(1.0, 0.0),
        lambda: zcdp.epsilon_of_rho(1.0, 1.0),
        lambda: zcdp.rho_of_epsilon(-0.1, 1e-5),
        lambda: zcdp.rho_of_epsilon(math.nan, 1e-5),
        lambda: zcdp.rho_of_epsilon(1.0, 1.0),
        lambda: zcdp.rho_of_epsilon(0.0, 1e-160),
        lambda: zcdp.log_delta_of_rho(1.0, -1.0),
    ],
)
def test_arguments_out_of_range(call) -> None:
    with pytest.raises(ValueError, match=r"must be|no rho above"):
        call()
