"""BaVarIA: LiRA with means and variances that few shadows cannot fix left uncertain."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import betaln, digamma, polygamma

from curation_audit.attacks.base import OtherPairs, in_shadow_order
from curation_audit.attacks.moments import Moments, moments
from curation_audit.attacks.signals import Signal, signal_per_candidate
from curation_audit.observations import Knowledge, Observation, Stage
from curation_audit.streams import ShadowStreams
from curation_audit.types import Evidence, Floats, Inclusion

LEAST_TRIGAMMA = 4e-6  # of about a million degrees of freedom
NEWTON_STEPS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Bavaria:
    """Ratio of Student-t predictive densities of a signal at the candidate, in against out.

    What few shadows cannot fix is left to priors that are fitted to all candidates: variances
    are inverse-gamma, by the moments of their logarithms (Smyth 2004, section 6.2), first those
    of candidates, then how far a candidate's two sides differ; and the gap between in and out is
    normal, by its spread over candidates beyond sampling error. A candidate's level has a flat
    prior. Most is gained below 64 shadows.
    """

    name: ClassVar[str] = "bavaria"
    title: ClassVar[str] = "BaVarIA at the candidate"
    stage: ClassVar[Stage] = "model"
    needs: ClassVar[frozenset[str]] = frozenset(
        {"algorithm", "candidates", "confidences", "labels", "pool", "queries at the candidates"}
    )
    source: ClassVar[str] = (
        "after Brannvall 2026, arXiv:2603.11799; priors of this project, after Smyth 2004, "
        "doi:10.2202/1544-6115.1027"
    )
    cost: ClassVar[str] = "S N C"

    signal: Signal = "margin"

    def evidence(
        self,
        observation: Observation,
        inclusion: Inclusion,
        knowledge: Knowledge,
        *,
        streams: ShadowStreams,
    ) -> Evidence:
        """Float64 (S, N)."""
        signal = signal_per_candidate(observation, knowledge, self.signal)
        found = moments(signal, inclusion, OtherPairs.of(knowledge, inclusion))
        predictive = fitted(found)
        ratio = predictive.log_density(found.tested, 0, found.resolution)
        ratio -= predictive.log_density(found.tested, 1, found.resolution)
        return in_shadow_order(ratio, inclusion)


@dataclass(frozen=True, slots=True)
class Predictive:
    """Student-t densities; axis 1 holds "in" first, then "out".

    ``location``, ``scale2`` (P, 2, N): centre and squared scale. ``freedom`` (P, 1, 1).
    """

    location: Floats
    scale2: Floats
    freedom: Floats

    def log_density(self, tested: Floats, hypothesis: int, resolution: float) -> Floats:
        """Of both shadows (P, 2, N) of each pair under one hypothesis."""
        freedom = self.freedom
        scale2 = self.scale2[:, hypothesis, None]
        away = tested - self.location[:, hypothesis, None]
        away[np.abs(away) < resolution] = 0.0
        away *= away
        away /= freedom * scale2
        np.log1p(away, out=away)
        away *= -(freedom + 1) / 2
        # B(1/2, f/2) holds the gamma functions and the root of pi; large f loses no digits
        away -= betaln(0.5, freedom / 2) + 0.5 * np.log(freedom) + 0.5 * np.log(scale2)
        return away


def fitted(found: Moments) -> Predictive:
    """The predictive densities after the other pairs, with priors fitted to all candidates."""
    n = found.counts[:, None, None]
    variance, freedom = _variances(found, n)
    middle = found.mean.mean(axis=1, keepdims=True)
    effect = found.mean[:, :1] - found.mean[:, 1:]
    error = variance.sum(axis=1, keepdims=True) / n
    typical = effect.mean(axis=2, keepdims=True)
    spread = np.maximum(((effect - typical) ** 2 - error).mean(axis=2, keepdims=True), 0)
    share = spread / (spread + error)
    half = (typical + share * (effect - typical)) / 2
    return Predictive(
        location=np.concatenate([middle + half, middle - half], axis=1),
        scale2=variance + (1 + share) * error / 4,
        freedom=freedom,
    )


def _variances(found: Moments, n: Floats) -> tuple[Floats, Floats]:
    """Variances of the signal with and without the candidate, (P, 2, N), and their freedom.

    First a variance of each candidate, as if it were the same in and out but for a factor that
    all candidates share; then each side's own, pulled to it as far as the two sides agree.
    """
    freedom = np.maximum(n - 1, 1)
    variance = np.maximum(found.variance, found.floor)
    factor = variance.mean(axis=2, keepdims=True)
    relative = variance / factor
    of_candidate = relative.mean(axis=1, keepdims=True)
    prior, level = variance_prior(of_candidate, 2 * freedom)
    of_candidate = (prior * level + 2 * freedom * of_candidate) / (prior + 2 * freedom)
    apart = np.log(relative[:, :1] / relative[:, 1:])
    excess = apart.var(axis=2, keepdims=True) / 2 - polygamma(1, freedom / 2)
    agreed = 2 * inverse_trigamma(np.maximum(excess, LEAST_TRIGAMMA))
    pulled = (agreed * of_candidate + freedom * relative) / (agreed + freedom)
    return factor * pulled, 1 / (1 / (agreed + freedom) + 1 / (prior + 2 * freedom))


def variance_prior(variance: Floats, freedom: Floats) -> tuple[Floats, Floats]:
    """Degrees of freedom and variance of the prior of variances, (P, 2, 1) each.

    Where log variances spread no more over candidates than sampling makes them, candidates share
    a variance and the degrees of freedom are as good as infinite.
    """
    logs = np.log(variance)
    centre = logs.mean(axis=2, keepdims=True)
    excess = logs.var(axis=2, keepdims=True) - polygamma(1, freedom / 2)
    prior = 2 * inverse_trigamma(np.maximum(excess, LEAST_TRIGAMMA))
    half, half_prior = freedom / 2, prior / 2
    level = centre - digamma(half) + np.log(half) + digamma(half_prior) - np.log(half_prior)
    return prior, np.exp(level)


def inverse_trigamma(value: Floats) -> Floats:
    """The x > 0 with ``trigamma(x) = value``, by Newton steps on 1 / trigamma, which is convex."""
    x = 0.5 + 1 / value
    for _ in range(NEWTON_STEPS):
        trigamma = polygamma(1, x)
        x = x + trigamma * (1 - trigamma / value) / polygamma(2, x)
    return np.asarray(x, dtype=np.float64)
