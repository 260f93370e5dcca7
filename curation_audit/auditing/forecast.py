"""What an audit would do, before it does it."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from curation_audit.attacks.fingerprint import Fingerprint
from curation_audit.auditing.adversary import knowledge_of
from curation_audit.auditing.chunks import Task, run_task, tasks_of_plan
from curation_audit.auditing.evidence import check_something_runs, missing_knowledge
from curation_audit.auditing.plan import AuditPlan, design_warnings, smallest_fpr
from curation_audit.auditing.planting import n_targets, planting_warnings, plants
from curation_audit.results import duration

N_TIMED_SHADOWS = 4


@dataclass(frozen=True, slots=True)
class Forecast:
    """The plan of an audit in numbers; ``seconds`` is extrapolated from four shadows."""

    name: str
    n_shadows: int
    n_curations: int
    n_planted: int
    canaries: str
    n_chunks: int
    n_candidates: int
    n_private_rows: int
    n_pool: int
    n_test: int
    n_features: int
    unit: str
    scorer: str
    rule: str
    downstream: str
    attacks: tuple[str, ...]
    not_applicable: tuple[str, ...]
    smallest_fpr: float
    bytes_on_disk: int
    seconds: float
    out: str
    warnings: tuple[str, ...]

    def lines(self) -> Iterator[tuple[str, str]]:
        """What to print: (what, how much)."""
        yield (
            "private",
            (f"{self.n_candidates:,} candidates ({self.unit}), {self.n_private_rows:,} rows"),
        )
        if self.canaries:
            yield "canaries", self.canaries
        yield "public pool", f"{self.n_pool:,} rows, {self.n_features} features"
        yield "test", f"{self.n_test:,} rows" if self.n_test else "none: utility is not measured"
        yield "pipeline", f"{self.scorer} -> {self.rule} -> {self.downstream}"
        yield (
            "curations",
            (
                f"{self.n_curations:,}: {self.n_shadows} shadows, as many null ones, "
                f"{'all again with planted rows, ' if self.n_planted else ''}"
                f"and the real one; {self.n_chunks} chunks"
            ),
        )
        if self.n_planted:
            yield "planted", f"{self.n_planted:,} public rows"
        yield "attacks", ", ".join(self.attacks) or "none"
        if self.not_applicable:
            yield "not applicable", "; ".join(self.not_applicable)
        yield "smallest FPR", f"{self.smallest_fpr:.2g} can be resolved by a headline"
        yield "epsilon", "not bounded by this audit: its numbers are estimates"
        yield "disk", f"about {self.bytes_on_disk / 2**20:.0f} MB"
        yield "time", f"about {duration(self.seconds)} of curations, and the attacks on them"
        yield "run folder", self.out


def forecast(plan: AuditPlan) -> Forecast:
    """Count, and time four shadows.

    Raises:
        InputError: whatever the pipeline itself would raise, e.g. for more picks than rows.
    """
    n_shadows, data = plan.attack.shadows, plan.data
    run_task(plan, Task("shadow", 0, 2), None)  # warm up
    started = time.perf_counter()
    timed = run_task(plan, Task("shadow", 0, N_TIMED_SHADOWS), None)
    each = (time.perf_counter() - started) / N_TIMED_SHADOWS
    n_bytes = sum(array.nbytes for array in timed.to_arrays().values()) / N_TIMED_SHADOWS
    knowledge = knowledge_of(plan)
    check_something_runs(plan, knowledge)
    missing = missing_knowledge(plan, knowledge)
    run = [name for name in missing if not missing[name]]
    n_planted = n_targets(plan) * Fingerprint().rows_per_target if plants(plan) else 0
    n_families = 4 if n_planted else 2
    evidence_bytes = 3 * 8 * n_shadows * data.private.n_candidates * len(run)
    return Forecast(
        name=plan.name,
        n_shadows=n_shadows,
        n_curations=n_families * n_shadows + 1,
        n_planted=n_planted,
        canaries=_canaries(plan),
        n_chunks=len(tasks_of_plan(n_shadows, planted=n_planted > 0)),
        n_candidates=data.private.n_candidates,
        n_private_rows=data.n_real_rows,
        n_pool=len(data.pool),
        n_test=0 if data.test is None else len(data.test),
        n_features=int(data.pool.features.shape[1]),
        unit=plan.unit,
        scorer=plan.scorer.name,
        rule=plan.rule.name,
        downstream="no model" if plan.downstream is None else plan.downstream.name,
        attacks=tuple(run),
        not_applicable=tuple(
            f"{name} needs {', '.join(missing[name])}" for name in missing if missing[name]
        ),
        smallest_fpr=smallest_fpr(plan),
        bytes_on_disk=int(n_bytes * 2 * n_shadows + evidence_bytes),
        seconds=each * (n_families * n_shadows + 1) / plan.run.workers,
        out=str(plan.run.out),
        warnings=(*data.warnings, *design_warnings(plan), *planting_warnings(plan)),
    )


def _canaries(plan: AuditPlan) -> str:
    """What stands in for the real candidates, or nothing."""
    if plan.attack.canaries is None:
        return ""
    kind = plan.attack.canaries.kind_for(plan.scorer)
    return f"{plan.data.n_canaries:,} of kind {kind}; all private rows are in every shadow"
