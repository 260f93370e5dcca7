"""Claims against closed forms, an accountant's table, and the worst mechanisms they allow."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from curation_audit.checks import SettingError
from curation_audit.dp.claims import (
    CLAIMS,
    DpSgdClaim,
    EpsilonDeltaClaim,
    GaussianClaim,
    check_comparable,
)
from curation_audit.results import Adjacency
from curation_audit.statistics.gdp import mu_of_epsilon

FPR = np.array([1e-4, 1e-3, 0.01, 0.05, 0.1])


def gaussian(mu: float, adjacency: Adjacency = "add_remove") -> GaussianClaim:
    return GaussianClaim(mu=mu, adjacency=adjacency)


def pair(epsilon: float, delta: float = 1e-5) -> EpsilonDeltaClaim:
    return EpsilonDeltaClaim(epsilon=epsilon, delta=delta, adjacency="add_remove")


def dp_sgd(q: float, sigma: float, steps: int, adjacency: Adjacency = "add_remove") -> DpSgdClaim:
    return DpSgdClaim(noise_multiplier=sigma, sampling_rate=q, steps=steps, adjacency=adjacency)


STANDARD = dp_sgd(0.01, 1, 1000)


@pytest.mark.parametrize(
    ("claim", "tpr", "advantage"),
    [
        # dp-accounting's privacy loss distribution and closed forms
        (STANDARD, [0.000478, 0.004014, 0.029100, 0.110974, 0.194179], 0.161018),
        (gaussian(0.5), [0.000643, 0.004796, 0.033899, 0.126135, 0.217239], 0.197413),
        (gaussian(1.0), [0.003274, 0.018298, 0.092362, 0.259511, 0.389144], 0.382925),
        (gaussian(2.0), [0.042806, 0.137805, 0.372081, 0.638760, 0.763760], 0.682689),
        (pair(1.0), [0.000282, 0.002728, 0.027193, 0.135924, 0.271838], 0.462123),
        (pair(4.0), [0.005470, 0.054608, 0.545992, 0.982600, 0.983516], 0.964028),
        (pair(1.82824), [0.000632, 0.006233, 0.062239, 0.311157, 0.622305], 0.723107),
    ],
)
def test_ceilings(claim, tpr: list[float], advantage: float) -> None:
    # the accountant's is the larger of its two directions; riskcal's, which stands here, lies below
    assert claim.tpr(FPR) == pytest.approx(tpr, abs=1e-4 if claim.kind == "dp_sgd" else 3e-6)
    assert (claim.tpr(FPR) > np.array(tpr) - 3e-6).all()
    assert claim.advantage() == pytest.approx(advantage, abs=1e-4)
    fine = np.linspace(0, 1, 20_001)
    curve = claim.tpr(fine)
    assert claim.auc() == pytest.approx(np.trapezoid(curve, fine), abs=1e-4)
    assert claim.advantage() == pytest.approx((curve - fine).max(), abs=1e-4)
    assert (np.diff(curve) >= -1e-12).all()
    assert (curve >= fine - 1e-12).all()


def test_dp_sgd_epsilon() -> None:
    assert STANDARD.epsilon_at(1e-5) == pytest.approx(1.82824, abs=2e-4)
    assert STANDARD.epsilon_at(1e-6) == pytest.approx(2.12452, abs=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("q", "sigma", "steps", "delta", "add_remove", "replace_one"),
    [
        (0.01, 1, 1000, 1e-5, 1.82824, 2.84345),
        (0.05, 2, 500, 1e-5, 2.53203, 4.98076),
        (0.1, 1.5, 200, 1e-5, 5.05438, 9.26499),
        (1.0, 10, 100, 1e-5, 4.37718, 9.99726),  # mu = 1, and 2 for replacing
    ],
)
def test_dp_sgd_epsilons_by_adjacency(q, sigma, steps, delta, add_remove, replace_one) -> None:
    assert dp_sgd(q, sigma, steps).epsilon_at(delta) == pytest.approx(add_remove, abs=2e-4)
    zero_out = dp_sgd(q, sigma, steps, "zero_out").epsilon_at(delta)
    assert zero_out == pytest.approx(add_remove, abs=2e-4)
    replaced = dp_sgd(q, sigma, steps, "replace_one").epsilon_at(delta)
    assert replaced == pytest.approx(replace_one, abs=2e-4)


@pytest.mark.parametrize(
    ("mu", "epsilon"),
    [(0.25, 0.926342), (0.5, 1.993091), (1, 4.377178), (2, 9.997256), (3, 16.675494)],
)
def test_gaussian_closed_forms(mu: float, epsilon: float) -> None:
    claim = gaussian(mu)
    assert claim.epsilon_at(1e-5) == pytest.approx(epsilon, abs=1e-6)
    assert claim.epsilon_at(0.0) == np.inf
    assert claim.auc() == claim.pair_share() == pytest.approx(stats.norm.cdf(mu / np.sqrt(2)))
    assert claim.advantage() == pytest.approx(2 * stats.norm.cdf(mu / 2) - 1)


def test_a_gaussian_claim_of_epsilon_four_allows_an_auc_of_743() -> None:
    assert gaussian(mu_of_epsilon(4.0, 1e-5)).auc() == pytest.approx(0.743, abs=5e-4)
    twice = gaussian(2 * mu_of_epsilon(4.0, 1e-5))  # replace-one, in a fixed-size game
    assert twice.auc() == pytest.approx(0.905, abs=5e-4)


def test_an_epsilon_delta_claim_says_nothing_at_a_smaller_delta() -> None:
    claim = pair(2.0, 1e-5)
    assert claim.epsilon_at(1e-5) == claim.epsilon_at(1e-3) == 2.0
    assert claim.epsilon_at(1e-6) == np.inf


def test_dp_sgd_without_sampling_is_gaussian() -> None:
    claim, known = dp_sgd(1.0, 10, 100), gaussian(1.0)
    assert claim.pair_share() == pytest.approx(known.pair_share(), abs=1e-4)
    assert claim.auc() == pytest.approx(known.auc(), abs=1e-3)
    assert claim.tpr(FPR) == pytest.approx(known.tpr(FPR), rel=5e-3)


@pytest.mark.parametrize("claim", [gaussian(0.3), pair(0.7), dp_sgd(0.1, 1, 10)])
def test_a_pair_tells_no_less_than_one_row_and_no_more_than_twice(claim) -> None:
    one_row = (1 + claim.advantage()) / 2
    assert one_row - 1e-9 <= claim.pair_share() <= 0.5 + claim.advantage()


@given(
    weights=st.integers(2, 6).flatmap(
        lambda k: st.tuples(
            *[hnp.arrays(np.float64, k, elements=st.floats(0.001, 1)) for _ in range(2)]
        )
    )
)
def test_telling_rows_apart_is_no_easier_than_telling_two_of_a_kind(weights) -> None:
    """What lets a profile composed with itself stand for a pair of shadows."""
    p, q = (one / one.sum() for one in weights)
    pair_of_rows = np.abs(np.outer(p, q) - np.outer(q, p)).sum()
    assert pair_of_rows <= np.abs(np.outer(p, p) - np.outer(q, q)).sum() + 1e-12


def test_one_step_of_dp_sgd_allows_what_a_pair_can_show() -> None:
    """An asymmetric claim: the best test between ``P x Q`` and ``Q x P``, by simulation."""
    q, sigma = 0.3, 0.5
    rng = np.random.default_rng(0)
    n = 400_000

    def log_ratio(x):
        return np.logaddexp(np.log1p(-q), np.log(q) + (2 * x - 1) / (2 * sigma**2))

    held = rng.random(n) < q
    inside, outside = sigma * rng.standard_normal((2, n)) + np.stack([held, np.zeros(n)])
    gap = log_ratio(inside) - log_ratio(outside)
    share = (gap > 0).mean() + (gap == 0).mean() / 2
    allowed = dp_sgd(q, sigma, 1).pair_share()
    assert share < allowed
    assert allowed < share + 0.08


@pytest.mark.parametrize("adjacency", ["zero_out", "replace_one"])
def test_a_claim_of_another_adjacency_is_refused(adjacency: Adjacency) -> None:
    check_comparable(gaussian(1.0), "add_remove")
    with pytest.raises(SettingError, match=r"report.claim.adjacency") as refused:
        check_comparable(gaussian(1.0, adjacency), "add_remove")
    assert adjacency in str(refused.value)


@pytest.mark.parametrize(
    "call",
    [
        lambda: gaussian(0.0),
        lambda: gaussian(np.inf),
        lambda: pair(-1.0),
        lambda: pair(np.inf),
        lambda: pair(np.nan),
        lambda: pair(1.0, 1.0),
        lambda: dp_sgd(0.0, 1, 1),
        lambda: dp_sgd(1.1, 1, 1),
        lambda: dp_sgd(0.1, 0, 1),
        lambda: dp_sgd(0.1, 0.09, 1),
        lambda: dp_sgd(0.1, 1, 0),
        lambda: dp_sgd(0.1, 1, 1.5),
    ],
)
def test_bad_claims(call) -> None:
    with pytest.raises(ValueError, match=r"must|need"):
        call()


@pytest.mark.parametrize("claim", [gaussian(40.0), pair(500.0)])
def test_claims_that_promise_nothing_stay_numbers(claim) -> None:
    for value in (claim.auc(), claim.advantage(), claim.pair_share()):
        assert value == pytest.approx(1.0, abs=1e-6)
    assert np.isfinite(claim.tpr(FPR)).all()


def test_kinds_name_their_class() -> None:
    assert {kind: one.kind for kind, one in CLAIMS.items()} == {kind: kind for kind in CLAIMS}
