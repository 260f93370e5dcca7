"""Tuned scorers: what is kept of which runs, what is refused, and what an audit finds."""

import dataclasses
import math
from unittest import mock

import numpy as np
import pytest
from scipy.stats import norm

from curation_audit.checks import InputError, SettingError
from curation_audit.dp.claims import GaussianClaim
from curation_audit.dp.events import Gaussian, PoissonGaussian, RepeatAndSelect
from curation_audit.dp.tuning import Grid, RandomStopping
from curation_audit.pipelines.protection import MECHANISMS
from curation_audit.pipelines.protection.base import Budget
from curation_audit.pipelines.protection.dp_sgd import DpGd
from curation_audit.pipelines.protection.gaussian_mean import GaussianMean
from curation_audit.pipelines.protection.noisy_top_k import NoisySelection
from curation_audit.pipelines.protection.releasing import check_releasable
from curation_audit.pipelines.protection.tuning import TUNABLE, UNTUNABLE, PaidTuning, candidates
from curation_audit.pipelines.scorers import tuned as tuned_module
from curation_audit.pipelines.scorers.tuned import NOTHING, Schedule, TunedScorers, only
from curation_audit.statistics.gdp import mu_of_epsilon
from tests.pipelines.protected import (
    CASES,
    DELTA,
    GD,
    LOGIT,
    PATIENTS,
    Case,
    N,
    S,
    coins,
    pool_rows,
    private_rows,
    protected,
    streams,
)

ADJACENCIES = ("add_remove", "zero_out", "replace_one")
TUNED = [name for name in CASES if name.startswith("tuned")]
OVER = {"clip": (0.5, 1.0), "center": (True, False)}
POOL = pool_rows()


def tuned_case(runs, over=OVER, mechanism="gaussian_mean", **changes) -> Case:
    return dataclasses.replace(CASES[mechanism], tuning=PaidTuning(over=over, runs=runs), **changes)


def one_run_after_another(scorer, private, inclusion, shadows):
    """The plain reference: every run of every shadow alone, and the best of a shadow kept."""
    scores = np.zeros((len(shadows), len(POOL)))
    for s, shadow in enumerate(shadows):
        own = streams([shadow])
        source = own.generators("tuning/runs")[0]
        best = -math.inf
        for run, choice in enumerate(scorer.runs.drawn(len(scorer.candidates), source).tolist()):
            of_run = own.of_runs([0], [run])
            held = inclusion[s : s + 1]
            fitted = scorer.candidates[choice].fit(private, held, POOL, streams=of_run)
            exact = scorer.quality.exact(fitted, private, private.unit_inclusion(held), POOL)
            found = scorer.quality.noisy(exact, of_run.generators("tuning/quality"))[0]
            if found > best:
                best, scores[s] = found, fitted.score(POOL.features)[0]
    return scores


@pytest.mark.parametrize("name", TUNED)
@pytest.mark.parametrize("unit", [tuple(range(N)), PATIENTS], ids=["rows", "patients"])
def test_the_best_run_of_every_shadow_is_kept(name, unit):
    private, inclusion = private_rows(unit), coins()
    of = protected(CASES[name], private).scorer
    fitted = of.fit(private, inclusion, POOL, streams=streams())
    assert len(set(fitted.choice.tolist())) > 1
    wanted = one_run_after_another(of, private, inclusion, range(S))
    np.testing.assert_allclose(fitted.score(POOL.features), wanted, rtol=0, atol=1e-10)


def test_runs_of_one_shadow_have_noise_of_their_own():
    """Also where their settings are the same."""
    seen = []

    def kept(fitted, made, quality, n_shadows):
        seen.append((fitted, made))
        return tuned_module.TunedScorers((), np.zeros(0, dtype=np.int64))

    of = protected(tuned_case(RandomStopping(mean=9)), epsilon=0.2).scorer
    with mock.patch.object(tuned_module, "_kept", kept):
        of.fit(private_rows(), coins(), POOL, streams=streams())
    ((fitted, made),) = seen
    weights = np.concatenate([one.weights for one in fitted])
    assert len(weights) == len(made.place) > 20
    assert len(np.unique(weights.round(9), axis=0)) == len(weights)


def test_no_run_scores_every_row_the_same():
    """A Poisson number of runs may be 0: of 300 shadows 33 % +- 5 standard errors."""
    of = protected(tuned_case(RandomStopping(mean=1.1, number="poisson"))).scorer
    n = 300
    inclusion = np.ones((n, N), dtype=bool)
    fitted = of.fit(private_rows(), inclusion, POOL, streams=streams(range(n)))
    none = fitted.choice == NOTHING
    chance = math.exp(-1.1)
    assert abs(none.mean() - chance) < 5 * math.sqrt(chance * (1 - chance) / n)
    scores = fitted.score(POOL.features)
    assert (scores[none] == 0).all()
    assert (np.ptp(scores[~none], axis=1) > 0).all()
    nobody = TunedScorers((), np.full(2, NOTHING))
    np.testing.assert_array_equal(nobody.score(POOL.features), np.zeros((2, len(POOL))))


def test_schedules():
    made = Schedule.of_shadows([np.array([1, 0]), np.array([], dtype=np.int64), np.array([2])])
    assert (made.place.tolist(), made.run.tolist()) == ([0, 0, 2], [0, 1, 0])
    assert made.choice.tolist() == [1, 0, 2]
    assert made.best(np.array([0.3, 0.5, -1.0]), 3).tolist() == [1, NOTHING, 2]
    assert Schedule.of_shadows([]).best(np.empty(0), 2).tolist() == [NOTHING, NOTHING]


def test_networks_are_taken_apart_like_weights():
    case = Case(mechanism="dp_gd", scorer=LOGIT, settings=dataclasses.replace(GD, hidden=(3,)))
    case = dataclasses.replace(
        case, tuning=PaidTuning(over={"clip": (0.5, 1.0)}, runs=RandomStopping(mean=3))
    )
    private, inclusion = private_rows(), coins()
    of = protected(case, private).scorer
    fitted = of.fit(private, inclusion, POOL, streams=streams())
    wanted = one_run_after_another(of, private, inclusion, range(S))
    np.testing.assert_allclose(fitted.score(POOL.features), wanted, rtol=0, atol=1e-9)
    with pytest.raises(TypeError, match="cannot be taken apart"):
        only(fitted, np.array([0]))


def test_the_better_settings_win_where_the_noise_allows_it():
    """Private rows lie in one direction, which a mean that forgets it by a tiny clip drowns."""
    features = np.random.default_rng(0).normal([2.0, 0, 0, 0, 0], 0.3, (N, 5))
    private = dataclasses.replace(private_rows(), features=features)
    case = tuned_case(Grid(), {"clusters": (2, 10)}, "centroid_votes")
    of = protected(case, private, epsilon=50.0).scorer
    everyone = np.ones((40, N), dtype=bool)
    fitted = of.fit(private, everyone, POOL, streams=streams(range(40)))
    exact = [
        of.quality.exact(
            one.fit(private, everyone[:1], POOL, streams=streams([0])), private, everyone[:1], POOL
        )[0]
        for one in of.candidates
    ]
    better = int(np.argmax(exact))
    assert abs(exact[0] - exact[1]) > 0.3
    assert (fitted.choice == better).mean() > 0.6


# --- what it spends


@pytest.mark.parametrize("adjacency", ADJACENCIES)
@pytest.mark.parametrize("epsilon", [0.5, 1.0, 4.0])
def test_the_ledger_of_a_grid_has_every_run(adjacency, epsilon):
    of = protected(tuned_case(Grid()), epsilon=epsilon, adjacency=adjacency)
    assert len(of.events) == 8
    assert of.claim == GaussianClaim(mu=of.claim.mu, adjacency=adjacency)
    assert of.claim.mu == pytest.approx(mu_of_epsilon(epsilon, DELTA))
    scorers, qualities = of.events[0::2], of.events[1::2]
    assert all(one.mu == pytest.approx(of.claim.mu / 2 * math.sqrt(0.9)) for one in scorers)
    assert all(one.mu == pytest.approx(of.claim.mu / 2 * math.sqrt(0.1)) for one in qualities)
    for scorer, event in zip(of.scorer.candidates, scorers, strict=True):
        assert scorer.mechanism.mu == event.mu  # the noise is that of the event
    assert of.scorer.quality.mu == qualities[0].mu
    assert of.scorer.quality.adjacency == adjacency
    lines = [line for line in of.protection.events if line.startswith("event: ")]
    assert len(lines) == 8
    assert "run 4 of 4" in lines[-1]


@pytest.mark.parametrize("number", ["geometric", "poisson", "logarithmic"])
@pytest.mark.parametrize("epsilon", [0.5, 1.0, 4.0])
def test_random_stopping_is_one_event_of_any_run(number, epsilon):
    case = tuned_case(RandomStopping(mean=5, number=number))
    of = protected(case, epsilon=epsilon, adjacency="replace_one")
    (event,) = of.events
    assert isinstance(event, RepeatAndSelect)
    assert 0.99 * epsilon < of.claim.epsilon_at(DELTA) <= epsilon * (1 + 1e-9)
    scorer, quality = event.events
    assert isinstance(scorer, Gaussian)
    assert all(one.mechanism.mu <= scorer.mu for one in of.scorer.candidates)
    assert of.scorer.quality.mu == quality.mu
    assert quality.mu**2 / (quality.mu**2 + scorer.mu**2) == pytest.approx(0.1)


def test_steps_may_be_tuned_and_every_run_costs_the_same():
    of = protected(CASES["tuned dp_gd, random"])
    (event,) = of.events
    scorer = event.events[0]
    assert isinstance(scorer, PoissonGaussian)
    mus = [
        math.sqrt(one.settings.steps) / one.settings.noise_multiplier
        for one in of.scorer.candidates
    ]
    assert np.ptp(mus) < 1e-9
    assert max(mus) <= math.sqrt(scorer.steps) / scorer.noise_multiplier * (1 + 1e-12)


@pytest.mark.parametrize(
    "budget", [Budget(mu=0.7, delta=DELTA), Budget(advantage=0.1, delta=DELTA)]
)
def test_other_budgets(budget):
    assert protected(tuned_case(Grid()), budget=budget).claim.advantage() <= max(
        2 * norm.cdf(0.35) - 1, 0.1
    ) * (1 + 1e-9)
    random = tuned_case(RandomStopping(mean=5))
    if budget.mu is not None:
        with pytest.raises(SettingError, match=r"protect\.tuning: a mu describes Gaussian noise"):
            protected(random, budget=budget)
    else:
        assert 0.09 < protected(random, budget=budget).claim.advantage() <= 0.1 + 1e-9


def test_the_note_tells_what_the_noise_hides_and_not_how_many_units_there_are():
    of = protected(tuned_case(Grid()), adjacency="add_remove")
    (note,) = of.protection.notes
    assert f"{0.5 / of.scorer.quality.mu:.3g} units" in note
    assert (
        of.protection
        == protected(tuned_case(Grid()), private_rows(range(99)), adjacency="add_remove").protection
    )


# --- what is refused


def test_every_mechanism_can_be_tuned_or_says_why_not():
    assert {*TUNABLE} | {*UNTUNABLE} == {*MECHANISMS}
    assert not {*TUNABLE} & {*UNTUNABLE}


@pytest.mark.parametrize("name", UNTUNABLE)
def test_mechanisms_that_cannot_be_tuned(name):
    over = {"shard_votes": {"shards": (2, 3)}}.get(name, {"clip": (0.5, 1.0)})
    with pytest.raises(SettingError, match=rf"tuning: found {name}, which cannot.*expected one of"):
        protected(tuned_case(Grid(), over, name))


@pytest.mark.parametrize("runs", [Grid(), RandomStopping(mean=2)], ids=repr)
def test_dp_sgd_is_tuned_where_all_runs_spend_alike(runs):
    of = protected(tuned_case(runs, {"clip": (0.5, 1.0)}, "dp_sgd"))
    assert 0.99 * 2 < of.claim.epsilon_at(DELTA) <= 2 * (1 + 1e-9)
    event = of.events[0] if runs == Grid() else of.events[0].events[0]
    noises = {one.settings.noise_multiplier for one in of.scorer.candidates}
    assert noises == {event.noise_multiplier}
    assert [one.settings.clip for one in of.scorer.candidates] == [0.5, 1.0]
    private, inclusion = private_rows(), coins()
    fitted = of.scorer.fit(private, inclusion, POOL, streams=streams())
    wanted = one_run_after_another(of.scorer, private, inclusion, range(S))
    np.testing.assert_allclose(fitted.score(POOL.features), wanted, rtol=0, atol=1e-9)


@pytest.mark.parametrize("over", [{"steps": (2, 3)}, {"sampling_rate": (0.5, 1.0)}])
def test_dp_sgd_is_not_tuned_over_what_it_spends(over):
    with pytest.raises(SettingError, match=r"tuning\.over: tunes sampling_rate or steps of dp_sgd"):
        protected(tuned_case(Grid(), over, "dp_sgd"))


def test_noise_on_the_picks_beside_it():
    case = tuned_case(Grid(), mechanism="gaussian_mean + noisy_top_k", selection=NoisySelection())
    with pytest.raises(SettingError, match="stands beside noise on the selection"):
        protected(case)
    with pytest.raises(SettingError, match="stands beside noise on the selection"):
        protected(case, epsilon=math.inf)


BAD = {
    "nothing": ({}, {}, r"tuning\.over: found nothing"),
    "no values": ({"clip": ()}, {}, r"over\.clip: found \[\].*different values"),
    "one twice": ({"clip": (1.0, 1.0)}, {}, r"over\.clip: found \[1\.0, 1\.0\]"),
    "one choice": ({"clip": (1.0,)}, {}, "has 1 combinations"),
    "too many": ({"clip": tuple(range(1, 258))}, {}, "has 257 combinations; expected 2 to 256"),
    "no share": ({"clip": (1.0, 2.0)}, {"share": 0.0}, r"tuning\.share: found 0"),
    "all of it": ({"clip": (1.0, 2.0)}, {"share": 1.0}, r"tuning\.share: found 1"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_settings(name):
    over, more, message = BAD[name]
    with pytest.raises(SettingError, match=message):
        PaidTuning(over=over, runs=Grid(), **more)


def test_candidates():
    made = candidates(
        DpGd(l2=0.5), PaidTuning(over={"steps": (1, 2), "clip": (3.0,)}, runs=Grid()).choices()
    )
    assert made == (DpGd(l2=0.5, steps=1, clip=3.0), DpGd(l2=0.5, steps=2, clip=3.0))
    with pytest.raises(SettingError, match=r"over\.clipp: is no setting of.*did you mean 'clip'"):
        candidates(GaussianMean(), [{"clipp": 1.0}])
    with pytest.raises(SettingError, match=r"tuning\.over: clip must be positive"):
        candidates(GaussianMean(), [{"clip": -1.0}])


def test_what_has_no_release():
    for name in TUNED:
        check_releasable(protected(CASES[name]))
    settings = dataclasses.replace(GD, hidden=(3,))
    case = dataclasses.replace(CASES["tuned dp_gd, random"], settings=settings)
    with pytest.raises(InputError, match="has no scorer that a file could hold"):
        check_releasable(protected(case))


def test_qualities_do_not_hang_on_how_many_are_computed_at_once():
    of, private, inclusion = protected(tuned_case(Grid())).scorer, private_rows(), coins()
    whole = of.fit(private, inclusion, POOL, streams=streams())
    with mock.patch.object(tuned_module, "SCORES_AT_ONCE", 2 * (N + len(POOL))):
        parts = of.fit(private, inclusion, POOL, streams=streams())
    np.testing.assert_array_equal(parts.choice, whole.choice)
    np.testing.assert_array_equal(parts.score(POOL.features), whole.score(POOL.features))
