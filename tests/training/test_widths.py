"""Training that depends on the width is told from training that does not."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from curation_audit.training.device import one_thread
from curation_audit.training.mlp import WidthRule
from curation_audit.training.recipe import Recipe
from curation_audit.training.widths import (
    Coordinates,
    PublicTask,
    Transfer,
    Trial,
    coord_check,
    halves_of,
    lr_transfer_check,
)

WIDTHS = (64, 128, 256, 512)
RATES = tuple(2.0**k for k in range(-8, -1))


@pytest.fixture(scope="module")
def digits() -> PublicTask:
    found = load_digits()
    rows = (found.data - found.data.mean(axis=0)) / (found.data.std(axis=0) + 1e-6)
    return PublicTask(
        features=rows[:256].astype(np.float32), labels=found.target[:256], n_classes=10
    )


def trial(parametrization, optimiser="adamw", rate=2**-8, **settings) -> Trial:
    recipe = Recipe(
        epochs=6, batch_size=256, learning_rate=rate, optimiser=optimiser, weight_decay=0.0
    )
    return Trial(recipe=recipe, rule=WidthRule(parametrization=parametrization), **settings)


@pytest.mark.parametrize(
    ("optimiser", "rate", "standard"),
    [("adamw", 2**-8, 0.5), ("sgd", 2**-3, 0.5), ("sgd", 2**-8, 0.5)],
)
def test_spectral_coordinates_stay_and_standard_ones_drift(digits, optimiser, rate, standard):
    """Measured: AdamW .06 against .75, SGD .06 against .74, at a rate far too small .09 and .89."""
    with one_thread():
        found = {
            name: coord_check(digits, WIDTHS, trial(name, optimiser, rate, networks=4)).drift
            for name in ("spectral", "standard")
        }
    assert found["spectral"] < 0.1
    assert found["standard"] > standard


def test_muon_does_not_drift_either(digits):
    """Its step has singular values of one, so that the rule alone makes the weights' change."""
    with one_thread():
        found = coord_check(digits, (64, 128, 256), trial("spectral", "muon", 2**-5, networks=2))
    assert found.drift < 0.1


def test_the_best_rate_of_adamw_stays_where_the_standard_one_falls(digits):
    """Three widths over four octaves; the full range is in benchmarks/width_transfer.py."""
    with one_thread():
        spectral, standard = (
            lr_transfer_check(digits, (32, 128, 512), RATES, trial(name, networks=2))
            for name in ("spectral", "standard")
        )
    assert abs(spectral.drift) < 1
    assert standard.drift < -1.5
    assert not spectral.at_edge


def made(best, widths=(64, 256, 1024), noise=0.0, seed=0) -> Transfer:
    """Losses whose logarithm is a parabola around the given best log2 rates."""
    rates = tuple(2.0**k for k in range(-8, 1))
    away = np.log2(rates)[None, :, None] - np.array(best)[:, None, None]
    jitter = np.random.default_rng(seed).normal(0, noise, (len(widths), len(rates), 2))
    return Transfer(widths=widths, rates=rates, losses=np.exp(0.1 * away**2 - 2 + jitter))


def test_the_drift_of_a_planted_optimum_is_found_in_octaves():
    found = made([-2.3, -3.3, -4.3])
    np.testing.assert_allclose(found.best(), np.array([[-2.3] * 2, [-3.3] * 2, [-4.3] * 2]))
    assert found.slope.value == pytest.approx(-0.5)
    assert found.drift == pytest.approx(-2.0)
    assert made([-3.3] * 3).drift == pytest.approx(0.0, abs=1e-9)


def test_the_interval_of_a_slope_covers_as_often_as_it_says():
    """200 planted optima with noise; fewer than 90 % has a chance below .001 at 95 %."""
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(200):
        sizes = np.exp2(
            0.3 * np.log2([64, 128, 256])[:, None, None] + rng.normal(0, 0.2, (3, 4, 1))
        )
        found = Coordinates(widths=(64, 128, 256), sizes=np.stack([sizes] * 3)).slopes()[0][0]
        covered += found.low <= 0.3 <= found.high
    assert 180 <= covered < 200


def test_losses_that_diverged_are_left_out():
    found = made([-3.0] * 3)
    losses = found.losses.copy()
    losses[2, 6:] = np.inf
    cut = Transfer(widths=found.widths, rates=found.rates, losses=losses)
    np.testing.assert_allclose(cut.best(), found.best())


def test_a_best_rate_at_the_edge_is_told():
    assert made([-3.0, -3.0, -12.0]).at_edge
    assert not made([-3.0] * 3).at_edge


def test_two_halves_of_a_pool_overlap(digits):
    task = halves_of(digits.features)
    assert task.n_classes == 2
    assert 0.4 < task.labels.mean() < 0.6
    axis = np.linalg.svd(digits.features - digits.features.mean(axis=0))[2][0]
    along = (digits.features - digits.features.mean(axis=0)) @ axis
    agree = ((along > np.median(along)) == task.labels).mean()
    # half of the tenth that is drawn anew differs, either way round
    assert 0.9 < max(agree, 1 - agree) < 1


@pytest.mark.parametrize("widths", [(64, 128), (128, 64, 256), (0, 64, 128)])
def test_widths_that_show_no_slope_are_refused(digits, widths):
    with pytest.raises(ValueError, match="widths must be 3 or more"):
        coord_check(digits, widths, trial("spectral"))


def test_training_that_diverges_is_told(digits):
    with pytest.raises(ValueError, match="diverged"):
        coord_check(digits, (8, 16, 32), trial("standard", "sgd", 1e30))
    with pytest.raises(ValueError, match="diverged at every rate"):
        lr_transfer_check(digits, (8, 16, 32), (1e28, 1e29, 1e30), trial("standard", "sgd"))


def test_rates_that_show_no_least_loss_are_refused(digits):
    with pytest.raises(ValueError, match="rates must be 3 or more"):
        lr_transfer_check(digits, (8, 16, 32), (0.1, 0.2), trial("spectral"))
