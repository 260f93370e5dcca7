"""Audits of private curations on small arrays, and mechanisms that are broken on purpose."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from unittest import mock

import numpy as np
import torch

from curation_audit.api import Pipeline
from curation_audit.auditing.plan import AttackSettings, AuditPlan, RunSettings, Threat
from curation_audit.dp.gaussian_sum import GaussianSum
from curation_audit.pipelines.base import Scorer
from curation_audit.pipelines.protection import noisy_top_k
from curation_audit.pipelines.protection.base import Budget, Site
from curation_audit.pipelines.protection.gaussian_mean import GaussianMean
from curation_audit.pipelines.protection.protect import ProtectSettings, protect
from curation_audit.pipelines.rules.top import TopK
from curation_audit.pipelines.scorers import noisy_sum, private_classifier, private_objective
from curation_audit.pipelines.scorers.mean import Mean
from curation_audit.pipelines.scorers.noisy_sum import NoisySum
from curation_audit.streams import ShadowStreams
from curation_audit.training import dp_gradients

DELTA = 1e-5
MEAN = {"mechanism": "gaussian_mean", "scorer": GaussianMean(clip=1.0, metric="inner_product")}
PICKS = {"mechanism": "noisy_top_k"}
KNOWS = ("algorithm", "candidates", "memberships", "other candidates", "pool")
SCORES = {"scores": ("known_others",)}
SELECTION = {"selection": ("mask_filter",)}


def pipeline(
    *,
    seed: int = 0,
    n: int = 30,
    d: int = 40,
    m: int = 100,
    k: int = 20,
    shadows: int = 128,
    rows_each: int = 1,
    scorer: Scorer | None = None,
    methods=SCORES,
) -> Pipeline:
    """Candidates of length one in random directions; the rows of a unit are all alike."""
    rng = np.random.default_rng([seed, 5])
    rows = rng.standard_normal((n, d))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return Pipeline(
        private=np.repeat(rows, rows_each, axis=0),
        public=rng.standard_normal((m, d)),
        scorer=scorer or Mean(metric="inner_product"),
        select=TopK(k=k),
        train=None,
        standardise="none",
        unit=np.repeat(np.arange(n), rows_each) if rows_each > 1 else None,
        seed=seed,
        run=RunSettings(dtype="float64", device="cpu"),
        attack=AttackSettings(shadows=shadows, methods=methods, fpr=(0.1,), delta=DELTA),
        threat=Threat(observes=tuple(methods), knows=KNOWS),
    )


def protected_plan(
    mechanism: str,
    *,
    budget: Budget | None = None,
    epsilon: float = 3.0,
    adjacency="zero_out",
    settings=None,
    selection=None,
    noise_tier="hardened",
    **world,
) -> AuditPlan:
    """The plan of an audit with a mechanism in place."""
    plan = pipeline(**world).plan()
    asked = ProtectSettings(
        mechanism=mechanism,
        adjacency=adjacency,
        budget=budget or Budget(epsilon=epsilon, delta=DELTA),
        scorer=settings,
        selection=selection,
        noise_tier=noise_tier,
    )
    site = Site(
        private=plan.data.private,
        pool=plan.data.pool,
        scorer=plan.scorer,
        adjacency=adjacency,
        seed=plan.seed,
        device="cpu",
    )
    found = protect(asked, site, plan.rule, plan.unit)
    return dataclasses.replace(
        plan,
        scorer=found.scorer,
        rule=found.rule,
        claim=found.claim,
        protection=found.protection,
    )


# --- violations


@contextlib.contextmanager
def patched(*patches: tuple[object, str, object]) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for owner, name, wrong in patches:
            stack.enter_context(mock.patch.object(owner, name, wrong))
        yield


def half_the_sensitivity():
    """Noise for C / 2 where a unit moves the sum by C."""
    return patched((GaussianSum, "sum_sensitivity", property(lambda self: self.clip / 2)))


def the_same_noise():
    """A generator that is seeded once, in every shadow (and in every release)."""
    own = ShadowStreams.generators

    def shared(self, purpose):
        first = (0,) * len(self.shadows) if purpose == noisy_sum.NOISE_STREAM else self.shadows
        return own(ShadowStreams(self.root, self.scope, first), purpose)

    return patched((ShadowStreams, "generators", shared))


def rows_clipped():
    """Every row is clipped, and a patient has ten."""

    def sums(rows, owner, n_units):
        found = np.zeros((n_units, rows.shape[1]))
        longest = np.maximum(1, np.linalg.norm(rows, axis=1, keepdims=True))
        np.add.at(found, owner, rows / longest)
        return found

    return patched(
        (noisy_sum, "unit_sums", sums), (GaussianSum, "vectors", lambda self, units: units)
    )


def own_number():
    """A mean over the units that are held, with noise for a mean over all N.

    The attacker knows the algorithm, so his linearisation is that of the wrong one.
    """
    exact, linearise = GaussianSum.exact, NoisySum.linearise

    def by_own_number(self, vectors, held):
        counts = np.maximum(held.sum(axis=1, keepdims=True), 1)
        return exact(self, vectors, held) * held.shape[1] / counts

    def doubled(self, private, pool):
        found = linearise(self, private, pool)
        return dataclasses.replace(
            found,
            reference=2 * found.reference,
            influence=2 * found.influence,
            covariance=4 * (found.covariance - found.noise) + found.noise,
        )

    return patched((GaussianSum, "exact", by_own_number), (NoisySum, "linearise", doubled))


def k_forgotten():
    """Gumbel noise for one pick."""
    scale = noisy_top_k.gumbel_scale
    return patched((noisy_top_k, "gumbel_scale", lambda k, R, rho: scale(1, R, rho)))


def largest_score_only():
    """Gaussian noise on all scores, for how far a single one moves."""
    bounded = noisy_top_k.NoisySelection.bounded

    def wrong(self, site, scorer):
        found = bounded(self, site, scorer)
        return dataclasses.replace(found, delta_2=found.delta_inf)

    return patched((noisy_top_k.NoisySelection, "bounded", wrong))


def half_the_noise_of_steps():
    """Noise for half of the clipping norm in every step."""
    right = private_classifier.fit_dp_sgd

    def wrong(units, held, public, settings, **rest):
        half = dataclasses.replace(settings, noise_multiplier=settings.noise_multiplier / 2)
        return right(units, held, public, half, **rest)

    return patched((private_classifier, "fit_dp_sgd", wrong))


def gradients_unclipped():
    """Every gradient counts as short."""

    def short(flow, batch, biased):
        return torch.zeros(batch.counted.shape[:2], dtype=torch.float64)

    return patched(
        (dp_gradients, "_unit_norms", short),
        (private_objective, "clipped", lambda gradients, norm: gradients),
    )


def scaler_on_private_rows():
    """Rows less the mean of the private set."""
    own = GaussianMean.map

    def wrong(self, site):
        center = site.private.features.mean(axis=0)
        return dataclasses.replace(own(self, site), center=center)

    return patched((GaussianMean, "map", wrong))


Violation = Callable[[], contextlib.AbstractContextManager[None]]
