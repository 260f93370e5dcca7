"""The mechanisms that this package offers: what they cost, and whether they keep their claim."""

from dataclasses import replace
from typing import Final

import numpy as np

from curation_audit.doctor.base import Check, Outcome, agrees
from curation_audit.doctor.planted_violations import (
    DIMENSION,
    N_PAIRS,
    N_UNITS,
    ONE_GDP,
    Trial,
    judged,
    pair_mean_trial,
)
from curation_audit.dp import calibration, ledger, top_k_budget
from curation_audit.dp.events import Gaussian, PoissonGaussian, Zcdp
from curation_audit.dp.gaussian_sum import GaussianSum
from curation_audit.game import paired_inclusion
from curation_audit.statistics import zcdp
from curation_audit.streams import Streams
from curation_audit.types import Floats

DELTA = 1e-5


def calibrated_noise() -> Outcome:
    """Balle & Wang 2018; Kulynych et al. 2024 for the advantage; both in units of sensitivity."""
    targets = (
        calibration.EpsilonTarget(1.0, DELTA),
        calibration.EpsilonTarget(10.0, DELTA),
        calibration.AdvantageTarget(0.1),
    )
    found = [1 / calibration.mu_for(target) for target in targets]
    return agrees([3.730632, 0.499889, 3.978948], found, 2e-6)


def composed_events() -> Outcome:
    """DP-SGD (q .01, sigma 1, 1000 steps) beside sigma 10, by losses, and rho .05, by RDP."""
    step = PoissonGaussian(1.0, 0.01, 1000, "scorer")
    books = [
        ledger.Ledger("add_remove", "row", (step, other))
        for other in (Gaussian(0.1, "selection"), Zcdp(0.05, "selection"))
    ]
    found = [book.guarantee().epsilon_at(DELTA) for book in books]
    return agrees([1.86990, 2.48430], found, 2e-3)


def top_k_noise() -> Outcome:
    """Canonne, Kamath & Steinke 2020 for rho; Durfee & Rogers 2019 for the scale."""
    rho = zcdp.rho_of_epsilon(1.0, 1e-6)
    found = [
        rho,
        zcdp.epsilon_of_rho(0.5, DELTA),
        top_k_budget.gumbel_scale(1000, top_k_budget.range_distance(1.0, monotone=True), rho),
        top_k_budget.gumbel_scale(1000, top_k_budget.range_distance(1.0, monotone=False), rho),
    ]
    return agrees([0.024356, 4.728390, 71.6393, 143.2785], found, 2e-3)


def clipped_gradients() -> Outcome:
    """A unit of ten rows, one of a long row, one of a row that is no number: none beyond C = 1.

    At weights of zero a row x has the gradient ``-x / 2``; sums, not rows, are clipped.
    """
    import torch

    from curation_audit.training import dp_gradients
    from curation_audit.training.mlp import Layer

    rows = torch.zeros((1, 3, 10, 2), dtype=torch.float64)
    rows[0, 0, :, 0] = 1.0
    rows[0, 1, 0, 1] = 1e6
    rows[0, 2, 0, 0] = float("nan")
    counted = torch.zeros((1, 3, 10), dtype=torch.bool)
    counted[0, 0] = counted[0, :, 0] = True
    zero = Layer(rows.new_zeros((1, 2, 1)), rows.new_zeros((1, 1, 1)))
    found = dp_gradients.clipped_sum([zero], dp_gradients.UnitBatch(rows, counted), 1.0)
    return agrees([-1.0, -1.0], found[0].weight.flatten().tolist(), 1e-5)


def noise_of_descent() -> Outcome:
    """Noisy gradient descent does what its closed form says: noise and slope, each in that unit.

    200 trainings with momentum and averaging on 60 units of 8 numbers; over 1,791 degrees of
    freedom the noise's standard deviation is off by .017.
    """
    from curation_audit.analytic.dp_gd import agreement
    from curation_audit.doctor.known_attacks import private_rows
    from curation_audit.pipelines.base import Rows
    from curation_audit.pipelines.scorers.private_classifier import (
        NetworkScorers,
        PrivateClassifier,
    )
    from curation_audit.releases.public_maps import MeanMap
    from curation_audit.training.dp_sgd import DpSgdSettings

    rng = Streams(311).generator("rows")
    private, public = private_rows(rng.standard_normal((60, 8))), rng.standard_normal((100, 8))
    pool = Rows(tuple(map(str, range(100))), public)
    settings = DpSgdSettings(
        steps=10,
        sampling_rate=1.0,
        clip=1.0,
        noise_multiplier=5.0,
        expected_units=30.0,
        learning_rate=0.3,
        momentum=0.5,
        average=True,
    )
    scorer = PrivateClassifier(
        settings=settings,
        adjacency_of_claim="zero_out",
        map=MeanMap.of_pool(public, "inner_product", center=False, whiten=False),
        device="cpu",
    )
    inclusion = paired_inclusion(200, 60, Streams(311))
    streams = Streams(311).for_shadows("doctor", range(200))
    fitted = scorer.fit_units(private, inclusion, pool, streams=streams)
    linear, moves = scorer.linearise(private, pool), scorer.carried(private, pool)
    if linear is None or moves is None or isinstance(fitted, NetworkScorers):
        raise TypeError("logistic regression is linear.")
    # the noise by its definition, not by what the training itself takes it to be
    claimed = replace(linear, noise=moves.noise(5.0 * 1.0 / 30.0))
    found = agreement(claimed, fitted.weights, inclusion)
    return agrees([1.0, 1.0], [found.noise, found.slope], 0.1)


def real_sum_trial(mechanism: GaussianSum, contributions: Floats, seed: int) -> Trial:
    """The mechanism's own releases, attacked by who knows all coins but one, claimed 1-GDP."""
    streams = Streams(seed)
    inclusion = paired_inclusion(2 * N_PAIRS, N_UNITS, streams)
    vectors = mechanism.vectors(contributions)
    noise = streams.for_shadows("doctor", range(2 * N_PAIRS)).generators("noise")
    released = mechanism.release(vectors, inclusion, noise) * mechanism.denominator
    without_own = inclusion @ (vectors @ vectors.T) - inclusion * (vectors**2).sum(axis=1)
    return pair_mean_trial(ONE_GDP, released @ vectors.T - without_own, inclusion)


def noisy_mean_of_long_rows() -> Outcome:
    """The noisy sum of rows three times as long as C: 1-GDP when clipped, 3-GDP if it is not."""
    rows = Streams(307).generator("rows").standard_normal((N_UNITS, DIMENSION))
    rows *= 3 / np.linalg.norm(rows, axis=1, keepdims=True)
    kept = GaussianSum(clip=1.0, mu=1.0, adjacency="add_remove")
    loose = GaussianSum(clip=3.0, mu=3.0, adjacency="add_remove")
    return judged([real_sum_trial(loose, rows, 307)], [real_sum_trial(kept, rows, 307)])


PRIVATE_MECHANISMS: Final = (
    Check("known answers", "calibrated noise", calibrated_noise),
    Check("known answers", "composed events", composed_events),
    Check("known answers", "noisy top-k", top_k_noise),
    Check("known answers", "clipped gradients", clipped_gradients),
    Check("known answers", "noise of gradient descent", noise_of_descent),
)
KEPT_CLAIMS: Final = (
    Check("planted violations", "a noisy mean that does not clip", noisy_mean_of_long_rows),
)
