"""A small curation that is worth something, sweeps of it, and points made up by hand."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from curation_audit.api import Pipeline
from curation_audit.auditing.plan import AttackSettings, AuditPlan, RunSettings
from curation_audit.pipelines.downstream.logistic import Logistic
from curation_audit.pipelines.rules.top import TopK
from curation_audit.pipelines.scorers.mean import Mean
from curation_audit.results import Estimate
from curation_audit.sweeping.plan import SweepPlan, SweepSettings, plan_sweep
from curation_audit.sweeping.results import AttackedStage, Ceilings, PointResult, Usefulness

N, M, K, DELTA = 20, 80, 16, 1e-5
INF = math.inf
METHODS = {"scores": ("trace",), "selection": ("binary_lira",), "model": ("loss",), "joint": ()}
FOLDERS = ("unprotected", "gaussian_mean-1", "gaussian_mean-8", "gaussian_mean-inf")
"""Where the points of a sweep lie, in order."""
RELEASED = ("release/sweep.json", "release/sweep.html")
WARD = np.array([2.0, 0, 2.0, 0])


def rows(n: int, seed: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Features and labels; labels are right only near the private set, so that picks matter."""
    rng = np.random.default_rng(seed)
    near = rng.random(n) < share
    features = rng.standard_normal((n, 4)) + np.where(near[:, None], WARD, -WARD)
    return features, np.where(near, features[:, 1] > 0, features[:, 1] < 0).astype(int)


def pipeline(**changes: Any) -> Pipeline:
    (private, mine), (pool, theirs), (test, truth) = rows(N, 0, 1), rows(M, 1, 0.3), rows(200, 2, 1)
    settings: dict[str, Any] = {
        "private": private,
        "public": pool,
        "test": test,
        "labels": {"private": mine, "public": theirs, "test": truth},
        "scorer": Mean(),
        "select": TopK(k=K),
        "train": Logistic(l2=0.1, device="cpu"),
        "attack": AttackSettings(shadows=8, methods=METHODS),
        "run": RunSettings(device="cpu"),
        "seed": 3,
    }
    return Pipeline(**(settings | changes))


def base(out: Path | None = None, **changes: Any) -> AuditPlan:
    """The audit without protection; of its points only the JSON is written."""
    run = RunSettings(out=out, device="cpu", workers=changes.pop("workers", 1))
    return replace(pipeline(run=run, **changes).plan(), formats=("json",))


def settings(**changes: Any) -> SweepSettings:
    words = {"adjacency": "zero_out", "delta": DELTA, "epsilons": (1.0, 8.0, INF), "repeats": 3}
    return SweepSettings(**(words | changes))


def planned(out: Path | None = None, *, every: bool = False, of=None, **changes: Any) -> SweepPlan:
    """A sweep; ``of`` changes the pipeline, the others the sweep."""
    return plan_sweep(base(out, **(of or {})), settings(**changes), every=every)


def estimate(value: float, half: float = 0.01) -> Estimate:
    return Estimate(value, value - half, value + half, 0.95)


def worth(accuracy: float | None, half: float = 0.01, **changes: Any) -> Usefulness:
    values: dict[str, Any] = {
        "n_repeats": 3,
        "n_picked": K,
        "metric": "accuracy",
        "accuracy": None if accuracy is None else estimate(accuracy, half),
        "overlap": estimate(0.5),
        "rank_correlation": None,
        "relevant": None,
    }
    return Usefulness(**(values | changes))


def attacked(auc: float, stage: str = "scores", *, refuted: bool | None = False) -> AttackedStage:
    return AttackedStage(
        stage=stage,
        attack=f"attack on {stage}",
        auc=estimate(auc),
        tpr_at_one_percent=None,
        bounds={"one run": 0.25, "pair mean": 0.0},
        declared="one run",
        refuted=refuted,
    )


def point(
    epsilon: float | None, accuracy: float | None, mechanism: str | None = "gaussian_mean", **more
) -> PointResult:
    noisy = epsilon is not None
    values: dict[str, Any] = {
        "mechanism": mechanism,
        "epsilon": epsilon,
        "ceilings": Ceilings(epsilon=epsilon, auc=0.6, advantage=0.1, tpr_at_one_percent=0.02)
        if noisy
        else None,
        "usefulness": worth(accuracy),
        "stages": (attacked(0.55, refuted=False if noisy else None),),
        "verdict": "no leak found",
        "ablation": False,
        "notes": ("A note.",),
        "events": ("An event.",),
        "folder": None,
    }
    return PointResult(**(values | more))


def nothing_drawn(sweep: Mapping[str, Any]) -> dict[str, Any]:
    """No figures; drawing takes longer than all points of a small sweep."""
    blank = dict.fromkeys((one["mechanism"] for one in sweep["points"]), "")
    return {"utility": "", "auc": blank, "tpr": blank, "bounds": blank}


def released(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in RELEASED}
