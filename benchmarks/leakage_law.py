"""The law of leakage by number of records, against what larger audits measure.

    python benchmarks/leakage_law.py

First mu of the scores, where at most 400 records are held against 800, 1,600 and 3,200; then the
AUC of every stage, forecast from 160 records for 320, 640 and 1,280.
"""

from dataclasses import replace

import numpy as np
from analytic_shadows import auc, plan_of

from curation_audit import Pipeline
from curation_audit.analytic.affine import Linear, likelihood_ratios
from curation_audit.auditing.plan import AuditPlan, RunSettings
from curation_audit.forecasting.outlook import measured_stages, outlook
from curation_audit.forecasting.prediction import exact_shadows, linear_of, spot_check
from curation_audit.pipelines.base import Scorer
from curation_audit.pipelines.downstream.logistic import Logistic
from curation_audit.pipelines.rules.top import TopK
from curation_audit.pipelines.scorers.classifier import Classifier
from curation_audit.pipelines.scorers.mean import Mean
from curation_audit.statistics.leakage_law import (
    Measured,
    SpectralLaw,
    extrapolated,
    fit_power,
    mu_of_auc,
)
from curation_audit.training.device import one_thread
from curation_audit.types import Features

N_TODAY = 160


def leakage_law(seed: int) -> None:
    """Fitted where at most 400 records are held, against what 800, 1,600 and 3,200 show.

    The spectral law is made of the 800 candidates at n = 400 and has nothing to fit; the law of
    one dimension and the power law are fitted to the measured mu of n up to 400.
    """
    sizes, d = (128, 200, 400, 800, 1600, 3200), 64
    points = [measured_mu(n, d, seed) for n in sizes]
    known = [point for point in points if point.n_held <= 400]
    power = fit_power(known)
    foretold = law_plan(400, d, seed)
    linear = Linear.of(foretold.scorer, foretold.data)
    assert linear is not None
    spectral = SpectralLaw.of(linear.affine().shifts, fall=1.0)
    header = ("n", "mu, measured", "spectral", "off by", "one dimension (range)", "off by")
    print(f"| {' | '.join((*header, 'power', 'off by'))} |")
    print("|---|---|---|---|---|---|---|---|")
    for point in points:
        n, found = point.n_held, extrapolated(known, point.n_held, np.random.default_rng(0))
        made = mu_of_auc(spectral.auc(n))
        off = [one / point.mu - 1 for one in (made, found.value, power.mu(n))]
        print(
            f"| {n:g} | {point.mu:.3f} +- {point.error:.3f} | {made:.3f} | {off[0]:+.1%} | "
            f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f}) | {off[1]:+.1%} | "
            f"{power.mu(n):.3f} | {off[2]:+.1%} |",
            flush=True,
        )


def law_plan(n_held: int, d: int, seed: int) -> AuditPlan:
    """A logistic scorer with a penalty of .05 n, 2n standard normal candidates."""
    rng = np.random.default_rng(seed + n_held)
    public = rng.standard_normal((2000, d)) + 0.3
    return plan_of(rng.standard_normal((2 * n_held, d)), public, l2=0.05 * n_held)


def measured_mu(n_held: int, d: int, seed: int) -> Measured:
    """By the filter on exact shadows."""
    plan = law_plan(n_held, d, seed)
    n_shadows = max(40, 40_000 // n_held // 2 * 2)
    inclusion, scores = exact_shadows(plan, n_shadows)
    linear = Linear.of(plan.scorer, plan.data)
    assert linear is not None
    affine = replace(linear.affine(), left=0.0)
    found = likelihood_ratios(affine, linear.seen(scores))
    pairs = [auc(inclusion[i : i + 2], found[i : i + 2]) for i in range(0, n_shadows, 2)]
    mu = mu_of_auc(auc(inclusion, found))
    spread = np.std([mu_of_auc(one) for one in pairs], ddof=1) / np.sqrt(len(pairs))
    return Measured(n_held, mu, float(spread))


def stages_plan(kind: str, scorer: str, n: int, seed: int) -> AuditPlan:
    """24 features of falling variance, of which a tenth of 1,500 rows is picked for a model."""
    d, rng = 24, np.random.default_rng([seed, n])
    scale = 1 / np.sqrt(1 + np.arange(d))

    def drawn(n_rows: int) -> Features:
        if kind == "normal":
            return rng.standard_normal((n_rows, d))
        return rng.standard_t(3, (n_rows, d)) / np.sqrt(3)

    private, public = drawn(n) * scale, (drawn(1500) + 0.4) * scale
    scorers: dict[str, Scorer] = {
        "classifier": Classifier(device="cpu", l2=0.025 * n),
        "mean": Mean(metric="inner_product"),
    }
    return Pipeline(
        private=private,
        public=public,
        labels={
            "private": (private[:, 0] > 0).astype(int),
            "public": (public[:, 0] + 0.3 * public[:, 1] > 0.4).astype(int),
        },
        scorer=scorers[scorer],
        select=TopK(k=150),
        train=Logistic(l2=1.0),
        standardise="none",
        seed=3,
        run=RunSettings(dtype="float64"),
    ).plan()


def law_of_stages(kind: str, scorer: str, seed: int) -> None:
    """Print what is forecast of larger audits, and what they measure."""
    forecast = outlook(stages_plan(kind, scorer, N_TODAY, seed), 64, model=True)
    for n in (320, 640, 1280):
        plan = stages_plan(kind, scorer, n, seed)
        linear = linear_of(plan)
        inclusion, scores = exact_shadows(plan, max(32, 40_000 // n // 2 * 2))
        found = measured_stages(plan, linear, ["selection", "model"], inclusion, scores)
        check = spot_check(linear.affine(), linear, inclusion, scores)
        for law in forecast.laws:
            told = law.auc(n)
            as_today = replace(law.law, noise_fall=0.0).auc(n / 2)
            true = check.measured if law.stage == "scores" else found[law.stage]
            print(
                f"| {kind}, {scorer}, {seed} | {n:,} | {law.stage} | "
                f"{true.value:.3f} ({true.low:.3f} to {true.high:.3f}) | "
                f"{told.value:.3f} ({told.low:.3f} to {told.high:.3f}) | {as_today:.3f} |",
                flush=True,
            )


def main() -> None:
    """Print both tables."""
    with one_thread():
        leakage_law(0)
        print("| rows, scorer, seed | records | stage | measured AUC | forecast | noise as today |")
        print("|---|---|---|---|---|---|")
        for kind in ("normal", "t(3)"):
            for scorer in ("classifier", "mean"):
                for seed in (0, 1):
                    law_of_stages(kind, scorer, seed)


if __name__ == "__main__":
    main()
