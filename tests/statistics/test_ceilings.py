import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate

from curation_audit.statistics import ceilings, gdp

FPRS = np.array([1e-4, 1e-3, 0.01, 0.05, 0.1])
GDP = {  # mu: TPR at FPRS, advantage
    0.5: ([0.000643155, 0.004795559, 0.033898939, 0.126134898, 0.217239080], 0.197412651),
    1.0: ([0.003273817, 0.018298468, 0.092362248, 0.259511023, 0.389143692], 0.382924923),
    2.0: ([0.042805685, 0.137805413, 0.372080586, 0.638760031, 0.763759584], 0.682689492),
}
PAIRS = {  # (epsilon, delta): TPR at FPRS, advantage
    (0.5, 1e-5): ([0.000174872, 0.001658721, 0.016497213, 0.082446064, 0.164882127], 0.244926213),
    (1.0, 1e-5): ([0.000281828, 0.002728282, 0.027192818, 0.135924091, 0.271838183], 0.462122536),
    (4.0, 1e-5): ([0.005469815, 0.054608150, 0.545991500, 0.982600326, 0.983516108], 0.964027940),
    (8.0, 1e-5): ([0.298105799, 0.999664876, 0.999667895, 0.999681314, 0.999698087], 0.999329306),
    (1.828, 1e-5): ([0.000632, 0.006233, 0.062239, 0.311157, 0.622305], 0.723107),
}
DP_SGD = ([0.000478, 0.004014, 0.029100, 0.110974, 0.194179], 0.161018)


def gdp_profile(mu: float) -> tuple[np.ndarray, np.ndarray]:
    epsilons = np.linspace(0, mu**2 / 2 + 6 * mu, 600)
    return epsilons, np.array([gdp.delta_of_mu(mu, epsilon) for epsilon in epsilons])


@pytest.mark.parametrize("mu", GDP)
def test_gdp_table(mu: float) -> None:
    tpr, advantage = GDP[mu]
    assert ceilings.gdp_tpr(FPRS, mu) == pytest.approx(tpr, abs=1e-8)
    assert ceilings.gdp_advantage(mu) == pytest.approx(advantage, abs=1e-8)


@pytest.mark.parametrize("pair", PAIRS)
def test_epsilon_delta_table(pair: tuple[float, float]) -> None:
    tpr, advantage = PAIRS[pair]
    near = 1e-8 if pair[0] != 1.828 else 2e-4  # tabulated from an epsilon with more digits
    assert ceilings.epsilon_delta_tpr(FPRS, *pair) == pytest.approx(tpr, abs=near)
    assert ceilings.epsilon_delta_advantage(*pair) == pytest.approx(advantage, abs=near)


@pytest.mark.parametrize("mu", GDP)
def test_profile_of_a_gaussian_gives_its_own_curve(mu: float) -> None:
    profile = gdp_profile(mu)
    tpr = ceilings.profile_tpr(FPRS, *profile)
    exact = ceilings.gdp_tpr(FPRS, mu)
    assert tpr == pytest.approx(exact, abs=1e-4)
    assert (tpr >= exact - 1e-12).all()
    assert ceilings.profile_advantage(*profile) == pytest.approx(
        ceilings.gdp_advantage(mu), abs=1e-9
    )
    auc = ceilings.profile_auc(*profile)
    assert ceilings.gdp_auc(mu) <= auc < ceilings.gdp_auc(mu) + 3e-5


@pytest.mark.parametrize("pair", [(0.0, 0.0), (1.0, 1e-5), (3.0, 0.05), (8.0, 0.0)])
def test_areas_and_advantage_are_those_of_the_curve(pair: tuple[float, float]) -> None:
    fpr = np.unique(np.concatenate([np.geomspace(1e-9, 1, 100_001), np.linspace(0, 1, 100_001)]))
    tpr = ceilings.epsilon_delta_tpr(fpr, *pair)
    assert ceilings.epsilon_delta_auc(*pair) == pytest.approx(
        integrate.trapezoid(tpr, fpr), abs=1e-6
    )
    assert ceilings.epsilon_delta_advantage(*pair) == pytest.approx((tpr - fpr).max(), abs=1e-4)
    profile_auc = ceilings.profile_auc(np.array([pair[0]]), np.array([pair[1]]))
    assert profile_auc == pytest.approx(ceilings.epsilon_delta_auc(*pair), abs=1e-4)


def test_claim_of_four_allows_these_areas() -> None:
    mu = gdp.mu_of_epsilon(4.0, 1e-5)
    assert ceilings.gdp_auc(mu) == pytest.approx(0.743, abs=5e-4)
    assert ceilings.gdp_auc(2 * mu) == pytest.approx(0.905, abs=5e-4)


@given(mu=st.floats(0, 8), log10_delta=st.floats(-12, -2))
def test_one_pair_of_a_gaussian_allows_no_less(mu: float, log10_delta: float) -> None:
    delta = 10**log10_delta
    epsilon = gdp.epsilon_of_mu(mu, delta)
    fpr = np.linspace(0, 1, 101)
    loose = ceilings.epsilon_delta_tpr(fpr, epsilon, delta)
    assert (loose >= ceilings.gdp_tpr(fpr, mu) - 1e-9).all()
    assert (loose >= fpr).all()
    assert (np.diff(loose) >= 0).all()
    assert ceilings.epsilon_delta_advantage(epsilon, delta) >= ceilings.gdp_advantage(mu) - 1e-9
    assert ceilings.epsilon_delta_auc(epsilon, delta) >= ceilings.gdp_auc(mu) - 1e-9


def test_no_leak_allows_nothing() -> None:
    fpr = np.linspace(0, 1, 11)
    assert ceilings.gdp_tpr(fpr, 0.0) == pytest.approx(fpr)
    assert ceilings.epsilon_delta_tpr(fpr, 0.0, 0.0) == pytest.approx(fpr)
    assert ceilings.gdp_advantage(0.0) == ceilings.epsilon_delta_advantage(0.0, 0.0) == 0.0
    assert ceilings.gdp_auc(0.0) == ceilings.epsilon_delta_auc(0.0, 0.0) == 0.5


def test_dp_sgd_against_its_privacy_loss_distribution() -> None:
    """q .01, sigma 1, 1000 steps."""
    pld_module = pytest.importorskip("dp_accounting.pld.privacy_loss_distribution")
    step = pld_module.from_gaussian_mechanism(
        1.0, sampling_prob=0.01, value_discretization_interval=1e-4
    )
    pld = step.self_compose(1000)
    epsilons = np.linspace(0, 6, 601)
    deltas = np.asarray(pld.get_delta_for_epsilon(epsilons))
    tpr, advantage = DP_SGD
    assert ceilings.profile_tpr(FPRS, epsilons, deltas) == pytest.approx(tpr, abs=1e-4)
    assert ceilings.profile_advantage(epsilons, deltas) == pytest.approx(advantage, abs=1e-4)


@pytest.mark.parametrize(
    "call",
    [
        lambda: ceilings.gdp_tpr(np.array([1.1]), 1.0),
        lambda: ceilings.gdp_tpr(np.array([np.nan]), 1.0),
        lambda: ceilings.gdp_auc(-1.0),
        lambda: ceilings.gdp_advantage(np.inf),
        lambda: ceilings.profile_tpr(FPRS, np.array([1.0, 2.0]), np.array([0.1])),
        lambda: ceilings.profile_auc(np.array([]), np.array([])),
        lambda: ceilings.epsilon_delta_auc(-1.0, 0.0),
        lambda: ceilings.epsilon_delta_advantage(1.0, 1.5),
        lambda: ceilings.epsilon_delta_tpr(FPRS, 800.0, 0.0),
    ],
)
def test_bad_arguments(call) -> None:
    with pytest.raises(ValueError, match="must be"):
        call()
