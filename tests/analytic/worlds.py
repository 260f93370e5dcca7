"""Small curations whose scores are linear, or nearly."""

import numpy as np

from curation_audit.analytic.affine import Linear
from curation_audit.api import Pipeline
from curation_audit.auditing.plan import AttackSettings, AuditPlan, RunSettings
from curation_audit.pipelines.rules.top import TopK
from curation_audit.pipelines.scorers.classifier import Classifier
from curation_audit.pipelines.scorers.mean import Mean

N, M, D = 80, 300, 6


def linear_plan(scorer, **settings) -> tuple[AuditPlan, Linear]:
    """A plan, and its scorer to first order."""
    of = plan(scorer, **settings)
    return of, Linear.of(of.scorer, of.data)


def plan(scorer=None, *, n=N, d=D, seed=0, **settings) -> AuditPlan:
    rng = np.random.default_rng(seed)
    public = rng.standard_normal((M, d)) + 0.4
    given = {
        "private": rng.standard_normal((n, d)),
        "public": public,
        "labels": {"private": np.arange(n) % 2, "public": (public[:, 0] > 0.4).astype(int)},
        "scorer": scorer or Classifier(device="cpu"),
        "select": TopK(k=60),
        "attack": AttackSettings(shadows=32),
        "standardise": "none",
        "seed": 1,
        "run": RunSettings(dtype="float64"),
    }
    return Pipeline(**(given | settings)).plan()


MEAN, LOGIT = Mean(metric="inner_product"), Classifier(device="cpu")
