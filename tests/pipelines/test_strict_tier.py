"""The strict tier: which mechanisms have it, what they spend, and what a release then is."""

import math

import numpy as np
import pytest

from curation_audit.checks import SettingError
from curation_audit.dp.discrete_sum import DiscreteSum
from curation_audit.dp.events import Zcdp
from curation_audit.dp.gaussian_sum import GaussianSum
from curation_audit.pipelines.base import CurationData
from curation_audit.pipelines.protection.base import Budget
from curation_audit.pipelines.protection.releasing import (
    make_release,
    vectors_alone,
)
from curation_audit.statistics.zcdp import epsilon_of_rho
from tests.pipelines.protected import (
    CASES,
    DELTA,
    PATIENTS,
    S,
    coins,
    pool_rows,
    private_rows,
    protected,
    scored,
)

ADJACENCIES = ("zero_out", "add_remove", "replace_one")
OF_SUMS = ("gaussian_mean", "centroid_votes", "rff_density", "ulsif")
SUMS = [n for n, case in CASES.items() if case.mechanism in OF_SUMS and case.tuning is None]
TUNED = [n for n, case in CASES.items() if case.mechanism in OF_SUMS and case.tuning is not None]
NO_STRICT = ("dp_gd", "dp_sgd", "module_sgd", "shard_votes", "dp_gd + noisy_top_k")


def strict(name: str, **changes):
    return protected(CASES[name], noise_tier="strict", **changes)


def data(private, pool) -> CurationData:
    d = private.features.shape[1]
    return CurationData(
        private=private,
        pool=pool,
        test=None,
        classes=(),
        n_private_rows_in_pool=0,
        fingerprints={},
        shift=np.zeros(d),
        scale=np.ones(d),
    )


@pytest.mark.parametrize("adjacency", ADJACENCIES)
@pytest.mark.parametrize("name", SUMS)
def test_a_strict_sum_spends_a_rho_within_the_budget(name, adjacency):
    made = strict(name, adjacency=adjacency)
    (event,) = made.events
    of, loose = made.scorer.mechanism, protected(CASES[name], adjacency=adjacency).scorer.mechanism
    assert isinstance(event, Zcdp)
    assert event.rho == pytest.approx(of.sum_sensitivity**2 / (2 * of.sigma**2), rel=1e-11)
    assert 1.98 < epsilon_of_rho(event.rho, DELTA) <= 2
    assert made.protection.epsilon <= 2 + 2e-3  # the ledger's grid is coarser than the formula
    assert of.sum_sensitivity == loose.sum_sensitivity
    assert 1 < of.sigma / loose.sigma < 1.1  # what zCDP costs beside the exact curve
    assert "towards zero" in made.protection.sensitivities[0]
    assert any("strict" in note for note in made.protection.notes)
    assert made.protection.noise_source.startswith("research tier, not for release")


@pytest.mark.parametrize("name", SUMS)
def test_the_shadows_of_a_strict_mechanism_score_by_rounded_sums(name):
    made, private, pool = strict(name), private_rows(), pool_rows()
    assert scored(made, private, coins(), pool).shape == (S, len(pool))
    rounded = made.scorer.vectors(private) / made.scorer.mechanism.grid
    np.testing.assert_array_equal(rounded, np.round(rounded))


@pytest.mark.parametrize("name", SUMS)
@pytest.mark.parametrize("unit", [None, PATIENTS])
def test_a_strict_release_is_on_the_grid(name, unit):
    private = private_rows() if unit is None else private_rows(unit)
    pool = pool_rows()
    made = strict(name, private=private, epsilon=300.0)
    release = make_release(made, data(private, pool))
    of = made.scorer.mechanism
    steps = release.weights * of.denominator / of.grid
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)
    wanted = made.scorer.vectors(private).sum(axis=0) / of.denominator
    assert np.abs(release.weights - wanted).max() < 8 * of.noise
    card = release.card()
    assert card["noise_tier"] == "strict"
    assert "OpenDP" in card["noise"]
    assert "zCDP" in "\n".join(card["events"])


@pytest.mark.parametrize("name", SUMS)
def test_a_units_vector_hangs_on_its_own_rows_alone(name):
    """To the last bit, whoever else is there: one bit would be a step of the grid."""
    made, private = strict(name), private_rows(PATIENTS)
    everyone = vectors_alone(made.scorer, private)
    np.testing.assert_allclose(everyone, made.scorer.vectors(private), atol=2 * grid_of(made))
    for gone in (0, 3, private.n_units - 1):
        kept = np.flatnonzero(np.arange(private.n_units) != gone)
        np.testing.assert_array_equal(
            vectors_alone(made.scorer, private.only(kept)), everyone[kept]
        )


def grid_of(made) -> float:
    assert isinstance(made.scorer.mechanism, DiscreteSum)
    return made.scorer.mechanism.grid


@pytest.mark.parametrize("name", NO_STRICT)
def test_what_has_no_exact_noise_is_refused(name):
    with pytest.raises(SettingError, match=r"noise_tier.*strict.*no exact noise"):
        strict(name)


@pytest.mark.parametrize("name", TUNED)
def test_a_tuning_by_the_private_set_is_refused(name):
    with pytest.raises(SettingError, match=r"noise_tier.*beside a tuning"):
        strict(name)


def test_noise_on_the_selection_alone_is_refused():
    with pytest.raises(SettingError, match=r"noise_tier.*no exact sampler"):
        strict("noisy_top_k, gumbel")


@pytest.mark.parametrize("limit", [{"mu": 0.7}, {"advantage": 0.1}, {"tpr": 0.05, "fpr": 0.01}])
def test_limits_that_need_a_gaussian_curve_are_refused(limit):
    with pytest.raises(SettingError, match=r"noise_tier.*state epsilon and delta"):
        strict("gaussian_mean", budget=Budget(delta=DELTA, **limit))


def test_beside_noise_on_the_selection_rhos_add_up():
    made = strict("gaussian_mean + noisy_top_k")
    assert all(isinstance(one, Zcdp) for one in made.events)
    total = sum(one.rho for one in made.events)
    assert epsilon_of_rho(total, DELTA) == pytest.approx(2, abs=1e-6)


def test_without_noise_there_is_no_tier():
    made = strict("gaussian_mean", epsilon=math.inf)
    assert (made.claim, made.events) == (None, ())
    assert isinstance(made.scorer.mechanism, GaussianSum)


def test_an_unknown_tier_is_refused():
    with pytest.raises(SettingError, match="noise_tier"):
        protected(CASES["gaussian_mean"], noise_tier="research")
