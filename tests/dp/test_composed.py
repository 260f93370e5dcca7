"""Claims about several events: ceilings that hang together, and limits that are limits."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation_audit.dp.claims import DpSgdClaim, EpsilonDeltaClaim, GaussianClaim
from curation_audit.dp.composed import (
    ComposedClaim,
    delta_of_rdp,
    epsilon_of_rdp,
    total_variation_of_rdp,
)
from curation_audit.dp.events import (
    EpsilonDelta,
    Event,
    Gaussian,
    PoissonGaussian,
    Pure,
    RepeatAndSelect,
    Zcdp,
)
from curation_audit.dp.ledger import guarantee_of
from curation_audit.results import Adjacency

DELTA = 1e-5
FPR = np.array([1e-4, 1e-3, 0.01, 0.05, 0.1])
SGD = PoissonGaussian(1.0, 0.01, 1000, "scorer")


def composed(*events: Event, adjacency: Adjacency = "add_remove") -> ComposedClaim:
    return ComposedClaim(events=events, adjacency=adjacency, interval=1e-3)


CLAIMS = [
    composed(SGD),
    composed(PoissonGaussian(2.0, 0.05, 50, "a"), Gaussian(0.3, "b"), adjacency="replace_one"),
    composed(Gaussian(0.3, "a"), Pure(0.2, "b", 3), EpsilonDelta(0.1, 1e-6, "c")),
    composed(Zcdp(0.05, "a"), Gaussian(0.3, "b")),
    composed(Zcdp(0.05, "a"), EpsilonDelta(0.1, 1e-6, "c")),
    composed(SGD, Zcdp(0.05, "a")),
    composed(RepeatAndSelect((Gaussian(0.2, "a"),), 5, 1, "tuning")),
]


@pytest.mark.parametrize("claim", CLAIMS)
def test_ceilings_hang_together(claim: ComposedClaim) -> None:
    fine = np.linspace(0, 1, 2001)
    curve = claim.tpr(fine)
    assert (np.diff(curve) >= -1e-12).all()
    assert (curve >= fine - 1e-12).all()
    assert (curve <= fine + claim.advantage() + 1e-12).all()
    assert claim.advantage() == pytest.approx((curve - fine).max(), abs=0.02)
    assert claim.auc() == pytest.approx(np.trapezoid(curve, fine), abs=1e-3)
    assert (1 + claim.advantage()) / 2 - 1e-9 <= claim.pair_share() <= 0.5 + claim.advantage()
    epsilon_delta = EpsilonDeltaClaim(
        epsilon=claim.epsilon_at(DELTA), delta=DELTA, adjacency=claim.adjacency
    )
    assert (claim.tpr(FPR) <= epsilon_delta.tpr(FPR) * (1 + 1e-3)).all()  # the whole profile


@pytest.mark.parametrize("claim", CLAIMS)
def test_claims_are_values_that_travel_light(claim: ComposedClaim) -> None:
    claim.advantage()
    sent = pickle.dumps(claim)
    assert len(sent) < 2000
    assert pickle.loads(sent) == claim
    assert hash(pickle.loads(sent)) == hash(claim)
    assert pickle.loads(sent).epsilon_at(DELTA) == claim.epsilon_at(DELTA)


def test_the_claim_about_dp_sgd_alone_is_that_of_the_claims() -> None:
    event = PoissonGaussian(2.0, 0.3, 2, "a")
    known = DpSgdClaim(noise_multiplier=2.0, sampling_rate=0.3, steps=2, adjacency="add_remove")
    claim = guarantee_of([event], "add_remove")
    assert claim.epsilon_at(DELTA) == pytest.approx(known.epsilon_at(DELTA), abs=1e-9)
    assert claim.pair_share() == pytest.approx(known.pair_share(), abs=1e-9)
    assert claim.auc() == pytest.approx(known.auc(), abs=1e-9)
    assert claim.tpr(FPR) == pytest.approx(known.tpr(FPR), abs=1e-9)


@pytest.mark.parametrize("mu", [0.1, 0.5, 1.0, 2.0])
def test_renyi_claims_cover_the_gaussian(mu: float) -> None:
    """A Gaussian is mu^2/2-zCDP; what is said of all such mechanisms must allow for it."""
    claim, known = composed(Zcdp(mu**2 / 2, "a")), GaussianClaim(mu=mu, adjacency="add_remove")
    assert (claim.tpr(FPR) >= known.tpr(FPR)).all()
    assert (claim.tpr(FPR) <= 1.8 * known.tpr(FPR)).all()
    assert known.advantage() < claim.advantage() < 1.4 * known.advantage()
    assert known.pair_share() < claim.pair_share()
    assert known.auc() < claim.auc()
    for delta in (1e-3, 1e-6):
        assert known.epsilon_at(delta) < claim.epsilon_at(delta)


@given(
    p=st.lists(st.floats(0.01, 1), min_size=2, max_size=5),
    q=st.lists(st.floats(0.01, 1), min_size=2, max_size=5),
    at=st.floats(0, 2),
)
def test_conversions_of_renyi_divergences_are_limits(p, q, at: float) -> None:
    """Exact divergences of two small distributions against their exact delta."""
    size = min(len(p), len(q))
    one, other = (np.array(weights[:size]) / sum(weights[:size]) for weights in (p, q))
    orders = np.array([1.01, 1.1, 1.5, 2, 3, 5, 10, 50])
    powers = (orders - 1)[:, None]
    rdp = np.log((one * (one / other) ** powers).sum(axis=1)) / (orders - 1)
    delta = np.maximum(one - np.exp(at) * other, 0).sum()
    assert delta <= delta_of_rdp(orders, np.maximum(rdp, 0), np.array([at]))[0] + 1e-9
    assert np.abs(one - other).sum() / 2 <= total_variation_of_rdp(np.maximum(rdp, 0)) + 1e-9
    if 1e-6 < delta < 1:
        assert at <= epsilon_of_rdp(orders, np.maximum(rdp, 0), delta) + 1e-6
