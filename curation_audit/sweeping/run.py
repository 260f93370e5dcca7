"""Run a sweep: every point an audit of its own, resumable, and one page for all of them."""

import json
import math
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from curation_audit.auditing.chunks import plan_parts
from curation_audit.auditing.engine import AuditResult, run_audit
from curation_audit.auditing.plan import AuditPlan, design_warnings
from curation_audit.auditing.progress import Progress, Silence
from curation_audit.auditing.release import json_bytes
from curation_audit.dp.claims import Claim
from curation_audit.report import words
from curation_audit.report.sweep_page import render_sweep, validate_sweep
from curation_audit.results import StageBounds, StageResult, to_plain
from curation_audit.storage import array_digest, content_key, locked, sweep, write_atomically
from curation_audit.sweeping.judge import conclude, knee_of
from curation_audit.sweeping.plan import Point, SweepPlan
from curation_audit.sweeping.results import (
    AttackedStage,
    Ceilings,
    PointResult,
    SweepResult,
    Usefulness,
)
from curation_audit.sweeping.stored import point_from_plain
from curation_audit.sweeping.utility import (
    Reference,
    random_picks,
    reference_of,
    relevant_rows,
    repeated,
    usefulness,
    whole_pool,
)
from curation_audit.version import __version__

ONE_PERCENT: Final = 0.01
SCHEMA_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class SweepOutcome:
    """A sweep's result, how it ends for the command line, and where its page lies."""

    result: SweepResult
    exit_code: int
    page: Path | None


def run_sweep(plan: SweepPlan, progress: Progress | None = None) -> SweepOutcome:
    """Audit every point, measure what it is worth, and conclude.

    With ``plan.base.run.out`` each finished point is stored, and a killed sweep continues with
    the next one.

    Raises:
        InputError: for input that the user can put right.
        OSError: if the folder cannot be written; finished points stay there.
    """
    shown = progress or Silence()
    out = plan.base.run.out
    with locked(out) if out else nullcontext():
        relevant = relevant_rows(plan.base, plan.settings.relevant)
        reference = reference_of(repeated(plan.audit(None), 1), relevant)
        points = []
        with shown.phase("sweep points", len(plan.points) + 1) as advance:
            for point in (None, *plan.points):
                points.append(_point(plan, point, reference))
                advance(1)
        result = _concluded(plan, points[0], tuple(points[1:]), reference)
        codes = {one.verdict for one in points}
        refuted = any(stage.refuted for one in points for stage in one.stages)
        code = 5 if "audit invalid" in codes else 1 if refuted else 0
        return SweepOutcome(result, code, _written(plan, result) if out else None)


def _point(plan: SweepPlan, point: Point | None, reference: Reference) -> PointResult:
    """One point, from its folder where it was finished with the same everything."""
    audit = plan.audit(point)
    key = _key(plan, audit, reference)
    path = None if audit.run.out is None else audit.run.out / "point.json"
    stored = None if path is None else _stored(path, key)
    if stored is not None:
        return stored
    result = run_audit(audit)
    found = _measured(plan, point, audit, result, reference)
    if path is not None:
        write_atomically(path, json_bytes({"key": key, "point": to_plain(found)}))
    return found


def _key(plan: SweepPlan, audit: AuditPlan, reference: Reference) -> str:
    """What a point's result hangs on."""
    settings = plan.settings
    return content_key(
        {
            **plan_parts(audit),
            "protection": to_plain(audit.protection),
            "compared with": array_digest(asdict(reference)),
            "threat": asdict(audit.threat),
            "attack": to_plain(audit.attack),
            "n_claims": audit.n_claims,
            "repeats": settings.repeats,
            "unit": audit.unit,
        }
    )


def _stored(path: Path, key: str) -> PointResult | None:
    """A finished point; ``None`` where there is none, or it is another's, or cut short."""
    try:
        tree = json.loads(path.read_text())
        return point_from_plain(tree["point"]) if tree["key"] == key else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _measured(
    plan: SweepPlan,
    point: Point | None,
    audit: AuditPlan,
    result: AuditResult,
    reference: Reference,
) -> PointResult:
    covers = ("scores",) if audit.protection is None else audit.protection.covers
    confidence = plan.base.attack.confidence
    noisy = point is not None and math.isfinite(point.epsilon)
    curated = repeated(audit, plan.settings.repeats if noisy or _sampled(audit) else 1)
    of = audit.protection
    folder = None if audit.run.out is None else f"points/{audit.run.out.name}"
    return PointResult(
        mechanism=None if point is None else point.mechanism,
        epsilon=point.epsilon if noisy and point is not None else None,
        ceilings=None if audit.claim is None else _ceilings(audit.claim, plan.settings.delta),
        usefulness=usefulness(
            audit, curated, reference, scored="scores" in covers, confidence=confidence
        ),
        stages=_stages(result),
        verdict=result.verdict.status,
        ablation=of is not None and of.ablation,
        notes=() if of is None else of.notes,
        events=() if of is None else of.events,
        folder=folder,
    )


def _sampled(audit: AuditPlan) -> bool:
    """Whether a curation without noise is random all the same, as DP-SGD samples units."""
    rate = getattr(getattr(audit.scorer, "settings", None), "sampling_rate", 1)
    return bool(rate < 1)


def _ceilings(claim: Claim, delta: float) -> Ceilings:
    import numpy as np

    return Ceilings(
        epsilon=claim.epsilon_at(delta),
        auc=claim.auc(),
        advantage=claim.advantage(),
        tpr_at_one_percent=float(claim.tpr(np.array([ONE_PERCENT]))[0]),
    )


def _stages(result: AuditResult) -> tuple[AttackedStage, ...]:
    bounds = {one.stage: one for one in result.bounds}
    claimed = {} if result.claim is None else {one.stage: one for one in result.claim.stages}
    return tuple(
        AttackedStage(
            stage=stage.stage,
            attack=stage.headline.attack,
            auc=stage.headline.metrics.auc,
            tpr_at_one_percent=_one_percent(stage),
            bounds=_bounds(bounds.get(stage.stage)),
            declared=_declared(bounds.get(stage.stage)),
            refuted=claimed[stage.stage].refuted if stage.stage in claimed else None,
        )
        for stage in result.stages
        if stage.headline is not None
    )


def _one_percent(stage: StageResult) -> Any:
    if stage.headline is None:
        return None
    rates = stage.headline.metrics.tpr_at_fpr
    return next((one.tpr for one in rates if math.isclose(one.fpr, ONE_PERCENT)), None)


def _bounds(found: StageBounds | None) -> dict[str, float]:
    if found is None:
        return {}
    return {one.method: one.epsilon for one in found.results if one.label == "bound"}


def _declared(found: StageBounds | None) -> str | None:
    names = _bounds(found)
    return next((name for name in words.DECLARED_METHODS if name in names), None)


def _concluded(
    plan: SweepPlan,
    unprotected: PointResult,
    points: tuple[PointResult, ...],
    reference: Reference,
) -> SweepResult:
    base, settings = plan.base, plan.settings
    n_picked, confidence = int(reference.picked.sum()), base.attack.confidence

    def worth(curated: Any) -> Usefulness:
        return usefulness(base, curated, reference, scored=False, confidence=confidence)

    random = worth(random_picks(base, n_picked, settings.repeats))
    names = dict.fromkeys(point.mechanism for point in plan.points)
    knees = tuple(knee_of(name, points, unprotected.usefulness, random) for name in names)
    sentence = conclude(
        knees,
        points,
        unprotected,
        adjacency=settings.adjacency,
        unit=base.unit,
        delta=settings.delta,
    )
    return SweepResult(
        name=base.name,
        adjacency=settings.adjacency,
        delta=settings.delta,
        unit=base.unit,
        confidence=confidence,
        n_claims=plan.n_claims,
        unprotected=unprotected,
        points=points,
        random=random,
        public_only=worth(whole_pool(base)),
        knees=knees,
        sentence=sentence,
        left_out=plan.left_out,
        warnings=(*base.data.warnings, *design_warnings(base), UNACCOUNTED),
    )


UNACCOUNTED: Final = (
    "Selection not accounted: to choose a mechanism or an epsilon by this sweep is to tune on the "
    "private set, and the sweep itself is not private. Choose on public data, or count every point "
    "that was looked at."
)


def sweep_tree(plan: SweepPlan, result: SweepResult) -> dict[str, Any]:
    """The tree of sweep.json; it holds nothing that differs between runs of one sweep."""
    tree: dict[str, Any] = to_plain(result)
    base = plan.base
    return {
        "schema_version": SCHEMA_VERSION,
        "tool": {"name": "curation-audit", "version": __version__},
        "seed": base.seed,
        "design": {
            "n_shadows": base.attack.shadows,
            "n_candidates": base.data.private.n_candidates,
            "n_pool": len(base.data.pool),
            "n_test": 0 if base.data.test is None else len(base.data.test),
            "scorer": base.scorer.name,
            "rule": base.rule.name,
            "downstream": None if base.downstream is None else base.downstream.name,
            "repeats": plan.settings.repeats,
        },
        **tree,
    }


def _written(plan: SweepPlan, result: SweepResult) -> Path:
    """Write sweep.json and its page into the release folder."""
    if plan.base.run.out is None:
        raise ValueError("this sweep has no folder.")
    release = plan.base.run.out / "release"
    release.mkdir(parents=True, exist_ok=True)
    sweep(release)
    tree = sweep_tree(plan, result)
    validate_sweep(tree)
    write_atomically(release / "sweep.json", json_bytes(tree))
    page = release / "sweep.html"
    write_atomically(page, render_sweep(tree).encode())
    return page
