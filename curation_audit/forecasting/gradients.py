"""Per-record gradients of a scorer at its training: their lengths, and spectra under exact names.

Of the candidates' own losses, at the real training with everyone in. Lengths are those before any
clipping, as clipped ones saturate and rank nobody; what a private mechanism sees of records is
their clipped gradients, whose spectrum is told beside its noise. As private as the rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from curation_audit.auditing.plan import AuditPlan
from curation_audit.forecasting.at_training import (
    descent_without_noise,
    network_of,
    network_without_noise,
    real_streams,
)
from curation_audit.pipelines.base import ALWAYS_IN
from curation_audit.pipelines.downstream.dense import with_ones
from curation_audit.pipelines.scorers.classifier import Classifier
from curation_audit.pipelines.scorers.linear import LinearScorers
from curation_audit.pipelines.scorers.mlp_classifier import MlpClassifier
from curation_audit.pipelines.scorers.private_classifier import PrivateClassifier
from curation_audit.statistics.spectra import Spectrum
from curation_audit.streams import Streams
from curation_audit.training.dp_gradients import Multipliers
from curation_audit.training.dp_sgd import DpSgdSettings
from curation_audit.training.mlp import Layer
from curation_audit.training.record_gradients import clipped_gram, record_gram, record_lengths
from curation_audit.types import Features, Floats, Indices

MOST_ROWS = 2048
"""Of candidates whose gradients are multiplied with one another; of more, some are drawn."""
SHARES = (0.1, 0.01, 0.001)
"""Of the largest eigenvalue: where the effective dimension is told, beside at itself."""


@dataclass(frozen=True, slots=True)
class Ridge:
    """A ``tau`` at which the effective dimension is told, and what it is."""

    tau: float
    meaning: str


@dataclass(frozen=True, slots=True)
class GradientSpectrum:
    """The spectrum of ``n_records`` candidates' gradients.

    Of fewer than all, eigenvalues are those of a random part times how many there are for each.
    """

    of: str
    spectrum: Spectrum
    n_records: int
    noise: tuple[Ridge, ...] = ()

    def dimensions(self) -> Iterator[tuple[Ridge, float]]:
        """The effective dimension at shares of the largest eigenvalue and at noise, if known."""
        largest = self.spectrum.largest
        if largest > 0:
            shares = [Ridge(s * largest, f"{s:g} of the largest eigenvalue") for s in SHARES]
            for ridge in (Ridge(largest, "the largest eigenvalue"), *shares, *self.noise):
                yield ridge, self.spectrum.effective_dimension(ridge.tau)


@dataclass(frozen=True, slots=True)
class RecordGradients:
    """Lengths (N,) before clipping, and the spectra before and, where something clips, after it."""

    lengths: Floats
    spectra: tuple[GradientSpectrum, ...]


@dataclass(frozen=True, slots=True)
class _AtTraining:
    """A network of one or more layers, private rows as it sees them, and the coordinates it has.

    ``descent``: the constants of a private training, which clips and adds noise.
    """

    network: list[Layer]
    rows: Features
    by: Multipliers | None = None
    descent: DpSgdSettings | None = None


def gradients_of(plan: AuditPlan) -> RecordGradients | None:
    """Of a plan's scorer; ``None`` where it is none of those that are trained on a known loss."""
    at = _at_training(plan)
    if at is None:
        return None
    private = plan.data.private
    lengths = record_lengths(at.network, at.rows, private.owners, at.by)
    drawn = _drawn(plan)
    rows = np.flatnonzero(np.isin(private.unit, drawn))
    owners = np.searchsorted(drawn, private.unit[rows])
    gram = record_gram(at.network, at.rows[rows], owners, at.by)
    return RecordGradients(
        lengths[private.candidate_units], tuple(_spectra(gram, at, private.n_candidates))
    )


def _spectra(gram: Floats, at: _AtTraining, n: int) -> Iterator[GradientSpectrum]:
    each, n_records = n / len(gram), len(gram)
    yield GradientSpectrum("gradients", Spectrum.of_gram(each * gram), n_records)
    if at.descent is not None:
        clipped = Spectrum.of_gram(each * clipped_gram(gram, at.descent.clip))
        of = "gradients, clipped"
        yield GradientSpectrum(of, clipped, n_records, tuple(noise_of(at.descent)))


def noise_of(descent: DpSgdSettings) -> Iterator[Ridge]:
    """What the noise of a private descent is beside the products of clipped gradients.

    A fair coin of a record moves a step's sum by ``q g`` and has a variance of ``q^2 g g' / 4``,
    so that noise of variance ``(sigma C)^2`` counts as ``tau = 4 (sigma C / q)^2``; T steps that
    see the same gradients add up to a T-th of it. Sampling's own noise is left out.
    """
    if descent.noise_multiplier > 0:
        step = 4 * (descent.noise_multiplier * descent.clip / descent.sampling_rate) ** 2
        yield Ridge(step, "the noise of one step")
        meaning = f"the noise of all {descent.steps} steps, as if each saw these gradients"
        yield Ridge(step / descent.steps, meaning)


def _at_training(plan: AuditPlan) -> _AtTraining | None:
    scorer, private = plan.scorer, plan.data.private
    if isinstance(scorer, MlpClassifier):
        return _with_own_bias(network_of(plan, scorer), private.features.astype(np.float64))
    if isinstance(scorer, PrivateClassifier):
        rows, settings = scorer.embed(private.features).astype(np.float64), scorer.settings
        if settings.hidden:
            network = network_without_noise(plan, scorer)
        else:
            network = [_one_layer(descent_without_noise(plan, scorer))]
        return _AtTraining(network, rows, settings.multipliers(rows.shape[1]), settings)
    if isinstance(scorer, Classifier):
        weights = _regression(plan, replace(scorer, score="logit", device="cpu"))
        embedded = scorer.embed(private.features.astype(np.float64))
        return _AtTraining([_one_layer(weights)], embedded)
    return None


def _regression(plan: AuditPlan, scorer: Classifier) -> Floats:
    private = plan.data.private
    everyone = np.ones((1, private.n_candidates), dtype=bool)
    fitted = scorer.fit(private, everyone, plan.data.pool, streams=real_streams(plan))
    if not isinstance(fitted, LinearScorers):
        raise TypeError("logits are linear.")
    weights: Floats = fitted.weights[0].astype(np.float64)
    return weights


def _with_own_bias(network: list[Layer], rows: Features) -> _AtTraining:
    """A network of one layer as ``record_gradients`` has it: its bias is a weight of ones."""
    if len(network) > 1:
        return _AtTraining(network, rows)
    (only,) = network
    weight = torch.cat([only.weight, only.bias])
    return _AtTraining([Layer(weight, torch.zeros_like(only.bias))], with_ones(rows))


def _one_layer(weights: Floats) -> Layer:
    weight = torch.as_tensor(weights)[:, None]
    return Layer(weight, weight.new_zeros((1, 1)))


def _drawn(plan: AuditPlan) -> Indices:
    """Candidates with at most ``MOST_ROWS`` rows together, ascending; all where these are few."""
    private = plan.data.private
    sizes = np.bincount(private.unit[private.unit != ALWAYS_IN], minlength=private.n_candidates)
    order = Streams(plan.seed).generator("health: gradients").permutation(len(sizes))
    n_kept = max(1, int((np.cumsum(sizes[order]) <= MOST_ROWS).sum()))
    return np.sort(order[:n_kept])
