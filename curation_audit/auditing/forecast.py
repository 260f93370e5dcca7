"""What an audit would do, before it does it."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from curation_audit.auditing.adversary import knowledge_of
from curation_audit.auditing.chunks import Task, run_task, tasks_of
from curation_audit.auditing.evidence import check_something_runs, missing_knowledge
from curation_audit.auditing.plan import AuditPlan, design_warnings, smallest_fpr
from curation_audit.results import duration

N_TIMED_SHADOWS = 4


@dataclass(frozen=True, slots=True)
class Forecast:
    """The plan of an audit in numbers; ``seconds`` is extrapolated from four shadows."""

    name: str
    n_shadows: int
    n_curations: int
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
        yield "public pool", f"{self.n_pool:,} rows, {self.n_features} features"
        yield "test", f"{self.n_test:,} rows" if self.n_test else "none: utility is not measured"
        yield "pipeline", f"{self.scorer} -> {self.rule} -> {self.downstream}"
        yield (
            "curations",
            (
                f"{self.n_curations:,}: {self.n_shadows} shadows, as many null ones, "
                f"and the real one; {self.n_chunks} chunks"
            ),
        )
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
    evidence_bytes = 3 * 8 * n_shadows * data.private.n_candidates * len(run)
    return Forecast(
        name=plan.name,
        n_shadows=n_shadows,
        n_curations=2 * n_shadows + 1,
        n_chunks=1 + 2 * len(tasks_of(n_shadows, "shadow")),
        n_candidates=data.private.n_candidates,
        n_private_rows=len(data.private),
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
        seconds=each * (2 * n_shadows + 1) / plan.run.workers,
        out=str(plan.run.out),
        warnings=(*data.warnings, *design_warnings(plan)),
    )
