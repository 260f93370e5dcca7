"""What leaves an audit: report.json, its renderings, the evidence by keyed id, and run.json."""

import hashlib
import hmac
import importlib.metadata
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from curation_audit.analytic.red_flags import red_flag_warnings
from curation_audit.auditing.chunks import Curations
from curation_audit.auditing.contents import contents
from curation_audit.auditing.evidence import AttackEvidence, Game
from curation_audit.auditing.judge import CONTROLS_LEVEL
from curation_audit.auditing.layout import design_warnings, smallest_fpr
from curation_audit.auditing.plan import AuditPlan
from curation_audit.auditing.planting import n_targets, planting_warnings
from curation_audit.pipelines.base import ALWAYS_IN
from curation_audit.report import SCHEMA_VERSION, validate_report
from curation_audit.report.numbers import headline_numbers
from curation_audit.report.renderings import (
    check_formats,
    finished_run,
    forget_renderings,
    write_owners_report,
    write_renderings,
)
from curation_audit.results import (
    ClaimResult,
    ControlResult,
    PolicyResult,
    StageBounds,
    StageResult,
    Utility,
    Verdict,
    to_plain,
)
from curation_audit.storage import (
    code_digest,
    read_or_make_key,
    sweep,
    write_arrays_atomically,
    write_atomically,
)
from curation_audit.training.device import resolve_device
from curation_audit.version import __version__

EVIDENCE_KINDS: Final = ("evidence", "null", "permuted", "fitted")
"""The arrays of ``AttackEvidence``; each stands in evidence.npz as ``KIND_ATTACK``."""

PACKAGES = ("numpy", "scipy", "scikit-learn", "torch", "pyarrow", "matplotlib")

BLIND_NOTE = (
    "The coins that decide who is in are drawn independently of the candidates, so the blind "
    "classifier is at chance by design here; it guards against a fault of the tool itself."
)

LIMITATIONS = (
    "Numbers with an interval are estimates for these candidates and new shadows: none of them "
    "limits what a stronger attack could find. A bound on epsilon is a lower one: it says how much "
    "privacy is missing at least, never how much is left.",
    "Only the attacks listed were run, with the knowledge listed. An attack that is not "
    "applicable here may apply to an adversary who knows more.",
    "The audit was computed on private data and is not itself differentially private. Pass on "
    "the release folder only; the cache is as sensitive as the private set.",
)


def build_report(
    plan: AuditPlan,
    *,
    stages: Sequence[StageResult],
    controls: Sequence[ControlResult],
    policy: Sequence[PolicyResult],
    bounds: Sequence[StageBounds],
    claim: ClaimResult | None,
    utility: Utility | None,
    verdict: Verdict,
    curations: Curations,
    game: Game,
) -> dict[str, Any]:
    """The tree of report.json; it holds nothing that differs between runs of one audit."""
    tool = {"name": "curation-audit", "version": __version__, "code_digest": code_digest()}
    report: dict[str, Any] = to_plain(
        {
            "schema_version": SCHEMA_VERSION,
            "tool": tool,
            "name": plan.name,
            "seed": plan.seed,
            "design": _design(plan, curations, game),
            "threat": plan.threat,
            "stages": stages,
            "controls": {
                "family_wise_level": CONTROLS_LEVEL,
                "n_tests": len(controls),
                "passed": all(control.passed for control in controls),
                "note": BLIND_NOTE,
                "results": controls,
            },
            "utility": utility,
            "policy": policy,
            "bounds": bounds,
            "claim": claim,
            "protection": plan.protection,
            "fine_tuning": None if plan.fine_tuned is None else plan.fine_tuned.told,
            "verdict": verdict,
            "warnings": [
                *plan.data.warnings,
                *design_warnings(plan),
                *planting_warnings(plan),
                *_pick_warnings(curations),
                *red_flag_warnings(plan.scorer, plan.data),
            ],
            **contents(plan, stages=stages, controls=controls, claim=claim, utility=utility),
            "data": data_tree(plan),
            "configuration": plan.configuration,
            "limitations": [_size_limitation(plan, game), *LIMITATIONS],
        }
    )
    report["numbers"] = headline_numbers(report)
    validate_report(report)
    return report


def _design(plan: AuditPlan, curations: Curations, game: Game) -> dict[str, Any]:
    data, canaries = plan.data, plan.attack.canaries
    sizes = curations.shadows.observation.selection.sizes
    rows_held = data.private.row_inclusion(game.inclusion).sum(axis=1)
    return {
        "n_shadows": plan.attack.shadows,
        "n_pairs": plan.attack.shadows // 2,
        "n_candidates": data.private.n_candidates,
        "unit": plan.unit,
        "n_private_rows": data.n_real_rows,
        "n_always_in_rows": int((data.private.unit == ALWAYS_IN).sum()),
        "n_pool": len(data.pool),
        "n_test": 0 if data.test is None else len(data.test),
        "n_features": int(data.pool.features.shape[1]),
        "classes": list(data.classes),
        "scorer": plan.scorer.name,
        "rule": plan.rule.name,
        "downstream": plan.model_name,
        "picked": {
            "real": int(curations.real.observation.selection.sizes[0]),
            "shadows_min": int(sizes.min()),
            "shadows_max": int(sizes.max()),
        },
        "smallest_fpr": smallest_fpr(plan),
        "mean_rows_per_shadow": float(rows_held.mean()),
        "production_rows": data.n_real_rows,
        "canaries": None
        if canaries is None
        else {"kind": canaries.kind_for(plan.scorer), "count": data.n_canaries},
        "planted": None
        if curations.planted is None
        else {
            "rows": curations.planted.observation.scores.shape[1],
            "targets": n_targets(plan),
        },
    }


def _size_limitation(plan: AuditPlan, game: Game) -> str:
    """What size of private set the numbers describe."""
    held = plan.data.private.row_inclusion(game.inclusion).sum(axis=1).mean()
    if plan.data.n_canaries:
        return (
            f"Shadows hold all {plan.data.n_real_rows} private rows and half of the "
            f"{plan.data.n_canaries} canaries, so the numbers describe a private set of "
            f"{held:.0f} records; a larger set usually leaks less per record."
        )
    return (
        f"Shadows hold {held:.0f} of the {len(plan.data.private)} private rows on average, so the "
        "numbers describe a private set of that size; a larger set usually leaks less per record."
    )


def _pick_warnings(curations: Curations) -> list[str]:
    if not curations.real.observation.selection.sizes.all():
        return [
            "The curation picks no row at all with the whole private set: what is told of picks "
            "and of the model is of a rule that should be loosened."
        ]
    if curations.shadows.observation.selection.sizes.all():
        return []
    return ["Some shadows picked no row at all; their models learned nothing."]


def data_tree(plan: AuditPlan) -> dict[str, Any]:
    """Sizes and fingerprints; those of patients' rows are keyed, so that no guess can be tested."""
    data = plan.data
    test = None
    if data.test is not None:
        fingerprint = _keyed_fingerprint(plan, data.fingerprints["test"])
        test = {"n_rows": len(data.test), "fingerprint": fingerprint}
    fingerprint = _keyed_fingerprint(plan, data.fingerprints["private"])
    return {
        "private": {"n_rows": data.n_real_rows, "fingerprint": fingerprint},
        "pool": {"n_rows": len(data.pool), "fingerprint": data.fingerprints["public"]},
        "test": test,
        "n_private_rows_in_pool": data.n_private_rows_in_pool,
    }


def build_run_record(
    plan: AuditPlan, started: float, phases: list[dict[str, Any]], out: Path | None
) -> dict[str, Any]:
    """The tree of run.json: what differs between runs of one audit."""
    seconds = time.time() - started
    entry = {
        "started": _iso(started),
        "seconds": seconds,
        "n_chunks": phases[0]["n_chunks"],
        "n_reused": phases[0]["n_reused"],
    }
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        2**20 if sys.platform == "darwin" else 2**10
    )
    return {
        "started": _iso(started),
        "finished": _iso(time.time()),
        "seconds": seconds,
        "phases": phases,
        "environment": {
            "python": platform.python_version(),
            "platform": platform.platform(),
            "cpu_count": os.cpu_count(),
            "device": resolve_device(plan.run.device).type,
            "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        },
        "peak_memory_mb": peak,
        "backend": plan.run.backend,
        "workers": plan.run.n_workers,
        "history": [*_history(out), entry],
    }


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _history(out: Path | None) -> list[dict[str, Any]]:
    """Earlier runs in this folder; a run.json that cannot be read starts afresh."""
    try:
        history = json.loads((out / "run.json").read_text())["history"] if out else []
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return history if isinstance(history, list) else []


def default_id_key(private_digest: str) -> Path:
    """Where the key of a private set lies when ``run.id_key`` names no other place."""
    data_home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data_home) / "curation-audit" / "id-keys" / f"{private_digest[:16]}.key"


def id_key(plan: AuditPlan) -> bytes:
    """The key of the plan's private set."""
    return read_or_make_key(plan.run.id_key or default_id_key(plan.data.fingerprints["private"]))


def _keyed_fingerprint(plan: AuditPlan, digest: str) -> str | None:
    """A digest under the id key; ``None`` for a run that writes nothing."""
    if plan.run.out is None:
        return None
    return hmac.new(id_key(plan), digest.encode(), hashlib.sha256).hexdigest()


def keyed_ids(plan: AuditPlan) -> list[str]:
    """The candidates' ids as keyed hashes, 16 hex digits each."""
    key = id_key(plan)
    return [
        hmac.new(key, unit.encode(), hashlib.sha256).hexdigest()[:16]
        for unit in plan.data.private.unit_ids
    ]


def write_release(
    plan: AuditPlan,
    report: Mapping[str, Any],
    run: Mapping[str, Any],
    found: Sequence[AttackEvidence],
    game: Game,
) -> Path | None:
    """Write run.json, the evidence and the release folder; the path of the HTML report, if any.

    The evidence stays beside the release folder: its columns stand in the order of the private
    file, so that a keyed id tells its row to whoever knows that order.
    """
    if plan.run.out is None:
        raise ValueError("this plan has no run folder.")
    release = plan.run.out / "release"
    release.mkdir(parents=True, exist_ok=True)
    sweep(plan.run.out)
    sweep(release)
    write_atomically(plan.run.out / "run.json", json_bytes(run))
    write_arrays_atomically(
        plan.run.out / "evidence.npz", stored_evidence(plan, found, game), mode=0o600
    )
    write_atomically(release / "report.json", json_bytes(report))
    forget_renderings(plan.run.out, plan.formats)
    finished = finished_run(plan.run.out)
    paths = write_renderings(finished, plan.formats)
    write_owners_report(finished)
    return dict(zip(plan.formats, paths, strict=True)).get("html")


def stored_evidence(
    plan: AuditPlan, found: Sequence[AttackEvidence], game: Game
) -> dict[str, np.ndarray]:
    """Everything that the numbers of a report are computed from, by name.

    The keyed salt keeps the file's hash, which a manifest publishes, from answering guesses.
    """
    salt = hmac.new(id_key(plan), b"salt of the evidence", hashlib.sha256).digest()
    return {
        "inclusion": game.inclusion,
        "blind": game.blind,
        "n_claims": np.array(plan.n_claims),
        "candidate": np.array(keyed_ids(plan)),
        "salt": np.frombuffer(salt, dtype=np.uint8),
        **{
            f"{kind}_{one.name}": values
            for one in found
            for kind in EVIDENCE_KINDS
            if (values := getattr(one, kind)) is not None
        },
    }


def json_bytes(tree: Mapping[str, Any]) -> bytes:
    """Readable JSON in a fixed order."""
    return (json.dumps(tree, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def render_again(run_folder: Path, formats: Sequence[str]) -> tuple[list[Path], str | None]:
    """Write renderings of a finished run again, and the owner's report where there is one.

    Their paths, and why training health that lies there is not rendered, if it is not.

    Raises:
        InputError: for an unknown format, a folder without a report, or a report that is not one.
    """
    check_formats("--format", formats)
    finished = finished_run(run_folder)
    return [*write_renderings(finished, formats), *write_owners_report(finished)], finished.problem
