"""Events: what they say in words, what they refuse, and their mu and rho."""

import math

import pytest

from curation_audit.dp.events import (
    POISSON,
    EpsilonDelta,
    Gaussian,
    PoissonGaussian,
    Pure,
    RepeatAndSelect,
    Zcdp,
    is_sampled,
    rho_of,
    total_mu,
    unsampled_mu,
)

ONE_OF_EACH = (
    Gaussian(0.5, "scorer"),
    PoissonGaussian(1.0, 0.01, 1000, "scorer"),
    Zcdp(0.05, "selection"),
    Pure(0.1, "selection", 10),
    EpsilonDelta(1.0, 1e-6, "downstream"),
    RepeatAndSelect((Gaussian(0.5, "one run"),), 10, POISSON, "tuning"),
)


@pytest.mark.parametrize("event", ONE_OF_EACH, ids=lambda event: type(event).__name__)
def test_a_line_names_the_stage_and_every_constant(event) -> None:
    assert event.line().startswith(f"{event.what}: ")
    constants = [value for value in vars(event).values() if isinstance(value, int | float)]
    for value in (one for one in constants if one < math.inf):
        assert f"{value:.6g}" in event.line()


def test_the_line_of_tuning_holds_that_of_one_run() -> None:
    tuning = ONE_OF_EACH[-1]
    assert "Poisson number of runs" in tuning.line()
    assert "one run: Gaussian, mu 0.5" in tuning.line()
    geometric = RepeatAndSelect((Gaussian(0.5, "one run"),), 10, 1, "tuning")
    assert "geometric" in geometric.line()
    assert "shape 2.5" in RepeatAndSelect((Gaussian(1, "a"),), 10, 2.5, "tuning").line()


def test_events_are_values() -> None:
    assert len({*ONE_OF_EACH, Gaussian(0.5, "scorer")}) == len(ONE_OF_EACH)


@pytest.mark.parametrize(
    ("event", "adjacency", "mu"),
    [
        (Gaussian(0.3, "a"), "add_remove", 0.3),
        (Gaussian(0.3, "a"), "replace_one", 0.3),  # its sensitivity is inside
        (PoissonGaussian(10, 1.0, 100, "a"), "add_remove", 1.0),
        (PoissonGaussian(10, 1.0, 100, "a"), "zero_out", 1.0),
        (PoissonGaussian(10, 1.0, 100, "a"), "replace_one", 2.0),
        (PoissonGaussian(10, 0.5, 100, "a"), "add_remove", math.inf),
    ],
)
def test_mu(event, adjacency, mu: float) -> None:
    assert unsampled_mu(event, adjacency) == pytest.approx(mu)
    assert is_sampled(event) == (mu == math.inf)


def test_independent_gaussians_add_their_squares() -> None:
    events = [Gaussian(3.0, "a"), Gaussian(4.0, "b"), PoissonGaussian(10, 0.5, 100, "sampled")]
    assert total_mu(events, "add_remove") == pytest.approx(5.0)
    assert total_mu(events[2:], "add_remove") == 0.0


@pytest.mark.parametrize(
    ("event", "rho"),
    [
        (Gaussian(0.5, "a"), 0.125),
        (Zcdp(0.2, "a"), 0.2),
        (Pure(0.5, "a", 4), 0.5),
        (PoissonGaussian(10, 1.0, 100, "a"), 0.5),
    ],
)
def test_rho(event, rho: float) -> None:
    assert rho_of(event, "add_remove") == pytest.approx(rho)


def test_no_rho_for_somebody_elses_guarantee() -> None:
    with pytest.raises(TypeError, match="EpsilonDelta"):
        rho_of(EpsilonDelta(1.0, 1e-6, "a"), "add_remove")


@pytest.mark.parametrize(
    "call",
    [
        lambda: Gaussian(0.0, "a"),
        lambda: Gaussian(math.inf, "a"),
        lambda: Gaussian(math.nan, "a"),
        lambda: PoissonGaussian(0.0, 0.1, 10, "a"),
        lambda: PoissonGaussian(0.05, 0.1, 10, "a"),
        lambda: PoissonGaussian(1.0, 0.0, 10, "a"),
        lambda: PoissonGaussian(1.0, 1.1, 10, "a"),
        lambda: PoissonGaussian(1.0, math.nan, 10, "a"),
        lambda: PoissonGaussian(1.0, 0.1, 0, "a"),
        lambda: PoissonGaussian(1.0, 0.1, 1.5, "a"),
        lambda: Zcdp(0.0, "a"),
        lambda: Zcdp(math.inf, "a"),
        lambda: Pure(0.0, "a"),
        lambda: Pure(math.inf, "a"),
        lambda: Pure(601.0, "a"),
        lambda: Pure(1.0, "a", 0),
        lambda: Pure(1.0, "a", 1.5),
        lambda: EpsilonDelta(-1.0, 1e-6, "a"),
        lambda: EpsilonDelta(math.nan, 1e-6, "a"),
        lambda: EpsilonDelta(601.0, 1e-6, "a"),
        lambda: EpsilonDelta(1.0, 1.0, "a"),
        lambda: EpsilonDelta(1.0, math.nan, "a"),
        lambda: RepeatAndSelect((), 10, 1, "a"),
        lambda: RepeatAndSelect((EpsilonDelta(1.0, 1e-6, "a"),), 10, 1, "a"),
        lambda: RepeatAndSelect((ONE_OF_EACH[-1],), 10, 1, "a"),
        lambda: RepeatAndSelect((Gaussian(1.0, "a"),), 0.5, 1, "a"),
        lambda: RepeatAndSelect((Gaussian(1.0, "a"),), math.inf, 1, "a"),
        lambda: RepeatAndSelect((Gaussian(1.0, "a"),), 10, -1, "a"),
        lambda: RepeatAndSelect((Gaussian(1.0, "a"),), 10, math.nan, "a"),
    ],
)
def test_bad_events(call) -> None:
    with pytest.raises(ValueError, match=r"must|need"):
        call()
