"""Gradients of candidates at a scorer's training, against gradients that are written out."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import expit

from curation_audit.api import Pipeline
from curation_audit.forecasting import gradients as module
from curation_audit.forecasting.at_training import network_of
from curation_audit.forecasting.gradients import Ridge, gradients_of, noise_of
from curation_audit.pipelines.protection.base import Budget
from curation_audit.pipelines.protection.dp_sgd import DpGd, DpSgd
from curation_audit.pipelines.protection.protect import ProtectSettings
from curation_audit.pipelines.rules.top import TopK
from curation_audit.pipelines.scorers.classifier import Classifier
from curation_audit.pipelines.scorers.mlp_classifier import MlpClassifier
from curation_audit.statistics.spectra import Spectrum
from curation_audit.training.dp_sgd import DpSgdSettings
from curation_audit.training.gradients import cross_entropy, per_example_gradients
from tests.analytic.worlds import LOGIT, MEAN, N, plan


def protected(scorer, epsilon=4.0):
    budget = Budget(epsilon=epsilon, delta=1e-5)
    name = "dp_sgd" if isinstance(scorer, DpSgd) else "dp_gd"
    settings = ProtectSettings(mechanism=name, adjacency="zero_out", budget=budget, scorer=scorer)
    return plan(LOGIT, protect=settings)


def everyone(of):
    return np.ones((1, of.data.private.n_candidates), dtype=bool)


@pytest.mark.parametrize("score", ["logit", "probability", "calibrated"])
def test_of_a_regression_they_are_residuals_times_rows(score):
    of = plan(Classifier(score=score, device="cpu"))
    found = gradients_of(of)
    private, pool = of.data.private, of.data.pool
    weights = LOGIT.fit(private, everyone(of), pool, streams=None).weights[0]
    rows = LOGIT.embed(private.features)
    by_hand = (expit(rows @ weights) - 1)[:, None] * rows
    np.testing.assert_allclose(found.lengths, np.linalg.norm(by_hand, axis=1), rtol=1e-6)
    (own,) = found.spectra
    assert (own.of, own.n_records) == ("gradients", N)
    expected = Spectrum.of_gradients(by_hand)
    assert own.spectrum.numerical_rank == expected.numerical_rank == rows.shape[1]
    largest = expected.eigenvalues
    np.testing.assert_allclose(own.spectrum.eigenvalues[: len(largest)], largest, rtol=1e-6)


@pytest.mark.parametrize("hidden", [(5,), ()])
def test_of_a_network_they_are_those_of_automatic_differentiation(hidden):
    """Of one without hidden layers its bias counts, too."""
    scorer = MlpClassifier(hidden=hidden, epochs=2, device="cpu")
    of = plan(scorer)
    found = gradients_of(of)
    network = network_of(of, scorer)
    flat = [part for one in network for part in (one.weight.double(), one.bias[0].double())]
    rows = torch.as_tensor(of.data.private.features)
    target = torch.tensor([[0.0, 1.0]], dtype=rows.dtype).expand(N, 2)
    by_hand = per_example_gradients(cross_entropy, tuple(flat), rows, target).numpy()
    np.testing.assert_allclose(found.lengths, np.linalg.norm(by_hand, axis=1), rtol=1e-6)
    (own,) = found.spectra
    largest = Spectrum.of_gradients(by_hand).eigenvalues[:7]  # of 7 directions without a layer
    np.testing.assert_allclose(own.spectrum.eigenvalues[:7], largest, rtol=1e-6)


def test_descent_clips_and_ranks_by_what_was_not_clipped():
    of = protected(DpGd(steps=40, clip=0.5, precondition=False))
    raw, clipped = gradients_of(of).spectra
    assert (raw.of, clipped.of) == ("gradients", "gradients, clipped")
    lengths = gradients_of(of).lengths
    assert lengths.max() > 1.5 * 0.5  # clipping would have hidden who stands out
    squares = clipped.spectrum.eigenvalues.sum()
    assert squares == pytest.approx((np.minimum(lengths, 0.5) ** 2).sum())
    assert raw.spectrum.eigenvalues.sum() == pytest.approx((lengths**2).sum())


@pytest.mark.parametrize("parametrization", ["standard", "spectral"])
def test_of_a_private_network_every_long_gradient_is_as_long_as_the_clip(parametrization):
    """In the coordinates that descend: in others they would be longer or shorter."""
    made = DpSgd(
        steps=20, clip=1e-3, hidden=(8,), learning_rate=0.1, parametrization=parametrization
    )
    of = protected(made)
    found = gradients_of(of)
    raw, clipped = found.spectra
    assert found.lengths.min() > 1e-3
    assert clipped.spectrum.eigenvalues.sum() == pytest.approx(N * 1e-6, rel=1e-4)
    assert raw.spectrum.largest >= clipped.spectrum.largest
    assert len(found.lengths) == N


def test_noise_by_hand():
    """Of sigma 2, clip 3 and rate .5: 4 (2 * 3 / .5)^2 = 576, and a tenth of it for ten steps."""
    descent = DpSgdSettings(
        steps=10, sampling_rate=0.5, clip=3.0, noise_multiplier=2.0, expected_units=20.0,
        learning_rate=0.1,
    )  # fmt: skip
    step, together = noise_of(descent)
    assert step == Ridge(576.0, "the noise of one step")
    assert together.tau == pytest.approx(57.6)


def test_without_noise_none_is_told():
    of = protected(DpGd(steps=40), epsilon=np.inf)
    assert gradients_of(of).spectra[1].noise == ()


def test_effective_dimensions_stand_at_stated_taus():
    own = gradients_of(protected(DpGd(steps=40))).spectra[1]
    told = list(own.dimensions())
    assert told[0][0].meaning == "the largest eigenvalue"
    eigenvalues = own.spectrum.eigenvalues
    for ridge, value in told:
        assert value == pytest.approx((eigenvalues / (eigenvalues + ridge.tau)).sum())
    assert [ridge.tau for ridge, _ in told[:4]] == pytest.approx(
        own.spectrum.largest * np.array([1, 0.1, 0.01, 0.001])
    )
    assert [ridge for ridge, _ in told[4:]] == list(own.noise)
    assert len(own.noise) == 2


def test_of_many_candidates_some_stand_for_all(monkeypatch):
    of = plan(LOGIT, n=400)
    whole = gradients_of(of)
    monkeypatch.setattr(module, "MOST_ROWS", 200)
    some = gradients_of(of)
    np.testing.assert_array_equal(some.lengths, whole.lengths)
    assert (whole.spectra[0].n_records, some.spectra[0].n_records) == (400, 200)
    total = whole.spectra[0].spectrum.eigenvalues.sum()
    assert some.spectra[0].spectrum.eigenvalues.sum() == pytest.approx(total, rel=0.1)


def test_rows_of_one_unit_are_one_record():
    ids = np.repeat(np.arange(N // 2), 2)
    rows = np.random.default_rng(5).standard_normal((N, 6))
    frame = pd.DataFrame(rows, columns=list("abcdef")).assign(patient=ids)
    public = pd.DataFrame(
        np.random.default_rng(6).standard_normal((300, 6)) + 0.4, columns=list("abcdef")
    )
    of = Pipeline(
        private=frame, public=public, unit="patient", scorer=LOGIT, select=TopK(k=60),
        train=None, standardise="none",
    ).plan()  # fmt: skip
    found = gradients_of(of)
    private = of.data.private
    weights = LOGIT.fit(private, everyone(of), of.data.pool, streams=None).weights[0]
    embedded = LOGIT.embed(private.features.astype(np.float64))
    each = (expit(embedded @ weights.astype(np.float64)) - 1)[:, None] * embedded
    sums = np.zeros((N // 2, each.shape[1]))
    np.add.at(sums, private.unit, each)
    np.testing.assert_allclose(found.lengths, np.linalg.norm(sums, axis=1), rtol=1e-5)
    assert found.spectra[0].n_records == N // 2


def test_of_other_scorers_there_are_none():
    assert gradients_of(plan(MEAN)) is None
