"""What tuning costs: known answers, calibration from the safe side, and honest numbers of runs."""

import math

import numpy as np
import pytest
from scipy import stats

from curation_audit.checks import SettingError
from curation_audit.dp.calibration import AdvantageTarget, EpsilonTarget, MuTarget, TprTarget
from curation_audit.dp.claims import GaussianClaim
from curation_audit.dp.event_codec import decoded, encoded
from curation_audit.dp.events import POISSON, Gaussian, PoissonGaussian, RepeatAndSelect
from curation_audit.dp.ledger import guarantee_of
from curation_audit.dp.noise import SecureNoise
from curation_audit.dp.tuning import Grid, RandomStopping, Run, SampledRun, logarithmic_gamma

DELTA = 1e-5
ADJACENCIES = ("add_remove", "zero_out", "replace_one")
METHODS = [
    Grid(),
    RandomStopping(mean=10),
    RandomStopping(mean=10, number="poisson"),
    RandomStopping(mean=10, number="logarithmic"),
]


def split(mu: float, share: float = 0.1) -> Run:
    """A run of this mu in all, of which a share is spent on its quality."""
    return Run(
        scorer=Gaussian(mu * math.sqrt(1 - share), "scorer"),
        quality=Gaussian(mu * math.sqrt(share), "quality"),
    )


@pytest.mark.parametrize("share", [0.1, 0.5])
@pytest.mark.parametrize(
    ("runs", "epsilon"),
    [
        (RandomStopping(mean=10), 4.3151),
        (RandomStopping(mean=10, number="poisson"), 4.9082),
    ],
)
def test_known_answers_of_random_stopping(runs, epsilon, share):
    """dp.md, section 8.3: a run is Gaussian(2), however it is split between scorer and quality."""
    (event,) = runs.events([split(0.5, share)] * 4)
    assert isinstance(event, RepeatAndSelect)
    for adjacency in ADJACENCIES:
        claim = guarantee_of([event], adjacency)
        assert claim.epsilon_at(DELTA) == pytest.approx(epsilon, abs=5e-5)


def test_a_grid_is_composed():
    """dp.md, section 8.3: ten Gaussian(2) are sqrt(10) / 2."""
    events = Grid().events([split(0.5)] * 10)
    assert len(events) == 20
    assert [one.what for one in events[:2]] == ["scorer, run 1 of 10", "quality, run 1 of 10"]
    assert events[-1].what == "quality, run 10 of 10"
    claim = guarantee_of(events, "zero_out")
    assert claim == GaussianClaim(mu=claim.mu, adjacency="zero_out")
    assert claim.mu == pytest.approx(math.sqrt(10) / 2)


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("runs", METHODS, ids=repr)
def test_the_whole_tuning_keeps_the_budget_and_uses_it(runs, epsilon):
    mu = runs.mu(EpsilonTarget(epsilon, DELTA), 10, "zero_out")
    found = guarantee_of(runs.events([split(mu)] * 10), "zero_out").epsilon_at(DELTA)
    assert 0.999 * epsilon < found <= epsilon * (1 + 1e-9)
    more = guarantee_of(runs.events([split(1.01 * mu)] * 10), "zero_out").epsilon_at(DELTA)
    assert more > epsilon


@pytest.mark.parametrize("runs", METHODS, ids=repr)
def test_targets_of_other_kinds(runs):
    for target in (AdvantageTarget(0.3), TprTarget(0.1, 0.01)):
        mu = runs.mu(target, 10, "replace_one")
        claim = guarantee_of(runs.events([split(mu)] * 10), "replace_one")
        assert -5e-3 < target.excess(claim) <= 1e-9
    if isinstance(runs, Grid):
        assert runs.mu(MuTarget(1.0), 4, "zero_out") == pytest.approx(0.5)
    else:
        with pytest.raises(ValueError, match="state epsilon at a delta"):
            runs.mu(MuTarget(1.0), 4, "zero_out")


def test_the_dearest_choice_is_what_a_run_spends():
    runs = [
        Run(scorer=PoissonGaussian(noise, 1.0, 4, "scorer"), quality=Gaussian(0.1, "quality"))
        for noise in (9.0, 3.0, 5.0)
    ]
    (event,) = RandomStopping(mean=3, number="logarithmic").events(runs)
    assert event.events[0].noise_multiplier == 3.0
    assert (event.mean, event.shape) == (3, 0.0)
    assert decoded(encoded(event)) == event
    assert RandomStopping(mean=3, number="poisson").shape == POISSON


SAMPLED = SampledRun(sampling_rate=0.1, steps=20, share=0.1, what="scorer")


@pytest.mark.parametrize("runs", METHODS[:3], ids=repr)
@pytest.mark.parametrize("epsilon", [1.0, 4.0])
def test_runs_of_dp_sgd_keep_the_budget_together(runs, epsilon):
    target = EpsilonTarget(epsilon, DELTA)
    run = runs.sampled(target, SAMPLED, 3, "zero_out")
    found = guarantee_of(runs.events([run] * 3), "zero_out").epsilon_at(DELTA)
    assert 0.99 * epsilon < found <= epsilon * (1 + 1e-9)
    less = SAMPLED.with_noise(0.98 * run.scorer.noise_multiplier, run.quality.mu)
    assert guarantee_of(runs.events([less] * 3), "zero_out").epsilon_at(DELTA) > epsilon


def test_equal_runs_of_dp_sgd_are_booked_as_more_steps():
    run = SAMPLED.with_noise(2.0, 0.1)
    scorer, *qualities = Grid().events([run] * 3)
    assert scorer == PoissonGaussian(2.0, 0.1, 60, "scorer, all 3 runs")
    assert qualities == [Gaussian(0.1, "quality of a run")] * 3
    apart = Grid().events([run, SAMPLED.with_noise(3.0, 0.1)])
    assert [one.steps for one in apart[0::2]] == [20, 20]


def test_runs_of_dp_sgd_that_spend_otherwise_are_not_compared():
    with pytest.raises(ValueError, match="must spend alike"):
        RandomStopping(mean=3).events([SAMPLED.with_noise(2.0, 0.1), SAMPLED.with_noise(3.0, 0.1)])


def test_dp_sgd_with_replaced_units_and_random_stopping_is_refused():
    """No accountant knows its Renyi divergences; a grid is composed by privacy losses."""
    target = EpsilonTarget(1.0, DELTA)
    with pytest.raises(SettingError, match="replaced units"):
        RandomStopping(mean=3).sampled(target, SAMPLED, 3, "replace_one")
    run = Grid().sampled(target, SAMPLED, 3, "replace_one")
    found = guarantee_of(Grid().events([run] * 3), "replace_one").epsilon_at(DELTA)
    assert 0.99 < found <= 1 + 1e-9


@pytest.mark.parametrize("mean", [1.5, 5.0, 40.0])
@pytest.mark.parametrize("number", ["geometric", "poisson", "logarithmic"])
def test_numbers_of_runs_are_distributed_as_the_theorem_says(number, mean):
    """200,000 draws: no count of 20 is 5 standard errors off (chance 1e-5); the mean neither."""
    n = 200_000
    drawn = RandomStopping(mean=mean, number=number).runs_of(
        np.random.default_rng(1).random((n, 2))
    )
    law = {
        "geometric": stats.geom(1 / mean),
        "poisson": stats.poisson(mean),
        "logarithmic": stats.logser(1 - logarithmic_gamma(mean)),
    }[number]
    assert law.mean() == pytest.approx(mean, rel=1e-9)
    ks = np.arange(20)
    expected = law.pmf(ks)
    found = (drawn[:, None] == ks).mean(axis=0)
    assert (np.abs(found - expected) <= 5 * np.sqrt(expected * (1 - expected) / n) + 1e-12).all()
    assert abs(drawn.mean() - mean) < 5 * law.std() / math.sqrt(n)


def test_numbers_at_the_ends_of_the_uniform_ones():
    """No draw is cut off: the tail ends where 53 bits do."""
    ends = np.array([[0.0, 0.0], [1 - 2.0**-53, 1 - 2.0**-53], [0.0, 1 - 2.0**-53]])
    assert RandomStopping(mean=10).runs_of(ends).tolist() == [349, 1, 349]
    assert RandomStopping(mean=10, number="logarithmic").runs_of(ends)[1] == 1
    assert RandomStopping(mean=10, number="poisson").runs_of(ends)[0] == 0


def test_choices_are_uniform_and_each_is_its_own_draw():
    """3,000 draws among 3: counts within 5 standard errors."""
    runs, source = RandomStopping(mean=30), np.random.default_rng(2)
    drawn = np.concatenate([runs.drawn(3, source) for _ in range(100)])
    counts = np.bincount(drawn, minlength=3)
    assert len(counts) == 3
    assert np.abs(counts - len(drawn) / 3).max() < 5 * math.sqrt(len(drawn) * 2 / 9)
    np.testing.assert_array_equal(Grid().drawn(4, source), np.arange(4))
    assert set(runs.drawn(3, SecureNoise()).tolist()) <= {0, 1, 2}


@pytest.mark.parametrize("mean", [1, 0, -1, math.nan, 1001])
def test_bad_means(mean):
    with pytest.raises(ValueError, match="mean must be above 1"):
        RandomStopping(mean=mean)


def test_bad_words():
    with pytest.raises(SettingError, match=r"tuning\.number.*geometric"):
        RandomStopping(mean=5, number="binomial")
