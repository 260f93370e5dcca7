"""One audit from end to end."""

import dataclasses
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from curation_audit.auditing.adversary import knowledge_of
from curation_audit.auditing.bounding import judge_bounds, judge_claim
from curation_audit.auditing.chunks import Curations, plant_once, run_curations
from curation_audit.auditing.evidence import (
    AttackEvidence,
    Game,
    check_something_runs,
    collect_evidence,
    draw_game,
)
from curation_audit.auditing.judge import (
    judge_controls,
    judge_policy,
    judge_stage,
    verdict,
)
from curation_audit.auditing.plan import AuditPlan, check_game
from curation_audit.auditing.progress import Progress, Silence
from curation_audit.auditing.release import (
    build_report,
    build_run_record,
    keyed_ids,
    write_release,
)
from curation_audit.observations import OBSERVED_STAGES, STAGES
from curation_audit.results import (
    ClaimResult,
    ControlResult,
    PolicyResult,
    StageBounds,
    StageResult,
    Utility,
    Verdict,
)
from curation_audit.storage import ChunkStore, locked
from curation_audit.training.device import one_thread
from curation_audit.types import Evidence, Inclusion


@dataclass(frozen=True, slots=True, repr=False)
class AuditResult:
    """What an audit found.

    ``report`` and ``run`` are what ``report.json`` and ``run.json`` hold; ``evidence`` is
    float64 (S, N) by attack, to be compared with ``inclusion`` bool (S, N). ``report_path`` is
    the HTML report where one was written.
    """

    stages: tuple[StageResult, ...]
    controls: tuple[ControlResult, ...]
    policy: tuple[PolicyResult, ...]
    bounds: tuple[StageBounds, ...]
    claim: ClaimResult | None
    utility: Utility | None
    verdict: Verdict
    inclusion: Inclusion
    evidence: Mapping[str, Evidence]
    report: Mapping[str, Any]
    run: Mapping[str, Any]
    report_path: Path | None

    def __repr__(self) -> str:
        """The verdict, and where to read on; not the arrays."""
        return f"AuditResult({self.verdict.status}: {self.verdict.text} {self.report_path or ''})"


def run_audit(plan: AuditPlan, progress: Progress | None = None) -> AuditResult:
    """Run all curations, attack them, judge the evidence, and write the run folder.

    Without ``plan.run.out`` nothing is written. With it, finished chunks are reused and a killed
    run continues where it was.

    Raises:
        InputError: for input that the user can put right.
        OSError: if the run folder cannot be written; what was finished stays there.
    """
    check_game(plan)
    shown = progress or Silence()
    out = plan.run.out
    with locked(out) if out else nullcontext():
        started = time.time()
        store = ChunkStore(out / "cache" if out else None)
        clock = _Clock()
        with one_thread():
            knowledge = knowledge_of(plan)
        check_something_runs(plan, knowledge)
        planting = plant_once(plan, store)
        if planting is not None:
            knowledge = dataclasses.replace(knowledge, planted=planting.planted)
        curations = run_curations(plan, store, shown, planting)
        clock.stop("curations", curations.n_chunks, curations.n_reused)
        with one_thread():
            game = draw_game(plan)
        found = collect_evidence(plan, curations, game, knowledge, store, shown)
        clock.stop("attacks", len(found), 0)
        result = _judge(plan, curations, game, found, shown)
        clock.stop("statistics", 1, 0)
        run = build_run_record(plan, started, clock.phases, out)
        path = write_release(plan, result.report, run, found, game) if out else None
        return dataclasses.replace(result, run=run, report_path=path)


def _judge(
    plan: AuditPlan,
    curations: Curations,
    game: Game,
    found: tuple[AttackEvidence, ...],
    progress: Progress,
) -> AuditResult:
    with one_thread(), progress.phase("statistics", len(STAGES) + 2) as advance:
        stages = []
        ids = keyed_ids(plan) if plan.run.out else None
        for stage in (*OBSERVED_STAGES, *plan.stages[len(plan.observed) :]):
            stages.append(judge_stage(plan, stage, found, game, ids))
            advance(1)
        controls = judge_controls(plan, found, game)
        advance(1)
        bounds = judge_bounds(plan, found, game)
        claim = judge_claim(plan, found, game)
        advance(1)
    policy = judge_policy(plan, stages)
    utility = utility_of(plan, curations)
    concluded = verdict(stages, controls, policy, claim)
    report = build_report(
        plan,
        stages=stages,
        controls=controls,
        policy=policy,
        bounds=bounds,
        claim=claim,
        utility=utility,
        verdict=concluded,
        curations=curations,
        game=game,
    )
    return AuditResult(
        stages=tuple(stages),
        controls=controls,
        policy=policy,
        bounds=bounds,
        claim=claim,
        utility=utility,
        verdict=concluded,
        inclusion=game.inclusion,
        evidence={one.name: one.evidence for one in found if one.evidence is not None},
        report=report,
        run={},
        report_path=None,
    )


def utility_of(plan: AuditPlan, curations: Curations) -> Utility | None:
    """The real curated model against models on random picks of the same size."""
    test = plan.data.test
    if curations.real.utility is None or test is None:
        return None
    random, shadows = curations.null.utility, curations.shadows.utility
    if random is None or shadows is None:
        raise ValueError("all curations of one audit measure utility, or none does.")
    low, high = np.quantile(random, [0.025, 0.975])
    return Utility(
        metric=plan.utility,
        n_test=len(test),
        n_picked=int(curations.real.observation.selection.sizes[0]),
        curated=float(curations.real.utility[0]),
        random_mean=float(random.mean()),
        random_low=float(low),
        random_high=float(high),
        n_random=len(random),
        interval=f"2.5 % to 97.5 % of {len(random)} random picks",
        shadows_mean=float(shadows.mean()),
    )


class _Clock:
    """Seconds of each phase."""

    def __init__(self) -> None:
        self.phases: list[dict[str, Any]] = []
        self._last = time.perf_counter()

    def stop(self, name: str, n_chunks: int, n_reused: int) -> None:
        """Close a phase."""
        now = time.perf_counter()
        seconds = now - self._last
        self.phases.append(
            {"name": name, "seconds": seconds, "n_chunks": n_chunks, "n_reused": n_reused}
        )
        self._last = now
