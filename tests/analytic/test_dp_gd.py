"""Descent in closed form against 150 simulated trainings, and a check that refutes wrong noise."""

from dataclasses import replace

import numpy as np
import pytest

from curation_audit.analytic.affine import Linear, likelihood_ratios
from curation_audit.analytic.dp_gd import agreement
from curation_audit.game import paired_inclusion
from curation_audit.pipelines.base import PrivateRows, Rows
from curation_audit.pipelines.scorers.private_classifier import PrivateClassifier
from curation_audit.releases.public_maps import MeanMap
from curation_audit.statistics.auc import clustered_auc
from curation_audit.statistics.leverage import (
    leverages,
    mu_of_auditor,
    mu_of_known_others,
    pooled_auc,
)
from curation_audit.statistics.paired import PairedEvidence
from curation_audit.streams import Streams
from curation_audit.training.dp_sgd import DpSgdSettings

N, D, M, STEPS = 400, 64, 800, 60
RNG = np.random.default_rng(0)
NAMES = tuple(map(str, range(N)))
PRIVATE = PrivateRows(NAMES, RNG.standard_normal((N, D)) + 0.1, np.arange(N), NAMES)
POOL = Rows(tuple(map(str, range(M))), RNG.standard_normal((M, D)))


def scorer(noise, rate=1.0, **changes) -> PrivateClassifier:
    given = {
        "steps": STEPS,
        "sampling_rate": rate,
        "clip": 1.0,
        "noise_multiplier": noise,
        "expected_units": rate * N / 2,
        "learning_rate": 1.0,
        "l2": 1e-3,
    }
    return PrivateClassifier(
        settings=DpSgdSettings(**(given | changes)),
        adjacency_of_claim="zero_out",
        map=MeanMap.of_pool(POOL.features, "inner_product", center=False, whiten=True),
        device="cpu",
    )


def trained(of, n_runs):
    """Coins, and the weights of real trainings on them."""
    inclusion = paired_inclusion(n_runs, N, Streams(5))
    streams = Streams(5).for_shadows("shadow", range(n_runs))
    return inclusion, of.fit(PRIVATE, inclusion, POOL, streams=streams)


FULL = [(noise, 1.0, {}) for noise in (1, 5, 20, 40)]
SAMPLED = [(noise, 0.1, {}) for noise in (0, 1, 4)]
OTHER = [
    (5, 1.0, {"momentum": 0.9, "learning_rate": 0.2, "average": True}),
    (1, 0.1, {"clip": 20.0}),
]


@pytest.mark.parametrize(("noise", "rate", "changes"), [*FULL, *SAMPLED, *OTHER])
def test_the_predicted_auc_is_that_of_simulated_trainings(noise, rate, changes):
    """Measured: off by .004 at most, where the closed form at the last step was off by .009."""
    of = scorer(noise, rate, **changes)
    linear = Linear.of(of, Curation())
    affine = linear.affine()
    predicted = pooled_auc(mu_of_auditor(leverages(affine.shifts, affine.noise)))
    inclusion, fitted = trained(of, 150)
    evidence = likelihood_ratios(affine, linear.seen(fitted.score(POOL.features)))
    found = clustered_auc(PairedEvidence.split(evidence, inclusion)).auc
    assert abs(found - predicted) < min(0.01, 0.15 * (predicted - 0.5) + 0.001)
    if noise and rate == 1:
        mu = mu_of_known_others(affine.shifts, affine.added).max()
        assert 0.4 * np.sqrt(STEPS) / noise < mu <= np.sqrt(STEPS) / noise


class Curation:
    private, pool = PRIVATE, POOL


# --- the bug check


def compared(of, wrong=None):
    inclusion, fitted = trained(wrong or of, 40)
    linear = of.linearise(PRIVATE, POOL)
    return agreement(linear, fitted.weights, inclusion)


def with_noise(of, factor):
    louder = replace(of.settings, noise_multiplier=factor * of.settings.noise_multiplier)
    return replace(of, settings=louder)


@pytest.mark.parametrize(("noise", "rate"), [(1, 1.0), (10, 1.0), (40, 1.0), (1, 0.1), (4, 0.1)])
def test_right_noise_agrees_and_wrong_noise_is_refuted(noise, rate):
    of = scorer(noise, rate, steps=20)
    right = compared(of)
    assert right.holds
    assert right.slope == pytest.approx(1, abs=0.15)
    for factor in (0.7, 1.3):
        found = compared(of, with_noise(of, factor))
        assert not found.holds
        if rate == 1:
            assert found.noise == pytest.approx(factor, abs=0.1)


def test_a_clip_that_is_not_applied_is_seen_in_the_slope():
    of = scorer(1, steps=20)
    loose = replace(of, settings=replace(of.settings, clip=1.5, noise_multiplier=1 / 1.5))
    assert compared(of, loose).slope > 1.2


def test_noise_of_sampling_hides_that_of_the_mechanism():
    """Where sampling moves the weights far more than noise does, wrong noise is not seen."""
    of = scorer(0.03, 0.1, steps=20)
    assert compared(of, with_noise(of, 1.3)).holds


def test_without_noise_there_is_nothing_to_compare():
    linear = scorer(0, steps=3).linearise(PRIVATE, POOL)
    with pytest.raises(ValueError, match="noisy vectors"):
        agreement(linear, np.zeros((4, D + 1)), np.zeros((4, N), dtype=bool))
