"""What attacks find of tuned scorers: less than is claimed, unless runs are not paid for."""

import math
from unittest import mock

import numpy as np
import pytest
from scipy.stats import norm, rankdata

from curation_audit import Pipeline, audit
from curation_audit.auditing.plan import AttackSettings, Threat
from curation_audit.dp.calibration import mu_for
from curation_audit.dp.claims import GaussianClaim
from curation_audit.dp.tuning import Grid, RandomStopping
from curation_audit.pipelines.protection.base import Budget
from curation_audit.pipelines.protection.protect import ProtectSettings
from curation_audit.pipelines.protection.tuning import PaidTuning
from curation_audit.pipelines.rules.top import TopK
from curation_audit.pipelines.scorers import tuned as tuned_module
from curation_audit.pipelines.scorers.linear import LinearScorers
from curation_audit.pipelines.scorers.tuned import Kept, TunedScorers
from curation_audit.statistics.gdp import mu_of_epsilon
from tests.pipelines.protected import DELTA, Case, N, pool_rows, private_rows, protected, streams
from tests.pipelines.test_tuned import tuned_case

POOL = pool_rows()


def audited_plan(runs) -> Pipeline:
    """24 records in directions of their own, so that each is seen as well as the noise lets it."""
    rng = np.random.default_rng(3)
    private = np.eye(24) * 3 + rng.normal(size=(24, 24)) * 0.1
    over = {
        "clip": (0.5, 1.0, 2.0),
        "metric": ("cosine", "inner_product"),
        "center": (True, False),
    }
    return Pipeline(
        private=private,
        public=rng.normal(size=(300, 24)),
        scorer="mean",
        select=TopK(k=50),
        train=None,
        standardise="none",
        protect=ProtectSettings(
            mechanism="gaussian_mean",
            adjacency="zero_out",
            budget=Budget(epsilon=8.0, delta=1e-3),
            tuning=PaidTuning(over=over, runs=runs),
        ),
        threat=Threat(observes=("scores",)),
        attack=AttackSettings(shadows=64),
        seed=5,
    )


def best_auc(result) -> float:
    return max(one.metrics.auc.value for one in result.stages[0].attacks if one.metrics)


@pytest.mark.parametrize("runs", [Grid(), RandomStopping(mean=60, number="poisson")], ids=repr)
def test_an_audit_finds_less_than_the_claim_and_more_where_runs_are_not_paid_for(runs):
    """Many runs with the noise of one, of which one is booked: the leak is far larger.

    A lower bound is above its claim with probability .05 at most.
    """
    right = audit(audited_plan(runs))
    assert right.verdict.status != "audit invalid"
    assert not right.claim.refuted
    assert best_auc(right) < right.claim.auc
    (composition,) = [one for one in right.report["crosswalk"] if one["clause"] == "composition"]
    assert composition["status"] == "covered"
    with (
        mock.patch.object(type(runs), "mu", lambda self, target, n, adjacency: mu_for(target)),
        mock.patch.object(
            type(runs), "events", lambda self, runs: (runs[0].scorer, runs[0].quality)
        ),
    ):
        wrong = audit(audited_plan(runs))
    assert wrong.claim.epsilon == pytest.approx(epsilon_of_bounds(8.0), rel=1e-3)
    assert best_auc(wrong) > best_auc(right) + 0.15


def epsilon_of_bounds(epsilon: float) -> float:
    """The epsilon at 1e-5, where bounds are stated, of Gaussian noise with this epsilon at 1e-3."""
    mu = mu_of_epsilon(epsilon, 1e-3)
    return GaussianClaim(mu=mu, adjacency="zero_out").epsilon_at(1e-5)


def average(fitted, made, quality, n_shadows):
    """A tuning that lets every run out: the average of all."""
    totals = np.zeros((n_shadows, fitted[0].weights.shape[1]))
    for choice, scorers in enumerate(fitted):
        np.add.at(totals, made.place[made.choice == choice], scorers.weights)
    every = Kept(np.arange(n_shadows), LinearScorers(totals, fitted[0].embed))
    return TunedScorers((every,), np.zeros(n_shadows, dtype=np.int64))


def known_others_auc(case: Case) -> tuple[float, float]:
    """Of who knows all records but one, by 4,000 draws with it and without; and the claim's."""
    n = 4000
    private = private_rows()
    of = protected(case, private, epsilon=2.0)
    inclusion = np.ones((n, N), dtype=bool)
    inclusion[n // 2 :, 0] = False
    fitted = of.scorer.fit(private, inclusion, POOL, streams=streams(range(n)))
    scores = fitted.score(private.features[:1])[:, 0]
    ranks = rankdata(scores)[: n // 2].sum()
    auc = (ranks - (n // 2) * (n // 2 + 1) / 2) / (n // 2) ** 2
    return auc, of.claim.auc()


@pytest.mark.parametrize("runs", [Grid(), RandomStopping(mean=4)], ids=repr)
def test_the_adversary_of_the_definition_stays_below_the_claim(runs):
    """4,000 draws, so that one standard error of an AUC near one half is .0091; three of them."""
    found, claimed = known_others_auc(tuned_case(runs, {"clip": (0.9, 1.0, 1.1)}))
    assert found < claimed + 0.028


def test_the_adversary_of_the_definition_refutes_a_tuning_that_lets_all_runs_out():
    """Nine runs with the noise of one each: mu is three times what is claimed."""
    over = {"clip": tuple(1 + i / 1000 for i in range(9))}
    with (
        mock.patch.object(Grid, "mu", lambda self, target, n, adjacency: mu_for(target)),
        mock.patch.object(Grid, "events", lambda self, runs: (runs[0].scorer, runs[0].quality)),
        mock.patch.object(tuned_module, "_kept", average),
    ):
        found, claimed = known_others_auc(tuned_case(Grid(), over))
    assert claimed == pytest.approx(norm.cdf(mu_of_epsilon(2.0, DELTA) / math.sqrt(2)), abs=1e-3)
    assert found > claimed + 0.05
