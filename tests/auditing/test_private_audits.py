"""Audits of private curations: violations are flagged, their correct twins are not.

Every violation is patched into the real mechanism and goes through the whole audit. A claim is
refuted at 95 % confidence, so that a twin has at most a 5 % chance to be; seeds are fixed.

Not every violation shows in a game of coins; see the last test. And from the picks alone noise of
half the size is borderline: 128 shadows found .69, .71 and .69 of pairs told apart (three seeds)
where .694 is allowed, so that it stands here for the scores only.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from curation_audit.api import audit
from curation_audit.auditing.engine import AuditResult
from curation_audit.pipelines.protection.base import Budget
from curation_audit.pipelines.protection.dp_sgd import DpGd, DpSgd
from curation_audit.pipelines.protection.gaussian_mean import GaussianMean
from curation_audit.pipelines.protection.noisy_top_k import NoisySelection
from curation_audit.pipelines.scorers.classifier import Classifier
from curation_audit.pipelines.scorers.mean import Mean
from curation_audit.streams import Streams
from tests.auditing import protected_plans as plans
from tests.auditing.protected_plans import DELTA, Violation, pipeline, protected_plan

COSINE = {"scorer": Mean(), "n": 6, "d": 4, "m": 1000, "k": 500, "methods": plans.SELECTION}
LOGIT = {"scorer": Classifier(device="cpu"), "n": 12, "d": 20}
MEAN = GaussianMean(clip=1.0, metric="inner_product")
GAUSSIAN = NoisySelection(noise="gaussian")


@dataclass(frozen=True)
class Planted:
    """A violation, and the audit that must notice it."""

    violation: Violation
    mechanism: str
    plan: dict[str, Any] = field(default_factory=dict)
    rounds: int = 1

    def audited(self, *, broken: bool) -> AuditResult:
        if not broken:
            return audit(protected_plan(self.mechanism, **self.plan))
        with self.violation():
            return audit(protected_plan(self.mechanism, **self.plan))


def of_mean(violation: Violation, **plan) -> Planted:
    return Planted(violation, "gaussian_mean", {"settings": MEAN, **plan})


PLANTED = {
    "noise for half the sensitivity": of_mean(plans.half_the_sensitivity),
    "noise for half the sensitivity, strict": of_mean(
        plans.half_the_sensitivity,
        noise_tier="strict",
        shadows=256,  # zCDP allows more
    ),
    "the same noise in every shadow": of_mean(plans.the_same_noise),
    "the same noise, from the picks": of_mean(
        plans.the_same_noise, methods=plans.SELECTION, m=1000, k=500
    ),
    "rows clipped, and a patient has ten": of_mean(plans.rows_clipped, rows_each=10),
    "own number in the denominator": of_mean(plans.own_number),
    "Gumbel noise that forgets k": Planted(
        plans.k_forgotten, "noisy_top_k", {**COSINE, "epsilon": 1.0}
    ),
    "Gaussian noise for the largest score only": Planted(
        plans.largest_score_only,
        "noisy_top_k",
        {**COSINE, "epsilon": 1.0, "selection": GAUSSIAN},
    ),
    "gradients that are not clipped": Planted(
        plans.gradients_unclipped, "dp_gd", {**LOGIT, "settings": DpGd(steps=5, clip=0.2)}
    ),
    "half the noise in every step": Planted(
        plans.half_the_noise_of_steps,
        "dp_gd",
        {**LOGIT, "settings": DpGd(steps=5, clip=0.2), "shadows": 256},
    ),
    "half the noise in every step, sampled": Planted(
        plans.half_the_noise_of_steps,
        "dp_sgd",
        {**LOGIT, "settings": DpSgd(steps=2, sampling_rate=0.5, clip=0.2), "shadows": 512},
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_violation_is_flagged_and_its_twin_is_not(name):
    planted = PLANTED[name]
    wrong, right = planted.audited(broken=True), planted.audited(broken=False)
    assert wrong.claim.epsilon == pytest.approx(right.claim.epsilon)  # they claim the same
    assert wrong.claim.refuted
    assert wrong.verdict.exit_code == 1
    assert not right.claim.refuted
    # the evidence is a bound at the observed stage, above what is allowed; not a point
    (stage,) = wrong.claim.stages
    assert stage.pair_share_low > wrong.claim.pair_share


def test_a_twin_is_seldom_refuted():
    """Twenty correct mechanisms: more than four refutations have a chance below 0.003."""
    refuted = sum(
        audit(protected_plan("gaussian_mean", settings=MEAN, seed=seed, shadows=32)).claim.refuted
        for seed in range(20)
    )
    assert refuted <= 4


# --- with and without


def auc_of(result: AuditResult) -> tuple[float, float, float]:
    """AUC of the best attack that was audited, with its interval."""
    (stage,) = (one for one in result.stages if one.headline is not None)
    found = stage.headline.metrics.auc
    return found.value, found.low, found.high


def test_attacks_lose_what_the_mechanism_takes():
    """The adversary of the definition, on the same curation: bare, and private by two budgets."""
    bare = audit(pipeline())
    assert auc_of(bare)[0] > 0.99
    for mu in (1.5, 0.5):
        private = audit(
            protected_plan("gaussian_mean", settings=MEAN, budget=Budget(mu=mu, delta=DELTA))
        )
        value, low, high = auc_of(private)
        ceiling = private.claim.auc
        assert low <= ceiling  # an expected AUC above it is what a claim rules out
        assert value < ceiling + 0.02
        assert value > 0.5 + 0.75 * (ceiling - 0.5)  # and the attack is nearly as good as can be
        assert high < auc_of(bare)[1]


@pytest.mark.parametrize(
    "methods",
    [
        {"scores": ("known_others", "matched_filter", "shadow_filter", "trace")},
        {"selection": ("mask_filter", "mask_trace", "jaccard")},
    ],
    ids=["scores", "selection"],
)
def test_attacks_that_train_on_a_mechanism_of_noise_alone_are_at_chance(methods):
    """At mu = 0.01 the AUC is at most .503; 3,840 guesses have a standard error of .009."""
    budget = Budget(mu=0.01, delta=DELTA)
    found = audit(protected_plan("gaussian_mean", settings=MEAN, budget=budget, methods=methods))
    value, low, high = auc_of(found)
    assert abs(value - 0.5) < 0.05
    assert low < 0.503 < high + 0.03
    assert not found.claim.refuted
    assert all(control.passed for control in found.controls)
    with plans.the_same_noise():  # whose noise an attacker takes off, however much there is
        shared = audit(
            protected_plan("gaussian_mean", settings=MEAN, budget=budget, methods=methods)
        )
    if "scores" in methods:
        assert auc_of(shared)[0] > 0.9


def test_noise_is_fresh_in_shadows_the_real_curation_and_the_null_ones():
    plan = protected_plan("gaussian_mean", settings=MEAN)
    everyone = np.ones((2, plan.data.private.n_candidates), dtype=bool)
    released = [
        plan.scorer.fit(
            plan.data.private,
            everyone,
            plan.data.pool,
            streams=Streams(plan.seed).for_shadows(scope, range(2)),
        ).weights
        for scope in ("real", "shadow", "tried")
    ]
    assert len(np.unique(np.concatenate(released).round(12), axis=0)) == 6


def test_without_noise_nothing_is_claimed_and_everything_is_read():
    found = audit(protected_plan("gaussian_mean", settings=MEAN, epsilon=np.inf))
    assert found.claim is None
    assert auc_of(found)[0] > 0.99


# --- what coins cannot show


def test_a_public_constant_that_was_private_is_the_same_in_all_shadows():
    """A scaler fitted on the private rows is one release more, and no shadow fits it again.

    The coins of the game decide about sums, not about constants, so nothing can be seen here.
    ``tests/pipelines/test_sensitivity.py`` finds it by building the mechanism from neighbours,
    and for steps outside of this tool ``dp/conditions.py`` asks.
    """
    with plans.scaler_on_private_rows():
        found = audit(protected_plan("gaussian_mean", settings=MEAN))
    assert not found.claim.refuted
