"""The ledger against known answers, closed forms and independent conversions."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from curation_audit.checks import SettingError
from curation_audit.dp.claims import EpsilonDeltaClaim, GaussianClaim
from curation_audit.dp.composed import (
    ComposedClaim,
)
from curation_audit.dp.events import (
    POISSON,
    EpsilonDelta,
    Gaussian,
    PoissonGaussian,
    Pure,
    RepeatAndSelect,
    Zcdp,
)
from curation_audit.dp.ledger import (
    Ledger,
    guarantee_of,
    replaced_claim,
    replaced_pair,
)
from curation_audit.results import Adjacency
from curation_audit.statistics.zcdp import epsilon_of_rho

DELTA = 1e-5
FPR = np.array([1e-4, 1e-3, 0.01, 0.05, 0.1])
SGD = PoissonGaussian(1.0, 0.01, 1000, "scorer")
COARSE = 1e-3


def ledger(*events, adjacency: Adjacency = "add_remove") -> Ledger:
    return Ledger(adjacency, "record", events)


def composed(*events, adjacency: Adjacency = "add_remove", interval: float = COARSE):
    return ComposedClaim(events=events, adjacency=adjacency, interval=interval)


def epsilon(*events, adjacency: Adjacency = "add_remove", delta: float = DELTA) -> float:
    return ledger(*events, adjacency=adjacency).guarantee().epsilon_at(delta)


def renyi(*events, adjacency: Adjacency = "add_remove") -> ComposedClaim:
    """Forced through Renyi divergences by an event that is none."""
    return composed(*events, Zcdp(1e-12, "nothing"), adjacency=adjacency)


# --- known answers


@pytest.mark.parametrize(
    ("mu", "delta", "expected"),
    [
        (0.25, 1e-5, 0.9263415039979184),
        (0.25, 1e-6, 1.0607018623278635),
        (0.5, 1e-5, 1.9930914044150143),
        (0.5, 1e-6, 2.2540846502201584),
        (1, 1e-5, 4.377178095681229),
        (1, 1e-6, 4.886554117462218),
        (2, 1e-5, 9.997256146434317),
        (2, 1e-6, 10.997151214220663),
        (3, 1e-5, 16.675494402828168),
        (3, 1e-6, 18.163445759078147),
    ],
)
@pytest.mark.parametrize("adjacency", ["add_remove", "zero_out", "replace_one"])
def test_gaussians_alone_are_exact(mu, delta, expected, adjacency: Adjacency) -> None:
    halves = (Gaussian(0.6 * mu, "scorer"), Gaussian(0.8 * mu, "selection"))
    claim = ledger(*halves, adjacency=adjacency).guarantee()
    assert isinstance(claim, GaussianClaim)
    assert claim.adjacency == adjacency
    assert claim.epsilon_at(delta) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("rho", "expected"),
    [
        (0.005, 0.37526123569902314),
        (0.05, 1.3081183429064382),
        (0.125, 2.165715545175485),
        (0.5, 4.728386984943314),
        (1, 7.0771966958063395),
        (2, 10.72482411293917),
    ],
)
@pytest.mark.parametrize("adjacency", ["add_remove", "replace_one"])
def test_zcdp_alone_is_the_closed_form(rho, expected, adjacency: Adjacency) -> None:
    assert epsilon(Zcdp(rho, "a"), adjacency=adjacency) == pytest.approx(expected, abs=1e-6)
    shared = (Zcdp(rho / 2, "a"), Gaussian(math.sqrt(rho / 2), "b"), Pure(math.sqrt(rho / 2), "c"))
    assert epsilon(*shared, adjacency=adjacency) == pytest.approx(expected, abs=1e-6)


DP_SGD = [  # q, sigma, steps, delta: add/remove, replace-one, Renyi
    (0.01, 1.0, 1000, 1e-5, 1.8282436455855091, 2.8434458118173023, 2.101366525420273),
    (0.01, 1.0, 1000, 1e-6, 2.1245225256749363, 3.2142369989405113, 2.4366938030221523),
    (0.004, 1.1, 14062, 1e-5, 2.215790183583186, 3.9198371417117817, 2.417002380570246),
    (0.05, 2.0, 500, 1e-5, 2.5320336133370094, 4.980757339602212, 2.7685845622392886),
    (0.1, 1.5, 200, 1e-5, 5.054376651454318, 9.2649855230871, 5.5498601378565855),
]


@pytest.mark.parametrize(("q", "sigma", "steps", "delta", "adding", "replacing", "rdp"), DP_SGD)
def test_dp_sgd(q, sigma, steps, delta, adding, replacing, rdp) -> None:
    event = PoissonGaussian(sigma, q, steps, "scorer")
    by_renyi = renyi(event)
    assert by_renyi.accountant == "RDP"
    assert by_renyi.epsilon_at(delta) == pytest.approx(rdp, abs=1e-5)
    assert renyi(event, adjacency="zero_out").epsilon_at(delta) == by_renyi.epsilon_at(delta)
    for adjacency, known in (("add_remove", adding), ("replace_one", replacing)):
        found = composed(event, adjacency=adjacency).epsilon_at(delta)
        assert known - 1e-6 < found < known + 0.01  # the coarse grid errs on the safe side


@pytest.mark.slow
@pytest.mark.parametrize(("q", "sigma", "steps", "delta", "adding", "replacing", "rdp"), DP_SGD)
def test_dp_sgd_on_the_grid_of_guarantees(q, sigma, steps, delta, adding, replacing, rdp) -> None:
    event = PoissonGaussian(sigma, q, steps, "scorer")
    assert epsilon(event, delta=delta) == pytest.approx(adding, abs=1e-6)
    assert epsilon(event, delta=delta, adjacency="zero_out") == pytest.approx(adding, abs=1e-6)
    assert epsilon(event, delta=delta, adjacency="replace_one") == pytest.approx(
        replacing, abs=1e-6
    )


def test_dp_sgd_beside_others() -> None:
    assert epsilon(SGD, Gaussian(0.1, "selection")) == pytest.approx(1.86990, abs=1e-5)
    assert renyi(SGD, Gaussian(0.1, "b")).epsilon_at(DELTA) == pytest.approx(2.14037, abs=1e-5)
    assert epsilon(SGD, Zcdp(0.05, "selection")) == pytest.approx(2.48430, abs=1e-5)


@pytest.mark.parametrize(
    ("mean", "shape", "expected"), [(10, 1, 4.3151), (10, POISSON, 4.9082)], ids=["geometric", "P"]
)
@pytest.mark.parametrize("adjacency", ["add_remove", "replace_one"])
def test_the_best_of_several_runs(mean, shape, expected, adjacency: Adjacency) -> None:
    run = Gaussian(0.5, "one run")
    assert renyi(run).epsilon_at(DELTA) == pytest.approx(2.1657, abs=5e-5)
    tuning = RepeatAndSelect((run,), mean, shape, "tuning")
    assert epsilon(tuning, adjacency=adjacency) == pytest.approx(expected, abs=5e-5)
    grid = ledger(*[run] * 10).guarantee()
    assert grid.mu == pytest.approx(math.sqrt(10) / 2)


def test_dp_sgd_without_sampling_is_gaussian() -> None:
    full = PoissonGaussian(10.0, 1.0, 100, "scorer")
    assert ledger(full).guarantee() == GaussianClaim(mu=1.0, adjacency="add_remove")
    assert epsilon(full, adjacency="replace_one") == pytest.approx(9.99726, abs=1e-5)
    mixed = composed(full, Pure(1e-6, "b"), adjacency="replace_one", interval=1e-4)
    assert mixed.epsilon_at(DELTA) == pytest.approx(9.99726, abs=1e-3)


def test_a_replaced_gaussian_is_not_doubled_twice() -> None:
    """Its mu says how far a replacement moves it; dp-accounting would double that again."""
    for adjacency in ("add_remove", "replace_one"):
        mixed = composed(Gaussian(1.0, "a"), Pure(1e-6, "b"), adjacency=adjacency, interval=1e-4)
        assert mixed.epsilon_at(DELTA) == pytest.approx(4.37718, abs=1e-3)


@pytest.mark.parametrize(("size", "expected"), [(1, 4.38), (2, 10.0), (5, 33.1), (10, 91.8)])
def test_groups(size: int, expected: float) -> None:
    group = ledger(Gaussian(1.0, "a")).for_group(size)
    assert group.guarantee().epsilon_at(DELTA) == pytest.approx(expected, rel=2e-3)
    assert group.unit == f"group of {size} (record)"


def test_groups_by_event() -> None:
    events = (
        Gaussian(0.1, "a"),
        Zcdp(0.1, "b"),
        Pure(0.1, "c", 4),
        EpsilonDelta(0.1, 1e-6, "d"),
        PoissonGaussian(9.0, 1.0, 10, "e"),
    )
    grown = 1e-6 * (math.exp(0.3) - 1) / (math.exp(0.1) - 1)
    found = ledger(*events).for_group(3).events
    assert found[0].mu == pytest.approx(0.3)
    assert found[1].rho == pytest.approx(0.9)
    assert (found[2].epsilon, found[2].rounds) == (pytest.approx(0.3), 4)
    assert (found[3].epsilon, found[3].delta) == (pytest.approx(0.3), pytest.approx(grown))
    assert found[4].noise_multiplier == pytest.approx(3.0)
    for bad in (SGD, RepeatAndSelect((Gaussian(1, "a"),), 10, 1, "tuning")):
        assert ledger(bad).for_group(1).events == (bad,)
        with pytest.raises(ValueError, match="make the group the unit"):
            ledger(bad).for_group(2)
    with pytest.raises(ValueError, match="whole number"):
        ledger(*events).for_group(0)


def test_replacing_is_two_steps() -> None:
    assert replaced_pair(1.0, 1e-6) == (2.0, pytest.approx((1 + math.e) * 1e-6))
    for adjacency in ("add_remove", "zero_out"):
        gaussian = replaced_claim(GaussianClaim(mu=0.7, adjacency=adjacency))
        assert gaussian == GaussianClaim(mu=1.4, adjacency="replace_one")
        pair = replaced_claim(EpsilonDeltaClaim(epsilon=1.0, delta=1e-6, adjacency=adjacency))
        assert (pair.epsilon, pair.delta) == replaced_pair(1.0, 1e-6)
        assert pair.adjacency == "replace_one"
    with pytest.raises(ValueError, match="already"):
        replaced_claim(gaussian)
    with pytest.raises(ValueError, match="need"):
        replaced_claim(EpsilonDeltaClaim(epsilon=9.0, delta=0.1, adjacency="add_remove"))


# --- pure events and pairs


@pytest.mark.parametrize(("epsilon_one", "rounds"), [(0.5, 10), (0.01, 1000), (2.0, 3)])
def test_pure_rounds_are_randomised_response(epsilon_one: float, rounds: int) -> None:
    claim = composed(Pure(epsilon_one, "a", rounds), interval=1e-4)
    lost = np.arange(rounds + 1)
    chance = stats.binom.pmf(lost, rounds, 1 / (1 + np.exp(-epsilon_one)))
    losses = (2 * lost - rounds) * epsilon_one
    for at in (0.0, 0.3, 1.0):
        exact = float((chance * np.maximum(0, -np.expm1(at - losses))).sum())
        found = float(claim._losses.loss.get_delta_for_epsilon(at))
        assert exact * (1 - 1e-9) <= found <= exact + 1e-4
    spelt_out = composed(*[Pure(epsilon_one, "a")] * min(rounds, 10), interval=1e-4)
    together = composed(Pure(epsilon_one, "a", min(rounds, 10)), interval=1e-4)
    assert spelt_out.epsilon_at(DELTA) == pytest.approx(together.epsilon_at(DELTA), abs=2e-3)
    assert together.epsilon_at(DELTA) <= min(rounds, 10) * epsilon_one + 1e-4


def test_single_guarantees_stay_what_they_are() -> None:
    pure = ledger(Pure(1.0, "a")).guarantee()
    assert pure == EpsilonDeltaClaim(epsilon=1.0, delta=0.0, adjacency="add_remove")
    pair = ledger(EpsilonDelta(1.0, 1e-6, "a"), adjacency="zero_out").guarantee()
    assert pair == EpsilonDeltaClaim(epsilon=1.0, delta=1e-6, adjacency="zero_out")


@pytest.mark.parametrize("beside", [Gaussian(0.2, "b"), Zcdp(0.02, "b"), Pure(0.1, "b")])
def test_deltas_of_guarantees_add_up(beside) -> None:
    claim = composed(EpsilonDelta(0.5, 1e-6, "a"), EpsilonDelta(0.5, 2e-6, "a"), beside)
    assert claim.epsilon_at(2.9e-6) == np.inf
    tested = claim.tested_delta(1e-9)
    assert tested == pytest.approx(3e-6, rel=1e-3)
    assert 0.9 < claim.epsilon_at(tested) < 600
    assert claim.tested_delta(1e-4) == 1e-4
    assert claim.advantage() < 0.7
    assert claim.pair_share() < 0.95


def test_a_pair_beside_zcdp_is_added() -> None:
    claim = composed(EpsilonDelta(0.5, 1e-6, "a"), Zcdp(0.02, "b"))
    assert claim.epsilon_at(DELTA) == pytest.approx(0.5 + epsilon_of_rho(0.02, DELTA - 1e-6))


# --- composition


small_events = st.one_of(
    st.builds(Gaussian, st.floats(0.01, 1), st.just("a")),
    st.builds(
        PoissonGaussian, st.floats(0.7, 3), st.floats(0.01, 0.5), st.integers(1, 20), st.just("b")
    ),
    st.builds(Zcdp, st.floats(1e-4, 0.5), st.just("c")),
    st.builds(Pure, st.floats(0.01, 1), st.just("d"), st.integers(1, 5)),
    st.builds(EpsilonDelta, st.floats(0, 1), st.floats(0, 1e-7), st.just("e")),
)


@settings(max_examples=40, deadline=None)
@given(events=st.lists(small_events, min_size=1, max_size=3), more=small_events)
def test_spending_more_never_lowers_epsilon(events, more) -> None:
    before = guarantee_of(events, "add_remove", COARSE).epsilon_at(DELTA)
    after = guarantee_of([*events, more], "add_remove", COARSE).epsilon_at(DELTA)
    assert after >= before * (1 - 1e-9) - 1e-9


@settings(max_examples=10, deadline=None)
@given(events=st.lists(small_events, min_size=2, max_size=3))
def test_the_order_of_events_does_not_count(events) -> None:
    found = [
        guarantee_of(order, "add_remove", COARSE).epsilon_at(DELTA)
        for order in itertools.permutations(events)
    ]
    assert found == pytest.approx([found[0]] * len(found), rel=1e-6, abs=1e-9)


@settings(max_examples=8, deadline=None)
@given(
    adding=st.lists(
        st.builds(
            PoissonGaussian,
            st.floats(0.7, 3),
            st.floats(0.01, 0.5),
            st.integers(1, 20),
            st.just("b"),
        ),
        min_size=1,
        max_size=2,
    )
)
def test_replacing_costs_between_one_and_two_steps(adding) -> None:
    one_step = composed(*adding)
    replaced = composed(*adding, adjacency="replace_one").epsilon_at(DELTA)
    assert replaced >= one_step.epsilon_at(DELTA) - 1e-6
    half = one_step.epsilon_at(DELTA / 100)
    if (1 + math.exp(half)) * DELTA / 100 <= DELTA:
        assert replaced <= 2 * half + 1e-6


def test_ledgers_of_different_kinds_are_never_composed() -> None:
    mine = ledger(Gaussian(1.0, "a"))
    assert mine.merge(ledger(Gaussian(2.0, "b"))).events == (Gaussian(1.0, "a"), Gaussian(2.0, "b"))
    for other in (Ledger("zero_out", "record"), Ledger("add_remove", "patient")):
        with pytest.raises(SettingError, match="never composed") as refused:
            mine.merge(other)
        assert refused.value.where.startswith("ledger.")


@pytest.mark.parametrize(
    "events",
    [
        (SGD, Zcdp(0.05, "a")),
        (SGD, RepeatAndSelect((Gaussian(1.0, "a"),), 10, 1, "tuning")),
        (RepeatAndSelect((SGD,), 10, 1, "tuning"),),
    ],
)
def test_renyi_divergences_of_dp_sgd_are_refused_where_units_are_replaced(events) -> None:
    assert ledger(*events).guarantee().epsilon_at(DELTA) < np.inf
    with pytest.raises(SettingError, match=r"ledger\.events.*replaced units.*expected"):
        ledger(*events, adjacency="replace_one").guarantee()


def test_bad_ledgers() -> None:
    with pytest.raises(SettingError, match=r"ledger\.adjacency"):
        Ledger("add", "record")
    with pytest.raises(ValueError, match="unit"):
        Ledger("add_remove", "")
    with pytest.raises(ValueError, match="nothing was spent"):
        ledger().guarantee()
    with pytest.raises(ValueError, match="nothing was spent"):
        composed()


# --- what it prints


def test_lines() -> None:
    spent = Ledger("zero_out", "patient").spend(SGD).spend(Zcdp(0.05, "selection"))
    assert spent.lines(DELTA) == (
        "adjacency: zero_out",
        "unit: patient",
        "event: scorer: DP-SGD, noise multiplier 1, Poisson sampling rate 0.01, 1000 steps",
        "event: selection: zCDP, rho 0.05",
        "accountant: Renyi divergences (dp-accounting)",
        "epsilon at delta 1e-05: 2.485",  # rounded up
        "TPR at FPR 0.001: at most 0.006577",
        "TPR at FPR 0.01: at most 0.04442",
        "advantage: at most 0.2778",
    )


@pytest.mark.parametrize(
    ("events", "accountant"),
    [
        ((Gaussian(1.0, "a"),), "closed form"),
        ((EpsilonDelta(1.0, 1e-6, "a"),), "the guarantee itself"),
        ((Gaussian(1.0, "a"), Pure(0.1, "b")), "privacy loss distributions"),
        ((Gaussian(1.0, "a"), Zcdp(0.1, "b")), "zCDP"),
        ((SGD, Zcdp(0.1, "b")), "Renyi"),
    ],
)
def test_lines_name_the_accountant(events, accountant: str) -> None:
    assert any(
        line.startswith("accountant:") and accountant in line
        for line in ledger(*events).lines(0.01)
    )


def test_lines_of_nothing_and_of_a_delta_that_is_too_small() -> None:
    assert ledger().lines(DELTA)[-1] == "nothing was spent"
    assert "epsilon at delta 1e-06: 1" in ledger(EpsilonDelta(1.0, 1e-6, "a")).lines(1e-9)
