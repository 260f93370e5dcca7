"""A full, realistic report, made of the real result types."""

from dataclasses import replace
from typing import Any

import numpy as np
from scipy import stats

from curation_audit.auditing.context import ReleaseContext
from curation_audit.auditing.crosswalk import crosswalk
from curation_audit.auditing.governance import CombinedRisk, Coverage
from curation_audit.auditing.plan import Threat
from curation_audit.dp.claims import GaussianClaim
from curation_audit.dp.conditions import assumptions
from curation_audit.dp.events import Gaussian
from curation_audit.dp.ledger import Ledger
from curation_audit.dp.protection import Protection
from curation_audit.observations import OBSERVED_STAGES, STAGES, Stage
from curation_audit.report import SCHEMA_VERSION
from curation_audit.report.numbers import headline_numbers
from curation_audit.results import (
    AttackResult,
    ClaimedStage,
    ClaimResult,
    ControlResult,
    EpsilonBound,
    Estimate,
    Headline,
    Metrics,
    OperatingPoint,
    PolicyResult,
    Precision,
    Records,
    RiskHistogram,
    RocCurve,
    Slice,
    Stability,
    StageBounds,
    StageResult,
    Subgroups,
    Utility,
    Verdict,
    WorstRecord,
    to_plain,
)
from curation_audit.statistics.precision import PRIORS, predictive_value

N_PAIRS, N_CANDIDATES = 64, 200
TITLES = {
    "lira_best_row": ("LiRA on the best row", "Curation Leaks, arXiv 2603.00811"),
    "trace": ("Trace of the released vector", "this project"),
    "extract": ("Extracted scorer", "this project"),
    "binary_lira": ("Binary LiRA on the picks", "Curation Leaks"),
    "mask_trace": ("Trace of the picked mean", "this project"),
    "mask_extract": ("Scorer extracted from the picks", "this project"),
    "loss": ("Loss threshold", "Yeom et al. 2018"),
    "lira": ("LiRA, online", "Carlini et al. 2022"),
    "stacked": ("All evidence stacked", "this project"),
}
DETECTABILITY: dict[Stage, dict[str, float]] = {
    "scores": {"lira_best_row": 0.5, "trace": 1.1},
    "selection": {"binary_lira": 0.2, "mask_trace": 0.6, "mask_extract": 0.45},
    "model": {"loss": 0.0, "lira": 0.05},
    "joint": {"stacked": 1.2},
}
# What each method made of 32 evaluation pairs: epsilon, resolution, and what was counted.
PAIRS = {"pairs": 32, "candidates": 200}
RUNS = {"canaries": 6400, "guesses": 128}
RATES = {"in_rows": 32, "out_rows": 32}
GDP = "the curation is mu-GDP for some mu"
LIMITS: dict[Stage, dict[str, tuple[float, float, dict[str, int]]]] = {
    "scores": {
        "pair mean": (0.2979, 2.032, PAIRS),
        "pair mean, GDP": (0.981, 8.148, PAIRS),
        "one run": (1.9789, 3.562, RUNS | {"right": 116}),
        "one run, f-DP": (2.715, 4.958, RUNS | {"right": 116}),
        "Clopper-Pearson": (1.204, 2.102, RATES | {"true_positives": 24, "false_positives": 1}),
        "Clopper-Pearson, GDP": (3.9, 12.97, RATES | {"true_positives": 24, "false_positives": 1}),
        "joint beta": (2.08, 3.737, RATES | {"true_positives": 24, "false_positives": 1}),
    },
    "selection": {"pair mean": (0.156, 2.032, PAIRS), "one run": (0.0042, 3.562, RUNS)},
    "model": {"pair mean": (0.0, 2.032, PAIRS), "one run": (0.0, 3.562, RUNS)},
    "joint": {"pair mean": (0.311, 2.032, PAIRS)},
}


def estimate(value: float, half: float, *, least: float = 0.0) -> Estimate:
    """``value`` with an interval that keeps to [least, 1]."""
    return Estimate(value, max(least, value - half), min(1.0, value + half), 0.95)


def tpr_of(shift: float, fpr: Any) -> Any:
    """The TPR of a test between two normal distributions."""
    return stats.norm.sf(stats.norm.isf(fpr) - shift)


def operating_point(shift: float, fpr: float, n: int) -> OperatingPoint:
    if fpr * n < 10:
        reason = f"{fpr * n:.1f} false positives expected, 10 needed"
        return OperatingPoint(fpr, "not resolvable", reason, fpr * n)
    tpr = float(tpr_of(shift, fpr))
    return OperatingPoint(
        fpr, "resolved", None, fpr * n, estimate(tpr, 0.2 * tpr), 1.04 * fpr,
        round(tpr * n), round(1.04 * fpr * n), 37,
        precision=tuple(Precision(prior, believed(prior, tpr, 1.04 * fpr)) for prior in PRIORS),
        stability=Stability(estimate(2 * tpr * (1 - tpr), 0.03), 0.215),
    )  # fmt: skip


def believed(prior: float, tpr: float, fpr: float) -> Estimate:
    value, low, high = (predictive_value(prior, factor * tpr, fpr) for factor in (1, 0.8, 1.2))
    return Estimate(value, low, high, 0.95)


def records(shift: float) -> Records:
    exposures = stats.norm.cdf(shift + np.linspace(0.8, 0.2, 10))
    worst = [
        WorstRecord(f"{n:02x}" + "c0ffee" * 2 + "42", estimate(float(exposure), 0.3))
        for n, exposure in enumerate(exposures)
    ]
    return Records(N_CANDIDATES, 0.12, 4 if shift > 0.5 else 0, tuple(worst))


def subgroups(shift: float) -> Subgroups:
    def sliced(attribute: str, group: str, n: int, more: float) -> Slice:
        auc = float(stats.norm.cdf((shift + more) / np.sqrt(2)))
        point = operating_point(shift + more, 0.01, n * N_PAIRS // 2)
        return Slice(attribute, group, 1, n, estimate(auc, 0.05), point)

    slices = [
        sliced("label", "benign", 140, 0.0), sliced("label", "malignant", 60, 0.05),
        sliced("site", "east wing", 185, 0.0), sliced("site", "west wing", 11, 0.4),
        Slice("site", "small groups", 2, 4, None, None),
    ]  # fmt: skip
    return Subgroups(10, tuple(slices), slices[3])


def metrics(shift: float, n_pairs: int) -> Metrics:
    n, auc = n_pairs * N_CANDIDATES, float(stats.norm.cdf(shift / np.sqrt(2)))
    advantage = float(2 * stats.norm.cdf(shift / 2) - 1) - 0.004
    points = tuple(operating_point(shift, fpr, n) for fpr in (0.001, 0.01, 0.1))
    return Metrics(
        n_pairs, n, n, "these candidates", estimate(auc, 0.02),
        estimate(advantage, 0.03, least=-1.0),
        estimate(0.5 + advantage / 2, 0.015), points,
    )  # fmt: skip


def attack(name: str, shift: float) -> AttackResult:
    fpr = np.geomspace(1 / (N_PAIRS * N_CANDIDATES), 1, 60)
    tpr = tpr_of(shift, fpr)
    roc = RocCurve(fpr, tpr, 0.7 * tpr, np.minimum(1.0, 1.3 * tpr))
    aucs = np.random.default_rng(3).normal(0.5 + shift / 4, 0.05, N_CANDIDATES).clip(0, 1)
    counts, edges = np.histogram(aucs, bins=np.linspace(0, 1, 41))
    risk = RiskHistogram(edges, counts.astype(np.float64), float(aucs.max()), float(aucs.mean()))
    return AttackResult(
        name, *TITLES[name], ("pool", "candidates"), "run",
        metrics=metrics(shift, N_PAIRS), roc=roc, candidate_risk=risk,
    )  # fmt: skip


def not_applicable(name: str) -> AttackResult:
    needs = ("pool", "linear scorer")
    return AttackResult(name, *TITLES[name], needs, "not applicable", "needs linear scorer")


def stage_result(stage: Stage) -> StageResult:
    shifts = DETECTABILITY[stage]
    attacks = [attack(name, shift) for name, shift in shifts.items()]
    if stage == "scores":
        attacks.append(not_applicable("extract"))
    best = max(shifts, key=lambda name: shifts[name])
    measured = metrics(shifts[best], N_PAIRS // 2)
    headline = Headline(
        best,
        "AUC on the first half of the pairs",
        N_PAIRS // 2,
        measured,
        reversed=False,
        above_chance=measured.auc.low > 0.5,
        records=records(shifts[best]),
        subgroups=None if stage == "model" else subgroups(shifts[best]),
    )
    return StageResult(stage, "attacked", headline, tuple(attacks))


def stage_bounds(stage: Stage) -> StageBounds:
    """The joint attack reads coins, so that it has no one-run bound."""
    results = [
        EpsilonBound(
            method=method, epsilon=epsilon, delta=1e-5, confidence=0.95,
            hypothesis=GDP if method.endswith("DP") else None,
            condition="a posterior quantile" if method == "joint beta" else "judged by others",
            resolution=resolution, counts=counts,
            label="estimate" if method == "joint beta" else "bound",
        )
        for method, (epsilon, resolution, counts) in LIMITS[stage].items()
    ]  # fmt: skip
    attack = max(DETECTABILITY[stage], key=lambda name: DETECTABILITY[stage][name])
    low = {"scores": 0.574, "selection": 0.539, "model": 0.5, "joint": 0.577}[stage]
    return StageBounds(stage, attack, "add_remove", 32, 32, low + 0.06, low, tuple(results))


def claimed(mu: float) -> ClaimResult:
    """A Gaussian claim, which the scores and all stages together refute."""
    claim = GaussianClaim(mu=mu, adjacency="add_remove")
    fpr = np.union1d(np.geomspace(1e-5, 1, 60), [0.001, 0.01, 0.1])
    epsilon, allowed = claim.epsilon_at(1e-5), claim.pair_share()
    lows: dict[Stage, tuple[float, float | None]] = {
        "scores": (0.551, 1.66), "selection": (0.502, 0.0), "model": (0.5, 0.0),
        "joint": (0.553, None),
    }  # fmt: skip
    stages = [
        ClaimedStage(stage, low, least, low > allowed or (least or 0) > epsilon, allowed, epsilon)
        for stage, (low, least) in lows.items()
    ]
    return ClaimResult(
        kind=claim.kind, constants={"mu": mu}, adjacency=claim.adjacency, epsilon=epsilon,
        delta=1e-5, auc=claim.auc(), advantage=claim.advantage(), pair_share=allowed,
        fpr=fpr, tpr=claim.tpr(fpr), stages=tuple(stages),
        refuted=any(stage.refuted for stage in stages),
    )  # fmt: skip


def controls(*, passed: bool) -> dict[str, Any]:
    results = [
        ControlResult(control, stage, name, estimate(0.501, 0.018), 0.43, 0.0000625, True)
        for control in ("random curation", "permuted inclusion")
        for stage in OBSERVED_STAGES
        for name in DETECTABILITY[stage]
    ]
    blind = estimate(0.497 if passed else 0.612, 0.02)
    p = 0.81 if passed else 1.2e-9
    results.append(
        ControlResult("blind classifier", None, "logistic regression", blind, p, 0.0000625, passed)
    )
    return {
        "family_wise_level": 0.001,
        "n_tests": len(results),
        "passed": passed,
        "note": "In the coin game the blind control is guaranteed by design.",
        "results": results,
    }


def design() -> dict[str, Any]:
    return {
        "n_shadows": 2 * N_PAIRS, "n_pairs": N_PAIRS, "n_candidates": N_CANDIDATES, "unit": "row",
        "n_private_rows": 200, "n_always_in_rows": 0, "n_pool": 2000, "n_test": 119,
        "n_features": 30, "classes": ["malignant", "benign"], "scorer": "classifier",
        "rule": "top_k", "downstream": "logistic",
        "picked": {"real": 150, "shadows_min": 150, "shadows_max": 150},
        "smallest_fpr": 0.0016, "mean_rows_per_shadow": 100.0, "production_rows": 200,
        "canaries": None, "planted": None,
    }  # fmt: skip


def configuration() -> dict[str, Any]:
    return {
        "version": 1,
        "name": "med",
        "private": {"source": "breast_cancer", "rows": [0, 200]},
        "curate": {"scorer": {"kind": "classifier"}, "select": {"kind": "top_k", "k": 150}},
        "attack": {"shadows": 128, "fpr": [0.001, 0.01, 0.1], "confidence": 0.95},
    }


def utility() -> Utility:
    how = "2.5 % and 97.5 % quantiles of the random picks"
    return Utility("accuracy", 119, 150, 0.9496, 0.7843, 0.6807, 0.8740, 50, how, 0.9412)


def sample_report() -> dict[str, Any]:
    """A leak at the scores and at the selection, none told from chance at the model.

    A claim is refuted, and the bounds show much, hardly anything, or nothing.
    """
    report: dict[str, Any] = to_plain(
        {
            "schema_version": SCHEMA_VERSION,
            "tool": {"name": "curation-audit", "version": "0.1.0", "code_digest": "9f2c" * 16},
            "name": "med",
            "seed": 7,
            "design": design(),
            "threat": Threat(),
            "stages": [stage_result(stage) for stage in STAGES],
            "controls": controls(passed=True),
            "utility": utility(),
            "policy": [
                PolicyResult("model", "auc", "low", 0.55, 0.494, False),
                PolicyResult("scores", "tpr_at_fpr_0.001", "low", 0.01, None, False),
            ],
            "bounds": [stage_bounds(stage) for stage in STAGES],
            "claim": claimed(mu=0.1),
            "protection": protection(),
            "fine_tuning": None,
            **declared(),
            "verdict": Verdict(
                "leak found",
                1,
                "The scores and the selection tell who was in the private set. The claimed "
                "guarantee is refuted.",
            ),
            "warnings": ["3 private rows also stand in the pool."],
            "data": {
                "private": {"n_rows": 200, "fingerprint": "sha256:" + "1a" * 32},
                "pool": {"n_rows": 2000, "fingerprint": "sha256:" + "2b" * 32},
                "test": {"n_rows": 119, "fingerprint": "sha256:" + "3c" * 32},
                "n_private_rows_in_pool": 3,
            },
            "configuration": configuration(),
            "limitations": [
                "Shadows hold half of the candidates: the numbers describe 100 private rows.",
                "The audit was computed on private data and is not itself differentially private.",
                "Resistance to these attacks is evidence against these attacks only.",
            ],
        }
    )
    report["numbers"] = headline_numbers(report)
    return report


def protection(**changes: Any) -> Protection:
    """One noisy mean, as ``curate.protect`` describes it."""
    event = Gaussian(mu=0.1, what="scorer (gaussian_mean)")
    values: dict[str, Any] = {
        "mechanism": "gaussian_mean",
        "adjacency": "add_remove",
        "unit": "patient_id",
        "epsilon": 0.325,
        "delta": 1e-5,
        "covers": OBSERVED_STAGES,
        "events": Ledger("add_remove", "patient_id", (event,)).lines(1e-5),
        "sensitivities": ("one vector of length at most C is in the sum, or is not",),
        "notes": ("A note on the mechanism.",),
        "assumptions": assumptions({"encoder": "public"}),
        "ablation": False,
        "noise_source": "seeded streams",
        "tuning": "selection not accounted",
    }
    return Protection(**(values | changes))


def declared() -> dict[str, Any]:
    """What is declared, what ran and what did not, and which questions that answers."""
    context = ReleaseContext(
        purpose="Train a triage model",
        operator="Data office",
        artefacts=("selection", "model"),
        recipients="two partner hospitals",
        prior=0.02,
        review_date="2027-01-31",
    )
    ran = [
        Coverage(attack=name, title=TITLES[name][0], stage=stage, status="run", reason=None)
        for stage, names in DETECTABILITY.items()
        for name in names
    ]
    left = Coverage(
        attack="extract",
        title=TITLES["extract"][0],
        stage="scores",
        status="not applicable",
        reason="needs linear scorer",
    )
    unasked = replace(left, attack="gibbs", title="A posterior", stage="selection")
    unasked = replace(unasked, status="not run", reason="attack.methods does not name it")
    at_prior = predictive_value(0.02, 0.2, 0.01)
    return {
        "context": context,
        "coverage": [*ran, left, unasked],
        "combined_risk": [
            CombinedRisk(
                stage="scores",
                prior=0.02,
                fpr=0.01,
                predictive_value=Estimate(at_prior, at_prior - 0.05, at_prior + 0.05, 0.95),
            ),
            CombinedRisk(stage="model", prior=0.02, fpr=0.01, predictive_value=None),
        ],
        "crosswalk": crosswalk({"system": True, "attacked": True, "utility": True}),
    }


def sparse_report() -> dict[str, Any]:
    """Everything that can be missing is: an invalid audit, unobserved stages, no test set."""
    nothing_ran = StageResult("selection", "attacked", None, (not_applicable("mask_extract"),))
    changes = {
        "threat": Threat(observes=("scores", "selection"), knows=()),
        "stages": [
            stage_result("scores"),
            nothing_ran,
            StageResult("model", "not observed", None, ()),
        ],
        "controls": controls(passed=False),
        "utility": None,
        "policy": [],
        "bounds": [],
        "claim": None,
        "protection": None,
        "context": None,
        "combined_risk": None,
        "warnings": [],
        "verdict": Verdict("audit invalid", 5, "A control found a leak where there can be none."),
    }
    report = sample_report() | to_plain(changes)
    report["data"]["test"] = report["data"]["private"]["fingerprint"] = None
    headline = report["stages"][0]["headline"]
    headline["subgroups"] = None
    for record in headline["records"]["worst"]:
        record["id"] = None
    for point in headline["metrics"]["tpr_at_fpr"][1:]:
        point["stability"]["coin_flips"] = None
        for precision in point["precision"]:
            precision["ppv"] = None
    report["numbers"] = headline_numbers(report)
    return report


def sample_run() -> dict[str, Any]:
    """What ``run.json`` holds."""
    phases = [("data", 0.21, 1, 0), ("shadows", 21.4, 16, 3), ("attacks", 9.87, 8, 0)]
    return {
        "started": "2026-01-05T10:00:00Z",
        "finished": "2026-01-05T10:00:32Z",
        "seconds": 32.1,
        "phases": [
            {"name": name, "seconds": seconds, "n_chunks": chunks, "n_reused": reused}
            for name, seconds, chunks, reused in phases
        ],
        "environment": {
            "python": "3.11.2",
            "platform": "Linux-6.1-x86_64",
            "cpu_count": 2,
            "device": "cpu",
            "packages": {"numpy": "2.4.6", "torch": "2.13.0", "scikit-learn": "1.9.0"},
        },
        "peak_memory_mb": 812.4,
        "workers": 2,
        "history": [
            {"started": "2026-01-05T09:58:00Z", "seconds": 4.2, "n_chunks": 3, "n_reused": 0},
            {"started": "2026-01-05T10:00:00Z", "seconds": 32.1, "n_chunks": 22, "n_reused": 3},
        ],
    }
