"""Units under protection: clipped as a whole, counted by public numbers, at stake or not."""

import dataclasses

import numpy as np
import pytest

from curation_audit.auditing.chunks import plan_parts
from curation_audit.dp.gaussian_sum import GaussianSum
from curation_audit.pipelines.base import ALWAYS_IN
from curation_audit.pipelines.canaries import CanarySettings, with_canaries
from curation_audit.pipelines.data import data_from_arrays
from curation_audit.pipelines.scorers.mean import Mean
from curation_audit.pipelines.scorers.private_classifier import PrivateClassifier
from curation_audit.streams import Streams
from tests.auditing.protected_plans import protected_plan
from tests.pipelines.protected import (
    CASES,
    PATIENTS,
    D,
    N,
    S,
    coins,
    noisy_scorer,
    pool_rows,
    private_rows,
    protected,
    scored,
    streams,
    without_noise,
)

SUMS = [
    "gaussian_mean",
    "gaussian_mean, centred",
    "centroid_votes",
    "domain_votes",
    "trak_sum",
    "less_sums, one",
]
SCORERS = [name for name, case in CASES.items() if noisy_scorer(case) and "dp_sgd" not in name]


def plain_sum(private, mechanism: GaussianSum, contributions, held) -> np.ndarray:
    """Unit after unit: its rows' contributions added up, clipped, added to the sum."""
    total = np.zeros(contributions.shape[1])
    for unit in range(private.n_units):
        if held[unit]:
            vector = contributions[private.owners == unit].sum(axis=0)
            total += vector * min(1, mechanism.clip / max(np.linalg.norm(vector), 1e-300))
    return total


@pytest.mark.parametrize("name", SUMS)
@pytest.mark.parametrize("always", [(), (2, 5, 6)], ids=["all at stake", "some always in"])
def test_scores_are_of_clipped_units_over_the_public_number(name, always):
    """The plain reference; with the noise taken off, N stands in every denominator, not |T|."""
    private, pool = private_rows(PATIENTS, always=always), pool_rows()
    of = without_noise(CASES[name], private=private, pool=pool).scorer
    inclusion = coins(private.n_candidates)
    found = scored(without_noise(CASES[name], private=private), private, inclusion, pool)
    contributions = of.map.contribution(private.features)
    for s in range(S):
        held = np.ones(N, dtype=bool)
        held[private.candidate_units] = inclusion[s]
        total = plain_sum(private, of.mechanism, contributions, held)
        wanted = of.embed(pool.features) @ total / N
        np.testing.assert_allclose(found[s], wanted, atol=1e-12)


@pytest.mark.parametrize("name", SCORERS)
def test_a_shadow_that_leaves_out_a_unit_without_a_contribution_does_not_change(name):
    """Public constants are kept: only what a unit adds is gone. |T| would change every score."""
    private, pool = private_rows(PATIENTS), pool_rows()
    features = private.features.copy()
    features[private.owners == 4] = np.nan  # counts as zero
    private = dataclasses.replace(private, features=features)
    held = np.ones((2, N), dtype=bool)
    held[1, 4] = False
    of = protected(CASES[name], private)
    scores = of.scorer.fit(private, held, pool, streams=streams([0, 0])).score(pool.features)
    np.testing.assert_allclose(scores[0], scores[1], rtol=0, atol=1e-12)
    held[1, 5] = False
    other = of.scorer.fit(private, held, pool, streams=streams([0, 0])).score(pool.features)
    assert np.abs(other[1] - scores[0]).max() > 1e-6


def test_a_mean_of_ones_own_number_would_change():
    """The scorer that is not private divides by |T|, so that the test above can fail."""
    private, pool = private_rows(), pool_rows()
    features = private.features.copy()
    features[4] = 0
    private = dataclasses.replace(private, features=features)
    held = np.ones((2, N), dtype=bool)
    held[1, 4] = False
    scores = Mean().fit(private, held, pool, streams=streams([0, 0])).score(pool.features)
    assert np.abs(scores[0] - scores[1]).max() > 1e-3


@pytest.mark.parametrize("name", SUMS)
def test_a_patient_weighs_no_more_than_a_record(name):
    """Ten rows for one: the unit's vector is as long as the norm allows, and no longer."""
    unit = (*[0] * 10, *range(1, N))
    private = private_rows(unit)
    of = protected(CASES[name], private).scorer
    lengths = np.linalg.norm(of.vectors(private), axis=1)
    assert len(lengths) == N
    assert lengths.max() <= of.mechanism.clip
    rows = of.map.contribution(private.features)
    assert np.linalg.norm(rows[:10].sum(axis=0)) > 2 * of.mechanism.clip  # clipping was needed


def test_gradients_are_clipped_by_unit():
    private, pool = private_rows(PATIENTS), pool_rows()
    of = without_noise(CASES["dp_gd"], private=private).scorer
    assert isinstance(of, PrivateClassifier)
    one_step = dataclasses.replace(of.settings, steps=1, clip=0.05)
    of = dataclasses.replace(of, settings=one_step)
    held = np.ones((2, N), dtype=bool)
    held[1, 0] = False  # the patient of three rows, whose gradients are long
    weights = of.fit(private, held, pool, streams=streams([0, 0])).weights
    moved = np.linalg.norm(weights[0] - weights[1])
    allowed = one_step.learning_rate * 0.05 / one_step.expected_units
    assert moved <= allowed * (1 + 1e-9)
    assert moved == pytest.approx(allowed, rel=1e-4)


# --- who is at stake


def arrays(**settings):
    rng = np.random.default_rng(5)
    unit = np.repeat(np.arange(12), np.arange(12) % 3 + 1)
    private = rng.standard_normal((len(unit), D))
    return data_from_arrays(
        private, rng.standard_normal((50, D)), unit=unit, streams=Streams(1), **settings
    ), unit


def test_rows_that_are_always_in_keep_their_unit():
    whole, unit = arrays()
    some, _ = arrays(targets=5)
    np.testing.assert_array_equal(some.private.owners, unit)
    assert some.private.n_units == whole.private.n_units == 12
    assert some.private.n_candidates == 5
    away = some.private.unit == ALWAYS_IN
    np.testing.assert_array_equal(np.isin(unit, some.private.candidate_units), ~away)
    # each candidate's unit is the one whose rows it has
    for n, owner in enumerate(some.private.candidate_units):
        np.testing.assert_array_equal(some.private.unit == n, unit == owner)
    held = some.private.unit_inclusion(coins(5))
    np.testing.assert_array_equal(held[:, some.private.candidate_units], coins(5))
    assert np.delete(held, some.private.candidate_units, axis=1).all()


def test_canaries_are_units_of_their_own_beside_the_real_ones():
    real, unit = arrays(targets=5)
    data = with_canaries(real, Mean(), CanarySettings(count=6), Streams(1))
    owners = data.private.owners
    np.testing.assert_array_equal(owners[: len(unit)], unit)
    np.testing.assert_array_equal(owners[len(unit) :], 12 + np.arange(6))
    np.testing.assert_array_equal(data.private.candidate_units, 12 + np.arange(6))
    held = data.private.unit_inclusion(coins(6))
    assert held[:, :12].all()
    np.testing.assert_array_equal(held[:, 12:], coins(6))


def test_without_owners_every_row_that_is_always_in_is_a_unit():
    private = dataclasses.replace(private_rows(PATIENTS, always=(0,)), owner=None)
    assert private.n_units == N - 1 + 3
    assert sorted(set(private.owners.tolist())) == list(range(N + 2))
    np.testing.assert_array_equal(private.candidate_units, np.arange(N - 1))


def test_chunks_of_other_units_are_not_reused():
    """Rows that are always in are clipped by unit, so that their grouping shapes every chunk."""
    plan = protected_plan("gaussian_mean", n=12, d=8)
    private = dataclasses.replace(
        plan.data.private, unit=np.where(np.arange(12) < 6, np.arange(12), ALWAYS_IN)
    )
    told = []
    for owner in (np.arange(12), np.array([*range(6), 6, 6, 7, 8, 9, 10])):
        data = dataclasses.replace(plan.data, private=dataclasses.replace(private, owner=owner))
        told.append(plan_parts(dataclasses.replace(plan, data=data))["data"])
    assert told[0] != told[1]
